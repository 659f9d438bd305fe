import { holdsChunk } from '../../partitioning/routing.ts'
import type { DataPartition, NodeId, ReplicaState } from '../../partitioning/types.ts'
import type {
  ChunkPosition, DataPositionRequest, DataReadRequest, DataSyncRequest, DataTruncateRequest, DataWriteRequest, DataZeroRequest, FileRange, ReplicaApplyRequest, ReplicaApplyResponse,
  ReplicaDigestsRequest, ReplicaDigestsResponse, ReplicaJoinedRequest, ReplicaLeaseRequest, ReplicaPassedRequest, ReplicaPassedResponse, ReplicaPullRequest, ReplicaSettledRequest
} from '../protocol/data.ts'
import { AtollError } from '../protocol/errors.ts'
import { byteLengthOf } from '../protocol/frame.ts'
import { endOf } from './ranges.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { passedTimeoutMs, ReadGrants } from './read-fence.ts'
import type { CopyGovernor } from './copy-governor.ts'
import { badChecksum } from './chunk-file.ts'
import type { ChunkName, ChunkStore } from './chunk-store.ts'
import { leadersHiddenEpochs, nodePendingBytesMax, tivoliForgottenMs } from './constants.ts'
import { DigestLister } from './digests.ts'
import { Primary, type PrimaryInit } from './primary.ts'
import { Recovery, reportSynced } from './recovery.ts'
import { scrubReplica, type ScrubInit, type ScrubStep } from './scrub.ts'
import { Secondary } from './secondary.ts'
import { bringToSplit } from './splitter.ts'
import { Unsettled, type ChunkKey } from './unsettled.ts'

export interface DataPartitionReplicaComponents {
  clock: Clock
  log: Logger
  store: ChunkStore
  router: ClusterRouter
  /** Whether this node may serve now: it holds a lease from the manager. */
  lease: () => boolean
  /** Payload of the writes under way at all replicas of this node. */
  budget?: { bytes: number }
  /** Paces copies; of all replicas of this node. */
  governor?: CopyGovernor
}

export interface DataPartitionReplicaInit {
  nodeId: NodeId
  partition: string
  /** Of the replica here of the partition that this one was split off just now. */
  heritage?: Heritage
}

export interface PartitionLoad { partition: string, readBytes: number, writeBytes: number, reads: number, writes: number }

interface FormerTerm { grants: ReadGrants, firstEpoch: number, lastEpoch: number }

/** What a replica of a partition that is split knows of the chunks that others hold from now on. Epochs go on from those before. */
export interface Heritage {
  /** May differ between replicas. */
  unsettled: ChunkKey[]
  forgetful: boolean
  former: FormerTerm | null
  lastLeader: { node: NodeId, epoch: number } | null
  tivoliSeenMs: number
}

/**
 * This node's copy of a data partition. The manager's map, handed in by `adopt`, says what it is: primary,
 * serving or syncing secondary, or none of them. All requests are answered for the epoch of that map only.
 */
export class DataPartitionReplica {
  readonly id: string
  private readonly components: DataPartitionReplicaComponents
  private readonly nodeId: NodeId
  private readonly unsettled = new Unsettled()
  private partition: DataPartition | null = null
  private primary: Primary | null = null
  private secondary: Secondary | null = null
  private recovery: Recovery | null = null
  private tivoli = false
  /** Not yet compared with a primary since the process started after it had not been closed. */
  private forgetful: boolean
  private terms = 0
  private grants: ReadGrants
  /** What may be left of read leases that this process granted when it led last. */
  private former: FormerTerm | null = null
  /** Of the present term, or the last one. */
  private firstEpoch = 0
  private lastLedEpoch = 0
  /** Who led last, and in which epoch, as far as this replica has seen. */
  private lastLeader: { node: NodeId, epoch: number } | null = null
  /** When others than the primary could serve reads, as far as this replica has seen. */
  private tivoliSeenMs = -Infinity
  private load: PartitionLoad
  private readonly lister: DigestLister
  /** Is being brought to a point at which it can be split. */
  private splits: Primary | null = null
  private closed = false

