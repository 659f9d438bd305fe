import type { Resource } from '../../mesos/types.ts'
import type { Resources } from './resources.ts'
import type { MasterState, Task } from './state.ts'

/** ExecutorInfo, as far as anybody looks at it. */
export interface ExecutorInfo { type?: string, executor_id: { value: string }, resources: Resource[], command?: unknown, container?: unknown }

/**
 * What the tasks of a group have in common. Here it is no process: it begins with the first of its tasks, and ends when the end
 * of the last one is acknowledged. Until then its resources are taken.
 */
export interface Executor {
  id: string
  frameworkId: string
  agentId: string
  role: string
  containerId: string
  /** As the framework gave it. */
  info: ExecutorInfo
  resources: Resources
}

/** Those that run, each once. Command tasks have none that anybody is told of. */
export function executorsOf (state: MasterState): Executor[] {
  const running = new Map<string, Executor>()
  for (const { executor } of state.tasks.values()) if (executor !== undefined) running.set(executor.containerId, executor)
  return [...running.values()]
}

export function executorOf (state: MasterState, frameworkId: string, agentId: string, id: string): Executor | undefined {
  return executorsOf(state).find((executor) => executor.frameworkId === frameworkId && executor.agentId === agentId && executor.id === id)
}

/** The tasks of the same executor, this one among them. */
export function membersOf (state: MasterState, { executor }: Task): Task[] {
  return executor === undefined ? [] : [...state.tasks.values()].filter((other) => other.executor?.containerId === executor.containerId)
}
