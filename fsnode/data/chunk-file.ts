import { crc32 } from '@node-rs/crc32'
import { AtollError, posixError } from '../protocol/errors.ts'
import { bulkBuffers } from '../protocol/buffer-pool.ts'
import type { FileRange } from '../protocol/data.ts'
import { byteLengthOf } from '../protocol/frame.ts'
import { BlockSums, SliceReader, sumWithZeros, WholeBlockSums } from './block-sums.ts'
import { blockBytes, blockCount, chunkBytesMax, decodeHeader, encodeHeader, headerBytes, tableBytes, type ChunkHeader } from './chunk-header.ts'
import type { ChunkFile } from './files.ts'
import { blockRuns, touchedBlocks, type BlockRun, type Range } from './ranges.ts'
import { sumReplaced } from './sum-algebra.ts'

export interface Digest { length: number, digest: number }

const zeroPiece = Buffer.alloc(1024 * 1024)

/**
 * One open chunk. Calls that change it must not overlap with any other call on it; the store's
 * queue sees to that.
 *
 * States of the header on disk: `absent` (the file was just made), `clean`, `dirty`. Bytes change
 * only under a dirty header. It becomes clean again once bytes and length are on stable storage, so a
 * clean header's checksums always are those of what the disk holds.
 */
export class OpenChunk {
  readonly ino: number
  readonly chunk: number
  readonly sums = new BlockSums()
  /** Written since the last datasync. */
  unsyncedBytes = 0
  /** Neither header nor checksums can be trusted; only `put` or removal help. */
  damaged = false
  private readonly file: ChunkFile
  private header: 'absent' | 'clean' | 'dirty' = 'absent'
  /** Bytes, length or header changed since the last datasync. */
  private unsynced = true
  /** The last datasync: who finds nothing to sync waits for it. */
  private syncing: Promise<void> = Promise.resolve()
  /** The block that a small write touched last, so that the next one need not read it. */
  private hot: { block: number, bytes: Buffer } | null = null

  private constructor (file: ChunkFile, ino: number, chunk: number) {
    this.file = file
    this.ino = ino
    this.chunk = chunk
  }

  /** For a file that was just made. */
  static fresh (file: ChunkFile, ino: number, chunk: number): OpenChunk {
    return new OpenChunk(file, ino, chunk)
  }

  /** Reads the header; the checksums of a dirty chunk are computed from its bytes. */
  static async load (file: ChunkFile, ino: number, chunk: number): Promise<OpenChunk> {
    const open = new OpenChunk(file, ino, chunk)
    const header = await readHeader(file, ino, chunk)
    if (header === 'damaged') open.damaged = true
    else if (header === 'blank') await open.recompute('absent')
    else if (header.dirty) await open.recompute('dirty')
    else {
      open.header = 'clean'
      open.unsynced = false
      open.sums.load(header.length, header.sums)
    }
    return open
  }

  get dirty (): boolean { return this.header !== 'clean' && !this.damaged }

  get length (): number { return this.sums.length }

  digest (): Digest {
    this.requireSound()
    return digestOf(this.length, this.sums.table)
  }

  /**
   * @throws AtollError ATOLL_BAD_CHECKSUM (details.blocks)
   */
  async read (offset: number, length: number): Promise<Buffer> {
    this.requireSound()
    const end = Math.min(offset + length, this.length)
    if (end <= offset) return Buffer.alloc(0)
    const first = Math.floor(offset / blockBytes)
    const bytes = await this.readBlocks(first, blockCount(end))
    return bytes.subarray(offset - first * blockBytes, end - first * blockBytes)
  }

  /** Where in the file the bytes are, with their checksums; null: there are none. */
  locate (offset: number, length: number): Omit<FileRange, 'path'> | null {
    this.requireSound()
    const end = Math.min(offset + length, this.length)
    if (end <= offset) return null
    const first = Math.floor(offset / blockBytes)
    const start = first * blockBytes
    const sums = Buffer.from(tableBytes(this.sums.table, this.length).subarray(first * 4, blockCount(end) * 4))
    return { position: headerBytes + start, length: Math.min(blockCount(end) * blockBytes, this.length) - start, blockBytes, sums, skip: offset - start, count: end - offset }
  }

