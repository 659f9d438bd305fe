import { fileType, isDirectory, linksMax, nameFault } from '../../protocol/posix.ts'
import type { Inode, Outcome } from '../types.ts'
import { type Context, failure } from './context.ts'
import { directoryOf, isLocal, touch, touchDirectory } from './inodes.ts'

export interface LinkArgs { ino: number, dir: number, name: string }

/** link(2) where directory and inode live here. */
export function link (context: Context, { ino, dir, name }: LinkArgs): Outcome {
  const { store } = context
  const fault = nameFault(name)
  if (fault !== null) return failure(fault)
  const directory = directoryOf(context, dir)
  if (typeof directory === 'string') return failure(directory)
  if (store.entry(dir, name) !== undefined) return failure('EEXIST')
  if (!isLocal(context, ino)) return failure('ATOLL_OTHER_PARTITION')
  const inode = store.inodes.get(ino)
  const refusal = linkFault(inode)
  if (refusal !== null) return failure(refusal)
  inode!.nlink++
  touch(context, inode!)
  store.entries.put(`${dir}/${name}`, { ino, type: fileType(inode!.mode) })
  touchDirectory(context, directory, 1, 0)
  return { ino }
}

/** Why an inode cannot get another name. */
export function linkFault (inode: Inode | undefined): string | null {
  if (inode === undefined || inode.nlink === 0) return 'ENOENT'
  if (isDirectory(inode.mode)) return 'EPERM'
  return inode.nlink >= linksMax ? 'EMLINK' : null
}
