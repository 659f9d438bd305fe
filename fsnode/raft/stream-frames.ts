import { AtollError } from '../protocol/errors.ts'

/**
 * Frames on a libp2p stream: u32 big endian length, then as many bytes. An empty frame asks for a sign of life,
 * and is answered by an empty frame.
 */
export const lengthBytes = 4
export const streamFrameBytesMax = 16 * 1024 * 1024

export const emptyFrame = Buffer.alloc(lengthBytes)

export function frameOf (body: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(lengthBytes + body.length)
  frame.writeUInt32BE(body.length)
  frame.set(body, lengthBytes)
  return frame
}

/** Cuts what a stream delivers into frames. A frame that came in one piece is handed on without a copy. */
export class StreamFrameDecoder {
  private readonly onFrame: (body: Buffer) => void
  private parts: Buffer[] = []
  private bytes = 0
  /** Bytes of the frame that is awaited, its length included; unknown until the length is there. */
  private wanted = lengthBytes

  constructor (onFrame: (body: Buffer) => void) {
    this.onFrame = onFrame
  }

  /** @throws AtollError ATOLL_BAD_MESSAGE: the stream is of no use any more. */
  push (chunk: Uint8Array): void {
    this.parts.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    this.bytes += chunk.byteLength
    while (this.bytes >= this.wanted) this.cut()
  }

  private cut (): void {
    const bytes = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts, this.bytes)
    let offset = 0
    this.wanted = lengthBytes
    while (bytes.length - offset >= lengthBytes) {
      const length = bytes.readUInt32BE(offset)
      if (length > streamFrameBytesMax) throw new AtollError('ATOLL_BAD_MESSAGE', `a frame of ${length} bytes`)
      if (bytes.length - offset < lengthBytes + length) {
        this.wanted = lengthBytes + length
        break
      }
      this.onFrame(bytes.subarray(offset + lengthBytes, offset + lengthBytes + length))
      offset += lengthBytes + length
    }
    this.parts = offset === bytes.length ? [] : [offset === 0 ? bytes : bytes.subarray(offset)]
    this.bytes = bytes.length - offset
  }
}