  /** `whole`: checksums of the whole blocks of the payload, if they are known. */
  async write (offset: number, payload: readonly Buffer[], whole?: WholeBlockSums): Promise<void> {
    const length = byteLengthOf(payload)
    if (length === 0) return
    this.requireSound()
    requireFits(offset + length)
    const sums = await this.sumsAfter(offset, length, payload, whole ?? WholeBlockSums.of(offset, length, payload))
    const oldLength = this.length
    const position = headerBytes + offset
    await this.changing(async () => {
      if (this.header === 'absent' && offset === 0) {
        await this.file.write([this.encode(true), ...payload], 0)
        this.header = 'dirty'
        return
      }
      await this.makeDirty()
      await this.file.write(payload, position)
    }, oldLength, Math.floor(offset / blockBytes), blockCount(offset + length))
    this.unsyncedBytes += length
    this.sums.extend(offset)
    if (offset + length > this.length) this.sums.length = offset + length
    for (const [block, sum] of sums) this.sums.set(block, sum)
  }

  /** Ranges that do not overlap. Those that lie close together are read, changed and written as one. */
  async writeRanges (ranges: readonly Range[]): Promise<void> {
    this.requireSound()
    if (ranges.some(({ offset, length }) => offset + length > this.length)) {
      for (const { offset, data } of ranges) await this.write(offset, data)
      return
    }
    for (const run of blockRuns(ranges)) await this.writeRun(run)
  }

  private async writeRun ({ first, end, ranges }: BlockRun): Promise<void> {
    const bytes = await this.readRaw(first, end)
    try {
      if (bytes.length < Math.min(end * blockBytes, this.length) - first * blockBytes) throw badChecksum(this.ino, this.chunk, [end - 1])
      const sums = new Map<number, number>()
      for (const range of ranges) this.replace(range, bytes, first, sums)
      this.hot = null
      await this.changing(async () => {
        await this.makeDirty()
        await this.file.write([bytes], headerBytes + first * blockBytes)
      }, this.length, first, end)
      this.unsyncedBytes += bytes.length
      for (const [block, sum] of sums) this.sums.set(block, sum)
    } finally {
      bulkBuffers.give(bytes)
    }
  }

  /**
   * Puts a range into the bytes of the blocks from `first` on, and its effect into `sums`. Only the range is looked at: a block that was
   * damaged elsewhere does not match its checksum afterwards either, and is found when it is read.
   */
  private replace ({ offset, length, data }: Range, bytes: Buffer, first: number, sums: Map<number, number>): void {
    const base = first * blockBytes
    const parts = touchedBlocks([{ offset, length, data }]).map((block) => {
      const start = Math.max(offset, block * blockBytes)
      const end = Math.min(offset + length, (block + 1) * blockBytes)
      return { block, part: bytes.subarray(start - base, end - base), following: block * blockBytes + this.sums.bytesIn(block) - end }
    })
    const before = parts.map(({ part }) => crc32(part))
    let at = offset - base
    for (const piece of data) at += piece.copy(bytes, at)
    for (const [index, { block, part, following }] of parts.entries()) {
      const after = crc32(part)
      const isWhole = part.length === this.sums.bytesIn(block)
      sums.set(block, isWhole ? after : sumReplaced(sums.get(block) ?? this.sums.at(block), before[index]!, after, following))
    }
  }

  /** Bytes from `length` (above 0) on are gone. */
  async truncate (length: number): Promise<void> {
    this.requireSound()
    if (length >= this.length) return
    const block = Math.floor(length / blockBytes)
    const rest = length % blockBytes
    const sum = rest === 0 ? 0 : crc32((await this.readBlocks(block, block + 1)).subarray(0, rest))
    await this.makeDirty()
    await this.unsyncedAfter(this.file.truncate(headerBytes + length))
    if (this.hot !== null && this.hot.block >= block) this.hot = null
    this.sums.length = length
    if (rest !== 0) this.sums.set(block, sum)
  }

  /** The range reads as zeros afterwards; the chunk keeps its length. */
  async zero (offset: number, length: number): Promise<void> {
    this.requireSound()
    const end = Math.min(offset + length, this.length)
    if (end <= offset) return
    if (end === this.length) await this.zeroTail(offset)
    else await this.write(offset, zerosOf(end - offset))
  }

  /** A piece of a whole new content of `total` bytes; the one at offset 0 drops what was there. */
  async put (total: number, offset: number, payload: readonly Buffer[]): Promise<void> {
    requireFits(total)
    if (offset === 0) {
      this.hot = null
      this.sums.length = 0
      if (this.damaged) await this.writeHeader(true)
      else if (this.header === 'clean') await this.makeDirty()
      this.damaged = false
      if (this.header !== 'absent') await this.unsyncedAfter(this.file.truncate(headerBytes))
    }
    if (offset !== this.length) throw new AtollError('ATOLL_BAD_MESSAGE', `a piece at ${offset} of a chunk that ends at ${this.length}`)
    await this.write(offset, payload)
  }

