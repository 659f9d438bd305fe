import { dataIndexOfChunk, dataPartitionId } from '../../partitioning/routing.ts'
import type { ChunkStore } from '../metadata/types.ts'
import type { ClusterRouter } from '../protocol/router.ts'

/** How a metadata leader reaches the chunks of a volume: through the primaries, as any client does. `writer`: any unique name of this process. */
export function chunkAccess (router: ClusterRouter, writer: string): ChunkStore {
  let order = 0
  const partitionOf = (volume: number, ino: number, chunk: number): string => {
    const known = router.map.volumes.find((candidate) => candidate.id === volume)
    return dataPartitionId(volume, dataIndexOfChunk(ino, chunk, known?.dataPartitions ?? 1))
  }
  return {
    async truncateChunk (volume, ino, chunk, length, durable) {
      const partition = partitionOf(volume, ino, chunk)
      await router.toPrimary(partition, 'data.truncate', (epoch) => ({ partition, epoch, writer, order: ++order, ino, chunk, length }))
      if (durable) await router.toPrimary(partition, 'data.sync', (epoch) => ({ partition, epoch, ino, chunk }))
    },
    async writeChunk (volume, ino, chunk, offset, data) {
      const partition = partitionOf(volume, ino, chunk)
      await router.toPrimary(partition, 'data.write', (epoch) => ({ partition, epoch, writer, order: ++order, ino, chunk, offset }), { payload: [data] })
      await router.toPrimary(partition, 'data.sync', (epoch) => ({ partition, epoch, ino, chunk }))
    }
  }
}
