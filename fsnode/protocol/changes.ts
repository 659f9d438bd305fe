import { decode, encode } from './frame.ts'
import { AtollError } from './errors.ts'

/**
 * Changes of names and inodes that the holder of exclusive leases has decided by itself and sends behind
 * ('meta.changes'). Each is encoded once, by the client: the same bytes lie in its journal, travel in the request
 * and stand in the log. `at`: when it happened, wall clock, ns. `null`: left as it is.
 */
export type Change =
  | [kind: 'create', at: bigint, dir: number, name: string, ino: number, mode: number, uid: number, gid: number, rdev: number, symlink: string | null]
  | [kind: 'unlink', at: bigint, dir: number, name: string, ino: number]
  | [kind: 'rmdir', at: bigint, dir: number, name: string, ino: number]
  /** `replaced`: 0 when the new name was free. */
  | [kind: 'rename', at: bigint, dir: number, name: string, newDir: number, newName: string, ino: number, replaced: number]
  | [kind: 'link', at: bigint, dir: number, name: string, ino: number]
  | [kind: 'setattr', at: bigint, ino: number, mode: number | null, uid: number | null, gid: number | null, atime: bigint | null, mtime: bigint | null]
  /** Chunks below `extent` may be written from now on. */
  | [kind: 'extent', at: bigint, ino: number, extent: number]
  /** `data`: the whole content of a small file; null: it is in chunks. */
  | [kind: 'commit', at: bigint, ino: number, size: number, mtime: bigint, data: Buffer | null]

/** Changes in one request. */
export const changesPerRequestMax = 512

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isCount: Check = (value) => Number.isSafeInteger(value) && value as number >= 0
const isUnsigned32: Check = (value) => isCount(value) && value as number <= 0xffffffff
const isTime: Check = (value) => typeof value === 'bigint' && value >= -(2n ** 63n) && value < 2n ** 63n
const isBytes: Check = (value) => Buffer.isBuffer(value)
const orNull = (check: Check): Check => (value) => value === null || check(value)

const fields: Record<Change[0], Check[]> = {
  create: [isTime, isCount, isText, isCount, isUnsigned32, isUnsigned32, isUnsigned32, isUnsigned32, orNull(isText)],
  unlink: [isTime, isCount, isText, isCount],
  rmdir: [isTime, isCount, isText, isCount],
  rename: [isTime, isCount, isText, isCount, isText, isCount, isCount],
  link: [isTime, isCount, isText, isCount],
  setattr: [isTime, isCount, orNull(isUnsigned32), orNull(isUnsigned32), orNull(isUnsigned32), orNull(isTime), orNull(isTime)],
  extent: [isTime, isCount, isCount],
  commit: [isTime, isCount, isCount, isTime, orNull(isBytes)]
}

export function encodeChange (change: Change): Buffer { return encode(change) }

/** What a request carries: its changes one after the other, each behind its length (u32). */
export function packChanges (changes: readonly Buffer[]): Buffer {
  const packed = Buffer.allocUnsafe(changes.reduce((sum, { length }) => sum + 4 + length, 0))
  let at = 0
  for (const change of changes) {
    at = packed.writeUInt32LE(change.length, at)
    at += change.copy(packed, at)
  }
  return packed
}

/** @throws AtollError ATOLL_BAD_MESSAGE */
export function unpackChanges (packed: Buffer): Change[] {
  const changes: Change[] = []
  for (let at = 0; at < packed.length;) {
    const length = at + 4 <= packed.length ? packed.readUInt32LE(at) : Infinity
    at += 4
    if (at + length > packed.length || changes.length >= changesPerRequestMax) throw badChange()
    changes.push(decodeChange(packed.subarray(at, at + length)))
    at += length
  }
  return changes
}

/** @throws AtollError ATOLL_BAD_MESSAGE */
export function decodeChange (bytes: Buffer): Change {
  let change: unknown
  try {
    change = decode(bytes)
  } catch {
    throw badChange()
  }
  if (!Array.isArray(change) || !isText(change[0]) || !Object.hasOwn(fields, change[0])) throw badChange()
  const checks = fields[change[0] as Change[0]]
  if (change.length !== checks.length + 1) throw badChange()
  for (let index = 0; index < checks.length; index++) if (!checks[index]!(change[index + 1])) throw badChange()
  return change as Change
}

/** The inodes that must be held exclusively for the change, and the one that it makes, or 0. */
export function inodesOf (change: Change): { held: number[], made: number } {
  switch (change[0]) {
    case 'create': return { held: [change[2]], made: change[4] }
    case 'unlink': case 'rmdir': case 'link': return { held: [change[2], change[4]], made: 0 }
    case 'rename': return { held: change[7] === 0 ? [change[2], change[4], change[6]] : [change[2], change[4], change[6], change[7]], made: 0 }
    case 'setattr': case 'extent': case 'commit': return { held: [change[2]], made: 0 }
  }
}

/** The inode that loses a name, or 0. */
export function removedBy (change: Change): number {
  switch (change[0]) {
    case 'unlink': case 'rmdir': return change[4]
    case 'rename': return change[7]
    default: return 0
  }
}

function badChange (): AtollError { return new AtollError('ATOLL_BAD_MESSAGE', 'these are no changes') }
