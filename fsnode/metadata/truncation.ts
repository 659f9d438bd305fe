import { codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock } from '../protocol/ports.ts'
import { cutParallel, cutRetryMsMax, cutRetryMsMin } from './constants.ts'
import type { Leader } from './leader.ts'
import type { Truncation } from './types.ts'

/**
 * Cuts what the state records for the inode, until nothing is recorded or another leads; nobody else touches
 * the file meanwhile.
 */
export async function finishTruncation (leader: Leader, ino: number): Promise<void> {
  for (let truncation = leader.store.truncations.get(ino); truncation !== undefined; truncation = leader.store.truncations.get(ino)) {
    await (leader.truncations.get(ino) ?? begin(leader, ino, truncation))
  }
}

function begin (leader: Leader, ino: number, truncation: Truncation): Promise<void> {
  const cutting = cut(leader, ino, truncation).finally(() => { leader.truncations.delete(ino) })
  leader.truncations.set(ino, cutting)
  return cutting
}

/** What an earlier leader began. */
export function resumeTruncations (leader: Leader): void {
  // One that fails does so because another leads, which goes on with it.
  for (const ino of leader.store.truncations.all.keys()) finishTruncation(leader, ino).catch(() => {})
}

/** Bytes beyond the file's size that a vanished writer may have left are gone afterwards. */
export async function trim (leader: Leader, ino: number): Promise<void> {
  await leader.propose('begin-truncation', { ino })
  await finishTruncation(leader, ino)
}

/** The file's size is durable, and it may grow again: what is cut off must not come back, not even with the power. */
async function cut (leader: Leader, ino: number, { from, to }: Truncation): Promise<void> {
  const { clock, data, log } = leader.components
  const { id, chunkSizeBytes } = leader.init.volume
  await retryForever(leader, async () => {
    const first = Math.floor(from / chunkSizeBytes)
    const kept = from % chunkSizeBytes
    if (kept > 0) await data.truncateChunk(id, ino, first, kept, true, () => confirmLeading(leader))
    await removeChunks(leader, ino, kept > 0 ? first + 1 : first, Math.ceil(to / chunkSizeBytes), true)
  }, (error) => { log.warn('cannot cut a file, will try again', { ino, error: messageOf(error), code: codeOf(error) }) }, clock)
  await leader.propose('end-truncation', { ino, from })
}

/** Removes chunks first <= index < end, several at a time, the last ones first. */
export async function removeChunks (leader: Leader, ino: number, first: number, end: number, durable: boolean): Promise<void> {
  const { data } = leader.components
  const { id } = leader.init.volume
  // A number that is free is never used again: what comes late is in nobody's way.
  const confirm = durable ? () => confirmLeading(leader) : undefined
  let next = end - 1
  const work = async (): Promise<void> => {
    while (next >= first) {
      leader.requireLeading()
      await data.truncateChunk(id, ino, next--, 0, durable, confirm)
    }
  }
  await Promise.all(Array.from({ length: Math.min(cutParallel, end - first) }, work))
}

/** Resolves when nobody else leads; rejects when this replica does not. */
export async function confirmLeading (leader: Leader): Promise<void> {
  await leader.barrier()
  leader.requireLeading()
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
