import type { FaultTree, Spread } from './fault-tree.ts'
import { mixed, nameHash } from './hash.ts'
import { Partners } from './partners.ts'
import { VertexHeap } from './vertex-heap.ts'

export interface AssignmentInput {
  tree: FaultTree
  spread: Spread
  /** Replicas that each node shall hold; their sum is that of all partitions. */
  targets: Int32Array
  /** `spread.replicas` slots per partition, -1 where a replica is missing. Within the spread's caps; changed in place. */
  slots: Int32Array
  /** With how many others a node of average target should share partitions; left out: with any. */
  scatterWidth?: number
  /** Nodes of other partitions, which know each other already. */
  others?: ReadonlyArray<ArrayLike<number>>
}

/** Partitions among which the one is sought whose move makes the fewest new partners. */
export const steeredPartitionsMax = 24
/** Nodes looked at to that end in one assignment; then moves are made without. */
export const steeredNodesMax = 3_000_000

/** Steps in which nodes fill up together while blocks are placed. */
const blockRounds = 64

/** Searches for chains of moves after which whatever is still uneven stays so. */
export const chainSearchesMax = 20_000

/**
 * Fills missing replicas and moves those above a node's target. A replica moves directly from a node
 * above its target to one below it where the fault domains permit, otherwise along a shortest chain.
 */
export class ReplicaAssignment {
  private readonly tree: FaultTree
  private readonly caps: Int32Array
  private readonly width: number
  private readonly slots: Int32Array
  private readonly partitions: number
  /** Target minus count, per node. */
  private readonly lack: Int32Array
  private readonly held: Array<Set<number>>
  /** Replicas still wanted below each vertex: the sum of what its nodes lack. */
  private readonly wanted: Int32Array
  /** Replicas of the partition at hand below each vertex. */
  private readonly taken: Int32Array
  private readonly key: Float64Array
  private readonly heaps: Array<VertexHeap | null>
  private readonly hashes: Int32Array
  private readonly containing: Int32Array
  /** Nodes that lack a replica. */
  private readonly needy = new Set<number>()
  private readonly scatterWidth: number
  private readonly partners: Partners | null
  private steeredNodes = 0
  /** Nodes none of whose replicas may go to a node that lacks one, as far as is known. */
  private readonly closed: Uint8Array
  private acquainted = 0
  /** What was wanted below each vertex when blocks began to be filled; null while none are. */
  private atFirst: Int32Array | null = null

  constructor (input: AssignmentInput) {
    const { tree, spread } = input
    const vertices = tree.parent.length
    this.tree = tree
    this.caps = spread.caps
    this.width = spread.replicas
    this.slots = input.slots
    this.partitions = this.width === 0 ? 0 : input.slots.length / this.width
    this.lack = Int32Array.from(input.targets)
    this.held = tree.leafOf.map(() => new Set())
    this.closed = new Uint8Array(tree.leafOf.length)
    this.wanted = new Int32Array(vertices)
    this.taken = new Int32Array(vertices)
    this.key = new Float64Array(vertices)
    this.hashes = Int32Array.from(tree.names, nameHash)
    this.containing = Int32Array.from(tree.parent)
    const place = new Int32Array(vertices).fill(-1)
    this.heaps = tree.children.map((children) => {
      if (children.length === 0) return null
      const heap = new VertexHeap(this.key, place)
      for (const child of children) heap.push(child)
      return heap
    })
    for (let at = 0; at < input.slots.length; at++) {
      const node = input.slots[at]!
      if (node < 0) continue
      this.held[node]!.add(Math.floor(at / this.width))
      this.lack[node]!--
    }
    this.lack.forEach((lack, node) => {
      if (lack <= 0) return
      this.want(node, lack)
      this.needy.add(node)
    })
    this.scatterWidth = input.scatterWidth ?? Infinity
    this.partners = this.scatterWidth < tree.leafOf.length - 1 && this.width > 1 ? new Partners(tree.leafOf.length) : null
    if (this.partners === null) return
    for (let partition = 0; partition < this.partitions; partition++) this.acquaint(this.slots, partition * this.width, this.width)
    for (const nodes of input.others ?? []) this.acquaint(nodes, 0, nodes.length)
  }

  run (): void {
    if (this.partners !== null) this.fillBlocks()
    for (let partition = 0; partition < this.partitions; partition++) this.fill(partition)
    for (let node = 0; node < this.lack.length; node++) this.shedDirectly(node)
    let searches = 0
    for (let node = 0; node < this.lack.length; node++) {
      while (this.lack[node]! < 0 && searches++ < chainSearchesMax && (this.shedByPair(node) || this.shedByChain(node)));
    }
  }

