import { constants } from 'node:fs'
import { integer, invalidValue } from './arguments.ts'

export interface OpenFlags {
  read: boolean
  write: boolean
  append: boolean
  create: boolean
  exclusive: boolean
  truncate: boolean
  sync: boolean
  directory: boolean
  noFollow: boolean
}

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_SYNC, O_DSYNC, O_DIRECTORY, O_NOFOLLOW } = constants
const accessMask = O_RDONLY | O_WRONLY | O_RDWR
const int32Max = 2 ** 31 - 1

/** What each spelling of node:fs adds to the access mode; 's' and 'x' may also stand in front ('sr', 'xw+'). */
const added: Record<string, number> = {
  r: 0,
  rs: O_SYNC,
  w: O_CREAT | O_TRUNC,
  wx: O_CREAT | O_TRUNC | O_EXCL,
  a: O_CREAT | O_APPEND,
  ax: O_CREAT | O_APPEND | O_EXCL,
  as: O_CREAT | O_APPEND | O_SYNC
}

/** The strings of node:fs, or a combination of its constants. Throws as node:fs does. */
export function parseFlags (flags: string | number | null | undefined): OpenFlags {
  const bits = typeof flags === 'number' ? integer(flags, 'flags', -int32Max - 1, int32Max) : bitsOf(flags ?? 'r')
  const access = bits & accessMask
  return {
    read: access === O_RDONLY || access === O_RDWR,
    write: access === O_WRONLY || access === O_RDWR,
    append: (bits & O_APPEND) !== 0,
    create: (bits & O_CREAT) !== 0,
    exclusive: (bits & O_CREAT) !== 0 && (bits & O_EXCL) !== 0,
    truncate: (bits & O_TRUNC) !== 0,
    sync: (bits & (O_SYNC | O_DSYNC)) !== 0,
    directory: (bits & O_DIRECTORY) !== 0,
    noFollow: (bits & O_NOFOLLOW) !== 0
  }
}

function bitsOf (text: string): number {
  const [, letter = '', plus] = /^(\w+)(\+?)$/.exec(text) ?? []
  const bits = added[letter] ?? added[[...letter].reverse().join('')]
  if (bits === undefined) throw invalidValue('flags', text)
  if (plus === '+') return bits | O_RDWR
  return bits | (letter.includes('r') ? O_RDONLY : O_WRONLY)
}
