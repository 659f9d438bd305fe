import { AtollError, messageOf } from '../../../fsnode/protocol/errors.ts'
import { updateRetryMsMin } from '../constants.ts'
import { newAgent, type Agent, type CompletedFramework, type Framework, type MasterState, type PendingOperation, type Task } from './state.ts'

/**
 * The records of the store (JSON):
 *   meta                    format, master id, counters
 *   agent/<agent id>        resources with reservations and volumes
 *   framework/<id>          FrameworkInfo of frameworks that are not removed
 *   completed/<id>          of those that are
 *   task/<framework>/<id>   tasks, until their last update is acknowledged
 *   operation/<uuid>        operation outcomes that are not acknowledged
 * Offers, filters and streams end with the process.
 */
export const keys = {
  meta: 'meta',
  agent: (id: string) => `agent/${id}`,
  framework: (id: string) => `framework/${id}`,
  completed: (id: string) => `completed/${id}`,
  task: (key: string) => `task/${key}`,
  operation: (uuid: string) => `operation/${uuid}`
}

export const formatVersion = 1

export interface Meta { format: number, masterId: string, frameworkCount: number, offerCountReserved: number }

export function durableMeta (state: MasterState): Meta {
  return { format: formatVersion, masterId: state.masterId, frameworkCount: state.frameworkCount, offerCountReserved: state.offerCountReserved }
}

export function durableAgent ({ id, machine, base, total, registeredMs, presence, unreachableMs, deactivated, drain }: Agent): unknown {
  return { id, machine, base, total, registeredMs, presence, unreachableMs, deactivated, drain }
}

export function durableFramework ({ id, info, registeredMs, reregisteredMs }: Framework): unknown { return { id, info, registeredMs, reregisteredMs } }

export function durableCompleted (completed: CompletedFramework): unknown { return completed }

export function durableTask (task: Task): unknown {
  return { ...task, updates: task.updates.map(({ status }) => status) }
}

export function durableOperation ({ uuid, frameworkId, agentId, operationId, state }: PendingOperation): unknown {
  return { uuid, frameworkId, agentId, operationId, state }
}

/** Puts one record into the state. Throws ATOLL_STORE_UNUSABLE when it is not one. */
export function restore (state: MasterState, key: string, text: string): void {
  try {
    restoreRecord(state, key, JSON.parse(text))
  } catch (error) {
    throw new AtollError('ATOLL_STORE_UNUSABLE', `the record ${key} of the embedded scheduler is damaged: ${messageOf(error)}`)
  }
}

function restoreRecord (state: MasterState, key: string, record: any): void {
  const kind = key.slice(0, Math.max(0, key.indexOf('/')))
  switch (kind) {
    case 'agent':
      required(record, 'id', 'base', 'total')
      state.agents.set(record.id, newAgent({ hostname: '', port: 0, attributes: [], machine: machineIn(record.id), ...record }))
      return
    case 'framework':
      required(record, 'id', 'info')
      state.frameworks.set(record.id, { ...disconnected(record.info), ...record })
      return
    case 'completed':
      required(record, 'info')
      state.completedFrameworks.set(record.info.id.value, record)
      return
    case 'task':
      required(record, 'key', 'frameworkId', 'info', 'agentId', 'resources', 'containerId', 'directory', 'state', 'updates', 'statuses')
      state.tasks.set(record.key, { ...record, updates: record.updates.map((status: unknown) => ({ status, retryMs: 0, delayMs: updateRetryMsMin, sent: false })) })
      return
    case 'operation':
      required(record, 'uuid', 'frameworkId', 'agentId', 'operationId', 'state')
      state.operations.set(record.uuid, { ...record, retryMs: 0, delayMs: updateRetryMsMin })
      return
    default:
      throw new Error('unknown kind')
  }
}

/** Records of before agents could be replaced name none: their ids count the machines. */
function machineIn (agentId: string): number | null {
  const number = /-S(\d+)$/.exec(agentId)?.[1]
  return number === undefined ? null : Number(number)
}

function required (record: any, ...fields: string[]): void {
  if (typeof record !== 'object' || record === null) throw new Error('not an object')
  for (const field of fields) if (record[field] === undefined) throw new Error(`${field} is missing`)
}

/** A framework as it is right after a restart of the master. */
export function disconnected (info: Framework['info']): Omit<Framework, 'id' | 'registeredMs' | 'reregisteredMs'> {
  return {
    info,
    roles: rolesOf(info),
    capabilities: new Set((info.capabilities ?? []).map(({ type }) => type)),
    stream: null,
    streamId: '',
    suppressed: new Set(),
    filters: [],
    nextHeartbeatMs: 0,
    removalMs: Infinity,
    recovered: true,
    lastOffer: 0
  }
}

export function rolesOf (info: Framework['info']): string[] {
  const multiRole = (info.capabilities ?? []).some(({ type }) => type === 'MULTI_ROLE')
  return multiRole ? info.roles ?? [] : [info.role ?? '*']
}
