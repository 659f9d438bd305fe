import { expect } from 'chai'
import { choosePrimary, explain, place, placeMetadata, type PlacementSnapshot } from '../../partitioning/placement.ts'
import { chooseReader, diskDelayMs, diskScores, foreignUtilization } from '../../partitioning/tivoli.ts'
import type { DataPartition, DiskMeasure, NodeInfo, ReplicaState } from '../../partitioning/types.ts'
import { SimRandom } from '../sim/random.ts'

const megabyte = 1e6
const disk = (fields: Partial<DiskMeasure> = {}): DiskMeasure =>
  ({ readBandwidth: 200 * megabyte, writeBandwidth: 100 * megabyte, readLatencyMs: 1, writeLatencyMs: 2, utilization: 0, ...fields })

const node = (id: string, fields: Partial<NodeInfo> = {}): NodeInfo => ({
  id, incarnation: 'i', peerId: 'p', host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1e12, usedBytes: 0, disk: null, state: 'up', ...fields
})

const snapshotOf = (nodes: NodeInfo[], fields: Partial<PlacementSnapshot> = {}): PlacementSnapshot => ({ nodes, data: [], metadata: [], ...fields })
const wanted = (count: number, replicas: number) => Array.from({ length: count }, (_, at) => ({ id: `1.d.${at}`, replicas }))
const partition = (states: Record<string, ReplicaState>, primary: string | null): DataPartition =>
  ({ id: '1.d.0', volume: 1, index: 0, epoch: 1, replicas: Object.entries(states).map(([id, state]) => ({ node: id, state })), primary })

