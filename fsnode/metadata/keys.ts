import type { KvRange } from '../protocol/ports.ts'

/**
 * The key schema: <generation, 1 byte><prefix letter, 1 byte><fields>. Integers are big endian, so that
 * keys sort by them. Two generations exist so that a restored snapshot replaces the old state
 * at once: the byte under `generationKey` says which one counts.
 */
export const keyTable = {
  applied: { prefix: 'a', fields: '', value: '[index, term]', meaning: 'the last log entry whose effects are in the store' },
  content: { prefix: 'c', fields: 'ino u64', value: 'raw bytes', meaning: 'content of an inline file, or target of a symbolic link' },
  entry: { prefix: 'd', fields: 'dir u64, name utf-8', value: '[ino, type]', meaning: 'a name in a directory' },
  garbage: { prefix: 'g', fields: 'ino u64', value: 'extent', meaning: 'chunks of a removed file, up to this byte' },
  inode: { prefix: 'i', fields: 'ino u64', value: '[mode, nlink, uid, gid, rdev, size, extent, isInline, atime, mtime, ctime, version, parent, entries, writer, xattrs]', meaning: 'an inode' },
  orphan: { prefix: 'o', fields: 'ino u64', value: '[session, ...]', meaning: 'an inode without a name that these sessions have open' },
  truncation: { prefix: 'p', fields: 'ino u64', value: '[from, to]', meaning: 'bytes still to be cut from the chunks' },
  result: { prefix: 'r', fields: 'session length u16, session utf-8, slot u16', value: '[sequence, op, outcome]', meaning: 'a remembered answer' },
  session: { prefix: 's', fields: 'session utf-8', value: '[client, openedAt, streamed, [[sequence, code], ...], overdue]', meaning: 'a client that may hold leases' },
  transaction: { prefix: 't', fields: 'id utf-8', value: '[role, state, parts, participants, coordinator, session, op, results, at]', meaning: 'an operation across partitions' },
  counters: { prefix: 'v', fields: '', value: '[nextSequence, inodes, garbage, nextTransaction]', meaning: 'counters of the partition' },
  watermark: { prefix: 'w', fields: 'coordinator index u16', value: 'sequence', meaning: 'transactions of this coordinator below it are over' },
  xattrs: { prefix: 'x', fields: 'ino u64', value: '[[name, value], ...]', meaning: 'extended attributes of an inode' }
} as const

export type TableName = keyof typeof keyTable

/** Holds one byte, the generation that counts. */
export const generationKey = Buffer.from([0xff])

export class Keys {
  readonly generation: number

  constructor (generation: number) {
    this.generation = generation
  }

  single (table: 'applied' | 'counters'): Buffer { return this.start(table, 0) }

  ofInode (table: 'content' | 'garbage' | 'inode' | 'orphan' | 'truncation' | 'xattrs', ino: number): Buffer {
    return writeInode(this.start(table, 8), ino)
  }

  entry (dir: number, name: string): Buffer {
    const key = this.start('entry', 8 + Buffer.byteLength(name))
    writeInode(key, dir)
    key.write(name, 10)
    return key
  }

  result (session: string, slot: number): Buffer {
    const length = Buffer.byteLength(session)
    const key = this.start('result', length + 4)
    key.writeUInt16BE(length, 2)
    key.write(session, 4)
    key.writeUInt16BE(slot, 4 + length)
    return key
  }

  ofText (table: 'session' | 'transaction', id: string): Buffer {
    const key = this.start(table, Buffer.byteLength(id))
    key.write(id, 2)
    return key
  }

  watermark (coordinator: number): Buffer {
    const key = this.start('watermark', 2)
    key.writeUInt16BE(coordinator, 2)
    return key
  }

  /** Every key of a table. */
  table (table: TableName): KvRange {
    const prefix = keyTable[table].prefix.charCodeAt(0)
    return { gte: Buffer.from([this.generation, prefix]), lt: Buffer.from([this.generation, prefix + 1]) }
  }

  /** The names of a directory after `after`, in order. */
  entriesAfter (dir: number, after: string): KvRange {
    return { gt: this.entry(dir, after), lt: this.entry(dir + 1, '') }
  }

  garbageAfter (ino: number): KvRange {
    return { ...this.table('garbage'), gte: this.ofInode('garbage', ino + 1) }
  }

  /** Every key of the generation. */
  everything (): KvRange {
    return { gte: Buffer.from([this.generation]), lt: Buffer.from([this.generation + 1]) }
  }

  private start (table: TableName, fieldBytes: number): Buffer {
    const key = Buffer.allocUnsafe(2 + fieldBytes)
    key[0] = this.generation
    key[1] = keyTable[table].prefix.charCodeAt(0)
    return key
  }
}

/** The inode number in a key of `ofInode` or `entry`. */
export function inodeInKey (key: Uint8Array): number {
  const view = Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  return view.readUInt32BE(2) * 0x100000000 + view.readUInt32BE(6)
}

export function nameInKey (key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8', 10)
}

/** The text in a key of `ofText`. */
export function textInKey (key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8', 2)
}

export function sessionInKey (key: Uint8Array): string {
  const view = Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  return view.toString('utf8', 4, 4 + view.readUInt16BE(2))
}

export function coordinatorInKey (key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUInt16BE(2)
}

function writeInode (key: Buffer, ino: number): Buffer {
  key.writeUInt32BE(Math.floor(ino / 0x100000000), 2)
  key.writeUInt32BE(ino % 0x100000000, 6)
  return key
}
