import { expect } from 'chai'
import { copyPartMin, govern, governedBudget, slowdownMax, ungoverned, type GovernorState } from '../../partitioning/planner-governor.ts'
import { estimatePlan } from '../../partitioning/planner-estimate.ts'
import { planMoves, type PlanBudget, type PlanSnapshot } from '../../partitioning/planner.ts'

describe('the governor of copies', () => {
  /** A queue: the busier the disks are with copies, the longer clients wait. */
  const latencyWith = (part: number, load: number): number => 10 / Math.max(0.05, 1 - load - 0.6 * part)

  for (const load of [0.1, 0.4, 0.7]) {
    it(`finds a part at which clients wait little longer than without, at a load of ${load}`, () => {
      let state: GovernorState = ungoverned
      for (let turn = 0; turn < 20; turn++) state = govern(state, { latencyMs: latencyWith(0, load), copying: false })
      let sum = 0
      for (let turn = 0; turn < 200; turn++) {
        state = govern(state, { latencyMs: latencyWith(state.part, load), copying: true })
        if (turn >= 50) sum += latencyWith(state.part, load) / latencyWith(0, load)
      }
      expect(sum / 150).to.be.within(1, slowdownMax + 0.1)
      // Not by stopping altogether, where there is room.
      if (load < 0.5) expect(state.part).to.be.greaterThan(4 * copyPartMin)
    })
  }

  it('takes all where no client asks, never less than its least part, and learns the calm latency only without copies', () => {
    let state: GovernorState = { part: 0.25, calmMs: 10 }
    for (let turn = 0; turn < 20; turn++) state = govern(state, { latencyMs: null, copying: true })
    expect(state).to.deep.equal({ part: 1, calmMs: 10 })
    for (let turn = 0; turn < 20; turn++) state = govern(state, { latencyMs: 1000, copying: true })
    expect(state).to.deep.equal({ part: copyPartMin, calmMs: 10 })
    for (let turn = 0; turn < 100; turn++) state = govern(state, { latencyMs: 1000, copying: false })
    expect(state.calmMs).to.be.closeTo(1000, 1)
    expect(govern(state, { latencyMs: null, copying: false })).to.equal(state)
  })

  it('scales a budget, and leaves room for one copy', () => {
    const budget: PlanBudget = { nowMs: 0, bytesPerSecond: 640, copiesPerNode: 4, copiesMax: 32, leadsMax: 8 }
    expect(governedBudget(budget, { part: 0.5, calmMs: null })).to.deep.equal({ ...budget, bytesPerSecond: 320, copiesPerNode: 2, copiesMax: 16 })
    expect(governedBudget({ ...budget, bytesPerSecond: null }, { part: copyPartMin, calmMs: null })).to.deep.equal({ ...budget, bytesPerSecond: null, copiesPerNode: 1, copiesMax: 1 })
  })
})

describe('the estimate of a plan', () => {
  it('is what the busiest node or the budget needs, and names who lacks replicas', () => {
    const snapshot: PlanSnapshot = {
      nodes: ['a', 'b', 'c'].map((id) => ({ id, domain: [], state: id === 'c' ? 'gone' as const : 'up' as const })),
      partitions: [
        { id: 'p', bytes: 100, primary: 'a', replicas: [{ node: 'a', serving: true }, { node: 'c', serving: false }] },
        { id: 'q', bytes: 50, primary: 'a', replicas: [{ node: 'a', serving: true }] },
        { id: 'r', bytes: 10, primary: 'a', replicas: [{ node: 'a', serving: true }, { node: 'b', serving: true }] }
      ]
    }
    const plan = planMoves(snapshot, { partitions: [{ id: 'p', replicas: ['a', 'b'] }, { id: 'q', replicas: ['b'] }, { id: 'r', replicas: ['b', 'a'] }] })
    const limits = { readOf: () => 50, writeOf: (node: string) => node === 'b' ? 25 : 50, bytesPerSecond: null }
    expect(estimatePlan(plan, limits)).to.deep.equal({ replicaMoves: 2, leadMoves: 1, bytes: 150, seconds: 6, slowest: 'b', endangered: 1, safeReplicasMin: 1 })
    expect(estimatePlan(plan, { ...limits, bytesPerSecond: 10 })).to.deep.include({ seconds: 15, slowest: null })
    expect(estimatePlan({ moves: [] }, limits)).to.deep.equal({ replicaMoves: 0, leadMoves: 0, bytes: 0, seconds: 0, slowest: null, endangered: 0, safeReplicasMin: null })
  })
})
