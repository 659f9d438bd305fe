import { expect } from 'chai'
import { storm, type StormOptions } from './name-storm.ts'

describe('client: names that several clients change in directories of several partitions, most of which they hold', function () {
  this.timeout(60_000)
  const quiet = { losses: 0, leaderEveryMs: 0, lateEveryMs: 0 }
  const plans: Array<[string, StormOptions]> = [
    ['nothing fails', { ...quiet, seed: 300 }],
    ['participants hear late of what was decided', { ...quiet, lateEveryMs: 1_500, seed: 101 }],
    ['leaders change', { ...quiet, leaderEveryMs: 700, seed: 207 }],
    ['all of it, and messages are lost', { losses: 0.02, leaderEveryMs: 700, lateEveryMs: 3_000, seed: 403 }],
    ['the same, seldom', { losses: 0.01, leaderEveryMs: 1_500, lateEveryMs: 2_000, seed: 1_108 }],
    ['leaders change more often than sessions are renewed', { losses: 0.03, leaderEveryMs: 500, lateEveryMs: 2_000, seed: 502 }]
  ]
  for (const [what, options] of plans) {
    it(`are linearizable, and the volume is sound: ${what}`, async () => {
      expect(await storm(options)).to.deep.equal([])
    })
  }
})
