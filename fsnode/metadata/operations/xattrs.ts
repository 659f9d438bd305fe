import { xattrNameBytesMax, xattrsBytesMax, xattrValueBytesMax } from '../constants.ts'
import type { Inode, Outcome, Xattrs } from '../types.ts'
import { type Context, failure } from './context.ts'
import { detach, touch } from './inodes.ts'

export const xattrFlags = { create: 1, replace: 2 } as const

export interface SetxattrArgs { ino: number, name: string, value: Buffer, flags: number }

export function setxattr (context: Context, { ino, name, value, flags }: SetxattrArgs): Outcome {
  const inode = context.store.inodes.get(ino)
  if (inode === undefined) return failure('ENOENT')
  const fault = xattrFault(name, value, flags)
  if (fault !== null) return failure(fault)
  const known = xattrsOf(context, inode)
  const at = known.findIndex(([other]) => other === name)
  if (at >= 0 && flags === xattrFlags.create) return failure('EEXIST')
  if (at < 0 && flags === xattrFlags.replace) return failure('ENODATA')
  const pair: Xattrs[number] = [name, detach(value)]
  const changed = at < 0 ? [...known, pair] : known.with(at, pair)
  if (byteLengthOf(changed) > xattrsBytesMax) return failure('ENOSPC')
  return store(context, inode, changed)
}

export interface RemovexattrArgs { ino: number, name: string }

export function removexattr (context: Context, { ino, name }: RemovexattrArgs): Outcome {
  const inode = context.store.inodes.get(ino)
  if (inode === undefined) return failure('ENOENT')
  const known = xattrsOf(context, inode)
  const left = known.filter(([other]) => other !== name)
  return left.length === known.length ? failure('ENODATA') : store(context, inode, left)
}

export function xattrsOf ({ store: { xattrs } }: Pick<Context, 'store'>, inode: Inode): Xattrs {
  return inode.xattrs === 0 ? [] : xattrs.get(inode.ino)!
}

function xattrFault (name: string, value: Buffer, flags: number): string | null {
  if (typeof name !== 'string' || name === '' || Buffer.byteLength(name) > xattrNameBytesMax) return 'ERANGE'
  if (!(value instanceof Uint8Array) || (flags !== 0 && flags !== xattrFlags.create && flags !== xattrFlags.replace)) return 'EINVAL'
  return value.length > xattrValueBytesMax ? 'E2BIG' : null
}

function byteLengthOf (xattrs: Xattrs): number {
  return xattrs.reduce((total, [name, value]) => total + Buffer.byteLength(name) + value.length, 0)
}

function store (context: Context, inode: Inode, xattrs: Xattrs): Outcome {
  if (xattrs.length === 0) context.store.xattrs.delete(inode.ino)
  else context.store.xattrs.put(inode.ino, xattrs)
  inode.xattrs = xattrs.length
  touch(context, inode)
  return { ino: inode.ino }
}
