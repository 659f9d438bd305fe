import { isTerminal } from '../mesos/types.ts'
import type { CallBody, OperationStatus, TaskStatus } from '../mesos/types.ts'
import { adoptPlace, comeBack, discardPlace, endTask, giveUpPlace, loseVolume, provePlace } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { parseOperationId } from './operations.ts'
import type { NodeRecord } from './types.ts'

/** The acknowledgement that an update wants, to be sent after the records are durable. */
export function acknowledgement (status: TaskStatus): CallBody[] {
  if (status.uuid === undefined || status.agent_id === undefined) return []
  return [{ type: 'ACKNOWLEDGE', acknowledge: { agent_id: status.agent_id, task_id: status.task_id, uuid: status.uuid } }]
}

export function handleTaskStatus (context: StepContext, status: TaskStatus): CallBody[] {
  const node = context.state.byTaskId(status.task_id.value)
  if (node === undefined) return handleUnknownTask(context, status)
  if (status.state === 'TASK_GONE_BY_OPERATOR') loseVolume(context, node, describe(status))
  else if (isTerminal(status.state)) end(context, node, status)
  else advance(context, node, status)
  return []
}

function end (context: StepContext, node: NodeRecord, status: TaskStatus): void {
  const planned = context.state.framework.goal !== 'running' || status.reason === 'REASON_AGENT_DRAINING'
  endTask(context, node, { reason: describe(status), planned, lasting: status.state === 'TASK_ERROR' })
}

/** Agents that come back tell old news again: a task that runs does not return to its beginnings. */
function advance (context: StepContext, node: NodeRecord, status: TaskStatus): void {
  const { state, nowMs, wallMs } = context
  const task = node.task!
  const beginning = status.state === 'TASK_STAGING' || status.state === 'TASK_STARTING'
  if (beginning && task.state !== 'TASK_STAGING' && task.state !== 'TASK_UNKNOWN' && task.state !== 'TASK_UNREACHABLE') return
  const agentId = status.agent_id?.value ?? task.agentId
  const runtime = state.runtime(node)
  if (status.state === 'TASK_RUNNING') runtime.runningSinceMs ??= nowMs
  if (status.state === 'TASK_UNREACHABLE' || status.state === 'TASK_UNKNOWN') runtime.runningSinceMs = null
  else comeBack(context, node)
  if (task.state === status.state && task.agentId === agentId) return
  task.state = status.state
  task.agentId = agentId
  if (status.state === 'TASK_UNREACHABLE' || status.state === 'TASK_UNKNOWN') node.awaySinceMs ??= wallMs
  node.reason = describe(status)
  state.saveNode(node)
}

/**
 * Every task of our framework id is ours. One that we do not know was launched after the copy of the records that we
 * started from: it is adopted when its node has none and its volume is the node's; else it is killed.
 */
function handleUnknownTask (context: StepContext, status: TaskStatus): CallBody[] {
  const { state, nowMs } = context
  if (status.state === 'TASK_GONE_BY_OPERATOR') {
    const probed = [...state.nodes.values()].find((each) => probeId(each) === status.task_id.value)
    if (probed?.task === null && probed.placement === 'placed' && probed.agentId === status.agent_id?.value) loseVolume(context, probed, describe(status))
    return []
  }
  if (status.state !== 'TASK_RUNNING' && status.state !== 'TASK_STARTING' && status.state !== 'TASK_STAGING') return []
  const node = adoptingNode(context, status)
  if (node !== undefined) {
    const runtime = state.runtime(node)
    node.task = { id: status.task_id.value, agentId: status.agent_id!.value, state: status.state }
    node.launches = Number(status.task_id.value.split('.')[1])
    node.awaySinceMs = null
    node.missing = false
    node.reason = 'adopted'
    runtime.launchedAtMs = nowMs
    runtime.runningSinceMs = status.state === 'TASK_RUNNING' ? nowMs : null
    state.saveNode(node)
    return []
  }
  return [{ type: 'KILL', kill: { task_id: status.task_id, ...(status.agent_id === undefined ? {} : { agent_id: status.agent_id }) } }]
}

/** The node that a task is of which the records do not know: they are a copy, and the task was launched after it. */
function adoptingNode (context: StepContext, { task_id: taskId, agent_id: agent }: TaskStatus): NodeRecord | undefined {
  const { state } = context
  const [nodeId = '', number, , resourceId] = taskId.value.split('.')
  const launches = Number(number)
  if (agent === undefined || resourceId === undefined || !Number.isInteger(launches) || state.framework.goal === 'uninstalling') return undefined
  const node = state.nodes.get(nodeId) ?? state.adoptNode(nodeId)
  if (node === undefined || node.task !== null || node.goal === 'remove' || launches <= node.launches) return undefined
  if (node.placement === 'placed') return node.resourceId === resourceId ? node : undefined
  if (node.placement === 'lost' || node.launches > 0) return undefined
  // It has a place after all; another one that is being reserved is not needed.
  if (node.placement !== 'none') discardPlace(context, node)
  adoptPlace(context, node, { resourceId, agentId: agent.value })
  return node
}

/** The id of a task that never was, to ask what has become of a node's agent. */
export const probeId = ({ id }: NodeRecord): string => `${id}.probe`

const describe = ({ state, reason, message, healthy }: TaskStatus): string =>
  [state, reason, healthy === false ? 'its health check fails' : undefined, message].filter((part) => part !== undefined && part !== '').join(': ')

/** OPERATION_UNKNOWN and the like say nothing: the offers will. */
export function handleOperationStatus (context: StepContext, status: OperationStatus): CallBody[] {
  const { state } = context
  const operation = parseOperationId(status.operation_id?.value ?? '')
  if (operation !== undefined) {
    const { resourceId, kind } = operation
    const node = state.byResourceId(resourceId)
    const finished = status.state === 'OPERATION_FINISHED'
    const failed = ['OPERATION_FAILED', 'OPERATION_ERROR', 'OPERATION_DROPPED', 'OPERATION_GONE_BY_OPERATOR'].includes(status.state)
    const unproven = node?.placement === 'reserving' || node?.placement === 'creating'
    if (kind === 'unreserve' && finished) state.deleteGarbage(resourceId)
    else if (kind === 'reserve' && failed && unproven) giveUpPlace(context, node, `RESERVE failed: ${status.message ?? status.state}`)
    else if (kind === 'create' && finished && unproven) provePlace(context, node, `has its volume on ${node.host}`)
    else if (kind === 'grow' && failed && node !== undefined) state.runtime(node).growthProblem = status.message ?? status.state
    else if (kind === 'create' && failed && unproven) {
      node.placement = 'creating'
      node.operations = []
      node.reason = `CREATE failed: ${status.message ?? status.state}`
      state.saveNode(node)
    }
  }
  if (status.uuid === undefined || status.operation_id === undefined) return []
  return [{
    type: 'ACKNOWLEDGE_OPERATION_STATUS',
    acknowledge_operation_status: {
      ...(status.agent_id === undefined ? {} : { agent_id: status.agent_id }),
      ...(status.resource_provider_id === undefined ? {} : { resource_provider_id: status.resource_provider_id }),
      uuid: status.uuid.value,
      operation_id: status.operation_id
    }
  }]
}
