import { AtollError, isRetryable } from '../../fsnode/protocol/errors.ts'
import type { RecallRequest, TransactionRequest, TransactionResponse } from '../../fsnode/protocol/metadata.ts'
import type { Method, Methods } from '../../fsnode/protocol/methods.ts'
import { Peer, type Handlers } from '../../fsnode/protocol/peer.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import { encodeCommand, type ArgsOf, type CommandName } from '../../fsnode/metadata/command.ts'
import { MetadataPartition } from '../../fsnode/metadata/partition.ts'
import { metadataHandlers } from '../../fsnode/metadata/service.ts'
import { MetadataStateMachine } from '../../fsnode/metadata/state-machine.ts'
import type { ChunkStore, Outcome } from '../../fsnode/metadata/types.ts'
import type { CommittedEntry, GroupStatus, RaftGroup, StateMachine } from '../../fsnode/raft/types.ts'
import { metadataPartitionId } from '../../partitioning/routing.ts'
import type { VolumeInfo } from '../../partitioning/types.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimNetwork } from '../sim/network.ts'
import { SimRandom } from '../sim/random.ts'

export const silent: Logger = { debug () {}, info () {}, warn () {}, error () {}, child: () => silent }

export const originNs = 1_700_000_000_000_000_000n

export function volumeOf (metadataPartitions: number): VolumeInfo {
  return {
    id: 7, name: 'v', placement: 'hawaii', replicas: 1, chunkSizeBytes: 1_000, inlineBytesMax: 100, dataPartitions: 4, metadataPartitions
  }
}

/** A state machine fed by hand: time moves by a millisecond with each command. */
export class Replica {
  readonly clock: SimClock
  readonly kv: MemoryKv
  readonly machine: MetadataStateMachine
  readonly log: CommittedEntry[] = []
  private now = originNs

  private constructor (clock: SimClock, kv: MemoryKv, machine: MetadataStateMachine) {
    this.clock = clock
    this.kv = kv
    this.machine = machine
  }

  static async open (kv = new MemoryKv(), index = 0, clock = new SimClock()): Promise<Replica> {
    return new Replica(clock, kv, await MetadataStateMachine.open({ kv, clock, log: silent }, { index, inlineBytesMax: 100 }))
  }

  /** With root and session 's'. */
  static async formatted (): Promise<Replica> {
    const replica = await Replica.open()
    replica.run('format', { mode: 0o755, uid: 0, gid: 0 })
    replica.run('open-session', { id: 's', client: 'test' })
    return replica
  }

  get time (): bigint { return this.now }

  run<N extends CommandName> (name: N, args: ArgsOf<N>, session = '', op = 0): Outcome {
    this.now += 1_000_000n
    return this.feed({ index: this.log.length + 1, term: 1, command: encodeCommand(name, this.now, session, op, args) })
  }

  feed (entry: CommittedEntry): Outcome {
    this.log.push(entry)
    return this.machine.apply(entry) as Outcome
  }

  /** Everything in the Kv, as text. */
  dump (): string[] { return dump(this.kv) }
}

export function dump (kv: MemoryKv): string[] {
  return kv.rangeOf({}).map(([key, value]) => `${Buffer.from(key).toString('latin1')} ${Buffer.from(value).toString('hex')}`)
}

/** One log for several replicas, without elections: entries are applied by all live members when proposed. */
export class SharedLog {
  readonly entries: CommittedEntry[] = []
  readonly members: Member[] = []
  /** Called before an entry is appended: leadership may change. */
  onPropose: () => void = () => {}
  /** Called when it is applied everywhere, before the proposer hears. */
  onProposed: () => void = () => {}
  term = 0

  add (id: string, machine: StateMachine, node: string): Member {
    const member = new Member(this, id, machine, node)
    for (const entry of this.entries) machine.apply(entry)
    this.members.push(member)
    return member
  }

  /** null: nobody leads. */
  elect (leader: Member | null): void {
    this.term++
    for (const member of this.members) if (member !== leader) member.become('follower', leader)
    leader?.become('leader', leader)
  }
}

