import type { TaskStatus } from '../../mesos/types.ts'
import { heartbeatIntervalMs, watchersMax } from '../constants.ts'
import { agentJson, answerOf, subscribedJson, taskJson } from './answers.ts'
import type { Context } from './effects.ts'
import type { Outcome } from './outcome.ts'
import type { Agent, Framework, MasterState, Task } from './state.ts'

// The stream of events that an operator subscribes to. A framework's disconnection is not an event, its return is FRAMEWORK_UPDATED.

/** All that there is, then what changes. The oldest makes room when there are too many. */
export function watch (state: MasterState, request: number, out: Outcome, context: Context): void {
  const [oldest] = state.watchers.keys()
  if (state.watchers.size >= watchersMax && oldest !== undefined) {
    state.watchers.delete(oldest)
    out.push({ type: 'close-stream', stream: oldest })
  }
  out.push({ type: 'open-stream', request })
  const subscribed = { get_state: answerOf(state, 'GET_STATE'), heartbeat_interval_seconds: heartbeatIntervalMs / 1000 }
  for (const event of [{ type: 'SUBSCRIBED', subscribed }, { type: 'HEARTBEAT' }]) out.push({ type: 'operator-event', stream: request, event })
  state.watchers.set(request, context.nowMs + heartbeatIntervalMs)
}

export function beat (state: MasterState, out: Outcome, context: Context): void {
  for (const [stream, nextMs] of state.watchers) {
    if (nextMs > context.nowMs) continue
    state.watchers.set(stream, context.nowMs + heartbeatIntervalMs)
    out.push({ type: 'operator-event', stream, event: { type: 'HEARTBEAT' } })
  }
}

export function tellFramework (framework: Framework, change: 'ADDED' | 'UPDATED', out: Outcome): void {
  const member = { framework: subscribedJson(framework) }
  out.tellWatchers(change === 'ADDED' ? { type: 'FRAMEWORK_ADDED', framework_added: member } : { type: 'FRAMEWORK_UPDATED', framework_updated: member })
}

export function tellFrameworkRemoved ({ info }: Framework, out: Outcome): void {
  out.tellWatchers({ type: 'FRAMEWORK_REMOVED', framework_removed: { framework_info: info } })
}

export function tellTaskAdded (task: Task, out: Outcome): void {
  const { statuses: _, ...json } = taskJson(task)
  out.tellWatchers({ type: 'TASK_ADDED', task_added: { task: json } })
}

export function tellTaskUpdated ({ frameworkId }: Task, status: TaskStatus, out: Outcome): void {
  out.tellWatchers({ type: 'TASK_UPDATED', task_updated: { framework_id: { value: frameworkId }, status, state: status.state } })
}

export function tellAgentAdded (state: MasterState, agent: Agent, out: Outcome): void {
  out.tellWatchers({ type: 'AGENT_ADDED', agent_added: { agent: agentJson(state, agent) } })
}

export function tellAgentRemoved ({ id }: Agent, out: Outcome): void {
  out.tellWatchers({ type: 'AGENT_REMOVED', agent_removed: { agent_id: { value: id } } })
}
