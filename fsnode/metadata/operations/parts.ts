import { isDirectory, nameFault, subdirectoriesMax } from '../../protocol/posix.ts'
import { attrOf } from '../records.ts'
import type { Inode, Part, PartResult } from '../types.ts'
import type { Context } from './context.ts'
import { blankInode, destroy, directoryOf, dropLink, newInode, nextInode, touch, touchDirectory } from './inodes.ts'
import { linkFault } from './link.ts'

/**
 * The shares of operations across partitions. A part is checked when it is prepared; from then on the leader lets
 * nobody change what it depends on, so that it can be carried out whenever the decision comes.
 */

/** Why the part cannot be carried out. ATOLL_CHANGED: the coordinator planned on what is no longer so. */
export function partFault (context: Context, part: Part): string | null {
  const { store } = context
  switch (part.kind) {
    case 'insert':
    case 'remove': {
      const fault = nameFault(part.name)
      if (fault !== null) return fault
      const directory = directoryOf(context, part.dir)
      if (typeof directory === 'string') return directory
      if ((store.entry(part.dir, part.name)?.ino ?? null) !== part.expect) return 'ATOLL_CHANGED'
      return part.links > 0 && directory.nlink >= subdirectoriesMax ? 'EMLINK' : null
    }
    case 'links': {
      const inode = store.inodes.get(part.ino)
      if (part.change === 1) return linkFault(inode)
      return inode === undefined || inode.nlink === 0 ? 'ATOLL_CHANGED' : null
    }
    case 'remove-directory': {
      const directory = store.inodes.get(part.ino)
      if (directory === undefined || !isDirectory(directory.mode)) return 'ATOLL_CHANGED'
      return directory.entries > 0 ? 'ENOTEMPTY' : null
    }
    case 'move':
      return store.inodes.get(part.ino) === undefined ? 'ATOLL_CHANGED' : null
    case 'create':
    case 'tree':
      return null
  }
}

/** Completes the part and tells what its inode will be. */
export function preparePart (context: Context, part: Part): PartResult {
  const { store, now } = context
  switch (part.kind) {
    case 'create':
      part.ino = nextInode(context)
      return { attr: attrOf(blankInode(now, part.ino, part, part.parent)) }
    case 'links': {
      const inode = store.inodes.get(part.ino)!
      const isLast = inode.nlink + part.change === 0
      if (isLast && !part.holders.some((id) => store.sessions.get(id) !== undefined)) return { attr: null }
      return { attr: { ...attrOf(inode), nlink: inode.nlink + part.change, ctime: now, version: inode.version + 1 } }
    }
    case 'move': {
      const inode = store.inodes.get(part.ino)!
      return { attr: { ...attrOf(inode), ctime: now, version: inode.version + 1 } }
    }
    case 'remove-directory':
      return { attr: null }
    default:
      return {}
  }
}

/** Carries the part out. `at` is when it was prepared: the time that was promised for its inode. */
export function executePart (context: Context, part: Part, at: bigint): void {
  const { store } = context
  switch (part.kind) {
    case 'insert': {
      store.entries.put(`${part.dir}/${part.name}`, { ino: part.ino, type: part.type })
      touchDirectory(context, store.inodes.get(part.dir)!, part.expect === null ? 1 : 0, part.links)
      return
    }
    case 'remove':
      store.entries.delete(`${part.dir}/${part.name}`)
      touchDirectory(context, store.inodes.get(part.dir)!, -1, part.links)
      return
    case 'tree':
      return
    default:
      executeOnInode(context, part, at)
  }
}

function executeOnInode (context: Context, part: Exclude<Part, { kind: 'insert' | 'remove' | 'tree' }>, at: bigint): void {
  const { store, now } = context
  context.now = at
  if (part.kind === 'create') newInode(context, part.ino, part, part.parent)
  else changeInode(context, part, store.inodes.get(part.ino)!)
  context.now = now
}

function changeInode (context: Context, part: Exclude<Part, { kind: 'insert' | 'remove' | 'tree' | 'create' }>, inode: Inode): void {
  switch (part.kind) {
    case 'links':
      if (part.change === -1) {
        dropLink(context, inode, part.holders)
      } else {
        inode.nlink++
        touch(context, inode)
      }
      return
    case 'remove-directory':
      destroy(context, inode)
      return
    case 'move':
      if (part.parent !== null) inode.parent = part.parent
      touch(context, inode)
  }
}
