import { constants } from 'node:fs'
import type { OpenFile } from '../../../client/types.ts'
import { giveBack } from '../../../fsnode/protocol/buffer-pool.ts'
import { posixError } from '../../../fsnode/protocol/errors.ts'
import { parseCreate, parseFsync, parseLseek, parseOpen, parseRead, parseRelease, parseWrite, type WriteIn } from '../../protocol/arguments.ts'
import { FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_NOFLUSH, FUSE_OPEN_KILL_SUIDGID, FUSE_WRITE_CACHE, FUSE_WRITE_KILL_SUIDGID, O_ACCMODE, SEEK_DATA, SEEK_HOLE } from '../../protocol/constants.ts'
import { isResent, operationIdOf } from '../../protocol/request.ts'
import { callerOf, inoOf, type DispatchedRequest, type FileSystemContext, type Handler } from '../context.ts'
import type { FileHandle } from '../file-handles.ts'
import type { Reply } from '../reply.ts'
import { orStale } from '../stale.ts'
import { killSuidgid } from './attributes.ts'

/** A WRITE of at most this many bytes is copied; the buffer of a greater one is handed over. */
export const copiedWriteBytesMax = 64 * 1024

export const open: Handler = async (context, request, reply) => {
  const { flags, openFlags } = parseOpen(request)
  const ino = inoOf(context, request.nodeid)
  if ((flags & constants.O_TRUNC) !== 0) await truncate(context, request, ino, openFlags)
  const file = await orStale(context.client.open(ino, { write: isWriting(flags) }))
  await announce(context, file, flags, (fh, openedFlags) => reply.opened(fh, openedFlags))
}

export const create: Handler = async (context, request, reply) => {
  const { name, mode, flags, openFlags } = parseCreate(request)
  const exclusive = (flags & constants.O_EXCL) !== 0
  const dir = inoOf(context, request.nodeid)
  const { attr, file, created } = await context.client.create(dir, name, { mode, exclusive }, callerOf(request))
  const current = created || (flags & constants.O_TRUNC) === 0 ? attr : await truncate(context, request, attr.ino, openFlags)
  await announce(context, file, flags, (fh, openedFlags) => reply.created(current, context.timeouts, fh, openedFlags))
}

/** O_TRUNC arrives here because of ATOMIC_O_TRUNC. */
async function truncate (context: FileSystemContext, request: DispatchedRequest, ino: number, openFlags: number): ReturnType<FileSystemContext['client']['setattr']> {
  if ((openFlags & FUSE_OPEN_KILL_SUIDGID) !== 0) await killSuidgid(context, request, ino, null)
  return await orStale(context.client.setattr(ino, { size: 0, mtime: 'now' }, callerOf(request, 1)))
}

/** Gives the file a handle and tells the kernel; takes it back when nobody waits for it any more. */
async function announce (context: FileSystemContext, file: OpenFile, flags: number, send: (fh: number, openedFlags: number) => boolean): Promise<void> {
  const writes = isWriting(flags)
  const { fh, ino } = context.files.add(file.ino, file)
  // Who only reads has nothing to flush.
  const closing = !writes || file.closeUnheard?.() === true ? FOPEN_NOFLUSH : 0
  const accepted = send(fh, closing | ioFlags(flags) | (context.files.mayKeepPages(ino) ? FOPEN_KEEP_CACHE : 0))
  if (!accepted) await context.files.release(fh, ino)
}

/**
 * Who only appends does so past the page cache: else the kernel cuts a write at the end of a page, and what another mount appends comes
 * between; and it holds the page meanwhile, so that neither can be told of the other's data.
 */
function ioFlags (flags: number): number {
  return (flags & O_ACCMODE) === constants.O_WRONLY && (flags & constants.O_APPEND) !== 0 ? FOPEN_DIRECT_IO : 0
}

function isWriting (flags: number): boolean {
  return (flags & O_ACCMODE) !== constants.O_RDONLY
}

const directly = { direct: true }

export const read: Handler = async (context, request, reply) => {
  const { fh, offset, size, flags } = parseRead(request)
  const ino = inoOf(context, request.nodeid)
  const pages = context.activity.begin(ino, offset, size)
  try {
    const found = context.files.get(fh, ino, flags)
    const handle = found instanceof Promise ? await orStale(found) : found
    const bytes = await handle.file.read(offset, size, (flags & constants.O_DIRECT) === 0 ? undefined : directly)
    reply.data(bytes)
    giveBack(bytes)
  } finally {
    context.activity.end(ino, pages)
  }
}

