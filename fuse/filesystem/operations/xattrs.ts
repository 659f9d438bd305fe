import { posixError } from '../../../fsnode/protocol/errors.ts'
import { parseGetxattr, parseListxattr, parseSetxattr, parseXattrName } from '../../protocol/arguments.ts'
import { FUSE_SETXATTR_EXT, nameBytesMax } from '../../protocol/constants.ts'
import { hasFlag } from '../../protocol/init.ts'
import { callerOf, inoOf, type Handler } from '../context.ts'
import type { Reply } from '../reply.ts'
import { capabilityName } from './attributes.ts'

/** Prefixes that are kept. Others (system.posix_acl_access above all) are refused without asking the volume. */
const keptPrefixes = ['user.', 'trusted.', 'security.']

function check (name: string): void {
  if (Buffer.byteLength(name) > nameBytesMax) throw posixError('ERANGE', 'the name of an extended attribute')
  if (!keptPrefixes.some((prefix) => name.startsWith(prefix))) throw posixError('EOPNOTSUPP', name)
}

export const setxattr: Handler = async (context, request, reply) => {
  const { name, flags, value } = parseSetxattr(request, context.negotiated !== null && hasFlag(context.negotiated, FUSE_SETXATTR_EXT))
  check(name)
  const ino = inoOf(context, request.nodeid)
  await context.client.setxattr(ino, name, Buffer.from(value), flags, callerOf(request))
  if (name === capabilityName) context.files.capabilitiesMayBeSet(ino)
  reply.empty()
}

export const getxattr: Handler = async (context, request, reply) => {
  const { name, size } = parseGetxattr(request)
  check(name)
  answer(reply, size, await context.client.getxattr(inoOf(context, request.nodeid), name))
}

export const listxattr: Handler = async (context, request, reply) => {
  const { size } = parseListxattr(request)
  const names = await context.client.listxattr(inoOf(context, request.nodeid))
  answer(reply, size, Buffer.from(names.map((name) => `${name}\0`).join(''), 'utf8'))
}

function answer (reply: Reply, size: number, value: Buffer): void {
  if (size === 0) reply.count(value.length)
  else if (value.length > size) throw posixError('ERANGE')
  else reply.data([value])
}

export const removexattr: Handler = async (context, request, reply) => {
  const name = parseXattrName(request)
  check(name)
  await context.client.removexattr(inoOf(context, request.nodeid), name, callerOf(request))
  reply.empty()
}
