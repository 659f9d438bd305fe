import type { DataPartition, DiskMeasure, NodeId, NodeInfo, PartitionId } from './types.ts'

/** A node counts at most this many times, and at least this fraction of, the average: one odd measurement must not empty or flood it. */
export const scoreMax = 4
export const scoreMin = 1 / scoreMax
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
}

/** How nodes' disks compare. A node without measurements counts as average. */
export function diskScores (nodes: ReadonlyArray<Pick<NodeInfo, 'id' | 'disk'>>, { busyOf, previous }: ScoreOptions = {}): Map<NodeId, DiskScore> {
  const measured = nodes.filter(({ disk }) => disk !== null && disk.readBandwidth > 0 && disk.writeBandwidth > 0)
  const free = new Map(measured.map(({ id, disk }) => [id, disk!.writeBandwidth * Math.max(freeShareMin, 1 - (busyOf?.(id) ?? disk!.utilization))]))
  const averageOf = (value: (node: Pick<NodeInfo, 'id' | 'disk'>) => number): number =>
    measured.reduce((sum, node) => sum + value(node), 0) / Math.max(1, measured.length)
  const bandwidth = averageOf(({ disk }) => combinedBandwidth(disk!))
  const freeWrite = averageOf(({ id }) => free.get(id)!)
  return new Map(nodes.map(({ id, disk }): [NodeId, DiskScore] => {
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
  return Math.sqrt(disk.readBandwidth * disk.writeBandwidth)
}

function rounded (score: number, previous?: number): number {
  const steps = Math.log2(Math.min(scoreMax, Math.max(scoreMin, score))) * stepsPerDoubling
  if (previous !== undefined && Math.abs(steps - Math.log2(previous) * stepsPerDoubling) < 1) return previous
  return 2 ** (Math.round(steps) / stepsPerDoubling)
}

export type MeasureOf = (node: NodeId) => DiskMeasure | null | undefined

/**
 * Which replica serves a read: of two serving replicas other than the primary, drawn at random, the one
 * that answers sooner; the primary where it is alone. null while none serves.
 */
export function chooseReader (partition: Pick<DataPartition, 'replicas' | 'primary'>, measureOf: MeasureOf, random: { next (): number }): NodeId | null {
  const readers = partition.replicas.filter(({ node, state }) => state === 'serving' && node !== partition.primary)
  if (readers.length === 0) return partition.primary
  const first = Math.floor(random.next() * readers.length)
  if (readers.length === 1) return readers[first]!.node
  const second = (first + 1 + Math.floor(random.next() * (readers.length - 1))) % readers.length
  const [one, other] = [readers[first]!.node, readers[second]!.node]
  const average = averageDelay(readers.map(({ node }) => measureOf(node)))
  return (delayOf(measureOf(other)) ?? average) < (delayOf(measureOf(one)) ?? average) ? other : one
}

/** What a read waits: the disk's latency, the longer the busier it is. */
function delayOf (measure: DiskMeasure | null | undefined): number | undefined {
  return measure == null ? undefined : measure.readLatencyMs / Math.max(freeShareMin, 1 - measure.utilization)
}

function averageDelay (measures: Array<DiskMeasure | null | undefined>): number {
  const known = measures.map(delayOf).filter((delay) => delay !== undefined)
  return known.reduce((sum, delay) => sum + delay, 0) / Math.max(1, known.length)
}

/** A disk that is busier than this hands on leads. */
export const hotUtilizationMin = 0.7
/** A lead moves only if afterwards the busier of the two disks is less busy than before by at least this. */
export const reliefMin = 0.1

export interface HotLeadsInput {
  partitions: ReadonlyArray<Pick<DataPartition, 'id' | 'replicas' | 'primary'>>
  /** Share of time in which the node's disk is busy; undefined: not known. */
  utilizationOf (node: NodeId): number | undefined
  /** Bytes/s that the partition's primary reads and writes. */
  loadOf (partition: PartitionId): number
}

/**
 * Leads that should move because their primary's disk is much busier than that of another serving replica: for
 * each hot node the busiest partition whose move brings relief. A partition that makes its disk hot alone stays.
 */
export function hotLeads ({ partitions, utilizationOf, loadOf }: HotLeadsInput): Map<PartitionId, NodeId> {
  const moves = new Map<PartitionId, NodeId>()
  const expected = new Map<NodeId, number>()
  const busy = (node: NodeId): number | undefined => expected.get(node) ?? utilizationOf(node)
  const led = Map.groupBy(partitions.filter(({ primary }) => primary !== null), ({ primary }) => primary!)
  const hot = [...led.keys()].filter((node) => (utilizationOf(node) ?? 0) >= hotUtilizationMin)
  hot.sort((one, other) => utilizationOf(other)! - utilizationOf(one)! || (one < other ? -1 : 1))
  for (const node of hot) {
    const mine = led.get(node)!.map((partition) => ({ partition, load: loadOf(partition.id) }))
    const total = mine.reduce((sum, { load }) => sum + load, 0)
    mine.sort((one, other) => other.load - one.load)
    for (const { partition, load } of total > 0 ? mine : []) {
      const shift = busy(node)! * load / total
      const target = quietest(partition, busy)
      if (target === null || Math.max(busy(node)! - shift, busy(target)! + shift) > busy(node)! - reliefMin) continue
      moves.set(partition.id, target)
      expected.set(target, busy(target)! + shift)
      expected.set(node, busy(node)! - shift)
      break
    }
  }
  return moves
}

function quietest ({ replicas, primary }: Pick<DataPartition, 'replicas' | 'primary'>, busy: (node: NodeId) => number | undefined): NodeId | null {
  const others = replicas.filter(({ node, state }) => node !== primary && state === 'serving' && busy(node) !== undefined)
  others.sort((one, other) => busy(one.node)! - busy(other.node)!)
  return others[0]?.node ?? null
}
