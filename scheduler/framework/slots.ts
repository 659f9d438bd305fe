import type { ReservationInfo, ValueRange } from '../mesos/types.ts'
import { roundAmount } from './agent-offer.ts'
import type { AgentOffer, DiskType, OfferedDisk, Pool } from './agent-offer.ts'
import type { NodeResources } from './types.ts'

/** What a node takes of an offer, and on which reservations each part stands. */
export interface Slot {
  /** `diskMb` as it will be: a mount is taken whole. */
  resources: NodeResources
  disk: OfferedDisk
  rpcPort: number
  raftPort: number
  bases: { cpus: ReservationInfo[], mem: ReservationInfo[], disk: ReservationInfo[], ports: ReservationInfo[] }
}

/** What there is to choose from, each from one pool: a sum over pools cannot be reserved as one. */
export interface SlotChoice {
  cpus: Pool | undefined
  mem: Pool | undefined
  ports: { pool: Pool, ports: number[] } | undefined
  disk: { pool: Pool, disk: OfferedDisk } | undefined
}

export const portsPerNode = 2

export function chooseParts ({ pools }: AgentOffer, wanted: NodeResources, diskType: DiskType): SlotChoice {
  const disks = pools.flatMap((pool) => pool.disks.map((disk) => ({ pool, disk })))
    .filter(({ disk }) => disk.type === diskType && disk.sizeMb >= wanted.diskMb)
    // The smallest mount that is large enough; of shared disks the emptiest.
    .sort((a, b) => (diskType === 'mount' ? 1 : -1) * (a.disk.sizeMb - b.disk.sizeMb))
  const ports = pools.flatMap((pool) => {
    const lowest = lowestPorts(pool.ports, portsPerNode)
    return lowest === undefined ? [] : { pool, ports: lowest }
  })
  return {
    cpus: pools.find(({ cpus }) => cpus >= wanted.cpus),
    mem: pools.find(({ memMb }) => memMb >= wanted.memMb),
    ports: ports[0],
    disk: disks[0]
  }
}

export function slotOf ({ cpus, mem, ports, disk }: SlotChoice, wanted: NodeResources): Slot | null {
  if (cpus === undefined || mem === undefined || ports === undefined || disk === undefined) return null
  const diskMb = disk.disk.type === 'mount' ? disk.disk.sizeMb : wanted.diskMb
  return {
    resources: { ...wanted, diskMb },
    disk: { ...disk.disk, sizeMb: diskMb },
    rpcPort: ports.ports[0]!,
    raftPort: ports.ports[1]!,
    bases: { cpus: cpus.base, mem: mem.base, disk: disk.pool.base, ports: ports.pool.base }
  }
}

/** The largest amounts that one pool has, for the reasons. */
export function mostOf ({ pools }: AgentOffer, diskType: DiskType): { cpus: number, memMb: number, diskMb: number } {
  const most = (amounts: number[]): number => Math.max(0, ...amounts)
  return {
    cpus: most(pools.map(({ cpus }) => cpus)),
    memMb: most(pools.map(({ memMb }) => memMb)),
    diskMb: most(pools.flatMap(({ disks }) => disks.filter(({ type }) => type === diskType).map(({ sizeMb }) => sizeMb)))
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
  const pool = (base: ReservationInfo[]): Pool => offer.pools.find((each) => each.base === base)!
  const { bases, disk, resources } = slot
  pool(bases.cpus).cpus = roundAmount(pool(bases.cpus).cpus - resources.cpus)
  pool(bases.mem).memMb = roundAmount(pool(bases.mem).memMb - resources.memMb)
  for (const port of [slot.rpcPort, slot.raftPort]) pool(bases.ports).ports = pool(bases.ports).ports.flatMap((range) => without(range, port))
  const { disks } = pool(bases.disk)
  const index = disks.findIndex((each) => each.type === disk.type && each.source === disk.source && each.sizeMb >= disk.sizeMb)
  const rest = roundAmount(disks[index]!.sizeMb - disk.sizeMb)
  if (disk.type === 'mount' || rest === 0) disks.splice(index, 1)
  else disks[index]!.sizeMb = rest
}

function without (range: ValueRange, port: number): ValueRange[] {
  if (port < range.begin || port > range.end) return [range]
  return [{ begin: range.begin, end: port - 1 }, { begin: port + 1, end: range.end }].filter(({ begin, end }) => begin <= end)
}
