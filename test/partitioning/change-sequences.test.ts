import { expect } from 'chai'
import { leastMovesOf } from '../../partitioning/fewest-moves.ts'
import { hawaii, type HawaiiInput, type HawaiiOutcome, type PlacementNode } from '../../partitioning/hawaii.ts'
import { SimRandom } from '../sim/random.ts'
import { checkCounts, checkSpread } from './checks.ts'
import { canMoveWithin, primariesCanBeWithinOne } from './naive-placement.ts'
import { firstSeed, times } from './trials.ts'

const sequences = Math.ceil(200 * times)
/** One in ten goes on for longer. */
const [changesPerSequence, changesPerLongSequence] = [8, 50]
const nodesMax = 8
const partitionsMax = 24

/** A cluster that changes at random, always placed by Hawaii. */
class Sequence {
  nodes: PlacementNode[] = []
  partitions: HawaiiInput['partitions'] = []
  private readonly random: SimRandom
  private created = 0

  constructor (seed: number) {
    this.random = new SimRandom(seed)
    const count = 1 + this.below(6)
    for (let at = 0; at < count; at++) this.addNode()
    const replicas = 1 + this.below(3)
    this.partitions = Array.from({ length: 1 + this.below(12) }, (_, at) => ({ id: `p${at}`, replicas }))
  }

  below (count: number): number { return Math.floor(this.random.next() * count) }

  private addNode (): void {
    const domain = [`z${this.below(3)}`, `r${this.below(3)}`].slice(0, this.below(8) === 0 ? this.below(2) : 2)
    this.nodes = [...this.nodes, { id: `n${this.created++}`, weight: 1 + this.below(4), domain }]
  }

  /** Says what changed. */
  change (): string {
    const at = this.below(this.nodes.length)
    const kinds: Array<[string, boolean, () => void]> = [
      ['a node comes', this.nodes.length < nodesMax, () => { this.addNode() }],
      ['a node goes', this.nodes.length > 1, () => { this.nodes = this.nodes.toSpliced(at, 1) }],
      ['a weight changes', true, () => { this.nodes = this.nodes.with(at, { ...this.nodes[at]!, weight: 1 + this.below(4) }) }],
      ['a node is emptied or filled again', this.nodes.filter(({ weight }) => weight > 0).length > 1, () => { this.nodes = this.nodes.with(at, { ...this.nodes[at]!, weight: this.nodes[at]!.weight > 0 ? 0 : 2 }) }],
      ['a node moves to another rack', true, () => { this.nodes = this.nodes.with(at, { ...this.nodes[at]!, domain: [`z${this.below(3)}`, `r${this.below(3)}`] }) }],
      ['the replica count changes', true, () => { const replicas = 1 + this.below(4); this.partitions = this.partitions.map((partition) => ({ ...partition, replicas })) }],
      ['partitions are added', this.partitions.length < partitionsMax, () => { this.partitions = [...this.partitions, ...Array.from({ length: 1 + this.below(4) }, (_, more) => ({ id: `p${this.partitions.length + more}`, replicas: this.partitions[0]!.replicas }))] }]
    ]
    const possible = kinds.filter(([, can]) => can)
    const [name, , apply] = possible[this.below(possible.length)]!
    apply()
    return name
  }

  keep (outcome: HawaiiOutcome): void {
    this.partitions = this.partitions.map((partition, index) => ({ ...partition, current: outcome.assignments[index]!.replicas, primary: outcome.assignments[index]!.replicas[0] ?? null }))
  }
}

interface Seen { changes: number, moved: number, beyondBound: number, unknown: number, unevenLeads: number }

function checkOutcome (input: HawaiiInput, outcome: HawaiiOutcome, seen: Seen): void {
  checkSpread(input, outcome)
  checkCounts(outcome)
  const uneven = outcome.shares.some(({ primaries, primaryShare }) => Math.abs(primaries - primaryShare) >= 1 - 1e-9)
  if (uneven) {
    seen.unevenLeads++
    expect(primariesCanBeWithinOne(outcome), 'primaries could be within one').to.equal(false)
  }
  const bound = leastMovesOf(input, outcome)
  seen.changes++
  seen.moved += outcome.added
  expect(outcome.added).to.be.at.least(bound)
  if (outcome.added === bound) return
  // What the bound does not show to be least is tried.
  const fewer = canMoveWithin(input, new Map(outcome.shares.map(({ node, replicaShare }) => [node, replicaShare])), Math.ceil(outcome.added / 1.1 - 1e-9) - 1)
  seen.beyondBound++
  if (fewer === null) seen.unknown++
  else expect(fewer, JSON.stringify(input)).to.equal(false)
}

describe('Hawaii, after changes at random', () => {
  it(`keeps all its rules over ${sequences} sequences (ATOLL_SEED=${firstSeed}), and never moves more than 1.1 times the least`, function () {
    this.timeout(60_000 * Math.max(1, times))
    const seen: Seen = { changes: 0, moved: 0, beyondBound: 0, unknown: 0, unevenLeads: 0 }
    for (let seed = firstSeed; seed < firstSeed + sequences; seed++) {
      const sequence = new Sequence(seed)
      for (let turn = 0; turn <= (seed % 10 === 0 ? changesPerLongSequence : changesPerSequence); turn++) {
        const name = turn === 0 ? 'placed first' : sequence.change()
        // Every other sequence with a narrow scatter width: no rule gives way to it.
        const scatterWidth = seed % 2 === 0 ? 2 : undefined
        const input = { nodes: sequence.nodes, partitions: sequence.partitions, scatterWidth }
        const outcome = hawaii(input)
        try {
          checkOutcome(input, outcome, seen)
        } catch (error) {
          throw new Error(`seed ${seed}, turn ${turn}, ${name}: ${(error as Error).message}`)
        }
        sequence.keep(outcome)
        expect(hawaii({ ...input, partitions: sequence.partitions }).added, `seed ${seed}, turn ${turn}: placed again`).to.equal(0)
      }
    }
    expect(seen.unknown / seen.changes).to.be.lessThan(0.05)
    expect(seen.moved).to.be.greaterThan(seen.changes)
  })
})
