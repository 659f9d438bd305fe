import { codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock } from '../protocol/ports.ts'
import { cutParallel, cutRetryMsMax, cutRetryMsMin } from './constants.ts'
import type { Leader } from './leader.ts'
import type { Truncation } from './types.ts'

/**
 * Cuts what the state records for the inode, until it is done or another leads; nothing else touches
 * the file meanwhile. Resolves at once if nothing is recorded.
 */
export function finishTruncation (leader: Leader, ino: number): Promise<void> {
  const known = leader.truncations.get(ino)
  if (known !== undefined) return known
  const truncation = leader.store.truncations.get(ino)
  if (truncation === undefined) return Promise.resolve()
  const cutting = cut(leader, ino, truncation).finally(() => { leader.truncations.delete(ino) })
  cutting.catch(() => {}) // only when another leads: it goes on there
  leader.truncations.set(ino, cutting)
  return cutting
}

/** What an earlier leader began. */
export function resumeTruncations (leader: Leader): void {
  for (const ino of leader.store.truncations.all.keys()) void finishTruncation(leader, ino)
}

/** Bytes beyond the file's size that a vanished writer may have left are gone afterwards. */
export async function trim (leader: Leader, ino: number): Promise<void> {
  await leader.propose('begin-truncation', { ino })
  await finishTruncation(leader, ino)
}

async function cut (leader: Leader, ino: number, { from, to }: Truncation): Promise<void> {
  const { clock, data, log } = leader.components
  const { id, chunkSizeBytes } = leader.init.volume
  await retryForever(leader, async () => {
    const first = Math.floor(from / chunkSizeBytes)
    const kept = from % chunkSizeBytes
    if (kept > 0) await data.truncateChunk(id, ino, first, kept)
    await removeChunks(leader, ino, kept > 0 ? first + 1 : first, Math.ceil(to / chunkSizeBytes))
  }, (error) => { log.warn('cannot cut a file, will try again', { ino, error: messageOf(error), code: codeOf(error) }) }, clock)
  await leader.propose('end-truncation', { ino, from })
}

/** Removes chunks first <= index < end, several at a time, the last ones first. */
export async function removeChunks (leader: Leader, ino: number, first: number, end: number): Promise<void> {
  const { data } = leader.components
  const { id } = leader.init.volume
  let next = end - 1
  const work = async (): Promise<void> => {
    while (next >= first) {
      leader.requireLeading()
      await data.truncateChunk(id, ino, next--, 0)
    }
  }
  await Promise.all(Array.from({ length: Math.min(cutParallel, end - first) }, work))
}

async function retryForever (leader: Leader, attempt: () => Promise<void>, onFailure: (error: unknown) => void, clock: Clock): Promise<void> {
  for (let delayMs = cutRetryMsMin; ; delayMs = Math.min(delayMs * 2, cutRetryMsMax)) {
    leader.requireLeading()
    try {
      await attempt()
      return
    } catch (error) {
      leader.requireLeading()
      onFailure(error)
    }
    await new Promise<void>((resolve) => { clock.setTimer(resolve, delayMs) })
  }
}
