import { readTime } from './bytes.ts'
import {
  FATTR_ATIME, FATTR_ATIME_NOW, FATTR_FH, FATTR_GID, FATTR_KILL_SUIDGID, FATTR_MODE, FATTR_MTIME, FATTR_MTIME_NOW,
  FATTR_SIZE, FATTR_UID, FUSE_GETATTR_FH
} from './constants.ts'
import { argumentsOf, decodeName, decodeText, endOfString, MalformedRequest, readSafe, type Request } from './request.ts'

/*
 * The arguments of each opcode, parsed from the request's own buffer. Everything throws
 * MalformedRequest for a request that is too short, and never reads beyond its end.
 */

/** LOOKUP, UNLINK, RMDIR, REMOVEXATTR. */
export function parseName (request: Request): string {
  const { start } = request
  return decodeName(request.buffer, start, endOfString(request, start))
}

export interface ForgetIn { nlookup: number }
export function parseForget (request: Request): ForgetIn {
  return { nlookup: readSafe(request.buffer, argumentsOf(request, 8), 'nlookup') }
}

/** Calls back for each node: a batch may hold thousands. */
export function parseBatchForget (request: Request, each: (nodeid: number, nlookup: number) => void): void {
  const at = argumentsOf(request, 8)
  const count = request.buffer.readUInt32LE(at)
  argumentsOf(request, 8 + count * 16)
  for (let index = 0; index < count; index++) {
    const one = at + 8 + index * 16
    each(readSafe(request.buffer, one, 'nodeid'), readSafe(request.buffer, one + 8, 'nlookup'))
  }
}

export interface GetattrIn { fh: number | null }
export function parseGetattr (request: Request): GetattrIn {
  const at = argumentsOf(request, 16)
  return { fh: (request.buffer.readUInt32LE(at) & FUSE_GETATTR_FH) === 0 ? null : readSafe(request.buffer, at + 8, 'fh') }
}

export interface SetattrIn {
  /** FATTR_* bits. */
  valid: number
  fh: number | null
  size?: number
  mode?: number
  uid?: number
  gid?: number
  atime?: bigint | 'now'
  mtime?: bigint | 'now'
  killSuidgid: boolean
}
export function parseSetattr (request: Request): SetattrIn {
  const at = argumentsOf(request, 88)
  const { buffer } = request
  const valid = buffer.readUInt32LE(at)
  const result: SetattrIn = {
    valid,
    fh: (valid & FATTR_FH) === 0 ? null : readSafe(buffer, at + 8, 'fh'),
    killSuidgid: (valid & FATTR_KILL_SUIDGID) !== 0
  }
  if ((valid & FATTR_SIZE) !== 0) result.size = readSafe(buffer, at + 16, 'size')
  if ((valid & FATTR_MODE) !== 0) result.mode = buffer.readUInt32LE(at + 68) & 0o7777
  if ((valid & FATTR_UID) !== 0) result.uid = buffer.readUInt32LE(at + 76)
  if ((valid & FATTR_GID) !== 0) result.gid = buffer.readUInt32LE(at + 80)
  if ((valid & FATTR_ATIME_NOW) !== 0) result.atime = 'now'
  else if ((valid & FATTR_ATIME) !== 0) result.atime = readTime(buffer, at + 32, at + 56)
  if ((valid & FATTR_MTIME_NOW) !== 0) result.mtime = 'now'
  else if ((valid & FATTR_MTIME) !== 0) result.mtime = readTime(buffer, at + 40, at + 60)
  return result
}

export interface SymlinkIn { name: string, target: string }
export function parseSymlink (request: Request): SymlinkIn {
  const nameEnd = endOfString(request, request.start)
  const targetEnd = endOfString(request, nameEnd + 1)
  return {
    name: decodeName(request.buffer, request.start, nameEnd),
    target: decodeText(request.buffer, nameEnd + 1, targetEnd)
  }
}

export interface MknodIn { mode: number, rdev: number, umask: number, name: string }
export function parseMknod (request: Request): MknodIn {
  const at = argumentsOf(request, 16)
  const { buffer } = request
  return {
    mode: buffer.readUInt32LE(at),
    rdev: buffer.readUInt32LE(at + 4),
    umask: buffer.readUInt32LE(at + 8),
    name: decodeName(buffer, at + 16, endOfString(request, at + 16))
  }
}

export interface MkdirIn { mode: number, umask: number, name: string }
export function parseMkdir (request: Request): MkdirIn {
  const at = argumentsOf(request, 8)
  const { buffer } = request
  return {
    mode: buffer.readUInt32LE(at),
    umask: buffer.readUInt32LE(at + 4),
    name: decodeName(buffer, at + 8, endOfString(request, at + 8))
  }
}

export interface RenameIn { newDir: number, flags: number, name: string, newName: string }

/** RENAME. */
export function parseRename (request: Request): RenameIn {
  const at = argumentsOf(request, 8)
  return { newDir: readSafe(request.buffer, at, 'newdir'), flags: 0, ...parseTwoNames(request, at + 8) }
}

export function parseRename2 (request: Request): RenameIn {
  const at = argumentsOf(request, 16)
  return { newDir: readSafe(request.buffer, at, 'newdir'), flags: request.buffer.readUInt32LE(at + 8), ...parseTwoNames(request, at + 16) }
}

function parseTwoNames (request: Request, at: number): { name: string, newName: string } {
  const nameEnd = endOfString(request, at)
  const newNameEnd = endOfString(request, nameEnd + 1)
  return {
    name: decodeName(request.buffer, at, nameEnd),
    newName: decodeName(request.buffer, nameEnd + 1, newNameEnd)
  }
}

