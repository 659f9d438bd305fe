import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import type { ChunkMutation, ChunkPosition, DataSyncRequest, DataWriteRequest, FileRange, ReplicaApplyRequest, ReplicaDigestsRequest, ReplicaDigestsResponse } from '../protocol/data.ts'
import { AtollError, codeOf, messageOf, posixError } from '../protocol/errors.ts'
import { bulkBuffers } from '../protocol/buffer-pool.ts'
import { byteLengthOf } from '../protocol/frame.ts'
import { rangesOf } from './ranges.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { WholeBlockSums } from './block-sums.ts'
import { inParallel, type ChunkName, type ChunkStore } from './chunk-store.ts'
import { copyPieceBytes, linkPendingBytesMax, reconcilePollMs, settleDelayMs, writersMax } from './constants.ts'
import type { DigestLister } from './digests.ts'
import { heal } from './heal.ts'
import { ReadFence, type ReadGrants } from './read-fence.ts'
import { ReplicaLink, type Entry, type Stamp } from './link.ts'
import { RecentChanges } from './recent-changes.ts'
import { Reporter } from './reporter.ts'
import { chunkOf, keyOf, type ChunkKey, type Unsettled } from './unsettled.ts'

export interface PrimaryComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

export interface PrimaryInit {
  nodeId: NodeId
  partition: DataPartition
  /** Reads are served by secondaries too. */
  tivoli: boolean
  /** Others may serve reads by leases of an earlier term: who, as far as is known. null: nobody may. */
  earlierReaders: (() => Promise<readonly NodeId[] | null>) | null
  grants: ReadGrants
  /** Names this term of office of this process. */
  origin: string
  unsettled: Unsettled
  lister: DigestLister
  /** Whether this process does not know which chunks its predecessor left open. */
  forgetful: () => boolean
  /** All serving replicas have compared with this one what was left open. */
  allReconciled: () => void
  /** A newer map has come. */
  mapChanged: () => void
}

type Kind = Exclude<ReplicaApplyRequest['kind'], 'put' | 'settle'>

/** What a mutation does. */
type Change = Omit<Entry, 'order'> & { kind: Kind }

interface Mutation extends Entry {
  /** null: it changes no chunk. */
  key: ChunkKey | null
  /** Replicas that were sent it and have not answered. */
  readonly waitingFor: Set<ReplicaLink>
  appliedHere: boolean
  done: Promise<void>
  resolve: () => void
  reject: (error: unknown) => void
}

/**
 * The primary's side of a partition: orders mutations, applies them here and at all replicas that take
 * writes, and answers when every serving one has them. A mutation that cannot reach one of them waits
 * until the manager has put it out of the set; it is never given up in between.
 */
export class Primary {
  readonly origin: string
  private readonly components: PrimaryComponents
  private readonly init: PrimaryInit
  private readonly reporter: Reporter
  private partition: DataPartition
  private readonly links = new Map<NodeId, ReplicaLink>()
  private readonly pending = new Map<number, Mutation>()
  private readonly pendingByChunk = new Map<ChunkKey, Set<Mutation>>()
  /** Chunks of which a whole copy is being made: mutations wait. */
  private readonly gates = new Map<ChunkKey, Promise<void>>()
  private readonly healing = new Map<ChunkKey, Promise<void>>()
  /** Waiting for the copies that were sent with `put`. */
  private readonly puts = new Map<Entry, { link: ReplicaLink, resolve: () => void, reject: (error: unknown) => void }>()
  private readonly writers = new Map<string, number>()
  private readonly changes = new RecentChanges()
  private lastOrder = 0
  /** While no change may begin. */
  private held: { until: Promise<void>, end: () => void } | null = null
  private reconciled = false
  private readonly fence: ReadFence
  private settleTimer: Timer | null = null
  private reconcileTimer: Timer | null = null
  private closed = false

  constructor (components: PrimaryComponents, init: PrimaryInit) {
    this.components = components
    this.init = init
    this.origin = init.origin
    this.partition = init.partition
    this.reporter = new Reporter(components, init.nodeId, () => this.partition, init.mapChanged)
    // Replicas that served reads under an earlier primary may do so until their leases have run out.
    this.fence = new ReadFence(components, () => this.partition, () => { this.checkAll() })
    if (init.earlierReaders !== null) this.fence.raise(init.earlierReaders)
    this.adopt(init.partition)
  }

