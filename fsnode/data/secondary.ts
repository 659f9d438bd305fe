import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import type { ReplicaApplyRequest, ReplicaApplyResponse } from '../protocol/data.ts'
import { AtollError, codeOf } from '../protocol/errors.ts'
import { giveBack } from '../protocol/buffer-pool.ts'
import { byteLengthOf } from '../protocol/frame.ts'
import { rangesOf } from './ranges.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { WholeBlockSums } from './block-sums.ts'
import type { ChunkName, ChunkStore } from './chunk-store.ts'
import { pullTimeoutMs } from './constants.ts'
import { ReadLease } from './read-lease.ts'
import { keyOf, type ChunkKey, type Unsettled } from './unsettled.ts'

export interface SecondaryComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

export interface SecondaryInit {
  nodeId: NodeId
  partition: DataPartition
  unsettled: Unsettled
  /** Another primary, or the same one anew: what is open must be compared with it. */
  originChanged: () => void
}

/** A replica that takes writes from the primary: serving or syncing. */
export class Secondary {
  /** Nothing that an earlier primary left open differs from this one's. */
  reconciled = false
  private readonly components: SecondaryComponents
  private readonly init: SecondaryInit
  private partition: DataPartition
  private origin: string | null = null
  private session = 0
  private sequence = 0
  /** Pieces of chunks that have not come whole: a chunk is replaced at once or not at all. */
  private readonly pieces = new Map<ChunkKey, Buffer[]>()
  private readonly lease: ReadLease

  constructor (components: SecondaryComponents, init: SecondaryInit) {
    this.components = components
    this.init = init
    this.partition = init.partition
    this.lease = new ReadLease(components, init.nodeId)
  }

  adopt (partition: DataPartition): void {
    const before = this.partition
    this.partition = partition
    this.lease.end()
    if (before.primary !== partition.primary) {
      this.origin = null
      this.session = 0
      this.reconciled = false
      this.init.unsettled.inherit()
    }
  }

  /** Takes its place in the chunk's order before it returns. */
  async apply (request: ReplicaApplyRequest, payload: readonly Buffer[]): Promise<ReplicaApplyResponse> {
    this.admit(request)
    this.init.unsettled.settle(request.committed)
    if (request.reconciled && this.reconciled) this.init.unsettled.inherited.clear()
    if (request.kind !== 'settle') await this.change(request, payload)
    return { full: this.components.store.space.full, reconciled: this.reconciled }
  }

  /** Whether the primary has made contact. */
  get met (): boolean { return this.origin !== null }

  /** Everything that was acknowledged before the call, and nothing that may yet be dropped. */
  async read (ino: number, chunk: number, offset: number, length: number): Promise<Buffer> {
    const key = keyOf({ ino, chunk })
    await this.lease.ensure(this.partition)
    if (!this.reconciled) throw new AtollError('ATOLL_UNAVAILABLE', 'this replica is comparing its chunks with the primary')
    const { epoch } = this.partition
    const isOpen = this.init.unsettled.isOpen(key)
    const bytes = await this.readHealed({ partition: this.partition.id, ino, chunk }, offset, length)
    if (isOpen) {
      await this.components.router.toNode(this.primary, 'replica.settled', { partition: this.partition.id, epoch, ino, chunk, origin: this.origin ?? '' })
    }
    return bytes
  }

  /** Has the primary send its copy. */
  async pull (chunks: Array<[ino: number, chunk: number]>, background = false): Promise<void> {
    const { id, epoch } = this.partition
    await this.components.router.toNode(this.primary, 'replica.pull', { partition: id, epoch, node: this.init.nodeId, chunks, ...(background && { background }) }, { timeoutMs: pullTimeoutMs })
  }

