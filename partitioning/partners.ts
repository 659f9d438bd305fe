/** Which nodes hold replicas of the same partitions, and of how many. The number of a node's partners is its scatter width. */
export class Partners {
  private readonly nodes: number
  /** A row per node: partitions shared with each other node. */
  private readonly shared: Uint32Array
  private readonly partners: Array<Set<number>>

  constructor (nodes: number) {
    this.nodes = nodes
    this.shared = new Uint32Array(nodes * nodes)
    this.partners = Array.from({ length: nodes }, () => new Set())
  }

  of (node: number): Iterable<number> { return this.partners[node]! }

  are (one: number, other: number): boolean { return this.shared[one * this.nodes + other]! > 0 }

  /** Counts (or, with -1, forgets) that two nodes share a partition. */
  change (one: number, other: number, by: 1 | -1): void {
    const count = this.shared[one * this.nodes + other]! + by
    this.shared[one * this.nodes + other] = count
    this.shared[other * this.nodes + one] = count
    if (count === 1 && by === 1) {
      this.partners[one]!.add(other)
      this.partners[other]!.add(one)
    } else if (count === 0) {
      this.partners[one]!.delete(other)
      this.partners[other]!.delete(one)
    }
  }
}
