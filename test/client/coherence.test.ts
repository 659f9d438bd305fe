import { expect } from 'chai'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'

describe('client: two clients see one file system', () => {
  let cluster: TestCluster
  let a: TestVolume
  let b: TestVolume

  const start = async (init: Parameters<typeof TestCluster.open>[0] = {}): Promise<void> => {
    cluster = await TestCluster.open(init)
    a = await cluster.client()
    b = await cluster.client()
  }
  beforeEach(() => start())

  it('what one writes and closes the other reads, small and large, again and again', async () => {
    for (const size of [0, 10, 16_384, 16_385, 5_000_000, 3]) {
      await a.put('f', pattern(size, size))
      expect((await b.get('f')).equals(pattern(size, size)), `${size} bytes`).to.equal(true)
      await b.put('f', pattern(size + 1, 9))
      expect((await a.get('f')).equals(pattern(size + 1, 9)), `${size} bytes back`).to.equal(true)
    }
  })

  it('what is written and not yet closed is written back when the other looks', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [Buffer.from('inline')]))
    expect((await b.run(b.volume.lookup(1, 'f'))).size).to.equal(6)
    expect((await b.get('f')).toString()).to.equal('inline')
    await a.run(file.write(6, [pattern(100_000)]))
    expect((await b.get('f')).equals(Buffer.concat([Buffer.from('inline'), pattern(100_000)]))).to.equal(true)
    await a.run(file.release())
  })

  it('an absent name appears, a present one vanishes, for who has cached it', async () => {
    expect(await b.code(b.volume.lookup(1, 'f'))).to.equal('ENOENT')
    expect(await b.names()).to.deep.equal([])
    cluster.resetCounts()
    expect(await b.code(b.volume.lookup(1, 'f'))).to.equal('ENOENT')
    expect(cluster.requests).to.equal(0)
    await a.put('f', 'x')
    expect(b.invalidations).to.deep.include({ ino: 1, what: 'entries', names: ['f'] })
    expect(await b.names()).to.deep.equal(['f'])
    expect((await b.get('f')).toString()).to.equal('x')
    await a.run(a.volume.unlink(1, 'f', me))
    expect(await b.code(b.volume.lookup(1, 'f'))).to.equal('ENOENT')
    expect(await b.names()).to.deep.equal([])
  })

  it('whoever caches above is told, and waited for, before the other goes on', async () => {
    const ino = await a.put('f', 'old')
    await b.get('f')
    let release = (): void => {}
    b.volume.onInvalidate = async (invalidation) => {
      if (invalidation.ino === ino) await new Promise<void>((resolve) => { release = resolve })
    }
    let done = false
    const change = a.volume.setattr(ino, { mode: 0o600 }, me).then(() => { done = true })
    await cluster.clock.advance(500)
    expect(done).to.equal(false)
    expect((await b.run(b.volume.getattr(ino))).mode & 0o777, 'still the lease of b').to.equal(0o644)
    b.volume.onInvalidate = null
    release()
    await a.run(change)
    expect((await b.run(b.volume.getattr(ino))).mode & 0o777).to.equal(0o600)
  })

  it('whoever blocks an invalidation for ever does not block the other for ever', async () => {
    const ino = await a.put('f', 'old')
    await b.get('f')
    b.volume.onInvalidate = () => new Promise(() => {})
    expect((await a.run(a.volume.setattr(ino, { mode: 0o600 }, me))).mode & 0o777).to.equal(0o600)
    expect(cluster.clock.now()).to.be.lessThan(3_000)
  })

  it('both append to one file in turns and no write is lost', async () => {
    await a.put('f', '')
    const write = async (client: TestVolume, mark: string): Promise<void> => {
      const { ino } = await client.volume.lookup(1, 'f')
      const file = await client.volume.open(ino, { write: true })
      for (let turn = 0; turn < 20; turn++) await file.write((turn * 2 + (mark === 'a' ? 0 : 1)) * 4_000, [Buffer.alloc(4_000, mark)])
      await file.flush()
      await file.release()
    }
    await cluster.run(Promise.all([write(a, 'a'), write(b, 'b')]))
    const expected = Buffer.concat(Array.from({ length: 40 }, (_, index) => Buffer.alloc(4_000, index % 2 === 0 ? 'a' : 'b')))
    expect((await a.get('f')).equals(expected)).to.equal(true)
    expect((await b.get('f')).equals(expected)).to.equal(true)
  })

  it('a file that another removes stays readable while it is open, then goes', async () => {
    const ino = await a.put('f', pattern(50_000))
    const file = await b.run(b.volume.open(ino, { write: false }))
    await a.run(a.volume.unlink(1, 'f', me))
    expect(Buffer.concat(await b.run(file.read(0, 50_000))).equals(pattern(50_000))).to.equal(true)
    expect((await b.run(b.volume.getattr(ino))).nlink).to.equal(0)
    cluster.resetCounts()
    await b.run(file.release())
    expect(cluster.count('meta.forget')).to.equal(1)
    expect(await b.code(b.volume.getattr(ino))).to.equal('ENOENT')
    await cluster.clock.advance(10_000)
    expect(cluster.chunks.of(ino)).to.deep.equal([])
  })

  it('a removed file that only another has open is not opened: it may vanish at any moment', async () => {
    const ino = await a.put('f', pattern(100_000))
    const file = await a.run(a.volume.open(ino, { write: false }))
    await b.run(b.volume.unlink(1, 'f', me))
    expect(await b.code(b.volume.open(ino, { write: false }))).to.equal('ESTALE')
    const again = await a.run(a.volume.open(ino, { write: false }))
    await a.run(file.release())
    expect(Buffer.concat(await a.run(again.read(0, 100_000))).equals(pattern(100_000))).to.equal(true)
    await a.run(again.release())
    expect(await b.code(b.volume.open(ino, { write: false }))).to.equal('ESTALE')
  })

  it('a name that is created here while the other changes the directory is not taken for absent', async () => {
    await a.names()
    await b.names()
    for (let round = 0; round < 30; round++) {
      const name = `n${round}`
      await Promise.all([a.volume.lookup(1, name).catch(() => {}), b.volume.lookup(1, name).catch(() => {}), cluster.clock.advance(5)])
      await cluster.run(Promise.all([a.volume.mkdir(1, name, 0o755, me), b.volume.mkdir(1, `m${round}`, 0o755, me)]))
      expect((await a.run(a.volume.lookup(1, name))).nlink).to.equal(2)
      expect((await b.run(b.volume.lookup(1, name))).nlink).to.equal(2)
    }
    expect(await a.names()).to.deep.equal(await b.names())
    expect(await a.names()).to.have.length(60)
  })

  it('parallel creations keep the listing of a new directory known', async () => {
    const dir = await a.run(a.volume.mkdir(1, 'd', 0o755, me))
    await a.run(Promise.all(Array.from({ length: 50 }, (_, index) => a.volume.mknod(dir.ino, `f${index}`, 0o644, 0, me))))
    cluster.resetCounts()
    expect(await a.names(dir.ino)).to.have.length(50)
    expect(await a.code(a.volume.lookup(dir.ino, 'g'))).to.equal('ENOENT')
    expect(cluster.requests).to.equal(0)
  })

  it('a file that is created or else opened is made anew when another removes it in between', async () => {
    await start({ metadataPartitions: 2 })
    const directories = await a.run(Promise.all(['x', 'y', 'z', 'w'].map((name) => a.volume.mkdir(1, name, 0o755, me))))
    const elsewhere = directories.find(({ ino }) => ino > 2 ** 41)!.ino
    const old = await a.put('f', 'old')
    await a.run(a.volume.rename(1, 'f', elsewhere, 'f', 0, me))
    let removed = false
    cluster.onRequest = async (method, body) => {
      if (method !== 'meta.getattr' || body.ino !== old || removed) return undefined
      removed = true
      await a.volume.unlink(elsewhere, 'f', me)
      return undefined
    }
    const made = await b.run(b.volume.create(elsewhere, 'f', { mode: 0o644, exclusive: false }, { ...me, operationId: 5 }))
    expect([removed, made.created]).to.deep.equal([true, true])
    expect((await a.run(a.volume.lookup(elsewhere, 'f'))).ino).to.equal(made.attr.ino)
    await b.run(made.file.release())
  })

  it('what others have seen changed by a client is not served unchanged there, though the answer to the change is still on its way', async () => {
    const ino = await a.put('f', 'old')
    await a.run(a.volume.link(ino, 1, 'g', me))
    await a.names()
    const leader = cluster.leader().node
    const during = async (change: () => Promise<unknown>, seen: () => Promise<unknown>, looks: Array<() => Promise<unknown>>): Promise<unknown[]> => {
      cluster.network.cutOneWay(leader, 'client1')
      const changed = change()
      await cluster.clock.advance(20)
      await b.run(seen())
      const looked = Promise.all(looks.map(async (look) => look().catch((error) => error.code)))
      await cluster.clock.advance(20)
      cluster.network.heal(leader, 'client1')
      await a.run(changed)
      return a.run(looked)
    }
    const nameOf = async (): Promise<unknown> => (await a.volume.lookup(1, 'g')).ino
    const nlink = async (): Promise<unknown> => (await a.volume.getattr(ino)).nlink
    const list = async (): Promise<unknown> => (await a.volume.readdir(1, '', 100)).entries.map(({ name }) => name)
    const size = async (): Promise<unknown> => (await a.volume.getattr(ino)).size
    expect(await during(() => a.volume.unlink(1, 'g', me), () => b.names(), [nameOf, nlink, list])).to.deep.equal(['ENOENT', 1, ['f']])
    expect(await during(() => a.volume.mkdir(1, 'g', 0o755, me), () => b.names(), [list])).to.deep.equal([['f', 'g']])
    await b.run(b.volume.lookup(1, 'f'))
    expect(await during(() => a.volume.setattr(ino, { size: 1 }, me), () => b.volume.getattr(ino), [size])).to.deep.equal([1])
  })

  it('across partitions: names lead to inodes elsewhere', async () => {
    await start({ metadataPartitions: 3 })
    const dirs = await Promise.all(Array.from({ length: 6 }, (_, index) => a.run(a.volume.mkdir(1, `d${index}`, 0o755, me))))
    const ino = await a.put('f', 'first', dirs[0]!.ino)
    await a.run(a.volume.link(ino, dirs[3]!.ino, 'g', me))
    await a.run(a.volume.rename(dirs[3]!.ino, 'g', dirs[5]!.ino, 'h', 0, me))
    expect((await b.get('h', dirs[5]!.ino)).toString()).to.equal('first')
    await b.put('h', 'second', dirs[5]!.ino)
    expect((await a.get('f', dirs[0]!.ino)).toString()).to.equal('second')
    expect((await a.run(a.volume.lookup(1, 'd5'))).nlink).to.equal(2)
    expect(await b.names()).to.deep.equal(['d0', 'd1', 'd2', 'd3', 'd4', 'd5'])
    expect(await a.names(dirs[3]!.ino)).to.deep.equal([])
  })

  it('gives back the leases of what it evicts, and then needs to ask again', async () => {
    for (let index = 0; index < 40; index++) await a.put(`f${index}`, 'x')
    const small = await cluster.small()
    for (let index = 0; index < 40; index++) await small.get(`f${index}`)
    await cluster.clock.advance(100)
    expect(cluster.count('meta.release')).to.be.greaterThan(0)
    expect(small.invalidations.length).to.be.greaterThan(15)
    await a.put('f0', 'changed')
    expect((await small.get('f0')).toString()).to.equal('changed')
  })

  it('tells who caches above of the names, too, when it gives a directory back', async () => {
    const dirs: number[] = []
    for (let index = 0; index < 40; index++) dirs.push((await a.run(a.volume.mkdir(1, `d${index}`, 0o755, me))).ino)
    const small = await cluster.small()
    for (const dir of dirs) {
      await small.run(small.volume.lookup(1, `d${dirs.indexOf(dir)}`))
      expect(await small.code(small.volume.lookup(dir, 'absent'))).to.equal('ENOENT')
    }
    await cluster.clock.advance(100)
    const evicted = small.invalidations.filter(({ ino, what }) => what === 'content' && dirs.includes(ino)).map(({ ino }) => ino)
    expect(evicted.length).to.be.greaterThan(15)
    for (const ino of evicted) expect(small.invalidations).to.deep.include({ ino, what: 'entries' })
  })
})
