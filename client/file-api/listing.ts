import { constants, type Dirent } from 'node:fs'
import { join } from 'node:path/posix'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { DirectoryEntry } from '../../fsnode/protocol/metadata.ts'
import type { VolumeClient } from '../types.ts'
import { encoded, type CommonOptions } from './arguments.ts'
import { inSyscall } from './errors.ts'
import { isDirectory, walkTo } from './paths.ts'
import { direntOf } from './stats.ts'

export const directoryPageEntries = 1000

export interface ListingOptions extends CommonOptions { withFileTypes?: boolean, recursive?: boolean }

/** The entries of a directory, a page at a time. Errors are those of scandir on `path`. */
export async function * entriesOf (volume: VolumeClient, ino: number, path: string): AsyncGenerator<DirectoryEntry> {
  for (let after = '', done = false; !done;) {
    const page = await inSyscall('scandir', path, () => volume.readdir(ino, after, directoryPageEntries))
    yield * page.entries
    after = page.entries.at(-1)?.name ?? after
    done = page.done || page.entries.length === 0
  }
}

/** The directory that a path leads to. Rejects with ENOTDIR. */
export async function directoryAt (volume: VolumeClient, path: string): Promise<number> {
  const { attr } = await walkTo(volume, path)
  if (!isDirectory(attr)) throw posixError('ENOTDIR')
  return attr.ino
}

/** `readdir`. In a recursive listing without types, links to directories are followed, as node:fs does. */
export async function list (volume: VolumeClient, path: string, options: ListingOptions): Promise<Array<string | Buffer | Dirent>> {
  const { withFileTypes = false, recursive = false } = options
  const found: Array<string | Buffer | Dirent> = []
  const waiting = [{ ino: await inSyscall('scandir', path, () => directoryAt(volume, path)), below: '' }]
  for (let dir = waiting.pop(); dir !== undefined; dir = waiting.pop()) {
    const here = dir.below === '' ? path : join(path, dir.below)
    for await (const entry of entriesOf(volume, dir.ino, here)) {
      const below = dir.below === '' ? entry.name : `${dir.below}/${entry.name}`
      found.push(withFileTypes ? direntOf(encoded(entry.name, options), here, entry.type) : encoded(below, options))
      if (!recursive) continue
      const ino = await subdirectory(volume, entry, withFileTypes ? null : `${path}/${below}`)
      if (ino !== null) waiting.push({ ino, below })
    }
  }
  return found
}

/** @param followed Where the entry is, if links to directories count. */
async function subdirectory (volume: VolumeClient, { ino, type }: DirectoryEntry, followed: string | null): Promise<number | null> {
  if (type === constants.S_IFDIR) return ino
  if (type !== constants.S_IFLNK || followed === null) return null
  return directoryAt(volume, followed).catch(() => null)
}
