import type { ChunkStore } from '../metadata/types.ts'
import type { ChunkPosition } from '../protocol/data.ts'
import { codeOf } from '../protocol/errors.ts'
import type { ClusterRouter } from '../protocol/router.ts'

/** The partition that holds the chunk, as it is known before an attempt. */
type Which = () => string

/** How a metadata leader reaches the chunks of a volume: through the primaries, as any client does. `writer`: any unique name of this process. */
export function chunkAccess (router: Pick<ClusterRouter, 'partitionOfChunk' | 'toPrimary'>, writer: string): ChunkStore {
  let order = 0
  /** Until it is on stable storage; between a change and its sync the power may have failed at every replica. */
  const durably = async (which: Which, ino: number, chunk: number, change: (changed: (losses: number) => void) => Promise<unknown>): Promise<void> => {
    for (;;) {
      let lossesBefore = 0
      let lossesAfter = 0
      await change((losses) => { lossesBefore = losses })
      await router.toPrimary(which, 'data.sync', (epoch, { id, losses = 0 }) => {
        lossesAfter = losses
        return { partition: id, epoch, ino, chunks: [chunk] }
      })
      if (lossesAfter === lossesBefore) return
    }
  }
  /** Late messages of a leader that is one no more are refused: `confirm` rejects when this one is not, by the time the position is known. */
  const guarded = async (which: Which, confirm: (() => Promise<void>) | undefined, change: (since: ChunkPosition | undefined) => Promise<unknown>): Promise<void> => {
    for (;;) {
      let since: ChunkPosition | undefined
      if (confirm !== undefined) {
        since = (await router.toPrimary(which, 'data.position', (epoch, { id }) => ({ partition: id, epoch }))).body
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
      const which = (): string => router.partitionOfChunk(volume, ino, chunk)
      const cut = (changed: (losses: number) => void): Promise<void> => guarded(which, confirm, (since) => router.toPrimary(which, 'data.truncate', (epoch, { id, losses = 0 }) => {
        changed(losses)
        return { partition: id, epoch, writer, order: ++order, since, ino, chunk, length }
      }))
      await (durable ? durably(which, ino, chunk, cut) : cut(() => {}))
    },
    async writeChunk (volume, ino, chunk, offset, data, confirm) {
      const which = (): string => router.partitionOfChunk(volume, ino, chunk)
      await durably(which, ino, chunk, (changed) => guarded(which, confirm, (since) => router.toPrimary(which, 'data.write', (epoch, { id, losses = 0 }) => {
        changed(losses)
        return { partition: id, epoch, writer, order: ++order, since, ino, chunk, offset }
      }, { payload: [data] })))
    }
  }
}