  /** Verifies every block. Answers those that are bad. */
  async verify (): Promise<number[]> {
    this.requireSound()
    const bad: number[] = []
    const step = 32
    for (let first = 0; first < this.sums.blocks; first += step) {
      const end = Math.min(first + step, this.sums.blocks)
      const bytes = await this.readRaw(first, end)
      bad.push(...this.badBlocks(bytes, first, end))
      bulkBuffers.give(bytes)
    }
    return bad
  }

  /** Puts a block's right bytes back. Answers whether they are right. */
  async restore (block: number, bytes: Buffer): Promise<boolean> {
    this.requireSound()
    if (!this.sums.matches(block, bytes)) return false
    await this.makeDirty()
    await this.unsyncedAfter(this.file.write([bytes], headerBytes + block * blockBytes))
    return true
  }

  /** What was written before the call is on stable storage when this resolves. May overlap with reads and with other syncs. */
  sync (): Promise<void> {
    if (!this.unsynced) return this.syncing
    this.unsynced = false
    this.unsyncedBytes = 0
    this.syncing = this.file.datasync().catch((error) => {
      this.unsynced = true
      throw error
    })
    return this.syncing
  }

  /** Stores the checksums. */
  async clean (): Promise<void> {
    if (!this.dirty) return
    await this.sync()
    await this.writeHeader(false)
  }

  async close (): Promise<void> {
    this.hot = null
    await this.file.close()
  }

  private requireSound (): void {
    if (this.damaged) throw badChecksum(this.ino, this.chunk, [])
  }

  private encode (dirty: boolean): Buffer {
    return encodeHeader({ ino: this.ino, chunk: this.chunk, length: this.length, dirty, sums: this.sums.table })
  }

  private async writeHeader (dirty: boolean): Promise<void> {
    // When the call fails, the disk may hold either: counted as clean, so that the next change writes it again.
    this.header = 'clean'
    await this.file.write([this.encode(dirty)], 0)
    if (dirty) this.header = 'dirty'
  }

  /** Before the first change since the checksums were stored. Durable, for the bytes that change may have been promised. */
  private async makeDirty (): Promise<void> {
    this.unsynced = true
    if (this.header === 'dirty') return
    const isNew = this.header === 'absent'
    await this.writeHeader(true)
    if (!isNew) await this.syncHeader()
  }

  /** A sync that begins while the change is under way does not cover it. */
  private async unsyncedAfter (change: Promise<void>): Promise<void> {
    try {
      await change
    } finally {
      this.unsynced = true
    }
  }

  private async syncHeader (): Promise<void> {
    try {
      await this.file.datasync()
    } catch (error) {
      this.header = 'clean'
      throw error
    }
  }

  /**
   * Runs a write of some blocks. When it fails, the chunk gets its old length back, and the checksums of what
   * the disk now holds: a full disk damages nothing.
   */
  private async changing (write: () => Promise<void>, oldLength: number, first: number, end: number): Promise<void> {
    try {
      await this.unsyncedAfter(write())
    } catch (error) {
      this.hot = null
      try {
        await this.unsyncedAfter(this.file.truncate(headerBytes + oldLength))
        for (let block = first; block < Math.min(end, this.sums.blocks); block++) {
          const bytes = await this.readRaw(block, block + 1)
          this.sums.set(block, crc32(bytes))
        }
      } catch {
        this.damaged = true
      }
      throw error
    }
  }

  /** The checksums of the blocks that a write touches, as they will be. */
  private async sumsAfter (offset: number, length: number, payload: readonly Buffer[], whole: WholeBlockSums): Promise<Array<[number, number]>> {
    const end = offset + length
    const reader = new SliceReader(payload)
    const sums: Array<[number, number]> = []
    try {
      for (let block = Math.floor(offset / blockBytes); block < blockCount(end); block++) {
        const start = Math.max(0, offset - block * blockBytes)
        const stop = Math.min(blockBytes, end - block * blockBytes)
        if (stop - start === blockBytes) {
          if (this.hot?.block === block) this.hot = null
          reader.skip(blockBytes)
          sums.push([block, whole.at(block)])
        } else {
          const sum = this.sumAfter(block, start, stop, reader)
          sums.push([block, typeof sum === 'number' ? sum : await sum])
        }
      }
    } catch (error) {
      this.hot = null
      throw error
    }
    return sums
  }

