import type { Resource } from '../../mesos/types.ts'
import { mesosVersion } from '../constants.ts'
import type { QueryType } from '../wire/operator-calls.ts'
import { isBelieved, isOutOfReach } from './agents.ts'
import { offeredForm } from './allocate.ts'
import { executorsOf } from './executors.ts'
import { maintenanceStatus } from './maintenance.ts'
import { legacyOf, plus, totalScalar, type Resources } from './resources.ts'
import { offerJson, offersOf, usersOf, type Agent, type CompletedFramework, type Framework, type MasterState, type Task } from './state.ts'

/** What an operator is told. */
export function answerOf (state: MasterState, type: QueryType): unknown {
  switch (type) {
    case 'GET_HEALTH': return { healthy: true }
    case 'GET_VERSION': return { version_info: { version: mesosVersion, build_user: '' } }
    case 'GET_MASTER': return { master_info: state.masterInfo, start_time: state.startedMs / 1000, elected_time: state.startedMs / 1000 }
    case 'GET_AGENTS': return {
      agents: [...state.agents.values()].filter(({ presence }) => presence === 'registered' || presence === 'hanging' || presence === 'away').map((agent) => agentJson(state, agent)),
      recovered_agents: [...state.agents.values()].filter(({ presence }) => presence === 'recovered').map(agentInfo)
    }
    case 'GET_FRAMEWORKS': return {
      frameworks: [...state.frameworks.values()].map((framework) => frameworkJson(state, framework)),
      completed_frameworks: [...state.completedFrameworks.values()].map(completedJson)
    }
    case 'GET_TASKS': return {
      tasks: [...state.tasks.values()].filter(({ agentId }) => !isOutOfReach(state, agentId)).map(taskJson),
      unreachable_tasks: [...state.tasks.values()].filter(({ agentId }) => state.agents.get(agentId)?.presence === 'unreachable').map((task) => ({ ...taskJson(task), state: 'TASK_UNREACHABLE' })),
      completed_tasks: state.completedTasks.map(taskJson)
    }
    case 'GET_EXECUTORS': return { executors: executorsOf(state).map(({ info, agentId }) => ({ executor_info: info, agent_id: { value: agentId } })) }
    case 'GET_OPERATIONS': return filled({ operations: [...state.operations.values()].map(({ uuid, frameworkId, agentId, operationId, state: outcome }) => ({
      framework_id: { value: frameworkId },
      agent_id: { value: agentId },
      latest_status: { operation_id: { value: operationId }, state: outcome, uuid: { value: uuid }, agent_id: { value: agentId } },
      uuid: { value: uuid }
    })) })
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

export function agentJson (state: MasterState, agent: Agent): unknown {
  const users = usersOf(state).filter(({ agentId }) => agentId === agent.id)
  const offers = [...state.offers.values()].filter((offer) => offer.agentId === agent.id)
  return {
    agent_info: agentInfo(agent),
    active: isBelieved(agent) && !agent.deactivated,
    deactivated: agent.deactivated,
    ...(agent.drain !== null && { drain_info: drainJson(agent.drain), estimated_drain_start_time: time(agent.drain.startedMs) }),
    version: mesosVersion,
    pid: `slave(1)@127.0.0.1:${agent.port}`,
    registered_time: time(agent.registeredMs),
    ...(agent.reregisteredMs !== null && { reregistered_time: time(agent.reregisteredMs) }),
    total_resources: fullForm(agent.total),
    ...filled({ allocated_resources: allocatedForm(users), offered_resources: allocatedForm(offers) })
  }
}

function agentInfo ({ hostname, port, base, attributes, id, domain }: Agent): unknown {
  return { hostname, port, resources: base, attributes, id: { value: id }, checkpoint: true, ...(domain !== undefined && { domain }) }
}

function drainJson ({ state, maxGraceMs, markGone: gone }: NonNullable<Agent['drain']>): unknown {
  return { state, config: { ...(maxGraceMs !== null && { max_grace_period: { nanoseconds: maxGraceMs * 1e6 } }), mark_gone: gone } }
}

/** Empty lists are left out, as protobuf does. */
function filled (lists: Record<string, unknown[]>): Record<string, unknown[]> {
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0))
}

function frameworkJson (state: MasterState, framework: Framework): unknown {
  const connected = framework.stream !== null
  const offers = offersOf(state, framework.id)
  const users = usersOf(state).filter(({ frameworkId }) => frameworkId === framework.id)
  return {
    framework_info: framework.info,
    active: connected,
    connected,
    recovered: framework.recovered,
    registered_time: time(framework.registeredMs),
    reregistered_time: time(framework.reregisteredMs),
    offer_constraints: {},
    ...filled({
      offers: offers.map((offer) => offerJson(state, offer, state.agents.get(offer.agentId)!, offeredForm(framework, offer.role, offer.resources))),
      allocated_resources: allocatedForm(users),
      offered_resources: allocatedForm(offers),
      suppressed_roles: [...framework.suppressed]
    })
  }
}

/** A framework as an operator's stream tells of it. */
export function subscribedJson ({ info, stream, recovered, registeredMs, reregisteredMs }: Framework): unknown {
  return {
    framework_info: info,
    active: stream !== null,
    connected: stream !== null,
    recovered,
    registered_time: time(registeredMs),
    reregistered_time: time(reregisteredMs),
    unregistered_time: time(0)
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
    unregistered_time: time(unregisteredMs),
    offer_constraints: {}
  }
}

export function taskJson (task: Task): Record<string, unknown> {
  const { info, statuses } = task
  const last = statuses.findLast(({ uuid }) => uuid !== undefined)
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
  return [...roles].map((name) => {
    const held = sum([...usersOf(state), ...state.offers.values()].filter(({ role }) => role === name))
    const scalars = [...new Set(held.flatMap((resource) => resource.type === 'SCALAR' ? resource.name : []))].sort()
    return {
      name,
      weight: 1,
      ...filled({
        frameworks: [...state.frameworks.values()].filter((framework) => framework.roles.includes(name)).map(({ id }) => ({ value: id })),
        resources: scalars.map((scalar) => ({ name: scalar, type: 'SCALAR', scalar: { value: totalScalar(held, scalar) } }))
      })
    }
  })
}

function sum (holders: Array<{ resources: Resources }>): Resource[] {
  return holders.reduce<Resource[]>((all, { resources }) => plus(all, resources), [])
}

/** The operator API tells both forms of a reservation. */
function fullForm (resources: Resources): Resource[] {
  return resources.map((resource) => ({ ...legacyOf(resource), ...resource }))
}

function allocatedForm (holders: Array<{ role: string, resources: Resources }>): Resource[] {
  const roles = [...new Set(holders.map(({ role }) => role))]
  return roles.flatMap((role) => fullForm(sum(holders.filter((holder) => holder.role === role))).map((resource) => ({ ...resource, allocation_info: { role } })))
}

function time (milliseconds: number): { nanoseconds: number } { return { nanoseconds: Math.round(milliseconds * 1e6) } }
