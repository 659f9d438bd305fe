import type { Invalidation, OperationContext, VolumeClient } from '../../client/types.ts'
import type { Clock, Logger } from '../../fsnode/protocol/ports.ts'
import type { BufferPool } from '../device/buffers.ts'
import { FUSE_ROOT_ID } from '../protocol/constants.ts'
import type { Negotiated } from '../protocol/init.ts'
import type { Timeouts } from '../protocol/reply.ts'
import { operationIdOf, type Request } from '../protocol/request.ts'
import type { DirectoryHandles } from './directory-stream.ts'
import type { FileHandles } from './file-handles.ts'
import type { ListingHabits } from './listing-habits.ts'
import type { PageActivity } from './page-activity.ts'
import type { Reply } from './reply.ts'

/** What every operation works with. */
export interface FileSystemContext {
  readonly client: VolumeClient
  readonly clock: Clock
  readonly log: Logger
  readonly pool: BufferPool
  readonly files: FileHandles
  readonly directories: DirectoryHandles
  readonly habits: ListingHabits
  /** Writes that an earlier worker has done without answering them: where, by operation. */
  readonly written: ReadonlyMap<number, number>
  readonly activity: PageActivity
  negotiated: Negotiated | null
  timeouts: Timeouts
  /** Drops what the kernel caches. Not to be awaited, but for attributes, by an operation that the kernel holds locks for. */
  readonly invalidate: (invalidation: Invalidation) => Promise<void>
}

/** A request, and the buffer that the reader goes on with when the operation keeps the request's own. */
export interface DispatchedRequest extends Request {
  replacement: Buffer | null
}

/** An operation answers through `reply`, or throws what the caller shall see. */
export type Handler = (context: FileSystemContext, request: DispatchedRequest, reply: Reply) => void | Promise<void>

/** Node 1 is the root whatever the volume calls it; all others are inode numbers. */
export function inoOf (context: FileSystemContext, nodeid: number): number {
  return nodeid === FUSE_ROOT_ID ? context.client.root : nodeid
}

export function nodeidOf (client: VolumeClient, ino: number): number {
  return ino === client.root ? FUSE_ROOT_ID : ino
}

/** The caller, and the id that makes step `step` of the operation happen once. */
export function callerOf (request: Request, step: 0 | 1 | 2 | 3 = 0): OperationContext {
  return { uid: request.uid, gid: request.gid, operationId: operationIdOf(request, step) }
}
