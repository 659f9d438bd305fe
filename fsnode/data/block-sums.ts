import { crc32 } from '@node-rs/crc32'
import { blockBytes, blockCount, chunkBytesMax } from './chunk-header.ts'

const zeros = Buffer.alloc(blockBytes)
export const zeroBlockSum = crc32(zeros)
const initialBlocks = 128

/** The CRC-32 of bytes followed by `count` zeros, from that of the bytes. */
export function sumWithZeros (sum: number, count: number): number {
  return count === 0 ? sum : crc32(zeros.subarray(0, count), sum)
}

/** The checksums of a chunk's blocks; the last one covers the bytes there are. */
export class BlockSums {
  length = 0
  private sums: Uint32Array = new Uint32Array(initialBlocks)

  get blocks (): number { return blockCount(this.length) }

  /** As many entries as blocks, at least. */
  get table (): Uint32Array { return this.sums }

  at (block: number): number { return this.sums[block]! }

  set (block: number, sum: number): void {
    if (block >= this.sums.length) {
      const larger = new Uint32Array(Math.min(blockCount(chunkBytesMax), Math.max(block + 1, this.sums.length * 2)))
      larger.set(this.sums)
      this.sums = larger
    }
    this.sums[block] = sum
  }

  load (length: number, sums: Uint32Array): void {
    this.length = length
    for (let block = 0; block < sums.length; block++) this.set(block, sums[block]!)
  }

  /** Bytes of a block that belong to the chunk. */
  bytesIn (block: number): number {
    return Math.max(0, Math.min(blockBytes, this.length - block * blockBytes))
  }

  /** The chunk now ends at `length`, zeros in between. */
  extend (length: number): void {
    if (length <= this.length) return
    const first = Math.floor(this.length / blockBytes)
    for (let block = first; block < blockCount(length); block++) {
      const before = this.bytesIn(block)
      const after = Math.min(blockBytes, length - block * blockBytes)
      this.set(block, before === 0 && after === blockBytes ? zeroBlockSum : sumWithZeros(before === 0 ? 0 : this.at(block), after - before))
    }
    this.length = length
  }

  /** Whether the bytes are those of the block. */
  matches (block: number, bytes: Buffer): boolean {
    return bytes.length === this.bytesIn(block) && crc32(bytes) === this.at(block)
  }
}

/**
 * Checksums of the whole blocks within a payload that goes to `offset`: computed once, by the primary, and
 * good on every replica. Empty: there is no whole block.
 */
export class WholeBlockSums {
  /** Number of the first whole block. */
  readonly first: number
  private readonly sums: Buffer

  private constructor (first: number, sums: Buffer) {
    this.first = first
    this.sums = sums
  }

  static of (offset: number, length: number, payload: readonly Buffer[]): WholeBlockSums {
    const { first, count } = wholeBlocks(offset, length)
    const sums = Buffer.allocUnsafe(count * 4)
    if (count > 0) {
      const reader = new SliceReader(payload)
      reader.skip(first * blockBytes - offset)
      for (let index = 0; index < count; index++) sums.writeUInt32LE(reader.sum(blockBytes, 0), index * 4)
    }
    return new WholeBlockSums(first, sums)
  }

  /** As they came from the primary; null if they cannot belong to such a payload. */
  static from (bytes: Uint8Array, offset: number, length: number): WholeBlockSums | null {
    const { first, count } = wholeBlocks(offset, length)
    return bytes.length === count * 4 ? new WholeBlockSums(first, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) : null
  }

  get bytes (): Buffer { return this.sums }

  at (block: number): number { return this.sums.readUInt32LE((block - this.first) * 4) }
}

function wholeBlocks (offset: number, length: number): { first: number, count: number } {
  const first = Math.ceil(offset / blockBytes)
  return { first, count: Math.max(0, Math.floor((offset + length) / blockBytes) - first) }
}

/** Hands out the bytes of a list of buffers in order, as slices. */
export class SliceReader {
  private readonly buffers: readonly Buffer[]
  private index = 0
  private position = 0

  constructor (buffers: readonly Buffer[]) {
    this.buffers = buffers
  }

  /** Continues `sum` over the next `count` bytes. */
  sum (count: number, sum: number): number {
    let result = sum
    this.each(count, (slice) => { result = crc32(slice, result) })
    return result
  }

  /** The next `count` bytes, as slices. */
  take (count: number): Buffer[] {
    const slices: Buffer[] = []
    this.each(count, (slice) => { slices.push(slice) })
    return slices
  }

  skip (count: number): void { this.each(count, () => {}) }

  copy (count: number, into: Buffer, at: number): void {
    let position = at
    this.each(count, (slice) => { position += slice.copy(into, position) })
  }

  each (count: number, use: (slice: Buffer) => void): void {
    let left = count
    while (left > 0) {
      const buffer = this.buffers[this.index]!
      const end = Math.min(buffer.length, this.position + left)
      if (end > this.position) use(this.position === 0 && end === buffer.length ? buffer : buffer.subarray(this.position, end))
      left -= end - this.position
      this.position = end
      if (end === buffer.length) {
        this.index++
        this.position = 0
      }
    }
  }
}
