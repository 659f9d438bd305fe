import { fairShares, roundShares } from './fair-shares.ts'
import { faultTree, spreadOf, type FaultTree, type Spread } from './fault-tree.ts'
import { fewestMoves } from './fewest-moves.ts'
import { nameHash } from './hash.ts'
import { PrimaryAssignment } from './primary-assignment.ts'
import { ReplicaAssignment } from './replica-assignment.ts'
import type { NodeId, PartitionId } from './types.ts'

export interface PlacementNode {
  id: NodeId
  /** Share of replicas in proportion to this; 0 takes none. Usually the capacity. */
  weight: number
  /** Share of primaries; default `weight`. */
  primaryWeight?: number
  /** Widest first. */
  domain: readonly string[]
  /** No more replicas than this, as long as others may take them. */
  replicasMax?: number
  /** What the node holds besides the partitions at hand: decides who gets the remainders. */
  replicasElsewhere?: number
  primariesElsewhere?: number
}

export interface PlacementPartition {
  id: PartitionId
  replicas: number
  /** Where its replicas are. Left out or empty: nowhere yet. */
  current?: readonly NodeId[]
  primary?: NodeId | null
}

export interface HawaiiInput {
  nodes: readonly PlacementNode[]
  partitions: readonly PlacementPartition[]
  /** With how many other nodes one of average weight should share partitions. Default `scatterWidthDefault`. */
  scatterWidth?: number
  /** Where the replicas of other partitions are: nodes that share some already may share more. */
  others?: ReadonlyArray<readonly NodeId[]>
}

/**
 * A node that is lost is copied anew from and to this many others at once; more would make it likelier that
 * nodes which are lost together hold all replicas of some partition.
 */
export const scatterWidthDefault = 64

export interface Assignment {
  partition: PartitionId
  /** The primary first. */
  replicas: NodeId[]
  /** Those of `replicas` that the partition did not have before. */
  added: NodeId[]
  /** Replicas that found no node: there are fewer nodes than replicas. */
  missing: number
}

export interface NodeShare {
  node: NodeId
  replicas: number
  /** Exact weighted share of replicas, as far as the fault domains permit. */
  replicaShare: number
  primaries: number
  primaryShare: number
}

export interface HawaiiOutcome {
  /** In the order of the input. */
  assignments: Assignment[]
  /** By node id. */
  shares: NodeShare[]
  /** Replicas on nodes that did not hold them before. */
  added: number
  /** Per replica count: the level (0 is the widest, the number of levels is the node) at which no two replicas share a domain. */
  levels: Map<number, number>
}

/** Where nodes' bounds leave no room, all are stretched by this, and in the end dropped. */
const replicasStretch = 1.1
const replicasStretchMax = 16

interface Work {
  nodes: PlacementNode[]
  tree: FaultTree
  indexOf: Map<NodeId, number>
  /** Replicas given so far, per node. */
  counts: Int32Array
  shares: Float64Array
  results: Int32Array[]
  levels: Map<number, number>
}

/**
 * Assigns replicas and primaries so that each node's counts follow its weight as closely as integers
 * allow, no two replicas of a partition share a fault domain at the widest level that allows it, and
 * little moves. Pure and deterministic; the order of nodes does not matter.
 */
export function hawaii (input: HawaiiInput): HawaiiOutcome {
  const nodes = input.nodes.filter((node) => node.weight > 0).sort((one, other) => one.id < other.id ? -1 : 1)
  const work: Work = {
    nodes,
    tree: faultTree(nodes),
    indexOf: new Map(nodes.map((node, index) => [node.id, index])),
    counts: new Int32Array(nodes.length),
    shares: new Float64Array(nodes.length),
    results: new Array(input.partitions.length),
    levels: new Map()
  }
  // Partitions with many replicas have the least choice: they go first, the others even out what is left.
  const classes = Map.groupBy(input.partitions.keys(), (at) => input.partitions[at]!.replicas)
  for (const replicas of [...classes.keys()].sort((one, other) => other - one)) placeClass(work, input, classes.get(replicas)!, replicas)
  return outcomeOf(work, input, choosePrimaries(work, input))
}

