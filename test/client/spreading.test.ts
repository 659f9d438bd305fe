import { expect } from 'chai'
import { fillingAgeMsMax } from '../../fsnode/metadata/constants.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { metadataIndexOf } from '../../partitioning/routing.ts'
import { me, TestCluster, type TestVolume } from './cluster.ts'
import { Machine } from './machine.ts'

const inodesMin = 40

describe('client: directories below a full metadata partition', () => {
  let cluster: TestCluster
  let machine: Machine
  let a: TestVolume
  /** A directory whose partition is full and the others empty. */
  let home: number

  async function start (metadataPartitions: number): Promise<void> {
    cluster = await TestCluster.open({ metadataPartitions, spreadInodesMin: inodesMin })
    machine = new Machine(cluster, 'a')
    a = await machine.start()
    home = (await a.run(a.volume.mkdir(1, 'home', 0o755, me))).ino
    for (let at = 0; at < inodesMin; at++) await a.put(`file-${at}`, '', home)
    await a.run(a.volume.syncNames())
  }

  /** The partition has asked the others, and the client has heard of it. */
  async function heard (): Promise<void> { await cluster.clock.advance(fillingAgeMsMax + 3_000) }

  async function mkdirs (count: number, volume = a, dir = home, name = 'd'): Promise<number[]> {
    const made: number[] = []
    for (let at = 0; at < count; at++) made.push((await volume.run(volume.volume.mkdir(dir, `${name}${at}`, 0o755, me))).ino)
    return made
  }

  const spread = (inos: number[]): Set<number> => new Set(inos.map(metadataIndexOf))

  beforeEach(() => start(4))

  it('are made in the others as well, for a client that holds the directory and for one that does not', async () => {
    await heard()
    const made = await mkdirs(40)
    expect(spread(made).size).to.equal(4)
    expect(made.filter((ino) => metadataIndexOf(ino) === metadataIndexOf(home)).length, 'a part stays').to.be.within(3, 25)
    const b = await cluster.client('b')
    await heard()
    const others = await mkdirs(40, b, home, 'of-b')
    expect(spread(others).size).to.equal(4)
    for (const [at, ino] of made.entries()) expect((await b.run(b.volume.lookup(home, `d${at}`))).ino).to.equal(ino)
    expect((await a.names(home)).length).to.equal(inodesMin + 80)
    expect((await b.run(b.volume.getattr(home))).nlink).to.equal(82)
  })

  it('nor is a name in the way that the holder of the directory was told is gone, whichever partition the other end is in', async () => {
    const b = await cluster.client('b')
    const elsewhere = (await mkdirs(8, b, 1)).find((ino) => metadataIndexOf(ino) !== metadataIndexOf(home))!
    const ino = await b.put('source', '', elsewhere)
    await a.run(a.volume.mkdir(home, 'made', 0o755, me))
    await cluster.clock.advance(100)
    await a.run(a.volume.syncNames())
    cluster.resetCounts()
    await a.run(a.volume.unlink(home, 'file-0', me))
    expect(cluster.requests, 'it is the holder that decides').to.equal(0)
    expect((await b.run(b.volume.link(ino, home, 'file-0', me))).nlink).to.equal(2)
    expect((await a.run(a.volume.lookup(home, 'file-0'))).ino).to.equal(ino)
  })

  it('stay with it while the client has not heard that it is full', async () => {
    expect(spread(await mkdirs(10))).to.deep.equal(new Set([metadataIndexOf(home)]))
  })

  it('and what is made below one that lives elsewhere stays there, without a message when it is held', async () => {
    await heard()
    const moved = (await mkdirs(16)).find((ino) => metadataIndexOf(ino) !== metadataIndexOf(home))!
    // It is taken after the second, and inode numbers come behind the first that is made without a message.
    for (const name of ['first', 'then']) {
      await mkdirs(3, a, moved, name)
      await cluster.clock.advance(100)
    }
    cluster.resetCounts()
    const below = await mkdirs(20, a, moved, 'sub')
    expect(spread(below)).to.deep.equal(new Set([metadataIndexOf(moved)]))
    await a.run(a.volume.syncNames())
    expect(cluster.requests).to.equal(cluster.count('meta.changes'))
  })

  it('can be filled, moved, emptied and removed by whoever holds what', async () => {
    await heard()
    const b = await cluster.client('b')
    for (const [at, ino] of (await mkdirs(20)).entries()) {
      await a.put('f', `content ${at}`, ino)
      expect((await b.get('f', ino)).toString()).to.equal(`content ${at}`)
      expect(await a.code(a.volume.rmdir(home, `d${at}`, me))).to.equal('ENOTEMPTY')
      await b.run(b.volume.rename(ino, 'f', home, `from-${at}`, 0, me))
      await a.run(a.volume.rename(home, `d${at}`, 1, `d${at}`, 0, me))
      expect(await b.code(b.volume.rename(1, 'home', ino, 'loop', 0, me))).to.equal('well')
      expect(await b.code(b.volume.rename(1, `d${at}`, home, 'loop', 0, me))).to.equal('EINVAL')
      await b.run(b.volume.rename(ino, 'loop', 1, 'home', 0, me))
      await a.run(a.volume.rmdir(1, `d${at}`, me))
      expect((await a.get(`from-${at}`, home)).toString()).to.equal(`content ${at}`)
    }
    expect(await b.names(1)).to.deep.equal(['home'])
  })

  it('are made in it when the other partition is away', async () => {
    await heard()
    cluster.onTransaction = (step) => { if (step === 'prepare') throw new AtollError('ATOLL_UNAVAILABLE', 'no leader') }
    expect(spread(await mkdirs(20))).to.deep.equal(new Set([metadataIndexOf(home)]))
    cluster.onTransaction = () => {}
    expect(spread(await mkdirs(20, a, home, 'later')).size).to.equal(4)
  })

  it('one that is asked for again after a crash, or of another leader, is made once', async () => {
    await heard()
    cluster.onRequest = (method) => method === 'meta.create' && cluster.random.chance(0.5) ? 'lose-answer' : undefined
    const made: number[] = []
    for (let at = 0; at < 20; at++) {
      const pending = a.volume.mkdir(home, `d${at}`, 0o755, me)
      if (at % 3 === 0) await cluster.changeLeader(metadataIndexOf(home))
      made.push((await a.run(pending)).ino)
    }
    expect(spread(made).size).to.be.greaterThan(1)
    cluster.onRequest = () => undefined
    const b = await cluster.client('b')
    expect((await b.names(home)).length).to.equal(inodesMin + 20)
    for (const [at, ino] of made.entries()) expect((await b.run(b.volume.lookup(home, `d${at}`))).ino).to.equal(ino)
    expect((await b.run(b.volume.getattr(home))).nlink).to.equal(22)
  })

  it('no longer leave it when the others hold as much', async () => {
    await heard()
    const made = await mkdirs(40)
    for (const index of [0, 1, 2, 3]) {
      const ino = made.find((one) => metadataIndexOf(one) === index && index !== metadataIndexOf(home))
      if (ino !== undefined) for (let at = 0; at < 2 * inodesMin; at++) await a.put(`f${at}`, '', ino)
    }
    await a.run(a.volume.syncNames())
    await heard()
    expect(spread(await mkdirs(10, a, home, 'late'))).to.deep.equal(new Set([metadataIndexOf(home)]))
  })
})
