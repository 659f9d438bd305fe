import type { SchedulerEvent } from './types.ts'

type Json = Record<string, unknown>

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
const isId = (value: unknown): boolean => isObject(value) && typeof value.value === 'string' && value.value !== ''
const isOptionalId = (value: unknown): boolean => value === undefined || isId(value)
const isOptionalString = (value: unknown): boolean => value === undefined || typeof value === 'string'
const isOptionalList = (value: unknown, check: (item: unknown) => boolean): boolean =>
  value === undefined || (Array.isArray(value) && value.every(check))

function isResource (value: unknown): boolean {
  if (!isObject(value) || typeof value.name !== 'string') return false
  switch (value.type) {
    case 'SCALAR': return isObject(value.scalar) && typeof value.scalar.value === 'number' && isReservable(value)
    case 'RANGES': return isObject(value.ranges) && isOptionalList(value.ranges.range, isRange) && isReservable(value)
    default: return isReservable(value)
  }
}

const isRange = (value: unknown): boolean =>
  isObject(value) && Number.isSafeInteger(value.begin) && Number.isSafeInteger(value.end)

function isReservable (resource: Json): boolean {
  return isOptionalList(resource.reservations, (value) => isObject(value) && typeof value.role === 'string' && areLabels(value.labels)) &&
    (resource.disk === undefined || isDisk(resource.disk))
}

const areLabels = (value: unknown): boolean =>
  value === undefined || (isObject(value) && isOptionalList(value.labels, (label) => isObject(label) && typeof label.key === 'string'))

const isDisk = (value: unknown): boolean => isObject(value) &&
  (value.persistence === undefined || (isObject(value.persistence) && typeof value.persistence.id === 'string'))

const isAttribute = (value: unknown): boolean => isObject(value) && typeof value.name === 'string' &&
  (value.text === undefined || (isObject(value.text) && typeof value.text.value === 'string'))

const isDomain = (value: unknown): boolean => {
  if (value === undefined) return true
  if (!isObject(value)) return false
  const domain = value.fault_domain
  return domain === undefined || (isObject(domain) &&
    [domain.region, domain.zone].every((part) => isObject(part) && typeof part.name === 'string'))
}

const isOffer = (value: unknown): boolean => isObject(value) && isId(value.id) && isId(value.agent_id) &&
  typeof value.hostname === 'string' && isOptionalList(value.resources, isResource) &&
  isOptionalList(value.attributes, isAttribute) && isDomain(value.domain) &&
  (value.allocation_info === undefined || (isObject(value.allocation_info) && typeof value.allocation_info.role === 'string'))

const isInverseOffer = (value: unknown): boolean => isObject(value) && isId(value.id) && isOptionalId(value.agent_id)

const isTaskStatus = (value: unknown): boolean => isObject(value) && isId(value.task_id) && typeof value.state === 'string' &&
  isOptionalId(value.agent_id) && isOptionalString(value.uuid) && isOptionalString(value.message) && isOptionalString(value.reason)

const isOperationStatus = (value: unknown): boolean => isObject(value) && typeof value.state === 'string' &&
  isOptionalId(value.operation_id) && isOptionalId(value.uuid) && isOptionalId(value.agent_id) && isOptionalString(value.message)

const bodies: Record<string, (body: Json) => boolean> = {
  subscribed: (body) => isId(body.framework_id) &&
    (body.heartbeat_interval_seconds === undefined || typeof body.heartbeat_interval_seconds === 'number'),
  offers: (body) => isOptionalList(body.offers, isOffer) && body.offers !== undefined,
  rescind: (body) => isId(body.offer_id),
  inverse_offers: (body) => isOptionalList(body.inverse_offers, isInverseOffer) && body.inverse_offers !== undefined,
  rescind_inverse_offer: (body) => isId(body.inverse_offer_id),
  update: (body) => isTaskStatus(body.status),
  update_operation_status: (body) => isOperationStatus(body.status),
  message: (body) => isId(body.agent_id),
  failure: (body) => isOptionalId(body.agent_id),
  error: (body) => typeof body.message === 'string'
}

/**
 * One record of the event stream, checked as far as anybody reads it; `undefined` for a type that this version
 * does not know, or a known one whose fields are not as they must be: such an event is skipped, the stream goes on.
 * Throws SyntaxError when the record is not JSON.
 */
export function decodeEvent (record: Uint8Array): SchedulerEvent | undefined {
  const json: unknown = JSON.parse(Buffer.from(record.buffer, record.byteOffset, record.byteLength).toString())
  if (!isObject(json) || typeof json.type !== 'string') return undefined
  if (json.type === 'HEARTBEAT') return { type: 'HEARTBEAT' }
  const member = json.type.toLowerCase()
  const body = json[member]
  if (!Object.hasOwn(bodies, member) || !isObject(body) || !bodies[member](body)) return undefined
  return json as SchedulerEvent
}