function placeClass (work: Work, input: HawaiiInput, members: number[], replicas: number): void {
  const { nodes, tree, counts } = work
  const spread = spreadOf(tree, replicas)
  work.levels.set(replicas, spread.level)
  const capacity = capacities(work, spread, members.length)
  const total = capacity[0]!
  const weights = nodes.map((node) => node.weight)
  // What is handed out follows the whole replicas given so far; what is reported, the exact shares.
  const shares = fairShares({ tree, weights, capacity, total, have: counts })
  const exact = fairShares({ tree, weights, capacity, total, have: work.shares })
  const current = members.map((at) => currentNodes(work, input.partitions[at]!))
  const now = new Int32Array(nodes.length)
  for (const held of current) for (const node of held) now[node]!++
  const targets = roundShares(tree, shares, capacity, total, roundingPreference(work, shares, now, total))
  const scatterWidth = input.scatterWidth ?? scatterWidthDefault
  const others = scatterWidth < nodes.length - 1 ? othersOf(work, input) : []
  const slots = new Int32Array(members.length * spread.replicas).fill(-1)
  const keeper = new Keeper(tree, spread, now, targets)
  current.forEach((held, index) => { keeper.keep(held, slots, index * spread.replicas) })
  new ReplicaAssignment({ tree, spread, targets, slots, scatterWidth, others }).run()
  if (current.some((held) => held.length > 0)) fewestMoves({ tree, spread, slots, current, shares })
  for (const node of slots) counts[node]!++
  exact.forEach((share, node) => { work.shares[node]! += share })
  members.forEach((at, index) => { work.results[at] = slots.subarray(index * spread.replicas, (index + 1) * spread.replicas) })
}

/** How many replicas each domain may hold: by the spread, and by its nodes' bounds, which give way where there is no room. */
function capacities ({ nodes, tree, counts }: Work, { caps, replicas }: Spread, partitions: number): Int32Array {
  const all = caps.map((cap) => cap * partitions)
  if (nodes.every(({ replicasMax }) => replicasMax === undefined)) return all
  for (let stretch = 1; stretch < replicasStretchMax; stretch *= replicasStretch) {
    const bounded = all.slice()
    nodes.forEach(({ replicasMax }, node) => {
      const leaf = tree.leafOf[node]!
      if (replicasMax !== undefined) bounded[leaf] = Math.min(bounded[leaf]!, Math.max(0, Math.floor(replicasMax * stretch) - counts[node]!))
    })
    // Children come after their parents.
    for (let vertex = tree.parent.length - 1; vertex >= 0; vertex--) {
      const below = tree.children[vertex]!
      if (below.length > 0) bounded[vertex] = Math.min(bounded[vertex]!, below.reduce((sum, child) => sum + bounded[child]!, 0))
    }
    if (bounded[0] === replicas * partitions) return bounded
  }
  return all
}

/** Where partitions are that are not of the class at hand. */
function othersOf ({ indexOf, results }: Work, { others }: HawaiiInput): ArrayLike<number>[] {
  const elsewhere = (others ?? []).map((replicas) => replicas.map((id) => indexOf.get(id) ?? -1))
  return [...elsewhere, ...results.filter((result) => result !== undefined)]
}

function currentNodes (work: Work, partition: PlacementPartition): number[] {
  const known: number[] = []
  for (const id of partition.current ?? []) {
    const index = work.indexOf.get(id)
    if (index !== undefined && !known.includes(index)) known.push(index)
  }
  return known
}

/** Rounds up first those that hold the odd replica already, then those that have the least elsewhere, then the greatest remainders. */
function roundingPreference (work: Work, shares: Float64Array, now: Int32Array, total: number): (node: number) => number {
  const { nodes, counts } = work
  const weights = nodes.reduce((sum, node) => sum + node.weight, 0)
  const held = nodes.map((node, index) => (node.replicasElsewhere ?? 0) + counts[index]!)
  const all = held.reduce((sum, count) => sum + count, total)
  return (node) => {
    const floor = Math.floor(shares[node]!)
    const keeps = now[node]! > floor ? -1e12 : 0
    return keeps - (all * nodes[node]!.weight / weights - held[node]! - floor)
  }
}

