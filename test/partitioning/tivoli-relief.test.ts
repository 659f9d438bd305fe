import { expect } from 'chai'
import fc from 'fast-check'
import { place } from '../../partitioning/placement.ts'
import { forgetMs, hotForMs, leadReliefMin, noRelief, relieve, restMs, restMsMax, restMsMin, type ReliefNode, type ReliefState } from '../../partitioning/tivoli-relief.ts'
import type { DataPartition, DiskMeasure, NodeId, NodeInfo } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'
import { domainAt } from './naive-placement.ts'

const stepMs = 60_000
const hourMs = 3_600_000

interface UserLoad { reads: number, writes: number }

/** Disks that are as busy as what they hold makes them, and a policy that moves what it holds. */
class Cluster {
  state: ReliefState = noRelief
  nowMs = 0
  moves = 0
  readonly movesOf = new Map<string, number>()
  readonly partitions: DataPartition[]
  private readonly nodes: Array<{ id: NodeId, domain: string[], bandwidth: number, other: number }>
  private readonly noise: () => number
  private readonly byId: Map<string, DataPartition>
  loads: Map<string, UserLoad>

  constructor (nodes: Cluster['nodes'], partitions: DataPartition[], loads: Map<string, UserLoad>, noise: () => number = () => 1) {
    this.nodes = nodes
    this.partitions = partitions
    this.byId = new Map(partitions.map((partition) => [partition.id, partition]))
    this.loads = loads
    this.noise = noise
  }

  loadOf (node: NodeId, id: string): number {
    const partition = this.byId.get(id)!
    const { reads, writes } = this.loads.get(id)!
    if (!partition.replicas.some((replica) => replica.node === node)) return 0
    return writes + (partition.primary === node ? 0 : reads / (partition.replicas.length - 1))
  }

  /** By node. */
  private bytes (): Map<NodeId, number> {
    const bytes = new Map<NodeId, number>()
    for (const { id, replicas } of this.partitions) for (const { node } of replicas) bytes.set(node, (bytes.get(node) ?? 0) + this.loadOf(node, id))
    return bytes
  }

  measured (): ReliefNode[] {
    const bytes = this.bytes()
    return this.nodes.map((node) => {
      const busy = node.other + (bytes.get(node.id) ?? 0) / node.bandwidth
      const disk: DiskMeasure = { readBandwidth: node.bandwidth, writeBandwidth: node.bandwidth, readLatencyMs: 1, writeLatencyMs: 1, utilization: Math.min(1, busy * this.noise()) }
      return { id: node.id, domain: node.domain, mayTake: true, disk }
    })
  }

  step (): number {
    this.nowMs += stepMs
    const { state, leads, moves } = relieve({ nowMs: this.nowMs, nodes: this.measured(), partitions: this.partitions, loadOf: (node, id) => this.loadOf(node, id) }, this.state)
    this.state = JSON.parse(JSON.stringify(state)) as ReliefState
    expect(this.state).to.deep.equal(state)
    for (const [id, lead] of leads) this.lead(id, lead)
    for (const move of moves) this.move(move)
    for (const id of [...leads.keys(), ...moves.map(({ partition }) => partition)]) this.movesOf.set(id, (this.movesOf.get(id) ?? 0) + 1)
    this.moves += leads.size + moves.length
    return leads.size + moves.length
  }

  private lead (id: string, lead: NodeId): void {
    const partition = this.byId.get(id)!
    expect(partition.replicas.some(({ node }) => node === lead)).to.equal(true)
    expect(partition.primary).to.not.equal(lead)
    partition.primary = lead
  }

  private move ({ partition: id, from, to }: { partition: string, from: NodeId, to: NodeId }): void {
    const partition = this.byId.get(id)!
    const at = partition.replicas.findIndex(({ node }) => node === from)
    expect(at).to.be.at.least(0)
    expect(partition.replicas.some(({ node }) => node === to)).to.equal(false)
    partition.replicas[at] = { node: to, state: 'serving' }
    if (partition.primary === from) partition.primary = to
    const racks = partition.replicas.map(({ node }) => domainAt({ id: node, weight: 1, domain: this.nodes.find((candidate) => candidate.id === node)!.domain }, 0))
    expect(new Set(racks).size).to.equal(racks.length)
  }

  run (forMs: number): number {
    const before = this.moves
    for (const end = this.nowMs + forMs; this.nowMs < end;) this.step()
    return this.moves - before
  }

  counts (): string { return JSON.stringify(this.nodes.map(({ id }) => this.partitions.filter(({ replicas }) => replicas.some(({ node }) => node === id)).length)) }
}

function clusterOf (seed: number, options: { nodes: number, partitions: number, skew: number, noise?: number, slow?: boolean }): Cluster {
  const random = new SimRandom(seed)
  const nodes = Array.from({ length: options.nodes }, (_, at) => ({ id: `n${at}`, domain: [`r${at % 5}`], bandwidth: options.slow === true && at === 0 ? 10 : 100, other: 0 }))
  const infos = nodes.map(({ id, domain }): NodeInfo => ({ id, domain, incarnation: '', peerId: '', host: '', rpcPort: 0, raftPort: 0, capacityBytes: 1, usedBytes: 0, disk: null, state: 'up' }))
  const { assignments } = place({ nodes: infos, data: [], metadata: [] }, { placement: 'tivoli', partitions: Array.from({ length: options.partitions }, (_, at) => ({ id: `p${at}`, replicas: 3 })) })
  const partitions = assignments.map(({ partition, replicas }, index): DataPartition =>
    ({ id: partition, volume: 1, index, epoch: 1, primary: replicas[0]!, replicas: replicas.map((node) => ({ node, state: 'serving' })) }))
  const total = options.nodes * 100 * 0.5
  const raw = partitions.map(() => random.next() ** -options.skew)
  const sum = raw.reduce((all, value) => all + value, 0)
  const loads = new Map(partitions.map(({ id }, at) => {
    const share = total * raw[at]! / sum
    const reads = random.next()
    return [id, { reads: share * reads, writes: share * (1 - reads) / 3 }]
  }))
  const noise = options.noise ?? 0
  return new Cluster(nodes, partitions, loads, () => 1 + noise * (random.next() * 2 - 1))
}

