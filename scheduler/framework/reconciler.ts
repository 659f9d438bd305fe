import type { CallBody } from '../mesos/types.ts'
import { reconcileBackoffMaxMs, reconcileBackoffMinMs, reconcileIntervalMs } from './constants.ts'
import type { NodeRecord, TaskRecord } from './types.ts'

/**
 * Asks for the state of every task that we know until each has been answered (silence means: not known yet), then
 * for all that the master knows. After each subscription, and from time to time.
 */
export class Reconciler {
  #remaining = new Set<string>()
  #rounds = 0
  /** null: not before the next start. */
  #nextMs: number | null = null
  #implicit = false
  #operations: Array<{ operation_id: { value: string }, agent_id?: { value: string } }> = []

  start (taskIds: string[], nowMs: number): void {
    this.#remaining = new Set(taskIds)
    this.#rounds = 0
    this.#nextMs = nowMs
    this.#implicit = true
  }

  /** What became of RESERVE and CREATE of which nothing was heard. An answer that tells nothing leaves it to the offers. */
  startOperations (nodes: NodeRecord[]): void {
    this.#operations = nodes.flatMap(({ agentId, operations }) => operations.map((value) =>
      ({ operation_id: { value }, ...(agentId === null ? {} : { agent_id: { value: agentId } }) })))
  }

  stop (): void { this.#nextMs = null }

  /** Asks for one more task, soon. */
  add (taskId: string, nowMs: number): void {
    if (this.#nextMs === null) return
    this.#remaining.add(taskId)
    this.#rounds = 0
    this.#nextMs = Math.min(this.#nextMs, nowMs)
  }

  /** Any news of a task is an answer. */
  answered (taskId: string, nowMs: number): void {
    if (this.#remaining.delete(taskId) && this.#remaining.size === 0 && this.#nextMs !== null) this.#nextMs = nowMs
  }

  get deadlineMs (): number { return this.#nextMs ?? Infinity }

  /** The calls that are due. `tasks`: all that may run. */
  calls (tasks: TaskRecord[], nowMs: number): CallBody[] {
    const operations = this.#operations
    this.#operations = []
    return [
      ...this.#taskCalls(tasks, nowMs),
      ...(operations.length === 0 ? [] : [{ type: 'RECONCILE_OPERATIONS' as const, reconcile_operations: { operations } }])
    ]
  }

  #taskCalls (tasks: TaskRecord[], nowMs: number): CallBody[] {
    if (this.#nextMs === null || this.#nextMs > nowMs) return []
    const asked = tasks.filter(({ id }) => this.#remaining.has(id))
    this.#remaining = new Set(asked.map(({ id }) => id))
    if (asked.length > 0) {
      this.#nextMs = nowMs + Math.min(reconcileBackoffMaxMs, reconcileBackoffMinMs * 2 ** Math.min(this.#rounds++, 16))
      // Without the agent id the master cannot tell a task of an unreachable agent from an unknown one.
      return [{ type: 'RECONCILE', reconcile: { tasks: asked.map(({ id, agentId }) => ({ task_id: { value: id }, agent_id: { value: agentId } })) } }]
    }
    if (this.#implicit) {
      this.#implicit = false
      this.#nextMs = nowMs + reconcileIntervalMs
      return [{ type: 'RECONCILE', reconcile: { tasks: [] } }]
    }
    this.start(tasks.map(({ id }) => id), nowMs)
    return this.#taskCalls(tasks, nowMs)
  }
}
