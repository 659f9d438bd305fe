import type { FrameworkInfo } from '../../mesos/types.ts'
import type { UpdateFramework } from '../wire/scheduler-calls.ts'
import { completedFrameworksMax, durationSecondsMax, frameworksMax, heartbeatIntervalMs, recoveredFrameworkMsMin } from '../constants.ts'
import { allocate, removeOffers } from './allocate.ts'
import { disconnected, rolesOf } from './durable.ts'
import type { Context } from './effects.ts'
import { idProblem, roleProblem } from './names.ts'
import type { Outcome } from './outcome.ts'
import { offersOf, tasksOf, type Framework, type MasterState } from './state.ts'
import { beginKill, complete, isInUse, sendPending } from './tasks.ts'
import { tellFramework, tellFrameworkRemoved } from './watchers.ts'

export interface Subscription { framework_info: FrameworkInfo, suppressed_roles?: string[], offer_constraints?: unknown }

/** Answers with a stream in any case; a refusal is its only event. */
export function subscribe (state: MasterState, request: number, subscription: Subscription, out: Outcome, context: Context): void {
  const streamId = uuidText(context.uuid())
  const known = state.frameworks.get(subscription.framework_info.id?.value ?? '')
  out.push({ type: 'open-stream', request, streamId })
  const problem = subscriptionProblem(state, subscription, known)
  if (problem !== undefined) {
    out.push({ type: 'event', stream: request, event: { type: 'ERROR', error: { message: problem } } })
    out.push({ type: 'close-stream', stream: request })
    return
  }
  const framework = known ?? createFramework(state, subscription.framework_info, out, context)
  if (known !== undefined) takeOver(state, known, subscription.framework_info, out)
  framework.stream = request
  framework.streamId = streamId
  framework.recovered = false
  framework.removalMs = Infinity
  framework.reregisteredMs = context.wallMs
  framework.suppressed = new Set(subscription.suppressed_roles)
  framework.nextHeartbeatMs = context.nowMs + heartbeatIntervalMs
  out.frameworkChanged(framework)
  tellFramework(framework, known === undefined ? 'ADDED' : 'UPDATED', out)
  out.event(framework, { type: 'SUBSCRIBED', subscribed: {
    framework_id: { value: framework.id },
    heartbeat_interval_seconds: heartbeatIntervalMs / 1000,
    master_info: state.masterInfo
  } })
  out.event(framework, { type: 'HEARTBEAT' })
  sendPending(state, framework, out, context)
  allocate(state, out, context)
}

function subscriptionProblem (state: MasterState, subscription: Subscription, known: Framework | undefined): string | undefined {
  const { framework_info: info, suppressed_roles: suppressed = [], offer_constraints: constraints } = subscription
  const problem = infoProblem(info) ?? suppressedProblem(info, suppressed)
  if (problem !== undefined) return problem
  if (constraints !== undefined && JSON.stringify(constraints) !== '{}') return 'Offer constraints are not supported by the embedded master'
  if (info.id !== undefined && state.completedFrameworks.has(info.id.value)) return 'Framework has been removed'
  if (known === undefined) return state.frameworks.size < frameworksMax ? undefined : `More than ${frameworksMax} frameworks`
  return known.info.principal === info.principal ? undefined : "Changing framework's principal is not allowed."
}

/** Why nobody can subscribe with this FrameworkInfo; undefined if one can. */
export function infoProblem (info: FrameworkInfo): string | undefined {
  const multiRole = (info.capabilities ?? []).some(({ type }) => type === 'MULTI_ROLE')
  if (multiRole && info.role !== undefined) return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
  if (!multiRole && (info.roles ?? []).length > 0) return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
  const roles = rolesOf(info)
  const twice = roles.filter((role, index) => roles.indexOf(role) < index)
  if (twice.length > 0) return `'FrameworkInfo.roles' contains duplicate items: { ${[...new Set(twice)].join(', ')} }`
  for (const role of roles) {
    const problem = roleProblem(role)
    if (problem !== undefined) return `'FrameworkInfo.${multiRole ? 'roles' : 'role'}' contains invalid role: ${problem}`
  }
  const idIssue = info.id === undefined ? undefined : idProblem(info.id.value)
  if (idIssue !== undefined) return idIssue
  const timeout = info.failover_timeout ?? 0
  return Math.abs(timeout) <= durationSecondsMax ? undefined : `The framework failover_timeout (${timeout}) is invalid`
}

function suppressedProblem (info: FrameworkInfo, suppressed: string[]): string | undefined {
  const unknown = suppressed.filter((role) => !rolesOf(info).includes(role))
  return unknown.length === 0 ? undefined : `Suppressed roles { ${unknown.join(', ')} } are not contained in the set of roles`
}

function createFramework (state: MasterState, given: FrameworkInfo, out: Outcome, context: Context): Framework {
  const id = given.id?.value ?? nextId(state, out)
  const framework: Framework = { ...disconnected({ ...given, id: { value: id } }), id, registeredMs: context.wallMs, reregisteredMs: context.wallMs }
  state.frameworks.set(id, framework)
  return framework
}