  constructor (components: DataPartitionReplicaComponents, init: DataPartitionReplicaInit) {
    this.components = { ...components, log: components.log.child({ partition: init.partition }) }
    this.id = init.partition
    this.nodeId = init.nodeId
    const { heritage } = init
    this.forgetful = heritage?.forgetful ?? !components.store.wasClosed
    if (heritage !== undefined) {
      for (const key of heritage.unsettled) this.unsettled.inherited.add(key)
      this.former = heritage.former
      this.lastLeader = heritage.lastLeader
      this.tivoliSeenMs = heritage.tivoliSeenMs
    }
    this.load = emptyLoad(init.partition)
    this.grants = new ReadGrants(components.clock)
    this.lister = new DigestLister(components, init.partition, (name) => this.heal(name))
  }

  get epoch (): number { return this.partition?.epoch ?? 0 }

  get state (): ReplicaState | 'none' {
    return this.partition?.replicas.find(({ node }) => node === this.nodeId)?.state ?? 'none'
  }

  get isPrimary (): boolean { return this.primary !== null }

  /** Every replica has all that this one has, as far as it knows: a clean start may trust it. */
  get settled (): boolean { return this.unsettled.empty && !this.forgetful && this.recovery === null }

  /** Chunks that the current recovery has copied; null when none runs. */
  get recovering (): number | null { return this.recovery?.copied ?? null }

  /** Acts on a newer state of the partition; older ones are ignored. Answers what those have of it that were split off. */
  adopt (partition: DataPartition): Heritage | null {
    if (this.closed || (this.partition !== null && partition.epoch <= this.partition.epoch)) return null
    const before = this.partition
    this.partition = partition
    const isNext = before !== null && partition.epoch === before.epoch + 1
    const leader = this.lastLeader !== null && partition.epoch - this.lastLeader.epoch <= leadersHiddenEpochs ? this.lastLeader : null
    this.lastLeader = partition.primary === null ? leader : { node: partition.primary, epoch: partition.epoch }
    const wasTivoli = this.tivoli
    const now = this.components.clock.now()
    this.tivoli = this.isTivoli(partition)
    if (wasTivoli) this.tivoliSeenMs = now
    // The volume has another policy: whoever writes must know whether others read.
    const isSplit = before !== null && before.span !== partition.span
    if (wasTivoli !== this.tivoli || isSplit) this.endTerm()
    this.recovery?.stop()
    this.recovery = null
    if (isSplit) this.leaveSecondary()
    const heritage = isSplit ? this.bequeath((ino, chunk) => holdsChunk(partition, ino, chunk), leader) : null
    const { state } = this
    const isPrimary = partition.primary === this.nodeId && state === 'serving'
    if (!isPrimary) this.endTerm()
    if (isPrimary || (state !== 'serving' && state !== 'syncing')) this.leaveSecondary()
    // Under Hawaii nobody reads but the primary.
    const othersMayRead = now - this.tivoliSeenMs < tivoliForgottenMs || (this.tivoli && !isNext)
    if (isPrimary) this.serveAsPrimary(partition, othersMayRead ? this.earlierReaders(leader) : null)
    else if (state === 'serving' || state === 'syncing') this.serveAsSecondary(partition, state)
    return heritage
  }

  /** The manager wants the partition split, at a point at which nothing is under way. */
  prepareSplit (): void {
    const { components, nodeId, primary } = this
    if (primary === null || this.splits === primary) return
    this.splits = primary
    void bringToSplit(components, { nodeId, primary, partition: () => this.primary === primary ? this.partition : null }).finally(() => {
      if (this.splits === primary) this.splits = null
    })
  }

  /** @throws AtollError ATOLL_STALE_EPOCH: since the partition was split, the chunk is in another one. */
  requireChunk (ino: number, chunk: number): void {
    if (this.partition === null || holdsChunk(this.partition, ino, chunk)) return
    throw new AtollError('ATOLL_STALE_EPOCH', `chunk ${ino}.${chunk} is not in partition ${this.id} any more`)
  }

  async write (request: DataWriteRequest, payload: readonly Buffer[]): Promise<void> {
    const primary = this.requirePrimary(request.epoch)
    const bytes = byteLengthOf(payload)
    this.load.writes++
    this.load.writeBytes += bytes
    if (bytes === 0) return
    const { budget, clock, governor } = this.components
    if (budget !== undefined && budget.bytes + bytes > nodePendingBytesMax) throw new AtollError('ATOLL_UNAVAILABLE', `${this.nodeId} has too many writes under way`)
    if (budget !== undefined) budget.bytes += bytes
    const began = governor === undefined ? 0 : clock.now()
    try {
      await primary.mutate('write', request, request.offset, endOf(request, bytes) - request.offset, payload)
      governor?.served(clock.now() - began, bytes)
    } finally {
      if (budget !== undefined) budget.bytes -= bytes
    }
  }

