import { writeQueueBytesMax } from './bounds.ts'
import type { CachedInode } from './inode-cache.ts'

/** What must be over before a write is accepted; null: nothing. */
export type Obstacle = Promise<unknown> | 'lease' | null

export interface WriteAdmissionComponents {
  cached: CachedInode
  /** `granted`: this write has waited for the lease, and may still use it. */
  obstacle: (granted: boolean) => Obstacle
  hasLease: () => boolean
  takeLease: () => Promise<unknown>
  until: (condition: () => boolean) => Promise<void>
  /** What `until` waits for may hold now. */
  wake: () => void
}

/** The way of a file's writes to their acceptance, and the room that they take from then on until they have ended. */
export class WriteAdmission {
  /** Writes that are not admitted yet. */
  arriving = 0
  /** Writes that were admitted and have not ended. */
  admitted = 0
  private readonly components: WriteAdmissionComponents
  /** Of those that were admitted. */
  private queuedBytes = 0
  /** Those who wait for the lease in order to write. */
  private waitingForLease = 0
  /** Those of them for whom it was granted and who have not used it yet. */
  private entitled = 0
  private shut = 0
  private exclusiveWork: Promise<void> = Promise.resolve()

  constructor (components: WriteAdmissionComponents) {
    this.components = components
  }

  /** There is no room, or a door is shut. */
  get isClosed (): boolean { return this.shut > 0 || this.queuedBytes >= writeQueueBytesMax }

  /** Nobody is on the way, and nobody keeps others out. */
  get isUnused (): boolean { return this.arriving === 0 && this.shut === 0 }

  /** Whoever was admitted has ended, and whoever was granted the lease has used it. */
  get isSettled (): boolean { return this.admitted === 0 && this.entitled === 0 }

  /** The lease was granted to those who wait for it. */
  leaseGranted (): void { this.entitled = this.waitingForLease }

  leaseLost (): void { this.entitled = 0 }

  /** Null when the write was admitted at once; otherwise resolves when it is, and `arrived` is to be called, also when it rejects. */
  enter (bytes: number): Promise<void> | null {
    const obstacle = this.components.obstacle(false)
    if (obstacle !== null) {
      this.arriving++
      return this.pass(bytes, obstacle)
    }
    this.admit(bytes)
    return null
  }

  arrived (): void {
    this.arriving--
    this.components.wake()
  }

  /** A write that was admitted has ended, well or not; `wake` is the caller's to call. */
  leave (bytes: number): void {
    this.admitted--
    this.queuedBytes -= bytes
  }

  /** Runs `work`, one at a time, when those that were admitted have ended; nobody is admitted meanwhile. */
  async alone<T> (work: () => Promise<T>): Promise<T> {
    this.shut++
    const before = this.exclusiveWork
    let finish = (): void => {}
    this.exclusiveWork = new Promise((resolve) => { finish = resolve })
    try {
      await before
      await this.components.until(() => this.admitted === 0)
      return await work()
    } finally {
      this.shut--
      finish()
      this.components.wake()
    }
  }

  /** Admits in the turn in which the last obstacle is gone: a recall, woken by `turnUsed`, must find it admitted. */
  private async pass (bytes: number, first: Promise<unknown> | 'lease'): Promise<void> {
    const { cached, obstacle, hasLease, takeLease } = this.components
    // Who waited for the lease uses it once, even if it is recalled already: else two writers could take it from each other for ever.
    let granted = false
    for (let next: Obstacle = first; next !== null; next = obstacle(granted)) {
      if (next !== 'lease') {
        await next
        continue
      }
      this.waitingForLease++
      try {
        if (!cached.session.isValid) await cached.session.ready()
        if (!hasLease()) {
          // A recall waits for those who are entitled; this one has to wait for the recall.
          if (cached.recall !== null) this.turnUsed()
          await takeLease()
        }
        granted = true
      } finally {
        this.waitingForLease--
        this.turnUsed()
      }
    }
    this.admit(bytes)
  }

  private turnUsed (): void {
    this.entitled = Math.max(0, this.entitled - 1)
    this.components.wake()
  }

  private admit (bytes: number): void {
    const { recall } = this.components.cached
    if (recall !== null) recall.served = true
    this.admitted++
    this.queuedBytes += bytes
  }
}
