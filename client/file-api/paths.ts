import { constants } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { VolumeClient } from '../types.ts'

export type PathLike = string | Buffer | URL

export const symlinksFollowedMax = 40
export const pathBytesMax = 4096

export function pathText (path: PathLike): string {
  const text = typeof path === 'string' ? path : path instanceof URL ? fileURLToPath(path) : path.toString()
  if (text.includes('\0')) throw new TypeError('a path must not contain null bytes')
  return text
}

/** Where a path leads: its directory and last name, and the inode if it exists. */
export interface Walked {
  dir: number
  name: string
  attr: InodeAttr | null
  /** The same place without symbolic links, '.' and '..'. */
  path: string
}

export function isDirectory (attr: InodeAttr): boolean { return (attr.mode & constants.S_IFMT) === constants.S_IFDIR }
function isSymlink (attr: InodeAttr): boolean { return (attr.mode & constants.S_IFMT) === constants.S_IFLNK }

/**
 * Walks a path from the volume's root. `name` is '' for the root and for paths that end in '..'.
 * Rejects with ENOENT (a directory on the way), ENOTDIR, ELOOP, ENAMETOOLONG.
 */
export async function walk (volume: VolumeClient, path: string, followLast: boolean): Promise<Walked> {
  if (path === '') throw posixError('ENOENT')
  if (Buffer.byteLength(path) > pathBytesMax) throw posixError('ENAMETOOLONG')
  const rest = split(path)
  const mustBeDirectory = path.endsWith('/')
  let followed = 0
  let above: Array<{ ino: number, name: string }> = [{ ino: volume.root, name: '' }]
  const at = (name: string, attr: InodeAttr | null): Walked => {
    const names = [...above.slice(1).map((directory) => directory.name), ...(name === '' ? [] : [name])]
    return { dir: above.at(-1)!.ino, name, attr, path: `/${names.join('/')}` }
  }
  let last = at('', null)
  while (rest.length > 0) {
    const name = rest.shift()!
    if (name === '..') {
      if (above.length > 1) above.pop()
      last = at('', null)
      continue
    }
    const attr = await find(volume, above.at(-1)!.ino, name, rest.length > 0)
    if (attr !== null && isSymlink(attr) && (rest.length > 0 || followLast || mustBeDirectory)) {
      if (++followed > symlinksFollowedMax) throw posixError('ELOOP')
      const target = await volume.readlink(attr.ino)
      if (target.startsWith('/')) above = above.slice(0, 1)
      rest.unshift(...split(target))
      last = at('', null)
      continue
    }
    last = at(name, attr)
    if (rest.length > 0) {
      if (!isDirectory(attr!)) throw posixError('ENOTDIR')
      above.push({ ino: attr!.ino, name })
    }
  }
  if (last.name === '') last.attr = await volume.getattr(last.dir)
  if (mustBeDirectory && last.attr !== null && !isDirectory(last.attr)) throw posixError('ENOTDIR')
  return last
}

/** The inode that a path names. Rejects with ENOENT. */
export async function walkTo (volume: VolumeClient, path: string, followLast = true): Promise<InodeAttr> {
  const { attr } = await walk(volume, path, followLast)
  if (attr === null) throw posixError('ENOENT')
  return attr
}

/** The directory and name for an operation on a name itself (create, unlink, rename). */
export async function walkToName (volume: VolumeClient, path: string, whenRoot: string): Promise<Walked> {
  const walked = await walk(volume, path, false)
  if (walked.name === '') throw posixError(whenRoot)
  return walked
}

async function find (volume: VolumeClient, dir: number, name: string, mustExist: boolean): Promise<InodeAttr | null> {
  try {
    return await volume.lookup(dir, name)
  } catch (error) {
    if (!mustExist && (error as { code?: string }).code === 'ENOENT') return null
    throw error
  }
}

function split (path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}
