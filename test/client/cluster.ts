import { connect, type Cluster, type OpenVolumeOptions } from '../../client/connect.ts'
import { AtollVolumeClient } from '../../client/volume-client.ts'
import type { Invalidation, VolumeClient } from '../../client/types.ts'
import { leaseDurationMs, sessionScanMs } from '../../fsnode/metadata/constants.ts'
import { MetadataPartition } from '../../fsnode/metadata/partition.ts'
import { metadataHandlers } from '../../fsnode/metadata/service.ts'
import { MetadataStateMachine } from '../../fsnode/metadata/state-machine.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { Peer, type Handlers } from '../../fsnode/protocol/peer.ts'
import type { ClusterMap, Placement } from '../../partitioning/types.ts'
import { dataPartitionId, metadataPartitionId } from '../../partitioning/routing.ts'
import { FakeChunks, SharedLog, silent, type Member } from '../metadata/harness.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimNetwork } from '../sim/network.ts'
import { SimRandom } from '../sim/random.ts'
import { StallingClock } from '../sim/stalling-clock.ts'

export interface TestClusterInit {
  seed?: number
  metadataPartitions?: number
  nodes?: number
  chunkSizeBytes?: number
  inlineBytesMax?: number
  placement?: Placement
  /** Of inodes in a metadata partition. */
  spreadInodesMin?: number
}

/** What a fault hook may do to a request; undefined: nothing. */
export type Fault = 'lose-request' | 'lose-answer' | AtollError | undefined

interface TestNode { name: string, /** Of its metadata partitions. */ clock: StallingClock, partitions: Map<string, { partition: MetadataPartition, member: Member }> }

export const me = { uid: 10, gid: 20 }
const mebi = 1024 * 1024

/**
 * Storage nodes in one process: the real metadata service on a log without elections, chunks in memory
 * with one copy for all nodes, a map that never changes unless a test does it. Counts every request.
 */
export class TestCluster {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly network: SimNetwork
  readonly chunks = new FakeChunks()
  readonly logs: SharedLog[] = []
  readonly nodes: TestNode[] = []
  map: ClusterMap
  /** Asked for every request of a client. */
  onRequest: (method: Method, body: any, node: string) => Fault | Promise<Fault> = () => undefined
  /** Before an answer to a client leaves. */
  onAnswer: (method: Method, body: any) => Promise<void> | undefined = () => undefined
  /** Before a message from one partition's leader to another's; a throw loses it. */
  onTransaction: (step: string) => void = () => {}
  /** The disks of all nodes are full. */
  exhausted = false
  /** By method, since `resetCounts`. */
  counts = new Map<string, number>()
  private readonly spreadInodesMin: number | undefined
  private clients = 0

