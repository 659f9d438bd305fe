import { AtollError } from '../protocol/errors.ts'

interface Waiting { index: number, term: number, bytes: number, resolve: (result: unknown) => void, reject: (error: Error) => void }

export interface Queued { command: Uint8Array, resolve: (result: unknown) => void, reject: (error: Error) => void }

/** Who waits for which entry. Entries are applied in order, so this is a queue. */
export class Proposals {
  /** Not in the log yet. */
  queued: Queued[] = []
  private waiting: Waiting[] = []
  private head = 0
  bytes = 0

  get count (): number { return this.queued.length + this.waiting.length - this.head }

  get inFlight (): boolean { return this.waiting.length > this.head }

  enqueue (queued: Queued): void {
    this.queued.push(queued)
    this.bytes += queued.command.length
  }

  /** What was queued is in the log now, from `firstIndex` on. */
  submitted (taken: Queued[], firstIndex: number, term: number): void {
    for (let position = 0; position < taken.length; position++) {
      const { command, resolve, reject } = taken[position]!
      this.waiting.push({ index: firstIndex + position, term, bytes: command.length, resolve, reject })
    }
  }

  /** The entry was applied here. */
  applied (index: number, term: number, result: unknown): void {
    const first = this.waiting[this.head]
    if (first === undefined || first.index !== index) return
    this.head++
    if (this.head === this.waiting.length) {
      this.waiting = []
      this.head = 0
    } else if (this.head > 1_024) {
      this.waiting = this.waiting.slice(this.head)
      this.head = 0
    }
    this.bytes -= first.bytes
    if (first.term === term) first.resolve(result)
    else first.reject(unknownOutcome())
  }

  rejectQueued (error: Error): void {
    const { queued } = this
    this.queued = []
    for (const { command, reject } of queued) {
      this.bytes -= command.length
      reject(error)
    }
  }

  /** Leadership is lost: what is in the log may or may not be committed by the next leader. */
  rejectSubmitted (): void {
    const waiting = this.waiting.slice(this.head)
    this.waiting = []
    this.head = 0
    for (const { bytes, reject } of waiting) {
      this.bytes -= bytes
      reject(unknownOutcome())
    }
  }
}

function unknownOutcome (): AtollError {
  return new AtollError('ATOLL_UNAVAILABLE', 'leadership was lost before the outcome was known')
}
