import type { Offer, Resource, ReservationInfo, ValueRange } from '../mesos/types.ts'
import { labelCluster, labelNode, labelResourceId, volumePath } from './constants.ts'
import type { NodeResources } from './types.ts'

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

/** What one agent offers to one role, perhaps in several offers. Amounts shrink as an evaluation takes from them. */
export interface AgentOffer {
  offerIds: string[]
  agentId: string
  hostname: string
  role: string
  /** The agent's machine is going to be taken out of service. */
  leaving: boolean
  domain: string[]
  cpus: number
  memMb: number
  /** Of the root disk. */
  diskMb: number
  ports: ValueRange[]
  /** By resource id. */
  reserved: Map<string, ReservedGroup>
}

/** Where a volume or a reservation belongs. */
export interface Owner { role: string, principal: string, clusterId: string, nodeId: string, resourceId: string }

export interface Slot { resources: NodeResources, rpcPort: number, raftPort: number }

const domainUnknown = 'default'
const portMax = 65_535
/** Mesos counts with three decimals. */
const round = (value: number): number => Math.round(value * 1000) / 1000

/** Offers of the same agent and role come together: all of them may be used in one ACCEPT. */
export function groupOffers (offers: Offer[]): AgentOffer[] {
  const groups = new Map<string, AgentOffer>()
  for (const offer of offers) {
    const role = offer.allocation_info?.role ?? '*'
    const key = `${offer.agent_id.value}\n${role}`
    const group = groups.get(key) ?? emptyGroup(offer, role)
    groups.set(key, group)
    group.offerIds.push(offer.id.value)
    group.leaving ||= offer.unavailability !== undefined
    for (const resource of offer.resources ?? []) add(group, resource)
  }
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
    leaving: false,
    domain: [place?.region.name ?? domainUnknown, place?.zone.name ?? domainUnknown, rack ?? domainUnknown, offer.hostname],
    cpus: 0,
    memMb: 0,
    diskMb: 0,
    ports: [],
    reserved: new Map()
  }
}

function add (group: AgentOffer, resource: Resource): void {
  const reservation = resource.reservations?.at(-1)
  if (reservation !== undefined) {
    addReserved(group, resource, reservation)
    return
  }
  // Revocable resources may vanish under a running node; a disk with a source is not the root disk.
  if (resource.revocable !== undefined || resource.disk !== undefined) return
  switch (resource.name) {
    case 'cpus': group.cpus = round(group.cpus + (resource.scalar?.value ?? 0)); break
    case 'mem': group.memMb = round(group.memMb + (resource.scalar?.value ?? 0)); break
    case 'disk': group.diskMb = round(group.diskMb + (resource.scalar?.value ?? 0)); break
    case 'ports': group.ports.push(...(resource.ranges?.range ?? [])); break
  }
}

function addReserved (group: AgentOffer, resource: Resource, reservation: ReservationInfo): void {
  const label = (key: string): string | undefined => reservation.labels?.labels?.find((each) => each.key === key)?.value
  const resourceId = label(labelResourceId)
  const clusterId = label(labelCluster)
  // Somebody else's of the same role.
  if (resourceId === undefined || clusterId === undefined) return
  const found = group.reserved.get(resourceId) ?? {
    resourceId, clusterId, nodeId: label(labelNode) ?? '', cpus: 0, memMb: 0, diskMb: 0, ports: [], volumes: [], resources: []
  }
  group.reserved.set(resourceId, found)
  found.resources.push(resource)
  const amount = resource.scalar?.value ?? 0
  switch (resource.name) {
    case 'cpus': found.cpus = round(found.cpus + amount); break
    case 'mem': found.memMb = round(found.memMb + amount); break
    case 'disk':
      if (resource.disk?.persistence !== undefined) found.volumes.push(resource.disk.persistence.id)
      else found.diskMb = round(found.diskMb + amount)
      break
    case 'ports':
      for (const { begin, end } of resource.ranges?.range ?? []) {
        for (let port = Math.max(begin, 0); port <= Math.min(end, portMax); port++) found.ports.push(port)
      }
  }
}

/** The `count` lowest ports, or undefined when there are fewer. */
export function lowestPorts (ranges: ValueRange[], count: number): number[] | undefined {
  const ports: number[] = []
  for (const { begin, end } of [...ranges].sort((a, b) => a.begin - b.begin)) {
    for (let port = begin; port <= end && ports.length < count; port++) ports.push(port)
  }
  return ports.length === count ? ports : undefined
}

/** Takes a slot away from what an offer still has, for the next node that looks at it. */
export function takeSlot (offer: AgentOffer, slot: Slot): void {
  offer.cpus = round(offer.cpus - slot.resources.cpus)
  offer.memMb = round(offer.memMb - slot.resources.memMb)
  offer.diskMb = round(offer.diskMb - slot.resources.diskMb)
  for (const port of [slot.rpcPort, slot.raftPort]) offer.ports = offer.ports.flatMap((range) => without(range, port))
}

function without (range: ValueRange, port: number): ValueRange[] {
  if (port < range.begin || port > range.end) return [range]
  return [{ begin: range.begin, end: port - 1 }, { begin: port + 1, end: range.end }].filter(({ begin, end }) => begin <= end)
}

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
  const common = { allocation_info: { role: owner.role }, reservations: [reservationOf(owner)] }
  const { cpus, memMb, diskMb } = slot.resources
  return [
    { name: 'cpus', type: 'SCALAR', scalar: { value: cpus }, ...common },
    { name: 'mem', type: 'SCALAR', scalar: { value: memMb }, ...common },
    { name: 'disk', type: 'SCALAR', scalar: { value: diskMb }, ...common },
    { name: 'ports', type: 'RANGES', ranges: { range: rangesOf([slot.rpcPort, slot.raftPort]) }, ...common }
  ]
}

/** The reserved disk with its volume, as CREATE wants it. */
export function volumeResource (owner: Owner, diskMb: number, persistenceId: string): Resource {
  return {
    name: 'disk',
    type: 'SCALAR',
    scalar: { value: diskMb },
    allocation_info: { role: owner.role },
    reservations: [reservationOf(owner)],
    disk: {
      persistence: { id: persistenceId, principal: owner.principal },
      volume: { mode: 'RW', container_path: volumePath }
    }
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
