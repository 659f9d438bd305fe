import { journalCommitBytes } from './bounds.ts'
import type { WriteJournal } from './types.ts'

interface Waiting { sequence: number, token: number, bytes: number }

/** Writes whose bytes are at the nodes, and that the journal may drop when the size that makes them visible is committed too. */
export class JournaledWrites {
  private readonly journal: WriteJournal | null
  private readonly waiting: Waiting[] = []
  private bytes = 0

  constructor (journal: WriteJournal | null) {
    this.journal = journal
  }

  /** So many wait that it is time to commit. */
  get isMuch (): boolean { return this.bytes >= journalCommitBytes }

  add (sequence: number, token: number, bytes: number): void {
    this.waiting.push({ sequence, token, bytes })
    this.bytes += bytes
  }

  /** Writes up to this one are committed, or given up. */
  settle (upTo: number): void {
    let kept = 0
    for (const waiting of this.waiting) {
      if (waiting.sequence > upTo) {
        this.waiting[kept++] = waiting
        continue
      }
      this.bytes -= waiting.bytes
      this.journal!.settle(waiting.token)
    }
    this.waiting.length = kept
  }
}
