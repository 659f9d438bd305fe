import { constants as osConstants } from 'node:os'
import type { VolumeClient } from '../../client/types.ts'
import { codeOf, errnoOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger, Timer } from '../../fsnode/protocol/ports.ts'
import type { BufferPool } from '../device/buffers.ts'
import { parseInterrupt } from '../protocol/arguments.ts'
import { FUSE_BATCH_FORGET, FUSE_FORGET, FUSE_IN_HEADER_SIZE, FUSE_INIT, FUSE_INTERRUPT } from '../protocol/constants.ts'
import { encodeInitOut, encodeInitRetry, hasEpochs, negotiate, parseInit, type Negotiated } from '../protocol/init.ts'
import type { Timeouts } from '../protocol/reply.ts'
import { MalformedRequest, parseHeader, uniqueOf, type Request } from '../protocol/request.ts'
import type { DispatchedRequest, FileSystemContext } from './context.ts'
import { DirectoryHandles } from './directory-stream.ts'
import { FileHandles, type LostWrites } from './file-handles.ts'
import { Invalidator } from './invalidation.ts'
import { ListingHabits } from './listing-habits.ts'
import { PageStore } from './page-store.ts'
import { PageActivity } from './page-activity.ts'
import { Reply, type Send } from './reply.ts'
import { operations, type Operation } from './table.ts'

const { EINTR, EIO, ENOSYS } = osConstants.errno

/** The client holds leases and invalidates before they go: so the kernel may trust what it was told. Seconds. */
export const cacheTimeouts: Timeouts = { entrySeconds: 3600, attrSeconds: 3600 }
/** With a kernel whose names can only be invalidated under a lock that its caller may hold: best effort. */
export const cacheTimeoutsWithoutEpochs: Timeouts = { entrySeconds: 1, attrSeconds: 3600 }
/**
 * How long an operation that was interrupted may go on before its caller gets EINTR, in milliseconds.
 * Not at once: programs do not expect EINTR of a read that a timer's signal happens to meet.
 */
export const interruptGraceMs = 3000
/** Kinds of unexpected failures that are logged, each once. */
const loggedKindsMax = 1000

export interface DispatcherComponents {
  client: VolumeClient
  clock: Clock
  log: Logger
  pool: BufferPool
  send: Send
  notify: (message: Buffer) => Promise<void>
  /** The same for pages, in pieces; left out: the kernel is given none. */
  store?: (pieces: readonly Buffer[]) => Promise<void>
}

export interface DispatcherInit {
  /** How many workers this mount had before. */
  generation: number
  /** From an earlier worker's INIT: there is only one in a mount's life. */
  negotiated: Negotiated | null
  /** What writes of earlier workers failed with, by inode: the next write, flush or fsync by each handle of that time says so. */
  lostWrites?: ReadonlyMap<number, LostWrites>
  /** Writes that an earlier worker may have done without answering them: where, by operation. */
  written?: ReadonlyMap<number, number>
  /** Called before INIT is answered. */
  onNegotiated?: (negotiated: Negotiated) => void
}

interface InFlight { operation: Operation, reply: Reply, interrupt: Timer | null }

/** Turns each request into calls of the client, and their outcome into the reply. */
export class Dispatcher {
  private readonly components: DispatcherComponents
  private readonly init: DispatcherInit
  private readonly context: FileSystemContext
  private readonly invalidator: Invalidator
  /** Requests that wait for the client, by `unique`. Bounded by what the kernel has in flight. */
  private readonly inFlight = new Map<number, InFlight>()
  private readonly loggedKinds = new Set<string>()
  private idle: (() => void) | null = null

  constructor (components: DispatcherComponents, init: DispatcherInit) {
    const { client, clock, log, pool, notify } = components
    this.components = components
    this.init = init
    const activity = new PageActivity()
    this.invalidator = new Invalidator({ client, clock, log, notify, activity })
    this.context = {
      client,
      clock,
      log,
      pool,
      files: new FileHandles(components, { generation: init.generation, lostWrites: init.lostWrites }),
      directories: new DirectoryHandles(client),
      habits: new ListingHabits(clock),
      written: init.written ?? new Map(),
      activity,
      negotiated: null,
      timeouts: cacheTimeouts,
      invalidate: (invalidation) => this.invalidator.invalidate(invalidation)
    }
    client.onInvalidate = (invalidation) => this.invalidator.invalidate(invalidation)
    // A later worker does not know which files the kernel has open for writing: its pages may be newer.
    if (components.store !== undefined && init.generation === 0) {
      const pages = new PageStore({ client, activity, store: components.store })
      client.onOffer = (offer) => pages.take(offer)
    }
    if (init.negotiated !== null) this.adopt(init.negotiated)
  }

  /** For a worker that follows another: what was recalled in between is not known, so every name is checked again. */
  async distrustCaches (): Promise<void> {
    await this.invalidator.invalidateAllNames()
  }

