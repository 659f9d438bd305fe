import { messageOf } from '../protocol/errors.ts'
import { decode } from '../protocol/frame.ts'
import type { Timer } from '../protocol/ports.ts'
import { cutProgressChunks, cutRetryMsMax, garbageBatch, garbageChunksPerSecond, garbageFilesParallel, garbageIntervalMs } from './constants.ts'
import { inodeInKey } from './keys.ts'
import type { Leader } from './leader.ts'
import { removeChunks } from './truncation.ts'

/**
 * Removes the chunks of removed files, in the background, for ever. What cannot be removed now is left
 * for a later round; the rounds come less often while nothing can.
 */
export class GarbageCollector {
  private readonly leader: Leader
  private timer: Timer | null = null
  private stopped = false
  /** Where the next batch starts. */
  private cursor = 0
  /** Chunks that may still be removed in this second. */
  private allowance = garbageChunksPerSecond
  private allowanceAt = 0
  private failures = 0

  constructor (leader: Leader) {
    this.leader = leader
  }

  start (): void {
    this.timer = this.leader.components.clock.setTimer(() => { void this.round() }, garbageIntervalMs)
  }

  stop (): void {
    this.stopped = true
    this.timer?.cancel()
  }

  private async round (): Promise<void> {
    const { clock, log } = this.leader.components
    let delayMs = garbageIntervalMs
    try {
      if (this.leader.store.counters.garbage > 0 && await this.collect()) delayMs = 0
    } catch (error) {
      if (this.stopped || this.leader.hasEnded) return
      log.warn('clean-up failed, will try again', { error: messageOf(error) })
      this.failures++
    }
    if (this.stopped || this.leader.hasEnded) return
    if (this.failures > 0) delayMs = Math.min(garbageIntervalMs * 2 ** Math.min(this.failures, 16), cutRetryMsMax)
    this.timer = clock.setTimer(() => { void this.round() }, delayMs)
  }

  /** One batch; true if there may be more. */
  private async collect (): Promise<boolean> {
    const batch = await this.nextBatch()
    this.cursor = batch.at(-1)?.[0] ?? 0
    const queue = [...batch]
    const left: Array<[ino: number, extent: number]> = []
    let failed = false
    const work = async (): Promise<void> => {
      for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
        const [ino, extent] = item
        try {
          left.push([ino, await this.remove(ino, extent)])
        } catch (error) {
          if (this.leader.hasEnded) return
          failed = true
          this.leader.components.log.debug('chunks could not be removed yet', { ino, error: messageOf(error) })
        }
      }
    }
    await Promise.all(Array.from({ length: garbageFilesParallel }, work))
    if (left.length > 0) await this.leader.propose('collect', { left })
    this.failures = failed && left.length === 0 ? this.failures + 1 : 0
    return batch.length > 0 && !failed
  }

  /** Removes the last chunks of a file; how much of it is left. */
  private async remove (ino: number, extent: number): Promise<number> {
    const { chunkSizeBytes } = this.leader.init.volume
    const end = Math.ceil(extent / chunkSizeBytes)
    const first = Math.max(0, end - cutProgressChunks)
    await this.throttle(end - first)
    // The number is never used again: what a loss of power brings back is in nobody's way.
    await removeChunks(this.leader, ino, first, end, false)
    return first * chunkSizeBytes
  }

  private async throttle (chunks: number): Promise<void> {
    const { clock } = this.leader.components
    const now = clock.now()
    this.allowance = Math.min(garbageChunksPerSecond, this.allowance + (now - this.allowanceAt) * garbageChunksPerSecond / 1_000)
    this.allowanceAt = now
    this.allowance -= chunks
    if (this.allowance >= 0) return
    const waitMs = -this.allowance * 1_000 / garbageChunksPerSecond
    await new Promise<void>((resolve) => { clock.setTimer(resolve, waitMs) })
    this.leader.requireLeading()
  }

  /** Records after the cursor: from the store, and what has not reached it yet. */
  private async nextBatch (): Promise<Array<[ino: number, extent: number]>> {
    const { store } = this.leader
    const found = new Map<number, number>()
    const changed = new Map(store.garbage.pending())
    for await (const [key, value] of store.kv.iterate({ ...store.keys.garbageAfter(this.cursor), limit: garbageBatch })) {
      found.set(inodeInKey(key), decode(value) as number)
    }
    for (const [ino, extent] of changed) {
      if (extent === null) found.delete(ino)
      else if (ino > this.cursor) found.set(ino, extent)
    }
    return [...found].sort(([one], [other]) => one - other).slice(0, garbageBatch)
  }
}