/** A framework may have brought an id of our own form. */
function nextId (state: MasterState, out: Outcome): string {
  for (;;) {
    const id = `${state.masterId}-${String(state.frameworkCount++).padStart(4, '0')}`
    out.metaChanged()
    if (!state.frameworks.has(id) && !state.completedFrameworks.has(id)) return id
  }
}

/** The newest subscription wins. Offers die with the old stream; filters outlive it, unless it was closed before. */
function takeOver (state: MasterState, framework: Framework, info: FrameworkInfo, out: Outcome): void {
  if (framework.stream !== null) {
    out.event(framework, { type: 'ERROR', error: { message: 'Framework failed over' } })
    out.push({ type: 'close-stream', stream: framework.stream })
    framework.stream = null
  }
  removeOffers(state, offersOf(state, framework.id))
  adoptInfo(framework, info)
}

/** `user` and `checkpoint` stay as they were first given. */
function adoptInfo (framework: Framework, info: FrameworkInfo): void {
  const { user, checkpoint } = framework.info
  const next: FrameworkInfo = { ...info, user }
  if (checkpoint === undefined) delete next.checkpoint
  else next.checkpoint = checkpoint
  const { roles, capabilities } = disconnected(next)
  Object.assign(framework, { info: next, roles, capabilities })
}

/** The stream is closed from the other side. */
export function disconnect (state: MasterState, framework: Framework, out: Outcome, context: Context): void {
  framework.stream = null
  framework.filters = []
  removeOffers(state, offersOf(state, framework.id))
  framework.removalMs = context.nowMs + failoverMs(framework)
  if (framework.removalMs <= context.nowMs) remove(state, framework, out, context)
  else allocate(state, out, context)
}

/** After a restart of the master nobody is subscribed. */
export function awaitReturn (framework: Framework, context: Context): void {
  framework.removalMs = context.nowMs + Math.max(failoverMs(framework), recoveredFrameworkMsMin)
}

function failoverMs ({ info }: Framework): number { return Math.max(0, info.failover_timeout ?? 0) * 1000 }

/** Its tasks are killed and its id is burnt; what is reserved for its roles stays reserved. */
export function remove (state: MasterState, framework: Framework, out: Outcome, context: Context): void {
  removeOffers(state, offersOf(state, framework.id))
  for (const task of tasksOf(state, framework.id)) {
    task.orphan = true
    task.updates = []
    if (isInUse(task)) {
      task.statuses.push({
        task_id: task.info.task_id, state: 'TASK_KILLED', message: `Framework ${framework.id} removed`, source: 'SOURCE_MASTER',
        reason: 'REASON_FRAMEWORK_REMOVED', agent_id: { value: task.agentId }, timestamp: context.wallMs / 1000
      })
      beginKill(task, task.info.kill_policy, out)
    } else {
      complete(state, task, out)
    }
  }
  for (const operation of [...state.operations.values()].filter(({ frameworkId }) => frameworkId === framework.id)) {
    state.operations.delete(operation.uuid)
    out.operationChanged(operation)
  }
  if (framework.stream !== null) out.push({ type: 'close-stream', stream: framework.stream })
  framework.stream = null
  state.frameworks.delete(framework.id)
  tellFrameworkRemoved(framework, out)
  out.frameworkChanged(framework)
  const { info, registeredMs, reregisteredMs } = framework
  state.completedFrameworks.set(framework.id, { info, registeredMs, reregisteredMs, unregisteredMs: context.wallMs })
  out.completedChanged(framework.id)
  forgetOldest(state, out)
  allocate(state, out, context)
}

function forgetOldest (state: MasterState, out: Outcome): void {
  for (const id of state.completedFrameworks.keys()) {
    if (state.completedFrameworks.size <= completedFrameworksMax) return
    state.completedFrameworks.delete(id)
    out.completedChanged(id)
  }
}

/** UPDATE_FRAMEWORK: the answer's text, undefined when it is done. */
export function updateFramework (state: MasterState, framework: Framework, update: UpdateFramework, out: Outcome, context: Context): string | undefined {
  const { framework_info: info, suppressed_roles: suppressed = [] } = update
  const problem = infoProblem(info) ?? immutableProblem(framework.info, info)
  if (problem !== undefined) return `FrameworkInfo update is not valid: ${problem}`
  const suppressedIssue = suppressedProblem(info, suppressed)
  if (suppressedIssue !== undefined) return suppressedIssue
  adoptInfo(framework, info)
  framework.suppressed = new Set(suppressed)
  out.frameworkChanged(framework)
  tellFramework(framework, 'UPDATED', out)
  const gone = offersOf(state, framework.id).filter(({ role }) => !framework.roles.includes(role))
  removeOffers(state, gone)
  for (const { id } of gone) out.event(framework, { type: 'RESCIND', rescind: { offer_id: { value: id } } })
  allocate(state, out, context)
  return undefined
}

function immutableProblem (before: FrameworkInfo, after: FrameworkInfo): string | undefined {
  if (before.principal !== after.principal) return "Changing framework's principal is not allowed."
  for (const field of ['user', 'checkpoint'] as const) {
    if ((before[field] ?? false) !== (after[field] ?? false)) {
      return `Updating 'FrameworkInfo.${field}' is unsupported; attempted to update from '${before[field] ?? false}' to '${after[field] ?? false}'`
    }
  }
  return undefined
}

export function uuidText (bytes: Buffer): string {
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
