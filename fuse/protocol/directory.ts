import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { alignTo8, putU32, putU64, wordsOf } from './bytes.ts'
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

/** Packs records of READDIR or READDIRPLUS into a buffer that begins at a multiple of 4, whole ones only. */
export class DirentPacker {
  private readonly buffer: Buffer
  private readonly words: Uint32Array
  private readonly plus: boolean
  private readonly timeouts: Timeouts
  private used = 0

  constructor (buffer: Buffer, plus: boolean, timeouts: Timeouts) {
    this.buffer = buffer
    this.words = wordsOf(buffer)
    this.plus = plus
    this.timeouts = timeouts
  }

  /** False when the record does not fit: then nothing was written. */
  add (dirent: Dirent): boolean {
    const nameBytes = Buffer.byteLength(dirent.name)
    const header = this.plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET
    const end = this.used + alignTo8(header + nameBytes)
    if (end > this.buffer.length) return false
    const { words } = this
    let at = this.used
    if (this.plus) {
      if (dirent.attr === undefined) words.fill(0, at >>> 2, (at + FUSE_ENTRY_OUT_SIZE) >>> 2)
      else encodeEntryOut(words, at, dirent.attr, this.timeouts)
      at += FUSE_ENTRY_OUT_SIZE
    }
    // What the name leaves of the last eight bytes stays zero.
    putU64(words, 0, end - 8)
    putU64(words, dirent.ino, at)
    putU64(words, dirent.cookie, at + 8)
    putU32(words, nameBytes, at + 16)
    putU32(words, (dirent.type >>> 12) & 0xf, at + 20)
    this.buffer.write(dirent.name, at + FUSE_NAME_OFFSET, 'utf8')
    this.used = end
    return true
  }

  packed (): Buffer { return this.buffer.subarray(0, this.used) }
}
