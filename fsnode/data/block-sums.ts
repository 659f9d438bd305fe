import { crc32 } from 'node:zlib'
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
