import { posixError } from '../../fsnode/protocol/errors.ts'
import { readU64 } from './bytes.ts'
import { FUSE_IN_HEADER_SIZE, FUSE_UNIQUE_RESEND_HIGH, nameBytesMax } from './constants.ts'

const two32 = 0x1_0000_0000
/** Operation ids are `unique * 4 + step` and must stay safe integers. */
const uniqueModulus = 2 ** 50
const replacementCharacter = '\ufffd'

/**
 * One request as read from the device: the header's fields, and a view of the arguments (from
 * `start` to `end` in `buffer`). The buffer is reused for another request after dispatch unless it
 * was taken over; what outlives that must be copied.
 */
export interface Request {
  readonly buffer: Buffer
  /** Where the arguments begin and end; extensions (total_extlen) are cut off. */
  readonly start: number
  readonly end: number
  readonly opcode: number
  /** The two halves of `unique` as the kernel wrote them: a reply echoes them. */
  readonly uniqueLow: number
  readonly uniqueHigh: number
  readonly nodeid: number
  readonly uid: number
  readonly gid: number
  readonly pid: number
}

/** A message that is not what the protocol promises. */
export class MalformedRequest extends Error {
  readonly code = 'EINVAL'
  constructor (message: string) {
    super(message)
    this.name = 'MalformedRequest'
  }
}

/** Throws MalformedRequest for what is no whole request. `length`: bytes that were read. */
export function parseHeader (buffer: Buffer, length: number): Request {
  if (length < FUSE_IN_HEADER_SIZE || length > buffer.length) throw new MalformedRequest(`a request of ${length} bytes has no header`)
  const claimed = buffer.readUInt32LE(0)
  if (claimed !== length) throw new MalformedRequest(`a request of ${length} bytes says it has ${claimed}`)
  const extensions = buffer.readUInt16LE(36) * 8
  if (FUSE_IN_HEADER_SIZE + extensions > length) throw new MalformedRequest(`${extensions} bytes of extensions in a request of ${length}`)
  const nodeid = readU64(buffer, 16)
  if (Number.isNaN(nodeid)) throw new MalformedRequest('the node id is not one of ours')
  return {
    buffer,
    start: FUSE_IN_HEADER_SIZE,
    end: length - extensions,
    opcode: buffer.readUInt32LE(4),
    uniqueLow: buffer.readUInt32LE(8),
    uniqueHigh: buffer.readUInt32LE(12),
    nodeid,
    uid: buffer.readUInt32LE(24),
    gid: buffer.readUInt32LE(28),
    pid: buffer.readUInt32LE(32)
  }
}

export function isResent (request: Request): boolean {
  return request.uniqueHigh >= FUSE_UNIQUE_RESEND_HIGH
}

/** The same number for a request and its resent twin, without the mark; unique among those in flight. */
export function uniqueOf (uniqueLow: number, uniqueHigh: number): number {
  return ((uniqueHigh & 0x7fff_ffff) * two32 + uniqueLow) % uniqueModulus
}

/** Identifies step `step` (0 to 3) of the operation, the same when the kernel resends the request. */
export function operationIdOf (request: Request, step: 0 | 1 | 2 | 3 = 0): number {
  return uniqueOf(request.uniqueLow, request.uniqueHigh) * 4 + step
}

/** The offset of the arguments after checking that `size` bytes of them are there. */
export function argumentsOf (request: Request, size: number): number {
  if (request.end - request.start < size) {
    throw new MalformedRequest(`opcode ${request.opcode} has ${request.end - request.start} bytes of arguments, not ${size}`)
  }
  return request.start
}

/** A u64 that must be a safe integer: an offset, a size, a handle. */
export function readSafe (buffer: Buffer, offset: number, what: string): number {
  const value = readU64(buffer, offset)
  if (Number.isNaN(value)) throw posixError('EFBIG', what)
  return value
}

/** Where the NUL that ends the string at `offset` is. */
export function endOfString (request: Request, offset: number): number {
  const end = offset >= request.end ? -1 : request.buffer.indexOf(0, offset)
  if (end === -1 || end >= request.end) throw new MalformedRequest(`opcode ${request.opcode} holds a string without an end`)
  return end
}

/** Decodes UTF-8 strictly: a name that would not come back byte for byte is refused with EILSEQ. */
export function decodeText (buffer: Buffer, start: number, end: number): string {
  const text = buffer.toString('utf8', start, end)
  if (text.includes(replacementCharacter) && !Buffer.from(text, 'utf8').equals(buffer.subarray(start, end))) {
    throw posixError('EILSEQ', 'a name that is not UTF-8')
  }
  return text
}

/** A directory entry's name between `start` and `end`: not empty, no slash, at most 255 bytes. */
export function decodeName (buffer: Buffer, start: number, end: number): string {
  if (end === start) throw new MalformedRequest('an empty name')
  if (end - start > nameBytesMax) throw posixError('ENAMETOOLONG')
  const name = decodeText(buffer, start, end)
  if (name === '.' || name === '..' || name.includes('/')) throw new MalformedRequest(`"${name}" is no name of an entry`)
  return name
}
