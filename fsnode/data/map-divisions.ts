import { dataPartitionId } from '../../partitioning/routing.ts'
import type { ClusterMap, DataPartition, PartitionId } from '../../partitioning/types.ts'
import { messageOf } from '../protocol/errors.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import type { ChunkStore } from './chunk-store.ts'
import { sweepRetryMs } from './constants.ts'

export interface MapDivisionsComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

/** Tells the chunk store which partitions the map says are split, and has their files moved. */
export class MapDivisions {
  private readonly components: MapDivisionsComponents
  /** Those that this process has told the store of. */
  private readonly told = new Map<PartitionId, number>()
  private sweeping = Promise.resolve()
  private retry: Timer | null = null
  private closed = false

  constructor (components: MapDivisionsComponents) {
    this.components = components
  }

  /** Takes effect before it returns: no replica of what was split off has begun yet. `ours`: what this node has replicas of. */
  adopt (map: ClusterMap, ours: readonly DataPartition[]): void {
    const { store } = this.components
    this.unite(map)
    const split = ours.filter(({ span }) => span !== undefined)
    if (split.every(({ id, span }) => this.told.get(id) === span)) return
    const byId = new Map(map.data.map((partition) => [partition.id, partition]))
    let isNew = false
    for (const own of split) {
      for (const partition of [own, ...ancestorsOf(own, byId)]) {
        const { id, index, span, volume } = partition
        if (span === undefined || this.told.get(id) === span) continue
        this.told.set(id, span)
        store.divide({ partition: id, index, span, ancestors: ancestorsOf(partition, byId).map((ancestor) => ancestor.id), ownerOf: (ino, chunk) => this.ownerOf(volume, id, ino, chunk) })
        isNew = true
      }
    }
    if (isNew) this.sweep()
  }

  /** A move of files that is under way ends with the store, and goes on at the next start. */
  close (): void {
    this.closed = true
    this.retry?.cancel()
  }

  /** After a map from before the split was restored. */
  private unite (map: ClusterMap): void {
    if (this.told.size === 0) return
    for (const { id, span } of map.data) {
      if (span !== undefined || !this.told.delete(id)) continue
      this.components.store.unite(id)
    }
  }

  private sweep (): void {
    const { clock, log, store } = this.components
    this.sweeping = this.sweeping.then(async () => {
      for (const id of [...this.told.keys()].filter((partition) => !store.isSwept(partition))) {
        if (this.closed) return
        await store.sweep(id).catch((error) => {
          if (this.closed) return
          log.warn('cannot move the chunks of partitions that were split', { partition: id, cause: messageOf(error) })
          this.retry ??= clock.setTimer(() => {
            this.retry = null
            this.sweep()
          }, sweepRetryMs)
        })
      }
    })
  }

  private ownerOf (volume: number, partition: PartitionId, ino: number, chunk: number): PartitionId {
    try {
      return this.components.router.partitionOfChunk(volume, ino, chunk)
    } catch {
      // The volume was removed: all of it goes.
      return partition
    }
  }
}

/** What the partition may have been split off, the nearest first. */
function ancestorsOf ({ id, index, span, volume }: DataPartition, byId: ReadonlyMap<PartitionId, DataPartition>): DataPartition[] {
  const found: DataPartition[] = []
  for (let half = (span ?? 0) / 2; half >= 1 && Number.isInteger(half); half /= 2) {
    const ancestor = byId.get(dataPartitionId(volume, index % half))
    if (ancestor !== undefined && ancestor.id !== id && !found.includes(ancestor)) found.push(ancestor)
  }
  return found
}
