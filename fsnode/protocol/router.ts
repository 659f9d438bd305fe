import { dataPartitionOfChunk } from '../../partitioning/routing.ts'
import type { ClusterMap, DataPartition, NodeId, NodeInfo, PartitionId, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError, codeOf, isRetryable } from './errors.ts'
import { firstOf } from './first-of.ts'
import type { Method, Methods } from './methods.ts'
import type { Answer, CallOptions, Handlers, Peer } from './peer.ts'
import { PeerPool } from './pool.ts'
import type { Address, Clock, Logger, Network, Random } from './ports.ts'

/** How long a request is retried before its last error is handed on. */
export const outageMsMax = 60_000
export const retryDelayMsMin = 5
export const retryDelayMsMax = 500
/** Names of a leader that are followed one after the other without a pause. */
export const namesFollowedMax = 3
export const mapWaitMs = 10_000
/** One attempt; the next may go elsewhere. */
export const attemptTimeoutMs = 10_000
/** One attempt to get the map, beyond the time that it may wait for a new one. */
export const mapTimeoutMs = 2_000
/** After so much of it another node is asked, too: one that hangs must not keep anybody from learning who serves instead. */
export const mapDoubtMs = 250
/** How long members are asked who leads, where the leader does not answer. */
export const findLeaderMs = 250

export interface RouterComponents { network: Network, clock: Clock, random: Random, log: Logger }

export interface RouterInit {
  /** Nodes to ask for the first map; the map's own nodes serve afterwards. */
  seeds: Address[]
  /** What is answered on connections made from here (lease recalls). */
  handlers?: Handlers
}

export interface RouteOptions extends CallOptions {
  /** Total time over all attempts, milliseconds; default `outageMsMax`. */
  patienceMs?: number
  /** Called before each attempt after the first; a throw ends the retries. */
  onRetry?: (error: AtollError, attempt: number) => void
}

/**
 * Knows the cluster map and where each request goes: to a node, the manager's leader, a metadata
 * partition's leader or a data partition's primary. Follows moves by retrying within `patienceMs`.
 * A retried mutation must carry its operation number.
 */
export class ClusterRouter {
  private readonly components: RouterComponents
  private readonly pool: PeerPool
  private readonly seeds: Address[]
  private current: ClusterMap | null = null
  private readonly leaders = new Map<string, NodeId>()
  /** Groups whose members are being asked who leads. */
  private readonly seeking = new Set<string>()
  /** Whom to ask next where no leader is known. */
  private nextCandidate = 0
  private readonly mapListeners = new Set<(map: ClusterMap) => void>()
  private readonly nodesById = new Map<NodeId, NodeInfo>()
  private assumed: ReadonlyArray<Pick<NodeInfo, 'id' | 'host' | 'rpcPort'>> = []
  private readonly dataById = new Map<string, DataPartition>()
  private refreshing: Promise<void> | null = null
  private closed = false

  constructor (components: RouterComponents, init: RouterInit) {
    this.components = components
    this.seeds = init.seeds
    this.pool = new PeerPool(components, init.handlers)
  }

  /** Fetches the first map and keeps it fresh until `close`. Rejects with ATOLL_UNREACHABLE. */
  async start (patienceMs: number = outageMsMax): Promise<void> {
    await this.retrying('cluster map', { patienceMs }, () => this.fetchMap(0))
    void this.follow()
  }

  close (): void {
    this.closed = true
    this.pool.close()
    this.mapListeners.clear()
  }

  get map (): ClusterMap {
    if (this.current === null) throw new AtollError('ATOLL_UNAVAILABLE', 'the cluster map is not known yet')
    return this.current
  }

  /** Where the manager's group is while the map does not say it: how a node finds a manager that has no map yet. */
  assumeManagers (managers: ReadonlyArray<Pick<NodeInfo, 'id' | 'host' | 'rpcPort'>>): void {
    this.assumed = managers
  }

  get mapVersion (): number { return this.current?.version ?? 0 }

  onMap (listener: (map: ClusterMap) => void): () => void {
    this.mapListeners.add(listener)
    return () => { this.mapListeners.delete(listener) }
  }

  /** Takes a map that was learned elsewhere, if it is newer. */
  adopt (map: ClusterMap): void {
    if (this.current !== null && map.version <= this.current.version) return
    this.current = map
    this.nodesById.clear()
    for (const node of map.nodes) this.nodesById.set(node.id, node)
    this.dataById.clear()
    for (const partition of map.data) this.dataById.set(partition.id, partition)
    for (const listener of this.mapListeners) listener(map)
  }

  node (id: NodeId): NodeInfo {
    const node = this.nodesById.get(id)
    if (node === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `node ${id} is not in the cluster map`)
    return node
  }

  /** As the map has it now: its policy may change while it is mounted. */
  volume (id: number): VolumeInfo {
    const volume = this.map.volumes.find((candidate) => candidate.id === id)
    if (volume === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `volume ${id} is not in the cluster map`)
    return volume
  }