describe('placement', () => {
  it('Hawaii follows capacity', () => {
    const nodes = [node('a', { capacityBytes: 2e12 }), node('b'), node('c'), node('d')]
    const { shares } = place(snapshotOf(nodes), { placement: 'hawaii', partitions: wanted(100, 2) })
    expect(shares.map((share) => share.replicas)).to.deep.equal([80, 40, 40, 40])
  })

  it('nothing new is placed on nodes that are down or draining', () => {
    const nodes = [node('a'), node('b', { state: 'down' }), node('c', { state: 'draining' }), node('d')]
    const outcome = place(snapshotOf(nodes), { placement: 'hawaii', partitions: wanted(10, 2) })
    expect(new Set(outcome.assignments.flatMap(({ replicas }) => replicas))).to.deep.equal(new Set(['a', 'd']))
  })

  it('Tivoli puts more replicas on faster disks and primaries where write bandwidth is free', () => {
    const nodes = [node('fast', { disk: disk({ readBandwidth: 800 * megabyte, writeBandwidth: 400 * megabyte }) }), node('busy', { disk: disk({ utilization: 0.9 }) }), node('idle', { disk: disk() }), node('unmeasured')]
    const { shares } = place(snapshotOf(nodes), { placement: 'tivoli', partitions: wanted(200, 2) })
    const [busy, fast, idle, unmeasured] = shares
    expect(fast!.replicas).to.be.greaterThan(idle!.replicas * 1.5)
    expect(fast!.primaries).to.be.greaterThan(idle!.primaries * 2)
    expect(busy!.primaries).to.be.lessThan(idle!.primaries)
    expect(busy!.replicas).to.equal(idle!.replicas)
    expect(unmeasured!.replicas).to.be.greaterThan(idle!.replicas)
  })

  it('a node without measurements counts as average, and no score is beyond its bounds', () => {
    const scores = diskScores([node('a', { disk: disk() }), node('b'), node('c', { disk: disk({ writeBandwidth: 1e12, readBandwidth: 1e12 }) }), node('d', { disk: disk({ writeBandwidth: 1, readBandwidth: 1 }) })])
    expect(scores.get('b')).to.deep.equal({ bandwidth: 1, freeWrite: 1 })
    for (const { bandwidth, freeWrite } of scores.values()) {
      expect(bandwidth).to.be.within(0.25, 4)
      expect(freeWrite).to.be.within(0.25, 4)
    }
  })

  it('Tivoli gives a fast disk no more than it can hold, as long as there is room elsewhere', () => {
    const fast = { disk: disk({ readBandwidth: 800 * megabyte, writeBandwidth: 400 * megabyte }) }
    const nodes = [node('fast', { ...fast, capacityBytes: 100 }), ...['a', 'b', 'c'].map((id) => node(id, { capacityBytes: 100, disk: disk() }))]
    const shares = (replicaBytes: number) => place(snapshotOf(nodes), { placement: 'tivoli', partitions: wanted(40, 2), replicaBytes }).shares
    const of = (replicaBytes: number, id: string) => shares(replicaBytes).find((share) => share.node === id)!
    expect(of(0, 'fast').replicas).to.be.greaterThan(30)
    // 80 replicas of 4 bytes: 85 of 100 bytes are 21 replicas.
    expect(of(4, 'fast')).to.deep.include({ replicas: 21, replicaShare: 21 })
    // No room anywhere: the bounds give way, evenly.
    for (const { replicas } of shares(40)) expect(replicas).to.be.within(19, 21)
    // By default a replica counts with what one holds now: 8 bytes in two of them.
    const filled = snapshotOf(nodes.map((one) => ({ ...one, usedBytes: one.id === 'a' || one.id === 'b' ? 4 : 0 })), { data: [{ ...partition({ a: 'serving', b: 'serving' }, 'a'), id: '2.d.0' }] })
    expect(place(filled, { placement: 'tivoli', partitions: wanted(40, 2) }).shares.find((share) => share.node === 'fast')!.replicas).to.equal(21)
  })

  it('Tivoli scores keep still while measurements waver, and are not moved by its own load', () => {
    const random = new SimRandom(3)
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const speeds = names.map((_, at) => 100 * megabyte * 1.13 ** at)
    const partitions = wanted(60, 2)
    let placed: Array<{ id: string, replicas: number, current?: string[], primary?: string | null }> = partitions
    let previous: ReturnType<typeof diskScores> | undefined
    let moved = 0
    for (let turn = 0; turn < 50; turn++) {
      // Whoever leads much is busy: leads must not follow that to and fro.
      const leads = (id: string): number => placed.filter(({ primary }) => primary === id).length
      const nodes = names.map((id, at) => {
        const noise = 0.95 + random.next() * 0.1
        const utilization = Math.min(1, leads(id) / 15)
        return node(id, { disk: disk({ readBandwidth: speeds[at]! * noise, writeBandwidth: speeds[at]! * noise, utilization }) })
      })
      const outcome = place(snapshotOf(nodes), { placement: 'tivoli', partitions: placed, scores: { previous, busyOf: () => 0 } })
      if (turn > 0) moved += outcome.added + outcome.assignments.filter(({ replicas }, at) => replicas[0] !== placed[at]!.primary).length
      previous = outcome.scores
      placed = placed.map((one, at) => ({ ...one, current: outcome.assignments[at]!.replicas, primary: outcome.assignments[at]!.replicas[0]! }))
    }
    expect(moved).to.equal(0)
    expect(foreignUtilization(disk({ utilization: 0.8 }), { readBytesPerSecond: 60 * megabyte, writeBytesPerSecond: 20 * megabyte })).to.be.closeTo(0.3, 1e-9)
    expect(foreignUtilization(disk({ utilization: 0.2 }), { readBytesPerSecond: 60 * megabyte, writeBytesPerSecond: 0 })).to.equal(0)
  })

  it('a replica that serves and does not lead serves reads', () => {
    const random = new SimRandom(1)
    const all = partition({ a: 'serving', b: 'serving', c: 'syncing' }, 'a')
    for (let draw = 0; draw < 20; draw++) expect(chooseReader(all, () => undefined, random)).to.equal('b')
  })

  it('a lone primary serves reads; a partition that waits for its last replica serves none', () => {
    const random = new SimRandom(1)
    expect(chooseReader(partition({ a: 'serving', b: 'offline' }, 'a'), () => undefined, random)).to.equal('a')
    expect(chooseReader(partition({ a: 'last', b: 'waiting' }, null), () => undefined, random)).to.equal(null)
  })

  it('the quicker of two drawn replicas serves; each is drawn', () => {
    const random = new SimRandom(7)
    const measures: Record<string, DiskMeasure> = { b: disk({ readLatencyMs: 1 }), c: disk({ readLatencyMs: 1, utilization: 0.8 }), d: disk({ readLatencyMs: 20 }) }
    const counts: Record<string, number> = { b: 0, c: 0, d: 0 }
    for (let draw = 0; draw < 3000; draw++) {
      counts[chooseReader(partition({ a: 'serving', b: 'serving', c: 'serving', d: 'serving' }, 'a'), (id) => diskDelayMs(measures[id] ?? null), random)!]!++
    }
    // Of three, the best is in two thirds of the pairs, the second in one third without the best, the worst never wins.
    expect(counts.b).to.be.within(1850, 2150)
    expect(counts.c).to.be.within(850, 1150)
    expect(counts.d).to.equal(0)
  })

  it('the primary serves reads only where all others take more than twice as long', () => {
    const random = new SimRandom(3)
    const three = partition({ a: 'serving', b: 'serving', c: 'serving' }, 'a')
    const readersWith = (delays: Record<string, number>): Set<string | null> => new Set(Array.from({ length: 50 }, () => chooseReader(three, (id) => delays[id], random)))
    expect(readersWith({ a: 1, b: 1.9, c: 9 })).to.deep.equal(new Set(['b']))
    expect(readersWith({ a: 1, b: 2.1, c: 9 })).to.deep.equal(new Set(['a']))
    // One that is not known may be quick.
    expect(readersWith({ a: 1, b: 9 }).has('a')).to.equal(false)
  })

  it('the first replica leads if it may, otherwise the node with the fewest primaries for its weight', () => {
    const load = (id: string) => ({ a: { primaries: 9, weight: 1 }, b: { primaries: 4, weight: 1 }, c: { primaries: 5, weight: 2 } })[id]!
    const candidate = partition({ a: 'serving', b: 'serving', c: 'serving' }, null)
    expect(choosePrimary(candidate, ['a', 'b', 'c'], load)).to.equal('a')
    expect(choosePrimary(candidate, ['b', 'c'], load)).to.equal('c')
    expect(choosePrimary(candidate, [], load)).to.equal(null)
  })

  it('metadata groups get 3 members, 5 if asked and there are enough nodes, 1 with fewer than 3', () => {
    const nodes = (count: number) => Array.from({ length: count }, (_, at) => node(`n${at}`))
    const sizes = (count: number, asked?: number) => placeMetadata(snapshotOf(nodes(count)), ['1.m.0', '1.m.1'], asked).map((members) => new Set(members).size)
    expect(sizes(1)).to.deep.equal([1, 1])
    expect(sizes(2)).to.deep.equal([1, 1])
    expect(sizes(3)).to.deep.equal([3, 3])
    expect(sizes(7)).to.deep.equal([3, 3])
    expect(sizes(4, 5)).to.deep.equal([3, 3])
    expect(sizes(5, 5)).to.deep.equal([5, 5])
  })

  it('metadata groups of several volumes are spread by domain and by count', () => {
    const nodes = Array.from({ length: 6 }, (_, at) => node(`n${at}`, { domain: [`rack-${at % 3}`] }))
    const metadata: PlacementSnapshot['metadata'] = []
    for (let volume = 1; volume <= 8; volume++) {
      const [members] = placeMetadata(snapshotOf(nodes, { metadata }), [`${volume}.m.0`])
      expect(new Set(members!.map((id) => Number(id.slice(1)) % 3)).size).to.equal(3)
      metadata.push({ id: `${volume}.m.0`, volume, index: 0, members: members! })
    }
    const counts = nodes.map(({ id }) => metadata.filter(({ members }) => members.includes(id)).length)
    expect(counts).to.deep.equal([4, 4, 4, 4, 4, 4])
  })

  it('explains for every node why it holds the partition or not', () => {
    const nodes = [node('a', { domain: ['r1'] }), node('b', { domain: ['r1'] }), node('c', { domain: ['r2'] }), node('d', { domain: ['r3'] }), node('e', { domain: ['r4'], state: 'draining' })]
    const outcome = place(snapshotOf(nodes), { placement: 'hawaii', partitions: [{ id: '1.d.0', replicas: 3, current: ['a', 'c', 'd'], primary: 'c' }] })
    const reasons = explain(outcome, '1.d.0')
    expect(reasons.map(({ node: id, role }) => [id, role])).to.deep.equal([['c', 'primary'], ['a', 'replica'], ['d', 'replica'], ['b', 'none'], ['e', 'none']])
    expect(reasons[0]!.why).to.contain('held it before')
    expect(reasons[3]!.why).to.equal('is in r1 like a')
    expect(reasons[4]!.why).to.equal('takes no replicas now')
    expect(explain(outcome, 'unknown')).to.deep.equal([])
  })
})
