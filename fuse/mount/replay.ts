import type { VolumeClient } from '../../client/types.ts'
import { codeOf, isRetryable, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { RecoveredWrite } from './journal.ts'

export interface ReplaySource {
  recover (): readonly RecoveredWrite[]
  settle (token: number): void
}

/** Codes that say the file is gone, and its content with it. */
const goneCodes = ['ENOENT', 'ESTALE']

/**
 * Gives the nodes what an earlier worker had acknowledged: before anything is answered, so that no
 * read misses it. Returns what failed for good, by inode: the next flush or fsync of it must say so.
 * Rejects when the nodes cannot be reached: then it is to be done again.
 */
export async function replay (client: VolumeClient, journal: ReplaySource, log: Logger): Promise<Map<number, unknown>> {
  const lost = new Map<number, unknown>()
  const writes = journal.recover()
  const byIno = Map.groupBy(writes, ({ ino }) => ino)
  for (const [ino, ofFile] of byIno) {
    try {
      await replayFile(client, ino, ofFile)
    } catch (error) {
      if (isRetryable(error)) throw error
      if (!goneCodes.includes(codeOf(error))) {
        lost.set(ino, error)
        log.error('acknowledged writes could not be replayed: the next fsync or close of the file fails', { ino, writes: ofFile.length, error: messageOf(error) })
      }
    }
    for (const { token } of ofFile) journal.settle(token)
  }
  if (writes.length > 0) log.info('writes of the worker before were replayed', { writes: writes.length, files: byIno.size, lost: lost.size })
  return lost
}

async function replayFile (client: VolumeClient, ino: number, writes: readonly RecoveredWrite[]): Promise<void> {
  const file = await client.open(ino, { write: true })
  try {
    for (const { offset, data } of writes) await file.write(offset, [data])
    await file.flush()
  } finally {
    await file.release()
  }
}
