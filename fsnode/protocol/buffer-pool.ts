import { noteAllocated } from './buffer-memory.ts'
import { lieNowhere } from './file-places.ts'

/** Large buffers that are used again: each new one costs its page faults, and the engine a full collection now and then. */
export const pooledBufferBytes = 2 * 1024 * 1024 + 64 * 1024
export const pooledBuffersMax = 12
/** Smaller buffers are cheaper to allocate. */
export const pooledBytesMin = 64 * 1024
/** Buffers are made in multiples of this size. */
const stepBytes = 64 * 1024

interface Lent { slab: Buffer, users: number }

export class BufferPool {
  /** By size, the smallest first. */
  private readonly free: Buffer[] = []
  /** What is out; a buffer that is never given back is left to the collector. */
  private readonly lent = new WeakMap<ArrayBufferLike, Lent>()

  /** `length` bytes with any contents, with one user. */
  take (length: number): Buffer {
    if (length < pooledBytesMin || length > pooledBufferBytes) return Buffer.allocUnsafe(length)
    const fitting = this.free.findIndex((slab) => slab.length >= length)
    const slab = fitting === -1 ? made(Math.ceil(length / stepBytes) * stepBytes) : this.free.splice(fitting, 1)[0]!
    lieNowhere(slab)
    this.lent.set(slab.buffer, { slab, users: 1 })
    return slab.subarray(0, length)
  }

  /** One more user, who will give the buffer back too. */
  share (buffer: Buffer): void {
    const lent = this.lent.get(buffer.buffer)
    if (lent !== undefined) lent.users++
  }

  /** One user less. After the last, nobody may look at the buffer or any slice of it. One that is not from here is ignored. */
  give (buffer: Buffer): void {
    const lent = this.lent.get(buffer.buffer)
    if (lent === undefined || --lent.users > 0) return
    this.lent.delete(buffer.buffer)
    const { slab } = lent
    const larger = this.free.findIndex((other) => other.length > slab.length)
    this.free.splice(larger === -1 ? this.free.length : larger, 0, slab)
    if (this.free.length > pooledBuffersMax) this.free.shift()
  }
}

function made (length: number): Buffer {
  noteAllocated(length)
  return Buffer.allocUnsafeSlow(length)
}

/** For each of the buffers. */
export function giveBack (buffers: readonly Buffer[]): void {
  for (const buffer of buffers) bulkBuffers.give(buffer)
}

export const bulkBuffers = new BufferPool()