export class Member implements RaftGroup {
  readonly id: string
  readonly node: string
  readonly machine: StateMachine
  canReadNow = true
  alive = true
  /** Entries are appended, but their proposers never hear. */
  deaf = false
  /** It is cut off: what it proposes is neither appended nor answered, until it leads no more. */
  stuck = false
  status: GroupStatus
  private readonly log: SharedLog
  private readonly listeners = new Set<(status: GroupStatus) => void>()

  constructor (log: SharedLog, id: string, machine: StateMachine, node: string) {
    this.log = log
    this.id = id
    this.machine = machine
    this.node = node
    this.status = { role: 'follower', term: 0, leader: null, commitIndex: 0, appliedIndex: 0, members: [] }
  }

  get memberId (): string { return this.node }
  get memberIds (): string[] { return this.status.members }

  become (role: GroupStatus['role'], leader: Member | null): void {
    this.status = { ...this.status, role, term: this.log.term, leader: leader?.node ?? null }
    for (const listener of this.listeners) listener(this.status)
  }

  propose (command: Uint8Array): Promise<unknown> {
    if (this.status.role !== 'leader') return Promise.reject(new AtollError('ATOLL_NOT_LEADER', 'not the leader', { leader: this.status.leader }))
    const unknown = (): Promise<never> => Promise.reject(new AtollError('ATOLL_UNAVAILABLE', 'leadership was lost'))
    if (this.stuck) return new Promise((resolve) => { this.onStatus(() => { resolve(unknown()) }) })
    this.log.onPropose()
    if (this.status.role !== 'leader') return unknown()
    const entry = { index: this.log.entries.length + 1, term: this.log.term, command }
    this.log.entries.push(entry)
    let own: unknown
    for (const member of this.log.members) {
      if (!member.alive) continue
      const result = member.machine.apply(entry)
      if (member === this) own = result
    }
    this.log.onProposed()
    if (this.status.role !== 'leader') return unknown()
    return this.deaf ? new Promise(() => {}) : Promise.resolve(own)
  }

  readBarrier (): Promise<void> {
    return this.status.role === 'leader' ? Promise.resolve() : Promise.reject(new AtollError('ATOLL_NOT_LEADER', 'not the leader', { leader: this.status.leader }))
  }

  onStatus (listener: (status: GroupStatus) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  async transferLeadership (): Promise<void> {}
  async changeMembers (): Promise<void> {}
  async close (): Promise<void> {}
}

/** Chunks in memory. */
export class FakeChunks implements ChunkStore {
  readonly chunks = new Map<string, Buffer>()
  /** While set, every call rejects with it. */
  failure: Error | null = null
  /** Awaited by every call. */
  gate: Promise<void> = Promise.resolve()
  calls = 0
  /** Cuts that were not asked to be durable. */
  passing = 0

  write (ino: number, chunk: number, data: Buffer): void { this.chunks.set(`${ino}/${chunk}`, data) }

  of (ino: number): number[] {
    return [...this.chunks.keys()].filter((key) => key.startsWith(`${ino}/`)).map((key) => Number(key.split('/')[1])).sort((one, other) => one - other)
  }

  async truncateChunk (_: number, ino: number, chunk: number, length: number, durable: boolean): Promise<void> {
    await this.enter()
    if (!durable) this.passing++
    const key = `${ino}/${chunk}`
    const known = this.chunks.get(key)
    if (length === 0) this.chunks.delete(key)
    else if (known !== undefined) this.chunks.set(key, known.subarray(0, length))
  }

  async writeChunk (_: number, ino: number, chunk: number, offset: number, data: Buffer): Promise<void> {
    await this.enter()
    const known = this.chunks.get(`${ino}/${chunk}`) ?? Buffer.alloc(0)
    const next = Buffer.alloc(Math.max(known.length, offset + data.length))
    known.copy(next)
    data.copy(next, offset)
    this.chunks.set(`${ino}/${chunk}`, next)
  }

