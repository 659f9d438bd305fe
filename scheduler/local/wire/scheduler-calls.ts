import type { Call } from '../../mesos/types.ts'
import { filters, frameworkInfo, id, killPolicy, operation } from './messages.ts'
import { anything, bytes, enumeration, list, message, optional, repeated, required, string, type Decoder } from './schema.ts'

/** Calls that later versions of the types may name too. */
export type SchedulerCall = Call
  | { framework_id: { value: string }, type: 'REQUEST' | 'MESSAGE' }
  | { framework_id: { value: string }, type: 'UPDATE_FRAMEWORK', update_framework: UpdateFramework }

export interface UpdateFramework { framework_info: Extract<Call, { type: 'SUBSCRIBE' }>['subscribe']['framework_info'], suppressed_roles?: string[] }

const roles = message({ roles: repeated(string) })

export const call: Decoder<Record<string, any>> = message({
  type: optional(enumeration(
    'SUBSCRIBE', 'TEARDOWN', 'ACCEPT', 'DECLINE', 'REVIVE', 'KILL', 'SHUTDOWN', 'ACKNOWLEDGE', 'RECONCILE', 'MESSAGE', 'REQUEST', 'SUPPRESS',
    'ACCEPT_INVERSE_OFFERS', 'DECLINE_INVERSE_OFFERS', 'ACKNOWLEDGE_OPERATION_STATUS', 'RECONCILE_OPERATIONS', 'UPDATE_FRAMEWORK')),
  framework_id: optional(id),
  subscribe: optional(message({ framework_info: required(frameworkInfo), suppressed_roles: repeated(string), offer_constraints: optional(anything) })),
  accept: optional(message({ offer_ids: list(id), operations: list(operation), filters: optional(filters) })),
  decline: optional(message({ offer_ids: list(id), filters: optional(filters) })),
  revive: optional(roles),
  suppress: optional(roles),
  kill: optional(message({ task_id: required(id), agent_id: optional(id), kill_policy: optional(killPolicy) })),
  shutdown: optional(message({ executor_id: required(id), agent_id: required(id) })),
  acknowledge: optional(message({ agent_id: required(id), task_id: required(id), uuid: required(bytes) })),
  acknowledge_operation_status: optional(message({ agent_id: optional(id), resource_provider_id: optional(id), uuid: required(bytes), operation_id: required(id) })),
  reconcile: optional(message({ tasks: list(message({ task_id: required(id), agent_id: optional(id) })) })),
  reconcile_operations: optional(message({ operations: list(message({ operation_id: required(id), agent_id: optional(id), resource_provider_id: optional(id) })) })),
  accept_inverse_offers: optional(message({ inverse_offer_ids: list(id), filters: optional(filters) })),
  decline_inverse_offers: optional(message({ inverse_offer_ids: list(id), filters: optional(filters) })),
  request: optional(anything),
  message: optional(message({ agent_id: required(id), executor_id: required(id), data: required(bytes) })),
  update_framework: optional(message({ framework_info: required(frameworkInfo), suppressed_roles: repeated(string), offer_constraints: optional(anything) }))
})

/** Calls without a member of their own, or with one that may be absent. */
const memberOptional = new Set(['TEARDOWN', 'REVIVE', 'SUPPRESS'])

/** Why a decoded call is not valid; undefined if it is. */
export function callProblem (decoded: Record<string, any>): string | undefined {
  const { type, framework_id: frameworkId, subscribe } = decoded
  if (type === undefined) return "Expecting 'type' to be present"
  const member = (type as string).toLowerCase()
  if (!memberOptional.has(type) && decoded[member] === undefined) return `Expecting '${member}' to be present`
  if (type === 'SUBSCRIBE') {
    return subscribe.framework_info.id?.value === frameworkId?.value ? undefined : "'framework_id' differs from 'subscribe.framework_info.id'"
  }
  if (frameworkId === undefined) return "Expecting 'framework_id' to be present"
  if (type === 'ACKNOWLEDGE' || type === 'ACKNOWLEDGE_OPERATION_STATUS') return isUuid(decoded[member].uuid) ? undefined : 'Not a valid UUID'
  if (type === 'UPDATE_FRAMEWORK' && decoded.update_framework.framework_info.id?.value !== frameworkId.value) {
    return "'framework_id' differs from 'update_framework.framework_info.id'"
  }
  return undefined
}

/** 16 bytes of version 1 to 5: Mesos refuses others, the nil UUID among them. */
function isUuid (base64: string): boolean {
  const decoded = Buffer.from(base64, 'base64')
  const version = (decoded[6] ?? 0) >> 4
  return decoded.length === 16 && version >= 1 && version <= 5
}