  private fill (partition: number): void {
    const first = partition * this.width
    let missing = false
    for (let at = first; at < first + this.width; at++) missing ||= this.slots[at]! < 0
    if (!missing) return
    this.mark(partition, 1)
    for (let at = first; at < first + this.width; at++) {
      if (this.slots[at]! >= 0) continue
      // Where no node that lacks a replica may hold this one, another must; a chain of moves evens it out.
      const known = this.acquaintance(partition, -1, 0)
      const leaf = known >= 0 ? -1 : this.pick(0)
      const node = known >= 0 ? known : leaf >= 0 ? this.tree.nodeAt[leaf]! : this.leastLoaded()
      this.put(partition, at, node)
      this.count(node, 1)
    }
    this.mark(partition, -1)
  }

  /**
   * New partitions in blocks that share their nodes, so large that a node gets its share in as many blocks as its scatter
   * width allows. Where no node lacks a whole block any more, blocks are halved.
   */
  private fillBlocks (): void {
    const empty: number[] = []
    for (let partition = 0; partition < this.partitions; partition++) if (this.isEmpty(partition)) empty.push(partition)
    this.rankByPart(this.wanted.slice())
    let size = Math.floor((this.width - 1) * this.width * this.partitions / (this.tree.leafOf.length * this.scatterWidth))
    while (size > 1 && empty.length > 0) {
      size = Math.min(size, empty.length)
      const nodes = this.pickBlock(size)
      if (nodes === null) size >>= 1
      else for (const partition of empty.splice(-size)) nodes.forEach((node, at) => { this.put(partition, partition * this.width + at, node) })
    }
    this.rankByPart(null)
  }

  /** Orders by what is wanted as a part of what was at first, or again by what is wanted. */
  private rankByPart (first: Int32Array | null): void {
    this.atFirst = first
    for (let vertex = 1; vertex < this.wanted.length; vertex++) {
      this.rank(vertex)
      this.heaps[this.containing[vertex]!]!.update(vertex)
    }
  }

  private isEmpty (partition: number): boolean {
    for (let at = partition * this.width; at < (partition + 1) * this.width; at++) if (this.slots[at]! >= 0) return false
    return true
  }

  private pickBlock (size: number): number[] | null {
    const nodes: number[] = []
    while (nodes.length < this.width) {
      const leaf = this.pick(0)
      if (leaf < 0 || this.lack[this.tree.nodeAt[leaf]!]! < size) break
      nodes.push(this.tree.nodeAt[leaf]!)
      this.count(nodes.at(-1)!, 1)
    }
    for (const node of nodes) this.count(node, -1)
    return nodes.length < this.width ? null : nodes
  }

  private acquaint (nodes: ArrayLike<number>, first: number, count: number): void {
    for (let at = first; at < first + count; at++) {
      for (let next = at + 1; next < first + count; next++) {
        if (nodes[at]! >= 0 && nodes[next]! >= 0) this.partners!.change(nodes[at]!, nodes[next]!, 1)
      }
    }
  }

  /** Counts what a node shares with the other nodes of a partition, or no longer shares. */
  private meet (partition: number, node: number, by: 1 | -1): void {
    if (this.partners === null) return
    for (let at = partition * this.width; at < (partition + 1) * this.width; at++) {
      const other = this.slots[at]!
      if (other >= 0 && other !== node) this.partners.change(node, other, by)
    }
  }

  /**
   * The node that lacks a replica, may hold one of the partition at hand, and knows most of its other nodes; -1 if none
   * knows more than `least` of them. Sets `acquainted` to how many.
   */
  private acquaintance (partition: number, leaving: number, least: number): number {
    if (this.partners === null || this.steeredNodes >= steeredNodesMax) return -1
    const first = partition * this.width
    const few = this.needy.size <= this.width * this.scatterWidth
    let best = -1
    this.acquainted = least
    if (few) return this.bestOf(this.needy, first, leaving, best)
    for (let at = first; at < first + this.width; at++) {
      const other = this.slots[at]!
      if (other >= 0 && other !== leaving) best = this.bestOf(this.partners.of(other), first, leaving, best)
    }
    return best
  }

  private bestOf (candidates: Iterable<number>, first: number, leaving: number, best: number): number {
    for (const node of candidates) {
      this.steeredNodes++
      const lack = this.lack[node]!
      if (lack <= 0) continue
      const known = this.known(node, first, leaving)
      if (known < this.acquainted || (known === this.acquainted && !(best >= 0 && (lack > this.lack[best]! || (lack === this.lack[best]! && node < best))))) continue
      if (!this.mayHold(node)) continue
      best = node
      this.acquainted = known
    }
    return best
  }

  private known (node: number, first: number, leaving: number): number {
    let known = 0
    for (let at = first; at < first + this.width; at++) {
      const other = this.slots[at]!
      if (other >= 0 && other !== leaving && this.partners!.are(node, other)) known++
    }
    return known
  }