  private constructor (init: TestClusterInit) {
    const { seed = 1, metadataPartitions = 1, nodes = 3, chunkSizeBytes = 4 * mebi, inlineBytesMax = 16 * 1024, placement = 'hawaii' } = init
    this.random = new SimRandom(seed)
    this.spreadInodesMin = init.spreadInodesMin
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork() })
    const names = Array.from({ length: nodes }, (_, index) => `n${index}`)
    const dataPartitions = 8
    this.map = {
      clusterId: 'test', version: 1, managers: names,
      nodes: names.map((id) => ({
        id, incarnation: 'i', peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [id], capacityBytes: 10_000 * mebi, usedBytes: 1_000 * mebi, disk: null, state: 'up'
      })),
      volumes: [{ id: 7, name: 'v', placement, replicas: 2, chunkSizeBytes, inlineBytesMax, dataPartitions, metadataPartitions }],
      data: Array.from({ length: dataPartitions }, (_, index) => ({
        id: dataPartitionId(7, index), volume: 7, index, epoch: 1, primary: names[index % nodes]!,
        replicas: names.map((node) => ({ node, state: 'serving' }))
      })),
      metadata: Array.from({ length: metadataPartitions }, (_, index) => ({ id: metadataPartitionId(7, index), volume: 7, index, members: names }))
    }
  }

  static async open (init: TestClusterInit = {}): Promise<TestCluster> {
    const cluster = new TestCluster(init)
    for (let index = 0; index < cluster.map.metadata.length; index++) cluster.logs.push(new SharedLog())
    for (const { id } of cluster.map.nodes) await cluster.addNode(id)
    cluster.logs.forEach((log, index) => { log.elect(log.members[index % log.members.length]!) })
    await cluster.clock.advance(0)
    return cluster
  }

  get volume () { return this.map.volumes[0]! }

  /** A cluster connection from a host of its own. */
  connect (host = `client${++this.clients}`, patienceMs?: number): Promise<Cluster> {
    return connect({ nodes: ['n0:1', 'n1:1', 'n2:1'].slice(0, this.map.nodes.length), patienceMs, client: host }, {
      network: this.network.host(host), clock: this.clock, random: this.random.fork(), log: silent, files: null
    })
  }

  async client (host?: string, options?: OpenVolumeOptions): Promise<TestVolume> {
    return this.run(this.connect(host).then(async (connected) => new TestVolume(this, await connected.openVolume('v', options))))
  }

  /** A client that caches few inodes. */
  async small (inodesMax = 20): Promise<TestVolume> {
    const network = this.network.host(`client${++this.clients}`)
    const volume = new AtollVolumeClient({ network, clock: this.clock, random: this.random.fork(), log: silent, journal: null, files: null }, {
      volume: this.volume, seeds: [{ host: 'n0', port: 1 }], client: 'small', cache: { inodesMax }
    })
    await this.run(volume.start())
    return new TestVolume(this, volume)
  }

  run<T> (promise: Promise<T>, limitMs = 120_000): Promise<T> { return this.clock.run(promise, limitMs) }

  leader (index = 0): Member { return this.logs[index]!.members.find((member) => member.status.role === 'leader')! }

  /** Another replica leads from now on. */
  async changeLeader (index = 0): Promise<void> {
    const log = this.logs[index]!
    log.elect(log.members[(log.members.indexOf(this.leader(index)) + 1) % log.members.length]!)
    await this.clock.advance(0)
  }

  /** Longer than a lease, in which others want what those hold that are cut off: their sessions end. */
  async endOverdueSessions (): Promise<void> {
    await this.clock.advance(leaseDurationMs + 2 * sessionScanMs)
    let ended = 0
    for (const { partitions } of this.nodes) {
      for (const { partition, member } of partitions.values()) {
        if (member.status.role !== 'leader') continue
        const leader = await partition.opened()
        const overdue = [...leader.sessions.values()].filter((session) => session.overdue)
        ended += overdue.length
        for (const session of overdue) await this.run(leader.sessions.end(session, 'wanted'))
      }
    }
    if (ended === 0) throw new Error('no session is overdue')
  }

  resetCounts (): void { this.counts = new Map() }

  count (method: Method): number { return this.counts.get(method) ?? 0 }

  /** All requests but those that keep sessions and map alive. */
  get requests (): number {
    let total = 0
    for (const [method, count] of this.counts) if (!['meta.renew', 'meta.session', 'node.map'].includes(method)) total += count
    return total
  }

  private async addNode (name: string): Promise<void> {
    const node: TestNode = { name, clock: new StallingClock(this.clock), partitions: new Map() }
    for (const [index, log] of this.logs.entries()) {
      const machine = await MetadataStateMachine.open({ kv: new MemoryKv(), clock: this.clock, log: silent }, { index, inlineBytesMax: this.volume.inlineBytesMax })
      const member = log.add(metadataPartitionId(7, index), machine, name)
      const partition = new MetadataPartition({
        clock: node.clock, random: this.random.fork(), log: silent, group: member, machine, data: this.chunks, isExhausted: () => this.exhausted, spreadInodesMin: this.spreadInodesMin,
        router: { toMetadata: (id, _, request) => this.transaction(id, request) as never }
      }, { volume: this.volume, index })
      node.partitions.set(member.id, { partition, member })
    }
    this.nodes.push(node)
    const handlers = this.handlersOf(node)
    await this.network.host(name).listen({ host: name, port: 1 }, (connection) => new Peer(connection, handlers, this.clock))
  }

  private handlersOf (node: TestNode): Handlers {
    const served: Handlers = {
      ...metadataHandlers((id) => node.partitions.get(id)?.partition),
      'node.map': (request) => this.answerMap(request),
      'manager.map': (request) => ({ body: this.map.version > request.after ? { map: this.map } : {} }),
      'data.write': async ({ ino, chunk, offset, extents, partition, epoch }, payload) => {
        this.requirePrimary(partition, epoch, node.name)
        const bytes = Buffer.concat(payload)
        const ranges = extents ?? [offset, bytes.length]
        for (let index = 0, at = 0; index < ranges.length; index += 2) {
          await this.chunks.writeChunk(7, ino, chunk, ranges[index]!, bytes.subarray(at, at += ranges[index + 1]!))
        }
        return { body: {} }
      },
      'data.read': ({ ino, chunk, offset, length }) => {
        const bytes = this.chunks.chunks.get(`${ino}/${chunk}`) ?? Buffer.alloc(0)
        return { body: {}, payload: [Buffer.from(bytes.subarray(offset, offset + length))] }
      },
      'data.position': ({ partition, epoch }) => {
        this.requirePrimary(partition, epoch, node.name)
        return { body: { origin: 'o', order: 0 } }
      },
      'data.truncate': async ({ ino, chunk, length, partition, epoch }) => {
        this.requirePrimary(partition, epoch, node.name)
        await this.chunks.truncateChunk(7, ino, chunk, length, false)
        return { body: {} }
      },
      'data.sync': ({ partition, epoch }) => {
        this.requirePrimary(partition, epoch, node.name)
        return { body: {} }
      }
    }
    return Object.fromEntries(Object.entries(served).map(([method, handler]) => [method, async (body: any, payload: Buffer[], context: any) => {
      this.counts.set(method, this.count(method as Method) + 1)
      const fault = await this.onRequest(method as Method, body, node.name)
      if (fault instanceof AtollError) throw fault
      if (fault !== 'lose-request') {
        const reply = await (handler as any)(body, payload, context)
        const held = this.onAnswer(method as Method, body)
        if (held !== undefined) await held
        if (fault === undefined) return reply
      }
      context.peer.close()
      return { body: {} }
    }])) as Handlers
  }

  private requirePrimary (id: string, epoch: number, node: string): void {
    const partition = this.map.data.find((candidate) => candidate.id === id)!
    if (partition.primary !== node) throw new AtollError('ATOLL_NOT_PRIMARY', `${node} is not the primary of ${id}`)
    if (partition.epoch !== epoch) throw new AtollError('ATOLL_STALE_EPOCH', `${id} is in another epoch`)
  }

  private async answerMap ({ after, waitMs }: { after: number, waitMs: number }): Promise<{ body: { map?: ClusterMap } }> {
    if (this.map.version <= after && waitMs > 0) await new Promise<void>((resolve) => { this.clock.setTimer(resolve, waitMs) })
    return { body: this.map.version > after ? { map: this.map } : {} }
  }

  private async transaction (id: string, request: any): Promise<unknown> {
    await new Promise<void>((resolve) => { this.clock.setTimer(resolve, this.network.delay()) })
    this.onTransaction(request.step)
    const index = Number(id.split('.').at(-1))
    const leader = this.nodes.map((node) => node.partitions.get(id)!).find(({ member }) => member === this.leader(index))!
    return metadataHandlers(() => leader.partition)['meta.transaction']!(request, [], { peer: null as never })
  }
}

