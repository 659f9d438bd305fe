import { Packr } from 'msgpackr'
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
  /** Slices of what was received, in order; empty buffers do not occur. */
  payload: Buffer[]
}

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
 * Cuts a byte stream into frames. Payload bytes are handed on as slices of the received chunks;
 * only a header or head that straddles two chunks is copied.
 */
export class FrameDecoder {
  private readonly onFrame: (frame: Frame) => void
  private pending: Buffer = Buffer.alloc(0)
  private frame: Frame | null = null
  private payloadLeft = 0

  constructor (onFrame: (frame: Frame) => void) {
    this.onFrame = onFrame
  }

  /** @throws AtollError ATOLL_BAD_MESSAGE when the stream cannot be a stream of frames; the connection is then useless. */
  push (chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) {
      rest = this.frame === null ? this.takeHead(rest) : this.takePayload(rest)
    }
  }

  private takeHead (chunk: Buffer): Buffer {
    const bytes = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk])
    this.pending = bytes
    if (bytes.length < frameHeaderBytes) return empty
    const headLength = bytes.readUInt32LE(0)
    const payloadLength = bytes.readUInt32LE(4)
    const kind = bytes.readUInt32LE(12)
    if (headLength > headBytesMax || payloadLength > payloadBytesMax || kind > frameKind.notice) {
      throw new AtollError('ATOLL_BAD_MESSAGE', 'not a frame: impossible header')
    }
    const headEnd = frameHeaderBytes + headLength
    if (bytes.length < headEnd) return empty
    this.pending = empty
    this.frame = {
      kind: kind as FrameKind,
      requestId: bytes.readUInt32LE(8),
      head: decodeHead(bytes.subarray(frameHeaderBytes, headEnd)),
      payload: []
    }
    this.payloadLeft = payloadLength
    if (payloadLength === 0) this.finish()
    return bytes.subarray(headEnd)
  }

  private takePayload (chunk: Buffer): Buffer {
    const part = chunk.length > this.payloadLeft ? chunk.subarray(0, this.payloadLeft) : chunk
    this.frame!.payload.push(part)
    this.payloadLeft -= part.length
    if (this.payloadLeft === 0) this.finish()
    return chunk.subarray(part.length)
  }

  private finish (): void {
    const frame = this.frame!
    this.frame = null
    this.onFrame(frame)
  }
}

const empty = Buffer.alloc(0)

function decodeHead (bytes: Buffer): unknown {
  try {
    return decode(bytes)
  } catch {
    throw new AtollError('ATOLL_BAD_MESSAGE', 'not a frame: the head is not MessagePack')
  }
}
