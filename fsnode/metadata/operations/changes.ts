import { inodesOf, unpackChanges, type Change } from '../../protocol/changes.ts'
import { inodeNumber } from '../../../partitioning/routing.ts'
import { failedChangesKept } from '../constants.ts'
import type { Outcome } from '../types.ts'
import { setattr } from './attributes.ts'
import { commit, extent } from './content.ts'
import { type Context, failure } from './context.ts'
import { create } from './create.ts'
import { isLocal } from './inodes.ts'
import { link } from './link.ts'
import { rmdir, unlink } from './remove.ts'
import { rename } from './rename.ts'

export interface ChangesArgs {
  /** Sequence of the first change among the session's. */
  first: number
  /** As `packChanges` makes it. */
  changes: Buffer
  /** Sessions that have an inode open which loses its last name: [ino, sessions]. */
  holders: Array<[ino: number, sessions: string[]]>
}

/**
 * What the holder of exclusive leases has decided by itself, in its order. A session's changes are numbered from 1 without
 * a gap: those up to `streamed` have happened. One that fails leaves those after it as they are: its client is told.
 */
export function changes (context: Context, { first, changes: packed, holders }: ChangesArgs): Outcome {
  const { store } = context
  const session = context.session!
  if (first > session.streamed + 1) return failure('ATOLL_OUT_OF_ORDER')
  const list = unpackChanges(packed)
  const proposed = context.now
  for (let index = Math.max(0, session.streamed + 1 - first); index < list.length; index++) {
    const { code } = applyChange(context, list[index]!, holders)
    if (code !== undefined) session.failed = [...session.failed, [first + index, code] as [number, string]].slice(-failedChangesKept)
  }
  context.now = proposed
  const last = first + list.length - 1
  session.streamed = Math.max(session.streamed, last)
  store.putSession(session)
  return { failed: session.failed.filter(([sequence]) => sequence >= first && sequence <= last) }
}

function applyChange (context: Context, change: Change, holders: ChangesArgs['holders']): Outcome {
  const { held, made } = inodesOf(change)
  if (made !== 0 && !isUnused(context, made)) return failure('EEXIST')
  for (const ino of held) if (!isLocal(context, ino)) return failure('EXDEV')
  context.now = change[1]
  switch (change[0]) {
    case 'create': {
      const [, , dir, name, ino, mode, uid, gid, rdev, symlink] = change
      return create(context, { dir, name, ino, mode, uid, gid, rdev, exclusive: true, ...(symlink !== null && { symlink }) })
    }
    case 'unlink': {
      const [, , dir, name, ino] = change
      return isNamed(context, dir, name, ino) ? unlink(context, { dir, name, holders: holdersOf(holders, ino) }) : failure('ENOENT')
    }
    case 'rmdir': {
      const [, , dir, name, ino] = change
      return isNamed(context, dir, name, ino) ? rmdir(context, { dir, name }) : failure('ENOENT')
    }
    case 'rename': {
      const [, , dir, name, newDir, newName, ino, replaced] = change
      if (!isNamed(context, dir, name, ino) || !isNamed(context, newDir, newName, replaced)) return failure('ENOENT')
      return rename(context, { dir, name, newDir, newName, flags: 0, holders: holdersOf(holders, replaced) })
    }
    case 'link': return link(context, { dir: change[2], name: change[3], ino: change[4] })
    case 'setattr': {
      const [, , ino, mode, uid, gid, atime, mtime] = change
      return setattr(context, { ino, mode: mode ?? undefined, uid: uid ?? undefined, gid: gid ?? undefined, atime: atime ?? undefined, mtime: mtime ?? undefined })
    }
    case 'extent': return extent(context, { ino: change[2], extent: change[3] })
    case 'commit': {
      const [, , ino, size, mtime, data] = change
      return commit(context, data === null ? { ino, size, mtime } : { ino, size, mtime, data })
    }
  }
}

/** `ino` 0: the name must be free. */
function isNamed ({ store }: Context, dir: number, name: string, ino: number): boolean {
  return (store.entry(dir, name)?.ino ?? 0) === ino
}

/** A number that was given out and is nobody's. */
function isUnused (context: Context, ino: number): boolean {
  const { store, partition } = context
  return isLocal(context, ino) && ino < inodeNumber(partition, store.counters.nextSequence) &&
    store.inodes.get(ino) === undefined && store.garbage.get(ino) === undefined
}

function holdersOf (holders: ChangesArgs['holders'], ino: number): string[] {
  return holders.find(([other]) => other === ino)?.[1] ?? []
}

export interface AllocateInodesArgs { count: number }

/** Inode numbers for a session to give to what it makes: `count` of them from `ino` on. Those that it does not use are nobody's. */
export function allocateInodes ({ store, partition }: Context, { count }: AllocateInodesArgs): Outcome {
  const ino = inodeNumber(partition, store.counters.nextSequence)
  store.counters.nextSequence += count
  return { ino }
}