describe('Tivoli, hot disks', () => {
  it('property: under a constant load it comes to rest, and no disk is hotter than before', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 5, max: 12 }), fc.integer({ min: 8, max: 60 }), fc.double({ min: 0, max: 0.9, noNaN: true }), fc.boolean(), (seed, nodes, partitions, skew, slow) => {
      const cluster = clusterOf(seed, { nodes, partitions, skew, slow })
      const hottest = (): number => Math.max(...cluster.measured().map(({ disk }) => disk!.utilization))
      const [before, counts] = [hottest(), cluster.counts()]
      cluster.run(8 * hourMs)
      expect(cluster.run(4 * hourMs)).to.equal(0)
      expect(hottest()).to.be.at.most(before + 1e-9)
      expect(cluster.moves).to.be.at.most(2 * partitions)
      // Every node keeps as many replicas as it had: placement has nothing to put right.
      expect(cluster.counts()).to.equal(counts)
    }), { numRuns: Number(process.env['ATOLL_TIVOLI_RUNS'] ?? 12), seed: 1 })
  })

  it('property: measurements that waver move nothing more after some time', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 1e6 }), (seed) => {
      const cluster = clusterOf(seed, { nodes: 8, partitions: 30, skew: 0.6, noise: 0.1 })
      cluster.run(24 * hourMs)
      expect(cluster.run(6 * hourMs)).to.be.at.most(4)
      expect(cluster.moves).to.be.at.most(2 * 30)
    }), { numRuns: 4, seed: 2 })
  })

  it('under a load that flips to and fro a partition moves a bounded number of times', () => {
    for (const flipMs of [20 * 60_000, 5 * hourMs]) {
      const cluster = clusterOf(7, { nodes: 6, partitions: 18, skew: 0.5 })
      const calm = cluster.loads
      const days = 4
      // Whoever is alike by number is hot in turn.
      const flipped = (turn: number) => new Map([...calm].map(([id, load], at) => [id, at % 3 === turn % 3 ? { reads: load.reads * 3, writes: load.writes * 3 } : { reads: 0.1, writes: 0.1 }]))
      for (let turn = 0; cluster.nowMs < days * 24 * hourMs; turn++) {
        cluster.loads = flipped(turn)
        cluster.run(flipMs)
      }
      // It may move until its rest has grown to the longest one, and twice a day from then on.
      const most = Math.log2(restMsMax / restMsMin) + 2 + 2 * days
      expect(Math.max(0, ...cluster.movesOf.values())).to.be.at.most(most)
      expect(cluster.moves, String(flipMs)).to.be.greaterThan(0)
    }
  })

  it('a slow disk is relieved of reads, and of what is written most', () => {
    const cluster = clusterOf(3, { nodes: 6, partitions: 24, skew: 0, slow: true })
    // Alike, and so light that only the slow disk is hot.
    for (const id of cluster.loads.keys()) cluster.loads.set(id, { reads: 1.6, writes: 0.1 })
    const slow = (): number => cluster.measured()[0]!.disk!.utilization
    const before = slow()
    expect(before).to.be.greaterThan(0.7)
    cluster.run(3 * hourMs)
    expect(slow()).to.be.lessThan(before - leadReliefMin)
    expect(cluster.moves).to.be.greaterThan(0)
  })

  it('what is hot for a moment only is left alone', () => {
    const cluster = clusterOf(5, { nodes: 6, partitions: 24, skew: 0.9 })
    const calm = new Map([...cluster.loads].map(([id]) => [id, { reads: 0.1, writes: 0.1 }]))
    const busy = cluster.loads
    for (let turn = 0; turn < 200; turn++) {
      cluster.loads = turn % 2 === 0 ? busy : calm
      cluster.step()
    }
    expect(cluster.moves).to.equal(0)
    cluster.loads = busy
    cluster.run(2 * hotForMs + stepMs)
    expect(cluster.moves).to.be.greaterThan(0)
  })

  it('a partition rests twice as long after each move, and its moves are forgotten in time', () => {
    expect([1, 2, 3, 30].map(restMs)).to.deep.equal([restMsMin, 2 * restMsMin, 4 * restMsMin, restMsMax])
    const cluster = clusterOf(5, { nodes: 6, partitions: 24, skew: 0.9 })
    cluster.run(hourMs)
    const moved = Object.keys(cluster.state.moved)
    expect(moved).to.not.deep.equal([])
    for (const id of cluster.loads.keys()) cluster.loads.set(id, { reads: 0, writes: 0 })
    cluster.run(forgetMs * 3)
    expect(cluster.state).to.deep.equal({ hotSince: {}, settlesUntil: {}, moved: {} })
  })
})
