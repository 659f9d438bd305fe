import type { SchedulerEvent } from '../../mesos/types.ts'
import { durableAgent, durableCompleted, durableFramework, durableMeta, durableOperation, durableTask, keys } from './durable.ts'
import type { DurableWrite, Effect, OperatorEvent, StepResult } from './effects.ts'
import type { Agent, CompletedFramework, Framework, MasterState, PendingOperation, Task } from './state.ts'

/** Gathers what one step does. Records are written as they are when the step ends, each once. */
export class Outcome {
  readonly effects: Effect[] = []
  private readonly state: MasterState
  private readonly changed = new Map<string, () => unknown>()

  constructor (state: MasterState) { this.state = state }

  push (effect: Effect): void { this.effects.push(effect) }

  reply (request: number, status: number, text?: string): void { this.effects.push({ type: 'reply', request, status, ...(text !== undefined && { text }) }) }

  /** Dropped while the framework is disconnected. */
  event (framework: Framework, event: SchedulerEvent): void {
    if (framework.stream !== null) this.effects.push({ type: 'event', stream: framework.stream, event })
  }

  /** To the operators that watch. */
  tellWatchers (event: OperatorEvent): void {
    for (const stream of this.state.watchers.keys()) this.effects.push({ type: 'operator-event', stream, event })
  }

  metaChanged (): void { this.changed.set(keys.meta, () => durableMeta(this.state)) }
  agentChanged ({ id }: Agent): void { this.follow(keys.agent(id), this.state.agents, id, durableAgent) }
  frameworkChanged ({ id }: Framework): void { this.follow(keys.framework(id), this.state.frameworks, id, durableFramework) }
  completedChanged (id: string): void { this.follow<CompletedFramework>(keys.completed(id), this.state.completedFrameworks, id, durableCompleted) }
  taskChanged ({ key }: Task): void { this.follow(keys.task(key), this.state.tasks, key, durableTask) }
  operationChanged ({ uuid }: PendingOperation): void { this.follow(keys.operation(uuid), this.state.operations, uuid, durableOperation) }

  finish (): StepResult {
    const writes: DurableWrite[] = [...this.changed].map(([key, value]) => ({ key, value: value() }))
    return { writes, effects: this.effects }
  }

  private follow<T> (key: string, records: Map<string, T>, id: string, encode: (record: T) => unknown): void {
    this.changed.set(key, () => {
      const record = records.get(id)
      return record === undefined ? undefined : encode(record)
    })
  }
}
