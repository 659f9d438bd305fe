import type { Id, Resource } from '../../mesos/types.ts'
import { mesosVersion } from '../constants.ts'
import { isQuery, type OperatorCall, type QueryType } from '../wire/operator-calls.ts'
import { allocate, available, offeredForm, removeOffers } from './allocate.ts'
import { deactivate, drain, markGone, reactivate } from './agents.ts'
import type { Context } from './effects.ts'
import { maintenanceStatus, startMaintenance, stopMaintenance, updateSchedule } from './maintenance.ts'
import { remove } from './frameworks.ts'
import { apply, conversionOf, OperationError, type ResourceChange } from './operations.ts'
import type { Outcome } from './outcome.ts'
import { contains, legacyOf, minus, plus, type Resources } from './resources.ts'
import { textOf } from './resource-text.ts'
import { offerJson, offersOf, type Agent, type CompletedFramework, type Framework, type MasterState, type Task } from './state.ts'
import { isInUse } from './tasks.ts'

/** The operator API. */
export function operate (state: MasterState, request: number, call: OperatorCall, out: Outcome, context: Context): void {
  if (isQuery(call)) {
    out.push({ type: 'reply', request, status: 200, json: { type: call.type, [call.type.toLowerCase()]: answerOf(state, call.type) } })
    return
  }
  switch (call.type) {
    case 'TEARDOWN': {
      const framework = state.frameworks.get(call.teardown.framework_id.value)
      if (framework === undefined) return out.reply(request, 400, 'No framework found with specified ID')
      remove(state, framework, out, context)
      return out.reply(request, 200)
    }
    case 'RESERVE_RESOURCES': return mutate(state, request, call.reserve_resources.agent_id, { type: 'RESERVE', resources: call.reserve_resources.resources }, out, context)
    case 'UNRESERVE_RESOURCES': return mutate(state, request, call.unreserve_resources.agent_id, { type: 'UNRESERVE', resources: call.unreserve_resources.resources }, out, context)
    case 'CREATE_VOLUMES': return mutate(state, request, call.create_volumes.agent_id, { type: 'CREATE', resources: call.create_volumes.volumes }, out, context)
    case 'DESTROY_VOLUMES': return mutate(state, request, call.destroy_volumes.agent_id, { type: 'DESTROY', resources: call.destroy_volumes.volumes }, out, context)
    case 'GROW_VOLUME': return mutate(state, request, call.grow_volume.agent_id, { type: 'GROW_VOLUME', ...call.grow_volume }, out, context)
    case 'SHRINK_VOLUME': return mutate(state, request, call.shrink_volume.agent_id, { type: 'SHRINK_VOLUME', volume: call.shrink_volume.volume, subtractMb: call.shrink_volume.subtract.value }, out, context)
    case 'UPDATE_MAINTENANCE_SCHEDULE': return settle(request, updateSchedule(state, call.update_maintenance_schedule.schedule, out, context), out)
    case 'START_MAINTENANCE': return settle(request, startMaintenance(state, call.start_maintenance.machines, out, context), out)
    case 'STOP_MAINTENANCE': return settle(request, stopMaintenance(state, call.stop_maintenance.machines), out)
    case 'MARK_AGENT_GONE': {
      const id = call.mark_agent_gone.agent_id.value
      const agent = state.agents.get(id)
      if (agent === undefined) return out.reply(request, 404, `Agent '${id}' not found`)
      out.reply(request, 200)
      return markGone(state, agent, out, context)
    }
    case 'DRAIN_AGENT': {
      const { agent_id: { value }, max_grace_period: grace, mark_gone: gone = false } = call.drain_agent
      return withAgent(state, request, value, out, (agent) => {
        if (agent.presence === 'gone') return out.reply(request, 409, 'Agent is already marked gone')
        out.reply(request, 200)
        drain(state, agent, { maxGraceMs: grace === undefined ? null : grace.seconds * 1000, markGone: gone }, out, context)
      })
    }
    case 'DEACTIVATE_AGENT': return withAgent(state, request, call.deactivate_agent.agent_id.value, out, (agent) => {
      out.reply(request, 200)
      deactivate(state, agent, out)
    })
    case 'REACTIVATE_AGENT': return withAgent(state, request, call.reactivate_agent.agent_id.value, out, (agent) => {
      settle(request, reactivate(state, agent, out, context), out)
    })
    default: return out.reply(request, 501, `${call.type} is not supported by the embedded master`)
  }
}

function settle (request: number, problem: string | undefined, out: Outcome): void { out.reply(request, problem === undefined ? 200 : 400, problem) }

function withAgent (state: MasterState, request: number, id: string, out: Outcome, action: (agent: Agent) => void): void {
  const agent = state.agents.get(id)
  if (agent === undefined) out.reply(request, 400, 'Unknown agent')
  else action(agent)
}

