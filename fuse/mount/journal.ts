import { closeSync, fstatSync, openSync, readSync, statfsSync, writeSync, writevSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ChangeJournal, JournaledChange, RecoveredChange, WriteJournal } from '../../client/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { lieInFile, lieNowhere, type FilePlace } from '../../fsnode/protocol/file-places.ts'
import { referredBytesMin } from '../../fsnode/protocol/referred-payloads.ts'
import { readU64, writeU64 } from '../protocol/bytes.ts'
import { Ring } from './ring.ts'

/** Bytes of records that may wait for the nodes at once. */
export const journalBytesDefault = 32 * 1024 * 1024

const magic = 0x4b4c5441 // "ATLK"
export const superblockBytes = 4096
const headerBytes = 56
const trailerBytes = 16
const stateAt = 4
const stateWaiting = 1
const stateSettled = 2
/** Of a record: its header from its sequence on. No two have the same. */
const guardAt = 8
const guardBytes = headerBytes - guardAt
const tmpfsType = 0x01021994

/** A write that was acknowledged, and that the nodes may not have. */
export interface RecoveredWrite { token: number, ino: number, offset: number, data: Buffer, /** Of its session. */ generation?: number, operationId?: number }

/** What a record holds: a write, or a change of names or attributes. */
const kinds = { write: 0, change: 1 } as const

interface Found { token: number, kind: number, generation: number, operationId: number, ino: number, offset: number, length: number, dataAt: number, settled: boolean }

/** In a write's record: the generation of its session above, the kind below. */
const kindsMax = 256
/** In a change's record: the generation of its session above, the sequence below. */
const sequencesPerGeneration = 2 ** 40

/**
 * Writes and changes that a mount has acknowledged and the nodes may not have yet, in a file on tmpfs: they
 * survive the death of the worker. (Not of the machine: fsync is what that takes.)
 *
 * File: a superblock {magic u32, pad, sequence u64, position u64} that tells where the oldest record
 * is, and behind that whose it is (journal-owner.ts); then the ring. Record: {magic u32, state u32, sequence u64, ino u64, offset u64, length u64,
 * kind u64, operation u64}, data, {sequence u64, length u64}. With the kind of a write is its generation. In the record of a change, ino is the
 * index of its partition, offset its generation and sequence. A record counts when its trailer matches: it is written
 * last, so a write that was cut short is none.
 */
export class FileJournal implements WriteJournal {
  private readonly fd: number
  private readonly ring: Ring
  private readonly recovered: RecoveredWrite[]
  private readonly recoveredChanges: RecoveredChange[]
  private readonly header = Buffer.alloc(headerBytes)
  private readonly trailer = Buffer.alloc(trailerBytes)
  private readonly superblock = Buffer.alloc(24)
  /** Where nodes on this machine find it (docs/decisions/010); null: not in memory, so that they might wait for a disk. */
  private readonly readable: Omit<FilePlace, 'parts'> | null
  private readonly stateSettledBytes = Buffer.from([stateSettled, 0, 0, 0])

  readonly changes: ChangeJournal

  private constructor (fd: number, path: string, ring: Ring, recovered: Recovered = { writes: [], changes: [] }) {
    this.fd = fd
    const { dev: device, ino: inode } = fstatSync(fd)
    this.readable = statfsSync(path).type === tmpfsType ? { path: resolve(path), device, inode } : null
    this.ring = ring
    this.recovered = recovered.writes
    this.recoveredChanges = recovered.changes
    this.changes = {
      record: (change) => this.recordChange(change),
      settle: (token) => { this.settle(token) },
      recoverChanges: () => this.recoveredChanges
    }
    this.header.writeUInt32LE(magic, 0)
    this.superblock.writeUInt32LE(magic, 0)
  }

  /** Opens the journal, or makes it with `capacity` bytes. Throws ATOLL_BAD_JOURNAL for a file that is none. */
  static open (path: string, capacity = journalBytesDefault): FileJournal {
    const fd = openSync(path, 'a+', 0o600)
    closeSync(fd)
    return FileJournal.adopt(openSync(path, 'r+'), path, capacity)
  }