/** A volume client with short ways to say things, each run to its end in virtual time. */
export class TestVolume {
  readonly cluster: TestCluster
  readonly volume: VolumeClient
  readonly invalidations: Invalidation[] = []

  constructor (cluster: TestCluster, volume: VolumeClient) {
    this.cluster = cluster
    this.volume = volume
    volume.onInvalidate = async (invalidation) => { this.invalidations.push(invalidation) }
  }

  run<T> (promise: Promise<T>): Promise<T> { return this.cluster.run(promise) }

  /** Makes a directory that this client holds; inode numbers come behind the first thing that is made. */
  async heldDirectory (name = 'top'): Promise<number> {
    const top = await this.run(this.volume.mkdir(1, name, 0o755, me))
    await this.run(this.volume.mkdir(top.ino, 'first', 0o755, me))
    await this.cluster.clock.advance(100)
    const made = await this.run(this.volume.mkdir(top.ino, 'dir', 0o755, me))
    await this.run(this.volume.syncNames())
    return made.ino
  }

  /** A file that was not there before, written and closed. */
  async create (dir: number, name: string, content: string): Promise<number> {
    const { file } = await this.run(this.volume.create(dir, name, { mode: 0o644, exclusive: true }, me))
    await this.run(file.write(0, [Buffer.from(content)]))
    await this.run(file.flush())
    await this.run(file.release())
    return file.ino
  }

  /** Creates a file of the root with this content and closes it. */
  async put (name: string, content: Buffer | string, dir = 1): Promise<number> {
    return this.run((async () => {
      const { file } = await this.volume.create(dir, name, { mode: 0o644, exclusive: false }, me)
      await this.volume.setattr(file.ino, { size: 0 }, me)
      if (content.length > 0) await file.write(0, [Buffer.from(content)])
      await file.flush()
      await file.release()
      return file.ino
    })())
  }

  async get (name: string, dir = 1): Promise<Buffer> {
    return this.run((async () => this.read((await this.volume.lookup(dir, name)).ino))())
  }

  async read (ino: number, offset = 0, length = 2 ** 40): Promise<Buffer> {
    const file = await this.volume.open(ino, { write: false })
    const bytes = Buffer.concat(await file.read(offset, length))
    await file.release()
    return bytes
  }

  code (promise: Promise<unknown>): Promise<string> {
    return this.run(promise.then(() => 'well', (error) => error.code))
  }

  async names (dir = 1): Promise<string[]> {
    return this.run(this.list(dir))
  }

  async list (dir: number): Promise<string[]> {
    const names: string[] = []
    for (;;) {
      const { entries, done } = await this.volume.readdir(dir, names.at(-1) ?? '', 100)
      names.push(...entries.map((entry) => entry.name))
      if (done) return names
    }
  }
}

export function pattern (length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = seed * 2654435761 >>> 0
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[index] = state >>> 24
  }
  return bytes
}

/** Every machine loses its power: chunks hold nothing of what was not synced, and the manager knows it. */
export function losePower (cluster: TestCluster): void {
  cluster.chunks.chunks.clear()
  cluster.map = {
    ...cluster.map,
    version: cluster.map.version + 1,
    data: cluster.map.data.map((partition) => ({ ...partition, epoch: partition.epoch + 1, losses: (partition.losses ?? 0) + 1 }))
  }
}
