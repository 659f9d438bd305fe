import type { ClusterMap, DataPartition, NodeId, Placement } from '../../partitioning/types.ts'
import { ChunkStore } from '../../fsnode/data/chunk-store.ts'
import { DataPartitions } from '../../fsnode/data/partitions.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { Peer, type Handlers } from '../../fsnode/protocol/peer.ts'
import type { Clock, Network } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { scrubHandlers } from '../../fsnode/server/scrub-handler.ts'
import type { SimClock } from '../sim/clock.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { SimNetwork } from '../sim/network.ts'
import type { SimRandom } from '../sim/random.ts'
import { silentLog } from './support.ts'

export const partitionId = '1.d.0'
export const childId = '1.d.1'
const leaseMs = 1_000
const tickMs = 100
const managerHost = 'm'

interface ClusterInit { clock: SimClock, random: SimRandom, placement?: Placement, nodes?: number, capacityBytes?: number }

/**
 * A few nodes with one data partition in one process, and a manager that is a script: it gives leases, puts
 * out replicas that are reported or silent, promotes another primary when the lease has run out, and lets
 * nodes that come back catch up.
 */
export class SimCluster {
  readonly clock: SimClock
  readonly random: SimRandom
  readonly network: SimNetwork
  readonly nodes = new Map<NodeId, SimNode>()
  readonly leaseUntil = new Map<NodeId, number>()
  map: ClusterMap
  /** Told when the primary asks for the split; answered when it resolves. */
  onSplit: () => Promise<void> = async () => {}
  private readonly waiting = new Set<() => void>()
  private readonly reportedAt = new Map<NodeId, number>()

  constructor ({ clock, random, placement = 'hawaii', nodes = 3, capacityBytes }: ClusterInit) {
    this.clock = clock
    this.random = random
    this.network = new SimNetwork({ clock, random: random.fork() })
    const ids = Array.from({ length: nodes }, (_, index) => `node-${index + 1}`)
    this.map = {
      clusterId: 'sim',
      version: 1,
      nodes: [managerHost, ...ids].map((id) => ({ id, incarnation: '', peerId: '', host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 0, usedBytes: 0, disk: null, state: 'up' as const })),
      managers: [managerHost],
      volumes: [{ id: 1, name: 'main', placement, replicas: nodes, chunkSizeBytes: 2 ** 20, inlineBytesMax: 0, dataPartitions: 1, metadataPartitions: 1 }],
      data: [{ id: partitionId, volume: 1, index: 0, epoch: 1, replicas: ids.map((node) => ({ node, state: 'serving' })), primary: ids[0]! }],
      metadata: []
    }
    for (const id of ids) this.nodes.set(id, new SimNode(this, id, capacityBytes))
  }

  async start (): Promise<void> {
    await this.network.host(managerHost).listen({ host: managerHost, port: 1 }, (connection) => new Peer(connection, this.managerHandlers(), this.clock))
    await this.clock.run(Promise.all([...this.nodes.values()].map((node) => node.start())))
    this.tick()
  }

  get partition (): DataPartition { return this.map.data[0]! }

  stateOf (node: NodeId): string { return this.partition.replicas.find((replica) => replica.node === node)!.state }

  get healthy (): boolean {
    return this.partition.replicas.every(({ state }) => state === 'serving') && this.partition.primary !== null &&
      [...this.nodes.values()].every((node) => node.partitions?.find(partitionId)?.epoch === this.partition.epoch)
  }

  /** Changes the partition; the epoch grows. */
  change (states: Record<NodeId, DataPartition['replicas'][number]['state']>, primary: NodeId | null = this.partition.primary): void {
    const { partition } = this
    const replicas = partition.replicas.map(({ node, state }) => ({ node, state: states[node] ?? state }))
    this.map = { ...this.map, version: this.map.version + 1, data: [{ ...partition, epoch: partition.epoch + 1, replicas, primary }, ...this.map.data.slice(1)] }
    for (const wake of this.waiting) wake()
  }

