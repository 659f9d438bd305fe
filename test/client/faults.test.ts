import { expect } from 'chai'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { SimRandom } from '../sim/random.ts'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'

const mutations: Method[] = ['meta.create', 'meta.unlink', 'meta.rename', 'meta.link', 'meta.setattr', 'meta.commit', 'meta.extent', 'data.write', 'data.truncate']

describe('client: faults', () => {
  let cluster: TestCluster
  let a: TestVolume
  let b: TestVolume

  beforeEach(async () => {
    cluster = await TestCluster.open({ seed: 3 })
    a = await cluster.client('a')
    b = await cluster.client('b')
    cluster.resetCounts()
  })

  it('every change is made exactly once when requests and answers are lost', async () => {
    const random = new SimRandom(11)
    cluster.onRequest = (method) => mutations.includes(method) && random.chance(0.4) ? random.pick(['lose-request', 'lose-answer'] as const) : undefined
    const dir = await a.run(a.volume.mkdir(1, 'd', 0o755, me))
    for (let index = 0; index < 20; index++) {
      const { file } = await a.run(a.volume.create(dir.ino, `f${index}`, { mode: 0o644, exclusive: true }, me))
      await a.run(file.write(0, [pattern(index * 3_000, index)]))
      await a.run(file.flush())
      await a.run(file.release())
      await a.run(a.volume.rename(dir.ino, `f${index}`, 1, `g${index}`, 1, me))
      await a.run(a.volume.link(file.ino, dir.ino, 'l', me))
      await a.run(a.volume.unlink(dir.ino, 'l', me))
    }
    cluster.onRequest = () => undefined
    for (let index = 0; index < 20; index++) {
      expect((await b.get(`g${index}`)).equals(pattern(index * 3_000, index))).to.equal(true)
      expect((await b.run(b.volume.lookup(1, `g${index}`))).nlink).to.equal(1)
    }
    expect(await b.names(dir.ino)).to.deep.equal([])
  })

  it('a small file keeps its content when there is no room for it to grow', async () => {
    const ino = await a.put('f', pattern(10_000))
    const file = await a.run(a.volume.open(ino, { write: true }))
    await a.run(file.write(100, [Buffer.from('kept')])) // in memory only
    cluster.onRequest = (method) => method === 'data.write' ? new AtollError('ENOSPC', 'full') : undefined
    const [tooMuch, behind] = [file.write(50_000, [pattern(100)]), file.write(200, [Buffer.from('too')])]
    const readMeanwhile = a.read(ino)
    expect(await a.code(tooMuch)).to.equal('ENOSPC')
    expect(await a.code(behind)).to.equal('well')
    const expected = pattern(10_000)
    expected.write('kept', 100)
    expected.write('too', 200)
    expect((await a.run(readMeanwhile)).equals(expected)).to.equal(true)
    expect(await a.code(file.flush())).to.equal('well')
    expect((await b.run(b.read(ino))).equals(expected)).to.equal(true)
    cluster.onRequest = () => undefined
    await a.run(file.write(50_000, [pattern(100)]))
    await a.run(file.flush())
    const grown = await b.run(b.read(ino))
    expect(grown.length).to.equal(50_100)
    expect(grown.subarray(0, 10_000).equals(expected)).to.equal(true)
    await a.run(file.release())
  })

  for (const [what, kept] of [['grows later', 10_000], ['is cut, and grows later', 0]] as const) {
    it(`a small file that did not grow for want of room, and ${what}, shows nothing of what it was to grow by`, async () => {
      const ino = await a.put('f', pattern(10_000))
      const file = await a.run(a.volume.open(ino, { write: true }))
      let attempts = 0
      cluster.onRequest = (method) => method !== 'data.write' ? undefined : ++attempts === 1 ? 'lose-answer' : new AtollError('ENOSPC', 'full')
      expect(await a.code(file.write(50_000, [pattern(100)]))).to.equal('ENOSPC')
      cluster.onRequest = () => undefined
      if (kept === 0) await a.run(a.volume.setattr(ino, { size: 0 }, me))
      await a.run(file.write(60_000, [Buffer.from('end')]))
      await a.run(file.flush())
      expect((await b.run(b.read(ino))).equals(Buffer.concat([pattern(kept), Buffer.alloc(60_000 - kept), Buffer.from('end')]))).to.equal(true)
      await a.run(file.release())
    })
  }

  it('a change whose answer is lost while the session expires is not made again in a session of the same name', async () => {
    const nodes = cluster.map.nodes.map(({ id }) => id)
    cluster.onRequest = (method) => {
      if (method !== 'meta.create') return undefined
      for (const node of nodes) cluster.network.cut('a', node)
      // What is repeated later arrives after the client has taken up its session again.
      cluster.onRequest = async (method) => {
        if (method === 'meta.create') await new Promise<void>((resolve) => { cluster.clock.setTimer(resolve, 500) })
        return undefined
      }
      return undefined
    }
    const made = a.volume.mkdir(1, 'd', 0o755, me).then(() => 'well', (error) => error.code)
    await cluster.endOverdueSessions()
    for (const node of nodes) cluster.network.disconnect('a', node)
    cluster.network.heal()
    expect(await a.run(made)).to.equal('EIO')
    expect(await b.names()).to.deep.equal(['d'])
    expect(await a.code(a.volume.mkdir(1, 'e', 0o755, me))).to.equal('well')
  })

  it('what a client held before it was cut off for longer than its lease is not asked for from a later leader', async () => {
    const c = await cluster.client('c', { session: 's' })
    const ino = await a.put('f', 'old')
    expect((await c.get('f')).toString()).to.equal('old')
    for (const { id } of cluster.map.nodes) cluster.network.cut('c', id)
    await cluster.changeLeader()
    await cluster.clock.advance(5_000)
    // A late message of it keeps its session alive at a leader that takes what it held for given up.
    const { router } = await cluster.run(cluster.connect('late'))
    await cluster.run(router.toMetadata('7.m.0', 'meta.renew', { partition: '7.m.0', session: 's' }))
    await cluster.clock.advance(2_000)
    await b.put('f', 'newer')
    await cluster.changeLeader()
    cluster.network.heal()
    await cluster.clock.advance(4_000)
    expect((await c.run(c.volume.getattr(ino))).size).to.equal(5)
    expect((await c.get('f')).toString()).to.equal('newer')
    router.close()
  })

  it('what was done before the disks were full is not refused when it is asked for again', async () => {
    cluster.onRequest = (method) => {
      if (method !== 'meta.create') return undefined
      cluster.onRequest = () => {
        cluster.exhausted = true
        return undefined
      }
      return 'lose-answer'
    }
    const made = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    expect(made.created).to.equal(true)
    expect(await a.code(a.volume.create(1, 'g', { mode: 0o644, exclusive: true }, me))).to.equal('ENOSPC')
    expect(await a.names()).to.deep.equal(['f'])
  })

  it('a refusal for want of room proves nothing when an earlier attempt may be under way: nothing is taken for known', async () => {
    await a.names()
    let attempts = 0
    cluster.onRequest = (method) => {
      if (method !== 'meta.create') return undefined
      return ++attempts === 1 ? 'lose-answer' : new AtollError('ENOSPC', 'full')
    }
    expect(await a.code(a.volume.mkdir(1, 'd', 0o755, me))).to.equal('EIO')
    cluster.onRequest = () => undefined
    expect(await a.names()).to.deep.equal(['d'])
    expect((await a.run(a.volume.lookup(1, 'd'))).nlink).to.equal(2)
  })

  it('an operation with an id has its first outcome again after a restart of the process', async () => {
    const first = await cluster.client('w1', { session: 'mount-1' })
    const context = { ...me, operationId: 77 }
    const { file } = await first.run(first.volume.create(1, 'f', { mode: 0o644, exclusive: true }, context))
    cluster.network.crash('w1')
    const second = await cluster.client('w2', { session: 'mount-1' })
    const again = await second.run(second.volume.create(1, 'f', { mode: 0o644, exclusive: true }, context))
    expect([again.created, again.file.ino]).to.deep.equal([true, file.ino])
    expect(await second.code(second.volume.create(1, 'f', { mode: 0o644, exclusive: true }, { ...me, operationId: 78 }))).to.equal('EEXIST')
    expect(await second.code(second.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))).to.equal('EEXIST')
  })

  it('unlinked files that an earlier process had open are let go by its successor', async () => {
    const first = await cluster.client('w1', { session: 'mount-1' })
    const { file } = await first.run(first.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await first.run(first.volume.unlink(1, 'f', me))
    cluster.network.crash('w1')
    const second = await cluster.client('w2', { session: 'mount-1' })
    expect((await second.run(second.volume.getattr(file.ino))).nlink).to.equal(0)
    second.volume.forget(file.ino)
    await cluster.clock.advance(50)
    expect(await second.code(second.volume.getattr(file.ino))).to.equal('ENOENT')
  })

  it('leases go along to a new leader: nothing is asked again, and recalls still come', async () => {
    await a.put('f', 'one')
    await b.get('f')
    await b.names()
    const { file } = await a.run(a.volume.create(1, 'g', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [Buffer.from('dirty')]))
    expect(await b.code(b.volume.lookup(1, 'h'))).to.equal('ENOENT')
    await cluster.changeLeader()
    await cluster.clock.advance(3_000)
    expect(cluster.count('meta.claim')).to.equal(2)
    cluster.resetCounts()
    expect((await b.get('f')).toString()).to.equal('one')
    expect(cluster.requests).to.equal(0)
    expect((await b.get('g')).toString()).to.equal('dirty')
    await a.put('f', 'two')
    expect((await b.get('f')).toString()).to.equal('two')
    await a.run(file.release())
  })

  it('a new leader hears at once of what is held by clients that ask for nothing: nobody waits for their next renewal', async () => {
    for (const name of ['x', 'y', 'z']) {
      await a.put(name, 'one')
      await b.get(name)
      await cluster.clock.advance(100)
      await cluster.changeLeader()
      const since = cluster.clock.now()
      await a.run(a.volume.unlink(1, name, me))
      expect(cluster.clock.now() - since).to.be.lessThan(100)
      expect(await b.code(b.volume.lookup(1, name))).to.equal('ENOENT')
    }
  })

  it('goes on through many changes of the leader while both work', async () => {
    const work = async (client: TestVolume, mark: string): Promise<void> => {
      for (let round = 0; round < 40; round++) {
        const { file } = await client.volume.create(1, `${mark}${round}`, { mode: 0o644, exclusive: true }, me)
        await file.write(0, [Buffer.from(`${mark}${round}`)])
        await file.flush()
        await file.release()
        const page = await client.volume.readdir(1, '', 1_000)
        expect(page.entries.filter((entry) => entry.name.startsWith(mark))).to.have.length(round + 1)
      }
    }
    let done = false
    const all = Promise.all([work(a, 'a'), work(b, 'b')]).finally(() => { done = true })
    for (let count = 0; count < 10 && !done; count++) {
      await cluster.clock.advance(15)
      await cluster.changeLeader()
    }
    await cluster.run(all)
    expect(await a.names()).to.deep.equal(await b.names())
    expect(await a.names()).to.have.length(80)
    expect((await a.get('b39')).toString() + (await b.get('a39')).toString()).to.equal('b39a39')
  })

  it('a first session is opened by one request, though its leader takes a second to answer', async () => {
    let asked = 0
    cluster.onRequest = async (method) => {
      if (method !== 'meta.session') return undefined
      asked++
      await new Promise<void>((resolve) => { cluster.clock.setTimer(resolve, 1_000) })
      return undefined
    }
    const c = await cluster.client('c')
    await c.run(c.volume.mkdir(1, 'd', 0o755, me))
    expect(asked).to.equal(1)
  })

  it('who is cut off may not use its cache once the lease time is over, and tells who caches above', async () => {
    const ino = await a.put('f', 'old')
    await b.get('f')
    b.invalidations.length = 0
    for (const node of ['n0', 'n1', 'n2']) cluster.network.cut('b', node)
    await cluster.clock.advance(3_000)
    expect((await b.get('f')).toString(), 'the lease still holds').to.equal('old')
    const change = a.put('f', 'new')
    await change
    expect(b.invalidations.some((invalidation) => invalidation.ino === ino), 'told before the other could change it').to.equal(true)
    expect(b.invalidations, 'and of the names that it knew').to.deep.include({ ino: 1, what: 'entries' })
    const late = b.volume.getattr(ino)
    await cluster.clock.advance(1_000)
    cluster.network.heal()
    expect((await b.run(late)).size).to.equal(3)
    expect((await b.get('f')).toString()).to.equal('new')
  })

  it('what was not written back when the session expired is written back later if it was in memory and nobody else changed the file', async () => {
    const small = await a.run(a.volume.create(1, 'small', { mode: 0o644, exclusive: true }, me))
    const large = await a.run(a.volume.create(1, 'large', { mode: 0o644, exclusive: true }, me))
    await a.run(small.file.write(0, [Buffer.from('kept')]))
    await a.run(large.file.write(0, [pattern(100_000)]))
    for (const node of ['n0', 'n1', 'n2']) cluster.network.cut('a', node)
    await cluster.clock.advance(10_000)
    expect((await b.run(b.volume.lookup(1, 'small'))).size).to.equal(0)
    cluster.network.heal()
    await a.run(small.file.flush())
    expect((await b.get('small')).toString()).to.equal('kept')
    // Chunks beyond the size are cut before the next writer's lease, this client's own included.
    expect(await a.code(large.file.flush())).to.equal('EIO')
    expect((await b.get('large')).length).to.equal(0)
    await a.run(small.file.release())
    await a.run(large.file.release())
  })

  it('content that a write moves out of its record is moved also when the session expires while the write is prepared', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [Buffer.from('synced')]))
    await a.run(file.sync())
    cluster.onRequest = (method) => method === 'data.write' ? new AtollError('ENOSPC', 'full') : undefined
    expect(await a.code(file.write(50_000, [pattern(100)]))).to.equal('ENOSPC')
    await b.get('f')
    let cutting = false
    let release = (): void => {}
    const released = new Promise<void>((resolve) => { release = resolve })
    cluster.onRequest = async (method, { session }) => {
      // What may lie in the chunks is cut first; that ends when the session is lost and the next one opens.
      if (method === 'data.truncate' && !cutting) {
        cutting = true
        for (const node of ['n0', 'n1', 'n2']) cluster.network.cutOneWay(node, 'a')
        await released
      }
      if (method === 'meta.session' && session.endsWith('.1')) release()
      return undefined
    }
    const written = file.write(50_000, [pattern(100)])
    await cluster.clock.advance(4_000)
    // The new leader keeps the session of before: nothing is cut on its behalf.
    await cluster.changeLeader()
    await cluster.clock.advance(4_000)
    cluster.network.heal()
    await a.run(written)
    await a.run(file.sync())
    const expected = Buffer.concat([Buffer.from('synced'), Buffer.alloc(49_994), pattern(100)])
    expect((await b.get('f')).equals(expected)).to.equal(true)
  })

  it('who has lost the lease does not cut what the next writer wrote, however late the cut comes', async () => {
    await a.put('f', 'before')
    const file = await a.run(a.volume.open((await a.volume.lookup(1, 'f')).ino, { write: true }))
    await a.run(file.write(0, [pattern(100_000)]))
    await a.run(file.flush())
    await b.get('f')
    let ask = (): void => {}
    const asked = new Promise<void>((resolve) => { ask = resolve })
    let release = (): void => {}
    const released = new Promise<void>((resolve) => { release = resolve })
    const cuts: unknown[] = []
    let asking = false
    cluster.onRequest = async (method, body) => {
      if (method === 'data.truncate') cuts.push(body.since)
      if (method !== 'data.position' || asking) return undefined
      asking = true
      for (const node of ['n0', 'n1', 'n2']) cluster.network.cut(node, 'a')
      ask()
      await released
      return undefined
    }
    // Beyond a gap: what a vanished writer may have left there is cut before.
    const written = file.write(150_000, [pattern(100)])
    await cluster.run(asked)
    await cluster.clock.advance(10_000)
    const next = await b.run(b.volume.open(file.ino, { write: true }))
    await b.run(next.write(100_000, [Buffer.alloc(60_000, 'b')]))
    await b.run(next.flush())
    cuts.length = 0
    release()
    cluster.network.heal()
    expect(await a.code(written)).to.equal('EIO')
    expect(cuts).to.deep.equal([])
    expect((await b.get('f')).subarray(100_000).equals(Buffer.alloc(60_000, 'b'))).to.equal(true)
  })

  it('a write that is asked for again and again does not come after those of others, once the session has expired', async () => {
    await a.put('f', pattern(100_000))
    const { ino } = await a.run(a.volume.lookup(1, 'f'))
    let session = ''
    let writer = ''
    let away = false
    cluster.onRequest = (method, body) => {
      if (method === 'meta.session' && body.client === 'c') session = body.session
      if (method === 'data.write' && writer === '') writer = body.writer
      return away && (body.session === session || (method === 'data.write' && body.writer === writer)) ? new AtollError('ATOLL_UNAVAILABLE', 'not now') : undefined
    }
    const c = await cluster.client('c', { journal: { record: () => 1, settle: () => {} } })
    const file = await c.run(c.volume.open(ino, { write: true }))
    await c.run(file.write(0, [Buffer.alloc(100, 'c')]))
    await c.run(file.flush())
    away = true
    cluster.resetCounts()
    await c.run(file.write(50_000, [Buffer.alloc(20_000, 'c')]))
    await cluster.clock.advance(10_000)
    expect(cluster.count('data.write')).to.be.greaterThan(1)
    const next = await b.run(b.volume.open(ino, { write: true }))
    await b.run(next.write(40_000, [Buffer.alloc(60_000, 'b')]))
    await b.run(next.sync())
    away = false
    await cluster.clock.advance(10_000)
    expect((await a.get('f')).subarray(40_000).equals(Buffer.alloc(60_000, 'b'))).to.equal(true)
    expect(await c.code(file.sync())).to.equal('EIO')
    expect(await c.code(file.sync())).to.equal('well')
    await c.run(file.write(99_999, [Buffer.from('c')]))
    await c.run(file.sync())
    expect((await a.get('f')).subarray(40_000).toString()).to.equal(`${'b'.repeat(59_999)}c`)
  })

  it('what cannot be written back because another changed the file meanwhile is an error of every handle, once', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    const other = await a.run(a.volume.open(file.ino, { write: true }))
    await a.run(file.write(0, [Buffer.from('lost')]))
    for (const node of ['n0', 'n1', 'n2']) cluster.network.cut('a', node)
    await cluster.clock.advance(10_000)
    await b.put('f', 'theirs')
    cluster.network.heal()
    expect(await a.code(file.flush())).to.equal('EIO')
    expect(await a.code(file.flush())).to.equal('well')
    expect(await a.code(other.sync())).to.equal('EIO')
    expect((await a.get('f')).toString()).to.equal('theirs')
    await a.run(file.write(6, [Buffer.from('+mine')]))
    await a.run(file.flush())
    expect((await b.get('f')).toString()).to.equal('theirs+mine')
    await a.run(Promise.all([file.release(), other.release()]))
  })

  it('bytes of a writer that vanished never show, whatever gap comes to lie over them', async () => {
    for (const [size, gapTo] of [[0, 300_000], [50_000, 60_000], [50_000, 5_000_000], [50_000, 13_000_000], [4_194_304, 4_194_305]] as const) {
      const ino = await a.put('f', pattern(size))
      const ghost = await cluster.client(`ghost${size}-${gapTo}`)
      const file = await ghost.run(ghost.volume.open(ino, { write: true }))
      await ghost.run(file.write(size, [Buffer.alloc(9_000_000, 'x')]))
      for (const node of ['n0', 'n1', 'n2']) cluster.network.cut(`ghost${size}-${gapTo}`, node)
      const heir = await b.run(b.volume.open(ino, { write: true }))
      await b.run(heir.write(gapTo, [Buffer.from('end')]))
      await b.run(heir.flush())
      await b.run(heir.release())
      const expected = Buffer.concat([pattern(size), Buffer.alloc(gapTo - size), Buffer.from('end')])
      expect((await b.get('f')).equals(expected), `${size} to ${gapTo}`).to.equal(true)
      expect((await a.get('f')).equals(expected), `${size} to ${gapTo} elsewhere`).to.equal(true)
      await b.run(b.volume.unlink(1, 'f', me))
    }
  })

  it('follows a primary that moves, and gives up with the last error when nobody serves', async () => {
    await a.put('f', pattern(100_000))
    cluster.map = {
      ...cluster.map, version: 2,
      data: cluster.map.data.map((partition) => ({ ...partition, epoch: 2, primary: partition.primary === 'n0' ? 'n1' : 'n0' }))
    }
    await a.put('f', pattern(200_000, 2))
    expect((await b.get('f')).equals(pattern(200_000, 2))).to.equal(true)
    cluster.onRequest = (method) => method === 'data.write' ? new AtollError('ENOSPC', 'full') : undefined
    const { file } = await a.run(a.volume.create(1, 'g', { mode: 0o644, exclusive: true }, me))
    expect(await a.code(file.write(0, [pattern(100_000)]))).to.equal('ENOSPC')
    await a.run(file.release())
  })

  it('a cluster that does not answer and a volume that is not there are named, with what helps', async () => {
    const lost = await cluster.run(cluster.connect('nobody').then(async (connected) => connected.openVolume('w')).catch((error) => error))
    expect([lost.code, lost.details.hint]).to.deep.equal(['ATOLL_NO_SUCH_VOLUME', 'there are: v; or create it: atoll volume create w'])
    for (const node of ['n0', 'n1', 'n2']) cluster.network.crash(node)
    const error = await cluster.run(cluster.connect('far', 2_000).catch((failure) => failure))
    expect(error.code).to.equal('ATOLL_CLUSTER_UNREACHABLE')
    expect(error.details.hint).to.include('atoll status')
  })
})
