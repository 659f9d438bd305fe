import { bulkBuffers, giveBack } from '../fsnode/protocol/buffer-pool.ts'
import { byteLengthOf } from '../fsnode/protocol/frame.ts'
import type { FileBlocks } from './block-cache.ts'
import { readAheadBytesMax, readAheadBytesPerFile, readRequestBytes } from './bounds.ts'
import { chunkRanges, pushZeros, sliceBuffers, type ChunkRange } from './ranges.ts'

/** Bytes of read-ahead that all files of a volume client may hold. */
export class ReadAheadBudget {
  private left: number

  constructor (bytes: number = readAheadBytesMax) {
    this.left = bytes
  }

  take (bytes: number): boolean {
    if (bytes > this.left) return false
    this.left -= bytes
    return true
  }

  give (bytes: number): void { this.left += bytes }
}

export interface ChunkReaderComponents {
  fetch: (chunk: number, offset: number, length: number) => Promise<Buffer[]>
  budget: ReadAheadBudget
  blocks: FileBlocks
  /** What is read now is current until `drop`. */
  mayKeep: () => boolean
}

/** A range that is being read, or was read, ahead of who wants it. */
interface Segment {
  start: number
  end: number
  bytes: Promise<Buffer[]>
  /** Bytes of it that were handed on. */
  consumed: number
  /** Those who wait for its bytes. */
  readers: number
}

/** Only the third in a row of such reads makes a sequence. */
const smallReadBytesMax = 64 * 1024
/** A read of a sequence may come so many of its lengths too early or too late. */
const reorderedReadsMax = 8

/** What a reader has passed by without taking it all is kept for late requests this far back. */
const keptBehindBytes = 2 * readRequestBytes

/**
 * Reads of one open file. A read that follows the one before, or a small one the two before, starts to read ahead in requests of
 * up to `readRequestBytes`, in a window that doubles up to `readAheadBytesPerFile`; any other small read goes through the
 * file's blocks. The bytes are valid while the lease is: `drop` forgets them.
 */
export class ChunkReader {
  private readonly components: ChunkReaderComponents
  private readonly chunkSize: number
  /** By start; do not overlap. */
  private readonly segments = new Map<number, Segment>()
  /** Who begins with much of the beginning will want the rest. */
  private nextOffset = 0
  /** Reads that followed exactly on the one before. */
  private successive = 0
  private windowBytes = 0
  private aheadTo = 0

  constructor (components: ChunkReaderComponents, chunkSize: number) {
    this.components = components
    this.chunkSize = chunkSize
  }

  /**
   * Exactly `length` bytes, which must lie within `size`; zeros where nothing was written. Who is done with them may give each of the
   * buffers back to `bulkBuffers`. `direct`: see ReadOptions.
   */
  async read (offset: number, length: number, size: number, direct = false): Promise<Buffer[]> {
    const sequential = this.isSequential(offset, length) && this.components.mayKeep()
    this.nextOffset = offset + length
    if (sequential) {
      this.advance(offset, length, size)
    } else {
      this.drop()
      const found = this.components.blocks.read(offset, length, size, this.fetch, direct)
      if (found !== null) return found
    }
    const parts: Array<Promise<Buffer[]>> = []
    for (let at = offset; at < offset + length;) {
      const segment = this.segmentAt(at)
      const end = Math.min(offset + length, segment?.end ?? this.nextStart(at))
      parts.push(segment === undefined ? this.fetchRange(at, end - at) : this.fromSegment(segment, at, end - at))
      at = end
    }
    return parts.length === 1 ? parts[0]! : (await Promise.all(parts)).flat()
  }

  /** Forgets what was read ahead. */
  drop (): void {
    for (const segment of this.segments.values()) this.remove(segment)
    this.windowBytes = 0
    this.aheadTo = 0
  }

