import { rootInode } from '../../../partitioning/routing.ts'
import { mode as modes } from '../../protocol/posix.ts'
import type { Outcome } from '../types.ts'
import { type Context, done } from './context.ts'
import { newInode, nextInode } from './inodes.ts'

export interface FormatArgs { mode: number, uid: number, gid: number }

/** The first leader of partition 0 makes the root directory. */
export function format (context: Context, { mode, uid, gid }: FormatArgs): Outcome {
  if (context.partition !== 0 || context.store.counters.nextSequence > 1) return done
  newInode(context, nextInode(context), { mode: modes.directory | mode, uid, gid }, rootInode)
  return done
}

export interface CollectArgs { /** What is left: everything at or beyond this byte is removed. */ left: Array<[ino: number, extent: number]> }

/** Chunks of removed files are gone. */
export function collect ({ store }: Context, { left }: CollectArgs): Outcome {
  for (const [ino, extent] of left) {
    if (store.garbage.get(ino) === undefined) continue
    if (extent > 0) {
      store.garbage.put(ino, extent)
    } else {
      store.garbage.delete(ino)
      store.counters.garbage--
    }
  }
  return done
}
