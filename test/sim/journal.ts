import type { ChangeJournal, JournaledChange, RecoveredChange, WriteJournal } from '../../client/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { RecoveredWrite } from '../../fuse/mount/journal.ts'

interface Record { token: number, write?: { ino: number, offset: number, data: Buffer, generation: number, operationId?: number }, change?: JournaledChange, /** In the history, when it was recorded. */ place: number }

/** What a machine keeps for its mount in memory: outlives processes. */
export class JournalStore {
  readonly records = new Map<number, Record>()
  nextToken = 1
  private waiters: Array<() => void> = []

  /** Since when, in the history, some change has not been with its partition; null: all are. */
  get behindSince (): number | null {
    for (const { change, place } of this.records.values()) if (change !== undefined) return place
    return null
  }

  /** Runs `then` when all that is recorded now is with the nodes, or lost. */
  whenSettled (then: () => void): void {
    if (this.records.size === 0) then()
    else this.waiters.push(then)
  }

  settle (token: number): void {
    if (!this.records.delete(token)) throw new Error(`journal: ${token} is settled twice`)
    if (this.records.size === 0) for (const then of this.waiters.splice(0)) then()
  }

  clear (): void {
    this.records.clear()
    this.waiters = []
  }
}

/** One process's journal, over what the one before has left. A process that has ended writes nothing any more. */
export class SimJournal implements WriteJournal {
  readonly changes: ChangeJournal
  private readonly store: JournalStore
  private readonly isAlive: () => boolean
  private readonly place: () => number
  private readonly writesMax: number
  private readonly recovered: Record[]

  constructor (store: JournalStore, init: { isAlive: () => boolean, place: () => number, writesMax: number }) {
    this.store = store
    this.isAlive = init.isAlive
    this.place = init.place
    this.writesMax = init.writesMax
    this.recovered = [...store.records.values()]
    this.changes = {
      record: (change) => this.add({ change: { ...change, bytes: Buffer.from(change.bytes) } }),
      settle: (token) => { this.settle(token) },
      recoverChanges: () => this.recovered.flatMap(({ token, change }): RecoveredChange[] => change === undefined ? [] : [{ token, ...change }])
    }
  }

  record (ino: number, offset: number, data: readonly Buffer[], generation = 0, operationId?: number): number {
    return this.add({ write: { ino, offset, data: Buffer.concat(data), generation, operationId } })
  }

  settle (token: number): void { if (this.isAlive()) this.store.settle(token) }

  recover (): readonly RecoveredWrite[] {
    return this.recovered.flatMap(({ token, write }) => write === undefined ? [] : [{ token, ...write }])
  }

  private add (what: Omit<Record, 'token' | 'place'>): number {
    if (this.store.records.size >= this.writesMax) throw new AtollError('ATOLL_JOURNAL_FULL', 'the journal is full')
    const token = this.store.nextToken++
    if (this.isAlive()) this.store.records.set(token, { token, place: this.place(), ...what })
    return token
  }
}
