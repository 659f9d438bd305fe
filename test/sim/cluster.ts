import type { ClusterMap, VolumeInfo } from '../../partitioning/types.ts'
import type { NodeAddress } from '../../fsnode/protocol/node-spec.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { SimClock } from './clock.ts'
import type { SimConfig } from './config.ts'
import { simLogger, type LogLine } from './log.ts'
import { SimNetwork } from './network.ts'
import { raftPort, rpcPort, SimNode } from './node.ts'
import { noDrift, type Drift } from './process.ts'
import { SimRaftNetwork } from './raft-transport.ts'
import { SimRandom } from './random.ts'
import { SimScheduling } from './scheduler/scheduling.ts'
import { Trace } from './trace.ts'

export const volumeName = 'main'
/** The smallest that the manager allows. */
export const chunkSizeBytes = 64 * 1024
export const diskBytes = 64 * 1024 * 1024
const violationsMax = 20
/** Looking at everything takes longer than most events do. */
const healthEveryMs = 10

/** Nodes, networks and time of one run. */
export class SimCluster {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly network: SimNetwork
  readonly raft: SimRaftNetwork
  readonly nodes: SimNode[] = []
  readonly trace = new Trace()
  /** Broken promises. */
  readonly violations: string[] = []
  /** Told of everything that is logged. */
  onLog: (line: LogLine) => void = () => {}
  /** Told of each cluster map that a node learns. */
  onMap: (map: ClusterMap) => void = () => {}
  volume: VolumeInfo | null = null
  private ailingUntil = -Infinity
  readonly config: SimConfig
  /** What launches the nodes; null: they are started by hand. */
  readonly scheduling: SimScheduling | null

  constructor (seed: number, config: SimConfig) {
    this.config = config
    this.random = new SimRandom(seed)
    const { clock, random, trace } = this
    this.network = new SimNetwork({ clock, random: random.fork() })
    this.raft = new SimRaftNetwork({ clock, random: random.fork() })
    this.network.onDeliver = (from, to, bytes) => { trace.note(clock.now(), `${from}>${to}`, bytes) }
    this.raft.onDeliver = (from, to, bytes) => { trace.note(clock.now(), `raft ${from}>${to}`, bytes) }
    const managers = Array.from({ length: config.managers }, (_, at): NodeAddress => ({ id: nodeName(at), host: nodeName(at), rpcPort, raftPort }))
    for (let at = 0; at < config.nodes; at++) this.nodes.push(this.makeNode(nodeName(at), config.scheduled ? `machine-${at + 1}` : nodeName(at), managers))
    this.scheduling = config.scheduled ? new SimScheduling(this, this.nodes, diskBytes) : null
  }

  /** Starts all nodes and makes the volume. */
  async start (): Promise<void> {
    const { placement, replicas, dataPartitions, metadataPartitions, inlineBytesMax, nodes } = this.config
    if (this.scheduling === null) for (const node of this.nodes) node.start()
    else this.scheduling.start()
    await this.clock.until(() => this.map?.nodes.length === nodes, 30_000, 'the registration of all nodes')
    const router = new ClusterRouter({ network: this.network.host('operator'), clock: this.clock, random: this.random.fork(), log: this.logger('operator') }, { seeds: this.seeds })
    await this.clock.run(router.start())
    const { body } = await this.clock.run(router.toManager('manager.create-volume', {
      name: volumeName, placement, replicas, chunkSizeBytes, inlineBytesMax, dataPartitions, metadataPartitions, token: 'first'
    }))
    this.volume = body.volume
    router.close()
  }

  get seeds (): Address[] { return this.nodes.map(({ address }) => address) }

  node (id: string): SimNode { return this.nodes.find((node) => node.id === id)! }

  /** The newest cluster map that any running node knows. */
  get map (): ClusterMap | null {
    let newest: ClusterMap | null = null
    for (const { running } of this.nodes) {
      if (running !== null && running.router.mapVersion > (newest?.version ?? 0)) newest = running.router.map
    }
    return newest
  }

  /** What the manager's replicas have committed, of whichever has got furthest. */
  get committedMap (): ClusterMap | null {
    let newest: ClusterMap | null = null
    for (const { running } of this.nodes) {
      const map = running?.manager?.stateMachine.map
      if (map !== undefined && map.version > (newest?.version ?? 0)) newest = map
    }
    return newest
  }

