import { dataIndexOfChunk, dataPartitionId } from '../../partitioning/routing.ts'
import type { ChunkStore } from '../metadata/types.ts'
import type { ChunkPosition } from '../protocol/data.ts'
import { codeOf } from '../protocol/errors.ts'
import type { ClusterRouter } from '../protocol/router.ts'

/** How a metadata leader reaches the chunks of a volume: through the primaries, as any client does. `writer`: any unique name of this process. */
export function chunkAccess (router: Pick<ClusterRouter, 'map' | 'toPrimary'>, writer: string): ChunkStore {
  let order = 0
  const partitionOf = (volume: number, ino: number, chunk: number): string => {
    const known = router.map.volumes.find((candidate) => candidate.id === volume)
    return dataPartitionId(volume, dataIndexOfChunk(ino, chunk, known?.dataPartitions ?? 1))
  }
  /** Until it is on stable storage; between a change and its sync the power may have failed at every replica. */
  const durably = async (partition: string, ino: number, chunk: number, change: (changed: (losses: number) => void) => Promise<unknown>): Promise<void> => {
    for (;;) {
      let lossesBefore = 0
      let lossesAfter = 0
      await change((losses) => { lossesBefore = losses })
      await router.toPrimary(partition, 'data.sync', (epoch, { losses = 0 }) => {
        lossesAfter = losses
        return { partition, epoch, ino, chunk }
      })
      if (lossesAfter === lossesBefore) return
    }
  }
  /** Late messages of a leader that is one no more are refused: `confirm` rejects when this one is not, by the time the position is known. */
  const guarded = async (partition: string, confirm: (() => Promise<void>) | undefined, change: (since: ChunkPosition | undefined) => Promise<unknown>): Promise<void> => {
    for (;;) {
      let since: ChunkPosition | undefined
      if (confirm !== undefined) {
        since = (await router.toPrimary(partition, 'data.position', (epoch) => ({ partition, epoch }))).body
        await confirm()
      }
      try {
        await change(since)
        return
      } catch (error) {
        if (codeOf(error) !== 'ATOLL_CHANGED') throw error
      }
    }
  }
  return {
    async truncateChunk (volume, ino, chunk, length, durable, confirm) {
      const partition = partitionOf(volume, ino, chunk)
      const cut = (changed: (losses: number) => void): Promise<void> => guarded(partition, confirm, (since) => router.toPrimary(partition, 'data.truncate', (epoch, { losses = 0 }) => {
        changed(losses)
        return { partition, epoch, writer, order: ++order, since, ino, chunk, length }
      }))
      await (durable ? durably(partition, ino, chunk, cut) : cut(() => {}))
    },
    async writeChunk (volume, ino, chunk, offset, data, confirm) {
      const partition = partitionOf(volume, ino, chunk)
      await durably(partition, ino, chunk, (changed) => guarded(partition, confirm, (since) => router.toPrimary(partition, 'data.write', (epoch, { losses = 0 }) => {
        changed(losses)
        return { partition, epoch, writer, order: ++order, since, ino, chunk, offset }
      }, { payload: [data] })))
    }
  }
}
