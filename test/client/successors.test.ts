import { expect } from 'chai'
import type { Invalidation } from '../../client/types.ts'
import { AtollVolumeClient } from '../../client/volume-client.ts'
import { silent } from '../metadata/harness.ts'
import { TestCluster, TestVolume } from './cluster.ts'

describe('client: a recall that comes before somebody listens', () => {
  it('of what an earlier process has told is passed on as soon as somebody does', async () => {
    const cluster = await TestCluster.open()
    const start = async (): Promise<AtollVolumeClient> => {
      const volume = new AtollVolumeClient({ network: cluster.network.host('a'), clock: cluster.clock, random: cluster.random.fork(), log: silent, journal: null, files: null }, {
        volume: cluster.volume, seeds: [{ host: 'n0', port: 1 }], session: 'session-of-a', client: 'a'
      })
      await cluster.run(volume.start())
      return volume
    }
    const b = await cluster.client('b')
    const ino = await b.put('f', 'before')
    expect((await new TestVolume(cluster, await start()).get('f')).toString()).to.equal('before')
    cluster.network.crash('a')
    const next = await start()
    await b.put('f', 'after')
    const told: Invalidation[] = []
    next.onInvalidate = async (invalidation) => { told.push(invalidation) }
    await cluster.clock.advance(10)
    expect(told.map((invalidation) => invalidation.ino)).to.include(ino)
  })
})
