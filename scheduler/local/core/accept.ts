import type { Filters, Id, Operation, OperationState, Resource, Scalar, TaskState, TaskStatus } from '../../mesos/types.ts'
import { operationsUnacknowledgedMax, updateRetryMsMin } from '../constants.ts'
import { refuse, removeOffers } from './allocate.ts'
import type { Context } from './effects.ts'
import type { ExecutorInfo } from './executors.ts'
import { launchGroup } from './groups.ts'
import { launch } from './launch.ts'
import { apply, conversionOf, convert, OperationError, type ResourceChange } from './operations.ts'
import type { Outcome } from './outcome.ts'
import type { Resources } from './resources.ts'
import { minus, plus } from './resources.ts'
import type { Agent, Framework, LaunchedTaskInfo, MasterState, PendingOffer } from './state.ts'
import { sendOperation } from './tasks.ts'

/** Besides those that Atoll's own framework sends. */
type AnyOperation = Operation
  | { type: 'LAUNCH_GROUP', id?: Id, launch_group: { executor?: ExecutorInfo, task_group?: { tasks: LaunchedTaskInfo[] } } }
  | { type: 'SHRINK_VOLUME', id?: Id, shrink_volume: { volume: Resource, subtract: Scalar } }

export interface Accept { offer_ids: Id[], operations: AnyOperation[], filters?: Filters }

const unsupported = new Set<string>(['CREATE_DISK', 'DESTROY_DISK'])

/** What an ACCEPT works on. */
export interface Acceptance {
  state: MasterState
  framework: Framework
  agent: Agent
  role: string
  /** Offered and not used up by the operations so far. */
  pool: Resources
  out: Outcome
  context: Context
}

/** Operations in order; one that fails does not keep the others from being tried. What is left counts as declined. */
export function accept (state: MasterState, framework: Framework, { offer_ids: ids, operations, filters }: Accept, out: Outcome, context: Context): void {
  const offers = ids.map(({ value }) => state.offers.get(value)).filter((offer) => offer?.frameworkId === framework.id) as PendingOffer[]
  const problem = offersProblem(state, framework, ids, offers)
  removeOffers(state, offers)
  const [first] = offers
  if (problem !== undefined || first === undefined) {
    for (const operation of operations) rejectOperation(framework, operation, problem ?? 'No offers specified', out, context)
    return
  }
  const acceptance: Acceptance = {
    state, framework, agent: state.agents.get(first.agentId)!, role: first.role, pool: offers.reduce<Resources>((sum, { resources }) => plus(sum, resources), []), out, context
  }
  for (const operation of operations) perform(acceptance, operation)
  refuse(framework, { role: first.role, agentId: first.agentId, resources: acceptance.pool }, filters, context.nowMs)
}

function offersProblem (state: MasterState, framework: Framework, ids: Id[], offers: PendingOffer[]): string | undefined {
  for (const [index, { value }] of ids.entries()) {
    if (state.offers.get(value)?.frameworkId !== framework.id) return `Offer ${value} is no longer valid`
    if (ids.findIndex((other) => other.value === value) < index) return `Duplicate offer ${value} in offer list`
  }
  const [first] = offers
  const stray = offers.find(({ agentId, role }) => agentId !== first!.agentId || role !== first!.role)
  return stray === undefined ? undefined : `Aggregated offers must belong to one single agent and role. Offer ${stray.id} uses agent ${stray.agentId} and role ${stray.role}`
}

function perform (acceptance: Acceptance, operation: AnyOperation): void {
  const { framework, out } = acceptance
  const launched = launchedBy(operation)
  if (launched !== undefined) {
    if (operation.type === 'LAUNCH') launch(acceptance, launched, operation.id !== undefined)
    else if (operation.type === 'LAUNCH_GROUP') launchGroup(acceptance, operation.launch_group.executor, launched, operation.id !== undefined)
    return
  }
  const change = changeOf(operation)
  if (change === undefined) {
    // Mesos passes over an operation without type, or without the member of its type.
    if (unsupported.has(operation.type)) operationError(framework, operation, `Operation ${operation.type} is not supported by the embedded master`, out)
    return
  }
  try {
    transform(acceptance, change, operation.id)
  } catch (error) {
    if (!(error instanceof OperationError)) throw error
    operationError(framework, operation, error.message, out)
  }
}