export interface LinkIn { oldNodeid: number, name: string }
export function parseLink (request: Request): LinkIn {
  const at = argumentsOf(request, 8)
  return {
    oldNodeid: readSafe(request.buffer, at, 'oldnodeid'),
    name: decodeName(request.buffer, at + 8, endOfString(request, at + 8))
  }
}

export interface OpenIn { flags: number, openFlags: number }

/** OPEN, OPENDIR. */
export function parseOpen (request: Request): OpenIn {
  const at = argumentsOf(request, 8)
  return { flags: request.buffer.readUInt32LE(at), openFlags: request.buffer.readUInt32LE(at + 4) }
}

export interface CreateIn extends OpenIn { mode: number, umask: number, name: string }
export function parseCreate (request: Request): CreateIn {
  const at = argumentsOf(request, 16)
  const { buffer } = request
  return {
    flags: buffer.readUInt32LE(at),
    mode: buffer.readUInt32LE(at + 4),
    umask: buffer.readUInt32LE(at + 8),
    openFlags: buffer.readUInt32LE(at + 12),
    name: decodeName(buffer, at + 16, endOfString(request, at + 16))
  }
}

export interface ReadIn { fh: number, offset: number, size: number, /** O_* of the open file. */ flags: number }

/** READ, READDIR, READDIRPLUS. */
export function parseRead (request: Request): ReadIn {
  const at = argumentsOf(request, 40)
  const { buffer } = request
  return {
    fh: readSafe(buffer, at, 'fh'),
    offset: readSafe(buffer, at + 8, 'offset'),
    size: buffer.readUInt32LE(at + 16),
    flags: buffer.readUInt32LE(at + 32)
  }
}

export interface WriteIn {
  fh: number
  offset: number
  /** FUSE_WRITE_* bits. */
  writeFlags: number
  /** O_* of the open file. */
  flags: number
  /** A slice of the request's buffer. */
  data: Buffer
}
export function parseWrite (request: Request): WriteIn {
  const at = argumentsOf(request, 40)
  const { buffer } = request
  const size = buffer.readUInt32LE(at + 16)
  if (request.end - at - 40 < size) throw new MalformedRequest(`a WRITE of ${size} bytes holds ${request.end - at - 40}`)
  return {
    fh: readSafe(buffer, at, 'fh'),
    offset: readSafe(buffer, at + 8, 'offset'),
    writeFlags: buffer.readUInt32LE(at + 20),
    flags: buffer.readUInt32LE(at + 32),
    data: buffer.subarray(at + 40, at + 40 + size)
  }
}

export interface HandleIn { fh: number }

/** FLUSH, RELEASE, RELEASEDIR. */
export function parseRelease (request: Request): HandleIn {
  return { fh: readSafe(request.buffer, argumentsOf(request, 24), 'fh') }
}

/** FSYNC, FSYNCDIR. */
export function parseFsync (request: Request): HandleIn {
  return { fh: readSafe(request.buffer, argumentsOf(request, 16), 'fh') }
}

export interface SetxattrIn { name: string, /** XATTR_CREATE 1, XATTR_REPLACE 2. */ flags: number, /** A slice. */ value: Buffer }

/** `extended`: FUSE_SETXATTR_EXT was negotiated, so the structure has 16 bytes. */
export function parseSetxattr (request: Request, extended: boolean): SetxattrIn {
  const at = argumentsOf(request, extended ? 16 : 8)
  const { buffer } = request
  const size = buffer.readUInt32LE(at)
  const nameAt = at + (extended ? 16 : 8)
  const nameEnd = endOfString(request, nameAt)
  if (request.end - nameEnd - 1 < size) throw new MalformedRequest(`a value of ${size} bytes has ${request.end - nameEnd - 1}`)
  return {
    name: decodeText(buffer, nameAt, nameEnd),
    flags: buffer.readUInt32LE(at + 4),
    value: buffer.subarray(nameEnd + 1, nameEnd + 1 + size)
  }
}

export interface GetxattrIn { /** 0 asks for the size. */ size: number, name: string }
export function parseGetxattr (request: Request): GetxattrIn {
  const at = argumentsOf(request, 8)
  const { buffer } = request
  return { size: buffer.readUInt32LE(at), name: decodeText(buffer, at + 8, endOfString(request, at + 8)) }
}

export function parseListxattr (request: Request): { size: number } {
  return { size: request.buffer.readUInt32LE(argumentsOf(request, 8)) }
}

export function parseXattrName (request: Request): string {
  return decodeText(request.buffer, request.start, endOfString(request, request.start))
}

export interface InterruptIn { uniqueLow: number, uniqueHigh: number }
export function parseInterrupt (request: Request): InterruptIn {
  const at = argumentsOf(request, 8)
  return { uniqueLow: request.buffer.readUInt32LE(at), uniqueHigh: request.buffer.readUInt32LE(at + 4) }
}

export interface FallocateIn { fh: number, offset: number, length: number, mode: number }
export function parseFallocate (request: Request): FallocateIn {
  const at = argumentsOf(request, 32)
  const { buffer } = request
  return {
    fh: readSafe(buffer, at, 'fh'),
    offset: readSafe(buffer, at + 8, 'offset'),
    length: readSafe(buffer, at + 16, 'length'),
    mode: buffer.readUInt32LE(at + 24)
  }
}

export interface LseekIn { fh: number, /** May be negative. */ offset: number, whence: number }
export function parseLseek (request: Request): LseekIn {
  const at = argumentsOf(request, 24)
  const { buffer } = request
  return { fh: readSafe(buffer, at, 'fh'), offset: Number(buffer.readBigInt64LE(at + 8)), whence: buffer.readUInt32LE(at + 16) }
}
