import { constants } from 'node:fs'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'

export const blockBytes = 512
export const ioBytesBest = 1024 * 1024
const nsPerMs = 1_000_000n

/** The kind of an inode, from its mode. */
class Kind {
  readonly #type: number

  constructor (type: number) { this.#type = type }

  isFile (): boolean { return this.#type === constants.S_IFREG }
  isDirectory (): boolean { return this.#type === constants.S_IFDIR }
  isSymbolicLink (): boolean { return this.#type === constants.S_IFLNK }
  isFIFO (): boolean { return this.#type === constants.S_IFIFO }
  isSocket (): boolean { return this.#type === constants.S_IFSOCK }
  isCharacterDevice (): boolean { return this.#type === constants.S_IFCHR }
  isBlockDevice (): boolean { return this.#type === constants.S_IFBLK }
}

/** What `stat` gives: the fields of node:fs.Stats; birthtime is not kept and shows ctime. */
export class Stats extends Kind {
  readonly dev: number
  readonly ino: number
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly size: number
  readonly blksize: number
  readonly blocks: number
  readonly atimeNs: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint

  constructor (attr: InodeAttr, dev: number) {
    super(attr.mode & constants.S_IFMT)
    this.dev = dev
    this.ino = attr.ino
    this.mode = attr.mode
    this.nlink = attr.nlink
    this.uid = attr.uid
    this.gid = attr.gid
    this.rdev = attr.rdev
    this.size = attr.size
    this.blksize = ioBytesBest
    this.blocks = Math.ceil(attr.size / blockBytes)
    this.atimeNs = attr.atime
    this.mtimeNs = attr.mtime
    this.ctimeNs = attr.ctime
  }

  get atimeMs (): number { return toMs(this.atimeNs) }
  get mtimeMs (): number { return toMs(this.mtimeNs) }
  get ctimeMs (): number { return toMs(this.ctimeNs) }
  get birthtimeMs (): number { return this.ctimeMs }
  get atime (): Date { return new Date(this.atimeMs) }
  get mtime (): Date { return new Date(this.mtimeMs) }
  get ctime (): Date { return new Date(this.ctimeMs) }
  get birthtime (): Date { return this.ctime }
}

/** An entry of a directory listing. */
export class Dirent extends Kind {
  readonly name: string
  readonly parentPath: string

  constructor (name: string, parentPath: string, type: number) {
    super(type)
    this.name = name
    this.parentPath = parentPath
  }
}

function toMs (ns: bigint): number {
  return Number(ns / nsPerMs) + Number(ns % nsPerMs) / 1e6
}

/** A time as node:fs takes it (seconds, Date or numeric string) in nanoseconds. */
export function toNs (time: number | string | Date): bigint {
  const ms = time instanceof Date ? time.getTime() : Number(time) * 1000
  if (!Number.isFinite(ms)) throw new TypeError(`'${String(time)}' is not a time`)
  const whole = Math.floor(ms)
  return BigInt(whole) * nsPerMs + BigInt(Math.round((ms - whole) * 1e6))
}