  private async enter (): Promise<void> {
    this.calls++
    await this.gate
    if (this.failure !== null) throw this.failure
  }
}

export interface ClusterInit { partitions?: number, replicas?: number, seed?: number }

interface Node { name: string, partitions: Map<string, { partition: MetadataPartition, member: Member, kv: MemoryKv, machine: MetadataStateMachine }> }

/** Nodes with a replica of each partition, on one simulated network. */
export class Cluster {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly network: SimNetwork
  readonly chunks = new FakeChunks()
  readonly volume: VolumeInfo
  readonly logs: SharedLog[] = []
  readonly nodes: Node[] = []
  readonly clients: TestClient[] = []
  /** Before a call from one partition to another is delivered; a throw loses it. */
  onTransaction: (request: TransactionRequest, partition: string) => void = () => {}
  /** The answer is lost. */
  onTransactionAnswer: (request: TransactionRequest, partition: string) => void = () => {}

  private constructor ({ partitions = 1, seed = 1 }: ClusterInit) {
    this.random = new SimRandom(seed)
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork() })
    this.volume = volumeOf(partitions)
  }

  static async open (init: ClusterInit = {}): Promise<Cluster> {
    const cluster = new Cluster(init)
    for (let index = 0; index < cluster.volume.metadataPartitions; index++) cluster.logs.push(new SharedLog())
    for (let node = 0; node < (init.replicas ?? 1); node++) await cluster.addNode(`n${node}`)
    cluster.logs.forEach((log, index) => { log.elect(log.members[index % log.members.length]!) })
    await cluster.clock.advance(0)
    return cluster
  }

  /** Hands the partition's leadership to the next replica; clients that are there claim nothing. */
  changeLeader (index: number): void {
    const log = this.logs[index]!
    const at = log.members.findIndex(({ status }) => status.role === 'leader')
    log.elect(log.members[(at + 1) % log.members.length]!)
    for (const client of this.clients) client.claimNothing()
  }

  partitionId (index: number): string { return metadataPartitionId(this.volume.id, index) }

  /** The replica that leads. */
  leader (index: number) {
    const id = this.partitionId(index)
    const found = this.nodes.map((node) => node.partitions.get(id)!).find(({ member }) => member.status.role === 'leader')
    if (found === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `${id} has no leader`)
    return found
  }

  async client (name: string, options: { open?: (ino: number) => boolean } = {}): Promise<TestClient> {
    const client = new TestClient(this, name, options.open ?? (() => false))
    this.clients.push(client)
    for (let index = 0; index < this.volume.metadataPartitions; index++) await client.openSession(index)
    return client
  }

  /** Each second, with every partition. */
  keepRenewing (...clients: TestClient[]): { stop: () => void } {
    let stopped = false
    const renew = (): void => {
      if (stopped) return
      for (const client of clients) for (const index of this.logs.keys()) client.start('meta.renew', {}, index).catch(() => {})
      this.clock.setTimer(renew, 1_000)
    }
    renew()
    return { stop: () => { stopped = true } }
  }

  private async addNode (name: string): Promise<void> {
    const node: Node = { name, partitions: new Map() }
    for (const [index, log] of this.logs.entries()) {
      const kv = new MemoryKv()
      const machine = await MetadataStateMachine.open({ kv, clock: this.clock, log: silent }, { index, inlineBytesMax: this.volume.inlineBytesMax })
      const member = log.add(this.partitionId(index), machine, name)
      const partition = new MetadataPartition({
        clock: this.clock, random: this.random.fork(), log: silent, group: member, machine, data: this.chunks,
        router: { toMetadata: (partition, _, request) => this.transaction(partition, request) }
      }, { volume: this.volume, index })
      node.partitions.set(member.id, { partition, member, kv, machine })
    }
    this.nodes.push(node)
    const handlers = metadataHandlers((id) => node.partitions.get(id)?.partition)
    await this.network.host(name).listen({ host: name, port: 1 }, (connection) => new Peer(connection, handlers, this.clock))
  }

  private async transaction (partition: string, request: TransactionRequest): Promise<{ body: TransactionResponse }> {
    await new Promise<void>((resolve) => { this.clock.setTimer(resolve, this.network.delay()) })
    this.onTransaction(request, partition)
    const index = Number(partition.split('.').at(-1))
    const handlers = metadataHandlers(() => this.leader(index).partition)
    const { body } = await handlers['meta.transaction']!(request, [], { peer: null as never })
    this.onTransactionAnswer(request, partition)
    return { body }
  }
}

