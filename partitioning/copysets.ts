import type { NodeId } from './types.ts'

/**
 * A copyset is a set of nodes that together hold all replicas of some partition: when all of them are lost, so is the
 * partition. The fewer there are, the less likely it is that nodes lost at once make one; the more partitions are lost then.
 */
export interface Copysets {
  /** Distinct copysets, by their number of nodes. */
  bySize: Map<number, number>
  distinct: number
  partitions: number
  /** Partitions whose replicas number that many, for the expected loss. */
  partitionsBySize: Map<number, number>
  /** Most partitions that share one copyset: what is lost at most when as many nodes are lost as a partition has replicas. */
  partitionsMax: number
  /** Distinct nodes with which a node shares partitions. */
  scatterWidthMean: number
  scatterWidthMax: number
}

export function copysetsOf (replicaSets: Iterable<readonly NodeId[]>): Copysets {
  const numbers = new Map<NodeId, number>()
  const partners: Array<Set<number>> = []
  const counts = new Map<string, number>()
  const bySize = new Map<number, number>()
  const partitionsBySize = new Map<number, number>()
  const numberOf = (node: NodeId): number => {
    let number = numbers.get(node)
    if (number === undefined) {
      numbers.set(node, number = partners.length)
      partners.push(new Set())
    }
    return number
  }
  let partitions = 0
  for (const replicas of replicaSets) {
    if (replicas.length === 0) continue
    partitions++
    const set = replicas.map(numberOf).sort((one, other) => one - other)
    partitionsBySize.set(set.length, (partitionsBySize.get(set.length) ?? 0) + 1)
    const key = set.join()
    const before = counts.get(key) ?? 0
    counts.set(key, before + 1)
    if (before > 0) continue
    bySize.set(set.length, (bySize.get(set.length) ?? 0) + 1)
    for (const one of set) for (const other of set) if (one !== other) partners[one]!.add(other)
  }
  const widths = partners.map(({ size }) => size)
  return {
    bySize,
    partitionsBySize,
    distinct: counts.size,
    partitions,
    partitionsMax: maximum(counts.values()),
    scatterWidthMean: widths.reduce((sum, width) => sum + width, 0) / Math.max(1, widths.length),
    scatterWidthMax: maximum(widths)
  }
}

function maximum (values: Iterable<number>): number {
  let most = 0
  for (const value of values) most = Math.max(most, value)
  return most
}

export interface Loss {
  /** That at least one partition is lost. */
  probability: number
  /** Whether the probability is exact; otherwise it takes copysets to be lost independently of each other. */
  exact: boolean
  expectedPartitions: number
}

/** What is lost when `lost` of `nodes` nodes, any of them with equal probability, are lost at once and for good. */
export function lossOf (copysets: Copysets, nodes: number, lost: number): Loss {
  let hits = 0
  let exact = true
  for (const [size, count] of copysets.bySize) {
    hits += count * chanceOfAll(nodes, lost, size)
    if (size < lost && count > 1) exact = false
  }
  let expectedPartitions = 0
  for (const [size, count] of copysets.partitionsBySize) expectedPartitions += count * chanceOfAll(nodes, lost, size)
  // As many nodes as a copyset has are at most one of them: the events exclude each other.
  const several = [...copysets.bySize.keys()].filter((size) => size <= lost).length > 1
  exact &&= !several
  if (lost >= nodes) return { probability: copysets.distinct > 0 ? 1 : 0, exact: true, expectedPartitions }
  if (exact) return { probability: Math.min(1, hits), exact, expectedPartitions }
  // Never less likely than with one node fewer, which may be known exactly.
  return { probability: Math.max(-Math.expm1(-hits), lossOf(copysets, nodes, lost - 1).probability), exact, expectedPartitions }
}

/** That all of `size` certain nodes are among `lost` of `nodes`. */
function chanceOfAll (nodes: number, lost: number, size: number): number {
  if (size > lost) return 0
  let chance = 1
  for (let at = 0; at < size; at++) chance *= (lost - at) / (nodes - at)
  return chance
}
