import { expect } from 'chai'
import { Manager } from '../../fsnode/manager/manager.ts'
import { NodeAgent, nodeMapHandlers, type NodeReport } from '../../fsnode/manager/node-agent.ts'
import { managerHandlers } from '../../fsnode/manager/service.ts'
import { ManagerStateMachine } from '../../fsnode/manager/state-machine.ts'
import type { CreateVolumeRequest, RegisterRequest } from '../../fsnode/protocol/manager.ts'
import { Peer } from '../../fsnode/protocol/peer.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import type { ClusterMap, DataPartition, NodeId, NodeInfo, ReplicaState } from '../../partitioning/types.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimNetwork } from '../sim/network.ts'
import { SimRandom } from '../sim/random.ts'
import { TrivialGroup, TrivialLog } from './trivial-group.ts'

export const silent: Logger = { debug () {}, info () {}, warn () {}, error () {}, child: () => silent }

const port = 7000
const syncDelayMs = 40

export interface SimClusterInit { nodes: number, managers?: number, seed?: number, domains?: string[], checkIntervalMs?: number, /** What the nodes have files of at their start. */ newestVolume?: number }

/** One process of a node: its agent, perhaps a replica of the manager, and a fake of the data layer that syncs at once. */
export class SimProcess {
  readonly id: NodeId
  readonly incarnation: string
  readonly router: ClusterRouter
  readonly agent: NodeAgent
  alive = true
  replaced = false
  report: NodeReport = { usedBytes: 0, capacityBytes: 1e12, disk: null }
  private readonly cluster: SimCluster
  private readonly syncing = new Set<string>()

  constructor (cluster: SimCluster, id: NodeId, incarnation: string, host: string, domain: string[], previous?: RegisterRequest['previous']) {
    const { clock, random } = cluster
    this.cluster = cluster
    this.id = id
    this.incarnation = incarnation
    this.router = new ClusterRouter({ network: cluster.network.host(host), clock, random: random.fork(), log: silent }, { seeds: [] })
    this.agent = new NodeAgent({ clock, random: random.fork(), log: silent, router: this.router }, {
      clusterId: 'c',
      node: { id, incarnation, peerId: `peer-${id}`, host, rpcPort: port, raftPort: port + 1, domain, newestVolume: cluster.newestVolume },
      managers: cluster.managerIds.map((manager) => ({ id: manager, host: manager, rpcPort: port })),
      previous,
      report: () => this.report,
      onReplaced: () => { this.replaced = true }
    })
    this.router.onMap((map) => {
      cluster.checkLeaders()
      this.sync(map)
      this.split(map)
    })
  }

  /** Partitions that this process believes it may lead now. */
  leads (): DataPartition[] {
    if (!this.alive || !this.agent.leaseValid()) return []
    return this.router.map.data.filter(({ primary }) => primary === this.id)
  }

  kill (): void {
    this.alive = false
    this.agent.stop()
    this.router.close()
  }

  /** Starts what `holdSyncs` held. */
  resumeSyncs (): void { this.sync(this.router.map) }

  /** The same of `holdSplits`. */
  resumeSplits (): void { this.split(this.router.map) }

  /** As the data layer does when nothing is under way any more. */
  private split (map: ClusterMap): void {
    for (const { id, epoch, splitting, primary } of map.data) {
      if (splitting !== true || primary !== this.id || this.cluster.holdSplits) continue
      this.cluster.clock.setTimer(() => {
        if (!this.alive) return
        const request = { partition: id, epoch, node: this.id }
        this.router.toManager('manager.split-partition', request).then(({ body }) => { if (body.map !== undefined) this.router.adopt(body.map) }, () => {})
      }, syncDelayMs)
    }
  }

  private sync (map: ClusterMap): void {
    for (const partition of map.data) {
      const syncs = partition.replicas.some(({ node, state }) => node === this.id && state === 'syncing')
      const key = `${partition.id} ${partition.epoch}`
      if (!syncs || this.syncing.has(key) || this.cluster.holdSyncs) continue
      this.syncing.add(key)
      this.cluster.clock.setTimer(() => {
        if (!this.alive) return
        const request = { partition: partition.id, epoch: partition.epoch, node: this.id }
        this.router.toManager('manager.replica-synced', request).then(({ body }) => { if (body.map !== undefined) this.router.adopt(body.map) }, () => {})
      }, syncDelayMs)
    }
  }
}

/** Managers on the first nodes, behind a trivial log; the rest is real. A checker runs all the time. */
export class SimCluster {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly network: SimNetwork
  readonly log: TrivialLog
  readonly managerIds: NodeId[]
  readonly processes = new Map<NodeId, SimProcess>()
  readonly zombies: SimProcess[] = []
  readonly managers = new Map<NodeId, Manager>()
  holdSyncs = false
  holdSplits = false
  private readonly init: SimClusterInit
  private readonly stores = new Map<NodeId, MemoryKv>()
  private readonly groups = new Map<NodeId, TrivialGroup>()
  private starts = 0
  violations: string[] = []

  constructor (init: SimClusterInit) {
    this.init = init
    this.random = new SimRandom(init.seed ?? 1)
    this.network = new SimNetwork({ clock: this.clock, random: this.random.fork() })
    this.log = new TrivialLog(this.clock)
    this.managerIds = this.ids.slice(0, init.managers ?? 3)
  }

