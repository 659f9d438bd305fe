import type { StatFs } from '../../client/types.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { putTime, putU32, putU64 } from './bytes.ts'
import { FUSE_ATTR_OUT_SIZE, FUSE_ENTRY_OUT_SIZE, FUSE_OPEN_OUT_SIZE, FUSE_OUT_HEADER_SIZE, FUSE_STATFS_OUT_SIZE } from './constants.ts'

/** st_blksize, the buffer of programs that ask (cp, cat, Python): one request of the greatest size, as NFS has it. */
export const preferredBlockBytes = 1024 * 1024
const sectorBytes = 512

/** How long the kernel may use what it was told, in seconds. */
export interface Timeouts { entrySeconds: number, attrSeconds: number }

/** `length` counts the header; `error` is a negative errno, or the code of a notification. */
export function encodeOutHeader (words: Uint32Array, length: number, error: number, uniqueLow: number, uniqueHigh: number): void {
  putU32(words, length, 0)
  putU32(words, error, 4)
  putU32(words, uniqueLow, 8)
  putU32(words, uniqueHigh, 12)
}

/** struct fuse_attr. */
export function encodeAttr (words: Uint32Array, at: number, attr: InodeAttr): void {
  putU64(words, attr.ino, at)
  putU64(words, attr.size, at + 8)
  putU64(words, Math.ceil(attr.size / sectorBytes), at + 16)
  putTime(words, attr.atime, at + 24, at + 48)
  putTime(words, attr.mtime, at + 32, at + 52)
  putTime(words, attr.ctime, at + 40, at + 56)
  putU32(words, attr.mode, at + 60)
  putU32(words, attr.nlink, at + 64)
  putU32(words, attr.uid, at + 68)
  putU32(words, attr.gid, at + 72)
  putU32(words, attr.rdev, at + 76)
  putU32(words, preferredBlockBytes, at + 80)
  putU32(words, 0, at + 84)
}

/** struct fuse_entry_out. The node id is the inode number, the generation 0. Returns the offset behind. */
export function encodeEntryOut (words: Uint32Array, at: number, attr: InodeAttr, timeouts: Timeouts): number {
  putU64(words, attr.ino, at)
  putU64(words, 0, at + 8)
  putU64(words, timeouts.entrySeconds, at + 16)
  putU64(words, timeouts.attrSeconds, at + 24)
  putU64(words, 0, at + 32)
  encodeAttr(words, at + 40, attr)
  return at + FUSE_ENTRY_OUT_SIZE
}

/** A name that does not exist: node id 0, which the kernel caches for the entry timeout. */
export function encodeNegativeEntry (words: Uint32Array, at: number, timeouts: Timeouts): number {
  words.fill(0, at >>> 2, (at + FUSE_ENTRY_OUT_SIZE) >>> 2)
  putU64(words, timeouts.entrySeconds, at + 16)
  return at + FUSE_ENTRY_OUT_SIZE
}

/** struct fuse_attr_out. */
export function encodeAttrOut (words: Uint32Array, at: number, attr: InodeAttr, timeouts: Timeouts): number {
  putU64(words, timeouts.attrSeconds, at)
  putU64(words, 0, at + 8)
  encodeAttr(words, at + 16, attr)
  return at + FUSE_ATTR_OUT_SIZE
}

/** struct fuse_open_out. `flags`: FOPEN_*. */
export function encodeOpenOut (words: Uint32Array, at: number, fh: number, flags: number): number {
  putU64(words, fh, at)
  putU32(words, flags, at + 8)
  putU32(words, 0, at + 12)
  return at + FUSE_OPEN_OUT_SIZE
}

/** struct fuse_write_out, and fuse_getxattr_out, which has the same shape. */
export function encodeCount (words: Uint32Array, at: number, count: number): number {
  putU32(words, count, at)
  putU32(words, 0, at + 4)
  return at + 8
}

/** struct fuse_lseek_out. */
export function encodeLseekOut (words: Uint32Array, at: number, offset: number): number {
  putU64(words, offset, at)
  return at + 8
}

/** struct fuse_statfs_out. */
export function encodeStatfsOut (words: Uint32Array, at: number, statfs: StatFs): number {
  words.fill(0, at >>> 2, (at + FUSE_STATFS_OUT_SIZE) >>> 2)
  putU64(words, statfs.blocks, at)
  putU64(words, statfs.blocksFree, at + 8)
  putU64(words, statfs.blocksAvailable, at + 16)
  putU64(words, statfs.files, at + 24)
  putU64(words, statfs.filesFree, at + 32)
  putU32(words, statfs.blockSize, at + 40)
  putU32(words, statfs.nameLengthMax, at + 44)
  putU32(words, statfs.blockSize, at + 48)
  return at + FUSE_STATFS_OUT_SIZE
}

/** Bytes that hold any fixed-size reply. */
export const fixedReplyBytesMax = FUSE_OUT_HEADER_SIZE + FUSE_ENTRY_OUT_SIZE + FUSE_OPEN_OUT_SIZE
