import { rootInode } from '../../../partitioning/routing.ts'
import { mode as modes, nameFault, subdirectoriesMax } from '../../protocol/posix.ts'
import { depthMax } from '../constants.ts'
import type { Entry, Inode, Outcome } from '../types.ts'
import { type Context, failure } from './context.ts'
import { destroy, directoryOf, dropLink, isLocal, touch, touchDirectory } from './inodes.ts'

export const renameFlags = { noReplace: 1, exchange: 2 } as const

export interface RenameArgs {
  dir: number
  name: string
  newDir: number
  newName: string
  flags: number
  /** Sessions that have the replaced file open. */
  holders: string[]
}

/** renameat2(2) where both directories and all inodes live here, as do the new directory's ancestors if a directory moves. */
export function rename (context: Context, args: RenameArgs): Outcome {
  const { store } = context
  const { dir, name, newDir, newName, flags } = args
  const from = directoryOf(context, dir)
  if (typeof from === 'string') return failure(from)
  const to = directoryOf(context, newDir)
  if (typeof to === 'string') return failure(to)
  const entry = store.entry(dir, name)
  const target = store.entry(newDir, newName)
  const fault = renameFault(entry, target, newName, flags)
  if (fault !== null) return failure(fault)
  if (entry!.ino === target?.ino) return { ino: entry!.ino, replaced: entry!.ino } // two names of one file: nothing to do (rename(2))
  if (!isLocal(context, entry!.ino) || (target !== undefined && !isLocal(context, target.ino))) return failure('ATOLL_OTHER_PARTITION')
  if (from !== to) {
    const refusal = moveFault(context, entry!, newDir) ?? (flags === renameFlags.exchange ? moveFault(context, target!, dir) : null) ??
      parentFault(to, entry!, target)
    if (refusal !== null) return failure(refusal)
  }
  if (flags === renameFlags.exchange) return exchange(context, args, from, to, entry!, target!)
  if (target?.type === modes.directory && store.inodes.get(target.ino)!.entries > 0) return failure('ENOTEMPTY')
  return move(context, args, from, to, entry!, target)
}

/** What the names alone tell. */
export function renameFault (entry: Entry | undefined, target: Entry | undefined, newName: string, flags: number): string | null {
  if (flags !== 0 && flags !== renameFlags.noReplace && flags !== renameFlags.exchange) return 'EINVAL'
  const fault = nameFault(newName)
  if (fault !== null) return fault
  if (entry === undefined) return 'ENOENT'
  if (flags === renameFlags.exchange) return target === undefined ? 'ENOENT' : null
  if (target === undefined) return null
  if (flags === renameFlags.noReplace) return 'EEXIST'
  if (entry.ino === target.ino) return null
  if (entry.type === modes.directory) return target.type === modes.directory ? null : 'ENOTDIR'
  return target.type === modes.directory ? 'EISDIR' : null
}

/** A directory must not move into its own subtree. */
function moveFault (context: Context, { ino, type }: Entry, newParent: number): string | null {
  if (type !== modes.directory) return null
  let at = newParent
  for (let depth = 0; depth < depthMax; depth++) {
    if (at === ino) return 'EINVAL'
    if (at === rootInode) return null
    if (!isLocal(context, at)) return 'ATOLL_OTHER_PARTITION'
    at = context.store.inodes.get(at)!.parent
  }
  return 'ELOOP'
}

function parentFault (to: Inode, entry: Entry, target: Entry | undefined): string | null {
  return entry.type === modes.directory && target?.type !== modes.directory && to.nlink >= subdirectoriesMax ? 'EMLINK' : null
}

function move (context: Context, { dir, name, newDir, newName, holders }: RenameArgs, from: Inode, to: Inode, entry: Entry, target: Entry | undefined): Outcome {
  const { store } = context
  const links = entry.type === modes.directory ? 1 : 0
  store.entries.delete(`${dir}/${name}`)
  store.entries.put(`${newDir}/${newName}`, entry)
  touchDirectory(context, from, -1, -links)
  touchDirectory(context, to, target === undefined ? 1 : 0, links - (target?.type === modes.directory ? 1 : 0))
  reparent(context, entry, newDir)
  if (target === undefined) return { ino: entry.ino }
  const replaced = store.inodes.get(target.ino)!
  if (target.type === modes.directory) destroy(context, replaced)
  else dropLink(context, replaced, holders)
  return { ino: entry.ino, replaced: target.ino }
}

function exchange (context: Context, { dir, name, newDir, newName }: RenameArgs, from: Inode, to: Inode, entry: Entry, target: Entry): Outcome {
  const { store } = context
  const links = (entry.type === modes.directory ? 1 : 0) - (target.type === modes.directory ? 1 : 0)
  store.entries.put(`${dir}/${name}`, target)
  store.entries.put(`${newDir}/${newName}`, entry)
  touchDirectory(context, from, 0, -links)
  touchDirectory(context, to, 0, links)
  reparent(context, entry, newDir)
  reparent(context, target, dir)
  return { ino: entry.ino, replaced: target.ino }
}

function reparent (context: Context, { ino, type }: Entry, parent: number): void {
  const inode = context.store.inodes.get(ino)!
  if (type === modes.directory) inode.parent = parent
  touch(context, inode)
}