  /** One small read may happen to follow another; concurrent reads may arrive slightly out of order. */
  private isSequential (offset: number, length: number): boolean {
    this.successive = offset === this.nextOffset ? this.successive + 1 : 0
    if (this.successive > 0) return this.successive > 1 || length > smallReadBytesMax || this.aheadTo > offset
    return offset < this.aheadTo && Math.abs(offset - this.nextOffset) <= reorderedReadsMax * length
  }

  private advance (offset: number, length: number, size: number): void {
    const end = offset + length
    this.windowBytes = Math.min(readAheadBytesPerFile, Math.max(readRequestBytes, this.windowBytes * 2, length))
    const target = Math.min(size, end + this.windowBytes)
    if (this.aheadTo < offset) this.aheadTo = offset
    for (const segment of this.segments.values()) if (segment.end + keptBehindBytes < offset) this.remove(segment)
    // Half a window left is enough: whole requests, not a trickle.
    if (this.aheadTo >= end && this.aheadTo - end > this.windowBytes / 2) return
    while (this.aheadTo < target) {
      const segmentEnd = Math.min(size, this.requestEnd(this.aheadTo))
      if (!this.components.budget.take(segmentEnd - this.aheadTo)) return
      const bytes = this.fetchRange(this.aheadTo, segmentEnd - this.aheadTo)
      bytes.catch(() => {})
      this.segments.set(this.aheadTo, { start: this.aheadTo, end: segmentEnd, bytes, consumed: 0, readers: 0 })
      this.aheadTo = segmentEnd
    }
  }

  private remove (segment: Segment): void {
    if (this.segments.get(segment.start) !== segment) return
    this.segments.delete(segment.start)
    this.components.budget.give(segment.end - segment.start)
    if (segment.readers === 0) this.recycle(segment)
  }

  /** Nobody can reach the segment any more; what was handed on of it has users of its own. */
  private recycle (segment: Segment): void { segment.bytes.then(giveBack, () => {}) }

  /** Requests end at multiples of their size within the chunk. */
  private requestEnd (at: number): number {
    const chunkStart = Math.floor(at / this.chunkSize) * this.chunkSize
    const within = at - chunkStart
    return chunkStart + Math.min(this.chunkSize, (Math.floor(within / readRequestBytes) + 1) * readRequestBytes)
  }

  private segmentAt (at: number): Segment | undefined {
    for (const segment of this.segments.values()) if (segment.start <= at && at < segment.end) return segment
    return undefined
  }

  private nextStart (at: number): number {
    let next = Infinity
    for (const { start } of this.segments.values()) if (start > at && start < next) next = start
    return next
  }

  private async fromSegment (segment: Segment, at: number, length: number): Promise<Buffer[]> {
    segment.consumed += length
    segment.readers++
    if (segment.consumed >= segment.end - segment.start) this.remove(segment)
    try {
      const slices = sliceBuffers(await segment.bytes, at - segment.start, length)
      for (const slice of slices) bulkBuffers.share(slice)
      return slices
    } catch {
      if (this.segments.get(segment.start) === segment) this.drop()
      return await this.fetchRange(at, length)
    } finally {
      if (--segment.readers === 0 && this.segments.get(segment.start) !== segment) this.recycle(segment)
    }
  }

  private readonly fetch = (offset: number, length: number): Promise<Buffer[]> => this.fetchRange(offset, length)

  private async fetchRange (offset: number, length: number): Promise<Buffer[]> {
    const ranges = chunkRanges(offset, length, this.chunkSize, readRequestBytes)
    if (ranges.length === 1) return this.fetchFilled(ranges[0]!)
    return (await Promise.all(ranges.map((range) => this.fetchFilled(range)))).flat()
  }

  private async fetchFilled ({ chunk, offset, length }: ChunkRange): Promise<Buffer[]> {
    const bytes = await this.components.fetch(chunk, offset, length)
    const missing = length - byteLengthOf(bytes)
    if (missing <= 0) return missing === 0 ? bytes : sliceBuffers(bytes, 0, length)
    const filled = [...bytes]
    pushZeros(filled, missing)
    return filled
  }
}
