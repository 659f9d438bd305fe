import { fileType, inherit, isDirectory, isFileType, mode as modes, nameFault, subdirectoriesMax, symlinkBytesMax } from '../../protocol/posix.ts'
import type { Inode, Outcome } from '../types.ts'
import { type Context, failure } from './context.ts'
import { directoryOf, newInode, nextInode, touchDirectory } from './inodes.ts'

export interface CreateArgs {
  dir: number
  name: string
  mode: number
  uid: number
  gid: number
  rdev?: number
  symlink?: string
  exclusive: boolean
  /** Given out before by 'allocate-inodes'; absent: the next one. */
  ino?: number
}

/** create(2), mkdir(2), mknod(2) and symlink(2) of an inode that lives with its directory. */
export function create (context: Context, args: CreateArgs): Outcome {
  const { store } = context
  const { dir, name } = args
  const fault = nameFault(name) ?? contentFault(args)
  if (fault !== null) return failure(fault)
  const directory = directoryOf(context, dir)
  if (typeof directory === 'string') return failure(directory)
  const existing = store.entry(dir, name)
  if (existing !== undefined) {
    if (args.exclusive || fileType(args.mode) !== modes.regular) return failure('EEXIST')
    if (existing.type === modes.directory) return failure('EISDIR')
    return existing.type === modes.regular ? { ino: existing.ino, created: false } : failure('EEXIST')
  }
  const makesDirectory = isDirectory(args.mode)
  if (makesDirectory && directory.nlink >= subdirectoriesMax) return failure('EMLINK')
  const inode = newInode(context, args.ino ?? nextInode(context), inherit(directory, args), dir)
  setContent(context, inode, args)
  store.entries.put(`${dir}/${name}`, { ino: inode.ino, type: fileType(inode.mode) })
  touchDirectory(context, directory, 1, makesDirectory ? 1 : 0)
  return { ino: inode.ino, created: true }
}

function contentFault ({ mode, symlink }: CreateArgs): string | null {
  const type = fileType(mode)
  if (!isFileType(type)) return 'EINVAL'
  if (type !== modes.link) return null
  if (typeof symlink !== 'string' || symlink === '') return 'ENOENT'
  return Buffer.byteLength(symlink) > symlinkBytesMax ? 'ENAMETOOLONG' : null
}

function setContent ({ store }: Context, inode: Inode, { rdev, symlink }: CreateArgs): void {
  const type = fileType(inode.mode)
  if (type === modes.character || type === modes.block) inode.rdev = rdev ?? 0
  if (type !== modes.link) return
  const target = Buffer.from(symlink!)
  inode.size = target.length
  store.content.put(inode.ino, target)
}
