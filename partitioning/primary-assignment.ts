export interface PrimaryInput {
  nodes: number
  /** Node indices, `width` per partition; -1 where a replica is missing. */
  slots: Int32Array
  width: number
  /** Current primary per partition, -1 for none. Changed in place; always one of the partition's replicas, if it has any. */
  primaries: Int32Array
  /** Exact share of primaries per node. */
  shares: Float64Array
  /** Breaks ties where a primary is chosen anew: the greater, the more the node should get. */
  bias: (node: number) => number
}

const tolerance = 1e-9

/**
 * Chooses primaries among the replicas so that no two nodes' counts, measured against their shares, differ by more
 * than one wherever the replicas permit. Primaries stay where they are unless that needs a change.
 */
export class PrimaryAssignment {
  private readonly input: PrimaryInput
  /** Count minus share, per node. */
  private readonly excess: Float64Array
  private readonly led: Array<Set<number>>

  constructor (input: PrimaryInput) {
    this.input = input
    this.excess = input.shares.map((share) => -share)
    this.led = Array.from({ length: input.nodes }, () => new Set())
  }

  run (): void {
    const { primaries } = this.input
    const open = new Int32Array(this.input.nodes)
    primaries.forEach((primary, partition) => {
      if (primary >= 0) this.lead(partition, primary)
      else this.forEachReplica(partition, (node) => { open[node]!++ })
    })
    for (let partition = 0; partition < primaries.length; partition++) {
      if (primaries[partition]! >= 0) continue
      const node = this.neediest(partition, open)
      this.forEachReplica(partition, (replica) => { open[replica]!-- })
      if (node >= 0) this.lead(partition, node)
    }
    while (this.evenOut());
  }

  private forEachReplica (partition: number, use: (node: number) => void): void {
    const { slots, width } = this.input
    for (let at = partition * width; at < (partition + 1) * width; at++) if (slots[at]! >= 0) use(slots[at]!)
  }

  private lead (partition: number, node: number): void {
    this.input.primaries[partition] = node
    this.led[node]!.add(partition)
    this.excess[node]! += 1
  }

  /** Whose lack is greatest for the partitions from which it may still get one. */
  private neediest (partition: number, open: Int32Array): number {
    const { slots, width } = this.input
    let best = -1
    let bestNeed = -Infinity
    for (let at = partition * width; at < (partition + 1) * width; at++) {
      const node = slots[at]!
      if (node < 0) continue
      const need = -this.excess[node]! / open[node]!
      const better = need > bestNeed + tolerance ||
        (need > bestNeed - tolerance && this.input.bias(node) > this.input.bias(best))
      if (!better) continue
      best = node
      bestNeed = need
    }
    return best
  }

  /** One pass over the nodes with too many; the sum of squared excesses falls with each change, so passes end. */
  private evenOut (): boolean {
    let changed = false
    const order = [...this.excess.keys()].sort((one, other) => this.excess[other]! - this.excess[one]! || one - other)
    let least = this.least()
    for (const node of order) {
      while (this.excess[node]! - least > 1 + tolerance && this.shift(node)) {
        changed = true
        least = this.least()
      }
    }
    return changed
  }

  private least (): number {
    return this.excess.reduce((least, excess) => Math.min(least, excess), Infinity)
  }

  /** Hands one primary on along a shortest chain to a node that is better off with it. */
  private shift (start: number): boolean {
    const { slots, width } = this.input
    const from = new Int32Array(this.input.nodes).fill(-1)
    const through = new Int32Array(this.input.nodes)
    const queue = [start]
    for (let at = 0; at < queue.length; at++) {
      const node = queue[at]!
      for (const partition of this.led[node]!) {
        for (let slot = partition * width; slot < (partition + 1) * width; slot++) {
          const next = slots[slot]!
          if (next < 0 || next === start || from[next]! >= 0) continue
          from[next] = node
          through[next] = partition
          queue.push(next)
          if (this.excess[start]! - this.excess[next]! > 1 + tolerance) {
            this.shiftAlong(from, through, next)
            return true
          }
        }
      }
    }
    return false
  }

  private shiftAlong (from: Int32Array, through: Int32Array, end: number): void {
    for (let node = end; from[node]! >= 0; node = from[node]!) {
      const old = from[node]!
      this.led[old]!.delete(through[node]!)
      this.excess[old]! -= 1
      this.lead(through[node]!, node)
    }
  }
}
