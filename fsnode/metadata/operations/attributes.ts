import { afterChangeOfOwner, fileType, isDirectory, isRegular, mode as modes } from '../../protocol/posix.ts'
import { fileSizeBytesMax } from '../constants.ts'
import type { Inode, Outcome } from '../types.ts'
import { type Context, done, failure } from './context.ts'
import { touch } from './inodes.ts'

export interface SetattrArgs {
  ino: number
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atime?: bigint
  mtime?: bigint
  /** The leader has written the inline content to chunk 0: it may leave the inode record. */
  moved?: boolean
}

/** chmod(2), chown(2), utimensat(2), truncate(2). A cut of chunks stays recorded until `endTruncation`. */
export function setattr (context: Context, args: SetattrArgs): Outcome {
  const inode = context.store.inodes.get(args.ino)
  if (inode === undefined) return failure('ENOENT')
  if (args.size !== undefined) {
    const refusal = resize(context, inode, args.size, args.moved === true)
    if (refusal !== null) return failure(refusal)
    inode.mtime = context.now
  }
  setOwner(inode, args)
  if (args.mode !== undefined) inode.mode = fileType(inode.mode) | (args.mode & modes.permissions)
  if (args.atime !== undefined) inode.atime = args.atime
  if (args.mtime !== undefined) inode.mtime = args.mtime
  touch(context, inode)
  return { ino: inode.ino }
}

function setOwner (inode: Inode, { uid, gid }: SetattrArgs): void {
  if (uid === undefined && gid === undefined) return
  inode.uid = uid ?? inode.uid
  inode.gid = gid ?? inode.gid
  inode.mode = afterChangeOfOwner(inode.mode)
}

function resize (context: Context, inode: Inode, size: number, moved: boolean): string | null {
  if (isDirectory(inode.mode)) return 'EISDIR'
  if (!isRegular(inode.mode) || !Number.isInteger(size) || size < 0) return 'EINVAL'
  if (size > fileSizeBytesMax) return 'EFBIG'
  if (inode.isInline) return resizeInline(context, inode, size, moved)
  if (size <= inode.size && inode.extent > size) context.store.truncations.put(inode.ino, { from: size, to: inode.extent })
  inode.size = size
  return null
}

/** An inline file that grows too big for its record becomes a chunked one; content it has must be in a chunk first. */
function resizeInline ({ store, inlineBytesMax }: Context, inode: Inode, size: number, moved: boolean): string | null {
  const content = inode.size === 0 ? null : store.content.get(inode.ino)!
  if (size > inlineBytesMax) {
    if (content !== null && !moved) return 'ATOLL_CONTENT_INLINE'
    if (content !== null) store.content.delete(inode.ino)
    inode.isInline = false
  } else if (size === 0) {
    if (content !== null) store.content.delete(inode.ino)
  } else {
    const resized = Buffer.alloc(size)
    content?.copy(resized)
    store.content.put(inode.ino, resized)
  }
  inode.size = size
  return null
}

export interface BeginTruncationArgs { ino: number }

/** Records that what lies beyond the file's size is to be cut: somebody may have written there and vanished. */
export function beginTruncation (context: Context, { ino }: BeginTruncationArgs): Outcome {
  const { store } = context
  const inode = store.inodes.get(ino)
  if (inode === undefined) return failure('ENOENT')
  const from = inode.isInline ? 0 : inode.size
  if (inode.extent > from) store.truncations.put(ino, { from, to: inode.extent })
  return done
}

export interface EndTruncationArgs { ino: number, from: number }

/** The chunks hold nothing beyond `from` any more. */
export function endTruncation (context: Context, { ino, from }: EndTruncationArgs): Outcome {
  const { store } = context
  const inode = store.inodes.get(ino)
  if (inode === undefined || store.truncations.get(ino)?.from !== from) return done
  store.truncations.delete(ino)
  inode.extent = Math.min(inode.extent, from)
  inode.writer = ''
  // Without size and chunks a file may be small again.
  if (inode.size === 0 && inode.extent === 0) inode.isInline = true
  inode.version++
  store.inodes.put(ino, inode)
  return done
}
