import type { Resource } from '../../mesos/types.ts'
import { growVolume, id, resource, shrinkVolume } from './messages.ts'
import type { MachineId, Schedule } from '../core/maintenance.ts'
import { amount, boolean, enumeration, integer, list, message, optional, required, string, type Decoder } from './schema.ts'

interface Id { value: string }

const queries = ['GET_HEALTH', 'GET_VERSION', 'GET_MASTER', 'GET_AGENTS', 'GET_FRAMEWORKS', 'GET_TASKS', 'GET_EXECUTORS', 'GET_OPERATIONS', 'GET_ROLES', 'GET_STATE', 'GET_MAINTENANCE_STATUS', 'GET_MAINTENANCE_SCHEDULE',
  'GET_METRICS', 'GET_QUOTA', 'GET_LOGGING_LEVEL'] as const
const mutations = ['TEARDOWN', 'RESERVE_RESOURCES', 'UNRESERVE_RESOURCES', 'CREATE_VOLUMES', 'DESTROY_VOLUMES', 'UPDATE_MAINTENANCE_SCHEDULE', 'START_MAINTENANCE', 'STOP_MAINTENANCE',
  'DRAIN_AGENT', 'DEACTIVATE_AGENT', 'REACTIVATE_AGENT', 'MARK_AGENT_GONE', 'GROW_VOLUME', 'SHRINK_VOLUME'] as const
/** Known to Mesos, meaningless or not offered on one machine. */
const unsupported = [
  'GET_FLAGS', 'SET_LOGGING_LEVEL', 'LIST_FILES', 'READ_FILE', 'UPDATE_QUOTA', 'SET_QUOTA', 'REMOVE_QUOTA', 'GET_WEIGHTS', 'UPDATE_WEIGHTS'] as const

export type QueryType = typeof queries[number]

export type OperatorCall =
  | { type: QueryType }
  | { type: typeof unsupported[number] }
  | { type: 'SUBSCRIBE' }
  | { type: 'TEARDOWN', teardown: { framework_id: Id } }
  | { type: 'RESERVE_RESOURCES', reserve_resources: { agent_id: Id, resources: Resource[] } }
  | { type: 'UNRESERVE_RESOURCES', unreserve_resources: { agent_id: Id, resources: Resource[] } }
  | { type: 'CREATE_VOLUMES', create_volumes: { agent_id: Id, volumes: Resource[] } }
  | { type: 'UPDATE_MAINTENANCE_SCHEDULE', update_maintenance_schedule: { schedule: Schedule } }
  | { type: 'START_MAINTENANCE', start_maintenance: { machines: MachineId[] } }
  | { type: 'STOP_MAINTENANCE', stop_maintenance: { machines: MachineId[] } }
  | { type: 'DRAIN_AGENT', drain_agent: { agent_id: Id, max_grace_period?: { seconds: number }, mark_gone?: boolean } }
  | { type: 'DEACTIVATE_AGENT', deactivate_agent: { agent_id: Id } }
  | { type: 'REACTIVATE_AGENT', reactivate_agent: { agent_id: Id } }
  | { type: 'MARK_AGENT_GONE', mark_agent_gone: { agent_id: Id } }
  | { type: 'DESTROY_VOLUMES', destroy_volumes: { agent_id: Id, volumes: Resource[] } }
  | { type: 'GROW_VOLUME', grow_volume: { agent_id: Id, volume: Resource, addition: Resource } }
  | { type: 'SHRINK_VOLUME', shrink_volume: { agent_id: Id, volume: Resource, subtract: { value: number } } }

const agentOnly = message({ agent_id: required(id) })
const machine = message({ hostname: optional(string), ip: optional(string) })
const duration = message({ nanoseconds: required(integer) })
const unavailability = message({ start: required(duration), duration: optional(duration) })
const resources = message({ agent_id: required(id), resources: list(resource) })
const volumes = message({ agent_id: required(id), volumes: list(resource) })

export const operatorCall: Decoder<Record<string, any>> = message({
  type: optional(enumeration('SUBSCRIBE', ...queries, ...mutations, ...unsupported)),
  teardown: optional(message({ framework_id: required(id) })),
  reserve_resources: optional(resources),
  unreserve_resources: optional(resources),
  create_volumes: optional(volumes),
  destroy_volumes: optional(volumes),
  update_maintenance_schedule: optional(message({ schedule: required(message({ windows: list(message({ machine_ids: list(machine), unavailability: required(unavailability) })) })) })),
  start_maintenance: optional(message({ machines: list(machine) })),
  stop_maintenance: optional(message({ machines: list(machine) })),
  drain_agent: optional(message({ agent_id: required(id), max_grace_period: optional(message({ seconds: required(amount) })), mark_gone: optional(boolean) })),
  deactivate_agent: optional(agentOnly),
  reactivate_agent: optional(agentOnly),
  mark_agent_gone: optional(agentOnly),
  grow_volume: optional(message({ agent_id: required(id), ...growVolume })),
  shrink_volume: optional(message({ agent_id: required(id), ...shrinkVolume }))
})

/** Why a decoded call is not valid; undefined if it is. */
export function operatorCallProblem ({ type, ...members }: Record<string, any>): string | undefined {
  if (type === undefined) return "Expecting 'type' to be present"
  const member = (type as string).toLowerCase()
  return (mutations as readonly string[]).includes(type) && members[member] === undefined ? `Expecting '${member}' to be present` : undefined
}

export function isQuery (call: OperatorCall): call is { type: QueryType } { return (queries as readonly string[]).includes(call.type) }