  async truncate (request: DataTruncateRequest): Promise<void> {
    await this.requirePrimary(request.epoch).mutate('truncate', request, 0, request.length, [])
  }

  async zero (request: DataZeroRequest): Promise<void> {
    await this.requirePrimary(request.epoch).mutate('zero', request, request.offset, request.length, [])
  }

  async sync (request: DataSyncRequest): Promise<void> {
    await this.requirePrimary(request.epoch).sync(request)
  }

  position ({ epoch }: DataPositionRequest): ChunkPosition { return this.requirePrimary(epoch).position }

  async read (request: DataReadRequest): Promise<Buffer> {
    const { ino, chunk, offset, length } = request
    const secondary = this.tivoli && this.state === 'serving' ? this.secondary : null
    const reader = secondary ?? this.requirePrimary(request.epoch)
    if (secondary !== null) this.requireServing(request.epoch)
    const { clock, governor } = this.components
    const began = governor === undefined ? 0 : clock.now()
    const bytes = await reader.read(ino, chunk, offset, length)
    governor?.served(clock.now() - began, bytes.length)
    this.load.reads++
    this.load.readBytes += bytes.length
    return bytes
  }

  /**
   * Where the bytes are, for a reader on this machine; null: it must read through the node. Under Tivoli the disk's measurements decide who
   * leads and who reads, and copies make way for clients by what their reads take here: both want to see the reads.
   */
  async locate (request: DataReadRequest): Promise<FileRange | null> {
    const primary = this.requirePrimary(request.epoch)
    if (this.tivoli || this.components.governor?.isCopying === true) return null
    const range = await primary.locate(request.ino, request.chunk, request.offset, request.length)
    if (range === null) return null
    this.load.reads++
    this.load.readBytes += range.count
    return range
  }

  /** Takes its place in the chunk's order before it returns. */
  async apply (request: ReplicaApplyRequest, payload: readonly Buffer[]): Promise<ReplicaApplyResponse> {
    this.requireEpoch(request.epoch)
    if (this.secondary === null) throw new AtollError('ATOLL_STALE_EPOCH', `${this.nodeId} takes no writes of partition ${this.id}`)
    return this.secondary.apply(request, payload)
  }

  /** Bytes as they are here, verified. */
  async readOwn ({ epoch, ino, chunk, offset, length }: DataReadRequest): Promise<Buffer> {
    this.requireEpoch(epoch)
    if (this.state !== 'serving') throw new AtollError('ATOLL_UNAVAILABLE', `the replica on ${this.nodeId} is not in sync`)
    return this.components.store.read({ partition: this.id, ino, chunk }, offset, length)
  }

  /** What this replica's chunks are. */
  async digests (request: ReplicaDigestsRequest): Promise<ReplicaDigestsResponse> {
    if (this.primary === null) this.requireEpoch(request.epoch)
    else this.requirePrimary(request.epoch)
    if (request.chunks !== undefined) return this.lister.of(request.chunks)
    return request.recent ? this.requirePrimary(request.epoch).recent(request) : this.lister.page(request.after, request.limit)
  }

  async pull ({ epoch, node, chunks, background }: ReplicaPullRequest): Promise<void> {
    const primary = this.requirePrimary(epoch)
    if (background === true) {
      for (const [ino, chunk] of chunks) await this.pace({ partition: this.id, ino, chunk })
      this.requirePrimary(epoch)
    }
    await primary.pull(node, chunks)
  }

  /** Resolves when the chunk may be copied, or read back. */
  private async pace (name: ChunkName): Promise<void> {
    const { governor, store } = this.components
    if (governor === undefined || this.partition === null) return
    const digest = await store.digest(name).catch(() => null)
    await governor.take(digest?.length ?? 0, this.isEndangered(this.partition))
  }

  private isEndangered ({ replicas, volume }: DataPartition): boolean {
    const wanted = this.components.router.map.volumes.find(({ id }) => id === volume)?.replicas ?? replicas.length
    return replicas.filter(({ state }) => state === 'serving').length < wanted
  }

