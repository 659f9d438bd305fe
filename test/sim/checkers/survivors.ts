import type { ClusterMap } from '../../../partitioning/types.ts'

/**
 * Knows when unsynced data may be lost: when power has failed at every replica of a partition that was in sync. As
 * long as one of them kept its memory (or its page cache), nothing that was acknowledged may be missing; unless
 * the manager puts that one out because its process ended, before it has learned that the others have lost theirs.
 */
export class Survivors {
  private readonly onLoss: () => void
  private map: ClusterMap | null = null
  /** By partition: replicas in sync of which the power has failed since they were. */
  private readonly broken = new Map<string, Set<string>>()

  constructor (onLoss: () => void) { this.onLoss = onLoss }

  /** Some node has learned a map. */
  learned (map: ClusterMap): void {
    if (map.version <= (this.map?.version ?? 0)) return
    for (const partition of map.data) if (this.map?.data.some(({ id }) => id === partition.id) === false) this.inherit(partition)
    this.map = map
    for (const partition of map.data) {
      const inSync = inSyncOf(partition)
      const broken = this.broken.get(partition.id)
      for (const node of broken ?? []) if (!inSync.includes(node)) broken!.delete(node)
    }
    this.tellLosses()
  }

  /** Of what it was split off: the same replicas, with the same memory. */
  private inherit ({ id, volume, index, span = 0 }: ClusterMap['data'][number]): void {
    const parent = this.map!.data.find((candidate) => candidate.volume === volume && candidate.index === index - span / 2)
    const broken = this.broken.get(parent?.id ?? '')
    if (broken !== undefined) this.broken.set(id, new Set(broken))
  }

  powerFailed (node: string): void {
    for (const partition of this.map?.data ?? []) {
      if (inSyncOf(partition).includes(node)) this.broken.set(partition.id, (this.broken.get(partition.id) ?? new Set()).add(node))
    }
    this.tellLosses()
  }

  private tellLosses (): void {
    let lost = false
    for (const partition of this.map?.data ?? []) {
      const broken = this.broken.get(partition.id)
      if (broken === undefined || broken.size === 0 || !inSyncOf(partition).every((node) => broken.has(node))) continue
      lost = true
      broken.clear()
    }
    if (lost) this.onLoss()
  }
}

function inSyncOf ({ replicas }: ClusterMap['data'][number]): string[] {
  const serving = replicas.filter(({ state }) => state === 'serving')
  return (serving.length > 0 ? serving : replicas.filter(({ state }) => state === 'last')).map(({ node }) => node)
}
