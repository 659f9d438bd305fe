import { dataIndexOfChunk, dataPartitionId } from '../../partitioning/routing.ts'
import type { ChunkStore } from '../metadata/types.ts'
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
  return {
    async truncateChunk (volume, ino, chunk, length, durable) {
      const partition = partitionOf(volume, ino, chunk)
      const cut = (changed: (losses: number) => void): Promise<unknown> => router.toPrimary(partition, 'data.truncate', (epoch, { losses = 0 }) => {
        changed(losses)
        return { partition, epoch, writer, order: ++order, ino, chunk, length }
      })
      await (durable ? durably(partition, ino, chunk, cut) : cut(() => {}))
    },
    async writeChunk (volume, ino, chunk, offset, data) {
      const partition = partitionOf(volume, ino, chunk)
      await durably(partition, ino, chunk, (changed) => router.toPrimary(partition, 'data.write', (epoch, { losses = 0 }) => {
        changed(losses)
        return { partition, epoch, writer, order: ++order, ino, chunk, offset }
      }, { payload: [data] }))
    }
  }
}
