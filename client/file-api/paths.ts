import { constants } from 'node:fs'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { isLongName } from '../../fsnode/protocol/posix.ts'
import type { VolumeClient } from '../types.ts'
import { hasCode } from './errors.ts'

/** Limits of Linux. */
export const symlinksFollowedMax = 40
export const pathBytesMax = 4095

/**
 * What a symbolic link at the end of the path stands for: 'follow': its target. 'stay': itself, unless
 * a slash follows. 'name': itself, as the name it is, for calls that make, move or remove names.
 */
export type LastLink = 'follow' | 'stay' | 'name'

/** Where a path leads. */
export interface Walked {
  /** The directory that the last name is in; the place itself when there is no name. */
  dir: number
  /** '' for the root, and for what ends in '.' or '..'. */
  name: string
  /** The last part as it is written: the name, '.', '..', or '' for the root. */
  last: string
  /** Null when nothing has the name. */
  attr: InodeAttr | null
  /** The path demands a directory. */
  hasSlash: boolean
  /** The same place without symbolic links, '.' and '..'. */
  path: string
}

/** S_IFMT bits. */
export function typeOf (attr: { mode: number }): number { return attr.mode & constants.S_IFMT }
export function isDirectory (attr: { mode: number }): boolean { return typeOf(attr) === constants.S_IFDIR }

/** Walks a path from the volume's root as Linux does. Rejects with ENOENT (for a directory on the way), ENOTDIR, ELOOP, ENAMETOOLONG. */
export async function walk (volume: VolumeClient, path: string, lastLink: LastLink): Promise<Walked> {
  if (path === '') throw posixError('ENOENT')
  if (Buffer.byteLength(path) > pathBytesMax) throw posixError('ENAMETOOLONG')
  const parts = partsOf(path)
  let hasSlash = path.endsWith('/')
  let followed = 0
  let last = ''
  const above = [{ ino: volume.root, name: '' }]
  const here = (name: string, attr: InodeAttr | null): Walked => {
    const names = above.map((directory) => directory.name).concat(name)
    return { dir: above.at(-1)!.ino, name, last, attr, hasSlash, path: names.filter((each) => each !== '').map((each) => `/${each}`).join('') || '/' }
  }
  while (parts.length > 0) {
    last = parts.shift()!
    if (last === '..' && above.length > 1) above.pop()
    if (last === '.' || last === '..') continue
    const attr = await find(volume, above.at(-1)!.ino, last)
    const isLast = parts.length === 0
    if (attr === null) {
      if (isLast) return here(last, null)
      throw posixError('ENOENT')
    }
    if (typeOf(attr) === constants.S_IFLNK && (!isLast || lastLink === 'follow' || (lastLink === 'stay' && hasSlash))) {
      if (++followed > symlinksFollowedMax) throw posixError('ELOOP')
      const target = await volume.readlink(attr.ino)
      if (target.startsWith('/')) above.length = 1
      if (isLast) hasSlash ||= target.endsWith('/')
      parts.unshift(...partsOf(target))
      last = ''
    } else if (isLast) {
      return here(last, attr)
    } else {
      if (!isDirectory(attr)) throw posixError('ENOTDIR')
      above.push({ ino: attr.ino, name: last })
    }
  }
  return here('', await volume.getattr(above.at(-1)!.ino))
}

/** The inode that a path leads to. Rejects with ENOENT too, and with ENOTDIR for a slash behind anything else than a directory. */
export async function walkTo (volume: VolumeClient, path: string, lastLink: 'follow' | 'stay' = 'follow'): Promise<Walked & { attr: InodeAttr }> {
  const walked = await walk(volume, path, lastLink)
  const { attr, hasSlash } = walked
  if (attr === null) throw posixError('ENOENT')
  if (hasSlash && !isDirectory(attr)) throw posixError('ENOTDIR')
  return { ...walked, attr }
}

/** A name that is to be made. Only a directory may be asked for with a slash behind it. */
export async function walkToNewName (volume: VolumeClient, path: string, { directory = false } = {}): Promise<Walked> {
  const walked = await walk(volume, path, 'name')
  if (walked.attr !== null) throw posixError('EEXIST')
  if (walked.hasSlash && !directory) throw posixError('ENOENT')
  return walked
}

async function find (volume: VolumeClient, dir: number, name: string): Promise<InodeAttr | null> {
  if (isLongName(name)) throw posixError('ENAMETOOLONG')
  try {
    return await volume.lookup(dir, name)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  }
}

function partsOf (path: string): string[] {
  return path.split('/').filter((part) => part !== '')
}
