import type { NodeId } from '../../partitioning/types.ts'
import type { ReplicaApplyRequest, ReplicaApplyResponse } from '../protocol/data.ts'
import { bulkBuffers, giveBack } from '../protocol/buffer-pool.ts'
import { AtollError, codeOf, isRetryable, messageOf } from '../protocol/errors.ts'
import type { Peer } from '../protocol/peer.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import type { WholeBlockSums } from './block-sums.ts'
import { applyTimeoutMs, entryBytes, epochPatienceMs, helloTimeoutMs, replicaPatienceMs, retryDelayMsMax, retryDelayMsMin, syncTimeoutMs } from './constants.ts'

/** A mutation on its way to one replica. */
export interface Entry {
  kind: ReplicaApplyRequest['kind']
  ino: number
  chunk: number
  offset: number
  length: number
  payload: readonly Buffer[]
  bytes: number
  order: number
  sums?: WholeBlockSums
  extents?: number[]
  /** With 'sync': see ReplicaApplyRequest. */
  chunks?: readonly number[]
  digest?: number
}

/** What each message tells about the primary at the moment it leaves. */
export type Stamp = Pick<ReplicaApplyRequest, 'partition' | 'epoch' | 'origin' | 'committed' | 'reconciled'>

export interface LinkComponents { clock: Clock, log: Logger, router: ClusterRouter }

export interface LinkInit {
  node: NodeId
  serving: boolean
  stamp: () => Stamp
  acknowledged: (link: ReplicaLink, entry: Entry) => void
  /** The replica has told something new about itself. */
  changed: (link: ReplicaLink) => void
  /** The replica cannot be reached or cannot apply. Called at each new failure until the link is closed. */
  failed: (link: ReplicaLink, error: AtollError) => void
}

/**
 * Sends the primary's mutations to one replica, in order, over the one connection to its node.
 *
 * What was sent and not acknowledged stays in `pending`. After a failure a new session begins: the replica
 * refuses what still travels of the older one, and everything pending is sent again. Answers come in the
 * order of application per chunk, and those of a session that has failed are ignored; so the pending
 * mutations of a chunk always are the last ones, and to apply them again, in order, changes nothing.
 */
export class ReplicaLink {
  readonly node: NodeId
  serving: boolean
  /** It has caught up, and is about to serve. */
  awaited = false
  /** The replica has no room for growth. */
  full = false
  reconciled = false
  pendingBytes = 0
  private readonly components: LinkComponents
  private readonly init: LinkInit
  private readonly pending = new Set<Entry>()
  /** Those of them that an earlier session may still be sending: their payloads are left to the collector. */
  private readonly doubtful = new Set<Entry>()
  private readonly drains = new Set<{ left: Set<Entry>, resolve: () => void, reject: (error: AtollError) => void }>()
  /** Set while the session is open. */
  private peer: Peer | null = null
  private dialled: Peer | null = null
  private session = 0
  private sequence = 0
  private committedSent = -1
  private reconciledSent = false
  private opening = false
  private closed = false
  private failingSince: number | null = null
  private retryTimer: Timer | null = null

  constructor (components: LinkComponents, init: LinkInit) {
    this.components = components
    this.init = init
    this.node = init.node
    this.serving = init.serving
  }

  /** Whether the replica answers. */
  get up (): boolean { return this.peer !== null }

  send (entry: Entry): void {
    this.pending.add(entry)
    this.pendingBytes += entry.bytes + entryBytes
    for (const part of entry.payload) bulkBuffers.share(part)
    if (this.peer !== null) this.transmit(this.peer, entry)
    else void this.open()
  }

  /** Whether mutations of the chunk wait for an answer. */
  awaits (ino: number, chunk: number): boolean {
    for (const entry of this.pending) if (entry.ino === ino && entry.chunk === chunk) return true
    return false
  }

