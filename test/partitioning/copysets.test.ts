import { expect } from 'chai'
import fc from 'fast-check'
import { copysetsOf, lossOf } from '../../partitioning/copysets.ts'
import { hawaii, scatterWidthDefault, type PlacementNode } from '../../partitioning/hawaii.ts'
import { trials } from './trials.ts'

/** All ways to lose `lost` of the nodes. */
function losses (nodes: number[], lost: number): number[][] {
  if (lost === 0) return [[]]
  return nodes.flatMap((node, at) => losses(nodes.slice(at + 1), lost - 1).map((rest) => [node, ...rest]))
}

const nodesOf = (count: number, weight: (at: number) => number = () => 1): PlacementNode[] =>
  Array.from({ length: count }, (_, at) => ({ id: `n${at}`, weight: weight(at), domain: [`rack-${at % 10}`] }))
const partitionsOf = (count: number, replicas = 3) => Array.from({ length: count }, (_, at) => ({ id: `p${at}`, replicas }))
const setsOf = (outcome: ReturnType<typeof hawaii>): string[][] => outcome.assignments.map(({ replicas }) => replicas)

describe('copysets', () => {
  it('are counted once however many partitions share them, in any order', () => {
    const copysets = copysetsOf([['a', 'b', 'c'], ['c', 'a', 'b'], ['a', 'd', 'e'], ['f', 'g'], []])
    expect(copysets).to.deep.include({ distinct: 3, partitions: 4, partitionsMax: 2, scatterWidthMax: 4, scatterWidthMean: (4 + 2 + 2 + 2 + 2 + 1 + 1) / 7 })
    expect([...copysets.bySize]).to.deep.equal([[3, 2], [2, 1]])
  })

  it('property: the expected loss, and the probability where it is called exact, are those of trying all losses', () => {
    const anySets = fc.integer({ min: 1, max: 3 }).chain((size) => fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: size, maxLength: size }), { minLength: 1, maxLength: 12 }))
    fc.assert(fc.property(anySets, fc.constantFrom(1, 2, 3, 4, 5, 8), (sets, lost) => {
      const all = losses([0, 1, 2, 3, 4, 5, 6, 7], lost)
      const gone = all.map((nodes) => sets.filter((set) => set.every((node) => nodes.includes(node))).length)
      const loss = lossOf(copysetsOf(sets.map((set) => set.map(String))), 8, lost)
      expect(loss.expectedPartitions).to.be.closeTo(gone.reduce((sum, count) => sum + count, 0) / all.length, 1e-9)
      const probability = gone.filter((count) => count > 0).length / all.length
      if (loss.exact) expect(loss.probability).to.be.closeTo(probability, 1e-9)
      else expect(loss.probability).to.be.closeTo(probability, 0.3)
      if (sets[0]!.length >= lost) expect(loss.exact).to.equal(true)
    }), trials(300))
  })

  it('the first placement keeps to its scatter width, and loses less likely what it loses', () => {
    const nodes = nodesOf(200)
    for (const scatterWidth of [8, 20, scatterWidthDefault]) {
      const outcome = hawaii({ nodes, partitions: partitionsOf(13_000), scatterWidth })
      const copysets = copysetsOf(setsOf(outcome))
      // At the end blocks are halved until they fit: at most two of each size, each with two more partners.
      const halvings = Math.ceil(Math.log2(6 * 13_000 / (200 * scatterWidth)))
      expect(copysets.scatterWidthMax).to.be.at.most(scatterWidth + 4 * (halvings + 1))
      expect(copysets.scatterWidthMean).to.be.within(scatterWidth * 0.7, scatterWidth * 1.4)
      const ideal = 200 * scatterWidth / 6
      expect(copysets.distinct).to.be.at.most(ideal + 200 / 3 * 4)
      expect(copysets.partitionsMax).to.be.at.most(2 * 13_000 / ideal + 20)
      const loss = lossOf(copysets, 200, 3)
      expect(loss.exact).to.equal(true)
      expect(loss.probability).to.be.closeTo(copysets.distinct / (200 * 199 * 198 / 6), 1e-12)
      for (const share of outcome.shares) {
        expect(Math.abs(share.replicas - share.replicaShare)).to.be.lessThan(1)
        expect(Math.abs(share.primaries - share.primaryShare)).to.be.lessThan(1)
      }
    }
  })

  it('a heavier node has partners in proportion', () => {
    const outcome = hawaii({ nodes: nodesOf(200, (at) => at < 20 ? 4 : 1), partitions: partitionsOf(13_000), scatterWidth: 20 })
    const sets = setsOf(outcome)
    const width = (id: string): number => new Set(sets.filter((set) => set.includes(id)).flat()).size - 1
    const mean = (ids: string[]): number => ids.reduce((sum, id) => sum + width(id), 0) / ids.length
    expect(mean(nodesOf(20).map(({ id }) => id)) / mean(nodesOf(200).slice(20).map(({ id }) => id))).to.be.within(2.5, 5)
  })

  it('changes move no more for it, and widen it slowly', () => {
    let nodes = nodesOf(100)
    let partitions: Parameters<typeof hawaii>[0]['partitions'] = partitionsOf(5000)
    let outcome = hawaii({ nodes, partitions, scatterWidth: 20 })
    for (let turn = 0; turn < 6; turn++) {
      nodes = turn % 2 === 0 ? nodes.filter((_, at) => at !== turn * 17) : [...nodes, { id: `new-${turn}`, weight: 1, domain: [`rack-${turn}`] }]
      partitions = partitions.map((partition, at) => ({ ...partition, current: outcome.assignments[at]!.replicas, primary: outcome.assignments[at]!.replicas[0]! }))
      outcome = hawaii({ nodes, partitions, scatterWidth: 20 })
      expect(outcome.added).to.be.at.most(5000 * 3 / 99 * 1.1)
    }
    const copysets = copysetsOf(setsOf(outcome))
    expect(copysets.scatterWidthMean).to.be.at.most(20 * 2)
    expect(copysets.distinct).to.be.at.most(100 * 20 / 6 * 4)
  })

  it('a loss of more nodes is never told to be less likely', () => {
    const names = ['a', 'b', 'c', 'd', 'e']
    const all = names.flatMap((one, i) => names.slice(i + 1).flatMap((two, j) => names.slice(i + j + 2).map((three) => [one, two, three])))
    expect([1, 2, 3, 4, 5].map((lost) => Number(lossOf(copysetsOf(all), 5, lost).probability.toFixed(9)))).to.deep.equal([0, 0, 1, 1, 1])
  })

  it('few nodes, or few partitions, are not held together', () => {
    const partitions = partitionsOf(2000)
    const free = hawaii({ nodes: nodesOf(30), partitions, scatterWidth: 1000 })
    expect(hawaii({ nodes: nodesOf(30), partitions })).to.deep.equal(free)
  })

  it('what other volumes have is known: their partners are taken first', () => {
    const nodes = nodesOf(100)
    const first = hawaii({ nodes, partitions: partitionsOf(2000), scatterWidth: 12 })
    const more = Array.from({ length: 200 }, (_, at) => ({ id: `q${at}`, replicas: 3 }))
    const width = (others?: string[][]): number =>
      copysetsOf([...setsOf(first), ...setsOf(hawaii({ nodes, partitions: more, scatterWidth: 12, others }))]).scatterWidthMean
    expect(width(setsOf(first))).to.be.lessThan(width() - 1)
  })
})
