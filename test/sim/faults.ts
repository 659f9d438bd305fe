import type { FaultKind, SimConfig } from './config.ts'
import type { SimClient } from './client.ts'
import { diskBytes, type SimCluster } from './cluster.ts'
import type { Ending } from './disk.ts'
import type { SimNode } from './node.ts'
import type { SimRandom } from './random.ts'
import { masterHost, type SimMaster } from './scheduler/master.ts'
import { schedulerHost, type SimScheduler } from './scheduler/scheduler.ts'

export interface FaultsInit {
  config: SimConfig
  clients: SimClient[]
  /** The power of a node has failed. */
  onPowerFailure: (node: SimNode) => void
  /** A client's process is about to vanish. */
  onClientCrash: (client: SimClient, takenOver: boolean) => void
  /** The client's machine starts a process again. */
  onClientStart: (client: SimClient) => void
}

const raftLoss = { loss: 0.1, duplicates: 0.05, late: 0.1, lateMsMax: 2_000 }
const noLoss = { loss: 0, duplicates: 0, late: 0, lateMsMax: 0 }
const fastNetworkMs = [0.1, 1] as const
const slowNetworkMs = [5, 120] as const
/** Room that a full disk still has. */
const fullDiskBytes = 24 * 1024
/** How long a fault lasts: often shorter than leases, often longer. */
const shortMsMax = 2_000
const longMsMax = 15_000

/**
 * Draws faults from the seed, lets each last for a while, and ends them all in `heal`. Nothing is done that
 * the promises do not cover: disks keep what was synced, clocks run apart by less than what leases allow for.
 */
export class Faults {
  readonly counts = new Map<FaultKind, number>()
  private readonly cluster: SimCluster
  private readonly init: FaultsInit
  private readonly random: SimRandom
  private over = false
  /** What ends the faults that are under way. */
  private readonly cures = new Set<() => void>()

  constructor (cluster: SimCluster, init: FaultsInit) {
    this.cluster = cluster
    this.init = init
    this.random = cluster.random.fork()
  }

  start (): void {
    if (this.init.config.faults.length > 0) this.schedule()
  }

  /** Ends all faults; nodes and clients that are down start again. */
  heal (): void {
    this.over = true
    for (const cure of [...this.cures]) cure()
    this.cluster.network.heal()
    this.cluster.raft.heal()
    for (const node of this.cluster.nodes) node.recover()
    this.cluster.scheduling?.start()
  }

  private schedule (): void {
    const delayMs = this.random.next() * 2 * this.init.config.faultEveryMs
    this.cluster.clock.setTimer(() => {
      if (this.over) return
      this.strike(this.random.pick(this.init.config.faults))
      this.schedule()
    }, delayMs)
  }

  private strike (kind: FaultKind): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    const { random, cluster } = this
    const node = random.pick(cluster.nodes)
    const client = random.pick(this.init.clients)
    const hosts = [...cluster.nodes.map(({ host }) => host), ...this.init.clients.map(({ host }) => host)]
    const { scheduling } = cluster
    cluster.trace.note(cluster.clock.now(), `fault ${kind}`)
    cluster.logger('faults').info(kind, { node: node.id, client: client.host })
    switch (kind) {
      case 'kill': return this.down(node, 'kill')
      case 'power': return this.down(node, 'power')
      case 'power-all': for (const each of cluster.nodes) this.down(each, 'power'); return
      case 'stop': return this.stop(node)
      case 'cut': return this.cut([node.host], [random.pick(hosts)], true)
      case 'one-way': return this.cut([node.host], [random.pick(hosts)], false)
      case 'isolate': return this.cut([node.host], hosts, true)
      case 'client-cut': return this.cut([client.host], hosts, true)
      case 'reset': return cluster.network.disconnect(random.pick(hosts), node.host)
      case 'raft-loss': return this.during(() => { Object.assign(cluster.raft.faults, raftLoss) }, () => { Object.assign(cluster.raft.faults, noLoss) })
      case 'slow-network': return this.during(() => { cluster.network.setDelay(...slowNetworkMs) }, () => { cluster.network.setDelay(...fastNetworkMs) })
      case 'slow-disk': return this.during(() => { node.disk.setSlow(true) }, () => { node.disk.setSlow(false) })
      case 'full-disk': return this.during(() => { node.disk.setCapacity(node.disk.usedBytes + fullDiskBytes) }, () => { node.disk.setCapacity(diskBytes) })
      case 'client-crash': return this.crashClient(client)
      case 'transfer': return this.transfer(node)
      case 'scheduler-crash': return this.crash(scheduling?.scheduler)
      case 'master-crash': return this.crash(scheduling?.master)
      case 'agent-away': return this.agentAway()
      case 'scheduler-cut': return this.cut([schedulerHost], [masterHost], random.chance(0.5))
    }
  }

  private down (node: SimNode, ending: Ending): void {
    // Of a machine whose process is down the power may fail, too.
    if (node.down && ending === 'kill') return
    node.end(ending)
    if (ending === 'power') this.init.onPowerFailure(node)
    this.during(() => {}, () => { node.recover() })
  }

  private stop (node: SimNode): void {
    if (node.running === null) return
    const life = node.life + 1
    void node.stop()
    // One that cannot stop in time is killed, as a scheduler does.
    this.during(() => {}, () => {
      if (node.life === life) node.end('kill')
      node.recover()
    })
  }

  private cut (some: string[], others: string[], bothWays: boolean): void {
    const { network, raft } = this.cluster
    const pairs = some.flatMap((one) => others.filter((other) => other !== one).map((other) => [one, other] as const))
    this.during(() => {
      for (const [one, other] of pairs) {
        network.cutOneWay(one, other)
        raft.cutOneWay(this.raftName(one), this.raftName(other))
        if (bothWays) network.cutOneWay(other, one)
        if (bothWays) raft.cutOneWay(this.raftName(other), this.raftName(one))
      }
    }, () => {
      for (const [one, other] of pairs) {
        network.heal(one, other)
        raft.healOneWay(this.raftName(one), this.raftName(other))
        raft.healOneWay(this.raftName(other), this.raftName(one))
      }
    })
  }

  /** Raft knows nodes, not machines. */
  private raftName (host: string): string { return this.cluster.nodes.find((node) => node.host === host)?.id ?? host }

  private crash (what: SimMaster | SimScheduler | undefined): void {
    what?.end(this.random.pick(['kill', 'power']))
    this.during(() => {}, () => { what?.start() })
  }

  private agentAway (): void {
    const { scheduling } = this.cluster
    if (scheduling === null) return
    const machine = this.random.pick(scheduling.machines)
    this.during(() => { machine.hear(this.random.pick(['away', 'hanging'])) }, () => { machine.hear('registered') })
  }

  private crashClient (client: SimClient): void {
    if (client.process === null) return
    const takenOver = this.random.chance(0.6)
    this.init.onClientCrash(client, takenOver)
    client.crash(takenOver)
    this.during(() => {}, () => { this.init.onClientStart(client) })
  }

  private transfer (node: SimNode): void {
    const led = node.running?.groups().filter((group) => group.status.role === 'leader') ?? []
    if (led.length > 0) void this.random.pick(led).transferLeadership().catch(() => {})
  }

  private during (begin: () => void, end: () => void): void {
    begin()
    let ended = false
    const cure = (): void => {
      if (ended) return
      ended = true
      this.cures.delete(cure)
      end()
    }
    this.cures.add(cure)
    this.cluster.clock.setTimer(cure, this.random.next() * (this.random.chance(0.5) ? shortMsMax : longMsMax))
  }
}