export const write: Handler = (context, request, reply) => {
  const parsed = parseWrite(request)
  const lent = keepData(context, request, parsed)
  return performWrite(context, request, reply, parsed, lent)
}

/** Makes the data outlive the request's buffer: by keeping the buffer when another is free, else by a copy. */
function keepData (context: FileSystemContext, request: DispatchedRequest, parsed: WriteIn): Buffer | null {
  if (parsed.data.length > copiedWriteBytesMax) {
    request.replacement = context.pool.take()
    if (request.replacement !== null) return request.buffer
  }
  parsed.data = copyOf(parsed.data)
  return null
}

/** Copies of small writes lie side by side: a buffer for each would be a burden to the collector. */
const copySlabBytes = 256 * 1024
let copySlab = Buffer.alloc(0)

function copyOf (data: Buffer): Buffer {
  if (data.length > copiedWriteBytesMax) return Buffer.from(data)
  if (copySlab.length < data.length) copySlab = Buffer.allocUnsafeSlow(copySlabBytes)
  const copy = copySlab.subarray(0, data.length)
  copySlab = copySlab.subarray(data.length)
  data.copy(copy)
  return copy
}

async function performWrite (context: FileSystemContext, request: DispatchedRequest, reply: Reply, parsed: WriteIn, lent: Buffer | null): Promise<void> {
  const { fh, offset, flags, data } = parsed
  const ino = inoOf(context, request.nodeid)
  const pages = context.activity.begin(ino, offset, data.length)
  const loan = { buffer: lent }
  let position = offset
  try {
    context.files.throwLost(fh, ino)
    const found = context.files.get(fh, ino, flags)
    const handle = found instanceof Promise ? await orStale(found) : found
    const done = isResent(request) ? context.written.get(operationIdOf(request)) : undefined
    position = done ?? await store(context, request, handle, parsed, loan)
    reply.count(data.length)
  } finally {
    if (loan.buffer !== null) context.pool.give([loan.buffer])
    context.activity.end(ino, pages)
  }
  if (position !== offset) await context.invalidate({ ino, what: 'content' })
}

/** Resolves with where the data is. The handle takes the lent buffer over. */
async function store (context: FileSystemContext, request: DispatchedRequest, handle: FileHandle, parsed: WriteIn, loan: { buffer: Buffer | null }): Promise<number> {
  const { offset, flags, writeFlags, data } = parsed
  handle.dirty = true
  if ((writeFlags & FUSE_WRITE_KILL_SUIDGID) !== 0) await killSuidgid(context, request, handle.ino, handle)
  // The kernel appends at the size it knows, which another mount may have changed: the data belongs at the real end.
  const isAppending = (flags & constants.O_APPEND) !== 0 && (writeFlags & FUSE_WRITE_CACHE) === 0
  const position = isAppending && handle.file.append === undefined ? (await context.client.getattr(handle.ino)).size : offset
  const written = isAppending && handle.file.append !== undefined
    ? handle.file.append(offset, [data], callerOf(request))
    : handle.file.write(position, [data], callerOf(request))
  if (loan.buffer !== null) handle.lend(loan.buffer)
  loan.buffer = null
  return await written ?? position
}

export const flush: Handler = async (context, request, reply) => {
  const { fh } = parseRelease(request)
  const ino = inoOf(context, request.nodeid)
  context.files.throwLost(fh, ino)
  // What a handle of an earlier worker wrote was flushed when its journal was replayed.
  await context.files.known(fh, ino)?.flush()
  reply.empty()
}

export const fsync: Handler = async (context, request, reply) => {
  const { fh } = parseFsync(request)
  const ino = inoOf(context, request.nodeid)
  context.files.throwLost(fh, ino)
  const found = context.files.get(fh, ino, constants.O_RDONLY)
  await (found instanceof Promise ? await orStale(found) : found).sync()
  reply.empty()
}

export const release: Handler = async (context, request, reply) => {
  const { fh } = parseRelease(request)
  await context.files.release(fh, inoOf(context, request.nodeid))
  reply.empty()
}

/** A file is data from its beginning to its end. */
export const lseek: Handler = async (context, request, reply) => {
  const { offset, whence } = parseLseek(request)
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw posixError('EINVAL', `whence ${whence}`)
  const { size } = await orStale(context.client.getattr(inoOf(context, request.nodeid)))
  if (offset < 0 || offset >= size) throw posixError('ENXIO')
  reply.offset(whence === SEEK_DATA ? offset : size)
}