  get newestVolume (): number | undefined { return this.init.newestVolume }

  get ids (): NodeId[] { return Array.from({ length: this.init.nodes }, (_, at) => `node-${at + 1}`) }

  async start (): Promise<this> {
    for (const id of this.ids) await this.boot(id)
    this.log.elect(this.managerIds[0]!)
    this.check()
    await this.clock.until(() => this.map.nodes.filter(({ state }) => state === 'up').length === this.init.nodes, 10_000, 'registration')
    return this
  }

  /** The committed map. */
  get map (): ClusterMap {
    const leader = this.managers.get(this.log.leader ?? this.managerIds[0]!) ?? [...this.managers.values()][0]!
    return leader.map
  }

  node (id: NodeId): NodeInfo { return this.map.nodes.find((node) => node.id === id)! }

  process (id: NodeId): SimProcess { return this.processes.get(id)! }

  async boot (id: NodeId, previous?: RegisterRequest['previous'], host = id): Promise<SimProcess> {
    const at = Number(id.split('-')[1]) - 1
    const domain = this.init.domains?.[at] === undefined ? [] : [this.init.domains[at]]
    const process = new SimProcess(this, id, `${id}#${++this.starts}`, host, domain, previous)
    this.processes.set(id, process)
    const handlers = { ...nodeMapHandlers({ router: process.router, clock: this.clock }), ...(this.managerIds.includes(id) ? await this.openManager(id).then((manager) => managerHandlers(() => manager)) : {}) }
    await this.network.host(host).listen({ host, port }, (connection) => { new Peer(connection, handlers, this.clock) })
    void process.agent.start()
    return process
  }

  kill (id: NodeId): void {
    this.process(id).kill()
    this.network.crash(id)
    this.managers.get(id)?.close()
    void this.groups.get(id)?.close()
    this.managers.delete(id)
    if (this.log.leader !== id) return
    const alive = this.managerIds.filter((manager) => this.managers.has(manager))
    this.clock.setTimer(() => { if (this.log.leader === id) this.log.elect(alive.length > this.managerIds.length / 2 ? alive[0]! : null) }, 300)
  }

  /** A new process on the same store. `intact`: the machine kept running. */
  async restart (id: NodeId, intact = true): Promise<SimProcess> {
    const process = await this.boot(id, { incarnation: this.process(id).incarnation, intact })
    if (this.log.leader === null || !this.managers.has(this.log.leader)) this.log.elect(this.managerIds.find((manager) => this.managers.has(manager))!)
    return process
  }

  async createVolume (request: Partial<CreateVolumeRequest> = {}): Promise<void> {
    const { router } = this.alive()[0]!
    await this.clock.run(router.toManager('manager.create-volume', { name: 'main', placement: 'hawaii', replicas: 3, ...request }))
  }

  alive (): SimProcess[] { return [...this.processes.values()].filter((process) => process.alive) }

  states (id: NodeId): Set<ReplicaState> {
    return new Set(this.map.data.flatMap(({ replicas }) => replicas.filter(({ node }) => node === id).map(({ state }) => state)))
  }

  leadersOf (): Map<NodeId | null, number> {
    const counts = new Map<NodeId | null, number>()
    for (const { primary } of this.map.data) counts.set(primary, (counts.get(primary) ?? 0) + 1)
    return counts
  }

  /** Everything serves, led by the placement's choice. */
  healthy (): boolean {
    return this.map.data.every(({ replicas, primary }) => primary === replicas[0]!.node && replicas.every(({ state }) => state === 'serving'))
  }

  /** Stops everything and says whether the checker saw two leaders of one partition. */
  finish (): void {
    for (const process of [...this.processes.values(), ...this.zombies]) if (process.alive) process.kill()
    for (const manager of this.managers.values()) manager.close()
    expect(this.violations).to.deep.equal([])
  }

  private async openManager (id: NodeId): Promise<Manager> {
    const old = this.stores.get(id)
    old?.kill()
    const kv = old?.reopen() ?? new MemoryKv()
    this.stores.set(id, kv)
    const stateMachine = await ManagerStateMachine.open({ kv, log: silent }, { clusterId: 'c', managers: this.managerIds })
    const group = new TrivialGroup(this.log, id, stateMachine)
    this.groups.set(id, group)
    const manager = new Manager({ clock: this.clock, log: silent, group, stateMachine })
    manager.start()
    this.managers.set(id, manager)
    return manager
  }

  /** Two processes that both believe to lead a partition, now: never. Also called whenever a process learns a map. */
  checkLeaders (): void {
    const leaders = new Map<string, string>()
    for (const process of [...this.processes.values(), ...this.zombies]) {
      for (const { id } of process.leads()) {
        const other = leaders.get(id)
        if (other !== undefined && this.violations.length < 10) this.violations.push(`${this.clock.now()}: ${other} and ${process.incarnation} lead ${id}`)
        leaders.set(id, process.incarnation)
      }
    }
  }

  private check (): void {
    this.checkLeaders()
    this.clock.setTimer(() => { this.check() }, this.init.checkIntervalMs ?? 10)
  }
}
