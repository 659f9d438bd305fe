import { faultTree, spreadOf, type FaultTree, type Spread } from './fault-tree.ts'
import type { HawaiiInput, HawaiiOutcome } from './hawaii.ts'

export interface FewestMovesInput {
  tree: FaultTree
  spread: Spread
  /** `spread.replicas` nodes per partition: an assignment that keeps all rules. Changed in place. */
  slots: Int32Array
  /** Nodes that held each partition before. */
  current: ReadonlyArray<readonly number[]>
  /** Exact share of each node: its count may be the floor or the ceiling. */
  shares: Float64Array
}

/** Beyond this many vertices the exact search is left out. */
export const exactVerticesMax = 400_000
/** Arcs looked at in one search; then the result is not proven to be the least. */
export const arcsLookedAtMax = 40_000_000

/**
 * Lowers the number of replicas that moved to the least possible: minimum-cost flow by cancelling negative cycles.
 * Each partition sends its replicas down its own copy of the tree of domains, within the caps, into the nodes, and
 * these into a sink within their bounds; a leaf that did not hold the partition before costs one.
 */
export function fewestMoves (input: FewestMovesInput): void {
  const { tree, spread: { replicas }, slots } = input
  const partitions = replicas === 0 ? 0 : slots.length / replicas
  if (partitions * tree.parent.length + tree.leafOf.length + 1 > exactVerticesMax) return
  if (countMoved(input) <= leastMoves(input)) return
  new MoveFlow(input, partitions).run()
}

function countMoved ({ slots, spread, current }: FewestMovesInput): number {
  return slots.reduce((sum, node, at) => sum + (current[Math.floor(at / spread.replicas)]!.includes(node) ? 0 : 1), 0)
}

/**
 * What must move in any case, domain by domain: none keeps more than its nodes' bounds and the partitions' spread
 * allow, and what a node lacks must come from somewhere.
 */
export function leastMoves ({ tree, spread, current, shares, slots }: FewestMovesInput): number {
  const keepable = new Int32Array(tree.parent.length)
  const taken = new Int32Array(tree.parent.length)
  for (const held of current) {
    const touched: number[] = []
    for (const node of held) {
      for (let vertex = tree.leafOf[node]!; vertex !== -1; vertex = tree.parent[vertex]!) if (taken[vertex]!++ === 0) touched.push(vertex)
    }
    for (const vertex of touched) {
      keepable[vertex]! += Math.min(taken[vertex]!, spread.caps[vertex]!)
      taken[vertex] = 0
    }
  }
  const keeps = (vertex: number): number => {
    const node = tree.nodeAt[vertex]!
    const below = node >= 0 ? Math.ceil(shares[node]!) : tree.children[vertex]!.reduce((sum, child) => sum + keeps(child), 0)
    return Math.min(keepable[vertex]!, below)
  }
  /** What the vertex must hold, and how much of that must be new. */
  const lacks = (vertex: number): { holds: number, lacks: number } => {
    const node = tree.nodeAt[vertex]!
    const below = tree.children[vertex]!.map(lacks)
    const holds = node >= 0 ? Math.floor(shares[node]! + 1e-6) : below.reduce((sum, child) => sum + child.holds, 0)
    return { holds, lacks: Math.max(0, holds - keepable[vertex]!, below.reduce((sum, child) => sum + child.lacks, 0)) }
  }
  return Math.max(slots.length - keeps(0), lacks(0).lacks)
}

/** The least that had to move for an outcome, where all partitions have the same replica count; a bound that may not be reachable. */
export function leastMovesOf (input: HawaiiInput, outcome: HawaiiOutcome): number {
  const replicas = input.partitions[0]?.replicas
  if (replicas === undefined || outcome.shares.length === 0) return 0
  const weights = new Map(input.nodes.map((node) => [node.id, node]))
  const tree = faultTree(outcome.shares.map(({ node }) => weights.get(node)!))
  const numbers = new Map(outcome.shares.map(({ node }, at) => [node, at]))
  const numbersOf = (ids: readonly string[]): number[] => ids.map((id) => numbers.get(id)).filter((at) => at !== undefined)
  return leastMoves({
    tree,
    spread: spreadOf(tree, replicas),
    current: input.partitions.map(({ current }) => numbersOf(current ?? [])),
    slots: Int32Array.from(outcome.assignments.flatMap((assignment) => numbersOf(assignment.replicas))),
    shares: Float64Array.from(outcome.shares, ({ replicaShare }) => replicaShare)
  })
}

/** The flow's residual graph. Arc 2k is arc k forwards, 2k + 1 backwards. */
class MoveFlow {
  private readonly input: FewestMovesInput
  private readonly partitions: number
  private readonly vertices: number
  private readonly from: Int32Array
  private readonly to: Int32Array
  private readonly room: Int32Array
  private readonly cost: Int8Array
  private arcs = 0
  /** Arcs by the vertex that they leave: those of `vertex` from `firstOut[vertex]` on. */
  private readonly out: Int32Array
  private readonly firstOut: Int32Array
  /** Per partition and node, the arc into the node. */
  private readonly leafArcs: Int32Array
  private lookedAt = 0

