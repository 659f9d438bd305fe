import { decode, encode } from '../protocol/frame.ts'
import type { Clock, Kv, KvOperation, Logger } from '../protocol/ports.ts'
import * as constants from './constants.ts'
import { coordinatorInKey, generationKey, inodeInKey, Keys, sessionInKey, textInKey, type TableName } from './keys.ts'
import * as records from './records.ts'
import { ResidentTable, Table } from './table.ts'
import type { Outcome, Remembered, Session } from './types.ts'
import { WriteBehind } from './write-behind.ts'

export interface StoreComponents { kv: Kv, clock: Clock, log: Logger }

/** All records of a partition. Reads are synchronous; changes reach the Kv later, in order, with the applied index. */
export class MetadataStore {
  readonly keys: Keys
  readonly kv: Kv
  readonly inodes
  readonly entries
  readonly content
  readonly xattrs
  readonly garbage
  readonly orphans
  readonly truncations
  readonly sessions
  readonly transactions
  readonly watermarks
  readonly counters = { nextSequence: 1, inodes: 0, garbage: 0, nextTransaction: 1 }
  readonly applied = { index: 0, term: 0 }
  /** The log position that the Kv's content stands for. */
  readonly written = { index: 0, term: 0 }
  readonly writer: WriteBehind
  private flyingPosition = { index: 0, term: 0 }
  /** By '<slot>/<session>': remembered answers that are not in the Kv yet; null: deleted. */
  private results = new Map<string, Remembered | null>()
  private flyingResults = new Map<string, Remembered | null>()

  private constructor (components: StoreComponents, generation: number) {
    const { kv } = components
    const keys = new Keys(generation)
    this.kv = kv
    this.keys = keys
    this.inodes = new Table(kv, { ...records.inodeCodec, keyOf: (ino) => keys.ofInode('inode', ino), cacheMax: constants.inodeCacheMax })
    this.entries = new Table(kv, { ...records.entryCodec, keyOf: (text) => keys.entry(...splitEntry(text)), cacheMax: constants.entryCacheMax })
    this.content = new Table(kv, { ...records.rawCodec, keyOf: (ino) => keys.ofInode('content', ino), cacheMax: constants.contentCacheMax })
    this.xattrs = new Table(kv, { ...records.xattrsCodec, keyOf: (ino) => keys.ofInode('xattrs', ino), cacheMax: constants.xattrCacheMax })
    this.garbage = new Table(kv, { ...records.numberCodec, keyOf: (ino) => keys.ofInode('garbage', ino), cacheMax: constants.garbageBatch })
    this.orphans = new ResidentTable({ ...records.orphanCodec, keyOf: (ino: number) => keys.ofInode('orphan', ino) })
    this.truncations = new ResidentTable({ ...records.truncationCodec, keyOf: (ino: number) => keys.ofInode('truncation', ino) })
    this.sessions = new ResidentTable({ ...records.sessionCodec, keyOf: (id: string) => keys.ofText('session', id) })
    this.transactions = new ResidentTable({ ...records.transactionCodec, keyOf: (id: string) => keys.ofText('transaction', id) })
    this.watermarks = new ResidentTable({ ...records.numberCodec, keyOf: (coordinator: number) => keys.watermark(coordinator) })
    this.writer = new WriteBehind(components, {
      pending: () => this.pendingKeys,
      dirty: () => this.dirtyKeys,
      take: () => this.take(),
      landed: () => { this.landed() },
      failed: () => { this.failed() }
    })
  }

  static async open (components: StoreComponents): Promise<MetadataStore> {
    const store = new MetadataStore(components, components.kv.get(generationKey)?.[0] ?? 0)
    await store.load()
    return store
  }

  entry (dir: number, name: string) { return this.entries.get(`${dir}/${name}`) }

  /** Decoded changes that are not in the Kv. */
  get pendingKeys (): number {
    return this.tables().reduce((total, table) => total + table.pendingKeys, this.results.size + this.flyingResults.size)
  }

  get dirtyKeys (): number {
    return this.inodes.dirtyKeys + this.entries.dirtyKeys + this.content.dirtyKeys + this.xattrs.dirtyKeys + this.results.size
  }

