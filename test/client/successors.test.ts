import { expect } from 'chai'
import type { Invalidation } from '../../client/types.ts'
import { AtollVolumeClient } from '../../client/volume-client.ts'
import { silent } from '../metadata/harness.ts'
import { me, TestCluster, TestVolume } from './cluster.ts'
import { Machine } from './machine.ts'

describe('client: a process that follows one that had lost a session', () => {
  let cluster: TestCluster
  let machine: Machine
  let a: TestVolume

  beforeEach(async () => {
    cluster = await TestCluster.open()
    machine = new Machine(cluster, 'a')
    a = await machine.start()
    await a.put('f', 'before')
    await a.run(a.volume.syncNames())
    const file = await a.run(a.volume.open((await a.run(a.volume.lookup(1, 'f'))).ino, { write: true }))
    await a.run(file.sync())
    await a.run(file.release())
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await cluster.endOverdueSessions()
    cluster.network.heal()
    await cluster.clock.advance(2_000)
  })

  it('is asked for what that one held', async () => {
    const ino = (await a.run(a.volume.lookup(1, 'f'))).ino
    const opened = await a.run(a.volume.open(ino, { write: true }))
    await a.run(opened.write(0, [Buffer.from('told')]))
    await a.run(opened.sync())
    await a.run(a.volume.syncNames())
    machine.crash()
    await machine.start()
    const b = await cluster.client('b')
    const started = cluster.clock.now()
    expect((await b.run(b.read(ino))).toString()).to.equal('toldre')
    expect(cluster.clock.now() - started).to.be.lessThan(1_000)
  })

  it('gives the first outcome of what that one did and had not told', async () => {
    cluster.onRequest = (method) => method === 'meta.create' ? 'lose-answer' : undefined
    const by = { ...me, operationId: 4_000 }
    a.volume.mkdir(1, 'd', 0o755, by).catch(() => {})
    await cluster.clock.advance(100)
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    expect(await next.code(next.volume.mkdir(1, 'd', 0o755, by))).to.equal('well')
  })

  it('keeps what that one had open without a name', async () => {
    const ino = (await a.run(a.volume.lookup(1, 'f'))).ino
    await a.run(a.volume.open(ino, { write: true }))
    await a.run(a.volume.unlink(1, 'f', me))
    machine.crash()
    const next = await machine.start()
    const b = await cluster.client('b')
    await b.put('g', 'x')
    await cluster.clock.advance(20_000)
    expect((await next.run(next.read(ino))).toString()).to.equal('before')
  })
})

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
