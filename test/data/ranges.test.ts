import { expect } from 'chai'
import fc from 'fast-check'
import { blockBytes } from '../../fsnode/data/chunk-header.ts'
import { areSound, blockRuns, endOf, rangesOf, runGapBlocksMax, touchedBlocks } from '../../fsnode/data/ranges.ts'

const rangeAt = (offset: number, length: number) => ({ offset, length, data: [Buffer.alloc(length)] })

describe('scattered writes', () => {
  it('find the bytes of each range in the payload, however it is cut', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 20 }), (lengths, cut) => {
      const bytes = Buffer.from(Array.from({ length: lengths.reduce((sum, length) => sum + length, 0) }, (_, index) => index))
      const payload: Buffer[] = []
      for (let at = 0; at < bytes.length; at += cut) payload.push(bytes.subarray(at, at + cut))
      const ranges = rangesOf(lengths.flatMap((length, index) => [index * 100, length]), payload)
      expect(ranges.map(({ length }) => length)).to.deep.equal(lengths)
      expect(Buffer.concat(ranges.flatMap(({ data }) => data)).equals(bytes)).to.equal(true)
    }))
  })

  it('are cut into runs that hold every range once, share no block, and are in order', () => {
    fc.assert(fc.property(fc.array(fc.record({ offset: fc.integer({ min: 0, max: 100 * blockBytes }), length: fc.integer({ min: 1, max: 3 * blockBytes }) }), { minLength: 1, maxLength: 40 }), (places) => {
      const ranges = places.map(({ offset, length }) => rangeAt(offset, length))
      const runs = blockRuns(ranges)
      expect(runs.flatMap((run) => run.ranges)).to.have.members(ranges)
      runs.forEach((run, index) => {
        if (index > 0) expect(run.first).to.be.at.least(runs[index - 1]!.end)
        for (const block of touchedBlocks(run.ranges)) expect(block).to.be.within(run.first, run.end - 1)
      })
    }))
  })

  it('read on over a small gap, not over a large one', () => {
    const [near, far] = [runGapBlocksMax + 1, runGapBlocksMax + 2]
    expect(blockRuns([rangeAt(0, 10), rangeAt(near * blockBytes, 10)])).to.have.length(1)
    expect(blockRuns([rangeAt(0, 10), rangeAt(far * blockBytes, 10)])).to.have.length(2)
  })

  it('are refused when they overlap, are no ranges, or do not hold the payload', () => {
    expect(areSound([10, 5, 0, 10], 15)).to.equal(true)
    for (const [extents, bytes] of [[[0, 5, 4, 5], 10], [[0, 5], 6], [[0, 0], 0], [[-1, 5], 5], [[0.5, 5], 5], [['0', 5], 5]] as const) {
      expect(areSound(extents, bytes), String(extents)).to.equal(false)
    }
  })

  it('end at their furthest byte', () => {
    expect(endOf({ offset: 5 }, 10)).to.equal(15)
    expect(endOf({ offset: 5, extents: [20, 5, 5, 3] }, 8)).to.equal(25)
  })
})
