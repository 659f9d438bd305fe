import { parseBatchForget, parseForget } from '../../protocol/arguments.ts'
import { inoOf, type FileSystemContext, type Handler } from '../context.ts'

/** Operations on the mount as a whole. */

export const statfs: Handler = async (context, _request, reply) => {
  reply.statfs(await context.client.statfs())
}

export const syncfs: Handler = async (context, _request, reply) => {
  await context.client.sync()
  reply.empty()
}

export const destroy: Handler = (_context, _request, reply) => { reply.empty() }

export const forget: Handler = (context, request, reply) => {
  parseForget(request)
  reply.none()
  forgetNode(context, request.nodeid)
}

export const batchForget: Handler = (context, request, reply) => {
  reply.none()
  parseBatchForget(request, (nodeid) => { forgetNode(context, nodeid) })
}

/**
 * Lookups are not counted: the kernel forgets an inode as a whole. It may also give back a single
 * lookup that it could not use, while it has the inode: an open file shows that.
 */
function forgetNode (context: FileSystemContext, nodeid: number): void {
  const ino = inoOf(context, nodeid)
  if (context.files.isOpen(ino)) return
  context.files.forget(ino)
  context.client.forget(ino)
}