  /** The manager wants the partition split, or no longer. */
  want (splitting = true): void {
    const { splitting: _, ...partition } = this.partition
    this.map = { ...this.map, version: this.map.version + 1, data: [{ ...partition, ...(splitting && { splitting }) }] }
    for (const wake of this.waiting) wake()
  }

  /** Whatever is under way: the half of its chunks is in partition `childId` from now on. */
  split (): void {
    const half = { ...this.partition, epoch: this.partition.epoch + 1, span: 2 }
    this.map = { ...this.map, version: this.map.version + 1, data: [half, { ...half, id: childId, index: 1 }] }
    for (const wake of this.waiting) wake()
  }

  /** A node's process has started. What it held in memory is gone, so it is in sync no longer, if another one is. */
  registered (id: NodeId): void {
    const state = this.stateOf(id)
    if (state === 'last') this.change({ [id]: 'serving' }, id)
    else if (state === 'serving' && this.otherServing(id) === undefined) this.change({})
    else if (state !== 'offline') this.putOut(id)
  }

  private putOut (id: NodeId): void {
    const other = this.otherServing(id)
    if (this.stateOf(id) === 'serving' && other === undefined) {
      if (!this.isUp(id)) this.change({ [id]: 'last' }, null)
      return
    }
    this.reportedAt.set(id, this.clock.now())
    this.change({ [id]: 'offline' }, this.partition.primary === id ? other! : this.partition.primary)
  }

  private otherServing (id: NodeId): NodeId | undefined {
    const others = this.partition.replicas.filter(({ node, state }) => node !== id && state === 'serving').map(({ node }) => node)
    return others.find((node) => this.isUp(node)) ?? others[0]
  }

  private isUp (id: NodeId): boolean { return (this.leaseUntil.get(id) ?? 0) > this.clock.now() }

  private tick (): void {
    const now = this.clock.now()
    for (const [id, node] of this.nodes) {
      if (node.alive && !this.network.isCut(id, managerHost)) this.leaseUntil.set(id, now + leaseMs)
      const state = this.stateOf(id)
      if (!this.isUp(id) && (state === 'serving' || state === 'syncing')) this.putOut(id)
      const settled = now - (this.reportedAt.get(id) ?? -Infinity) > 500
      if (this.isUp(id) && state === 'offline' && settled && this.partition.primary !== null) this.change({ [id]: 'syncing' })
      if (this.isUp(id) && state === 'last') this.change({ [id]: 'serving' }, id)
    }
    this.clock.setTimer(() => { this.tick() }, tickMs)
  }

  private managerHandlers (): Handlers {
    return {
      'node.map': ({ after, waitMs }) => this.answerMap(after, waitMs),
      'manager.map': ({ after, waitMs }) => this.answerMap(after, waitMs),
      'manager.report-replica': ({ epoch, node, reporter }) => {
        const { partition } = this
        const state = this.stateOf(node)
        // A primary loses its office by its lease only.
        if (epoch === partition.epoch && reporter === partition.primary && node !== reporter && (state === 'serving' || state === 'syncing')) this.putOut(node)
        return { body: { map: this.map } }
      },
      'manager.split-partition': async () => {
        await this.onSplit()
        return { body: { map: this.map } }
      },
      'manager.replica-synced': ({ epoch, node }) => {
        if (epoch !== this.partition.epoch) throw new AtollError('ATOLL_STALE_EPOCH', 'the partition has changed')
        if (this.stateOf(node) === 'syncing') this.change({ [node]: 'serving' })
        return { body: { map: this.map } }
      }
    }
  }

  private async answerMap (after: number, waitMs: number): Promise<{ body: { map?: ClusterMap } }> {
    if (this.map.version <= after && waitMs > 0) {
      await new Promise<void>((resolve) => {
        const wake = (): void => { this.waiting.delete(wake); resolve() }
        this.waiting.add(wake)
        this.clock.setTimer(wake, waitMs)
      })
    }
    return { body: this.map.version > after ? { map: this.map } : {} }
  }
}

