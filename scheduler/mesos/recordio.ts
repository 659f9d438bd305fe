import { AtollError } from '../../fsnode/protocol/errors.ts'

/** A record larger than this is taken for a broken stream. Offers of thousands of agents stay far below. */
export const recordLengthMaxBytes = 64 * 1024 * 1024

const newline = 0x0a
const zero = 0x30
/** Digits of `recordLengthMaxBytes`, with room: more cannot be a length that we accept. */
const lengthDigitsMax = 12

/** `<decimal length>\n<bytes>`. */
export function encodeRecord (body: Uint8Array | string): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  return Buffer.concat([Buffer.from(`${bytes.length}\n`), bytes])
}

export function encodeJsonRecord (message: unknown): Buffer {
  return encodeRecord(JSON.stringify(message))
}

export interface RecordDecoderInit { recordLengthMaxBytes?: number }

/**
 * Splits a RecordIO byte stream, however it was cut. A record that came in one piece is a view of the
 * pushed buffer; one that spans pieces is copied once.
 */
export class RecordDecoder {
  readonly #lengthMaxBytes: number
  #length = 0
  #digits = 0
  /** The record being gathered from several pieces; undefined while its length is read. */
  #body: Buffer | undefined
  #filled = 0
  #broken = false

  constructor (init: RecordDecoderInit = {}) {
    this.#lengthMaxBytes = init.recordLengthMaxBytes ?? recordLengthMaxBytes
  }

  /** Whether the stream may end here: not within a record. */
  get atBoundary (): boolean {
    return this.#body === undefined && this.#digits === 0
  }

  /**
   * The records that end in `chunk`, in order.
   * Throws ATOLL_BAD_MESSAGE when the stream is not RecordIO; the decoder is useless from then on.
   */
  push (chunk: Uint8Array): Buffer[] {
    if (this.#broken) throw this.#fail('the stream was broken before')
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const records: Buffer[] = []
    let offset = 0
    while (offset < bytes.length) {
      if (this.#body !== undefined) {
        offset += this.#gather(bytes, offset, records)
        continue
      }
      const byte = bytes[offset++]
      if (byte !== newline) {
        this.#addDigit(byte)
        continue
      }
      if (this.#digits === 0 || this.#length === 0) throw this.#fail('a record without a length')
      if (bytes.length - offset >= this.#length) {
        records.push(bytes.subarray(offset, offset + this.#length))
        offset += this.#length
        this.#reset()
      } else {
        this.#body = Buffer.allocUnsafe(this.#length)
        this.#filled = 0
      }
    }
    return records
  }

  #gather (bytes: Buffer, offset: number, records: Buffer[]): number {
    const body = this.#body!
    const taken = bytes.copy(body, this.#filled, offset)
    this.#filled += taken
    if (this.#filled === body.length) {
      records.push(body)
      this.#reset()
    }
    return taken
  }

  #addDigit (byte: number): void {
    const digit = byte - zero
    if (digit < 0 || digit > 9) throw this.#fail(`byte 0x${byte.toString(16)} in the length of a record`)
    this.#length = this.#length * 10 + digit
    if (++this.#digits > lengthDigitsMax || this.#length > this.#lengthMaxBytes) {
      throw this.#fail(`a record longer than ${this.#lengthMaxBytes} bytes`)
    }
  }

  #reset (): void {
    this.#body = undefined
    this.#length = 0
    this.#digits = 0
  }

  #fail (why: string): AtollError {
    this.#broken = true
    return new AtollError('ATOLL_BAD_MESSAGE', `RecordIO: ${why}`)
  }
}
