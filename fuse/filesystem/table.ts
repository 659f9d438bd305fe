import {
  FUSE_BATCH_FORGET, FUSE_CREATE, FUSE_DESTROY, FUSE_FALLOCATE, FUSE_FLUSH, FUSE_FORGET, FUSE_FSYNC, FUSE_FSYNCDIR,
  FUSE_GETATTR, FUSE_GETXATTR, FUSE_LINK, FUSE_LISTXATTR, FUSE_LOOKUP, FUSE_LSEEK, FUSE_MKDIR, FUSE_MKNOD, FUSE_OPEN,
  FUSE_OPENDIR, FUSE_READ, FUSE_READDIR, FUSE_READDIRPLUS, FUSE_READLINK, FUSE_RELEASE, FUSE_RELEASEDIR,
  FUSE_REMOVEXATTR, FUSE_RENAME, FUSE_RENAME2, FUSE_RMDIR, FUSE_SETATTR, FUSE_SETXATTR, FUSE_STATFS, FUSE_SYMLINK,
  FUSE_SYNCFS, FUSE_UNLINK, FUSE_WRITE
} from '../protocol/constants.ts'
import type { Handler } from './context.ts'
import { fallocate } from './operations/allocation.ts'
import { getattr, setattr } from './operations/attributes.ts'
import { fsyncdir, opendir, readdir, readdirplus, releasedir } from './operations/directories.ts'
import { create, flush, fsync, lseek, open, read, release, write } from './operations/files.ts'
import { batchForget, destroy, forget, statfs, syncfs } from './operations/mount.ts'
import { link, lookup, mkdir, mknod, readlink, rename, rename2, rmdir, symlink, unlink } from './operations/names.ts'
import { getxattr, listxattr, removexattr, setxattr } from './operations/xattrs.ts'

export interface Operation {
  name: string
  handle: Handler
  /** It changes nothing, so a caller that was interrupted may be let go before it ends. */
  changesNothing?: true
}

/** Every opcode that is answered with something else than ENOSYS, but for INIT and INTERRUPT. */
export const operations = new Map<number, Operation>([
  [FUSE_LOOKUP, { name: 'LOOKUP', handle: lookup, changesNothing: true }],
  [FUSE_FORGET, { name: 'FORGET', handle: forget }],
  [FUSE_GETATTR, { name: 'GETATTR', handle: getattr, changesNothing: true }],
  [FUSE_SETATTR, { name: 'SETATTR', handle: setattr }],
  [FUSE_READLINK, { name: 'READLINK', handle: readlink, changesNothing: true }],
  [FUSE_SYMLINK, { name: 'SYMLINK', handle: symlink }],
  [FUSE_MKNOD, { name: 'MKNOD', handle: mknod }],
  [FUSE_MKDIR, { name: 'MKDIR', handle: mkdir }],
  [FUSE_UNLINK, { name: 'UNLINK', handle: unlink }],
  [FUSE_RMDIR, { name: 'RMDIR', handle: rmdir }],
  [FUSE_RENAME, { name: 'RENAME', handle: rename }],
  [FUSE_LINK, { name: 'LINK', handle: link }],
  [FUSE_OPEN, { name: 'OPEN', handle: open }],
  [FUSE_READ, { name: 'READ', handle: read, changesNothing: true }],
  [FUSE_WRITE, { name: 'WRITE', handle: write }],
  [FUSE_STATFS, { name: 'STATFS', handle: statfs, changesNothing: true }],
  [FUSE_RELEASE, { name: 'RELEASE', handle: release }],
  [FUSE_FSYNC, { name: 'FSYNC', handle: fsync }],
  [FUSE_SETXATTR, { name: 'SETXATTR', handle: setxattr }],
  [FUSE_GETXATTR, { name: 'GETXATTR', handle: getxattr, changesNothing: true }],
  [FUSE_LISTXATTR, { name: 'LISTXATTR', handle: listxattr, changesNothing: true }],
  [FUSE_REMOVEXATTR, { name: 'REMOVEXATTR', handle: removexattr }],
  [FUSE_FLUSH, { name: 'FLUSH', handle: flush }],
  [FUSE_OPENDIR, { name: 'OPENDIR', handle: opendir }],
  [FUSE_READDIR, { name: 'READDIR', handle: readdir, changesNothing: true }],
  [FUSE_RELEASEDIR, { name: 'RELEASEDIR', handle: releasedir }],
  [FUSE_FSYNCDIR, { name: 'FSYNCDIR', handle: fsyncdir }],
  [FUSE_CREATE, { name: 'CREATE', handle: create }],
  [FUSE_DESTROY, { name: 'DESTROY', handle: destroy }],
  [FUSE_BATCH_FORGET, { name: 'BATCH_FORGET', handle: batchForget }],
  [FUSE_FALLOCATE, { name: 'FALLOCATE', handle: fallocate }],
  [FUSE_READDIRPLUS, { name: 'READDIRPLUS', handle: readdirplus, changesNothing: true }],
  [FUSE_RENAME2, { name: 'RENAME2', handle: rename2 }],
  [FUSE_LSEEK, { name: 'LSEEK', handle: lseek, changesNothing: true }],
  [FUSE_SYNCFS, { name: 'SYNCFS', handle: syncfs }]
])