  adopt (partition: DataPartition): void {
    const before = this.partition
    this.partition = partition
    const wanted = partition.replicas.filter(({ node, state }) => node !== this.init.nodeId && (state === 'serving' || state === 'syncing'))
    for (const link of [...this.links.values()]) if (!wanted.some(({ node }) => node === link.node)) this.drop(link)
    for (const { node, state } of wanted) {
      const link = this.links.get(node) ?? this.connect(node)
      link.serving = state === 'serving'
      link.greet()
    }
    const wasServing = (node: NodeId): boolean => before.replicas.some((replica) => replica.node === node && replica.state === 'serving')
    const isServing = (node: NodeId): boolean => node === this.init.nodeId || this.links.get(node)?.serving === true
    const dropped = this.init.grants.holders.filter((node) => wasServing(node) && !isServing(node))
    if (dropped.length > 0) this.fence.raise(async () => dropped)
    this.reconciled = false
    this.updateReconciled()
    this.checkAll()
  }

  /** Resolves when every serving replica has the change. */
  async mutate (kind: Exclude<Kind, 'sync'>, request: ChunkMutation & Pick<DataWriteRequest, 'extents'>, offset: number, length: number, payload: readonly Buffer[]): Promise<void> {
    this.admitWriter(request)
    const bytes = byteLengthOf(payload)
    this.requireCapacity()
    const key = keyOf(request)
    if (kind === 'write' && this.anyFull()) await this.requireNoGrowth(request, offset + length)
    while (this.held !== null || this.gates.has(key)) await (this.gates.get(key) ?? this.held?.until)
    this.requireOffice()
    if (request.since !== undefined) this.requireUnchanged(key, request.since, request.writer)
    this.changes.note(key, request.writer, this.lastOrder + 1)
    const { ino, chunk, extents } = request
    const change: Change = { kind, ino, chunk, offset, length, payload, bytes }
    if (extents !== undefined) change.extents = extents
    else if (kind === 'write') change.sums = WholeBlockSums.of(offset, bytes, payload)
    await this.start(change, key)
  }

  /** Resolves when every serving replica has on stable storage what was acknowledged before of these chunks. */
  async sync ({ ino, chunks }: Pick<DataSyncRequest, 'ino' | 'chunks'>): Promise<void> {
    this.requireCapacity()
    const keys = chunks.map((chunk) => keyOf({ ino, chunk }))
    while (keys.some((key) => this.gates.has(key))) await Promise.all(keys.map((key) => this.gates.get(key)))
    this.requireOffice()
    await this.start({ kind: 'sync', ino, chunk: chunks[0]!, chunks, offset: 0, length: 0, payload: [], bytes: 0 }, null)
  }

  /** All serving replicas have compared what earlier primaries had left open. */
  get isReconciled (): boolean { return this.reconciled }

  /**
   * Resolves when no change is under way; none begins before the answered function is called. Rejects with ATOLL_TIMEOUT, and then they go on.
   * Syncs change nothing, and may take long.
   */
  async hold (limitMs: number): Promise<() => void> {
    while (this.held !== null) await this.held.until
    let end = (): void => {}
    const held = { until: new Promise<void>((resolve) => { end = resolve }), end: () => {} }
    held.end = () => {
      if (this.held === held) this.held = null
      end()
    }
    this.held = held
    const done = Promise.all([...this.pending.values()].filter(({ kind }) => kind !== 'sync').map(succeeds))
    const isDone = await new Promise<boolean>((resolve) => {
      const timer = this.components.clock.setTimer(() => { resolve(false) }, limitMs)
      void done.then(() => {
        timer.cancel()
        resolve(true)
      })
    })
    if (isDone) return held.end
    held.end()
    throw new AtollError('ATOLL_TIMEOUT', `changes of partition ${this.partition.id} take longer than ${limitMs} ms`)
  }

  get position (): ChunkPosition { return { origin: this.origin, order: this.lastOrder } }

  /** What the chunk holds, once all of it is committed. */
  read (ino: number, chunk: number, offset: number, length: number): Promise<Buffer> {
    return this.whenCommitted(ino, chunk, offset, length, (name) => this.components.store.read(name, offset, length))
  }

  /** Where that is, for a reader on this machine; null: it must be read. */
  locate (ino: number, chunk: number, offset: number, length: number): Promise<FileRange | null> {
    return this.whenCommitted(ino, chunk, offset, length, (name) => this.components.store.locate(name, offset, length))
  }

  private async whenCommitted<T> (ino: number, chunk: number, offset: number, length: number, look: (name: ChunkName) => Promise<T>): Promise<T> {
    const name = this.nameOf(ino, chunk)
    const key = keyOf(name)
    for (let attempt = 0; ; attempt++) {
      const open = this.overlapping(key, offset, length)
      let found: T
      try {
        found = await look(name)
      } catch (error) {
        if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM' || attempt > 0) throw error
        await this.heal(name)
        continue
      }
      // One that failed may have left bytes that are no longer there.
      if (open.length === 0 || (await Promise.all(open.map(succeeds))).every(Boolean)) return found
      this.requireOffice()
    }
  }

