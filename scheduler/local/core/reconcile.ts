import type { Id, OperationStatus, TaskStatus } from '../../mesos/types.ts'
import type { Context } from './effects.ts'
import type { Outcome } from './outcome.ts'
import { taskKey, tasksOf, type Framework, type MasterState, type Task } from './state.ts'
import { isInUse } from './tasks.ts'

/** The state of each task of the framework; of all that it has when none is named. */
export function reconcile (state: MasterState, framework: Framework, asked: Array<{ task_id: Id, agent_id?: Id }>, out: Outcome, context: Context): void {
  if (asked.length === 0) {
    for (const task of tasksOf(state, framework.id)) answer(framework, knownStatus(task), out, context)
    return
  }
  for (const { task_id: taskId, agent_id: agentId } of asked) reconcileOne(state, framework, taskId, agentId, out, context)
}

export function reconcileOne (state: MasterState, framework: Framework, taskId: Id, agentId: Id | undefined, out: Outcome, context: Context): void {
  const task = state.tasks.get(taskKey(framework.id, taskId.value))
  if (task !== undefined && !task.orphan) {
    answer(framework, knownStatus(task), out, context)
    return
  }
  const registered = agentId !== undefined && state.agents.has(agentId.value)
  const partitionAware = framework.capabilities.has('PARTITION_AWARE')
  answer(framework, {
    task_id: taskId,
    state: !partitionAware ? 'TASK_LOST' : registered ? 'TASK_GONE' : 'TASK_UNKNOWN',
    message: `Reconciliation: Task is unknown${registered ? ' to the agent' : ''}`,
    ...(agentId !== undefined && { agent_id: agentId })
  }, out, context)
}

/** The update in delivery decides, not what has happened since. */
function knownStatus (task: Task): Partial<TaskStatus> {
  const last = task.statuses.at(-1)
  return {
    task_id: task.info.task_id,
    state: last?.state ?? (isInUse(task) ? 'TASK_STAGING' : task.state),
    message: 'Reconciliation: Latest task state',
    agent_id: { value: task.agentId },
    ...(last?.healthy !== undefined && { healthy: last.healthy }),
    ...(last?.container_status !== undefined && { container_status: last.container_status })
  }
}

function answer (framework: Framework, status: Partial<TaskStatus>, out: Outcome, context: Context): void {
  const full = { ...status, source: 'SOURCE_MASTER', reason: 'REASON_RECONCILIATION', timestamp: context.wallMs / 1000 } as TaskStatus
  out.event(framework, { type: 'UPDATE', update: { status: full } })
}

/** Operations are known until their outcome is acknowledged. All of them when none is named. */
export function reconcileOperations (state: MasterState, framework: Framework, asked: Array<{ operation_id: Id, agent_id?: Id, resource_provider_id?: Id }>, out: Outcome): void {
  const known = [...state.operations.values()].filter(({ frameworkId }) => frameworkId === framework.id)
  const statuses: OperationStatus[] = asked.length === 0
    ? known.map(({ operationId, state: outcome, agentId }) => ({ operation_id: { value: operationId }, state: outcome, agent_id: { value: agentId } }))
    : asked.map(({ operation_id: operationId, agent_id: agentId }) => {
      const operation = known.find((one) => one.operationId === operationId.value)
      if (operation !== undefined) return { operation_id: operationId, state: operation.state, agent_id: { value: operation.agentId } }
      const message = `Reconciliation: Operation is unknown${agentId === undefined ? " and no 'agent_id' was provided" : ''}`
      return { operation_id: operationId, state: 'OPERATION_UNKNOWN', message, ...(agentId !== undefined && { agent_id: agentId }) }
    })
  for (const status of statuses) out.event(framework, { type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status } })
}
