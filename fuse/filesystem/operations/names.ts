import { codeOf, posixError } from '../../../fsnode/protocol/errors.ts'
import { parseLink, parseMkdir, parseMknod, parseName, parseRename, parseRename2, parseSymlink, type RenameIn } from '../../protocol/arguments.ts'
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../protocol/constants.ts'
import type { Request } from '../../protocol/request.ts'
import { callerOf, inoOf, type FileSystemContext, type Handler } from '../context.ts'
import type { Reply } from '../reply.ts'
import { orStale } from '../stale.ts'

/** Operations on the entries of a directory. */

export const lookup: Handler = async (context, request, reply) => {
  const name = parseName(request)
  const dir = inoOf(context, request.nodeid)
  context.habits.lookedUp(dir, name)
  try {
    reply.entry(await context.client.lookup(dir, name), context.timeouts)
  } catch (error) {
    // The absence of a name may be cached like its presence.
    if (codeOf(error) !== 'ENOENT') throw error
    reply.negative(context.timeouts)
  }
}

export const mknod: Handler = async (context, request, reply) => {
  const { name, mode, rdev } = parseMknod(request)
  reply.entry(await context.client.mknod(inoOf(context, request.nodeid), name, mode, rdev, callerOf(request)), context.timeouts)
}

export const mkdir: Handler = async (context, request, reply) => {
  const { name, mode } = parseMkdir(request)
  reply.entry(await context.client.mkdir(inoOf(context, request.nodeid), name, mode & 0o7777, callerOf(request)), context.timeouts)
}

export const symlink: Handler = async (context, request, reply) => {
  const { name, target } = parseSymlink(request)
  reply.entry(await context.client.symlink(inoOf(context, request.nodeid), name, target, callerOf(request)), context.timeouts)
}

export const link: Handler = async (context, request, reply) => {
  const { oldNodeid, name } = parseLink(request)
  reply.entry(await context.client.link(inoOf(context, oldNodeid), inoOf(context, request.nodeid), name, callerOf(request)), context.timeouts)
}

export const unlink: Handler = async (context, request, reply) => {
  await context.client.unlink(inoOf(context, request.nodeid), parseName(request), callerOf(request))
  reply.empty()
}

export const rmdir: Handler = async (context, request, reply) => {
  await context.client.rmdir(inoOf(context, request.nodeid), parseName(request), callerOf(request))
  reply.empty()
}

export const rename: Handler = (context, request, reply) => renameEntry(context, request, reply, parseRename(request))

export const rename2: Handler = (context, request, reply) => renameEntry(context, request, reply, parseRename2(request))

async function renameEntry (context: FileSystemContext, request: Request, reply: Reply, { newDir, flags, name, newName }: RenameIn): Promise<void> {
  const isExclusive = (flags & RENAME_NOREPLACE) !== 0 && (flags & RENAME_EXCHANGE) !== 0
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0 || isExclusive) throw posixError('EINVAL', `rename flags ${flags}`)
  await context.client.rename(inoOf(context, request.nodeid), name, inoOf(context, newDir), newName, flags, callerOf(request))
  reply.empty()
}

export const readlink: Handler = async (context, request, reply) => {
  reply.data([Buffer.from(await orStale(context.client.readlink(inoOf(context, request.nodeid))), 'utf8')])
}