  /** The chunks that were left open, or all if this process cannot tell. */
  recent (request: ReplicaDigestsRequest): Promise<ReplicaDigestsResponse> {
    const { forgetful, lister, unsettled } = this.init
    return forgetful() ? lister.page(request.after, request.limit) : lister.of([...unsettled.inherited].map(chunkOf))
  }

  /** Sends whole chunks to a replica, each in its place among the chunk's mutations. */
  async pull (node: NodeId, chunks: Array<[ino: number, chunk: number]>): Promise<void> {
    const link = this.links.get(node)
    if (link === undefined) throw new AtollError('ATOLL_STALE_EPOCH', `${node} takes no writes of partition ${this.partition.id}`)
    await inParallel(1, chunks, ([ino, chunk]) => this.copyTo([link], this.nameOf(ino, chunk)))
  }

  /** Nothing is acknowledged without the replica from now on; resolves when it has all that was before. */
  async join (node: NodeId): Promise<void> {
    const link = this.links.get(node)
    if (link === undefined) throw new AtollError('ATOLL_STALE_EPOCH', `${node} takes no writes of partition ${this.partition.id}`)
    link.awaited = true
    await link.drained()
    this.requireOffice()
  }

  /** Resolves when nothing that was under way on the chunk is any more. */
  async settled (ino: number, chunk: number): Promise<void> {
    const key = keyOf({ ino, chunk })
    while (this.gates.has(key)) await this.gates.get(key)
    await Promise.all([...this.pendingByChunk.get(key) ?? []].map(succeeds))
    this.requireOffice()
  }

  /** Makes this replica's copy of a chunk whole again from a serving one that has all mutations of it. */
  heal (name: ChunkName): Promise<void> {
    const key = keyOf(name)
    let running = this.healing.get(key)
    if (running === undefined) {
      running = this.gated(key, () => heal(this.components, this.partition, name, () => this.servingLinks()))
        .then(() => { for (const mutation of [...this.pendingByChunk.get(key) ?? []]) this.applied(mutation) })
        .finally(() => { this.healing.delete(key) })
      this.healing.set(key, running)
    }
    return running
  }

  /** Sends this replica's copy of a chunk to a replica that differs. */
  overwrite (node: NodeId, name: ChunkName): Promise<void> { return this.pull(node, [[name.ino, name.chunk]]) }

  /** Whether all leases that an earlier primary may have granted are accounted for. */
  get isFenced (): boolean { return this.fence.isUp }

  servingLinks (): ReplicaLink[] { return [...this.links.values()].filter(({ serving }) => serving) }

  /** Ends the term: what is under way may or may not have been applied, and is handed on as inherited. */
  close (): void {
    this.closed = true
    this.held?.end()
    this.reporter.close()
    this.fence.close()
    this.settleTimer?.cancel()
    this.reconcileTimer?.cancel()
    const error = this.noLongerPrimary()
    for (const mutation of this.pending.values()) {
      if (mutation.key !== null) this.init.unsettled.inherited.add(mutation.key)
      mutation.reject(error)
    }
    this.pending.clear()
    this.pendingByChunk.clear()
    for (const link of [...this.links.values()]) this.drop(link)
  }

  /** `key`: of the chunk that it changes, if it does. */
  private async start (change: Change, key: ChunkKey | null): Promise<void> {
    const mutation: Mutation = { ...change, key, order: ++this.lastOrder, waitingFor: new Set(), appliedHere: false, done: nothing, resolve: () => {}, reject: () => {} }
    mutation.done = new Promise((resolve, reject) => { mutation.resolve = resolve; mutation.reject = reject })
    this.pending.set(mutation.order, mutation)
    if (key !== null) {
      let together = this.pendingByChunk.get(key)
      if (together === undefined) this.pendingByChunk.set(key, together = new Set())
      together.add(mutation)
    }
    for (const link of this.links.values()) {
      mutation.waitingFor.add(link)
      link.send(mutation)
    }
    this.applyHere(mutation).then(() => { this.applied(mutation) }, (error) => { void this.failedHere(mutation, error) })
    await mutation.done
  }

