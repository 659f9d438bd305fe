import type { Attribute, DiskSource, Offer, ReservationInfo, Resource, ValueRange } from '../mesos/types.ts'
import { labelCluster, labelNode, labelResourceId } from './constants.ts'

/** All reserved resources with one resource id on an agent. */
export interface ReservedGroup {
  resourceId: string
  clusterId: string
  nodeId: string
  cpus: number
  memMb: number
  /** Reserved disk without a volume. */
  diskMb: number
  ports: number[]
  /** Persistence ids. */
  volumes: string[]
  resources: Resource[]
}

/** Free resources that stand on the same stack of reservations: none, or those of a role above ours. */
export interface Pool {
  base: ReservationInfo[]
  cpus: number
  memMb: number
  ports: ValueRange[]
  disks: OfferedDisk[]
}

export type DiskType = 'root' | 'path' | 'mount'

export interface OfferedDisk { type: DiskType, source: DiskSource | null, sizeMb: number }

/** What one agent offers to one role, perhaps in several offers. Amounts shrink as an evaluation takes from them. */
export interface AgentOffer {
  offerIds: string[]
  agentId: string
  hostname: string
  role: string
  /** When the agent's machine is going to be taken out of service, in seconds since the epoch; null: not announced. */
  leavesAtSeconds: number | null
  /** Widest first: region, zone, rack, host. */
  domain: string[]
  attributes: Attribute[]
  /** Unreserved last. */
  pools: Pool[]
  /** By resource id. */
  reserved: Map<string, ReservedGroup>
}

const domainUnknown = 'default'
const portMax = 65_535
/** Mesos counts with three decimals. */
export const roundAmount = (value: number): number => Math.round(value * 1000) / 1000

/** Offers of the same agent and role come together: all of them may be used in one ACCEPT. */
export function groupOffers (offers: Offer[]): AgentOffer[] {
  const groups = new Map<string, AgentOffer>()
  for (const offer of offers) {
    const role = offer.allocation_info?.role ?? '*'
    const key = `${offer.agent_id.value}\n${role}`
    const group = groups.get(key) ?? emptyGroup(offer, role)
    groups.set(key, group)
    group.offerIds.push(offer.id.value)
    const start = offer.unavailability?.start.nanoseconds
    if (start !== undefined) group.leavesAtSeconds = Math.min(group.leavesAtSeconds ?? Infinity, start / 1e9)
    for (const resource of offer.resources ?? []) add(group, resource)
  }
  for (const group of groups.values()) group.pools.sort((a, b) => b.base.length - a.base.length)
  return [...groups.values()]
}

function emptyGroup (offer: Offer, role: string): AgentOffer {
  const rack = offer.attributes?.find(({ name, type }) => name === 'rack' && type === 'TEXT')?.text?.value
  const place = offer.domain?.fault_domain
  return {
    offerIds: [],
    agentId: offer.agent_id.value,
    hostname: offer.hostname,
    role,
    leavesAtSeconds: null,
    domain: [place?.region.name ?? domainUnknown, place?.zone.name ?? domainUnknown, rack ?? domainUnknown, offer.hostname],
    attributes: offer.attributes ?? [],
    pools: [],
    reserved: new Map()
  }
}

function add (group: AgentOffer, resource: Resource): void {
  const reservation = resource.reservations?.at(-1)
  if (reservation?.labels?.labels.some(({ key }) => key === labelResourceId) === true) {
    addReserved(group, resource, reservation)
    return
  }
  // Revocable resources may vanish under a running node. What is reserved for our very role without our labels is
  // somebody else's; what is reserved for a role above ours may be refined.
  if (resource.revocable !== undefined || resource.shared !== undefined || resource.disk?.persistence !== undefined) return
  if (reservation !== undefined && !group.role.startsWith(`${reservation.role}/`)) return
  addFree(poolOf(group, resource.reservations ?? []), resource)
}

function poolOf (group: AgentOffer, base: ReservationInfo[]): Pool {
  const key = JSON.stringify(base)
  const found = group.pools.find((pool) => JSON.stringify(pool.base) === key)
  if (found !== undefined) return found
  const pool: Pool = { base, cpus: 0, memMb: 0, ports: [], disks: [] }
  group.pools.push(pool)
  return pool
}

function addFree (pool: Pool, resource: Resource): void {
  const amount = resource.scalar?.value ?? 0
  switch (resource.name) {
    case 'cpus': pool.cpus = roundAmount(pool.cpus + amount); break
    case 'mem': pool.memMb = roundAmount(pool.memMb + amount); break
    case 'ports': pool.ports.push(...(resource.ranges?.range ?? [])); break
    case 'disk': addDisk(pool, resource.disk?.source ?? null, amount)
  }
}

function addDisk (pool: Pool, source: DiskSource | null, sizeMb: number): void {
  const type = source === null ? 'root' : source.type === 'PATH' ? 'path' : source.type === 'MOUNT' ? 'mount' : undefined
  // Block devices and raw disks have no file system.
  if (type === undefined) return
  const key = JSON.stringify(source)
  // The parts of one shared disk add up; each mount is one piece.
  const same = type === 'mount' ? undefined : pool.disks.find((disk) => JSON.stringify(disk.source) === key)
  if (same === undefined) pool.disks.push({ type, source, sizeMb })
  else same.sizeMb = roundAmount(same.sizeMb + sizeMb)
}

function addReserved (group: AgentOffer, resource: Resource, reservation: ReservationInfo): void {
  const label = (key: string): string | undefined => reservation.labels?.labels?.find((each) => each.key === key)?.value
  const resourceId = label(labelResourceId)
  const clusterId = label(labelCluster)
  // Another framework's of the same role, which labels alike.
  if (resourceId === undefined || clusterId === undefined) return
  const found = group.reserved.get(resourceId) ?? {
    resourceId, clusterId, nodeId: label(labelNode) ?? '', cpus: 0, memMb: 0, diskMb: 0, ports: [], volumes: [], resources: []
  }
  group.reserved.set(resourceId, found)
  found.resources.push(resource)
  const amount = resource.scalar?.value ?? 0
  switch (resource.name) {
    case 'cpus': found.cpus = roundAmount(found.cpus + amount); break
    case 'mem': found.memMb = roundAmount(found.memMb + amount); break
    case 'disk':
      if (resource.disk?.persistence !== undefined) found.volumes.push(resource.disk.persistence.id)
      else found.diskMb = roundAmount(found.diskMb + amount)
      break
    case 'ports':
      for (const { begin, end } of resource.ranges?.range ?? []) {
        for (let port = Math.max(begin, 0); port <= Math.min(end, portMax); port++) found.ports.push(port)
      }
  }
}
