import { expect } from 'chai'
import type { VolumeClient } from '../../client/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { homeOfRootChild } from '../../partitioning/directory-homes.ts'
import { metadataIndexOf } from '../../partitioning/routing.ts'
import { me, TestCluster, type TestVolume } from './cluster.ts'
import { Machine } from './machine.ts'

const partitions = 3
const noReplace = 1
const exchange = 2

/** A client that decides by itself what is in a directory of its own. */
interface Owner { machine: Machine, client: TestVolume, dir: number }

describe('client: operations across partitions between directories that clients hold', () => {
  let cluster: TestCluster
  /** In partition 1, and in partition 2. */
  let a: Owner
  let b: Owner

  beforeEach(async () => {
    cluster = await TestCluster.open({ metadataPartitions: partitions })
    a = await owner('a', 1)
    b = await owner('b', 2)
  })

  async function owner (host: string, index: number): Promise<Owner> {
    const machine = new Machine(cluster, host)
    const client = await machine.start()
    const dir = (await client.run(client.volume.mkdir(1, nameIn(index, host), 0o755, me))).ino
    expect(metadataIndexOf(dir)).to.equal(index)
    const each = { machine, client, dir }
    // It is taken after the second, and inode numbers come behind the first that is made without a message.
    for (let at = 0; at < 6; at++) {
      await client.put(`made-${at}`, '', dir)
      await cluster.clock.advance(100)
    }
    await decides(each, () => client.volume.unlink(dir, 'made-0', me))
    return each
  }

  /** Without a message. */
  async function decides ({ client }: Owner, work: () => Promise<unknown>): Promise<void> {
    await client.run(client.volume.syncNames())
    cluster.resetCounts()
    await client.run(work())
    expect(cluster.requests, 'it is the holder that decides').to.equal(0)
  }

  it('find what the holder was told is gone, or is there', async () => {
    await decides(b, () => b.client.volume.unlink(b.dir, 'made-1', me))
    expect(await a.client.code(a.client.volume.rename(a.dir, 'made-1', b.dir, 'made-1', noReplace, me))).to.equal('well')
    await b.client.put('again-1', '', b.dir)
    expect(await a.client.code(a.client.volume.rename(a.dir, 'made-2', b.dir, 'again-1', exchange, me))).to.equal('well')
    expect(await a.client.names(a.dir)).to.deep.equal(['made-2', 'made-3', 'made-4', 'made-5'])
    expect(await b.client.names(b.dir)).to.deep.equal(['again-1', 'made-1', 'made-2', 'made-3', 'made-4', 'made-5'])
  })

  for (const [what, method, change] of [
    ['linked', 'meta.link', (volume: VolumeClient, ino: number) => volume.link(ino, b.dir, 'there', me)],
    ['moved', 'meta.rename', (volume: VolumeClient) => volume.rename(a.dir, 'small', b.dir, 'there', 0, me)]
  ] as const) {
    it(`leave a small file its content when it outgrows its record while it is ${what}`, async () => {
      const client = await cluster.client()
      const ino = await client.put('small', '')
      await client.run(client.volume.rename(1, 'small', a.dir, 'small', 0, me))
      const file = await client.run(client.volume.open(ino, { write: true }))
      await client.run(file.write(0, [Buffer.from('small')]))
      await client.run(file.flush())
      const [asked, outgrowing, changed, written] = [gate(), gate(), gate(), gate()]
      cluster.onRequest = async (of) => {
        if (of === method) {
          asked.open()
          await outgrowing.opened
        } else if (of === 'meta.extent') {
          outgrowing.open()
          await changed.opened
        } else if (of === 'meta.getattr') {
          // The answer to the change is there, and what was known of the file is not known any more.
          changed.open()
          await written.opened
        } else if (of === 'data.write') {
          written.open()
        }
        return undefined
      }
      const changing = change(client.volume, ino).finally(changed.open)
      await client.run(asked.opened)
      await client.run(file.write(20_000, [Buffer.from('far')]))
      await client.run(Promise.all([changing, file.flush()]))
      await client.run(file.release())
      const content = await b.client.get('there', b.dir)
      expect([content.length, content.subarray(0, 5).toString(), content.subarray(20_000).toString()]).to.deep.equal([20_003, 'small', 'far'])
    })
  }

  it('that cross each other both happen, soon, whatever their clients have decided and not sent', async () => {
    for (let round = 0; round < 20; round++) {
      const begun = cluster.clock.now()
      const both = await cluster.run(Promise.all([a, b].map(async (from) => {
        const to = from === a ? b : a
        const { client: { volume }, dir } = from
        await volume.mkdir(dir, `d-${round}`, 0o755, me)
        await volume.mknod(dir, `f-${round}`, 0o100644, 0, me)
        await volume.rename(dir, `f-${round}`, to.dir, `f-${round}`, exchange, me).catch(() => {})
        await volume.unlink(dir, `made-${round}`, me).catch(() => {})
        await volume.rename(dir, `d-${round}`, to.dir, `moved-${round}`, noReplace, me)
        return to.client.volume.rename(to.dir, `moved-${round}`, dir, `d-${round}`, noReplace, me)
      })))
      expect(both).to.have.length(2)
      expect(cluster.clock.now() - begun, 'milliseconds').to.be.lessThan(3_000)
    }
    for (const { client, dir } of [a, b]) expect((await client.names(dir)).filter((name) => name.startsWith('d-'))).to.have.length(20)
  })

  it('are not hidden by answers of the other partition that are older', async () => {
    const file = await b.client.put('file', '', b.dir)
    const sub = (await b.client.run(b.client.volume.mkdir(b.dir, 'sub', 0o755, me))).ino
    await b.client.run(b.client.volume.syncNames())
    const { client: { volume } } = a
    const made = (await a.client.run(volume.mkdir(a.dir, 'made', 0o755, me))).ino
    const asked = [file, sub].map((ino) => volume.getattr(ino))
    cluster.onAnswer = (method) => method === 'meta.getattr' ? later(500) : undefined
    await cluster.clock.advance(10)
    cluster.onAnswer = () => undefined
    const linked = await a.client.run(volume.link(file, a.dir, 'linked', me))
    expect(linked.nlink).to.equal(2)
    await a.client.run(volume.rename(a.dir, 'made', sub, 'made', 0, me))
    await cluster.clock.advance(1_000)
    await Promise.all(asked)
    await expectSame(file, sub, made, a.dir)
  })

  describe('by whoever holds what takes part', () => {
    /** Of client `a`, in partition 2. */
    let other: Owner

    beforeEach(async () => {
      const dir = (await a.client.run(a.client.volume.mkdir(1, nameIn(2, 'other'), 0o755, me))).ino
      other = { ...a, dir }
      for (let at = 0; at < 6; at++) {
        await a.client.put(`made-${at}`, '', dir)
        await cluster.clock.advance(100)
      }
      await decides(other, () => a.client.volume.unlink(dir, 'made-0', me))
    })

    it('leave it with the attributes that others see', async () => {
      const { volume } = a.client
      const sub = (await a.client.run(volume.mkdir(a.dir, 'sub', 0o755, me))).ino
      const file = (await a.client.run(volume.lookup(a.dir, 'made-1'))).ino
      await cluster.clock.advance(10)
      await a.client.run(volume.rename(a.dir, 'sub', other.dir, 'sub', 0, me))
      await a.client.run(volume.rename(a.dir, 'made-1', other.dir, 'made-1', 0, me))
      await a.client.run(volume.link(file, other.dir, 'linked', me))
      await expectSame(sub, file, a.dir, other.dir)
      await a.client.run(volume.rename(other.dir, 'sub', a.dir, 'back', 0, me))
      await a.client.run(volume.rename(other.dir, 'made-2', a.dir, 'made-2', 0, me))
      await expectSame(sub, (await a.client.run(volume.lookup(a.dir, 'made-2'))).ino, a.dir, other.dir)
    })

    it('also when the other partition hears late that they have happened', async () => {
      const { volume } = a.client
      const sub = (await a.client.run(volume.mkdir(a.dir, 'sub', 0o755, me))).ino
      const moved = (await a.client.run(volume.lookup(other.dir, 'made-1'))).ino
      late(4_000)
      await a.client.run(volume.rename(a.dir, 'sub', other.dir, 'sub', 0, me))
      await a.client.run(volume.mknod(other.dir, 'decided', 0o100644, 0, me))
      const nlink = (await a.client.run(volume.getattr(other.dir))).nlink
      expect(nlink).to.equal(3)
      expect((await a.client.names(other.dir))).to.include.members(['sub', 'decided'])
      late(4_000)
      await a.client.run(volume.link(moved, a.dir, 'linked', me))
      expect((await a.client.run(volume.getattr(moved))).nlink).to.equal(2)
      await a.client.run(volume.unlink(other.dir, 'made-1', me))
      expect((await a.client.run(volume.getattr(moved))).nlink).to.equal(1)
      await cluster.clock.advance(6_000)
      await expectSame(sub, moved, a.dir, other.dir)
    })

    const operations: Array<[string, Method, (volume: VolumeClient, file: number) => Promise<unknown>, names: string[], inodes: number[]]> = [
      ['a rename of a directory', 'meta.rename', (volume) => volume.rename(a.dir, 'sub', other.dir, 'moved', 0, me), ['a/sub', 'other/moved'], [0]],
      ['a rename of a file over another', 'meta.rename', (volume) => volume.rename(a.dir, 'made-1', other.dir, 'made-1', 0, me), ['a/made-1', 'other/made-1'], [1]],
      ['an exchange', 'meta.rename', (volume) => volume.rename(a.dir, 'sub', other.dir, 'made-1', exchange, me), ['a/sub', 'other/made-1'], [0]],
      ['a link', 'meta.link', (volume, file) => volume.link(file, other.dir, 'linked', me), ['other/linked'], [1]],
      ['an unlink', 'meta.unlink', (volume) => volume.unlink(other.dir, 'elsewhere', me), ['other/elsewhere'], []],
      ['an rmdir', 'meta.rmdir', (volume) => volume.rmdir(other.dir, 'empty', me), ['other/empty'], []]
    ]
    for (const [what, method, perform, names, inodes] of operations) {
      it(`leave nothing of before in the cache, nor above it, when nobody knows whether they have happened: ${what}`, async () => {
        const { volume } = a.client
        const sub = (await a.client.run(volume.mkdir(a.dir, 'sub', 0o755, me))).ino
        const file = (await a.client.run(volume.lookup(a.dir, 'made-1'))).ino
        await a.client.run(volume.rename(a.dir, 'made-2', other.dir, 'elsewhere', 0, me))
        await a.client.run(volume.mkdir(a.dir, 'empty', 0o755, me))
        await a.client.run(volume.rename(a.dir, 'empty', other.dir, 'empty', 0, me))
        for (const { dir } of [a, other]) {
          await a.client.run(volume.getattr(dir))
          for (const name of await a.client.names(dir)) await a.client.run(volume.lookup(dir, name))
          await decides({ ...a, dir }, () => volume.mknod(dir, 'last', 0o100644, 0, me))
        }
        await a.client.run(volume.syncNames())
        a.client.invalidations.length = 0
        cluster.onRequest = losing(method)
        expect(await a.client.code(perform(volume, file))).to.equal('ATOLL_UNAVAILABLE')
        await cluster.clock.advance(100)
        await expectSame(sub, file, a.dir, other.dir)
        for (const dir of [a.dir, other.dir]) {
          const { entries } = await a.client.run(volume.readdir(dir, '', 100))
          for (const { name, ino } of entries) expect((await a.client.run(volume.lookup(dir, name))).ino).to.equal(ino)
        }
        expect((await a.client.run(volume.readdir(sub, '', 1))).parent).to.equal(await parentOf(sub))
        const concerned = new Set(a.client.invalidations.map(({ ino }) => ino))
        expect([sub, file].filter((ino) => concerned.has(ino))).to.deep.equal(inodes.map((at) => [sub, file][at]))
        expect(a.client.invalidations.filter((each) => each.what === 'entries').map((each) => [each.ino === a.dir ? 'a' : 'other', ...each.names!].join('/'))).to.deep.equal(names)
      })
    }

    it('nor of a file that is being written, whose bytes stay', async () => {
      const { volume } = a.client
      const ino = (await a.client.run(volume.lookup(a.dir, 'made-1'))).ino
      const file = await a.client.run(volume.open(ino, { write: true }))
      await a.client.run(file.write(0, [Buffer.from('first')]))
      const fault = losing('meta.link')
      let size = 5
      cluster.onRequest = (method, body, node) => {
        // Also with the last attempt: so it is not committed when that fails.
        if (method === 'meta.link') void file.write(size++, [Buffer.from('.')])
        return fault(method, body, node)
      }
      expect(await a.client.code(volume.link(ino, other.dir, 'linked', me))).to.equal('ATOLL_UNAVAILABLE')
      const [known] = await a.client.run(Promise.all([volume.getattr(ino), file.write(size, [Buffer.from(' second')])]))
      expect([known.nlink, known.size]).to.deep.equal([2, size + 7])
      await a.client.run(file.flush())
      await a.client.run(file.release())
      await expectSame(ino)
      expect((await a.client.get('linked', other.dir)).toString()).to.equal(`first${'.'.repeat(size - 5)} second`)
    })

    it('never take a directory from under what it has just made there', async () => {
      const { volume } = a.client
      const sub = (await a.client.run(volume.mkdir(other.dir, 'sub', 0o755, me))).ino
      await a.client.run(volume.rename(other.dir, 'sub', a.dir, 'sub', 0, me))
      await a.client.run(volume.getattr(sub))
      await decides({ ...other, dir: sub }, () => volume.mknod(sub, 'f', 0o100644, 0, me))
      await decides({ ...other, dir: sub }, () => volume.unlink(sub, 'f', me))
      await a.client.run(volume.lookup(a.dir, 'sub'))
      const slow = (await a.client.run(volume.lookup(a.dir, 'made-1'))).ino
      const waits: Record<string, Promise<void>> = { '7.m.1': later(400) }
      cluster.onRequest = async (method, { partition }) => {
        if (method === 'meta.changes') await waits[partition]
        return undefined
      }
      await decides(a, () => volume.setattr(slow, { mode: 0o600 }, me))
      const removed = volume.rmdir(a.dir, 'sub', me).then(() => 'well', (error) => error.code)
      await cluster.clock.advance(200)
      waits['7.m.2'] = later(1_000)
      const made = volume.mknod(sub, 'f', 0o100644, 0, me).then(() => 'well', (error) => error.code)
      expect((await cluster.run(Promise.all([removed, made]))).sort().join()).to.be.oneOf(['ENOTEMPTY,well', 'ENOENT,well'])
      await a.client.run(volume.syncNames())
      await expectSame(a.dir, other.dir)
    })
  })

  /** It happens, and its outcome is never told. */
  function losing (method: Method): typeof cluster.onRequest {
    let attempts = 0
    return (asked) => asked !== method ? undefined : ++attempts === 1 ? 'lose-answer' : new AtollError('ATOLL_UNAVAILABLE', 'away')
  }

  async function parentOf (dir: number): Promise<number> {
    const c = await cluster.client()
    return (await c.run(c.volume.readdir(dir, '', 1))).parent
  }

  function later (ms: number): Promise<void> { return new Promise((resolve) => { cluster.clock.setTimer(resolve, ms) }) }

  function late (ms: number): void {
    let isAway = true
    cluster.onTransaction = (step) => { if (isAway && (step === 'commit' || step === 'outcome')) throw new AtollError('ATOLL_UNAVAILABLE', 'away') }
    cluster.clock.setTimer(() => { isAway = false }, ms)
  }

  async function expectSame (...inos: number[]): Promise<void> {
    for (const ino of inos) {
      const known = await a.client.run(a.client.volume.getattr(ino))
      const names = (known.mode & 0o170000) === 0o040000 ? await a.client.names(ino) : null
      const c = await cluster.client()
      expect(await c.run(c.volume.getattr(ino))).to.deep.equal(known)
      if (names !== null) expect(await c.names(ino)).to.deep.equal(names)
    }
  }

  function nameIn (index: number, prefix: string): string {
    return Array.from({ length: 99 }, (_, at) => `${prefix}${at}`).find((each) => homeOfRootChild(each, partitions) === index)!
  }
})

function gate (): { opened: Promise<void>, open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { opened, open }
}
