import type { StatFs } from '../../client/types.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { writeTime, writeU64 } from './bytes.ts'
import { FUSE_ATTR_OUT_SIZE, FUSE_ENTRY_OUT_SIZE, FUSE_OPEN_OUT_SIZE, FUSE_OUT_HEADER_SIZE, FUSE_STATFS_OUT_SIZE } from './constants.ts'

/** st_blksize, the buffer of programs that ask (cp, cat, Python): one request of the greatest size, as NFS has it. */
export const preferredBlockBytes = 1024 * 1024
const sectorBytes = 512

/** How long the kernel may use what it was told, in seconds. */
export interface Timeouts { entrySeconds: number, attrSeconds: number }

/** `length` counts the header; `error` is a negative errno, or the code of a notification. */
export function encodeOutHeader (target: Buffer, length: number, error: number, uniqueLow: number, uniqueHigh: number): void {
  target.writeUInt32LE(length, 0)
  target.writeInt32LE(error, 4)
  target.writeUInt32LE(uniqueLow, 8)
  target.writeUInt32LE(uniqueHigh, 12)
}

/** struct fuse_attr. */
export function encodeAttr (target: Buffer, at: number, attr: InodeAttr): void {
  writeU64(target, attr.ino, at)
  writeU64(target, attr.size, at + 8)
  writeU64(target, Math.ceil(attr.size / sectorBytes), at + 16)
  writeTime(target, attr.atime, at + 24, at + 48)
  writeTime(target, attr.mtime, at + 32, at + 52)
  writeTime(target, attr.ctime, at + 40, at + 56)
  target.writeUInt32LE(attr.mode, at + 60)
  target.writeUInt32LE(attr.nlink, at + 64)
  target.writeUInt32LE(attr.uid, at + 68)
  target.writeUInt32LE(attr.gid, at + 72)
  target.writeUInt32LE(attr.rdev, at + 76)
  target.writeUInt32LE(preferredBlockBytes, at + 80)
  target.writeUInt32LE(0, at + 84)
}

/** struct fuse_entry_out. The node id is the inode number, the generation 0. Returns the offset behind. */
export function encodeEntryOut (target: Buffer, at: number, attr: InodeAttr, timeouts: Timeouts): number {
  writeU64(target, attr.ino, at)
  writeU64(target, 0, at + 8)
  writeU64(target, timeouts.entrySeconds, at + 16)
  writeU64(target, timeouts.attrSeconds, at + 24)
  writeU64(target, 0, at + 32)
  encodeAttr(target, at + 40, attr)
  return at + FUSE_ENTRY_OUT_SIZE
}

/** A name that does not exist: node id 0, which the kernel caches for the entry timeout. */
export function encodeNegativeEntry (target: Buffer, at: number, timeouts: Timeouts): number {
  target.fill(0, at, at + FUSE_ENTRY_OUT_SIZE)
  writeU64(target, timeouts.entrySeconds, at + 16)
  return at + FUSE_ENTRY_OUT_SIZE
}

/** struct fuse_attr_out. */
export function encodeAttrOut (target: Buffer, at: number, attr: InodeAttr, timeouts: Timeouts): number {
  writeU64(target, timeouts.attrSeconds, at)
  writeU64(target, 0, at + 8)
  encodeAttr(target, at + 16, attr)
  return at + FUSE_ATTR_OUT_SIZE
}

/** struct fuse_open_out. `flags`: FOPEN_*. */
export function encodeOpenOut (target: Buffer, at: number, fh: number, flags: number): number {
  writeU64(target, fh, at)
  target.writeUInt32LE(flags, at + 8)
  target.writeUInt32LE(0, at + 12)
  return at + FUSE_OPEN_OUT_SIZE
}

/** struct fuse_write_out, and fuse_getxattr_out, which has the same shape. */
export function encodeCount (target: Buffer, at: number, count: number): number {
  target.writeUInt32LE(count, at)
  target.writeUInt32LE(0, at + 4)
  return at + 8
}

/** struct fuse_lseek_out. */
export function encodeLseekOut (target: Buffer, at: number, offset: number): number {
  writeU64(target, offset, at)
  return at + 8
}

/** struct fuse_statfs_out. */
export function encodeStatfsOut (target: Buffer, at: number, statfs: StatFs): number {
  target.fill(0, at, at + FUSE_STATFS_OUT_SIZE)
  writeU64(target, statfs.blocks, at)
  writeU64(target, statfs.blocksFree, at + 8)
  writeU64(target, statfs.blocksAvailable, at + 16)
  writeU64(target, statfs.files, at + 24)
  writeU64(target, statfs.filesFree, at + 32)
  target.writeUInt32LE(statfs.blockSize, at + 40)
  target.writeUInt32LE(statfs.nameLengthMax, at + 44)
  target.writeUInt32LE(statfs.blockSize, at + 48)
  return at + FUSE_STATFS_OUT_SIZE
}

/** Bytes that hold any fixed-size reply. */
export const fixedReplyBytesMax = FUSE_OUT_HEADER_SIZE + FUSE_ENTRY_OUT_SIZE + FUSE_OPEN_OUT_SIZE
