import type { DiskInfo, DiskSource, ReservationInfo, Resource, ValueRange } from '../mesos/types.ts'
import { labelCluster, labelNode, labelResourceId, volumePath } from './constants.ts'
import type { Slot } from './slots.ts'
import type { NodeRecord, NodeResources } from './types.ts'

/** Where a volume or a reservation belongs. */
export interface Owner { role: string, principal: string, clusterId: string, nodeId: string, resourceId: string }

const reservationOf = ({ role, principal, clusterId, nodeId, resourceId }: Owner): ReservationInfo => ({
  type: 'DYNAMIC',
  role,
  principal,
  labels: {
    labels: [
      { key: labelResourceId, value: resourceId },
      { key: labelCluster, value: clusterId },
      { key: labelNode, value: nodeId }
    ]
  }
})

/** Everything that a node reserves, as RESERVE wants it. */
export function reservedResources (owner: Owner, slot: Slot): Resource[] {
  const common = (base: ReservationInfo[]): Pick<Resource, 'allocation_info' | 'reservations'> =>
    ({ allocation_info: { role: owner.role }, reservations: [...base, reservationOf(owner)] })
  const { cpus, memMb, diskMb } = slot.resources
  const { bases, disk } = slot
  return [
    { name: 'cpus', type: 'SCALAR', scalar: { value: cpus }, ...common(bases.cpus) },
    { name: 'mem', type: 'SCALAR', scalar: { value: memMb }, ...common(bases.mem) },
    { name: 'disk', type: 'SCALAR', scalar: { value: diskMb }, ...common(bases.disk), ...(disk.source === null ? {} : { disk: { source: disk.source } }) },
    { name: 'ports', type: 'RANGES', ranges: { range: rangesOf([slot.rpcPort, slot.raftPort]) }, ...common(bases.ports) }
  ]
}

/** What is reserved for a node beyond what it has. */
export function moreResources (owner: Owner, { cpus, memMb, diskMb }: NodeResources, where: { cpus: ReservationInfo[], mem: ReservationInfo[], disk: ReservationInfo[], source: DiskSource | null }): Resource[] {
  const part = (name: string, value: number, base: ReservationInfo[]): Resource[] => value === 0
    ? []
    : [{ name, type: 'SCALAR', scalar: { value }, allocation_info: { role: owner.role }, reservations: [...base, reservationOf(owner)] }]
  const disk = part('disk', diskMb, where.disk).map((resource) => where.source === null ? resource : { ...resource, disk: { source: where.source } })
  return [...part('cpus', cpus, where.cpus), ...part('mem', memMb, where.mem), ...disk]
}

/** The reserved disk with its volume, as CREATE wants it. */
export function volumeResource (owner: Owner, { diskMb, disk, persistenceId }: { diskMb: number, disk: NodeRecord['disk'], persistenceId: string }): Resource {
  const info: DiskInfo = {
    persistence: { id: persistenceId, principal: owner.principal },
    volume: { mode: 'RW', container_path: volumePath },
    ...(disk === null || disk.source === null ? {} : { source: disk.source })
  }
  return {
    name: 'disk',
    type: 'SCALAR',
    scalar: { value: diskMb },
    allocation_info: { role: owner.role },
    reservations: [...(disk?.base ?? []), reservationOf(owner)],
    disk: info
  }
}

/** Adjacent ports share a range. */
export function rangesOf (ports: number[]): ValueRange[] {
  const ranges: ValueRange[] = []
  for (const port of [...ports].sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && port === last.end + 1) last.end = port
    else ranges.push({ begin: port, end: port })
  }
  return ranges
}

/** A volume's disk without the volume: what remains reserved after DESTROY. */
export function withoutVolume (resource: Resource): Resource {
  if (resource.disk === undefined) return resource
  const { disk: { persistence: _persistence, volume: _volume, ...disk }, ...rest } = resource
  return disk.source === undefined ? rest : { ...rest, disk }
}

export const hasVolume = (resource: Resource): boolean => resource.disk?.persistence !== undefined