  private get primary (): NodeId {
    if (this.partition.primary === null) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${this.partition.id} has no primary`)
    return this.partition.primary
  }

  /** @throws ATOLL_STALE_EPOCH with the session that is known here */
  private admit ({ kind, origin, session, sequence }: ReplicaApplyRequest): void {
    if (kind === 'settle' && sequence === 0 && session > this.session) {
      this.session = session
      this.sequence = 0
      if (origin !== this.origin) this.meet(origin)
      return
    }
    const isNext = session === this.session && origin === this.origin && (kind === 'settle' || sequence === this.sequence + 1)
    if (!isNext) throw new AtollError('ATOLL_STALE_EPOCH', 'a message of another session', { session: this.session, sequence: this.sequence })
    if (kind !== 'settle') this.sequence = sequence
  }

  private meet (origin: string): void {
    this.origin = origin
    this.reconciled = false
    this.pieces.clear()
    this.init.unsettled.inherit()
    this.init.originChanged()
  }

  private async change (request: ReplicaApplyRequest, payload: readonly Buffer[]): Promise<void> {
    const key = keyOf(request)
    if (request.kind !== 'sync') this.init.unsettled.applied(key, request.order)
    try {
      await this.store(request, payload)
    } catch (error) {
      if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM' || request.kind === 'put') throw error
      // The primary's copy comes after this change in the chunk's order, and contains it.
      await this.pull([[request.ino, request.chunk]])
    }
  }

  private store ({ kind, ino, chunk, offset, length, sums, extents, chunks = [chunk], digest }: ReplicaApplyRequest, payload: readonly Buffer[]): Promise<void> {
    const { store } = this.components
    const name: ChunkName = { partition: this.partition.id, ino, chunk }
    switch (kind) {
      case 'write': {
        if (extents !== undefined) return store.writeRanges(name, rangesOf(extents, payload))
        const whole = sums === undefined ? null : WholeBlockSums.from(sums, offset, byteLengthOf(payload))
        return store.write(name, offset, payload, whole ?? undefined)
      }
      case 'truncate': return store.truncate(name, length)
      case 'zero': return store.zero(name, offset, length)
      case 'put': return this.put(name, length, offset, payload, digest)
      default: return store.syncChunks(name, chunks)
    }
  }

  private put (name: ChunkName, total: number, offset: number, payload: readonly Buffer[], digest?: number): Promise<void> {
    const key = keyOf(name)
    // Sent again, it takes the place of what came first.
    const before = piecesBefore(offset, this.pieces.get(key) ?? [])
    const pieces = [...before, ...payload]
    const end = byteLengthOf(pieces)
    // Those before it were acknowledged before this one was sent again. The primary's copy comes after it, and contains it.
    if (byteLengthOf(before) !== offset) return this.pull([[name.ino, name.chunk]])
    if (end < total) {
      this.pieces.set(key, pieces)
      return Promise.resolve()
    }
    this.pieces.delete(key)
    return this.putWhole(name, total, pieces, digest)
  }

  private async putWhole (name: ChunkName, total: number, pieces: Buffer[], digest?: number): Promise<void> {
    const { store } = this.components
    // Both take their places in the chunk's order at once: no later change comes between.
    const stored = store.put(name, total, 0, pieces)
    const own = digest === undefined ? null : store.digest(name)
    own?.catch(() => {})
    await stored
    const isWhole = own === null || (await own)?.digest === digest
    giveBack(pieces)
    if (isWhole) return
    // The primary gives this replica up, which then compares all that it has.
    throw new AtollError('ATOLL_BAD_MESSAGE', `the copy of chunk ${name.ino}.${name.chunk} was damaged on its way`)
  }

  private async readHealed (name: ChunkName, offset: number, length: number): Promise<Buffer> {
    try {
      return await this.components.store.read(name, offset, length)
    } catch (error) {
      if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM') throw error
      await this.pull([[name.ino, name.chunk]])
      return this.components.store.read(name, offset, length)
    }
  }
}

function piecesBefore (offset: number, pieces: readonly Buffer[]): Buffer[] {
  let end = 0
  return pieces.filter((piece) => (end += piece.length) <= offset)
}