  private applyHere ({ kind, ino, chunk, offset, length, payload, sums, extents, chunks = [chunk] }: Mutation): Promise<void> {
    const { store } = this.components
    const name = this.nameOf(ino, chunk)
    switch (kind) {
      case 'write': return extents === undefined ? store.write(name, offset, payload, sums) : store.writeRanges(name, rangesOf(extents, payload))
      case 'truncate': return store.truncate(name, length)
      case 'zero': return store.zero(name, offset, length)
      default: return store.syncChunks(name, chunks)
    }
  }

  private applied (mutation: Mutation): void {
    mutation.appliedHere = true
    this.check(mutation)
  }

  /** The other replicas may have applied what this one could not. */
  private async failedHere (mutation: Mutation, error: unknown): Promise<void> {
    if (this.closed) return
    const name = this.nameOf(mutation.ino, mutation.chunk)
    const { key } = mutation
    const code = codeOf(error)
    try {
      if (code === 'ATOLL_BAD_CHECKSUM' && key !== null) {
        await this.heal(name)
        return
      }
      this.components.log.warn('cannot apply a mutation', { partition: this.partition.id, code, cause: messageOf(error) })
      if (key === null) throw error
      await Promise.allSettled(await this.gated(key, () => this.sendCopies([...this.links.values()], name)))
    } catch (failure) {
      // A replica that can neither change a chunk nor say what it holds should not be the primary, if there is another.
      if (codeOf(failure) !== 'ATOLL_BAD_CHECKSUM' && this.servingLinks().length > 0) this.reporter.report(this.init.nodeId)
    }
    this.finish(mutation)
    mutation.reject(error)
  }

  private acknowledged (link: ReplicaLink, entry: Entry): void {
    if (entry.kind === 'put') {
      this.puts.get(entry)?.resolve()
      this.puts.delete(entry)
      return
    }
    const mutation = this.pending.get(entry.order)
    if (mutation === undefined) return
    mutation.waitingFor.delete(link)
    this.check(mutation)
  }

  private check (mutation: Mutation): void {
    if (!mutation.appliedHere || !this.pending.has(mutation.order)) return
    for (const link of mutation.waitingFor) if (link.serving || link.awaited) return
    if (this.fence.isUp) return
    this.finish(mutation)
    mutation.resolve()
  }

  private checkAll (): void {
    for (const mutation of [...this.pending.values()]) this.check(mutation)
  }

  private finish (mutation: Mutation): void {
    if (!this.pending.delete(mutation.order)) return
    this.settleSoon()
    const { key } = mutation
    if (key === null) return
    const together = this.pendingByChunk.get(key)
    together?.delete(mutation)
    if (together?.size === 0) this.pendingByChunk.delete(key)
  }

  private get committed (): number {
    for (const order of this.pending.keys()) return order - 1
    return this.lastOrder
  }

  private readonly stamp = (): Stamp => ({
    partition: this.partition.id, epoch: this.partition.epoch, origin: this.origin, committed: this.committed, reconciled: this.reconciled
  })

  private settleSoon (): void {
    if (this.closed || this.links.size === 0) return
    this.settleTimer ??= this.components.clock.setTimer(() => {
      this.settleTimer = null
      for (const link of this.links.values()) link.settle()
    }, settleDelayMs)
  }

  private connect (node: NodeId): ReplicaLink {
    const link = new ReplicaLink(this.components, {
      node,
      serving: false,
      stamp: this.stamp,
      acknowledged: (link, entry) => { this.acknowledged(link, entry) },
      changed: () => { this.updateReconciled() },
      failed: (link) => { this.reporter.report(link.node) }
    })
    this.links.set(node, link)
    return link
  }

  private drop (link: ReplicaLink): void {
    this.links.delete(link.node)
    link.close()
    for (const mutation of this.pending.values()) mutation.waitingFor.delete(link)
    for (const [entry, waiting] of this.puts) {
      if (waiting.link !== link) continue
      this.puts.delete(entry)
      waiting.reject(new AtollError('ATOLL_STALE_EPOCH', `${link.node} takes no writes of partition ${this.partition.id} any more`))
    }
  }

  private updateReconciled (): void {
    if (this.reconciled || this.closed) return
    if (this.servingLinks().every((link) => link.reconciled)) {
      this.reconciled = true
      this.init.unsettled.inherited.clear()
      this.init.allReconciled()
      this.settleSoon()
      return
    }
    this.reconcileTimer ??= this.components.clock.setTimer(() => {
      this.reconcileTimer = null
      for (const link of this.links.values()) if (!link.reconciled) link.refresh()
      this.updateReconciled()
    }, reconcilePollMs)
  }

