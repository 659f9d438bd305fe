import { messageOf } from '../protocol/errors.ts'
import type { Clock, Kv, KvOperation, Logger, Timer } from '../protocol/ports.ts'
import { overlayKeysMax, writeBehindDelayMs, writeBehindKeysMax, writeRetryMs } from './constants.ts'

export interface WriteBehindComponents { kv: Kv, clock: Clock, log: Logger }

/** The changes to write, as their owner keeps them. */
export interface Changes {
  /** Changes that are not in the Kv. */
  pending (): number
  /** Those of them that no batch holds. */
  dirty (): number
  /** Encodes the dirty ones into a batch. */
  take (): KvOperation[]
  landed (): void
  failed (): void
}

/**
 * Writes changes in batches, one after another. Unsynced ones follow `touched` after a short delay,
 * which lets one write stand for many changes of one record (a directory that is being filled).
 */
export class WriteBehind {
  private readonly components: WriteBehindComponents
  private readonly changes: Changes
  private timer: Timer | null = null
  private writing: Promise<void> | null = null
  /** Something changed since the last batch was taken. */
  private changed = false
  /** The last batch failed; the timer starts the next one. */
  private failing = false
  private closed = false
  private roomWaiters: Array<() => void> = []

  constructor (components: WriteBehindComponents, changes: Changes) {
    this.components = components
    this.changes = changes
  }

  /** Something changed. */
  touched (): void {
    this.changed = true
    if (this.writing !== null || this.failing) return // either looks again when it ends
    if (this.changes.dirty() >= writeBehindKeysMax) this.start()
    else this.timer ??= this.schedule(writeBehindDelayMs)
  }

  get hasRoom (): boolean { return this.changes.pending() < overlayKeysMax }

  /** Resolves when more changes may be made. */
  room (): Promise<void> {
    if (this.hasRoom) return Promise.resolve()
    return new Promise((resolve) => { this.roomWaiters.push(resolve) })
  }

  /**
   * Writes all that has changed. `then` runs in the moment in which the Kv holds exactly the changes
   * that were made before this call's batch, and no later ones. Rejects when the Kv does.
   */
  async write<T> (sync: boolean, then: () => T): Promise<T> {
    while (this.writing !== null) await this.writing.catch(() => {})
    const writing = this.batch(sync)
    let result: T
    this.writing = writing.then(() => { result = then() })
    try {
      await this.writing
    } finally {
      this.writing = null
      this.continue()
    }
    return result!
  }

  /** No more batches; resolves when the one under way is over. */
  async close (): Promise<void> {
    this.closed = true
    this.timer?.cancel()
    await this.writing?.catch(() => {})
  }

  private async batch (sync: boolean): Promise<void> {
    this.timer?.cancel()
    this.timer = null
    this.changed = false
    const operations = this.changes.take()
    try {
      await this.components.kv.batch(operations, { sync })
      this.changes.landed()
      this.failing = false
    } catch (error) {
      this.changes.failed()
      this.components.log.error('cannot write metadata, will try again', { error: messageOf(error) })
      this.changed = true
      this.failing = true
      if (!this.closed) this.timer = this.schedule(writeRetryMs)
      throw error
    }
  }

  private start (): void {
    if (this.closed || this.writing !== null) return
    this.write(false, () => {}).catch(() => {}) // logged, and tried again by the timer
  }

  private continue (): void {
    if (this.closed) return
    if (this.roomWaiters.length > 0 && this.hasRoom) for (const resolve of this.roomWaiters.splice(0)) resolve()
    if (this.changed) this.touched()
  }

  private schedule (delayMs: number): Timer {
    return this.components.clock.setTimer(() => {
      this.timer = null
      this.start()
    }, delayMs)
  }
}