/** Decides which replicas stay: within the spread, those on overfull nodes given up first. */
class Keeper {
  private readonly tree: FaultTree
  private readonly caps: Int32Array
  private readonly overfull: Int32Array
  private readonly taken: Int32Array

  constructor (tree: FaultTree, spread: Spread, now: Int32Array, targets: Int32Array) {
    this.tree = tree
    this.caps = spread.caps
    this.overfull = now.map((count, node) => Math.max(0, count - targets[node]!))
    this.taken = new Int32Array(tree.parent.length)
  }

  /** Writes those that stay from `first` on, in the order in which they are. */
  keep (held: readonly number[], slots: Int32Array, first: number): void {
    const order = held.length > 1 ? held.toSorted((one, other) => this.overfull[one]! - this.overfull[other]!) : held
    const stays = order.filter((node) => this.take(node))
    let at = first
    for (const node of held) if (stays.length === held.length || stays.includes(node)) slots[at++] = node
    for (const node of stays) this.count(node, -1)
  }

  private take (node: number): boolean {
    const { parent, leafOf } = this.tree
    for (let vertex = leafOf[node]!; vertex !== -1; vertex = parent[vertex]!) if (this.taken[vertex]! >= this.caps[vertex]!) return false
    this.count(node, 1)
    return true
  }

  private count (node: number, by: number): void {
    for (let vertex = this.tree.leafOf[node]!; vertex !== -1; vertex = this.tree.parent[vertex]!) this.taken[vertex]! += by
  }
}

function choosePrimaries (work: Work, input: HawaiiInput): { primaries: Int32Array, shares: Float64Array } {
  const { nodes, indexOf, results } = work
  const width = results.reduce((most, result) => Math.max(most, result.length), 0)
  const slots = new Int32Array(results.length * width).fill(-1)
  results.forEach((result, at) => { slots.set(result, at * width) })
  const primaries = Int32Array.from(input.partitions, ({ primary }, at) => {
    const index = primary == null ? undefined : indexOf.get(primary)
    return index !== undefined && results[at]!.includes(index) ? index : -1
  })
  const placed = width === 0 ? 0 : results.length
  const weightOf = (node: PlacementNode): number => node.primaryWeight ?? node.weight
  const weights = nodes.reduce((sum, node) => sum + weightOf(node), 0)
  const elsewhere = nodes.reduce((sum, node) => sum + (node.primariesElsewhere ?? 0), 0)
  const shares = Float64Array.from(nodes, (node) => weights === 0 ? 0 : placed * weightOf(node) / weights)
  const lack = nodes.map((node) => (elsewhere + placed) * weightOf(node) / Math.max(weights, 1e-12) - (node.primariesElsewhere ?? 0))
  // Names break the last ties, so that not all remainders fall on the first nodes.
  const bias = (node: number): number => lack[node]! + (nameHash(nodes[node]!.id) >>> 0) / 2 ** 42
  new PrimaryAssignment({ nodes: nodes.length, slots, width, primaries, shares, bias }).run()
  return { primaries, shares }
}

function outcomeOf (work: Work, input: HawaiiInput, chosen: { primaries: Int32Array, shares: Float64Array }): HawaiiOutcome {
  const { nodes, results, counts } = work
  const led = new Int32Array(nodes.length)
  let added = 0
  const assignments = input.partitions.map((partition, at): Assignment => {
    const primary = chosen.primaries[at]!
    const replicas: NodeId[] = []
    if (primary >= 0) {
      replicas.push(nodes[primary]!.id)
      led[primary]!++
    }
    for (const node of results[at]!) if (node !== primary) replicas.push(nodes[node]!.id)
    const fresh = partition.current === undefined ? replicas.slice() : replicas.filter((id) => !partition.current!.includes(id))
    added += fresh.length
    return { partition: partition.id, replicas, added: fresh, missing: partition.replicas - replicas.length }
  })
  const shares = nodes.map((node, index): NodeShare => ({
    node: node.id,
    replicas: counts[index]!,
    replicaShare: work.shares[index]!,
    primaries: led[index]!,
    primaryShare: chosen.shares[index]!
  }))
  return { assignments, shares, added, levels: work.levels }
}
