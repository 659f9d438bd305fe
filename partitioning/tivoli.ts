import type { DataPartition, DiskMeasure, NodeId, NodeInfo } from './types.ts'

/** A node counts at most this many times, and at least this fraction of, the average: one odd measurement must not empty or flood it. */
export const scoreMax = 4
export const scoreMin = 1 / scoreMax
/** Bytes/s beyond which a disk is no better for it: networks and processors are the bound then, and what is measured is mostly them. */
export const bandwidthCountedMax = 1e9
/** However busy a disk is, some of its bandwidth counts as free. */
export const freeShareMin = 0.05
/** Scores are rounded to powers of 2^(1/4): measurements that waver by less than a fifth move nothing. */
const stepsPerDoubling = 4

export interface DiskScore {
  /** Of the average node: what the disk can read and write. Replicas follow it. */
  bandwidth: number
  /** Of the average node: the write bandwidth that is free now. Primaries follow it. */
  freeWrite: number
}

export interface ScoreOptions {
  /**
   * Share of time in which a disk is busy with what is not Atoll's. Left out: all that it is busy with, so that what the
   * placement itself put there counts as well, and a node that got leads looks as if it should lose them.
   */
  busyOf?: (node: NodeId) => number
  /** Scores decided on before: they stay unless a measurement is a whole step away. */
  previous?: ReadonlyMap<NodeId, DiskScore>
  /** Scores that hold whatever is measured now. */
  decided?: ReadonlyMap<NodeId, DiskScore>
}

/** How nodes' disks compare. A node without measurements counts as average. */
export function diskScores (nodes: ReadonlyArray<Pick<NodeInfo, 'id' | 'disk'>>, { busyOf, previous, decided }: ScoreOptions = {}): Map<NodeId, DiskScore> {
  const measured = nodes.filter(({ disk }) => disk !== null && disk.readBandwidth > 0 && disk.writeBandwidth > 0)
  const free = new Map(measured.map(({ id, disk }) => [id, counted(disk!.writeBandwidth) * Math.max(freeShareMin, 1 - (busyOf?.(id) ?? disk!.utilization))]))
  const averageOf = (value: (node: Pick<NodeInfo, 'id' | 'disk'>) => number): number =>
    measured.reduce((sum, node) => sum + value(node), 0) / Math.max(1, measured.length)
  const bandwidth = averageOf(({ disk }) => combinedBandwidth(disk!))
  const freeWrite = averageOf(({ id }) => free.get(id)!)
  return new Map(nodes.map(({ id, disk }): [NodeId, DiskScore] => {
    const settled = decided?.get(id)
    if (settled !== undefined) return [id, settled]
    const write = free.get(id)
    if (write === undefined) return [id, { bandwidth: 1, freeWrite: 1 }]
    const before = previous?.get(id)
    return [id, { bandwidth: rounded(combinedBandwidth(disk!) / bandwidth, before?.bandwidth), freeWrite: rounded(write / freeWrite, before?.freeWrite) }]
  }))
}

/** What is left of a disk's busy time when Atoll's own reads and writes (bytes/s) are taken off. */
export function foreignUtilization (disk: DiskMeasure, own: { readBytesPerSecond: number, writeBytesPerSecond: number }): number {
  const mine = own.readBytesPerSecond / Math.max(1, disk.readBandwidth) + own.writeBytesPerSecond / Math.max(1, disk.writeBandwidth)
  return Math.min(1, Math.max(0, disk.utilization - mine))
}

/** Every replica takes each write, and reads are spread over replicas: both count. */
function combinedBandwidth (disk: DiskMeasure): number {
  return Math.sqrt(counted(disk.readBandwidth) * counted(disk.writeBandwidth))
}

function counted (bandwidth: number): number { return Math.min(bandwidthCountedMax, bandwidth) }

function rounded (score: number, previous?: number): number {
  const steps = Math.log2(Math.min(scoreMax, Math.max(scoreMin, score))) * stepsPerDoubling
  if (previous !== undefined && Math.abs(steps - Math.log2(previous) * stepsPerDoubling) < 1) return previous
  return 2 ** (Math.round(steps) / stepsPerDoubling)
}

/** What a read waits at a node, in a unit of the caller's; undefined: not known. */
export type DelayOf = (node: NodeId) => number | undefined

/** The primary, which is spared for writes, serves a read only if all others take so many times as long. */
export const primaryDelayFactor = 2

/**
 * Which replica serves a read: of two serving replicas other than the primary, drawn at random, the one that answers
 * sooner; the primary where it is alone, or much quicker. null while none serves.
 */
export function chooseReader (partition: Pick<DataPartition, 'replicas' | 'primary'>, delayOf: DelayOf, random: { next (): number }): NodeId | null {
  const { primary } = partition
  const readers = partition.replicas.filter(({ node, state }) => state === 'serving' && node !== primary)
  if (readers.length === 0) return primary
  const first = Math.floor(random.next() * readers.length)
  const second = readers.length === 1 ? first : (first + 1 + Math.floor(random.next() * (readers.length - 1))) % readers.length
  const [one, other] = [readers[first]!.node, readers[second]!.node]
  const average = averageDelay(readers, delayOf)
  const [delay, otherDelay] = [delayOf(one) ?? average, delayOf(other) ?? average]
  const atPrimary = primary === null ? undefined : delayOf(primary)
  if (atPrimary !== undefined && readers.every(({ node }) => (delayOf(node) ?? 0) > primaryDelayFactor * atPrimary)) return primary
  return otherDelay < delay ? other : one
}

/** What a read waits for the disk, ms: its latency, the longer the busier it is. */
export function diskDelayMs (disk: DiskMeasure | null): number | undefined {
  return disk === null || disk.readLatencyMs <= 0 ? undefined : disk.readLatencyMs / Math.max(freeShareMin, 1 - disk.utilization)
}

function averageDelay (readers: ReadonlyArray<{ node: NodeId }>, delayOf: DelayOf): number {
  const known = readers.map(({ node }) => delayOf(node)).filter((delay) => delay !== undefined)
  return known.reduce((sum, delay) => sum + delay, 0) / Math.max(1, known.length)
}