  /** First those of the node's partitions whose other nodes know somebody who lacks a replica. */
  private shedSteered (node: number): void {
    const order = this.lack[node]! < 0 ? this.shuffled(node) : []
    while (this.lack[node]! < 0 && this.needy.size > 0 && this.steeredNodes < steeredNodesMax) {
      let [at, to, most] = [-1, -1, 0]
      for (let index = 0; index < Math.min(order.length, steeredPartitionsMax) && most < this.width - 1; index++) {
        const partition = order[index]!
        this.mark(partition, 1)
        this.count(node, -1)
        const next = this.acquaintance(partition, node, most)
        this.count(node, 1)
        this.mark(partition, -1)
        if (next >= 0) [at, to, most] = [index, next, this.acquainted]
      }
      if (at < 0) return
      this.replace(order[at]!, node, to)
      order.splice(at, 1)
    }
  }

  private shedDirectly (node: number): void {
    if (this.partners !== null) this.shedSteered(node)
    if (this.lack[node]! >= 0) return
    for (const partition of this.shuffled(node)) {
      if (this.lack[node]! >= 0 || this.wanted[0] === 0) return
      this.mark(partition, 1)
      this.count(node, -1)
      const leaf = this.pick(0)
      if (leaf >= 0) this.replace(partition, node, this.tree.nodeAt[leaf]!)
      this.count(leaf >= 0 ? this.tree.nodeAt[leaf]! : node, 1)
      this.mark(partition, -1)
    }
  }

  /** In an order of its own: if all nodes began with the same partitions, these would end up together on the nodes that are filled. */
  private shuffled (node: number): number[] {
    const hash = this.hashes[this.tree.leafOf[node]!]!
    const held = this.held[node]!
    const keys: number[] = []
    for (const partition of held) keys.push(Math.floor(mixed(partition, hash) * 2 ** 20) * 2 ** 32 + partition)
    // Where few of many go, only the first of that order are needed.
    const needed = steeredPartitionsMax - this.lack[node]!
    const few = keys.length > 4 * needed ? keys.filter((key) => key < 2 ** 53 * needed / keys.length) : keys
    const order = Float64Array.from(few.length >= needed ? few : keys).sort()
    return Array.from(order, (key) => key % 2 ** 32)
  }

  /**
   * The shortest chain there is, through one node between. Nodes that were found to have nothing for those who lack it are
   * passed over until they get something new: the search below, which sees everything, comes after.
   */
  private shedByPair (start: number): boolean {
    const unseen = this.countBelow((node) => node !== start && this.closed[node] === 0)
    for (const partition of this.held[start]!) {
      if (unseen[0] === 0) return false
      const reached: number[] = []
      this.without(partition, start, () => { this.reach(0, unseen, reached) })
      for (const node of reached) {
        if (!this.passOn(node)) continue
        this.without(partition, start, () => { if (this.mayHold(node)) this.replace(partition, start, node) })
        return true
      }
    }
    return false
  }

  /** Hands one of the node's replicas to a node that lacks one. */
  private passOn (node: number): boolean {
    for (const partition of this.held[node]!) {
      let leaf = -1
      this.without(partition, node, () => {
        leaf = this.pick(0)
        if (leaf >= 0) this.replace(partition, node, this.tree.nodeAt[leaf]!)
      })
      if (leaf >= 0) return true
    }
    this.closed[node] = 1
    return false
  }

  /** With the domains of a partition's replicas marked as taken, but for one. */
  private without (partition: number, node: number, work: () => void): void {
    this.mark(partition, 1)
    this.count(node, -1)
    const first = partition * this.width
    const before = this.slots.slice(first, first + this.width)
    work()
    for (const other of before) if (other >= 0 && other !== node) this.count(other, -1)
  }

  /** Breadth first over nodes: an edge is a partition whose replica may move from the one to the other. */
  private shedByChain (start: number): boolean {
    const from = new Int32Array(this.lack.length).fill(-1)
    const through = new Int32Array(this.lack.length)
    const unseen = this.countBelow((node) => node !== start)
    const queue = [start]
    for (let at = 0; at < queue.length; at++) {
      const node = queue[at]!
      for (const partition of this.held[node]!) {
        if (unseen[0] === 0) return false
        this.mark(partition, 1)
        this.count(node, -1)
        const reached: number[] = []
        this.reach(0, unseen, reached)
        this.count(node, 1)
        this.mark(partition, -1)
        for (const next of reached) {
          from[next] = node
          through[next] = partition
          if (this.lack[next]! > 0) return this.moveAlong(from, through, next)
          queue.push(next)
        }
      }
    }
    return false
  }

