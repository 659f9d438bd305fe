import { mode as modes, type Ownership } from '../../protocol/posix.ts'
import type { Inode, Outcome } from '../types.ts'
import { type Context, failure } from './context.ts'
import { destroy, directoryOf, dropLink, isLocal, newInode, nextInode, touchDirectory } from './inodes.ts'

export interface UnlinkArgs {
  dir: number
  name: string
  /** Sessions that have the file open. */
  holders: string[]
}

export interface RmdirArgs { dir: number, name: string }

/** unlink(2) of a name whose inode lives here. */
export function unlink (context: Context, { dir, name, holders }: UnlinkArgs): Outcome {
  const { store } = context
  const directory = directoryOf(context, dir)
  if (typeof directory === 'string') return failure(directory)
  const entry = store.entry(dir, name)
  if (entry === undefined) return failure('ENOENT')
  if (entry.type === modes.directory) return failure('EISDIR')
  if (!isLocal(context, entry.ino)) return failure('ATOLL_OTHER_PARTITION')
  const inode = store.inodes.get(entry.ino)!
  store.entries.delete(`${dir}/${name}`)
  touchDirectory(context, directory, -1, 0)
  dropLink(context, inode, holders)
  return { ino: entry.ino }
}

/** rmdir(2) of a directory whose inode lives here. */
export function rmdir (context: Context, { dir, name }: RmdirArgs): Outcome {
  const { store } = context
  const directory = directoryOf(context, dir)
  if (typeof directory === 'string') return failure(directory)
  const entry = store.entry(dir, name)
  if (entry === undefined) return failure('ENOENT')
  if (entry.type !== modes.directory) return failure('ENOTDIR')
  if (!isLocal(context, entry.ino)) return failure('ATOLL_OTHER_PARTITION')
  const child = store.inodes.get(entry.ino)!
  if (child.entries > 0) return failure('ENOTEMPTY')
  store.entries.delete(`${dir}/${name}`)
  destroy(context, child)
  touchDirectory(context, directory, -1, -1)
  return { ino: entry.ino }
}

export interface HoldArgs extends Ownership { ino: number }

/** A session has a regular file open whose last name is gone: it made it, and was not told before. */
export function hold (context: Context, { ino, ...ownership }: HoldArgs): Outcome {
  const { store, session } = context
  const inode = store.inodes.get(ino) ?? revive(context, ino, ownership)
  const holders = store.orphans.get(inode.ino) ?? []
  if (inode.nlink === 0 && !holders.includes(session!.id)) store.orphans.put(inode.ino, [...holders, session!.id].sort())
  return { ino: inode.ino }
}

/** Chunks that are being removed must not be those of a file that is written. */
function revive (context: Context, ino: number, ownership: Ownership): Inode {
  const number = context.store.garbage.get(ino) === undefined ? ino : nextInode(context)
  const inode = newInode(context, number, ownership, 0)
  inode.nlink = 0
  return inode
}

export interface ForgetArgs { ino: number }

/** A session no longer has an orphan open. */
export function forget (context: Context, { ino }: ForgetArgs): Outcome {
  releaseOrphan(context, ino, context.session!.id)
  return { ino }
}

export function releaseOrphan (context: Context, ino: number, session: string): void {
  const { store } = context
  const holders = store.orphans.get(ino)
  if (holders === undefined || !holders.includes(session)) return
  const left = holders.filter((id) => id !== session)
  if (left.length > 0) store.orphans.put(ino, left)
  else destroy(context, store.inodes.get(ino)!)
}