  /** Remembers the first answer to a session's operation, in place of its oldest one. */
  remember (session: Session, op: number, outcome: Outcome): void {
    const remembered = { sequence: session.nextResult++, op, outcome }
    if (session.results.size >= constants.resultsPerSessionMax) session.results.delete(session.results.keys().next().value!)
    session.results.set(op, remembered)
    this.results.set(resultKey(session.id, remembered.sequence), remembered)
  }

  putSession (session: Session): void { this.sessions.put(session.id, session) }

  removeSession (session: Session): void {
    for (const { sequence } of session.results.values()) this.results.set(resultKey(session.id, sequence), null)
    session.results.clear()
    this.sessions.delete(session.id)
  }

  private tables () {
    return [
      this.inodes, this.entries, this.content, this.xattrs, this.garbage, this.orphans,
      this.truncations, this.sessions, this.transactions, this.watermarks
    ]
  }

  private take (): KvOperation[] {
    const { keys } = this
    const operations: KvOperation[] = []
    for (const table of this.tables()) table.take(operations)
    for (const [text, remembered] of this.results) {
      const slash = text.indexOf('/')
      const key = keys.result(text.slice(slash + 1), Number(text.slice(0, slash)))
      operations.push(remembered === null ? { type: 'del', key } : { type: 'put', key, value: records.encodeRemembered(remembered) })
    }
    const empty = this.flyingResults
    this.flyingResults = this.results
    this.results = empty
    const { nextSequence, inodes, garbage, nextTransaction } = this.counters
    operations.push({ type: 'put', key: keys.single('counters'), value: encode([nextSequence, inodes, garbage, nextTransaction]) })
    operations.push({ type: 'put', key: keys.single('applied'), value: encode([this.applied.index, this.applied.term]) })
    this.flyingPosition = { ...this.applied }
    return operations
  }

  private landed (): void {
    for (const table of this.tables()) table.landed()
    this.flyingResults.clear()
    Object.assign(this.written, this.flyingPosition)
  }

  private failed (): void {
    for (const table of this.tables()) table.failed()
    for (const [key, value] of this.flyingResults) if (!this.results.has(key)) this.results.set(key, value)
    this.flyingResults.clear()
  }

  private async load (): Promise<void> {
    const { kv, keys, applied, counters } = this
    const position = kv.get(keys.single('applied'))
    if (position === undefined) return
    ;[applied.index, applied.term] = decode(position) as [number, number]
    Object.assign(this.written, applied)
    ;[counters.nextSequence, counters.inodes, counters.garbage, counters.nextTransaction] =
      decode(kv.get(keys.single('counters'))!) as [number, number, number, number]
    const each = async (table: TableName, load: (key: Uint8Array, value: Uint8Array) => void): Promise<void> => {
      for await (const [key, value] of kv.iterate(keys.table(table))) load(key, value)
    }
    await each('orphan', (key, value) => { this.orphans.load(inodeInKey(key), value) })
    await each('truncation', (key, value) => { this.truncations.load(inodeInKey(key), value) })
    await each('transaction', (key, value) => { this.transactions.load(textInKey(key), value) })
    await each('watermark', (key, value) => { this.watermarks.load(coordinatorInKey(key), value) })
    await each('session', (key, value) => { this.sessions.load(textInKey(key), value) })
    await this.loadResults(each)
  }

  private async loadResults (each: (table: TableName, load: (key: Uint8Array, value: Uint8Array) => void) => Promise<void>): Promise<void> {
    const bySession = new Map<string, Remembered[]>()
    await each('result', (key, value) => {
      const session = sessionInKey(key)
      const known = bySession.get(session)
      if (known === undefined) bySession.set(session, [records.decodeRemembered(value)])
      else known.push(records.decodeRemembered(value))
    })
    for (const [id, results] of bySession) {
      const session = this.sessions.get(id)
      if (session === undefined) continue
      results.sort((one, other) => one.sequence - other.sequence)
      for (const remembered of results) session.results.set(remembered.op, remembered)
      session.nextResult = results.at(-1)!.sequence + 1
    }
  }
}

function resultKey (session: string, sequence: number): string {
  return `${sequence % constants.resultsPerSessionMax}/${session}`
}

function splitEntry (text: string): [dir: number, name: string] {
  const slash = text.indexOf('/')
  return [Number(text.slice(0, slash)), text.slice(slash + 1)]
}
