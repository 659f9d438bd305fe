import { expect } from 'chai'
import { runSeed } from './run.ts'

describe('splits in a whole cluster', function () {
  this.timeout(60_000)

  it('partitions are doubled twice under load, and no operation fails', async () => {
    for (const [seed, placement] of [[301, 'hawaii'], [302, 'tivoli']] as const) {
      const { violations, unknown, operated } = await runSeed(seed, { config: { nodes: 4, placement, faults: [], operateEveryMs: null, splits: 2, durationMs: 8_000 } })
      expect(violations, `seed ${seed}`).to.deep.equal([])
      expect(Object.keys(unknown).filter((code) => code !== 'ENOENT' && code !== 'ESTALE'), `seed ${seed}`).to.deep.equal([])
      expect(operated.split, `seed ${seed}`).to.equal(2)
    }
  })
})