export class SimNode {
  readonly id: NodeId
  files: MemoryFiles
  store: ChunkStore | null = null
  router: ClusterRouter | null = null
  partitions: DataPartitions | null = null
  /** Neither running nor starting. */
  down = true
  private readonly cluster: SimCluster
  private life = 0

  constructor (cluster: SimCluster, id: NodeId, capacityBytes?: number) {
    this.cluster = cluster
    this.id = id
    this.files = new MemoryFiles({ clock: cluster.clock, random: cluster.random.fork() }, { delayMsMax: 0.4, host: id, ...(capacityBytes === undefined ? {} : { capacityBytes }) })
  }

  get alive (): boolean { return this.partitions !== null }

  async start (): Promise<void> {
    const life = ++this.life
    this.down = false
    const { cluster, id } = this
    const current = (): boolean => this.life === life
    const clock = mortalClock(cluster.clock, current)
    const network = mortalNetwork(cluster.network.host(id), current)
    this.store = new ChunkStore({ files: this.files, clock, log: silentLog }, { directory: '/data/partitions', probe: false, reserveBytes: 64 * 1024, openChunksMax: 8 })
    await this.store.open()
    this.router = new ClusterRouter({ network, clock, random: cluster.random.fork(), log: silentLog }, { seeds: [{ host: managerHost, port: 1 }] })
    if (life > 1) cluster.registered(id)
    await this.router.start()
    const lease = (): boolean => (cluster.leaseUntil.get(id) ?? 0) > cluster.clock.now()
    if (!current()) return
    this.partitions = new DataPartitions({ clock, log: silentLog, store: this.store, router: this.router, lease }, { nodeId: id })
    const { partitions } = this
    const handlers: Handlers = { ...partitions.handlers(), ...scrubHandlers((partition) => partitions.find(partition)), 'node.map': ({ after }) => ({ body: this.router!.mapVersion > after ? { map: this.router!.map } : {} }) }
    await network.listen({ host: id, port: 1 }, (connection) => new Peer(connection, handlers, clock))
    void this.heartbeat(clock)
  }

  /** The process ends, or the power fails. */
  crash (power: boolean): void {
    this.life++
    this.down = true
    this.partitions = null
    this.router?.close()
    if (power) this.files.crash(this.cluster.random)
    else this.files.kill()
    this.cluster.network.crash(this.id)
    this.files = this.files.reopen()
  }

  async stop (): Promise<void> {
    await this.partitions!.close()
    this.life++
    this.down = true
    this.partitions = null
    this.router?.close()
    this.cluster.network.crash(this.id)
    this.files = this.files.reopen()
  }

  private async heartbeat (clock: Clock): Promise<void> {
    const router = this.router!
    for (;;) {
      await new Promise<void>((resolve) => { clock.setTimer(resolve, tickMs) })
      const answer = await router.toManager('manager.map', { after: router.mapVersion, waitMs: 0 }, { patienceMs: 1, timeoutMs: 500 }).catch(() => undefined)
      if (answer?.body.map !== undefined) router.adopt(answer.body.map)
    }
  }
}

/** Timers of a process that has ended never run. */
function mortalClock (clock: Clock, alive: () => boolean): Clock {
  return {
    now: () => clock.now(),
    wallNs: () => clock.wallNs(),
    setTimer: (callback, delayMs) => clock.setTimer(() => { if (alive()) callback() }, delayMs)
  }
}

function mortalNetwork (network: Network, alive: () => boolean): Network {
  return {
    dial: async (address, options) => {
      if (!alive()) await new Promise(() => {})
      const connection = await network.dial(address, options)
      if (!alive()) {
        connection.close()
        await new Promise(() => {})
      }
      return connection
    },
    listen: (address, onConnection) => network.listen(address, (connection) => { if (alive()) onConnection(connection) })
  }
}