  constructor (input: FewestMovesInput, partitions: number) {
    const { tree, slots, shares } = input
    const nodes = tree.leafOf.length
    const width = tree.parent.length
    const arcs = 2 * (partitions * (width - 1) + nodes)
    this.input = input
    this.partitions = partitions
    this.vertices = partitions * width + nodes + 1
    this.from = new Int32Array(arcs)
    this.to = new Int32Array(arcs)
    this.room = new Int32Array(arcs)
    this.cost = new Int8Array(arcs)
    this.leafArcs = new Int32Array(partitions * nodes)
    for (let partition = 0; partition < partitions; partition++) this.addPartition(partition)
    const counts = new Int32Array(nodes)
    for (const node of slots) counts[node]!++
    shares.forEach((share, node) => {
      this.add(partitions * width + node, this.vertices - 1, Math.max(0, Math.ceil(share) - counts[node]!), Math.max(0, counts[node]! - Math.floor(share)), 0)
    })
    this.out = new Int32Array(arcs)
    this.firstOut = new Int32Array(this.vertices + 1)
    this.sortArcs()
  }

  private addPartition (partition: number): void {
    const { tree, spread: { caps, replicas }, slots, current } = this.input
    const width = tree.parent.length
    const taken = new Int32Array(width)
    for (const node of slots.subarray(partition * replicas, (partition + 1) * replicas)) {
      for (let vertex = tree.leafOf[node]!; vertex !== -1; vertex = tree.parent[vertex]!) taken[vertex]!++
    }
    for (let vertex = 1; vertex < width; vertex++) {
      const node = tree.nodeAt[vertex]!
      const above = partition * width + tree.parent[vertex]!
      const room = caps[vertex]! - taken[vertex]!
      if (node < 0) {
        this.add(above, partition * width + vertex, room, taken[vertex]!, 0)
      } else {
        this.leafArcs[partition * tree.leafOf.length + node] = this.arcs
        this.add(above, this.partitions * width + node, room, taken[vertex]!, current[partition]!.includes(node) ? 0 : 1)
      }
    }
  }

  private add (from: number, to: number, room: number, flow: number, cost: number): void {
    const arc = this.arcs
    this.from[arc] = this.to[arc + 1] = from
    this.to[arc] = this.from[arc + 1] = to
    this.room[arc] = room
    this.room[arc + 1] = flow
    this.cost[arc] = cost
    this.cost[arc + 1] = -cost
    this.arcs += 2
  }

  private sortArcs (): void {
    for (const vertex of this.from) this.firstOut[vertex + 1]!++
    for (let vertex = 0; vertex < this.vertices; vertex++) this.firstOut[vertex + 1]! += this.firstOut[vertex]!
    const next = this.firstOut.slice()
    for (let arc = 0; arc < this.from.length; arc++) this.out[next[this.from[arc]!]!++] = arc
  }

  run (): void {
    let changed = false
    for (let cycle = this.negativeCycle(); cycle !== null; cycle = this.negativeCycle()) {
      changed = true
      for (const arc of cycle) {
        this.room[arc]!--
        this.room[arc ^ 1]!++
      }
    }
    if (changed) this.readSlots()
  }

  /** Bellman and Ford with a queue, from where a move could be saved. */
  private negativeCycle (): number[] | null {
    const distance = new Int32Array(this.vertices)
    const arrived = new Int32Array(this.vertices).fill(-1)
    const queued = new Uint8Array(this.vertices)
    const queue: number[] = []
    for (let arc = 0; arc < this.arcs; arc++) {
      if (this.cost[arc]! >= 0 || this.room[arc] === 0 || queued[this.from[arc]!] !== 0) continue
      queued[this.from[arc]!] = 1
      queue.push(this.from[arc]!)
    }
    for (let at = 0; at < queue.length && this.lookedAt < arcsLookedAtMax; at++) {
      const vertex = queue[at]!
      queued[vertex] = 0
      for (let index = this.firstOut[vertex]!; index < this.firstOut[vertex + 1]!; index++) {
        const arc = this.out[index]!
        const next = this.to[arc]!
        const length = distance[vertex]! + this.cost[arc]!
        this.lookedAt++
        if (this.room[arc]! <= 0 || length >= distance[next]!) continue
        const cycle = this.wayFrom(next, vertex, arrived)
        if (cycle !== null) return [...cycle, arc]
        distance[next] = length
        arrived[next] = arc
        if (queued[next] !== 0) continue
        queued[next] = 1
        queue.push(next)
      }
    }
    return null
  }

  /** The arcs by which `end` was reached from `start`; null if it was not. */
  private wayFrom (start: number, end: number, arrived: Int32Array): number[] | null {
    const way: number[] = []
    for (let vertex = end; vertex !== start; vertex = this.from[arrived[vertex]!]!) {
      this.lookedAt++
      if (arrived[vertex]! < 0) return null
      way.push(arrived[vertex]!)
    }
    return way
  }

  private readSlots (): void {
    const { tree, spread: { replicas }, slots } = this.input
    const nodes = tree.leafOf.length
    for (let partition = 0; partition < this.partitions; partition++) {
      const mine = slots.subarray(partition * replicas, (partition + 1) * replicas)
      const holds = (node: number): boolean => this.room[this.leafArcs[partition * nodes + node]! ^ 1]! > 0
      if (mine.every(holds)) continue
      const fresh = [...tree.leafOf.keys()].filter((node) => holds(node) && !mine.includes(node))
      mine.forEach((node, at) => { if (!holds(node)) mine[at] = fresh.shift()! })
    }
  }
}
