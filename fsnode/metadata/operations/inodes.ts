import { inodeNumber } from '../../../partitioning/routing.ts'
import { fileType, isDirectory, mode as modes, type Ownership } from '../../protocol/posix.ts'
import type { Inode } from '../types.ts'
import type { Context } from './context.ts'

/** The directory, or why there is none to change. */
export function directoryOf (context: Context, ino: number): Inode | string {
  const inode = context.store.inodes.get(ino)
  if (inode === undefined || inode.nlink === 0) return 'ENOENT'
  return isDirectory(inode.mode) ? inode : 'ENOTDIR'
}

export function isLocal (context: Context, ino: number): boolean {
  return Math.floor(ino / inodeNumber(1, 0)) === context.partition
}

export function newInode (context: Context, ino: number, ownership: Ownership, parent: number): Inode {
  const inode = blankInode(context.now, ino, ownership, parent)
  context.store.inodes.put(ino, inode)
  context.store.counters.inodes++
  return inode
}

export function blankInode (now: bigint, ino: number, { uid, gid, mode }: Ownership, parent: number): Inode {
  const directory = isDirectory(mode)
  return {
    ino, mode, nlink: directory ? 2 : 1, uid, gid, rdev: 0, size: 0, extent: 0, isInline: fileType(mode) === modes.regular,
    atime: now, mtime: now, ctime: now, version: 1, parent: directory ? parent : 0, entries: 0, writer: '', xattrs: 0
  }
}

export function nextInode (context: Context): number {
  return inodeNumber(context.partition, context.store.counters.nextSequence++)
}

/** The inode's attributes changed. */
export function touch (context: Context, inode: Inode): void {
  inode.ctime = context.now
  inode.version++
  context.store.inodes.put(inode.ino, inode)
}

/** The directory's names changed. */
export function touchDirectory (context: Context, directory: Inode, entries: number, links: number): void {
  directory.entries += entries
  directory.nlink += links
  directory.mtime = context.now
  touch(context, directory)
}

/** A name of a file is gone; with the last one it becomes an orphan of those who have it open, or garbage. */
export function dropLink (context: Context, inode: Inode, holders: readonly string[]): void {
  inode.nlink--
  touch(context, inode)
  if (inode.nlink > 0) return
  const alive = holders.filter((id) => context.store.sessions.get(id) !== undefined)
  if (alive.length > 0) context.store.orphans.put(inode.ino, alive)
  else destroy(context, inode)
}

/** Nothing refers to the inode any more: only its chunks are left to be removed. */
export function destroy (context: Context, inode: Inode): void {
  const { store } = context
  const { ino } = inode
  const extent = Math.max(inode.extent, store.truncations.get(ino)?.to ?? 0)
  if (extent > 0) {
    store.garbage.put(ino, extent)
    store.counters.garbage++
  }
  if (holdsContent(inode)) store.content.delete(ino)
  if (inode.xattrs > 0) store.xattrs.delete(ino)
  store.truncations.delete(ino)
  store.orphans.delete(ino)
  store.inodes.delete(ino)
  store.counters.inodes--
}

function holdsContent (inode: Inode): boolean {
  return inode.size > 0 && (inode.isInline || fileType(inode.mode) === modes.link)
}

/** Memory of its own, unless the bytes are most of what they are part of. (Buffer.from would take it from a pool of 64 KiB, and keep all of that.) */
export function detach (bytes: Buffer): Buffer {
  if (bytes.buffer.byteLength <= bytes.length * 2) return bytes
  const own = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(own)
  return own
}
