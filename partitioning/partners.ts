/** Which nodes hold replicas of the same partitions, and of how many. Its size is the sum of the scatter widths. */
export class Partners {
  private readonly counts: Array<Map<number, number>>

  constructor (nodes: number) {
    this.counts = Array.from({ length: nodes }, () => new Map())
  }

  of (node: number): Iterable<number> { return this.counts[node]!.keys() }

  are (one: number, other: number): boolean { return this.counts[one]!.has(other) }

  /** Distinct nodes with which the node shares partitions: its scatter width. */
  width (node: number): number { return this.counts[node]!.size }

  /** Counts (or, with -1, forgets) that two nodes share a partition. */
  change (one: number, other: number, by: number): void {
    this.changeOne(one, other, by)
    this.changeOne(other, one, by)
  }

  private changeOne (node: number, partner: number, by: number): void {
    const count = (this.counts[node]!.get(partner) ?? 0) + by
    if (count > 0) this.counts[node]!.set(partner, count)
    else this.counts[node]!.delete(partner)
  }
}
