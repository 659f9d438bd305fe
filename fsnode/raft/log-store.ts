import type { NodeId } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import { decode, encode } from '../protocol/frame.ts'
import type { Kv, KvOperation, Logger } from '../protocol/ports.ts'
import { RaftLog } from './core/log.ts'
import { decodeMembers } from './core/state.ts'
import type { MemberId } from './member-id.ts'
import { entryKind, type Entry, type EntryKind, type HardState, type LogMark, type LogWrite } from './core/types.ts'

/**
 * The log database of a node: all its groups in one Kv, so that one sync serves them all.
 *
 *   key                                          value
 *   'H' | u8 length | group                      MessagePack [term, vote or nil]
 *   'M' | u8 length | group                      MessagePack [index, term, [member, ...]]: what the log begins after.
 *                                                A group exists if it has this record
 *   'S' | u8 length | group                      the member's id, if it is another than the node's (member-id.ts)
 *   'E' | u8 length | group | u48 index          u8 kind | u48 term | data
 *
 * Numbers are big endian, so that entries are in order. Entries up to the mark are rubbish that is still
 * to be removed; entries after it are without a gap.
 */
const tag = { hardState: 0x48, mark: 0x4d, self: 0x53, entry: 0x45 } as const

/** Forgotten entries that one batch removes. */
export const rubbishEntriesMax = 256
export const groupNameBytesMax = 255

export interface LoadedGroup {
  hardState: HardState
  /** null: the node's. */
  memberId: MemberId | null
  log: RaftLog
  /** The mark's members, then those of each entry that changed them. */
  memberHistory: Array<{ index: number, members: NodeId[] }>
}

export interface LogStoreComponents { kv: Kv, log: Logger }

export interface LogStoreInit {
  /** Called once when a write failed: nothing more will become durable, so no group may go on. */
  onFailure: (error: Error) => void
}

export class LogStore {
  private readonly components: LogStoreComponents
  private readonly init: LogStoreInit
  private pending: KvOperation[] = []
  private pendingDone: Array<() => void> = []
  private readonly rubbish: Array<{ prefix: Buffer, first: number, last: number }> = []
  private readonly prefixes = new Map<string, Buffer>()
  private scheduled = false
  private busy: Promise<void> | null = null
  private failure: Error | null = null

  constructor (components: LogStoreComponents, init: LogStoreInit) {
    this.components = components
    this.init = init
  }

  /** Names of the groups that have a log here. */
  async groups (): Promise<string[]> {
    const names: string[] = []
    for await (const [key] of this.components.kv.iterate({ gte: Buffer.of(tag.mark), lt: Buffer.of(tag.mark + 1) })) {
      names.push(Buffer.from(key.buffer, key.byteOffset + 2, key.byteLength - 2).toString())
    }
    return names
  }

  /** null if the group has no log here. Rejects with ATOLL_STORE_UNUSABLE if it is damaged. */
  async load (group: string, cacheBytesMax: number): Promise<LoadedGroup | null> {
    const { kv } = this.components
    const markRecord = kv.get(recordKey(tag.mark, group))
    if (markRecord === undefined) return null
    try {
      const mark = decodeMark(markRecord)
      const hardStateRecord = kv.get(recordKey(tag.hardState, group))
      const hardState = hardStateRecord === undefined ? { term: 0, vote: null } : decodeHardState(hardStateRecord)
      const log = new RaftLog(mark, cacheBytesMax)
      const memberHistory = [{ index: mark.index, members: mark.members }]
      const prefix = this.prefixOf(group)
      for await (const [key, value] of kv.iterate({ gte: entryKey(prefix, 0), lte: entryKey(prefix, maxIndex) })) {
        const entry = decodeEntry(indexOf(key), value)
        if (entry.index <= mark.index) {
          this.addRubbish(prefix, entry.index, entry.index)
          continue
        }
        log.append(entry)
        log.evict(entry.index)
        if (entry.kind === entryKind.members) memberHistory.push({ index: entry.index, members: decodeMembers(entry.data) })
      }
      const self = kv.get(recordKey(tag.self, group))
      return { hardState, memberId: self === undefined ? null : Buffer.from(self).toString(), log, memberHistory }
    } catch (error) {
      throw new AtollError('ATOLL_STORE_UNUSABLE', `the Raft log of ${group} is damaged: ${messageOf(error)}`, {
        hint: 'remove this replica from its group and add it again with an empty log'
      })
    }
  }

