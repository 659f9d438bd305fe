import { Packr } from 'msgpackr'
import { bulkBuffers } from './buffer-pool.ts'
import { AtollError } from './errors.ts'

/**
 * Frames on a connection, little endian:
 *
 *   u32 head length | u32 payload length | u32 request id | u8 kind | 3 bytes zero | head | payload
 *
 * The head is MessagePack: a request's is [method, body], a response's its body, an error's
 * {code, message, details}. The payload is raw bytes (file contents), never copied into the head.
 */
export const frameHeaderBytes = 16
export const headBytesMax = 16 * 1024 * 1024
export const payloadBytesMax = 8 * 1024 * 1024

export const frameKind = { request: 0, response: 1, error: 2, notice: 3 } as const
export type FrameKind = typeof frameKind[keyof typeof frameKind]

export interface Frame {
  kind: FrameKind
  requestId: number
  head: unknown
  /** None, or one buffer that is not empty. */
  payload: Buffer[]
}

const empty = Buffer.alloc(0)
const packr = new Packr({ useRecords: false, int64AsType: 'bigint', encodeUndefinedAsNil: false })

/** MessagePack as used everywhere on wire and disk. Integers above 2^32 travel as doubles, bigints as int64. */
export function encode (value: unknown): Buffer {
  // pack() reuses its internal buffer, each result is a slice of its own: safe to keep.
  return packr.pack(value)
}

export function decode (bytes: Uint8Array): unknown {
  return packr.unpack(bytes)
}

export function byteLengthOf (payload: readonly Buffer[]): number {
  let total = 0
  for (const part of payload) total += part.length
  return total
}

/** The buffers to send for one frame: header and head in one, then the payload untouched. */
export function encodeFrame (kind: FrameKind, requestId: number, head: unknown, payload: readonly Buffer[] = []): Buffer[] {
  const body = encode(head)
  const first = Buffer.allocUnsafe(frameHeaderBytes + body.length)
  first.writeUInt32LE(body.length, 0)
  first.writeUInt32LE(byteLengthOf(payload), 4)
  first.writeUInt32LE(requestId, 8)
  first.writeUInt32LE(kind, 12)
  first.set(body, frameHeaderBytes)
  return payload.length === 0 ? [first] : [first, ...payload.filter((part) => part.length > 0)]
}

/**
 * Cuts a byte stream into frames. A head or payload that lies within one chunk is a slice of it; one that does not is
 * collected in one buffer (a large payload in one of `bulkBuffers`), into which a connection may receive what
 * is missing directly: see `place`.
 */
export class FrameDecoder {
  private readonly onFrame: (frame: Frame) => void
  /** Of a header that has not come whole. */
  private pending: Buffer = empty
  private frame: Frame | null = null
  private headLength = 0
  private payloadLength = 0
  /** The head or payload that is being collected, and how much of it there is. */
  private part: Buffer | null = null
  private filled = 0

  constructor (onFrame: (frame: Frame) => void) {
    this.onFrame = onFrame
  }

  /** Where the bytes that come next belong; null when they may be anywhere. What was put there is given to `push` as any other chunk. */
  place (): Buffer | null { return this.part === null ? null : this.part.subarray(this.filled) }

  /** @throws AtollError ATOLL_BAD_MESSAGE when the stream cannot be a stream of frames; the connection is then useless. */
  push (chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) {
      if (this.part !== null) rest = this.fill(this.part, rest)
      else if (this.frame === null) rest = this.takeHeader(rest)
      else rest = this.takeSlice(rest)
    }
  }

  private takeHeader (chunk: Buffer): Buffer {
    const bytes = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk])
    if (bytes.length < frameHeaderBytes) {
      this.pending = bytes
      return empty
    }
    this.pending = empty
    const headLength = bytes.readUInt32LE(0)
    const payloadLength = bytes.readUInt32LE(4)
    const kind = bytes.readUInt32LE(12)
    if (headLength > headBytesMax || payloadLength > payloadBytesMax || kind > frameKind.notice) {
      throw new AtollError('ATOLL_BAD_MESSAGE', 'not a frame: impossible header')
    }
    // No value takes no bytes at all.
    if (headLength === 0) throw new AtollError('ATOLL_BAD_MESSAGE', 'not a frame: no head')
    this.frame = { kind: kind as FrameKind, requestId: bytes.readUInt32LE(8), head: undefined, payload: [] }
    this.headLength = headLength
    this.payloadLength = payloadLength
    return bytes.subarray(frameHeaderBytes)
  }

  /** The head or the payload, if the chunk has all of it; else it is collected from here on. */
  private takeSlice (chunk: Buffer): Buffer {
    const length = this.headLength > 0 ? this.headLength : this.payloadLength
    if (chunk.length < length) {
      this.part = this.headLength > 0 ? Buffer.allocUnsafe(length) : bulkBuffers.take(length)
      this.filled = 0
      return chunk
    }
    this.took(chunk.length === length ? chunk : chunk.subarray(0, length))
    return chunk.subarray(length)
  }

  private fill (part: Buffer, chunk: Buffer): Buffer {
    const count = Math.min(chunk.length, part.length - this.filled)
    const isInPlace = chunk.buffer === part.buffer && chunk.byteOffset === part.byteOffset + this.filled
    if (!isInPlace) chunk.copy(part, this.filled, 0, count)
    this.filled += count
    if (this.filled === part.length) {
      this.part = null
      this.took(part)
    }
    return count === chunk.length ? empty : chunk.subarray(count)
  }

  private took (bytes: Buffer): void {
    const frame = this.frame!
    if (this.headLength > 0) {
      this.headLength = 0
      frame.head = decodeHead(bytes)
      if (this.payloadLength > 0) return
    } else {
      frame.payload.push(bytes)
    }
    this.frame = null
    this.onFrame(frame)
  }
}

function decodeHead (bytes: Buffer): unknown {
  try {
    return decode(bytes)
  } catch {
    throw new AtollError('ATOLL_BAD_MESSAGE', 'not a frame: the head is not MessagePack')
  }
}