/** A client that knows the cluster only by its map. */
export class SimClient {
  readonly router: ClusterRouter
  private readonly name: string
  private order = 0

  constructor (cluster: SimCluster, name: string) {
    this.name = name
    this.router = new ClusterRouter({ network: cluster.network.host(name), clock: cluster.clock, random: cluster.random.fork(), log: silentLog }, { seeds: [{ host: managerHost, port: 1 }] })
  }

  start (): Promise<void> { return this.router.start() }

  async write (ino: number, chunk: number, offset: number, bytes: Buffer, patienceMs = 60_000): Promise<void> {
    // Cut in two, the later part first: what a scattered write does must be the same.
    const half = bytes.length >> 1
    const scattered = offset % 2 === 0 || half === 0 ? {} : { extents: [offset + half, bytes.length - half, offset, half] }
    const payload = offset % 2 === 0 || half === 0 ? [bytes] : [bytes.subarray(half), bytes.subarray(0, half)]
    await this.router.toPrimary(partitionId, 'data.write', (epoch) => ({ partition: partitionId, epoch, ino, chunk, offset, ...scattered, ...this.attempt() }), { payload, patienceMs, timeoutMs: 2_000 })
  }

  async truncate (ino: number, chunk: number, length: number): Promise<void> {
    await this.router.toPrimary(partitionId, 'data.truncate', (epoch) => ({ partition: partitionId, epoch, ino, chunk, length, ...this.attempt() }), { timeoutMs: 2_000 })
  }

  async zero (ino: number, chunk: number, offset: number, length: number): Promise<void> {
    await this.router.toPrimary(partitionId, 'data.zero', (epoch) => ({ partition: partitionId, epoch, ino, chunk, offset, length, ...this.attempt() }), { timeoutMs: 2_000 })
  }

  async sync (ino: number, ...chunks: number[]): Promise<void> {
    await this.router.toPrimary(partitionId, 'data.sync', (epoch) => ({ partition: partitionId, epoch, ino, chunks }), { timeoutMs: 2_000 })
  }

  async read (ino: number, chunk: number, offset: number, length: number): Promise<Buffer> {
    const { payload } = await this.router.toPrimary(partitionId, 'data.read', (epoch) => ({ partition: partitionId, epoch, ino, chunk, offset, length }), { timeoutMs: 2_000 })
    return Buffer.concat(payload)
  }

  /** One attempt at one node. */
  async readAt (node: NodeId, ino: number, chunk: number, offset: number, length: number): Promise<Buffer> {
    const { epoch } = this.router.dataPartition(partitionId)
    const { payload } = await this.router.toNode(node, 'data.read', { partition: partitionId, epoch, ino, chunk, offset, length }, { timeoutMs: 10_000 })
    return Buffer.concat(payload)
  }

  private attempt (): { writer: string, order: number } { return { writer: this.name, order: ++this.order } }
}

/** What each node holds, chunk by chunk, once nothing is under way: for comparison. */
export async function contentsOf (cluster: SimCluster, partition = partitionId): Promise<string[]> {
  const all: string[] = []
  for (const { store } of cluster.nodes.values()) {
    const parts: string[] = []
    for (const [ino, chunk] of await cluster.clock.run(store!.list(partition))) {
      const name = { partition, ino, chunk }
      const bytes = await cluster.clock.run(store!.read(name, 0, 2 ** 26))
      parts.push(`${ino}.${chunk} ${bytes.length} ${JSON.stringify(await cluster.clock.run(store!.digest(name)))} ${hash(bytes)}`)
    }
    all.push(parts.join('\n'))
  }
  return all
}

function hash (bytes: Buffer): number {
  let value = 7
  for (const byte of bytes) value = (Math.imul(value, 31) + byte) | 0
  return value
}
