import { wordsOf, writeU64 } from './bytes.ts'
import {
  FUSE_NOTIFY_INC_EPOCH, FUSE_NOTIFY_INVAL_ENTRY, FUSE_NOTIFY_INVAL_INODE, FUSE_NOTIFY_RESEND, FUSE_NOTIFY_STORE, FUSE_OUT_HEADER_SIZE
} from './constants.ts'
import { encodeOutHeader } from './reply.ts'

function notification (code: number, payloadBytes: number): Buffer {
  const message = Buffer.alloc(FUSE_OUT_HEADER_SIZE + payloadBytes)
  encodeOutHeader(wordsOf(message), message.length, code, 0, 0)
  return message
}

/** Drops the attributes of an inode, and its cached pages from `offset` on; length 0: all of them. Takes page locks. */
export function invalidateContent (ino: number, offset = 0, length = 0): Buffer {
  const message = notification(FUSE_NOTIFY_INVAL_INODE, 24)
  writeU64(message, ino, 16)
  writeU64(message, offset, 24)
  writeU64(message, length, 32)
  return message
}

/** Drops the attributes of an inode only. */
export function invalidateAttributes (ino: number): Buffer {
  const message = invalidateContent(ino)
  message.writeBigInt64LE(-1n, 24)
  return message
}

/** Puts `length` bytes, which are to follow, into an inode's cached pages: whole ones, within its size. Takes page locks, one at a time. */
export function storeHead (ino: number, offset: number, length: number): Buffer {
  const message = notification(FUSE_NOTIFY_STORE, 24)
  message.writeUInt32LE(message.length + length, 0)
  writeU64(message, ino, 16)
  writeU64(message, offset, 24)
  message.writeUInt32LE(length, 32)
  return message
}

/** Drops one name of a directory; takes the directory's lock, so it may wait for a request in flight. */
export function invalidateEntry (dir: number, name: string): Buffer {
  const nameBytes = Buffer.byteLength(name)
  const message = notification(FUSE_NOTIFY_INVAL_ENTRY, 16 + nameBytes + 1)
  writeU64(message, dir, 16)
  message.writeUInt32LE(nameBytes, 24)
  message.write(name, 32, 'utf8')
  return message
}

/** Makes every cached name stale: each is looked up again when next used. Takes no locks. */
export function incrementEpoch (): Buffer { return notification(FUSE_NOTIFY_INC_EPOCH, 0) }

/** Asks for every request that was read and not answered, again. */
export function resend (): Buffer { return notification(FUSE_NOTIFY_RESEND, 0) }