  private static adopt (fd: number, path: string, capacity: number): FileJournal {
    const { size } = fstatSync(fd)
    if (size < superblockBytes + headerBytes) {
      // Written and not merely extended: what tmpfs has given it cannot run out later.
      const zeros = Buffer.alloc(1 << 20)
      for (let at = superblockBytes; at < superblockBytes + capacity;) at += writeSync(fd, zeros, 0, Math.min(zeros.length, superblockBytes + capacity - at), at)
      const journal = new FileJournal(fd, path, new Ring({ capacity }))
      journal.writeSuperblock()
      return journal
    }
    const superblock = Buffer.alloc(24)
    readSync(fd, superblock, 0, 24, 0)
    if (superblock.readUInt32LE(0) !== magic) {
      // All zeros: its maker died before it was done, so nothing was ever recorded.
      if (superblock.readUInt32LE(0) !== 0) throw new AtollError('ATOLL_BAD_JOURNAL', `${path} is no write journal`, { hint: `remove it, if you know that nothing uses it: rm ${path}` })
      superblock.writeUInt32LE(magic, 0)
      writeU64(superblock, 1, 8)
    }
    const [capacityFound, sequence, position] = [size - superblockBytes, readU64(superblock, 8), readU64(superblock, 16)]
    if (Number.isNaN(sequence) || !(position <= capacityFound)) throw new AtollError('ATOLL_BAD_JOURNAL', `${path} is damaged`, { hint: `what it held is lost; remove it: rm ${path}` })
    const ring = new Ring({ capacity: capacityFound, sequence, position })
    const recovered = scan(fd, ring)
    const journal = new FileJournal(fd, path, ring, recovered)
    journal.writeSuperblock()
    return journal
  }

  /** Unsettled writes of an earlier worker, oldest first, without what later settled writes have replaced. */
  recover (): readonly RecoveredWrite[] { return this.recovered }

  /** Records that are not settled. */
  get waiting (): number { return this.ring.size }

  /** Throws ATOLL_JOURNAL_FULL. */
  record (ino: number, offset: number, data: readonly Buffer[], generation = 0, operationId = 0): number {
    return this.append(kinds.write + generation * kindsMax, operationId, ino, offset, data)
  }

  private recordChange ({ partition, generation, sequence, operationId = 0, bytes }: JournaledChange): number {
    return this.append(kinds.change, operationId, partition, generation * sequencesPerGeneration + sequence, [bytes])
  }

  private append (kind: number, operationId: number, ino: number, offset: number, data: readonly Buffer[]): number {
    let length = 0
    for (const piece of data) {
      length += piece.length
      lieNowhere(piece)
    }
    const wasEmpty = this.ring.size === 0
    const record = this.ring.allocate(headerBytes + length + trailerBytes)
    if (record === null) throw new AtollError('ATOLL_JOURNAL_FULL', `the write journal has no room for ${length} bytes`)
    // In an empty ring the record may begin elsewhere than recovery would look.
    if (wasEmpty) this.writeSuperblock()
    const { header, trailer } = this
    header.writeUInt32LE(stateWaiting, stateAt)
    writeU64(header, record.sequence, 8)
    writeU64(header, ino, 16)
    writeU64(header, offset, 24)
    writeU64(header, length, 32)
    writeU64(header, kind, 40)
    writeU64(header, operationId, 48)
    writeU64(trailer, record.sequence, 0)
    writeU64(trailer, length, 8)
    writeAll(this.fd, [header, ...data, trailer], superblockBytes + record.position, record.length)
    if (this.readable !== null && length >= referredBytesMin) this.tellPlaces(data, superblockBytes + record.position)
    return record.sequence
  }

  /** What overwrites a record overwrites its header first. */
  private tellPlaces (data: readonly Buffer[], recordAt: number): void {
    const guard = Buffer.from(this.header.subarray(guardAt, guardAt + guardBytes))
    let position = recordAt + headerBytes
    for (const piece of data) {
      if (piece.length >= referredBytesMin) lieInFile(piece, { ...this.readable!, parts: [{ position, length: piece.length, guardAt: recordAt + guardAt, guard }] })
      position += piece.length
    }
  }

  settle (token: number): void {
    const oldest = this.ring.oldest
    const record = this.ring.settle(token)
    if (record === null) return
    if (record === oldest) this.writeSuperblock()
    else writeSync(this.fd, this.stateSettledBytes, 0, 4, superblockBytes + record.position + stateAt)
  }

  close (): void { closeSync(this.fd) }

  private writeSuperblock (): void {
    const { sequence, position } = this.ring.oldest ?? this.ring.next
    writeU64(this.superblock, sequence, 8)
    writeU64(this.superblock, position, 16)
    writeSync(this.fd, this.superblock, 0, 24, 0)
  }
}

