import { expect } from 'chai'
import fc from 'fast-check'
import { hawaii, type PlacementNode } from '../../partitioning/hawaii.ts'
import { cpuMs } from '../cpu-time.ts'
import { checkCounts, checkSpread, nodesOf, partitionsOf, placedAs } from './checks.ts'
import { bestPrimaryDistance, levelFor, naiveShares, usable } from './naive-placement.ts'
import { trials } from './trials.ts'

const anyNodes = fc.array(fc.record({
  weight: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.double({ min: 0.1, max: 10, noNaN: true })),
  domain: fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 2 })
}), { minLength: 1, maxLength: 6 }).map((nodes) => nodes.map((node, at) => ({ id: `n${at}`, ...node })))

describe('Hawaii', () => {
  it('property: each node gets the share that the naive twin computes, spread over domains', () => {
    fc.assert(fc.property(anyNodes, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 30 }), (nodes, replicas, count) => {
      const input = { nodes, partitions: partitionsOf(count, replicas) }
      const outcome = hawaii(input)
      checkSpread(input, outcome)
      checkCounts(outcome)
      if (outcome.shares.length === 0) return
      const twin = naiveShares(usable(input), replicas, count)
      for (const share of outcome.shares) expect(share.replicaShare).to.be.closeTo(twin.get(share.node)!, 1e-4)
      expect(outcome.levels.get(replicas)).to.equal(levelFor(usable(input), Math.min(replicas, outcome.shares.length)))
    }), trials(400))
  })

  it('property: a placement with mixed replica counts is spread right and keeps the counts it reports', () => {
    fc.assert(fc.property(anyNodes, fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 40 }), (nodes, counts) => {
      const input = { nodes, partitions: counts.map((replicas, at) => ({ id: `p${at}`, replicas })) }
      const outcome = hawaii(input)
      checkSpread(input, outcome)
      const total = outcome.shares.reduce((sum, share) => sum + share.replicas, 0)
      expect(total).to.equal(outcome.assignments.reduce((sum, { replicas }) => sum + replicas.length, 0))
    }), trials(300))
  })

  it('property: the primaries are as even as the replicas permit', () => {
    fc.assert(fc.property(anyNodes, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 7 }), (nodes, replicas, count) => {
      const outcome = hawaii({ nodes, partitions: partitionsOf(count, replicas) })
      if (outcome.shares.length === 0) return
      const distance = Math.max(...outcome.shares.map((share) => Math.abs(share.primaries - share.primaryShare)))
      // Either within one of the share, or no choice of primaries among these replicas is nearer.
      if (distance >= 1) expect(distance).to.be.at.most(bestPrimaryDistance(outcome) + 1e-9)
    }), trials(400))
  })

  it('keeps everything where it is when nothing changed', () => {
    fc.assert(fc.property(anyNodes, fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 40 }), (nodes, replicas, count) => {
      const input = { nodes, partitions: partitionsOf(count, replicas) }
      const first = hawaii(input)
      const again = hawaii({ nodes: [...nodes].reverse(), partitions: placedAs(input, first) })
      expect(again.added).to.equal(0)
      expect(again.assignments.map(({ replicas: ids }) => ids)).to.deep.equal(first.assignments.map(({ replicas: ids }) => ids))
    }), trials(200))
  })

  it('does not depend on the order of the nodes', () => {
    const nodes = nodesOf(9, (at) => [`rack-${at % 4}`], (at) => 1 + at % 3)
    const partitions = partitionsOf(100, 3)
    expect(hawaii({ nodes, partitions })).to.deep.equal(hawaii({ nodes: [...nodes].reverse(), partitions }))
  })

  for (const [name, change, most] of [
    // A new node takes its share; nothing else moves.
    ['a node is added', (nodes: PlacementNode[]) => [...nodes, ...nodesOf(11).slice(10)], Math.ceil(3000 / 11)],
    // What the lost node held is copied; nothing else moves.
    ['a node is removed', (nodes: PlacementNode[]) => nodes.slice(1), 302],
    ['a node doubles its weight', (nodes: PlacementNode[]) => nodes.map((node, at) => at === 0 ? { ...node, weight: 2 } : node), Math.ceil(3000 * 2 / 11 - 300)]
  ] as const) {
    it(`moves hardly more than the least when ${name}`, () => {
      const input = { nodes: nodesOf(10), partitions: partitionsOf(1000, 3) }
      const moved = hawaii({ nodes: change(input.nodes), partitions: placedAs(input, hawaii(input)) })
      checkCounts(moved)
      expect(moved.added).to.be.at.most(most)
    })
  }

  it('spreads the partners of a node over all others, so that its loss is repaired by all', () => {
    for (const weight of [() => 1, (at: number) => 1 + at / 1000]) {
      const outcome = hawaii({ nodes: nodesOf(30, () => [], weight), partitions: partitionsOf(1000, 3) })
      const partners = new Set(outcome.assignments.filter(({ replicas }) => replicas.includes('node-1')).flatMap(({ replicas }) => replicas))
      expect(partners.size).to.be.greaterThan(28)
    }
  })

  it('gives the remainders to the nodes that have the least of other volumes', () => {
    const nodes = nodesOf(5)
    const totals = new Map(nodes.map((node) => [node.id, { replicas: 0, primaries: 0 }]))
    for (let volume = 0; volume < 20; volume++) {
      const loaded = nodes.map((node) => ({ ...node, replicasElsewhere: totals.get(node.id)!.replicas, primariesElsewhere: totals.get(node.id)!.primaries }))
      for (const share of hawaii({ nodes: loaded, partitions: partitionsOf(8, 3) }).shares) {
        totals.get(share.node)!.replicas += share.replicas
        totals.get(share.node)!.primaries += share.primaries
      }
    }
    for (const { replicas, primaries } of totals.values()) {
      expect(Math.abs(replicas - 96)).to.be.at.most(1)
      expect(Math.abs(primaries - 32)).to.be.at.most(1)
    }
  })

  it('places 8,192 partitions on 200 nodes in zones of unlike size in well under a second', () => {
    const nodes = nodesOf(200, (at) => [at < 100 ? 'a' : at < 150 ? 'b' : at < 180 ? 'c' : 'd', `rack-${at % 17}`], (at) => 1 + at % 5)
    const input = { nodes, partitions: partitionsOf(8192, 3) }
    const started = cpuMs()
    const outcome = hawaii(input)
    checkCounts(outcome)
    checkCounts(hawaii({ nodes: nodes.slice(3), partitions: placedAs(input, outcome) }))
    // Most moves are chains here: what is heavy changes, and a full zone can be filled only by way of others.
    checkCounts(hawaii({ nodes: nodes.map((node, at) => ({ ...node, weight: 1 + at * 7 % 5 })), partitions: placedAs(input, outcome) }))
    expect(cpuMs() - started).to.be.lessThan(5000)
  })
})
