import { isAbsolute, normalize } from 'node:path/posix'
import type { ReservationInfo, Resource } from '../../mesos/types.ts'
import { idProblem, isBelow, roleProblem } from './names.ts'
import { textOf } from './resource-text.ts'
import { isVolume, minus, normalList, plus, popReservation, volumeKeyOf, withoutVolume, type Resources } from './resources.ts'
import type { Agent, MasterState } from './state.ts'
import { isInUse } from './tasks.ts'

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

/** The effect of an operation on resources, before it is known whether they are there. Throws OperationError. */
export function conversionOf (state: MasterState, agent: Agent, type: ResourceOperation, given: Resource[], by: Operator): Conversion {
  if (given.length === 0) throw new OperationError('Invalid resources: empty')
  const resources = normalList(given)
  for (const resource of resources) checkResource(resource, by)
  const none = { createdVolumes: [], destroyedVolumes: [] }
  switch (type) {
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

function checkResource (resource: Resource, { role }: Operator): void {
  const { reservations = [], disk, shared, revocable, provider_id: provider } = resource
  if (revocable !== undefined || provider !== undefined || disk?.source !== undefined) throw new OperationError('Invalid resources: revocable resources, resource providers and disks with a source are not supported')
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

function checkCreate (agent: Agent, volumes: Resource[], { principal }: Operator): void {
  const taken = new Set(agent.total.filter(isVolume).map(volumeKeyOf))
  for (const volume of volumes) {
    const { persistence, volume: mounted } = volume.disk ?? {}
    if (persistence === undefined) throw new OperationError("Invalid resources: 'persistence' is not set in DiskInfo")
    const problem = idProblem(persistence.id)
    if (problem !== undefined) throw new OperationError(`Invalid persistence ID: ${problem}`)
    if (mounted === undefined) throw new OperationError('Invalid resources: Expecting a volume to be set for persistent volume')
    if (mounted.host_path !== undefined) throw new OperationError("Invalid resources: Expecting 'host_path' to be unset for persistent volume")
    if (mounted.mode !== 'RW') throw new OperationError("Invalid resources: Only 'RW' mode is supported for persistent volume")
    const pathProblem = containerPathProblem(mounted.container_path)
    if (pathProblem !== undefined) throw new OperationError(`Invalid resources: ${pathProblem}`)
    if (principal !== undefined && persistence.principal !== principal) {
      throw new OperationError(persistence.principal === undefined
        ? `Create volume operation attempted by principal '${principal}', but there is a volume in the operation with no principal set in 'disk.persistence'`
        : `Create volume operation attempted by authenticated principal '${principal}', which does not match a volume in the operation with principal '${persistence.principal}' set in 'disk.persistence'`)
    }
    const key = volumeKeyOf(volume)
    if (taken.has(key)) throw new OperationError(`Persistence ID '${persistence.id}' is not unique`)
    taken.add(key)
  }
}

/** A volume appears below the sandbox, never above it. */
export function containerPathProblem (path: string): string | undefined {
  if (path === '' || path.includes('\0')) return 'The container_path of a persistent volume must not be empty'
  const plain = normalize(path)
  return isAbsolute(path) || plain === '.' || plain === '..' || plain.startsWith('../') ? `Path '${path}' must be relative and within the sandbox` : undefined
}

function checkDestroy (state: MasterState, agent: Agent, volumes: Resource[]): void {
  const there = new Set(agent.total.filter(isVolume).map(volumeKeyOf))
  if (!volumes.every((volume) => isVolume(volume) && there.has(volumeKeyOf(volume)))) throw new OperationError('Persistent volumes not found')
  const wanted = new Set(volumes.map(volumeKeyOf))
  for (const task of state.tasks.values()) {
    if (task.agentId === agent.id && isInUse(task) && task.resources.some((resource) => isVolume(resource) && wanted.has(volumeKeyOf(resource)))) {
      throw new OperationError('Persistent volumes in use')
    }
  }
}