  private countBelow (includes: (node: number) => boolean): Int32Array {
    const counts = new Int32Array(this.taken.length)
    for (let node = 0; node < this.lack.length; node++) {
      if (!includes(node)) continue
      for (let vertex = this.tree.leafOf[node]!; vertex !== -1; vertex = this.containing[vertex]!) counts[vertex]!++
    }
    return counts
  }

  /** Moves to `reached` the unseen nodes below a vertex that may hold the partition at hand. Full domains are not entered. */
  private reach (vertex: number, unseen: Int32Array, reached: number[]): void {
    if (unseen[vertex] === 0 || this.taken[vertex]! >= this.caps[vertex]!) return
    const before = reached.length
    const node = this.tree.nodeAt[vertex]!
    if (node >= 0) reached.push(node)
    for (const child of this.tree.children[vertex]!) this.reach(child, unseen, reached)
    unseen[vertex]! -= reached.length - before
  }

  private moveAlong (from: Int32Array, through: Int32Array, end: number): boolean {
    for (let node = end; from[node]! >= 0; node = from[node]!) {
      const partition = through[node]!
      this.mark(partition, 1)
      this.count(from[node]!, -1)
      // A shortest chain stays valid as a whole; checked, since a broken spread would be worse than an uneven one.
      const allowed = this.mayHold(node) && this.held[from[node]!]!.has(partition)
      if (allowed) this.replace(partition, from[node]!, node)
      this.count(allowed ? node : from[node]!, 1)
      this.mark(partition, -1)
      if (!allowed) return false
    }
    return true
  }

  private mayHold (node: number): boolean {
    for (let vertex = this.tree.leafOf[node]!; vertex !== -1; vertex = this.containing[vertex]!) {
      if (this.taken[vertex]! >= this.caps[vertex]!) return false
    }
    return true
  }

  /** The leaf that most lacks a replica and may hold one of the partition at hand, or -1. */
  private pick (vertex: number): number {
    if (this.tree.nodeAt[vertex]! >= 0) return vertex
    const heap = this.heaps[vertex]!
    const passed: number[] = []
    let leaf = -1
    while (heap.first >= 0 && this.wanted[heap.first]! > 0) {
      const child = heap.first
      if (this.taken[child]! < this.caps[child]!) leaf = this.pick(child)
      if (leaf >= 0) break
      passed.push(heap.pop())
    }
    for (const child of passed) heap.push(child)
    return leaf
  }

  private leastLoaded (): number {
    let best = -1
    for (let node = 0; node < this.lack.length; node++) {
      if ((best < 0 || this.lack[node]! > this.lack[best]!) && this.mayHold(node)) best = node
    }
    return best
  }

  private replace (partition: number, old: number, node: number): void {
    const first = partition * this.width
    const at = this.slots.subarray(first, first + this.width).indexOf(old)
    this.meet(partition, old, -1)
    this.slots[first + at] = -1
    this.held[old]!.delete(partition)
    this.change(old, 1)
    this.put(partition, first + at, node)
  }

  private put (partition: number, at: number, node: number): void {
    this.meet(partition, node, 1)
    this.closed[node] = 0
    this.slots[at] = node
    this.held[node]!.add(partition)
    this.change(node, -1)
  }

  private change (node: number, by: number): void {
    const before = Math.max(0, this.lack[node]!)
    this.lack[node]! += by
    const after = Math.max(0, this.lack[node]!)
    if (after !== before) this.want(node, after - before)
    if (after > 0) this.needy.add(node)
    else this.needy.delete(node)
  }

  private want (node: number, by: number): void {
    for (let vertex = this.tree.leafOf[node]!; ; vertex = this.containing[vertex]!) {
      this.wanted[vertex]! += by
      if (vertex === 0) break
      this.rank(vertex)
      this.heaps[this.containing[vertex]!]!.update(vertex)
    }
  }

  /** Most wanted first; equals in an order that changes with each round, so that any two nodes share few partitions. */
  private rank (vertex: number): void {
    const wanted = this.wanted[vertex]!
    if (wanted <= 0) this.key[vertex] = 0
    // Blocks are large: if the fullest went first, the few that want most would share them all.
    else if (this.atFirst !== null) this.key[vertex] = 1 + Math.floor(blockRounds * wanted / this.atFirst[vertex]!) + mixed(this.hashes[vertex]!, wanted)
    else this.key[vertex] = 1 + Math.floor(wanted / this.caps[vertex]!) + mixed(this.hashes[vertex]!, wanted)
  }

  /** Counts (or, with -1, forgets) the replicas of a partition. */
  private mark (partition: number, by: number): void {
    const first = partition * this.width
    for (let at = first; at < first + this.width; at++) if (this.slots[at]! >= 0) this.count(this.slots[at]!, by)
  }

  private count (node: number, by: number): void {
    for (let vertex = this.tree.leafOf[node]!; vertex !== -1; vertex = this.containing[vertex]!) this.taken[vertex]! += by
  }
}
