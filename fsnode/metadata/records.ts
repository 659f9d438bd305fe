import { decode, encode } from '../protocol/frame.ts'
import type { InodeAttr } from '../protocol/metadata.ts'
import type { Entry, Inode, Remembered, Session, Transaction, Truncation, Xattrs } from './types.ts'

/**
 * Values in the store: MessagePack arrays, so that two replicas with the same state hold the same
 * bytes, whatever order an object's fields were set in.
 */
export interface Codec<K, V> { encode (value: V): Uint8Array, decode (bytes: Uint8Array, key: K): V }

export const inodeCodec: Codec<number, Inode> = {
  encode: (inode) => encode([
    inode.mode, inode.nlink, inode.uid, inode.gid, inode.rdev, inode.size, inode.extent, inode.isInline,
    inode.atime, inode.mtime, inode.ctime, inode.version, inode.parent, inode.entries, inode.writer, inode.xattrs
  ]),
  decode: (bytes, ino) => {
    const [mode, nlink, uid, gid, rdev, size, extent, isInline, atime, mtime, ctime, version, parent, entries, writer, xattrs] = decode(bytes) as
      [number, number, number, number, number, number, number, boolean, bigint, bigint, bigint, number, number, number, string, number]
    return { ino, mode, nlink, uid, gid, rdev, size, extent, isInline, atime, mtime, ctime, version, parent, entries, writer, xattrs }
  }
}

export const entryCodec: Codec<string, Entry> = {
  encode: ({ ino, type }) => encode([ino, type]),
  decode: (bytes) => {
    const [ino, type] = decode(bytes) as [number, number]
    return { ino, type }
  }
}

export const rawCodec: Codec<number, Buffer> = {
  encode: (bytes) => bytes,
  decode: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export const numberCodec: Codec<number, number> = { encode, decode: (bytes) => decode(bytes) as number }

export const xattrsCodec: Codec<number, Xattrs> = { encode, decode: (bytes) => decode(bytes) as Xattrs }

export const orphanCodec: Codec<number, string[]> = { encode, decode: (bytes) => decode(bytes) as string[] }

export const truncationCodec: Codec<number, Truncation> = {
  encode: ({ from, to }) => encode([from, to]),
  decode: (bytes) => {
    const [from, to] = decode(bytes) as [number, number]
    return { from, to }
  }
}

export const sessionCodec: Codec<string, Session> = {
  encode: ({ client, openedAt, streamed, failed, overdue }) => encode([client, openedAt, streamed, failed, overdue]),
  decode: (bytes, id) => {
    const [client, openedAt, streamed = 0, failed = [], overdue = false] = decode(bytes) as [string, bigint, number?, Session['failed']?, boolean?]
    return { id, client, openedAt, streamed, failed, overdue, nextResult: 0, results: new Map() }
  }
}

export function encodeRemembered ({ sequence, op, outcome }: Remembered): Uint8Array {
  return encode([sequence, op, outcome])
}

export function decodeRemembered (bytes: Uint8Array): Remembered {
  const [sequence, op, outcome] = decode(bytes) as [number, number, Remembered['outcome']]
  return { sequence, op, outcome }
}

export const transactionCodec: Codec<string, Transaction> = {
  encode: ({ role, state, parts, participants, coordinator, session, op, results, at }) =>
    encode([role, state, parts, participants, coordinator, session, op, results, at]),
  decode: (bytes, id) => {
    const [role, state, parts, participants, coordinator, session, op, results, at] = decode(bytes) as
      [Transaction['role'], Transaction['state'], Transaction['parts'], string[], string, string, number, Transaction['results'], bigint]
    return { id, role, state, parts, participants, coordinator, session, op, results, at }
  }
}

/** A copy for an answer: the record itself goes on changing. */
export function attrOf (inode: Inode): InodeAttr {
  const { ino, mode, nlink, uid, gid, rdev, size, extent, isInline, atime, mtime, ctime, version } = inode
  return { ino, mode, nlink, uid, gid, rdev, size, extent, isInline, atime, mtime, ctime, version }
}
