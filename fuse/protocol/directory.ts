import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { alignTo8, writeU64 } from './bytes.ts'
import { FUSE_ENTRY_OUT_SIZE, FUSE_NAME_OFFSET, FUSE_NAME_OFFSET_DIRENTPLUS } from './constants.ts'
import { encodeEntryOut, type Timeouts } from './reply.ts'

/** One record of a listing. */
export interface Dirent {
  name: string
  ino: number
  /** S_IFMT bits; the record carries their upper four as DT_*. */
  type: number
  /** Where a listing resumes behind this entry. */
  cookie: number
  /** For READDIRPLUS: adds a lookup to the node. Without it the kernel looks the name up itself. */
  attr?: InodeAttr
}

/** Packs records of READDIR or READDIRPLUS into a buffer, whole ones only. */
export class DirentPacker {
  private readonly buffer: Buffer
  private readonly plus: boolean
  private readonly timeouts: Timeouts
  private used = 0

  constructor (buffer: Buffer, plus: boolean, timeouts: Timeouts) {
    this.buffer = buffer
    this.plus = plus
    this.timeouts = timeouts
  }

  /** False when the record does not fit: then nothing was written. */
  add (dirent: Dirent): boolean {
    const nameBytes = Buffer.byteLength(dirent.name)
    const header = this.plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET
    const end = this.used + alignTo8(header + nameBytes)
    if (end > this.buffer.length) return false
    let at = this.used
    if (this.plus) {
      if (dirent.attr === undefined) this.buffer.fill(0, at, at + FUSE_ENTRY_OUT_SIZE)
      else encodeEntryOut(this.buffer, at, dirent.attr, this.timeouts)
      at += FUSE_ENTRY_OUT_SIZE
    }
    writeU64(this.buffer, dirent.ino, at)
    writeU64(this.buffer, dirent.cookie, at + 8)
    this.buffer.writeUInt32LE(nameBytes, at + 16)
    this.buffer.writeUInt32LE((dirent.type >>> 12) & 0xf, at + 20)
    const nameEnd = at + FUSE_NAME_OFFSET + this.buffer.write(dirent.name, at + FUSE_NAME_OFFSET, 'utf8')
    this.buffer.fill(0, nameEnd, end)
    this.used = end
    return true
  }

  packed (): Buffer { return this.buffer.subarray(0, this.used) }
}
