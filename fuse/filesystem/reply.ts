import type { StatFs } from '../../client/types.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { wordsOf } from '../protocol/bytes.ts'
import { FUSE_OUT_HEADER_SIZE as head } from '../protocol/constants.ts'
import {
  encodeAttrOut, encodeCount, encodeEntryOut, encodeLseekOut, encodeNegativeEntry, encodeOpenOut, encodeOutHeader,
  encodeStatfsOut, fixedReplyBytesMax, type Timeouts
} from '../protocol/reply.ts'

/** Where replies go. Synchronous: the pieces may change when it returns. False when nobody waits any more. */
export type Send = (pieces: readonly Buffer[]) => boolean

/** Fixed-size replies are built here: `send` is done with it when it returns. */
const scratch = Buffer.alloc(fixedReplyBytesMax)
const words = wordsOf(scratch)

/**
 * The answer to one request, to be used exactly once. Each method returns whether the kernel took
 * it: when not, an open or a lookup that it announced must be undone.
 */
export class Reply {
  private readonly transmit: Send
  private readonly uniqueLow: number
  private readonly uniqueHigh: number
  private state: 'open' | 'answered' | 'abandoned' = 'open'

  constructor (send: Send, uniqueLow: number, uniqueHigh: number) {
    this.transmit = send
    this.uniqueLow = uniqueLow
    this.uniqueHigh = uniqueHigh
  }

  get isOpen (): boolean { return this.state === 'open' }

  /** For requests that have no answer (FORGET), and after which none is sent. */
  none (): void { this.use() }

  /** Answers with an errno ahead of the handler, whose own answer is then dropped. */
  abandon (errno: number): void {
    if (this.state !== 'open') return
    this.error(errno)
    this.state = 'abandoned'
  }

  /** `errno` is positive. */
  error (errno: number): boolean { return this.fixed(head, -errno) }

  empty (): boolean { return this.fixed(head) }

  entry (attr: InodeAttr, timeouts: Timeouts): boolean { return this.fixed(encodeEntryOut(words, head, attr, timeouts)) }

  negative (timeouts: Timeouts): boolean { return this.fixed(encodeNegativeEntry(words, head, timeouts)) }

  attr (attr: InodeAttr, timeouts: Timeouts): boolean { return this.fixed(encodeAttrOut(words, head, attr, timeouts)) }

  opened (fh: number, flags: number): boolean { return this.fixed(encodeOpenOut(words, head, fh, flags)) }

  created (attr: InodeAttr, timeouts: Timeouts, fh: number, flags: number): boolean {
    return this.fixed(encodeOpenOut(words, encodeEntryOut(words, head, attr, timeouts), fh, flags))
  }

  /** Bytes written, or the size of an extended attribute. */
  count (bytes: number): boolean { return this.fixed(encodeCount(words, head, bytes)) }

  offset (offset: number): boolean { return this.fixed(encodeLseekOut(words, head, offset)) }

  statfs (statfs: StatFs): boolean { return this.fixed(encodeStatfsOut(words, head, statfs)) }

  /** A payload of any size, uncopied. */
  data (payload: readonly Buffer[]): boolean {
    if (!this.use()) return false
    let length = head
    for (const piece of payload) length += piece.length
    const header = scratch.subarray(0, head)
    encodeOutHeader(words, length, 0, this.uniqueLow, this.uniqueHigh)
    return this.transmit(length === head ? [header] : [header, ...payload])
  }

  /** Sends `length` bytes of the scratch buffer. */
  private fixed (length: number, error = 0): boolean {
    if (!this.use()) return false
    encodeOutHeader(words, length, error, this.uniqueLow, this.uniqueHigh)
    return this.transmit([scratch.subarray(0, length)])
  }

  private use (): boolean {
    if (this.state === 'abandoned') return false
    if (this.state === 'answered') throw new Error('a request was answered twice')
    this.state = 'answered'
    return true
  }
}
