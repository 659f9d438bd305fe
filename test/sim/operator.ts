import type { Placement } from '../../partitioning/types.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { volumeName, type SimCluster } from './cluster.ts'
import type { SimConfig } from './config.ts'
import type { SimRandom } from './random.ts'

const patienceMs = 5_000
const drainMsMax = 15_000
const maintenanceMsMax = 20_000
/** Longer than the longest back-off of a node that is launched again. */
const settleMs = 80_000
const updateShare = 0.1

type Kind = 'move' | 'member' | 'drain' | 'rebalance' | 'pause' | 'cancel' | 'placement' | 'update' | 'split' | 'yield' | 'maintain'

/** An operator who moves replicas, empties nodes, splits partitions and changes policies while clients work and faults strike. */
export class Operator {
  /** What was asked for and granted, by kind. */
  readonly counts = new Map<string, number>()
  private readonly cluster: SimCluster
  private readonly config: Pick<SimConfig, 'operateEveryMs' | 'splits' | 'durationMs'>
  private readonly random: SimRandom
  private readonly drained = new Set<string>()
  private readonly yielding = new Set<string>()
  private readonly underWay = new Set<Promise<void>>()
  private router: ClusterRouter | null = null
  private over = false

  constructor (cluster: SimCluster, config: Pick<SimConfig, 'operateEveryMs' | 'splits' | 'durationMs'>) {
    this.cluster = cluster
    this.config = config
    this.random = cluster.random.fork()
  }

  start (): void {
    const { operateEveryMs, splits, durationMs } = this.config
    if (operateEveryMs === null && splits === 0) return
    const { network, clock, seeds } = this.cluster
    this.router = new ClusterRouter({ network: network.host('operator'), clock, random: this.random.fork(), log: this.cluster.logger('operator') }, { seeds })
    this.router.start().catch(() => {})
    if (operateEveryMs !== null) this.schedule(operateEveryMs)
    for (let split = 0; split < splits; split++) clock.setTimer(() => { if (!this.over) this.begin('split') }, this.random.next() * durationMs)
  }

  /** No node is emptied any more, nothing is paused: what is under way comes to its end. */
  async settle (): Promise<void> {
    const { router } = this
    this.over = true
    if (router === null) return
    this.cluster.scheduling?.maintain([], 0)
    // What is asked for again and again until it is granted must not come after this.
    await Promise.all(this.underWay)
    await router.toManager('manager.control-plan', { action: 'resume' }, { patienceMs: settleMs })
    for (const node of this.drained) await router.toManager('manager.drain-node', { node, drain: false }, { patienceMs: settleMs })
    for (const node of this.yielding) await router.toManager('manager.yield-node', { node, yields: false }, { patienceMs: settleMs })
    router.close()
  }

  private schedule (everyMs: number): void {
    this.cluster.clock.setTimer(() => {
      if (this.over) return
      this.begin(this.drawKind())
      this.schedule(everyMs)
    }, this.random.next() * 2 * everyMs)
  }

  private drawKind (): Kind {
    const kinds = ['move', 'move', 'move', 'member', 'member', 'drain', 'rebalance', 'pause', 'cancel', 'placement', 'yield'] as const
    return this.cluster.scheduling !== null && this.random.chance(updateShare) ? this.random.pick(['update', 'maintain'] as const) : this.random.pick(kinds)
  }

  private begin (kind: Kind): void {
    const done = this.act(kind).then(() => { this.underWay.delete(done) })
    // An update is never answered when the framework dies with it, and pauses nothing.
    if (kind !== 'update') this.underWay.add(done)
  }

  private async act (kind: Kind): Promise<void> {
    this.cluster.trace.note(this.cluster.clock.now(), `operator ${kind}`)
    try {
      await this[kind]()
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    } catch (error) {
      // Refused, or the cluster is in trouble: an operator lives with it.
      this.cluster.logger('operator').info(kind, { error: String(error) })
    }
  }