/** An operator's change of resources: 400 when it makes no sense, 409 when they are in use. */
function mutate (state: MasterState, request: number, agentId: Id, change: ResourceChange, out: Outcome, context: Context): void {
  const agent = state.agents.get(agentId.value)
  if (agent === undefined) return out.reply(request, 400, 'No agent found with specified ID')
  const resources = 'resources' in change ? change.resources : [change.volume]
  if (resources.some(({ allocation_info: allocation }) => allocation !== undefined)) return out.reply(request, 400, `Invalid ${change.type} operation: the 'allocation_info' of a resource must not be set`)
  try {
    const conversion = conversionOf(state, agent, change, {})
    if (!withdrawOffers(state, agent, conversion.consumed, out)) {
      return out.reply(request, 409, `${textOf(available(state, agent))} does not contain ${textOf(conversion.consumed)}`)
    }
    apply(agent, conversion, out)
    out.reply(request, 202)
    allocate(state, out, context)
  } catch (error) {
    if (!(error instanceof OperationError)) throw error
    out.reply(request, 400, `Invalid ${change.type} operation: ${error.message}`)
  }
}

/** Rescinds offers until the resources are free; false, and nothing rescinded, when tasks use them. */
function withdrawOffers (state: MasterState, agent: Agent, wanted: Resources, out: Outcome): boolean {
  let free: Resources = available(state, agent)
  const withdrawn = []
  for (const offer of state.offers.values()) {
    if (contains(free, wanted)) break
    if (offer.agentId !== agent.id) continue
    free = plus(free, offer.resources)
    withdrawn.push(offer)
  }
  if (minus(free, wanted) === undefined) return false
  removeOffers(state, withdrawn)
  for (const { id, frameworkId } of withdrawn) {
    const framework = state.frameworks.get(frameworkId)
    if (framework !== undefined) out.event(framework, { type: 'RESCIND', rescind: { offer_id: { value: id } } })
  }
  return true
}

function answerOf (state: MasterState, type: QueryType): unknown {
  switch (type) {
    case 'GET_HEALTH': return { healthy: true }
    case 'GET_VERSION': return { version_info: { version: mesosVersion, build_user: '' } }
    case 'GET_MASTER': return { master_info: state.masterInfo, start_time: state.startedMs / 1000, elected_time: state.startedMs / 1000 }
    case 'GET_AGENTS': return { agents: [...state.agents.values()].filter(({ presence }) => presence !== 'unreachable' && presence !== 'removed' && presence !== 'gone').map((agent) => agentJson(state, agent)) }
    case 'GET_FRAMEWORKS': return {
      frameworks: [...state.frameworks.values()].map((framework) => frameworkJson(state, framework)),
      completed_frameworks: [...state.completedFrameworks.values()].map(completedJson)
    }
    case 'GET_TASKS': return {
      tasks: [...state.tasks.values()].filter((task) => !isAway(state, task)).map(taskJson),
      unreachable_tasks: [...state.tasks.values()].filter((task) => isAway(state, task)).map((task) => ({ ...taskJson(task), state: 'TASK_UNREACHABLE' })),
      completed_tasks: state.completedTasks.map(taskJson)
    }
    case 'GET_EXECUTORS': return { executors: [] }
    case 'GET_OPERATIONS': return { operations: [...state.operations.values()].map(({ uuid, frameworkId, agentId, operationId, state: outcome }) => ({
      framework_id: { value: frameworkId },
      agent_id: { value: agentId },
      latest_status: { operation_id: { value: operationId }, state: outcome, uuid: { value: uuid }, agent_id: { value: agentId } },
      uuid: { value: uuid }
    })) }
    case 'GET_METRICS': return { metrics: metricsOf(state) }
    case 'GET_QUOTA': return { status: {} }
    case 'GET_LOGGING_LEVEL': return { level: 0 }
    case 'GET_MAINTENANCE_STATUS': return { status: maintenanceStatus(state) }
    case 'GET_MAINTENANCE_SCHEDULE': return { schedule: state.maintenance.schedule.windows.length === 0 ? {} : state.maintenance.schedule }
    case 'GET_ROLES': return { roles: rolesJson(state) }
    case 'GET_STATE': return {
      get_tasks: answerOf(state, 'GET_TASKS'),
      get_executors: answerOf(state, 'GET_EXECUTORS'),
      get_frameworks: answerOf(state, 'GET_FRAMEWORKS'),
      get_agents: answerOf(state, 'GET_AGENTS')
    }
  }
}