  /** Begins the log of a new group, or of a new member of a group. */
  create (group: string, members: MemberId[], memberId: MemberId | null = null): Promise<void> {
    if (Buffer.byteLength(group) > groupNameBytesMax) return Promise.reject(new AtollError('ATOLL_BAD_MESSAGE', `a group's name has at most ${groupNameBytesMax} bytes: ${group}`))
    const self: KvOperation[] = memberId === null ? [] : [{ type: 'put', key: recordKey(tag.self, group), value: Buffer.from(memberId) }]
    return this.components.kv.batch([{ type: 'put', key: recordKey(tag.mark, group), value: encode([0, 0, members]) }, ...self], { sync: true })
  }

  /**
   * Writes reach stable storage in the order of the calls; `done` is called then, and never if they do not.
   * While one sync runs, the writes of all groups gather for the next.
   */
  write (group: string, write: LogWrite, done: () => void): void {
    const { pending } = this
    const prefix = this.prefixOf(group)
    if (write.hardState !== null) pending.push({ type: 'put', key: recordKey(tag.hardState, group), value: encode([write.hardState.term, write.hardState.vote]) })
    if (write.mark !== null) this.writeMark(group, prefix, write, write.mark)
    // What follows the mark must go together with the write that replaces it; what it covers may go later.
    for (let index = Math.max(write.truncateFrom, (write.mark?.index ?? 0) + 1); index <= write.truncateTo; index++) {
      pending.push({ type: 'del', key: entryKey(prefix, index) })
    }
    for (const entry of write.entries) pending.push({ type: 'put', key: entryKey(prefix, entry.index), value: encodeEntry(entry) })
    this.schedule(done)
  }

  /** Entries that are on stable storage, at least one if there is one. */
  async read (group: string, first: number, last: number, bytesMax: number): Promise<Entry[]> {
    const entries: Entry[] = []
    let bytes = 0
    const prefix = this.prefixOf(group)
    for await (const [key, value] of this.components.kv.iterate({ gte: entryKey(prefix, first), lte: entryKey(prefix, last) })) {
      const entry = decodeEntry(indexOf(key), value)
      if (entry.index !== first + entries.length) break
      bytes += entry.data.length
      if (bytes > bytesMax && entries.length > 0) break
      entries.push(entry)
    }
    return entries
  }

  /** Removes everything of a group that is not open. */
  async remove (group: string): Promise<void> {
    const { kv } = this.components
    const prefix = this.prefixOf(group)
    await kv.batch([tag.mark, tag.hardState, tag.self].map((kind): KvOperation => ({ type: 'del', key: recordKey(kind, group) })), { sync: true })
    for (let position = this.rubbish.length - 1; position >= 0; position--) if (this.rubbish[position]!.prefix === prefix) this.rubbish.splice(position, 1)
    let removals: KvOperation[] = []
    for await (const [key] of kv.iterate({ gte: entryKey(prefix, 0), lte: entryKey(prefix, maxIndex) })) {
      removals.push({ type: 'del', key })
      if (removals.length < rubbishEntriesMax) continue
      await kv.batch(removals)
      removals = []
    }
    // The sync covers the batches before it: a new group of this name must not find old entries.
    await kv.batch(removals, { sync: true })
    this.prefixes.delete(group)
  }

  /** Resolves when all that was written is on stable storage. The Kv stays open. */
  async close (): Promise<void> {
    while (this.busy !== null || this.scheduled) await (this.busy ?? Promise.resolve())
  }

  private writeMark (group: string, prefix: Buffer, write: LogWrite, mark: LogMark): void {
    this.pending.push({ type: 'put', key: recordKey(tag.mark, group), value: encode([mark.index, mark.term, mark.members]) })
    // A log that starts over may begin far beyond its old end.
    this.addRubbish(prefix, write.cutFrom, write.truncateFrom > 0 ? Math.min(mark.index, write.truncateTo) : mark.index)
  }

