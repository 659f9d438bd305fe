import type { RecoveredChange, VolumeClient } from '../../client/types.ts'
import { decodeChange, inodesOf } from '../../fsnode/protocol/changes.ts'
import { type AtollError, codeOf, isRetryable, messageOf, posixError } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { RecoveredWrite } from './journal.ts'

export interface ReplaySource {
  recover (): readonly RecoveredWrite[]
  settle (token: number): void
  readonly changes?: { recoverChanges (): readonly RecoveredChange[] }
}

/** Whose operations these were is in what they did; nothing here depends on it. */
const nobody = { uid: 0, gid: 0 }

/** Codes that say the file is gone, and its content with it. */
const goneCodes = ['ENOENT', 'ESTALE']

/**
 * Gives the nodes what an earlier worker had acknowledged: before anything is answered, so that no
 * read misses it. Returns what failed for good, by inode, also with changes that were given up with their session: the next flush or fsync
 * of it must say so. Rejects when the nodes cannot be reached: then it is to be done again.
 */
export async function replay (client: VolumeClient, journal: ReplaySource, log: Logger): Promise<Map<number, unknown>> {
  const changes = journal.changes?.recoverChanges() ?? []
  const lost = await lostChanges(client, changes)
  const writes = journal.recover()
  const byIno = Map.groupBy(writes, ({ ino }) => ino)
  for (const [ino, ofFile] of byIno) {
    try {
      await replayFile(client, ino, ofFile)
      // The changes were replayed before: a time that was set after the writes must be set again.
      const mtime = modifiedAfter(changes, ino, ofFile.at(-1)!.token)
      if (mtime !== null) await client.setattr(ino, { mtime }, nobody)
    } catch (error) {
      if (isRetryable(error)) throw error
      if (!goneCodes.includes(codeOf(error))) {
        lost.set(ino, error)
        log.error('acknowledged writes could not be replayed: the next fsync or close of the file fails', { ino, writes: ofFile.length, error: messageOf(error) })
      }
    }
    client.doneInheriting?.(ino)
    for (const { token } of ofFile) journal.settle(token)
  }
  if (writes.length > 0) log.info('writes of the worker before were replayed', { writes: writes.length, files: byIno.size, lost: lost.size })
  return lost
}

/** Files whose content, or whose being there, an earlier worker had told of in a session that has ended. */
async function lostChanges (client: VolumeClient, changes: readonly RecoveredChange[]): Promise<Map<number, unknown>> {
  const lost = new Map<number, unknown>()
  for (const { bytes, generation } of changes) {
    const change = decodeChange(bytes)
    const ino = change[0] === 'commit' ? change[2] : inodesOf(change).made
    if (ino !== 0 && !lost.has(ino) && await client.inherits?.(ino, generation) === false) lost.set(ino, sessionEnded())
  }
  return lost
}

function sessionEnded (): AtollError { return posixError('EIO', 'the session of the worker before has ended: others may have changed the file since') }

async function replayFile (client: VolumeClient, ino: number, writes: readonly RecoveredWrite[]): Promise<void> {
  // Of several the oldest: when that one ended, others may have had the file.
  const generation = writes.reduce((oldest, write) => Math.min(oldest, write.generation ?? 0), Infinity)
  const requireSession = async (): Promise<void> => {
    if (await client.inherits?.(ino, generation) === false) throw sessionEnded()
  }
  await requireSession()
  const file = await client.open(ino, { write: true })
  try {
    for (const { offset, data } of writes) {
      await requireSession()
      await file.write(offset, [data])
    }
    await file.flush()
    await requireSession()
  } finally {
    await file.release()
  }
}

/** The time of the last change that was set for the inode after the record with this token; null: none was. */
function modifiedAfter (changes: readonly RecoveredChange[], ino: number, token: number): bigint | null {
  let mtime: bigint | null = null
  for (const { token: later, bytes } of changes) {
    const change = later > token ? decodeChange(bytes) : null
    if (change?.[0] === 'setattr' && change[2] === ino) mtime = change[7] ?? mtime
  }
  return mtime
}