/** A few of Mesos's, under its names. */
function metricsOf (state: MasterState): Array<{ name: string, value: number }> {
  const tasks = [...state.tasks.values()]
  const agents = [...state.agents.values()]
  return Object.entries({
    'master/elected': 1,
    'master/frameworks_connected': [...state.frameworks.values()].filter(({ stream }) => stream !== null).length,
    'master/outstanding_offers': state.offers.size,
    'master/slaves_active': agents.filter(({ presence }) => presence === 'registered').length,
    'master/slaves_unreachable': agents.filter(({ presence }) => presence === 'unreachable').length,
    'master/tasks_running': tasks.filter((task) => task.state === 'TASK_RUNNING').length
  }).map(([name, value]) => ({ name, value }))
}

function agentJson (state: MasterState, agent: Agent): unknown {
  const tasks = [...state.tasks.values()].filter((task) => task.agentId === agent.id && isInUse(task))
  const offers = [...state.offers.values()].filter((offer) => offer.agentId === agent.id)
  return {
    agent_info: {
      hostname: agent.hostname,
      port: agent.port,
      resources: agent.base,
      attributes: agent.attributes,
      id: { value: agent.id },
      checkpoint: true,
      ...(agent.domain !== undefined && { domain: agent.domain })
    },
    active: agent.presence === 'registered' || agent.presence === 'hanging',
    deactivated: agent.deactivated,
    ...(agent.drain !== null && { drain_info: drainJson(agent.drain) }),
    version: mesosVersion,
    pid: `slave(1)@127.0.0.1:${agent.port}`,
    registered_time: time(agent.registeredMs),
    total_resources: fullForm(agent.total),
    ...filled({ allocated_resources: fullForm(sum(tasks)), offered_resources: fullForm(sum(offers)) })
  }
}

function drainJson ({ state, maxGraceMs, markGone: gone }: NonNullable<Agent['drain']>): unknown {
  return { state, config: { ...(maxGraceMs !== null && { max_grace_period: { nanoseconds: maxGraceMs * 1e6 } }), mark_gone: gone } }
}

const isAway = (state: MasterState, { agentId }: Task): boolean => state.agents.get(agentId)?.presence === 'unreachable'

/** Empty lists are left out, as protobuf does. */
function filled (lists: Record<string, unknown[]>): Record<string, unknown[]> {
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0))
}

function frameworkJson (state: MasterState, framework: Framework): unknown {
  const connected = framework.stream !== null
  const offers = offersOf(state, framework.id)
  const tasks = [...state.tasks.values()].filter((task) => task.frameworkId === framework.id && isInUse(task))
  return {
    framework_info: framework.info,
    active: connected,
    connected,
    recovered: framework.recovered,
    registered_time: time(framework.registeredMs),
    reregistered_time: time(framework.reregisteredMs),
    ...filled({
      offers: offers.map((offer) => offerJson(offer, state.agents.get(offer.agentId)!, offeredForm(framework, offer.role, offer.resources))),
      allocated_resources: fullForm(sum(tasks)),
      offered_resources: fullForm(sum(offers)),
      suppressed_roles: [...framework.suppressed]
    })
  }
}

function completedJson ({ info, registeredMs, reregisteredMs, unregisteredMs }: CompletedFramework): unknown {
  return {
    framework_info: info,
    active: false,
    connected: false,
    recovered: false,
    registered_time: time(registeredMs),
    reregistered_time: time(reregisteredMs),
    unregistered_time: time(unregisteredMs)
  }
}

function taskJson (task: Task): Record<string, unknown> {
  const { info, statuses } = task
  const last = statuses.at(-1)
  return {
    name: info.name,
    task_id: info.task_id,
    framework_id: { value: task.frameworkId },
    agent_id: { value: task.agentId },
    state: task.state,
    resources: info.resources,
    statuses,
    ...(last !== undefined && { status_update_state: last.state, status_update_uuid: last.uuid }),
    ...(info.labels !== undefined && { labels: info.labels }),
    ...(info.discovery !== undefined && { discovery: info.discovery }),
    ...(info.health_check !== undefined && { health_check: info.health_check }),
    ...(info.kill_policy !== undefined && { kill_policy: info.kill_policy })
  }
}

function rolesJson (state: MasterState): unknown[] {
  const roles = new Set([...state.frameworks.values()].flatMap((framework) => framework.roles))
  return [...roles].map((name) => ({
    name,
    weight: 1,
    frameworks: [...state.frameworks.values()].filter((framework) => framework.roles.includes(name)).map(({ id }) => ({ value: id }))
  }))
}

function sum (holders: Array<{ resources: Resources }>): Resource[] {
  return holders.reduce<Resource[]>((all, { resources }) => plus(all, resources), [])
}

/** The operator API tells both forms of a reservation. */
function fullForm (resources: Resources): Resource[] {
  return resources.map((resource) => ({ ...legacyOf(resource), ...resource }))
}

function time (milliseconds: number): { nanoseconds: number } { return { nanoseconds: Math.round(milliseconds * 1e6) } }
