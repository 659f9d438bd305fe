import { changesPerRequestMax, decodeChange, encodeChange, inodesOf, packChanges, type Change } from '../fsnode/protocol/changes.ts'
import { codeOf, isRetryable, messageOf } from '../fsnode/protocol/errors.ts'
import type { Clock, Logger, Timer } from '../fsnode/protocol/ports.ts'
import { changeBatchDelayMs, changeBatchNow, changeRequestBytesMax, changeRetryMs, changesQueuedBytesMax, changesQueuedMax } from './bounds.ts'
import type { ChangeJournal, RecoveredChange } from './types.ts'

export interface ChangeStreamComponents {
  clock: Clock
  log: Logger
  journal: ChangeJournal
  /** Sends changes numbered from `first`, in the session in which they were made; rejects with ATOLL_SESSION_EXPIRED when that is over. */
  send: (first: number, packed: Buffer) => Promise<{ failed: Array<[sequence: number, code: string]> }>
  /** A change that was told to have happened has. */
  happened: (change: Change) => void
  /** A change that was told to have happened did not, or nobody knows. */
  failed: (change: Change, code: string, operationId?: number) => void
  /** What the partition says cannot go on: the session is to be given up. */
  broken: () => void
}

interface Queued { sequence: number, change: Change, bytes: Buffer, token: number, operationId: number | undefined }

/**
 * Changes that were decided here, under exclusive leases, on their way to the partition: in order, each in the journal
 * before anybody is told, some hundreds in one request. A session numbers them from 1.
 */
export class ChangeStream {
  /** How many changes the partition has answered. */
  answered = 0
  private readonly components: ChangeStreamComponents
  private readonly index: number
  private readonly queue: Queued[] = []
  private bytes = 0
  /** Of the last change that was added; null: the session is not open yet. */
  private last: number | null = null
  /** Which session of the client it is: numbers of different ones are told apart in the journal. */
  private generation: number
  private running = false
  private closed = false
  private urgent = false
  private hurry: (() => void) | null = null
  private waiters: Array<{ upTo: number, generation: number, resolve: () => void }> = []

  /** @param init The metadata partition's index, and which session of the client this one begins with. */
  constructor (components: ChangeStreamComponents, { index, generation }: { index: number, generation: number }) {
    this.components = components
    this.index = index
    this.generation = generation
  }

  get isEmpty (): boolean { return this.queue.length === 0 }

  get hasRoom (): boolean { return this.last !== null && this.queue.length < changesQueuedMax && this.bytes < changesQueuedBytesMax }

  /** False: it was not taken, as the journal is full. */
  add (change: Change, operationId?: number): boolean {
    const bytes = encodeChange(change)
    const sequence = this.last! + 1
    let token: number
    try {
      token = this.components.journal.record({ partition: this.index, generation: this.generation, sequence, operationId, bytes })
    } catch {
      return false
    }
    this.last = sequence
    this.queue.push({ sequence, change, bytes, token, operationId })
    this.bytes += bytes.length
    if (!this.running) void this.run()
    else if (this.queue.length >= changeBatchNow) this.hurry?.()
    return true
  }

  /** Null when the partition has all changes that were added, or those that concern an inode; otherwise resolves when it has those. */
  drained (ino?: number): Promise<void> | null {
    if (this.queue.length === 0 || this.closed) return null
    const last = ino === undefined ? this.queue.at(-1) : this.queue.findLast(({ change }) => concerns(change, ino))
    if (last === undefined) return null
    this.urgent = true
    this.hurry?.()
    return new Promise((resolve) => { this.waiters.push({ upTo: last.sequence, generation: this.generation, resolve }) })
  }

  /** What an earlier process of the same session had told to have happened. Before `opened`. */
  resume (recovered: readonly RecoveredChange[]): void {
    for (const { generation, sequence, bytes, token, operationId } of recovered) {
      const change = decodeChange(bytes)
      // Of a session that was lost: the process ended while it gave them up.
      if (generation !== this.generation) {
        this.components.failed(change, 'EIO', operationId)
        this.components.journal.settle(token)
        continue
      }
      this.queue.push({ sequence, change, bytes, token, operationId })
      this.bytes += bytes.length
    }
    this.last = this.queue.at(-1)?.sequence ?? null
  }

