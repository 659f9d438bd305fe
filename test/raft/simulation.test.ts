import { expect } from 'chai'
import { SimRandom } from '../sim/random.ts'
import { SimCluster, type SimNode } from './sim-cluster.ts'

/** Small bounds, so that cuts, snapshots and reads from disk happen all the time. */
const limits = {
  appendEntriesMax: 8, appendBytesMax: 200, appendsInFlightMax: 4, bytesInFlightMax: 800,
  cacheBytesMax: 2_000, logEntriesMax: 40, logBytesMax: 100_000, logTailEntries: 8, snapshotChunkBytesMax: 500, applyEntriesMax: 16
}

class Run {
  readonly cluster: SimCluster
  readonly acknowledged = new Set<string>()
  private readonly random: SimRandom
  private readonly founders: string[]
  private nextCommand = 0
  private recovering = false
  proposed = 0
  reads = 0

  constructor (seed: number, founders: number, nodes: number) {
    this.random = new SimRandom(seed)
    this.cluster = new SimCluster({ seed: seed * 7919, nodes, limits, syncDelayMsMax: this.random.pick([0.2, 5, 40]) })
    this.founders = this.cluster.ids.slice(0, founders)
    Object.assign(this.cluster.network.faults, {
      delayMsMax: this.random.pick([1, 10, 50]),
      loss: this.random.pick([0, 0.02, 0.1]),
      duplicates: this.random.pick([0, 0.05]),
      late: this.random.pick([0, 0.05]),
      lateMsMax: 2_500
    })
  }

  async play (steps: number): Promise<void> {
    for (const id of this.cluster.ids) await this.cluster.startNode(id, this.founders.includes(id) ? this.founders : [])
    for (let step = 0; step < steps; step++) {
      await this.act()
      await this.cluster.clock.advance(this.random.next() * 500)
    }
    await this.recover()
  }

  private async act (): Promise<void> {
    const { cluster, random } = this
    const draw = random.next()
    const running = cluster.running
    if (draw < 0.55) this.load(random.chance(0.8) ? cluster.leader ?? running[0] : running[0])
    else if (draw < 0.62 && running.length > 0) cluster.crash(random.pick(running).id)
    else if (draw < 0.78) await this.restartSome()
    else if (draw < 0.84) this.split()
    else if (draw < 0.92) cluster.network.heal()
    else if (draw < 0.96) void cluster.leader?.group.transferLeadership(random.chance(0.5) ? undefined : random.pick(cluster.ids))
    else this.changeMembers()
  }

  private load (node: SimNode | undefined): void {
    if (node === undefined) return
    const blackout = this.random.chance(0.15)
    for (let left = this.random.below(30); left >= 0; left--) {
      const command = `c${this.nextCommand++}`
      this.proposed++
      this.cluster.propose(node, command).then((result) => {
        this.acknowledged.add(command)
        if (blackout) this.blackout()
        if (!String(result).startsWith(`${command}@`)) this.cluster.violations.push(`the result of ${command} is ${String(result)}`)
      }, () => {})
    }
    if (this.random.chance(0.7)) this.read(node)
    for (const other of this.cluster.running) if (this.random.chance(0.2)) this.read(other)
  }

  /** The power fails everywhere, or at a majority, in the very moment of an acknowledgement. */
  private blackout (): void {
    const { cluster } = this
    if (this.recovering) return
    const spared = this.random.chance(0.5) ? null : this.random.pick(cluster.ids)
    for (const { id } of cluster.running) if (id !== spared) cluster.crash(id)
  }

  private read (node: SimNode): void {
    const before = [...this.acknowledged]
    node.group.readBarrier().then(() => {
      this.reads++
      const seen = new Set(node.machine.commands)
      const missing = before.filter((command) => !seen.has(command))
      if (missing.length > 0) this.cluster.violations.push(`a read at ${node.id} does not see ${missing.join()}`)
    }, () => {})
  }

  private async restartSome (): Promise<void> {
    for (const node of this.cluster.nodes.values()) if (!node.up && this.random.chance(0.6)) await this.cluster.restart(node.id)
  }

  private split (): void {
    const { ids, network } = this.cluster
    const side = ids.filter(() => this.random.chance(0.4))
    const others = ids.filter((id) => !side.includes(id))
    if (this.random.chance(0.3)) for (const one of side) for (const other of others) network.cutOneWay(one, other)
    else network.partition(side, others)
  }

  private changeMembers (): void {
    const { leader, ids } = this.cluster
    if (leader === undefined) return
    const { members } = leader.group.status
    const outside = ids.filter((id) => !members.includes(id))
    const grow = outside.length > 0 && (members.length < 3 || this.random.chance(0.5))
    const next = grow ? [...members, this.random.pick(outside)] : members.length > 2 ? members.filter((id) => id !== this.random.pick(members)) : members
    leader.group.changeMembers(next).catch(() => {})
  }

  /** When the faults end, all come to agree, and nothing that was acknowledged is missing. */
  private async recover (): Promise<void> {
    const { cluster } = this
    this.recovering = true
    cluster.network.heal()
    Object.assign(cluster.network.faults, { delayMsMax: 1, loss: 0, duplicates: 0, late: 0 })
    for (const node of cluster.nodes.values()) if (!node.up) await cluster.restart(node.id)
    await cluster.proposeFirmly('last')
    await cluster.untilConverged()
    await cluster.clock.advance(100)
    await cluster.checkLogs()
    for (const node of cluster.running) {
      if (!cluster.leader!.group.status.members.includes(node.id)) continue
      const seen = new Set(node.machine.commands)
      if (seen.size !== node.machine.commands.filter((command, at, all) => command !== 'last' || all.indexOf(command) === at).length) cluster.violations.push(`${node.id} applied a command twice`)
      for (const command of this.acknowledged) if (!seen.has(command)) cluster.violations.push(`${node.id} lost the acknowledged ${command}`)
    }
  }
}

describe('Raft under faults', function () {
  this.timeout(120_000)
  const only = process.env.ATOLL_SEED
  const count = Number(process.env.ATOLL_SEEDS ?? 40)
  const seeds = only === undefined ? Array.from({ length: count }, (_, index) => index + 1) : [Number(only)]
  let acknowledged = 0
  let restores = 0
  let reads = 0

  for (const seed of seeds) {
    const [founders, nodes] = ([[3, 3], [5, 5], [3, 5], [3, 4]] as const)[seed % 4]!
    it(`keeps every promise: ${founders} founders, ${nodes} nodes (ATOLL_SEED=${seed})`, async () => {
      const run = new Run(seed, founders, nodes)
      await run.play(60)
      expect(run.cluster.violations).to.deep.equal([])
      expect(run.cluster.errors).to.deep.equal([])
      acknowledged += run.acknowledged.size
      reads += run.reads
      for (const node of run.cluster.nodes.values()) restores += node.machine.restores
    })
  }

  after(() => {
    if (only !== undefined) return
    // A simulation in which nothing happens proves nothing.
    expect(acknowledged).to.be.greaterThan(4_000)
    expect(restores).to.be.greaterThan(20)
    expect(reads).to.be.greaterThan(200)
  })
})
