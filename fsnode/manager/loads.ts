import { countHeld, type Held } from '../../partitioning/placement.ts'
import type { DataPartition, NodeId, NodeInfo } from '../../partitioning/types.ts'
import { syncsPerNodeMax } from './bounds.ts'
import type { ManagerState } from './manager-state.ts'

/** How many partitions each node leads, counting what is being decided. Counted on first use. */
export class LeadLoads {
  private readonly data: readonly DataPartition[]
  private readonly nodes: readonly NodeInfo[]
  private counts: { held: Map<NodeId, Held>, weights: Map<NodeId, number> } | null = null

  constructor (data: readonly DataPartition[], nodes: readonly NodeInfo[]) {
    this.data = data
    this.nodes = nodes
  }

  of (node: NodeId): { primaries: number, weight: number } {
    const { held, weights } = this.counted()
    return { primaries: held.get(node)?.primaries ?? 0, weight: weights.get(node) ?? 1 }
  }

  moved (before: DataPartition, after: DataPartition): void {
    const { held } = this.counted()
    for (const [partition, by] of [[before, -1], [after, 1]] as const) {
      const node = partition.primary ?? partition.replicas[0]?.node
      if (node === undefined) continue
      const counts = held.get(node) ?? { replicas: 0, primaries: 0 }
      held.set(node, { ...counts, primaries: counts.primaries + by })
    }
  }

  private counted (): { held: Map<NodeId, Held>, weights: Map<NodeId, number> } {
    const average = this.nodes.reduce((sum, node) => sum + node.capacityBytes, 0) / Math.max(1, this.nodes.length)
    this.counts ??= {
      held: countHeld(this.data),
      weights: new Map(this.nodes.map((node) => [node.id, node.capacityBytes > 0 ? node.capacityBytes / average : 1]))
    }
    return this.counts
  }
}

/** Bounds the copies to one node and from one node that run at once. */
export class SyncBudget {
  private readonly running = new Map<string, number>()

  constructor (state: ManagerState) {
    for (const id of state.unsettled) {
      const partition = state.record(id)!.partition
      for (const { node, state: replicaState } of partition.replicas) {
        if (replicaState === 'syncing') this.count(node, partition.primary)
      }
    }
  }

  /** Claims one copy if that is within the bounds. */
  take (node: NodeId, source: NodeId): boolean {
    if (this.of(`to ${node}`) >= syncsPerNodeMax || this.of(`from ${source}`) >= syncsPerNodeMax) return false
    this.count(node, source)
    return true
  }

  private of (key: string): number { return this.running.get(key) ?? 0 }

  private count (node: NodeId, source: NodeId | null): void {
    this.running.set(`to ${node}`, this.of(`to ${node}`) + 1)
    if (source !== null) this.running.set(`from ${source}`, this.of(`from ${source}`) + 1)
  }
}