  settle ({ epoch, ino, chunk, origin }: ReplicaSettledRequest): Promise<void> {
    const primary = this.requirePrimary(epoch)
    if (primary.origin !== origin) throw new AtollError('ATOLL_STALE_EPOCH', 'asked of another term of this primary')
    return primary.settled(ino, chunk)
  }

  join ({ epoch, node }: ReplicaJoinedRequest): Promise<void> { return this.requirePrimary(epoch).join(node) }

  grantLease ({ epoch, node }: ReplicaLeaseRequest): void {
    if (!this.tivoli) throw new AtollError('ATOLL_NOT_PRIMARY', 'the primary alone serves reads')
    if (!this.requirePrimary(epoch).servingLinks().some((link) => link.node === node)) throw new AtollError('ATOLL_STALE_EPOCH', `${node} is not serving`)
    this.grants.grant(node)
  }

  /** What clients read and wrote since the last call. */
  takeLoad (): PartitionLoad {
    const { load } = this
    this.load = emptyLoad(this.id)
    return load
  }

  /**
   * Verifies every block of this replica, repairs what is damaged, and, on the primary, compares all serving
   * replicas and overwrites those that differ. Fails with ATOLL_STALE_EPOCH when the replica's role changes meanwhile.
   */
  scrub (init: ScrubInit = {}): AsyncIterable<ScrubStep> {
    const { primary, partition } = this
    if (partition === null || this.state !== 'serving') throw new AtollError('ATOLL_UNAVAILABLE', `the replica of ${this.id} on ${this.nodeId} is not in sync`)
    return scrubReplica(this.components, {
      ...init,
      partition,
      current: () => this.partition === partition && !this.closed,
      heal: (name) => this.heal(name),
      others: () => primary?.servingLinks().map((link) => link.node) ?? [],
      settled: (name) => primary?.settled(name.ino, name.chunk) ?? Promise.resolve(),
      overwrite: (node, name) => primary!.overwrite(node, name)
    })
  }

  /** Answers nothing any more; the store stays open. What was split off it meanwhile has what is answered. */
  close (): Heritage {
    this.closed = true
    this.recovery?.stop()
    this.endTerm()
    this.leaveSecondary()
    return this.bequeath(() => false, this.lastLeader)
  }

  private bequeath (keeps: (ino: number, chunk: number) => boolean, lastLeader: Heritage['lastLeader']): Heritage {
    const { forgetful, former, tivoliSeenMs } = this
    return { unsettled: this.unsettled.release(keeps), forgetful, former, lastLeader, tivoliSeenMs }
  }

  /** Makes the copy of a chunk whole again from another replica. */
  private async heal (name: ChunkName): Promise<void> {
    if (this.primary !== null) await this.primary.heal(name)
    else if (this.secondary !== null) await this.secondary.pull([[name.ino, name.chunk]])
    else throw badChecksum(name.ino, name.chunk, [])
  }

  private serveAsPrimary (partition: DataPartition, earlierReaders: PrimaryInit['earlierReaders']): void {
    this.lastLedEpoch = partition.epoch
    if (this.primary !== null) {
      this.primary.adopt(partition)
      return
    }
    this.unsettled.inherit()
    this.firstEpoch = partition.epoch
    const origin = `${this.nodeId}/${partition.epoch}/${this.components.clock.wallNs()}/${++this.terms}`
    const { lister, nodeId, tivoli, unsettled } = this
    this.components.log.info('primary', { epoch: partition.epoch })
    this.primary = new Primary(this.components, {
      nodeId,
      partition,
      tivoli,
      earlierReaders,
      grants: this.grants,
      origin,
      unsettled,
      lister,
      forgetful: () => this.forgetful,
      allReconciled: () => { this.forgetful = false },
      mapChanged: () => { this.adoptFromMap() }
    })
  }

  private serveAsSecondary (partition: DataPartition, state: 'serving' | 'syncing'): void {
    if (this.secondary === null) {
      this.unsettled.inherit()
      this.secondary = new Secondary(this.components, { nodeId: this.nodeId, partition, unsettled: this.unsettled, originChanged: () => { this.recover() } })
    } else {
      this.secondary.adopt(partition)
    }
    this.components.log.debug('secondary', { epoch: partition.epoch, state })
    if (state === 'syncing') this.forgetful = true
    // A primary that has not made contact yet will, and its first message starts the comparison.
    if (this.secondary.met) this.recover()
  }

