import type { OperationContext, SetAttributes } from '../../../client/types.ts'
import { codeOf } from '../../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../../fsnode/protocol/metadata.ts'
import { isDirectory, isRegular, mode as modes, withoutPrivileges } from '../../../fsnode/protocol/posix.ts'
import { parseGetattr, parseSetattr, type SetattrIn } from '../../protocol/arguments.ts'
import type { Request } from '../../protocol/request.ts'
import { callerOf, inoOf, type FileSystemContext, type Handler } from '../context.ts'
import type { FileHandle } from '../file-handles.ts'
import { orStale } from '../stale.ts'

export const capabilityName = 'security.capability'

export const getattr: Handler = async (context, request, reply) => {
  parseGetattr(request)
  reply.attr(await orStale(context.client.getattr(inoOf(context, request.nodeid))), context.timeouts)
}

export const setattr: Handler = async (context, request, reply) => {
  const wanted = parseSetattr(request)
  const ino = inoOf(context, request.nodeid)
  const changes: SetAttributes = {}
  for (const key of ['size', 'mode', 'uid', 'gid', 'atime', 'mtime'] as const) {
    if (wanted[key] !== undefined) Object.assign(changes, { [key]: wanted[key] })
  }
  if (mustDropPrivileges(wanted)) {
    const attr = await orStale(context.client.getattr(ino))
    dropModeBits(attr, changes)
    await dropCapabilities(context, attr, callerOf(request, 1))
  }
  // A time that is set explicitly must not be overtaken by that of a write before it.
  if (changes.mtime !== undefined) await context.files.flushInode(ino)
  const attr = Object.keys(changes).length === 0
    ? await orStale(context.client.getattr(ino))
    : await orStale(context.client.setattr(ino, changes, callerOf(request)))
  reply.attr(attr, context.timeouts)
}

/** With HANDLE_KILLPRIV_V2, truncation says so and a change of owner always does. */
function mustDropPrivileges (wanted: SetattrIn): boolean {
  return wanted.killSuidgid || wanted.uid !== undefined || wanted.gid !== undefined
}

/** Adds to `changes` the mode without what a change by this caller takes away. */
function dropModeBits (attr: InodeAttr, changes: SetAttributes): void {
  if (isDirectory(attr.mode)) return
  const mode = changes.mode ?? (attr.mode & modes.permissions)
  const kept = withoutPrivileges(mode)
  if (kept !== mode) changes.mode = kept
}

async function dropCapabilities (context: FileSystemContext, attr: InodeAttr, caller: OperationContext): Promise<void> {
  if (!isRegular(attr.mode) || (attr.mode & 0o111) === 0) return
  try {
    await context.client.getxattr(attr.ino, capabilityName)
    await context.client.removexattr(attr.ino, capabilityName, caller)
  } catch (error) {
    if (codeOf(error) !== 'ENODATA') throw error
  }
}

/**
 * Before a write or a truncating open by a caller without CAP_FSETID, which the kernel marks each time.
 * `handle` remembers that the file has no capabilities: asking for them costs a message.
 */
export async function killSuidgid (context: FileSystemContext, request: Request, ino: number, handle: FileHandle | null): Promise<void> {
  const attr = await context.client.getattr(ino)
  if (handle?.hasNoCapabilities !== true) await dropCapabilities(context, attr, callerOf(request, 2))
  if (handle !== null) handle.hasNoCapabilities = true
  const changes: SetAttributes = {}
  dropModeBits(attr, changes)
  if (changes.mode === undefined) return
  await context.client.setattr(ino, changes, callerOf(request, 3))
  // The answer to a WRITE or OPEN carries no attributes: the kernel would go on with the mode it has.
  await context.invalidate({ ino, what: 'attributes' })
}
