import { expect } from 'chai'
import { copyBytesPerSecondMax, formatSeconds, moveOverheadMs, planCost } from '../../cli/plan-time.ts'
import type { Move } from '../../partitioning/planner-types.ts'
import type { NodeInfo } from '../../partitioning/types.ts'

const node = (id: string, writeBandwidth: number | null): NodeInfo => ({
  id, incarnation: '', peerId: '', host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1, usedBytes: 0, state: 'up',
  disk: writeBandwidth === null ? null : { readBandwidth: writeBandwidth, writeBandwidth, readLatencyMs: 1, writeLatencyMs: 1, utilization: 0 }
})
const copy = (from: string, to: string, bytes: number): Move => ({ kind: 'replica', partition: 'p', from, to, lead: null, source: from, bytes, urgency: 100, after: -1 })
const free = { automatic: true, bytesPerSecond: null, copiesPerNode: 2 }

describe('how long a plan takes, about', () => {
  const copySeconds = (...args: Parameters<typeof planCost>): number => planCost(...args).seconds
  const nodes = [node('a', null), node('b', 100e6), node('c', 100e9)]

  it('the node with most to copy decides, at what its disk writes', () => {
    expect(copySeconds([], nodes, free)).to.equal(0)
    expect(copySeconds([copy('a', 'b', 1e9)], nodes, free)).to.be.closeTo(10 + moveOverheadMs / 2000, 0.01)
    expect(copySeconds([copy('a', 'c', copyBytesPerSecondMax)], nodes, free)).to.be.closeTo(1 + moveOverheadMs / 2000, 0.01)
    expect(copySeconds([copy('a', 'b', 1e9), copy('c', 'b', 1e9)], nodes, free)).to.be.closeTo(20 + moveOverheadMs / 1000, 0.01)
  })

  it('or the budget; hand-overs and drops cost nothing', () => {
    expect(copySeconds([copy('a', 'c', 1e9)], nodes, { ...free, bytesPerSecond: 1e6 })).to.be.closeTo(1000, 1)
    expect(copySeconds([{ kind: 'lead', partition: 'p', from: 'a', to: 'b', urgency: 0, after: -1 }, { ...copy('a', 'b', 1e9), to: null } as Move], nodes, free)).to.equal(0)
  })

  it('in words that fit', () => {
    expect([0.2, 59, 600, 7200].map(formatSeconds)).to.deep.equal(['1 s', '59 s', '10 min', '2.0 h'])
  })
})
