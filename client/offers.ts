import { offersMax } from './bounds.ts'
import type { Offer } from './types.ts'

/**
 * Content that was read beyond what was asked for, on its way to whoever caches above. It shows the file as it is under the
 * lease; so nothing that makes it untrue (a recall, a writer of this client, a cut) goes on before it has arrived.
 */
export class Offers {
  onOffer: ((offer: Offer) => Promise<boolean>) | null = null
  private readonly under = new Map<number, Set<Promise<boolean>>>()
  private readonly barred = new Map<number, number>()
  private count = 0

  /** Resolves when it has arrived; with false when it is not wanted, or not made: too many are under way, or none may be. */
  async make (offer: Offer): Promise<boolean> {
    const { ino } = offer
    if (this.onOffer === null || this.count >= offersMax || this.barred.has(ino)) return false
    let others = this.under.get(ino)
    if (others === undefined) this.under.set(ino, others = new Set())
    const made = this.onOffer(offer).catch(() => false).finally(() => {
      this.count--
      others.delete(made)
      if (others.size === 0) this.under.delete(ino)
    })
    this.count++
    others.add(made)
    return await made
  }

  /** Null when none of the inode is under way; otherwise resolves when those that are have arrived. */
  settled (ino: number): Promise<void> | null {
    const under = this.under.get(ino)
    return under === undefined ? null : Promise.all(under).then(() => {})
  }

  /** Runs `work` with none of the inode under way. */
  async without<T> (ino: number, work: () => Promise<T>): Promise<T> {
    this.barred.set(ino, (this.barred.get(ino) ?? 0) + 1)
    try {
      await this.settled(ino)
      return await work()
    } finally {
      const left = this.barred.get(ino)! - 1
      if (left === 0) this.barred.delete(ino)
      else this.barred.set(ino, left)
    }
  }
}