  /** Compares with the primary what may differ from it. */
  private recover (): void {
    const { partition, secondary, state } = this
    if (partition === null || secondary === null || (state === 'serving' && secondary.reconciled)) return
    this.recovery?.stop()
    const recovery = new Recovery(this.components, {
      nodeId: this.nodeId,
      partition,
      scope: this.forgetful ? 'all' : 'open',
      unsettled: this.unsettled,
      pull: (chunks) => secondary.pull(chunks, true),
      pace: (name) => this.pace(name),
      done: async () => {
        // Before the report, whose answer may already be acted upon within it.
        this.forgetful = false
        secondary.reconciled = true
        if (state === 'syncing') await reportSynced(this.components, this.nodeId, partition)
        if (this.recovery === recovery) this.recovery = null
        this.adoptFromMap()
      }
    })
    this.recovery = recovery
    void recovery.run()
  }

  private adoptFromMap (): void {
    try {
      this.adopt(this.components.router.dataPartition(this.id))
    } catch (error) {
      this.components.log.debug('the partition is not in the map', { cause: String(error) })
    }
  }

  private endTerm (): void {
    if (this.primary === null) return
    const { grants, firstEpoch } = this
    this.former = this.primary.isFenced ? null : { grants, firstEpoch, lastEpoch: this.lastLedEpoch }
    this.grants = new ReadGrants(this.components.clock)
    this.primary.close()
    this.primary = null
  }

  /** How to find out who may still read by leases of the primary before this one. */
  private earlierReaders (leader: { node: NodeId, epoch: number } | null): () => Promise<readonly NodeId[] | null> {
    const { epoch, id } = this
    if (leader === null) return async () => null
    const { node, epoch: ledIn } = leader
    if (node === this.nodeId) return async () => this.passed({ partition: id, epoch, ledIn }).granted
    return async () => {
      const { body } = await this.components.router.toNode(node, 'replica.passed', { partition: id, epoch, ledIn }, { timeoutMs: passedTimeoutMs })
      return body.granted === null ? null : body.granted.filter((other) => other !== this.nodeId)
    }
  }

  /** @throws AtollError ATOLL_STALE_EPOCH while this replica is in an earlier epoch. */
  passed ({ epoch, ledIn }: ReplicaPassedRequest): ReplicaPassedResponse {
    if (this.epoch < epoch) this.requireEpoch(epoch)
    const { former } = this
    const isKnown = ledIn !== undefined && former !== null && former.firstEpoch <= ledIn && ledIn <= former.lastEpoch
    return { granted: isKnown ? former.grants.holders : null }
  }

  private leaveSecondary (): void {
    if (this.secondary === null) return
    this.unsettled.inherit()
    this.secondary = null
  }

  private isTivoli (partition: DataPartition): boolean {
    return this.components.router.map.volumes.find(({ id }) => id === partition.volume)?.placement === 'tivoli'
  }

  private requireEpoch (epoch: number): void {
    if (this.closed) throw new AtollError('ATOLL_UNAVAILABLE', `${this.nodeId} is stopping`)
    if (epoch === this.epoch) return
    if (epoch > this.epoch) this.components.router.refresh().catch(() => {})
    throw new AtollError('ATOLL_STALE_EPOCH', `partition ${this.id} is at epoch ${this.epoch}, the message at ${epoch}`, { epoch: this.epoch })
  }

  private requireServing (epoch: number): void {
    this.requireEpoch(epoch)
    if (!this.components.lease()) throw new AtollError('ATOLL_UNAVAILABLE', `${this.nodeId} holds no lease from the manager`)
  }

  private requirePrimary (epoch: number): Primary {
    this.requireEpoch(epoch)
    if (this.primary === null) throw new AtollError('ATOLL_NOT_PRIMARY', `${this.nodeId} is not the primary of partition ${this.id}`)
    this.requireServing(epoch)
    return this.primary
  }
}

function emptyLoad (partition: string): PartitionLoad {
  return { partition, readBytes: 0, writeBytes: 0, reads: 0, writes: 0 }
}
