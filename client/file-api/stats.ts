import { constants, Dirent as NodeDirent, Stats as NodeStats, statSync, type BigIntStats, type BigIntStatsFs, type Dirent, type Stats, type StatsFs } from 'node:fs'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { StatFs } from '../types.ts'
import { invalidType } from './arguments.ts'

export const blockBytes = 512
/** What `blksize` advises. */
export const ioBytesBest = 1024 * 1024
/** What statfs(2) says of a mount, too: FUSE_SUPER_MAGIC. */
export const fileSystemType = 0x65735546

const nsPerMs = 1_000_000n
const nsPerSecond = 1_000_000_000n

/** Their types leave these out. */
const uv = constants as unknown as Record<`UV_DIRENT_${'FILE' | 'DIR' | 'LINK' | 'FIFO' | 'SOCKET' | 'CHAR' | 'BLOCK' | 'UNKNOWN'}`, number>
const direntTypes = new Map([
  [constants.S_IFREG, uv.UV_DIRENT_FILE], [constants.S_IFDIR, uv.UV_DIRENT_DIR], [constants.S_IFLNK, uv.UV_DIRENT_LINK],
  [constants.S_IFIFO, uv.UV_DIRENT_FIFO], [constants.S_IFSOCK, uv.UV_DIRENT_SOCKET], [constants.S_IFCHR, uv.UV_DIRENT_CHAR],
  [constants.S_IFBLK, uv.UV_DIRENT_BLOCK]
])

/** Node's class takes the entry's name, type and directory; its types do not tell. */
const DirentOf = NodeDirent as unknown as new (name: string | Buffer, type: number, parentPath: string) => Dirent

/** @param type S_IFMT bits. */
export function direntOf (name: string | Buffer, parentPath: string, type: number): Dirent {
  return new DirentOf(name, direntTypes.get(type) ?? uv.UV_DIRENT_UNKNOWN, parentPath)
}

export interface BigintOption { bigint?: boolean }

/** Attributes as node:fs shows them, in objects of its classes. A birth time is not kept: ctime stands in. */
export function statsOf (attr: InodeAttr, dev: number, { bigint = false }: BigintOption = {}): Stats | BigIntStats {
  const { mode, nlink, uid, gid, rdev, ino, size, atime, mtime, ctime } = attr
  const numbers = { dev, mode, nlink, uid, gid, rdev, blksize: ioBytesBest, ino, size, blocks: Math.ceil(size / blockBytes) }
  if (!bigint) {
    const times = { atimeMs: toMs(atime), mtimeMs: toMs(mtime), ctimeMs: toMs(ctime), birthtimeMs: toMs(ctime) }
    return Object.assign(Object.create(NodeStats.prototype), numbers, times)
  }
  const timesMs = { atimeMs: atime / nsPerMs, mtimeMs: mtime / nsPerMs, ctimeMs: ctime / nsPerMs, birthtimeMs: ctime / nsPerMs }
  const timesNs = { atimeNs: atime, mtimeNs: mtime, ctimeNs: ctime, birthtimeNs: ctime }
  return Object.assign(Object.create(bigIntStatsPrototype()), toBigInts(numbers), timesMs, timesNs)
}

export function statFsOf (told: StatFs, { bigint = false }: BigintOption = {}): StatsFs | BigIntStatsFs {
  const { blockSize, blocks, blocksFree, blocksAvailable, files, filesFree } = told
  const numbers = { type: fileSystemType, bsize: blockSize, frsize: blockSize, blocks, bfree: blocksFree, bavail: blocksAvailable, files, ffree: filesFree }
  return bigint ? toBigInts(numbers) : numbers
}

/** A time as node:fs takes it: seconds, their text, or a Date. Negative numbers mean now, as there. */
export function timeNs (time: unknown): bigint | 'now' {
  if (typeof time === 'number' && Number.isFinite(time)) return time < 0 ? 'now' : secondsToNs(time)
  if (time instanceof Date) return secondsToNs(time.getTime() / 1000)
  // The comparison of node:fs: text that is the number it says.
  if (typeof time === 'string' && +time == (time as unknown)) return secondsToNs(+time)
  throw invalidType('time', 'an instance of Date or a time in seconds', time)
}

/** The arithmetic of libuv, so that a time reads back the same from either. */
function secondsToNs (seconds: number): bigint | 'now' {
  if (!Number.isFinite(seconds)) return 'now'
  const whole = Math.trunc(seconds)
  return BigInt(whole) * nsPerSecond + BigInt(Math.trunc((seconds - whole) * 1e9))
}

function toMs (ns: bigint): number {
  const rest = ((ns % nsPerSecond) + nsPerSecond) % nsPerSecond
  return Number((ns - rest) / nsPerSecond) * 1e3 + Number(rest) / 1e6
}

function toBigInts<K extends string> (numbers: Record<K, number>): Record<K, bigint> {
  return Object.fromEntries(Object.entries<number>(numbers).map(([name, value]) => [name, BigInt(value)])) as Record<K, bigint>
}

let bigIntStats: object | undefined

/** Node exports this class only through its objects. */
function bigIntStatsPrototype (): object {
  bigIntStats ??= Object.getPrototypeOf(statSync('/', { bigint: true })) as object
  return bigIntStats
}