  private sumAfter (block: number, start: number, stop: number, reader: SliceReader): number | Promise<number> {
    const known = this.sums.bytesIn(block)
    if (start === 0 && stop >= known) {
      if (this.hot?.block === block) this.hot = null
      return reader.sum(stop, 0)
    }
    if (start >= known) {
      // Appended, perhaps after a gap of zeros: continues the checksum there is.
      if (this.hot?.block === block) this.hot = null
      const before = known === 0 ? 0 : this.sums.at(block)
      return reader.sum(stop - start, sumWithZeros(before, start - known))
    }
    return this.sumOverlaid(block, start, stop, reader)
  }

  private async sumOverlaid (block: number, start: number, stop: number, reader: SliceReader): Promise<number> {
    const known = this.sums.bytesIn(block)
    let bytes = this.hot?.block === block && this.hot.bytes.length === known ? this.hot.bytes : await this.readBlocks(block, block + 1)
    this.hot = { block, bytes }
    if (stop <= known) {
      const part = bytes.subarray(start, stop)
      const before = crc32(part)
      reader.copy(stop - start, bytes, start)
      return sumReplaced(this.sums.at(block), before, crc32(part), known - stop)
    }
    if (bytes.length < stop) {
      const longer = Buffer.allocUnsafe(stop)
      bytes.copy(longer)
      bytes = longer
    }
    reader.copy(stop - start, bytes, start)
    this.hot = { block, bytes }
    return crc32(bytes)
  }

  private async zeroTail (offset: number): Promise<void> {
    const { length } = this
    if (offset === 0) {
      await this.makeDirty()
      this.hot = null
      await this.unsyncedAfter(this.file.truncate(headerBytes))
      this.sums.length = 0
    } else {
      await this.truncate(offset)
    }
    await this.unsyncedAfter(this.file.truncate(headerBytes + length))
    this.sums.extend(length)
  }

  private async readRaw (first: number, end: number): Promise<Buffer> {
    const bytes = bulkBuffers.take(Math.min(end * blockBytes, this.length) - first * blockBytes)
    const count = await this.file.read(bytes, headerBytes + first * blockBytes)
    return count === bytes.length ? bytes : bytes.subarray(0, count)
  }

  private async readBlocks (first: number, end: number): Promise<Buffer> {
    const bytes = await this.readRaw(first, end)
    const bad = this.badBlocks(bytes, first, end)
    if (bad.length > 0) throw badChecksum(this.ino, this.chunk, bad)
    return bytes
  }

  private badBlocks (bytes: Buffer, first: number, end: number): number[] {
    const bad: number[] = []
    for (let block = first; block < end; block++) {
      const at = (block - first) * blockBytes
      if (!this.sums.matches(block, bytes.subarray(at, at + this.sums.bytesIn(block)))) bad.push(block)
    }
    return bad
  }

  private async recompute (header: 'absent' | 'dirty'): Promise<void> {
    const length = Math.max(0, await this.file.size() - headerBytes)
    if (length > chunkBytesMax) {
      this.damaged = true
      return
    }
    this.header = header
    this.sums.length = length
    const step = 32
    for (let first = 0; first < blockCount(length); first += step) {
      const bytes = await this.readRaw(first, Math.min(first + step, blockCount(length)))
      for (let at = 0; at < bytes.length; at += blockBytes) {
        this.sums.set(first + at / blockBytes, crc32(bytes.subarray(at, at + blockBytes)))
      }
      bulkBuffers.give(bytes)
    }
  }
}

/** Equal for equal bytes: depends on nothing but length and contents. */
export function digestOf (length: number, sums: Uint32Array): Digest {
  return { length, digest: crc32(tableBytes(sums, length)) }
}

export async function readHeader (file: ChunkFile, ino: number, chunk: number): Promise<ChunkHeader | 'blank' | 'damaged'> {
  const bytes = Buffer.allocUnsafe(headerBytes)
  const count = await file.read(bytes, 0)
  const header = decodeHeader(bytes.subarray(0, count), ino, chunk)
  if (header === 'foreign') throw new AtollError('ATOLL_FORMAT', `chunk ${ino}.${chunk} was written by another version of Atoll`)
  return header
}

export function badChecksum (ino: number, chunk: number, blocks: number[]): AtollError {
  return new AtollError('ATOLL_BAD_CHECKSUM', `chunk ${ino}.${chunk} is damaged on disk`, { blocks, hint: 'atoll scrub repairs it from the other replicas' })
}

function requireFits (end: number): void {
  if (end > chunkBytesMax) throw posixError('EFBIG', `a chunk holds at most ${chunkBytesMax} bytes`)
}

function zerosOf (length: number): Buffer[] {
  const pieces: Buffer[] = []
  for (let left = length; left > 0; left -= zeroPiece.length) pieces.push(left >= zeroPiece.length ? zeroPiece : zeroPiece.subarray(0, left))
  return pieces
}
