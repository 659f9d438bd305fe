import { expect } from 'chai'
import { scoreSettleMs } from '../../fsnode/manager/bounds.ts'
import { SteadyScores } from '../../fsnode/manager/steady-scores.ts'
import type { DiskMeasure } from '../../partitioning/types.ts'

const disk = (megabytes: number): DiskMeasure => ({ readBandwidth: megabytes * 1e6, writeBandwidth: megabytes * 1e6, readLatencyMs: 1, writeLatencyMs: 1, utilization: 0 })
const nodes = (speeds: Record<string, number>) => Object.entries(speeds).map(([id, speed]) => ({ id, disk: disk(speed) }))
const idle = (): number => 0
const even = { a: 100, b: 100, c: 100 }

describe('scores that Tivoli places by', () => {
  const bandwidthsOf = (scores: SteadyScores, speeds: Record<string, number>, nowMs: number, anew = false): Record<string, number> => {
    return Object.fromEntries([...scores.of(nodes(speeds), idle, nowMs, anew)].map(([id, { bandwidth }]) => [id, Math.round(bandwidth * 100)]))
  }

  it('are those measured when something else changes, and stay while a disk is slow for less than the settling time', () => {
    const scores = new SteadyScores()
    const first = bandwidthsOf(scores, { ...even, c: 10 }, 0, true)
    expect(first.c).to.be.lessThan(first.a!)
    expect(scores.isSettled).to.equal(true)
    for (let nowMs = 10_000; nowMs < scoreSettleMs; nowMs += 10_000) {
      expect(bandwidthsOf(scores, nowMs % 20_000 === 0 ? even : { ...even, a: 20 }, nowMs)).to.deep.equal(first)
    }
  })

  it('follow a disk that stays slow, once', () => {
    const scores = new SteadyScores()
    const first = bandwidthsOf(scores, even, 0, true)
    expect(bandwidthsOf(scores, { ...even, c: 10 }, 1_000)).to.deep.equal(first)
    expect(scores.isDue(1_000 + scoreSettleMs - 1)).to.equal(false)
    expect(scores.isDue(1_000 + scoreSettleMs)).to.equal(true)
    const then = bandwidthsOf(scores, { ...even, c: 10 }, 1_000 + scoreSettleMs)
    expect(then.c).to.be.lessThan(first.c! / 2)
    expect(scores.isDue(2_000 + scoreSettleMs)).to.equal(false)
  })

  it('of a disk that recovered in time start to be doubted anew', () => {
    const scores = new SteadyScores()
    const first = bandwidthsOf(scores, even, 0, true)
    bandwidthsOf(scores, { ...even, c: 10 }, 1_000)
    bandwidthsOf(scores, even, scoreSettleMs)
    expect(bandwidthsOf(scores, { ...even, c: 10 }, 2_000 + scoreSettleMs)).to.deep.equal(first)
  })

  it('are nothing to move replicas for until a new leader has watched for as long', () => {
    const scores = new SteadyScores()
    bandwidthsOf(scores, { ...even, c: 10 }, 0)
    expect(scores.isSettled).to.equal(false)
    bandwidthsOf(scores, { ...even, c: 10 }, scoreSettleMs)
    expect(scores.isSettled).to.equal(true)
  })

  it('of a node that came are those measured now, of the others they stay', () => {
    const scores = new SteadyScores()
    const { a } = bandwidthsOf(scores, even, 0, true)
    const then = bandwidthsOf(scores, { a: 50, b: 100, c: 100, d: 10 }, 1_000, true)
    expect(then.a).to.equal(a)
    expect(then.d).to.be.lessThan(then.a!)
  })
})