  /** The session is open. The partition has its changes up to `streamed`; of the last ones, these failed. */
  opened (streamed: number, failed: ReadonlyArray<[sequence: number, code: string]>): void {
    const first = this.queue[0]
    if (first !== undefined && (first.sequence > streamed + 1 || this.queue.some(({ sequence }, at) => sequence !== first.sequence + at))) {
      this.components.log.error('changes of an earlier process do not fit its session any more', { partition: this.index, changes: this.queue.length })
      this.giveUp()
    }
    this.done(streamed, failed)
    this.last = Math.max(this.last ?? 0, streamed)
    if (this.queue.length > 0 && !this.running) void this.run()
  }

  /** The session is over; what the partition had not answered is given up. */
  lost (): void {
    this.giveUp()
    this.generation++
    this.last = null
  }

  /** Inodes that exist for the partition already and must be held for what is under way, and those that it does not know yet. */
  concerned (): { held: Set<number>, made: Set<number> } {
    const held = new Set<number>()
    const made = new Set<number>()
    for (const { change } of this.queue) {
      const inodes = inodesOf(change)
      for (const ino of inodes.held) if (!made.has(ino)) held.add(ino)
      if (inodes.made !== 0) made.add(inodes.made)
    }
    return { held, made }
  }

  /** Nothing more is sent: what is left stays in the journal. */
  close (): void {
    this.closed = true
    this.last = null
    this.hurry?.()
    this.wake(Infinity)
  }

  private async run (): Promise<void> {
    this.running = true
    while (this.queue.length > 0 && !this.closed) {
      if (!this.urgent && this.queue.length < changeBatchNow) await this.pause(changeBatchDelayMs)
      const batch = this.nextBatch()
      if (batch.length === 0) continue
      try {
        const { failed } = await this.components.send(batch[0]!.sequence, packChanges(batch.map(({ bytes }) => bytes)))
        if (this.queue[0] === batch[0]) this.done(batch.at(-1)!.sequence, failed)
      } catch (error) {
        // The session is over, or was opened again and has told what is done: the queue knows.
        if (this.queue[0] === batch[0]) await this.sendFailed(error)
      }
    }
    this.running = false
    this.urgent = false
  }

  private async sendFailed (error: unknown): Promise<void> {
    const code = codeOf(error)
    this.components.log.warn('changes are not with their partition yet', { partition: this.index, changes: this.queue.length, code, error: messageOf(error) })
    if (code !== 'ATOLL_SESSION_EXPIRED' && !isRetryable(error)) this.components.broken()
    this.urgent = false
    await this.pause(changeRetryMs)
  }

  private nextBatch (): Queued[] {
    let bytes = 0
    let count = 0
    while (count < this.queue.length && count < changesPerRequestMax && (count === 0 || bytes + this.queue[count]!.bytes.length <= changeRequestBytesMax)) {
      bytes += this.queue[count++]!.bytes.length
    }
    return this.queue.slice(0, count)
  }

  private done (upTo: number, failed: ReadonlyArray<[sequence: number, code: string]>): void {
    let count = 0
    while (count < this.queue.length && this.queue[count]!.sequence <= upTo) count++
    const codes = new Map(failed)
    this.answered += count
    for (const { sequence, change, bytes, token, operationId } of this.queue.splice(0, count)) {
      this.bytes -= bytes.length
      const code = codes.get(sequence)
      if (code === undefined) this.components.happened(change)
      else this.components.failed(change, code, operationId)
      this.components.journal.settle(token)
    }
    if (this.queue.length === 0) this.urgent = false
    this.wake(upTo)
  }

  private giveUp (): void {
    const given = this.queue.splice(0)
    this.bytes = 0
    for (const { change, operationId } of given) this.components.failed(change, 'EIO', operationId)
    for (const { token } of given) this.components.journal.settle(token)
    this.wake(Infinity)
    this.hurry?.()
  }

  private wake (upTo: number): void {
    if (this.waiters.length === 0) return
    const waiters = this.waiters
    this.waiters = []
    for (const waiter of waiters) {
      if (waiter.upTo > upTo && waiter.generation === this.generation) this.waiters.push(waiter)
      else waiter.resolve()
    }
    // Who waits still is in a hurry still.
    this.urgent = this.waiters.length > 0
  }

  private pause (delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer: Timer = this.components.clock.setTimer(() => { end() }, delayMs)
      const end = (): void => {
        timer.cancel()
        this.hurry = null
        resolve()
      }
      this.hurry = end
    })
  }
}

function concerns (change: Change, ino: number): boolean {
  const { held, made } = inodesOf(change)
  return made === ino || held.includes(ino)
}