function transform (acceptance: Acceptance, change: ResourceChange, operationId: Id | undefined): void {
  const { state, framework, agent, role, out, context } = acceptance
  if (operationId !== undefined && state.operations.size >= operationsUnacknowledgedMax) throw new OperationError(`More than ${operationsUnacknowledgedMax} operation updates are not acknowledged`)
  const conversion = conversionOf(state, agent, change, { principal: framework.info.principal, role })
  const pool = convert(acceptance.pool, conversion, role)
  // A volume of another size can be used when it is offered, not earlier.
  acceptance.pool = 'volume' in change ? minus(acceptance.pool, conversion.consumed)! : pool
  apply(agent, conversion, out)
  if (operationId === undefined) return
  const uuid = context.uuid().toString('base64')
  const operation = { uuid, frameworkId: framework.id, agentId: agent.id, operationId: operationId.value, state: 'OPERATION_FINISHED' as OperationState, retryMs: 0, delayMs: updateRetryMsMin }
  state.operations.set(uuid, operation)
  out.operationChanged(operation)
  sendOperation(framework, operation, out, context)
}

/** Tasks learn that their offers are gone; of the rest only operations with an id do. */
function rejectOperation (framework: Framework, operation: AnyOperation, problem: string, out: Outcome, context: Context): void {
  const launched = launchedBy(operation)
  if (launched === undefined) {
    operationError(framework, operation, `Operation attempted with invalid offers: ${problem}`, out)
    return
  }
  const state = framework.capabilities.has('PARTITION_AWARE') ? 'TASK_DROPPED' : 'TASK_LOST'
  for (const task of launched) masterStatus(framework, task, state, 'REASON_INVALID_OFFERS', `Task launched with invalid offers: ${problem}`, out, context)
}

/** An error without uuid: there is nothing to acknowledge. */
function operationError (framework: Framework, operation: AnyOperation, message: string, out: Outcome): void {
  if (operation.id === undefined || operation.type === undefined) return
  out.event(framework, { type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: operation.id, state: 'OPERATION_ERROR', message } } })
}

/** An update of the master's own: sent once, never acknowledged. */
export function masterStatus (framework: Framework, task: LaunchedTaskInfo, state: TaskState, reason: string, message: string, out: Outcome, context: Context): void {
  const status: TaskStatus = { task_id: task.task_id, state, message, source: 'SOURCE_MASTER', reason, agent_id: task.agent_id, timestamp: context.wallMs / 1000 }
  out.event(framework, { type: 'UPDATE', update: { status } })
}

function launchedBy (operation: AnyOperation): LaunchedTaskInfo[] | undefined {
  if (operation.type === 'LAUNCH') return operation.launch?.task_infos
  if (operation.type === 'LAUNCH_GROUP') return operation.launch_group?.task_group?.tasks
  return undefined
}

function changeOf (operation: AnyOperation): ResourceChange | undefined {
  switch (operation.type) {
    case 'RESERVE': return operation.reserve && { type: 'RESERVE', resources: operation.reserve.resources }
    case 'UNRESERVE': return operation.unreserve && { type: 'UNRESERVE', resources: operation.unreserve.resources }
    case 'CREATE': return operation.create && { type: 'CREATE', resources: operation.create.volumes }
    case 'DESTROY': return operation.destroy && { type: 'DESTROY', resources: operation.destroy.volumes }
    case 'GROW_VOLUME': return operation.grow_volume && { type: 'GROW_VOLUME', ...operation.grow_volume }
    case 'SHRINK_VOLUME': return operation.shrink_volume && { type: 'SHRINK_VOLUME', volume: operation.shrink_volume.volume, subtractMb: operation.shrink_volume.subtract.value }
    default: return undefined
  }
}