  private addRubbish (prefix: Buffer, first: number, last: number): void {
    const newest = this.rubbish[this.rubbish.length - 1]
    if (newest !== undefined && newest.prefix === prefix && newest.last + 1 === first) newest.last = last
    else if (first <= last) this.rubbish.push({ prefix, first, last })
  }

  private schedule (done: () => void): void {
    this.pendingDone.push(done)
    if (this.busy !== null || this.scheduled || this.failure !== null) return
    // In a microtask, so that the messages of this turn leave first.
    this.scheduled = true
    queueMicrotask(this.flushScheduled)
  }

  private readonly flushScheduled = (): void => {
    this.scheduled = false
    this.flush()
  }

  private flush (): void {
    const operations = this.pending
    const done = this.pendingDone
    const sync = done.length > 0
    this.pending = []
    this.pendingDone = []
    this.takeRubbish(operations)
    if (operations.length === 0 && !sync) return
    this.busy = this.components.kv.batch(operations, { sync }).then(() => { this.flushed(done) }, (error: unknown) => { this.failed(error) })
  }

  private flushed (done: Array<() => void>): void {
    // Answers and further writes first: what they write joins the next batch.
    for (const call of done) call()
    this.busy = null
    if (this.pendingDone.length > 0 || this.rubbish.length > 0) this.flush()
  }

  private failed (error: unknown): void {
    this.busy = null
    this.failure = error instanceof Error ? error : new Error(String(error))
    this.components.log.error('the Raft log cannot be written: every group here stops', { error: messageOf(error) })
    this.init.onFailure(this.failure)
  }

  private takeRubbish (operations: KvOperation[]): void {
    let left = rubbishEntriesMax
    while (left > 0 && this.rubbish.length > 0) {
      const range = this.rubbish[0]!
      while (left > 0 && range.first <= range.last) {
        operations.push({ type: 'del', key: entryKey(range.prefix, range.first++) })
        left--
      }
      if (range.first > range.last) this.rubbish.shift()
    }
  }

  private prefixOf (group: string): Buffer {
    let prefix = this.prefixes.get(group)
    if (prefix === undefined) this.prefixes.set(group, prefix = recordKey(tag.entry, group))
    return prefix
  }
}

const indexBytes = 6
const maxIndex = 2 ** 48 - 1
const entryHeadBytes = 7

function recordKey (kind: number, group: string): Buffer {
  const name = Buffer.from(group)
  return Buffer.concat([Buffer.of(kind, name.length), name])
}

function entryKey (prefix: Buffer, index: number): Buffer {
  const key = Buffer.allocUnsafe(prefix.length + indexBytes)
  prefix.copy(key)
  key.writeUIntBE(index, prefix.length, indexBytes)
  return key
}

function indexOf (key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUIntBE(key.byteLength - indexBytes, indexBytes)
}

function encodeEntry (entry: Entry): Buffer {
  const value = Buffer.allocUnsafe(entryHeadBytes + entry.data.length)
  value[0] = entry.kind
  value.writeUIntBE(entry.term, 1, indexBytes)
  value.set(entry.data, entryHeadBytes)
  return value
}

function decodeEntry (index: number, value: Uint8Array): Entry {
  if (value.length < entryHeadBytes || value[0]! > entryKind.members) throw new Error(`entry ${index} is not one`)
  const term = Buffer.from(value.buffer, value.byteOffset, value.byteLength).readUIntBE(1, indexBytes)
  return { index, term, kind: value[0] as EntryKind, data: value.subarray(entryHeadBytes) }
}

function decodeMark (record: Uint8Array): LogMark {
  const value = decode(record)
  if (!Array.isArray(value) || !Number.isSafeInteger(value[0]) || !Number.isSafeInteger(value[1]) || !Array.isArray(value[2])) throw new Error('its mark is not one')
  return { index: value[0], term: value[1], members: value[2] }
}

function decodeHardState (record: Uint8Array): HardState {
  const value = decode(record)
  if (!Array.isArray(value) || !Number.isSafeInteger(value[0])) throw new Error('its term and vote are not readable')
  return { term: value[0], vote: typeof value[1] === 'string' ? value[1] : null }
}