/** Speaks to the leaders directly and records recalls. */
export class TestClient {
  readonly cluster: Cluster
  readonly name: string
  readonly recalls: RecallRequest[] = []
  /** Runs before a recall is answered. */
  onRecall: (recall: RecallRequest) => Promise<void> = async () => {}
  op = 0
  private readonly isOpen: (ino: number) => boolean
  private readonly peers = new Map<string, Promise<Peer>>()

  constructor (cluster: Cluster, name: string, isOpen: (ino: number) => boolean) {
    this.cluster = cluster
    this.name = name
    this.isOpen = isOpen
  }

  openSession (index: number): Promise<Methods['meta.session']['response']> {
    return this.call('meta.session', { client: this.name } as never, index)
  }

  /** Without waiting: the caller advances the clock. */
  async start<M extends Method> (method: M, request: Omit<Methods[M]['request'], 'partition' | 'session' | 'op'> & { op?: number }, index = 0, payload: Buffer[] = []): Promise<Methods[M]['response']> {
    const peer = await this.peer(this.cluster.leader(index).member.node)
    const full = { op: ++this.op, ...request, partition: this.cluster.partitionId(index), session: this.name }
    return (await peer.call(method, full as never, { payload, timeoutMs: 30_000 })).body
  }

  call<M extends Method> (method: M, request: Omit<Methods[M]['request'], 'partition' | 'session' | 'op'> & { op?: number }, index = 0, payload: Buffer[] = []): Promise<Methods[M]['response']> {
    return this.cluster.clock.run(this.start(method, request, index, payload))
  }

  /** One operation, sent again with the same number until it has an outcome. */
  async persist<M extends Method> (method: M, request: Omit<Methods[M]['request'], 'partition' | 'session' | 'op'>, index = 0): Promise<Methods[M]['response']> {
    const { clock } = this.cluster
    const op = ++this.op
    for (;;) {
      try {
        return await this.start(method, { ...request, op } as never, index)
      } catch (error) {
        if (!isRetryable(error)) throw error
        await new Promise<void>((resolve) => { clock.setTimer(resolve, 20) })
      }
    }
  }

  /** Tells every leader that nothing is held: these clients cache nothing. */
  claimNothing (): void {
    for (let index = 0; index < this.cluster.volume.metadataPartitions; index++) void this.persist('meta.claim', { shared: [], exclusive: [] }, index).catch(() => {})
  }

  code (promise: Promise<unknown>): Promise<string> {
    return promise.then(() => 'well', (error: { code: string }) => error.code)
  }

  /** Regular file, unless `mode` says otherwise. */
  create (dir: number, name: string, options: { mode?: number, symlink?: string, lease?: 'shared' | 'exclusive', exclusive?: boolean, index?: number } = {}) {
    const { mode = 0o100644, symlink, lease = 'shared', exclusive = true, index = 0 } = options
    return this.call('meta.create', { dir, name, mode, symlink, lease, exclusive, caller: { uid: 1, gid: 1 } }, index)
  }

  private peer (node: string): Promise<Peer> {
    let made = this.peers.get(node)
    if (made === undefined) {
      const { clock, network } = this.cluster
      const handlers: Handlers = {
        'lease.recall': async (recall) => {
          // An answer that arrived before is taken in first.
          for (let turn = 0; turn < 24; turn++) await null
          this.recalls.push(recall)
          await this.onRecall(recall)
          return { body: { open: this.isOpen(recall.ino) } }
        }
      }
      made = network.host(this.name).dial({ host: node, port: 1 }).then((connection) => {
        const peer = new Peer(connection, handlers, clock)
        peer.onClose(() => { this.peers.delete(node) })
        return peer
      })
      this.peers.set(node, made)
    }
    return made
  }
}
