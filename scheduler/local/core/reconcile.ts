import type { Id, OperationStatus, TaskStatus } from '../../mesos/types.ts'
import type { Context } from './effects.ts'
import type { Outcome } from './outcome.ts'
import { isOutOfReach, unreachableTime } from './agents.ts'
import { taskKey, tasksOf, type Agent, type Framework, type MasterState, type Task } from './state.ts'
import { isInUse } from './tasks.ts'

/** The state of each task of the framework; of all that it has when none is named. */
export function reconcile (state: MasterState, framework: Framework, asked: Array<{ task_id: Id, agent_id?: Id }>, out: Outcome, context: Context): void {
  if (asked.length === 0) {
    // Not of agents that are away: as a real master, which has no news of them.
    for (const task of tasksOf(state, framework.id)) if (!isOutOfReach(state, task.agentId)) answer(framework, knownStatus(task), out, context)
    return
  }
  for (const { task_id: taskId, agent_id: agentId } of asked) reconcileOne(state, framework, taskId, agentId, out, context)
}

export function reconcileOne (state: MasterState, framework: Framework, taskId: Id, agentId: Id | undefined, out: Outcome, context: Context): void {
  const task = state.tasks.get(taskKey(framework.id, taskId.value))
  if (task !== undefined && !task.orphan && !isOutOfReach(state, task.agentId)) {
    answer(framework, knownStatus(task), out, context)
    return
  }
  // Whoever is not back yet may run it.
  if (awaited(state, agentId).length > 0) return
  const partitionAware = framework.capabilities.has('PARTITION_AWARE')
  const { state: said, message, unreachable_time: since } = unknownStatus(agentId === undefined ? undefined : state.agents.get(agentId.value))
  answer(framework, {
    task_id: taskId,
    state: partitionAware ? said! : 'TASK_LOST',
    message: `Reconciliation: ${message}`,
    ...(agentId !== undefined && { agent_id: agentId }),
    ...(since !== undefined && { unreachable_time: since })
  }, out, context)
}

/** The agents, the named one if one is named, that the master still waits for after its restart. */
function awaited (state: MasterState, agentId: Id | undefined): Agent[] {
  return [...state.agents.values()].filter(({ id, presence }) => presence === 'recovered' && (agentId === undefined || id === agentId.value))
}

/** Of a task that the master does not know, or cannot: what its agent has become decides. */
function unknownStatus (agent: Agent | undefined): Partial<TaskStatus> {
  switch (agent?.presence) {
    case 'registered':
    case 'hanging':
    case 'away': return { state: 'TASK_GONE', message: 'Task is unknown to the agent' }
    case 'unreachable': return { state: 'TASK_UNREACHABLE', message: 'Task is unreachable', ...unreachableTime(agent) }
    case 'gone': return { state: 'TASK_GONE_BY_OPERATOR', message: 'Task is gone' }
    default: return { state: 'TASK_UNKNOWN', message: 'Task is unknown' }
  }
}

/** The update in delivery decides, not what has happened since. */
function knownStatus (task: Task): Partial<TaskStatus> {
  const last = task.statuses.at(-1)
  const container = task.statuses.findLast(({ container_status: status }) => status !== undefined)?.container_status
  return {
    task_id: task.info.task_id,
    state: last?.state ?? (isInUse(task) ? 'TASK_STAGING' : task.state),
    message: 'Reconciliation: Latest task state',
    agent_id: { value: task.agentId },
    ...(last?.healthy !== undefined && { healthy: last.healthy }),
    ...(container !== undefined && { container_status: container })
  }
}

function answer (framework: Framework, status: Partial<TaskStatus>, out: Outcome, context: Context): void {
  const full = { ...status, source: 'SOURCE_MASTER', reason: 'REASON_RECONCILIATION', timestamp: context.wallMs / 1000 } as TaskStatus
  out.event(framework, { type: 'UPDATE', update: { status: full } })
}

/** Operations are known until their outcome is acknowledged. All of them when none is named. */
export function reconcileOperations (state: MasterState, framework: Framework, asked: Array<{ operation_id: Id, agent_id?: Id, resource_provider_id?: Id }>, out: Outcome): void {
  const known = [...state.operations.values()].filter(({ frameworkId, agentId }) => frameworkId === framework.id && awaited(state, { value: agentId }).length === 0)
  const statuses: OperationStatus[] = asked.length === 0
    ? known.map(({ operationId, state: outcome, agentId }) => ({ operation_id: { value: operationId }, state: outcome, agent_id: { value: agentId } }))
    : asked.map(({ operation_id: operationId, agent_id: agentId }) => {
      const operation = known.find((one) => one.operationId === operationId.value)
      if (agentId !== undefined && awaited(state, agentId).length > 0) return { operation_id: operationId, state: 'OPERATION_RECOVERING', message: 'Reconciliation: Agent is recovered but has not re-registered', agent_id: agentId }
      if (operation !== undefined) return { operation_id: operationId, state: operation.state, agent_id: { value: operation.agentId } }
      const presence = agentId === undefined ? undefined : state.agents.get(agentId.value)?.presence
      if (presence === 'gone') return { operation_id: operationId, state: 'OPERATION_GONE_BY_OPERATOR', message: 'Reconciliation: Agent marked gone by operator', agent_id: agentId! }
      if (presence === 'unreachable') return { operation_id: operationId, state: 'OPERATION_UNREACHABLE', message: 'Reconciliation: Agent is unreachable', agent_id: agentId! }
      const message = `Reconciliation: Operation is unknown${agentId === undefined ? " and no 'agent_id' was provided" : ''}`
      return { operation_id: operationId, state: 'OPERATION_UNKNOWN', message, ...(agentId !== undefined && { agent_id: agentId }) }
    })
  for (const status of statuses) out.event(framework, { type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status } })
}