  /** Resolves when the replica has acknowledged all that was sent before. */
  drained (): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.pending.size === 0) resolve()
      else this.drains.add({ left: new Set(this.pending), resolve, reject })
    })
  }

  /** Tells what is committed, if the replica does not know it yet. */
  settle (): void {
    const stamp = this.init.stamp()
    if (this.peer === null || (this.committedSent >= stamp.committed && this.reconciledSent === stamp.reconciled)) return
    this.peer.notify('replica.apply', this.message(emptyEntry, this.sequence, stamp))
  }

  /** Asks the replica how it is, and so finds out whether it still knows the session. */
  refresh (): void {
    const { session, peer } = this
    if (peer === null) return
    peer.call('replica.apply', this.message(emptyEntry, this.sequence, this.init.stamp()), { timeoutMs: helloTimeoutMs }).then(
      ({ body }) => { if (session === this.session) this.note(body) },
      (error) => { if (session === this.session) this.broken(error) }
    )
  }

  /** At the start of an epoch. */
  greet (): void {
    if (this.peer === null) void this.open()
    else this.refresh()
  }

  private async open (delayMs = 0): Promise<void> {
    if (this.opening || this.closed || this.peer !== null) return
    this.opening = true
    this.failingSince ??= this.components.clock.now()
    if (delayMs > 0) await this.pause(delayMs)
    for (let attempt = 0; !this.closed; attempt++) {
      try {
        await this.begin()
        break
      } catch (error) {
        this.learn(error)
        // Perhaps the other machine has forgotten the connection: only a new one can tell.
        if (attempt > 0 && codeOf(error) === 'ATOLL_TIMEOUT') this.dialled?.close()
        await this.pause(Math.min(retryDelayMsMax, retryDelayMsMin * 2 ** Math.min(attempt, 8)))
      }
    }
    this.opening = false
  }

  close (): void {
    this.closed = true
    this.peer = null
    this.session++
    this.retryTimer?.cancel()
    for (const { reject } of this.drains) reject(new AtollError('ATOLL_STALE_EPOCH', `${this.node} takes no writes any more`))
    this.drains.clear()
    this.pending.clear()
    this.doubtful.clear()
    this.pendingBytes = 0
  }

  private async begin (): Promise<void> {
    this.session++
    this.sequence = 0
    const peer = await this.components.router.peer(this.node)
    this.dialled = peer
    const { body } = await peer.call('replica.apply', this.message(emptyEntry, 0, this.init.stamp()), { timeoutMs: helloTimeoutMs })
    if (this.closed) return
    this.note(body)
    this.failingSince = null
    this.peer = peer
    for (const entry of this.pending) this.transmit(peer, entry)
  }

  private transmit (peer: Peer, entry: Entry): void {
    const { session } = this
    const request = this.message(entry, ++this.sequence, this.init.stamp())
    peer.call('replica.apply', request, { payload: entry.payload, timeoutMs: entry.kind === 'sync' ? syncTimeoutMs : applyTimeoutMs }).then(({ body }) => {
      if (session !== this.session) return
      this.note(body)
      this.remove(entry)
      this.init.acknowledged(this, entry)
    }, (error) => { if (session === this.session) this.broken(error) })
  }

  private message (entry: Entry, sequence: number, stamp: Stamp): ReplicaApplyRequest {
    const { kind, ino, chunk, offset, length, order, sums, extents, chunks, digest } = entry
    this.committedSent = stamp.committed
    this.reconciledSent = stamp.reconciled
    const request: ReplicaApplyRequest = {
      partition: stamp.partition,
      epoch: stamp.epoch,
      ino,
      chunk,
      kind,
      offset,
      length,
      origin: stamp.origin,
      session: this.session,
      sequence,
      order,
      committed: stamp.committed,
      reconciled: stamp.reconciled
    }
    if (sums !== undefined && sums.bytes.length > 0) request.sums = sums.bytes
    if (extents !== undefined) request.extents = extents
    if (chunks !== undefined) request.chunks = chunks
    if (digest !== undefined) request.digest = digest
    return request
  }

  private note ({ full = false, reconciled = false }: ReplicaApplyResponse): void {
    this.full = full
    if (reconciled !== this.reconciled) {
      this.reconciled = reconciled
      this.init.changed(this)
    }
  }

  private remove (entry: Entry): void {
    if (!this.pending.delete(entry)) return
    this.pendingBytes -= entry.bytes + entryBytes
    if (!this.doubtful.delete(entry)) giveBack(entry.payload)
    for (const drain of this.drains) {
      if (!drain.left.delete(entry) || drain.left.size > 0) continue
      this.drains.delete(drain)
      drain.resolve()
    }
  }

  private broken (error: unknown): void {
    for (const entry of this.pending) this.doubtful.add(entry)
    this.peer = null
    this.session++
    this.failingSince ??= this.components.clock.now()
    this.learn(error)
    // What was refused will be refused again: the manager's answer is awaited.
    void this.open(isRetryable(error) ? 0 : retryDelayMsMax)
  }

  private learn (error: unknown): void {
    if (this.closed) return
    const code = codeOf(error)
    const now = this.components.clock.now()
    if (error instanceof AtollError && typeof error.details.session === 'number') this.session = Math.max(this.session, error.details.session)
    // One of the two is behind with its map; the other side asks for it too.
    if (code === 'ATOLL_STALE_EPOCH') this.components.router.refresh().catch(() => {})
    const isFinal = !isRetryable(error) || code === 'ATOLL_TIMEOUT'
    const patienceMs = isFinal ? 0 : code === 'ATOLL_STALE_EPOCH' ? epochPatienceMs : replicaPatienceMs
    const waited = now - (this.failingSince ?? now)
    if (waited < patienceMs || (this.pending.size === 0 && isRetryable(error))) return
    this.components.log.warn('a replica fails', { node: this.node, code, cause: messageOf(error), forMs: waited })
    this.init.failed(this, error instanceof AtollError ? error : new AtollError(code, messageOf(error)))
  }

  private pause (delayMs: number): Promise<void> {
    return new Promise((resolve) => { this.retryTimer = this.components.clock.setTimer(resolve, delayMs) })
  }
}

const emptyEntry: Entry = { kind: 'settle', ino: 0, chunk: 0, offset: 0, length: 0, payload: [], bytes: 0, order: 0 }