  /** Copies a chunk as it is after all mutations so far; resolves when all have it. */
  private async copyTo (links: ReplicaLink[], name: ChunkName): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        await Promise.all(await this.gated(keyOf(name), () => this.sendCopies(links, name)))
        return
      } catch (error) {
        if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM' || attempt > 0) throw error
        await this.heal(name)
      }
    }
  }

  private async sendCopies (links: ReplicaLink[], name: ChunkName): Promise<Array<Promise<void>>> {
    const { store } = this.components
    const { length, digest } = await store.digest(name) ?? { length: 0, digest: undefined }
    const copies: Array<Promise<void>> = []
    for (let offset = 0; offset === 0 || offset < length; offset += copyPieceBytes) {
      const piece = await store.read(name, offset, Math.min(copyPieceBytes, length - offset))
      for (const link of links) {
        const entry: Entry = { kind: 'put', ino: name.ino, chunk: name.chunk, offset, length, payload: [piece], bytes: piece.length, order: this.lastOrder }
        if (digest !== undefined && offset + piece.length === length) entry.digest = digest
        copies.push(this.sendCopy(link, entry))
      }
      bulkBuffers.give(piece)
    }
    return copies
  }

  private sendCopy (link: ReplicaLink, entry: Entry): Promise<void> {
    const copy = new Promise<void>((resolve, reject) => {
      if (this.links.get(link.node) !== link) reject(new AtollError('ATOLL_STALE_EPOCH', `${link.node} is gone`))
      else this.puts.set(entry, { link, resolve, reject })
    })
    copy.catch(() => {})
    if (this.puts.has(entry)) link.send(entry)
    return copy
  }

  /** Runs `work` while no mutation of the chunk starts. */
  private async gated<T> (key: ChunkKey, work: () => Promise<T>): Promise<T> {
    while (this.gates.has(key)) await this.gates.get(key)
    this.requireOffice()
    let open = (): void => {}
    this.gates.set(key, new Promise((resolve) => { open = resolve }))
    try {
      return await work()
    } finally {
      this.gates.delete(key)
      open()
    }
  }

  private overlapping (key: ChunkKey, offset: number, length: number): Mutation[] {
    const together = this.pendingByChunk.get(key)
    if (together === undefined) return []
    return [...together].filter((mutation) => {
      if (mutation.kind === 'truncate') return offset + length > mutation.length
      // One behind the range may make the chunk longer; but what is missing reads as zeros as well.
      return mutation.offset < offset + length && mutation.offset + mutation.length > offset
    })
  }

  private admitWriter ({ writer, order }: ChunkMutation): void {
    if (writer === undefined || order === undefined) return
    const last = this.writers.get(writer)
    if (last !== undefined && order <= last) throw new AtollError('ATOLL_SUPERSEDED', 'a later attempt of this client has arrived already')
    this.writers.delete(writer)
    this.writers.set(writer, order)
    if (this.writers.size > writersMax) this.writers.delete(this.writers.keys().next().value!)
  }

  private requireUnchanged (key: ChunkKey, { origin, order }: ChunkPosition, writer: string | undefined): void {
    if (origin === this.origin && this.changes.othersOrder(key, writer) <= order) return
    throw new AtollError('ATOLL_CHANGED', `chunk ${key} may have been changed by others since`)
  }

  private requireCapacity (): void {
    for (const link of this.links.values()) {
      if (link.pendingBytes > linkPendingBytesMax) throw new AtollError('ATOLL_UNAVAILABLE', `too much waits for ${link.node}`)
    }
  }

  private anyFull (): boolean {
    if (this.components.store.space.full) return true
    for (const link of this.links.values()) if (link.serving && link.full) return true
    return false
  }

  private async requireNoGrowth ({ ino, chunk }: ChunkMutation, end: number): Promise<void> {
    const digest = await this.components.store.digest(this.nameOf(ino, chunk)).catch(() => null)
    if (end <= (digest?.length ?? 0)) return
    // Asks again whether there is room.
    for (const link of this.links.values()) if (link.full) link.refresh()
    throw posixError('ENOSPC', 'the disk of a replica is full')
  }

  private requireOffice (): void {
    if (this.closed) throw this.noLongerPrimary()
  }

  private noLongerPrimary (): AtollError {
    return new AtollError('ATOLL_NOT_PRIMARY', `${this.init.nodeId} is no longer the primary of partition ${this.partition.id}`)
  }

  private nameOf (ino: number, chunk: number): ChunkName { return { partition: this.partition.id, ino, chunk } }
}

const nothing = Promise.resolve()

function succeeds (mutation: Mutation): Promise<boolean> {
  return mutation.done.then(() => true, () => false)
}