  /**
   * Everything serves: every node is up, every replica in sync and led, every group has a leader that the others know. Who was not is looked
   * at again after `healthEveryMs` only.
   */
  get healthy (): boolean {
    const now = this.clock.now()
    if (now < this.ailingUntil) return false
    if (this.ailments().length === 0) return true
    this.ailingUntil = now + healthEveryMs
    return false
  }

  ailments (): string[] {
    const map = this.committedMap
    if (map === null) return ['there is no map']
    const ailing = this.scheduling?.ailments() ?? []
    for (const node of this.nodes) {
      if (node.running === null) ailing.push(`${node.id} is not running`)
      else if (node.running.router.mapVersion < map.version) ailing.push(`${node.id} does not know the newest map`)
    }
    for (const { name, metadataPartitionsWanted } of map.volumes) if (metadataPartitionsWanted !== undefined) ailing.push(`${name} gets ${metadataPartitionsWanted} metadata partitions`)
    for (const { name, dataPartitionsWanted } of map.volumes) if (dataPartitionsWanted !== undefined) ailing.push(`${name} is being split into ${dataPartitionsWanted} partitions`)
    for (const { id, state } of map.nodes) if (state !== 'up') ailing.push(`${id} is ${state}`)
    for (const { id, primary, replicas } of map.data) {
      const out = replicas.filter(({ state }) => state !== 'serving').map(({ node, state }) => `${node} ${state}`)
      if (primary === null) ailing.push(`${id} has no primary`)
      if (out.length > 0) ailing.push(`${id}: ${out.join(', ')}`)
      if (replicas.length !== this.config.replicas) ailing.push(`${id} has ${replicas.length} replicas`)
    }
    for (const { running } of this.nodes) {
      if (running?.manager?.group.status.role !== 'leader') continue
      for (const { id, why } of running.manager.stateMachine.view.plans.unfinished) ailing.push(`plan ${id} goes on: ${why}`)
    }
    for (const { id, change } of [...map.metadata, { id: 'manager', change: map.managersChange }]) if (change !== undefined) ailing.push(`the members of ${id} change`)
    for (const group of ['manager', ...map.metadata.map(({ id }) => id)]) ailing.push(...this.groupAilments(group))
    return ailing
  }

  logger (who: string): ReturnType<typeof simLogger> { return simLogger(who, (line) => { this.onLog(line) }) }

  violation (what: string): void {
    this.trace.note(this.clock.now(), `violation ${what}`)
    if (this.violations.length < violationsMax) this.violations.push(`${this.clock.now().toFixed(1)} ms: ${what}`)
  }

  drift (): Drift {
    const { driftMax } = this.config
    if (driftMax === 0) return noDrift
    return { rate: 1 + (this.random.next() * 2 - 1) * driftMax, offsetMs: this.random.below(100_000), wallSkewMs: this.random.below(20_000) - 10_000 }
  }

  private groupAilments (group: string): string[] {
    const replicas = this.nodes.flatMap(({ id, running }) => running?.groups().filter((found) => found.id === group).map((found) => ({ id, found })) ?? [])
    const leader = replicas.find(({ found }) => found.status.role === 'leader' && found.canReadNow)
    if (leader === undefined) return [`${group} has no leader`]
    const { commitIndex, members } = leader.found.status
    const behind = replicas.filter(({ found }) => found.status.leader !== leader.id || found.status.appliedIndex < commitIndex)
    const absent = members.filter((member) => !replicas.some(({ id }) => id === member))
    return [...behind.map(({ id }) => `${group} at ${id} is behind`), ...absent.map((id) => `${group} is not open at ${id}`)]
  }

  private makeNode (id: string, host: string, managers: NodeAddress[]): SimNode {
    return new SimNode({ clock: this.clock, random: this.random.fork(), network: this.network, raft: this.raft, log: this.logger(host) }, {
      id, host, managers, drift: this.drift(), capacityBytes: diskBytes, spreadInodesMin: this.config.spreadInodesMin,
      onMap: (map) => { this.onMap(map) },
      onReplaced: () => { this.violation(`${host} believes that another process has replaced it`) },
      onFailure: (what) => { this.violation(what) }
    })
  }
}

function nodeName (at: number): string { return `node-${at + 1}` }
