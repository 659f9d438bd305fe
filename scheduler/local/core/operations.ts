import type { ReservationInfo, Resource } from '../../mesos/types.ts'
import { isBelow, roleProblem } from './names.ts'
import type { Outcome } from './outcome.ts'
import { textOf } from './resource-text.ts'
import { isVolume, minus, normalList, plus, popReservation, withoutVolume, type Resources } from './resources.ts'
import type { Agent, MasterState } from './state.ts'
import { checkCreate, checkDestroy, placeOf, resizeOf } from './volumes.ts'

/** Who operates. An operator has neither principal nor role. */
export interface Operator { principal?: string, role?: string }

/** What an operation turns into what. */
export interface Conversion {
  consumed: Resources
  converted: Resources
  createdVolumes: Resource[]
  destroyedVolumes: Resource[]
}

/** A text for people: the operation is not possible. */
export class OperationError extends Error {}

export type ResourceOperation = 'RESERVE' | 'UNRESERVE' | 'CREATE' | 'DESTROY'

/** What somebody wants to be done with resources. */
export type ResourceChange =
  | { type: ResourceOperation, resources: Resource[] }
  | { type: 'GROW_VOLUME', volume: Resource, addition: Resource }
  | { type: 'SHRINK_VOLUME', volume: Resource, subtractMb: number }

/** The effect of an operation on resources, before it is known whether they are there. Throws OperationError. */
export function conversionOf (state: MasterState, agent: Agent, change: ResourceChange, by: Operator): Conversion {
  const none = { createdVolumes: [], destroyedVolumes: [] }
  if (change.type === 'GROW_VOLUME' || change.type === 'SHRINK_VOLUME') return { ...none, ...resizeOf(state, agent, change) }
  if (change.resources.length === 0) throw new OperationError('Invalid resources: empty')
  const resources = normalList(change.resources)
  for (const resource of resources) checkResource(resource, by)
  switch (change.type) {
    case 'RESERVE':
      for (const resource of resources) checkReserve(resource, by)
      return { ...none, consumed: plus([], resources.map(popReservation)), converted: resources }
    case 'UNRESERVE':
      for (const resource of resources) checkUnreserve(resource, by)
      return { ...none, consumed: resources, converted: plus([], resources.map(popReservation)) }
    case 'CREATE':
      checkCreate(agent, resources, by)
      return { ...none, consumed: plus([], resources.map(withoutVolume)), converted: resources, createdVolumes: resources }
    case 'DESTROY':
      checkDestroy(state, agent, resources)
      return { ...none, consumed: resources, converted: plus([], resources.map(withoutVolume)), destroyedVolumes: resources }
  }
}

/** `pool` after the conversion. Throws OperationError unless it holds what is consumed. */
export function convert (pool: Resources, { consumed, converted }: Conversion, role?: string): Resource[] {
  const rest = minus(pool, consumed)
  if (rest === undefined) throw new OperationError(`${textOf(pool, role)} does not contain ${textOf(consumed, role)}`)
  return plus(rest, converted)
}

/** The agent has what has come of it, and makes or removes the directories. */
export function apply (agent: Agent, conversion: Conversion, out: Outcome): void {
  agent.total = convert(agent.total, conversion)
  out.agentChanged(agent)
  for (const volume of conversion.createdVolumes) out.push({ type: 'create-volume', volume: placeOf(volume) })
  for (const volume of conversion.destroyedVolumes) out.push({ type: 'destroy-volume', volume: placeOf(volume) })
}

function checkResource (resource: Resource, { role }: Operator): void {
  const { reservations = [], disk, shared, revocable, provider_id: provider } = resource
  if (revocable !== undefined || provider !== undefined) throw new OperationError('Invalid resources: revocable resources and resource providers are not supported')
  if (disk?.source !== undefined && disk.source.type !== 'PATH' && disk.source.type !== 'MOUNT') throw new OperationError(`Invalid resources: disks of type ${disk.source.type} are not supported`)
  if (shared !== undefined) throw new OperationError('Invalid resources: shared volumes are not supported')
  const problem = stackProblem(reservations)
  if (problem !== undefined) throw new OperationError(`Operation attempted with invalid resources: Resource '${textOf([resource], role)}' is invalid: ${problem}`)
  if (disk?.persistence !== undefined && reservations.length === 0) {
    throw new OperationError('Invalid resources: Invalid DiskInfo: Persistent volumes cannot be created from unreserved resources')
  }
  if (resource.name !== 'disk' && disk !== undefined) throw new OperationError('Invalid resources: DiskInfo should not be set for a resource other than disk')
}

/** Why a stack of reservations cannot be; undefined if it can. */
function stackProblem (reservations: ReservationInfo[]): string | undefined {
  for (const [level, { type, role }] of reservations.entries()) {
    const problem = roleProblem(role)
    if (problem !== undefined) return `Invalid reservation: ${problem}`
    if (role === '*') return "Invalid reservation: role '*' cannot be reserved"
    if (level === 0) continue
    const below = reservations[level - 1]!.role
    if (type === 'STATIC') return 'Invalid refined reservation: A refined reservation cannot be STATIC'
    if (!isBelow(role, below)) return `Invalid refined reservation: role '${role}' is not a refinement of '${below}'`
  }
  return undefined
}

function checkReserve (resource: Resource, { principal, role }: Operator): void {
  const reservation = resource.reservations?.at(-1)
  if (reservation === undefined) throw new OperationError(`A reserve operation was attempted with an unreserved resource: ${textOf([resource], role)}`)
  if (reservation.type !== 'DYNAMIC') throw new OperationError(`Resource ${textOf([resource], role)} is not dynamically reserved`)
  if (isVolume(resource)) throw new OperationError('A reserve operation was attempted with a persistent volume')
  if (role !== undefined && reservation.role !== role) {
    throw new OperationError(`A reserve operation was attempted for a resource with role '${reservation.role}', but the resource was allocated to role '${role}'`)
  }
  if (principal === undefined || reservation.principal === principal) return
  throw new OperationError(reservation.principal === undefined
    ? `A reserve operation was attempted by principal '${principal}', but there is a reserved resource in the request with no principal set`
    : `A reserve operation was attempted by authenticated principal '${principal}', which does not match a reserved resource in the request with principal '${reservation.principal}'`)
}

function checkUnreserve (resource: Resource, { role }: Operator): void {
  if (resource.reservations?.at(-1)?.type !== 'DYNAMIC') throw new OperationError(`Resource ${textOf([resource], role)} is not dynamically reserved`)
  if (isVolume(resource)) throw new OperationError(`A dynamically reserved persistent volume ${textOf([resource], role)} cannot be unreserved directly: destroy it first`)
}