  dataPartition (id: string): DataPartition {
    const partition = this.dataById.get(id)
    if (partition === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${id} is not in the cluster map`)
    return partition
  }

  /** The data partition that holds a chunk, by the map that is known now: to be asked anew for each attempt. @throws AtollError ATOLL_UNAVAILABLE. */
  partitionOfChunk (volume: number, ino: number, chunk: number): PartitionId {
    return dataPartitionOfChunk(this.volume(volume), ino, chunk, (id) => this.dataPartition(id).span)
  }

  peer (id: NodeId): Promise<Peer> {
    try {
      const { host, rpcPort } = this.nodesById.get(id) ?? this.assumed.find((manager) => manager.id === id) ?? this.node(id)
      return this.pool.get({ host, port: rpcPort })
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** One attempt at one node. */
  async toNode<M extends Method> (id: NodeId, method: M, request: Methods[M]['request'], options?: CallOptions): Promise<Answer<M>> {
    return (await this.peer(id)).call(method, request, options)
  }

  /** To a serving replica of a data partition, for what concerns it alone; null once it serves no more, by a map as new as the last failure. */
  toReplica<M extends Method> (partition: PartitionId, node: NodeId, method: M, request: Methods[M]['request'], options: RouteOptions = {}): Promise<Answer<M> | null> {
    return this.retrying(method, options, async () => {
      const serves = this.dataById.get(partition)?.replicas.some((replica) => replica.node === node && replica.state === 'serving')
      return serves === true ? this.toNode(node, method, request, options) : null
    })
  }

  toManager<M extends Method> (method: M, request: Methods[M]['request'], options: RouteOptions = {}): Promise<Answer<M>> {
    return this.retrying(method, options, () =>
      this.toLeader('manager', () => this.managers, method, request, options))
  }

  /** To the leader of a metadata partition. */
  toMetadata<M extends Method> (partition: string, method: M, request: Methods[M]['request'], options: RouteOptions = {}): Promise<Answer<M>> {
    return this.retrying(method, options, () =>
      this.toLeader(partition, () => this.metadataMembers(partition), method, request, options))
  }

  /**
   * To the primary; `build` makes the request for the epoch of the attempt, in which the partition is as given. `which` is asked before
   * each attempt: a partition may be split meanwhile.
   */
  toPrimary<M extends Method> (which: PartitionId | (() => PartitionId), method: M, build: (epoch: number, partition: DataPartition) => Methods[M]['request'], options: RouteOptions = {}): Promise<Answer<M>> {
    return this.retrying(method, options, async () => {
      const partition = this.dataPartition(typeof which === 'string' ? which : which())
      const { id, epoch, primary } = partition
      if (primary === null) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${id} has no serving replica`)
      const isPointless = (): boolean => this.isReplaced(id, primary)
      return (await this.peer(primary)).call(method, build(epoch, partition), { timeoutMs: attemptTimeoutMs, isPointless, ...options })
    })
  }

  /** The node that is believed to lead a group, for who keeps a connection to it. */
  leaderOf (group: string): NodeId | undefined { return this.leaders.get(group) }

  /** Resolves with a map newer than `version`, or after `waitMs`. */
  async refresh (version: number = this.mapVersion, waitMs = 0): Promise<void> {
    if (this.mapVersion > version) return
    this.refreshing ??= this.fetchMap(waitMs).finally(() => { this.refreshing = null })
    await this.refreshing
  }

  private get managers (): NodeId[] {
    return this.current === null && this.assumed.length > 0 ? this.assumed.map(({ id }) => id) : this.map.managers
  }

  private metadataMembers (partition: string): NodeId[] {
    const found = this.map.metadata.find((candidate) => candidate.id === partition)
    if (found === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${partition} is not in the cluster map`)
    return found.members
  }

  private async toLeader<M extends Method> (
    group: string, members: () => NodeId[], method: M, request: Methods[M]['request'], options: CallOptions
  ): Promise<Answer<M>> {
    const candidates = members()
    // Goes on from one call to the next: a call that has time for one attempt must not always ask the same silent member.
    const target = this.leaders.get(group) ?? candidates[this.nextCandidate++ % candidates.length]!
    const { timeoutMs = attemptTimeoutMs } = options
    const isPointless = (): boolean => this.isDeposed(group, target, candidates)
    try {
      const answer = await (await this.within(this.peer(target), timeoutMs, target)).call(method, request, { ...options, timeoutMs, isPointless })
      this.leaders.set(group, target)
      return answer
    } catch (error) {
      this.followHint(group, target, error)
      throw error
    }
  }

  private followHint (group: string, asked: NodeId, error: unknown): void {
    const named = leaderNamed(error)
    if (named !== null && named !== asked) this.leaders.set(group, named)
    else if (isRetryable(error) && this.leaders.get(group) === asked && codeOf(error) !== 'ATOLL_UNAVAILABLE') this.leaders.delete(group)
  }

  /** Whether another node is the partition's primary by now; it is found out. */
  private isReplaced (partition: PartitionId, primary: NodeId): boolean {
    if (this.dataById.get(partition)?.primary !== primary) return true
    this.refresh().catch(() => {})
    return false
  }

  /** Whether another member leads the group by now; it is found out. */
  private isDeposed (group: string, leader: NodeId, members: readonly NodeId[]): boolean {
    const known = this.leaders.get(group)
    if (known !== undefined && known !== leader) return true
    if (!this.seeking.has(group)) void this.seekLeader(group, members)
    return false
  }

  /** The member that knows of the latest term knows best. */
  private async seekLeader (group: string, members: readonly NodeId[]): Promise<void> {
    this.seeking.add(group)
    let latest = 0
    await Promise.all(members.map(async (member) => {
      try {
        const { body: { leader, term } } = await this.toNode(member, 'node.leader', { group }, { timeoutMs: findLeaderMs })
        if (leader === null || term <= latest) return
        latest = term
        this.leaders.set(group, leader)
      } catch {} // the others may know
    }))
    this.seeking.delete(group)
  }

  /** Retries what may succeed elsewhere or later, with jittered back-off and a fresh map. */
  private async retrying<T> (what: string, options: RouteOptions, attempt: (count: number) => Promise<T>): Promise<T> {
    const { clock } = this.components
    const deadline = clock.now() + (options.patienceMs ?? outageMsMax)
    let followed = 0
    for (let count = 0; ; count++) {
      const version = this.mapVersion
      try {
        return await attempt(count)
      } catch (error) {
        if (!isRetryable(error) || this.closed) throw error
        // Who leads is known now, however long it was not. Names may go in a circle, though.
        followed = leaderNamed(error) !== null && followed < namesFollowedMax ? followed + 1 : 0
        const delayMs = followed > 0 ? 0 : this.retryDelayMs(count)
        if (clock.now() + delayMs >= deadline) throw error
        options.onRetry?.(error as AtollError, count + 1)
        this.components.log.debug('retrying', { what, attempt: count + 1, code: codeOf(error) })
        await this.pause(delayMs)
        if (codeOf(error) !== 'ATOLL_NOT_LEADER') await this.refresh(version).catch(() => {})
      }
    }
  }

  /** Connecting to a host that is silent takes longer than some requests can wait. */
  private within<T> (promise: Promise<T>, limitMs: number, target: NodeId): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = this.components.clock.setTimer(() => { reject(new AtollError('ATOLL_TIMEOUT', `no connection to ${target} in time`)) }, limitMs)
      promise.then(resolve, reject).finally(() => { timer.cancel() })
    })
  }

  private retryDelayMs (count: number): number {
    const ceiling = Math.min(retryDelayMsMax, retryDelayMsMin * 2 ** Math.min(count, 16))
    return ceiling / 2 + this.components.random.next() * ceiling / 2
  }

  private pause (delayMs: number): Promise<void> {
    return new Promise((resolve) => { this.components.clock.setTimer(resolve, delayMs) })
  }

  private async fetchMap (waitMs: number): Promise<void> {
    const addresses = this.addressesForMap()
    if (addresses.length === 0) throw new AtollError('ATOLL_UNREACHABLE', 'no node address is known')
    const start = Math.floor(this.components.random.next() * addresses.length)
    const attempts = addresses.map((_, offset) => () => this.fetchMapFrom(addresses[(start + offset) % addresses.length]!, waitMs))
    await firstOf(attempts, waitMs + mapDoubtMs, this.components.clock)
  }

  private async fetchMapFrom (address: Address, waitMs: number): Promise<void> {
    const peer = await this.pool.get(address)
    const { body } = await peer.call('node.map', { after: this.mapVersion, waitMs }, { timeoutMs: waitMs + mapTimeoutMs })
    if (body.map !== undefined) this.adopt(body.map)
    if (this.current === null) throw new AtollError('ATOLL_UNAVAILABLE', 'the cluster has no map yet')
  }

  /** The nodes of the map that are up, then the seeds. */
  private addressesForMap (): Address[] {
    const up = this.current?.nodes.filter((node) => node.state !== 'down') ?? []
    const known = up.map((node) => ({ host: node.host, port: node.rpcPort }))
    const others = this.seeds.filter((seed) => !known.some((address) => address.host === seed.host && address.port === seed.port))
    return [...known, ...others]
  }

  private async follow (): Promise<void> {
    let failures = 0
    while (!this.closed) {
      try {
        await this.fetchMap(mapWaitMs)
        failures = 0
      } catch {
        failures++
        await this.pause(Math.min(retryDelayMsMax, retryDelayMsMin * 2 ** Math.min(failures, 16)))
      }
    }
  }
}

/** Who leads the group, as a member says that does not. */
function leaderNamed (error: unknown): NodeId | null {
  const { leader } = error instanceof AtollError && error.code === 'ATOLL_NOT_LEADER' ? error.details : {}
  return typeof leader === 'string' ? leader : null
}