  /** Takes one request as it was read. Returns the buffer for the next read. Never throws. */
  dispatch (buffer: Buffer, length: number): Buffer {
    let request: DispatchedRequest
    try {
      request = Object.assign(parseHeader(buffer, length), { replacement: null })
    } catch (error) {
      this.refuse(buffer, length, error)
      return buffer
    }
    if (request.opcode === FUSE_INTERRUPT) this.interrupt(request)
    else this.start(request)
    return request.replacement ?? buffer
  }

  /** Resolves when no request waits for the client. */
  async drained (): Promise<void> {
    if (this.inFlight.size > 0) await new Promise<void>((resolve) => { this.idle = resolve })
  }

  /** Flushes and drops every open file: at the end of the mount. */
  async close (): Promise<void> {
    await this.context.files.releaseAll()
  }

  private start (request: DispatchedRequest): void {
    const reply = new Reply(this.components.send, request.uniqueLow, request.uniqueHigh)
    if (request.opcode === FUSE_INIT) {
      this.negotiate(request, reply)
      return
    }
    const operation = operations.get(request.opcode)
    if (operation === undefined) {
      reply.error(ENOSYS)
      return
    }
    try {
      const outcome = operation.handle(this.context, request, reply)
      if (outcome === undefined) this.finish(operation, reply)
      else this.track(request, operation, reply, outcome)
    } catch (error) {
      this.fail(operation, reply, error)
    }
  }

  private track (request: Request, operation: Operation, reply: Reply, outcome: Promise<void>): void {
    const unique = uniqueOf(request.uniqueLow, request.uniqueHigh)
    const entry: InFlight = { operation, reply, interrupt: null }
    this.inFlight.set(unique, entry)
    outcome
      .then(() => { this.finish(operation, reply) }, (error: unknown) => { this.fail(operation, reply, error) })
      .finally(() => {
        entry.interrupt?.cancel()
        if (this.inFlight.get(unique) === entry) this.inFlight.delete(unique)
        if (this.inFlight.size === 0) this.idle?.()
      })
  }

  private finish (operation: Operation, reply: Reply): void {
    if (reply.isOpen) this.fail(operation, reply, new Error('it ended without an answer'))
  }

  private fail (operation: Operation, reply: Reply, error: unknown): void {
    const errno = errnoOf(error)
    if (errno === EIO || error instanceof MalformedRequest) this.logOnce(operation.name, error)
    if (!reply.isOpen) return
    // FORGET has no answer, not even a failure.
    if (operation === operations.get(FUSE_FORGET) || operation === operations.get(FUSE_BATCH_FORGET)) reply.none()
    else reply.error(errno)
  }

  private logOnce (name: string, error: unknown): void {
    const kind = `${name} ${codeOf(error)}`
    if (this.loggedKinds.has(kind) || this.loggedKinds.size >= loggedKindsMax) return
    this.loggedKinds.add(kind)
    this.components.log.warn(`${name} failed (said once)`, { code: codeOf(error), error: error instanceof Error ? error.stack : messageOf(error) })
  }

  private negotiate (request: Request, reply: Reply): void {
    try {
      const outcome = negotiate(parseInit(request))
      if (outcome.outcome === 'refused') {
        this.components.log.error('cannot speak with this kernel', { reason: outcome.reason })
        reply.error(osConstants.errno.EPROTO)
      } else if (outcome.outcome === 'retry') {
        reply.data([encodeInitRetry()])
      } else {
        this.adopt(outcome.negotiated)
        this.init.onNegotiated?.(outcome.negotiated)
        reply.data([encodeInitOut(outcome.negotiated)])
      }
    } catch (error) {
      this.components.log.error('cannot understand the kernel', { error: messageOf(error) })
      if (reply.isOpen) reply.error(osConstants.errno.EPROTO)
    }
  }

  private adopt (negotiated: Negotiated): void {
    this.context.negotiated = negotiated
    this.context.timeouts = hasEpochs(negotiated) ? cacheTimeouts : cacheTimeoutsWithoutEpochs
    this.invalidator.negotiated = negotiated
  }

  /** Never answered itself. What is not in flight was answered already, or changes something and must end. */
  private interrupt (request: Request): void {
    let unique: number
    try {
      const { uniqueLow, uniqueHigh } = parseInterrupt(request)
      unique = uniqueOf(uniqueLow, uniqueHigh)
    } catch (error) {
      this.logOnce('INTERRUPT', error)
      return
    }
    const entry = this.inFlight.get(unique)
    if (entry?.operation.changesNothing !== true || entry.interrupt !== null) return
    entry.interrupt = this.components.clock.setTimer(() => { entry.reply.abandon(EINTR) }, interruptGraceMs)
  }

  /** A message whose header cannot be trusted: answered if it has one. */
  private refuse (buffer: Buffer, length: number, error: unknown): void {
    this.logOnce('a request', error)
    if (length < FUSE_IN_HEADER_SIZE || length > buffer.length) return
    const opcode = buffer.readUInt32LE(4)
    if (opcode === FUSE_FORGET || opcode === FUSE_BATCH_FORGET || opcode === FUSE_INTERRUPT) return
    new Reply(this.components.send, buffer.readUInt32LE(8), buffer.readUInt32LE(12)).error(EIO)
  }
}
