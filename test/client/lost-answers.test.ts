import { expect } from 'chai'
import { homeOfRootChild } from '../../partitioning/directory-homes.ts'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'

describe('client: what was made and has been removed by another before the answer arrived', () => {
  let cluster: TestCluster
  let a: TestVolume
  let b: TestVolume

  async function open (metadataPartitions = 1): Promise<void> {
    cluster = await TestCluster.open({ seed: 3, metadataPartitions })
    a = await cluster.client('a')
    b = await cluster.client('b')
  }

  /** The first answer to 'meta.create' is lost; `meanwhile` has happened when the request comes again. */
  function loseAnswer (meanwhile: () => Promise<unknown>): void {
    let attempts = 0
    cluster.onRequest = async (method) => {
      if (method !== 'meta.create') return undefined
      if (++attempts === 1) return 'lose-answer'
      cluster.onRequest = () => undefined
      await meanwhile()
      return undefined
    }
  }

  const cases: Array<[string, () => Promise<unknown>]> = [
    ['', async () => {}],
    [', also when another replica leads by then', () => cluster.changeLeader()]
  ]
  for (const [what, then] of cases) {
    it(`a file is open without a name, as any that is removed while it is open${what}`, async () => {
      await open()
      loseAnswer(async () => {
        await b.volume.unlink(1, 'f', me)
        await then()
      })
      const { attr, file, created } = await a.run(a.volume.create(1, 'f', { mode: 0o640, exclusive: true }, me))
      expect([created, attr.nlink, attr.mode, attr.uid, attr.gid, attr.ino]).to.deep.equal([true, 0, 0o100640, 10, 20, file.ino])
      await a.run(file.write(0, [pattern(100_000)]))
      await a.run(file.sync())
      expect(Buffer.concat(await a.run(file.read(0, 200_000))).equals(pattern(100_000))).to.equal(true)
      for (const client of [a, b]) {
        expect(await client.code(client.volume.lookup(1, 'f'))).to.equal('ENOENT')
        expect(await client.names()).to.deep.equal([])
      }
      expect(await a.code(a.volume.create(1, 'f', { mode: 0o640, exclusive: true }, me))).to.equal('well')
      await a.run(file.release())
      expect(await a.code(a.volume.getattr(attr.ino))).to.equal('ENOENT')
    })
  }

  it('a file that the other has open still is the same file to both', async () => {
    await open()
    let other: Awaited<ReturnType<typeof b.volume.open>>
    loseAnswer(async () => {
      other = await b.volume.open((await b.volume.lookup(1, 'f')).ino, { write: true })
      await b.volume.unlink(1, 'f', me)
      await other.write(0, [Buffer.from('theirs')])
      await other.flush()
    })
    const { attr, file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    expect([attr.nlink, attr.ino]).to.deep.equal([0, other!.ino])
    await b.run(other!.release())
    expect(Buffer.concat(await a.run(file.read(0, 100))).toString()).to.equal('theirs')
    await a.run(file.release())
    expect(await a.code(a.volume.getattr(attr.ino))).to.equal('ENOENT')
  })

  it('a name under which the other has made another file since is that file\'s', async () => {
    await open()
    let second = 0
    loseAnswer(async () => {
      await b.volume.unlink(1, 'f', me)
      second = await b.put('f', 'second')
    })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    expect(file.ino).to.not.equal(second)
    await a.run(file.write(0, [Buffer.from('first')]))
    await a.run(file.flush())
    for (const client of [a, b]) expect((await client.get('f')).toString()).to.equal('second')
    await a.run(file.release())
  })

  it('a file whose chunks are still being removed is a new one', async () => {
    await open()
    let first = 0
    loseAnswer(async () => {
      first = await b.put('f', pattern(100_000))
      await b.volume.unlink(1, 'f', me)
    })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    expect(file.ino).to.not.equal(first)
    await a.run(file.write(0, [pattern(50_000)]))
    await a.run(file.flush())
    await cluster.clock.advance(20_000)
    expect(Buffer.concat(await a.run(file.read(0, 200_000))).equals(pattern(50_000))).to.equal(true)
    await a.run(file.release())
  })

  for (const index of [0, 1]) {
    it(`a directory was made: mkdir says so, with the directory in partition ${index}`, async () => {
      await open(2)
      const name = Array.from({ length: 9 }, (_, at) => `d${at}`).find((each) => homeOfRootChild(each, 2) === index)!
      loseAnswer(() => b.volume.rmdir(1, name, me))
      const attr = await a.run(a.volume.mkdir(1, name, 0o750, me))
      expect([attr.mode, attr.nlink, attr.uid]).to.deep.equal([0o040750, 0, 10])
      for (const client of [a, b]) expect(await client.code(client.volume.lookup(1, name))).to.equal('ENOENT')
      expect(a.invalidations).to.deep.include({ ino: 1, what: 'entries', names: [name] })
      expect(await a.code(a.volume.mkdir(1, name, 0o755, me))).to.equal('well')
    })
  }

  it('a file that was found, not made, and is gone is made anew', async () => {
    await open()
    await b.put('f', 'old')
    loseAnswer(() => b.volume.unlink(1, 'f', me))
    const { attr, file, created } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: false }, me))
    expect([created, attr.nlink]).to.deep.equal([true, 1])
    await a.run(file.release())
    expect(await b.names()).to.deep.equal(['f'])
  })
})