  /** Nodes get another configuration: the framework restarts one after another, when the cluster can do without it. */
  private async update (): Promise<void> {
    await this.cluster.scheduling!.update()
  }

  /** Inverse offers are made for one machine or two, until they are not to go any more; the time that was announced may be over before. */
  private async maintain (): Promise<void> {
    const { scheduling, clock, nodes } = this.cluster
    const hosts = new Set([this.random.pick(nodes).host, this.random.pick(nodes).host])
    const wallMs = Number(clock.wallNs() / 1_000_000n)
    scheduling!.maintain([...hosts], wallMs + this.random.next() * maintenanceMsMax, this.random.chance(0.5) ? this.random.next() * maintenanceMsMax : undefined)
    clock.setTimer(() => { if (!this.over) scheduling!.maintain([], 0) }, this.random.next() * maintenanceMsMax)
  }

  private async move (): Promise<void> {
    const { map } = this.router!
    const partition = this.random.pick(map.data)
    const held = partition.replicas.map(({ node }) => node)
    const others = map.nodes.filter(({ id }) => !held.includes(id))
    if (others.length === 0) return
    await this.router!.toManager('manager.move-partition', { partition: partition.id, from: this.random.pick(held), to: this.random.pick(others).id }, { patienceMs })
  }

  private async member (): Promise<void> {
    const { map } = this.router!
    const group = this.random.pick([...map.metadata, { id: 'manager', members: map.managers }])
    const others = map.nodes.filter(({ id }) => !group.members.includes(id))
    if (others.length === 0) return
    await this.router!.toManager('manager.move-partition', { partition: group.id, from: this.random.pick(group.members), to: this.random.pick(others).id }, { patienceMs })
  }

  private async drain (): Promise<void> {
    const node = this.random.pick(this.cluster.nodes).id
    this.drained.add(node)
    const { clock } = this.cluster
    await this.router!.toManager('manager.drain-node', { node, drain: true }, { patienceMs })
    clock.setTimer(() => {
      if (!this.over) this.router!.toManager('manager.drain-node', { node, drain: false }, { patienceMs }).catch(() => {})
    }, this.random.next() * drainMsMax)
  }

  /** It stays after all, or its process ends before that. */
  private async yield (): Promise<void> {
    const node = this.random.pick(this.cluster.nodes).id
    this.yielding.add(node)
    await this.router!.toManager('manager.yield-node', { node, yields: true }, { patienceMs })
    this.cluster.clock.setTimer(() => {
      if (!this.over) this.router!.toManager('manager.yield-node', { node, yields: false }, { patienceMs }).catch(() => {})
    }, this.random.next() * drainMsMax)
  }

  private async rebalance (): Promise<void> {
    await this.router!.toManager('manager.rebalance', {}, { patienceMs })
  }

  private async pause (): Promise<void> {
    await this.router!.toManager('manager.control-plan', { action: this.random.pick(['pause', 'resume', 'resume']) }, { patienceMs })
  }

  private async cancel (): Promise<void> {
    await this.router!.toManager('manager.control-plan', { action: 'cancel' }, { patienceMs })
    await this.router!.toManager('manager.control-plan', { action: 'resume' }, { patienceMs })
  }

  private async placement (): Promise<void> {
    await this.router!.toManager('manager.set-volume', { name: volumeName, placement: this.random.pick<Placement>(['hawaii', 'tivoli']) }, { patienceMs })
  }

  private async split (): Promise<void> {
    const { dataPartitions, dataPartitionsWanted = dataPartitions, metadataPartitions, metadataPartitionsWanted = metadataPartitions } = this.router!.map.volumes.find(({ name }) => name === volumeName)!
    const request = { name: volumeName, dataPartitions: 2 * dataPartitionsWanted, ...(this.random.chance(0.5) && { metadataPartitions: 2 * metadataPartitionsWanted }) }
    await this.router!.toManager('manager.set-volume', request, { patienceMs })
  }
}
