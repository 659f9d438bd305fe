import { isRegular } from '../../protocol/posix.ts'
import { fileSizeBytesMax } from '../constants.ts'
import type { Inode, Outcome } from '../types.ts'
import { type Context, failure } from './context.ts'
import { detach, touch } from './inodes.ts'

export interface CommitArgs {
  ino: number
  size: number
  mtime: bigint
  /** The whole content of a small file; absent: it is in chunks. */
  data?: Buffer
}

/** What a client wrote while it held the file exclusively. */
export function commit (context: Context, { ino, size, mtime, data }: CommitArgs): Outcome {
  const inode = context.store.inodes.get(ino)
  if (inode === undefined) return failure('ENOENT')
  if (!isRegular(inode.mode) || !Number.isInteger(size) || size < 0) return failure('EINVAL')
  if (size > fileSizeBytesMax) return failure('EFBIG')
  const refusal = data === undefined ? commitChunks(context, inode, size) : commitInline(context, inode, size, data)
  if (refusal !== null) return failure(refusal)
  inode.mtime = mtime
  touch(context, inode)
  return { ino }
}

function commitInline ({ store, inlineBytesMax }: Context, inode: Inode, size: number, data: Buffer): string | null {
  // Chunks that were written once would show through when the file grows out of its record again.
  if (!inode.isInline && inode.extent > 0) return 'EINVAL'
  if (data.length !== size || size > inlineBytesMax) return 'EINVAL'
  if (size > 0) store.content.put(inode.ino, detach(data))
  else if (inode.size > 0) store.content.delete(inode.ino)
  inode.size = size
  inode.isInline = true
  return null
}

/** Only setattr shrinks a chunked file: a late commit must not hide bytes. */
function commitChunks ({ store }: Context, inode: Inode, size: number): string | null {
  if (inode.isInline && inode.size > 0) store.content.delete(inode.ino)
  inode.isInline = false
  inode.size = Math.max(inode.size, size)
  return null
}

export interface ExtentArgs { ino: number, extent: number }

/** Chunks below `extent` may be written from now on. */
export function extent (context: Context, { ino, extent: given }: ExtentArgs): Outcome {
  const inode = context.store.inodes.get(ino)
  if (inode === undefined) return failure('ENOENT')
  if (!isRegular(inode.mode) || !Number.isInteger(given) || given < 0) return failure('EINVAL')
  if (given > fileSizeBytesMax) return failure('EFBIG')
  inode.extent = Math.max(inode.extent, given)
  inode.writer = context.session?.id ?? ''
  inode.version++
  context.store.inodes.put(ino, inode)
  return { ino }
}
