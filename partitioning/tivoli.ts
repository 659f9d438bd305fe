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

/** How nodes' disks compare. A node without measurements counts as average. */
export function diskScores (nodes: ReadonlyArray<Pick<NodeInfo, 'id' | 'disk'>>): Map<NodeId, DiskScore> {
  const measured = nodes.filter((node) => node.disk !== null && node.disk.readBandwidth > 0 && node.disk.writeBandwidth > 0)
  const averageOf = (value: (disk: DiskMeasure) => number): number =>
    measured.reduce((sum, node) => sum + value(node.disk!), 0) / Math.max(1, measured.length)
  const bandwidth = averageOf(combinedBandwidth)
  const freeWrite = averageOf(freeWriteBandwidth)
  return new Map(nodes.map((node) => [node.id, measured.includes(node)
    ? { bandwidth: rounded(combinedBandwidth(node.disk!) / bandwidth), freeWrite: rounded(freeWriteBandwidth(node.disk!) / freeWrite) }
    : { bandwidth: 1, freeWrite: 1 }]))
}

/** Every replica takes each write, and reads are spread over replicas: both count. */
function combinedBandwidth (disk: DiskMeasure): number {
  return Math.sqrt(disk.readBandwidth * disk.writeBandwidth)
}

function freeWriteBandwidth (disk: DiskMeasure): number {
  return disk.writeBandwidth * Math.max(freeShareMin, 1 - disk.utilization)
}

function rounded (score: number): number {
  const bounded = Math.min(scoreMax, Math.max(scoreMin, score))
  return 2 ** (Math.round(Math.log2(bounded) * stepsPerDoubling) / stepsPerDoubling)
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
