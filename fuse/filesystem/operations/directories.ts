import { parseFsync, parseOpen, parseRead, parseRelease } from '../../protocol/arguments.ts'
import { DirentPacker } from '../../protocol/directory.ts'
import type { Request } from '../../protocol/request.ts'
import { inoOf, type FileSystemContext, type Handler } from '../context.ts'
import type { Reply } from '../reply.ts'
import { orStale } from '../stale.ts'

export const opendir: Handler = (context, request, reply) => {
  parseOpen(request)
  // Nothing to do before the first READDIR: the kernel has looked the directory up and checked it.
  reply.opened(context.files.takeNumber(), 0)
}

export const readdir: Handler = (context, request, reply) => list(context, request, reply, false)

export const readdirplus: Handler = (context, request, reply) => list(context, request, reply, true)

async function list (context: FileSystemContext, request: Request, reply: Reply, plus: boolean): Promise<void> {
  const { fh, offset, size } = parseRead(request)
  const { directories, timeouts } = context
  const buffer = directories.takeBuffer()
  try {
    const packer = new DirentPacker(buffer.subarray(0, size), plus, timeouts)
    const ino = inoOf(context, request.nodeid)
    const stream = directories.get(fh, ino)
    if (plus && offset === 0) stream.listing = context.habits.begin(request.pid, ino)
    await orStale(stream.read(offset, packer))
    reply.data([packer.packed()])
  } finally {
    directories.giveBuffer(buffer)
  }
}

export const releasedir: Handler = (context, request, reply) => {
  context.directories.release(parseRelease(request).fh)
  reply.empty()
}

export const fsyncdir: Handler = async (context, request, reply) => {
  parseFsync(request)
  await context.client.syncNames(inoOf(context, request.nodeid))
  reply.empty()
}