function writeAll (fd: number, pieces: readonly Buffer[], position: number, length: number): void {
  const written = writevSync(fd, pieces, position)
  if (written === length) return
  const rest = Buffer.concat(pieces)
  for (let at = written; at < length;) at += writeSync(fd, rest, at, length - at, position + at)
}

interface Recovered { writes: RecoveredWrite[], changes: RecoveredChange[] }

/** Follows the records from where the ring says the oldest is, as far as their sequences and trailers fit. */
function scan (fd: number, ring: Ring): Recovered {
  const found: Found[] = []
  for (;;) {
    const { sequence, position } = ring.next
    // A record that did not fit behind its predecessor begins at 0.
    const next = readRecord(fd, ring.capacity, position, sequence) ?? (found.length > 0 ? readRecord(fd, ring.capacity, 0, sequence) : null)
    if (next === null) break
    found.push(next)
    ring.restore({ sequence, position: next.dataAt - headerBytes, length: headerBytes + next.length + trailerBytes, settled: next.settled })
  }
  const settled = found.filter((record) => record.settled && record.kind === kinds.write)
  const waiting = found.filter((record) => !record.settled)
  const writes = waiting.filter(({ kind }) => kind === kinds.write).flatMap((record) => {
    const left = read(fd, record, replacements(settled, record))
    // Nobody will ask for it, so nobody will settle it.
    if (left.length === 0) ring.settle(record.token)
    return left
  })
  return { writes, changes: waiting.filter(({ kind }) => kind === kinds.change).map((record) => readChange(fd, record)) }
}

function readChange (fd: number, { token, operationId, ino, offset, length, dataAt }: Found): RecoveredChange {
  const data = Buffer.allocUnsafeSlow(length)
  readSync(fd, data, 0, length, superblockBytes + dataAt)
  return {
    token,
    partition: ino,
    generation: Math.floor(offset / sequencesPerGeneration),
    sequence: offset % sequencesPerGeneration,
    operationId: operationId === 0 ? undefined : operationId,
    bytes: data
  }
}

function readRecord (fd: number, capacity: number, position: number, sequence: number): Found | null {
  const header = Buffer.alloc(headerBytes)
  if (position + headerBytes + trailerBytes > capacity || readSync(fd, header, 0, headerBytes, superblockBytes + position) !== headerBytes) return null
  const length = readU64(header, 32)
  const dataAt = position + headerBytes
  if (header.readUInt32LE(0) !== magic || readU64(header, 8) !== sequence || !(dataAt + length + trailerBytes <= capacity)) return null
  const trailer = Buffer.alloc(trailerBytes)
  readSync(fd, trailer, 0, trailerBytes, superblockBytes + dataAt + length)
  if (readU64(trailer, 0) !== sequence || readU64(trailer, 8) !== length) return null
  const [ino, offset, what, operationId] = [readU64(header, 16), readU64(header, 24), readU64(header, 40), readU64(header, 48)]
  const [kind, generation] = [what % kindsMax, Math.floor(what / kindsMax)]
  if (Number.isNaN(ino) || Number.isNaN(offset) || (kind !== kinds.write && kind !== kinds.change)) return null
  return { token: sequence, kind, generation, operationId, ino, offset, length, dataAt, settled: header.readUInt32LE(stateAt) === stateSettled }
}

interface Extent { from: number, to: number }

/** Where later settled writes went: the nodes have something newer there. */
function replacements (settled: readonly Found[], record: Found): Extent[] {
  return settled
    .filter((other) => other.token > record.token && other.ino === record.ino)
    .map(({ offset, length }) => ({ from: offset, to: offset + length }))
}

function read (fd: number, { token, generation, operationId, ino, offset, length, dataAt }: Found, replaced: readonly Extent[]): RecoveredWrite[] {
  return subtract({ from: offset, to: offset + length }, replaced).map(({ from, to }) => {
    const data = Buffer.allocUnsafeSlow(to - from)
    readSync(fd, data, 0, data.length, superblockBytes + dataAt + from - offset)
    return { token, ino, offset: from, data, generation, ...(operationId === 0 ? {} : { operationId }) }
  })
}

/** What of `whole` none of `parts` covers. */
export function subtract (whole: Extent, parts: readonly Extent[]): Extent[] {
  let left = [whole]
  for (const part of parts) {
    left = left.flatMap(({ from, to }) => [{ from, to: Math.min(to, part.from) }, { from: Math.max(from, part.to), to }].filter((piece) => piece.from < piece.to))
  }
  return left
}
