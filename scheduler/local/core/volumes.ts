import { isAbsolute, normalize } from 'node:path/posix'
import type { Resource } from '../../mesos/types.ts'
import type { VolumePlace } from './effects.ts'
import { idProblem } from './names.ts'
import { OperationError, type Conversion, type Operator, type ResourceChange } from './operations.ts'
import { isEmpty, isMount, isVolume, normalOf, plus, volumeKeyOf, withoutVolume } from './resources.ts'
import type { Agent, MasterState } from './state.ts'
import { isInUse } from './tasks.ts'

// What must hold of persistent volumes that are created, destroyed or resized. All checks throw OperationError.

export function checkCreate (agent: Agent, volumes: Resource[], { principal }: Operator): void {
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

export function checkDestroy (state: MasterState, agent: Agent, volumes: Resource[]): void {
  checkIdle(state, agent, volumes, 'Persistent volumes')
}

/** They are there, and no task uses them. */
function checkIdle (state: MasterState, agent: Agent, volumes: Resource[], what: string): void {
  const there = new Set(agent.total.filter(isVolume).map(volumeKeyOf))
  if (!volumes.every((volume) => isVolume(volume) && there.has(volumeKeyOf(volume)))) throw new OperationError(`${what} not found`)
  const wanted = new Set(volumes.map(volumeKeyOf))
  for (const task of state.tasks.values()) {
    if (task.agentId === agent.id && isInUse(task) && task.resources.some((resource) => isVolume(resource) && wanted.has(volumeKeyOf(resource)))) {
      throw new OperationError(`${what} in use`)
    }
  }
}

/** What growing takes besides the volume, or what shrinking gives back: the same disk under the same reservation. */
export function resizeOf (state: MasterState, agent: Agent, change: Extract<ResourceChange, { volume: Resource }>): Pick<Conversion, 'consumed' | 'converted'> {
  const volume = normalOf(change.volume)
  checkIdle(state, agent, [volume], 'Persistent volume')
  if (isMount(volume)) throw new OperationError('A volume on a MOUNT disk is the whole disk: its size cannot be changed')
  const mb = volume.scalar!.value
  const disk = withoutVolume(volume)
  if (change.type === 'GROW_VOLUME') {
    const addition = normalOf(change.addition)
    if (isEmpty(addition)) throw new OperationError("The size of 'addition' field must be greater than zero")
    if (isVolume(addition) || plus([disk], [addition]).length !== 1) throw new OperationError("Incompatible resources in the 'volume' and 'addition' fields")
    return { consumed: [volume, addition], converted: [sized(volume, mb + addition.scalar!.value)] }
  }
  const { subtractMb } = change
  if (!(subtractMb > 0)) throw new OperationError("The size of 'subtract' field must be greater than zero")
  if (subtractMb >= mb) throw new OperationError("The size of 'subtract' field must be less than that of the volume")
  return { consumed: [volume], converted: [sized(volume, mb - subtractMb), sized(disk, subtractMb)] }
}

const sized = (disk: Resource, mb: number): Resource => normalOf({ ...disk, scalar: { value: mb } })

export function placeOf ({ reservations, role, disk }: Resource): VolumePlace {
  return { role: reservations?.at(-1)?.role ?? role ?? '*', id: disk!.persistence!.id, ...(disk!.source !== undefined && { source: disk!.source }) }
}
