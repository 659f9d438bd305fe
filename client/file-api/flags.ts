import { constants } from 'node:fs'

export interface OpenFlags { read: boolean, write: boolean, append: boolean, create: boolean, exclusive: boolean, truncate: boolean, sync: boolean, directory: boolean, noFollow: boolean }

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_SYNC, O_DIRECTORY, O_NOFOLLOW, O_ACCMODE = 3 } = constants as typeof constants & { O_ACCMODE?: number }

/** The same strings as node:fs; numbers are combinations of its constants. */
const numbers: Record<string, number> = {
  r: O_RDONLY,
  rs: O_RDONLY | O_SYNC,
  'r+': O_RDWR,
  'rs+': O_RDWR | O_SYNC,
  w: O_WRONLY | O_CREAT | O_TRUNC,
  wx: O_WRONLY | O_CREAT | O_TRUNC | O_EXCL,
  'w+': O_RDWR | O_CREAT | O_TRUNC,
  'wx+': O_RDWR | O_CREAT | O_TRUNC | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND,
  ax: O_WRONLY | O_CREAT | O_APPEND | O_EXCL,
  as: O_WRONLY | O_CREAT | O_APPEND | O_SYNC,
  'a+': O_RDWR | O_CREAT | O_APPEND,
  'ax+': O_RDWR | O_CREAT | O_APPEND | O_EXCL,
  'as+': O_RDWR | O_CREAT | O_APPEND | O_SYNC
}

/** @throws TypeError for what node:fs would not take either. */
export function parseFlags (flags: string | number): OpenFlags {
  const bits = typeof flags === 'number' ? flags : numbers[flags]
  if (bits === undefined) throw new TypeError(`The argument 'flags' is invalid. Received '${flags}'`)
  const access = bits & O_ACCMODE
  return {
    read: access === O_RDONLY || access === O_RDWR,
    write: access === O_WRONLY || access === O_RDWR,
    append: (bits & O_APPEND) !== 0,
    create: (bits & O_CREAT) !== 0,
    exclusive: (bits & O_EXCL) !== 0,
    truncate: (bits & O_TRUNC) !== 0,
    sync: (bits & O_SYNC) === O_SYNC,
    directory: (bits & O_DIRECTORY) !== 0,
    noFollow: (bits & O_NOFOLLOW) !== 0
  }
}
