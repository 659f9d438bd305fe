import { expect } from 'chai'
import { posixError } from '../../fsnode/protocol/errors.ts'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'

describe('client: one volume, one client', () => {
  let cluster: TestCluster
  let a: TestVolume

  beforeEach(async () => {
    cluster = await TestCluster.open()
    a = await cluster.client()
    cluster.resetCounts()
  })

  it('creates, writes and closes a small file in two messages', async () => {
    const ino = await a.run((async () => {
      const { file, created } = await a.volume.create(1, 'small', { mode: 0o640, exclusive: true }, me)
      expect(created).to.equal(true)
      await file.write(0, [Buffer.from('hello '), Buffer.from('world')])
      await file.flush()
      await file.release()
      return file.ino
    })())
    expect(cluster.requests).to.equal(2)
    const attr = await a.run(a.volume.getattr(ino))
    expect([attr.size, attr.uid, attr.gid, attr.mode & 0o7777, attr.nlink]).to.deep.equal([11, 10, 20, 0o640, 1])
    expect((await a.get('small')).toString()).to.equal('hello world')
    expect(cluster.requests).to.equal(2)
  })

  it('answers what it knows without messages: attributes, names, absent names, listings, links', async () => {
    const dir = await a.run(a.volume.mkdir(1, 'd', 0o755, me))
    for (let index = 0; index < 30; index++) await a.put(`f${index}`, `content ${index}`, dir.ino)
    await a.run(a.volume.symlink(dir.ino, 'link', 'f1', me))
    cluster.resetCounts()
    expect(await a.code(a.volume.lookup(dir.ino, 'nothing'))).to.equal('ENOENT')
    expect(await a.names(dir.ino)).to.have.length(31)
    expect((await a.get('f7', dir.ino)).toString()).to.equal('content 7')
    const link = await a.run(a.volume.lookup(dir.ino, 'link'))
    expect(await a.run(a.volume.readlink(link.ino))).to.equal('f1')
    expect(cluster.requests).to.equal(0)
  })

  it('reads nothing more after a listing: ls -l and grep -r cost the pages alone', async () => {
    const dir = await a.run(a.volume.mkdir(1, 'd', 0o755, me))
    for (let index = 0; index < 700; index++) await a.put(`file-${index}`, `${index}`, dir.ino)
    const b = await cluster.client()
    await a.run(a.volume.close())
    cluster.resetCounts()
    const names = await b.names(dir.ino)
    expect(names).to.have.length(700)
    expect(cluster.requests).to.equal(2)
    for (const name of names) {
      const attr = await b.run(b.volume.lookup(dir.ino, name))
      expect((await b.run(b.read(attr.ino))).toString()).to.equal(name.slice(5))
    }
    expect(await b.code(b.volume.lookup(dir.ino, 'file-700'))).to.equal('ENOENT')
    expect(cluster.requests).to.equal(2)
  })

  it('lists names in the order of their bytes, through changes and from any place', async () => {
    const names = ['b', 'a', '\u{1F600}', '\uFF5E', 'aa', 'B', '\u00e9']
    for (const name of names) await a.put(name, '')
    const ordered = [...names].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    expect(await a.names()).to.deep.equal(ordered)
    await a.run(a.volume.unlink(1, 'aa', me))
    await a.put('ab', '')
    const changed = [...names.filter((name) => name !== 'aa'), 'ab'].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
    expect(await a.names()).to.deep.equal(changed)
    const page = await a.run(a.volume.readdir(1, 'ab', 2))
    expect(page.entries.map((entry) => entry.name)).to.deep.equal(['b', '\u00e9'])
    const b = await cluster.client()
    const fresh = await b.run(b.volume.readdir(1, 'ab', 2))
    expect(fresh.entries.map((entry) => entry.name)).to.deep.equal(['b', '\u00e9'])
    expect(await b.names()).to.deep.equal(changed)
  })

  it('moves a growing file out of its record and keeps every byte', async () => {
    const content = pattern(10_000_000)
    const ino = await a.run((async () => {
      const { file } = await a.volume.create(1, 'grows', { mode: 0o644, exclusive: true }, me)
      for (let at = 0; at < content.length;) {
        const length = Math.min(at < 20_000 ? 5_000 : 300_000, content.length - at)
        await file.write(at, [content.subarray(at, at + length)])
        at += length
        if (at === 10_000) await file.flush()
      }
      expect((await a.volume.getattr(file.ino)).size).to.equal(content.length)
      await file.sync()
      await file.release()
      return file.ino
    })())
    // That of the first chunk when the content left the record.
    expect(cluster.count('data.sync')).to.equal(3)
    expect((await a.get('grows')).equals(content)).to.equal(true)
    const b = await cluster.client()
    expect((await b.get('grows')).equals(content)).to.equal(true)
    expect((await b.run(b.volume.getattr(ino))).isInline).to.equal(false)
  })

  it('makes the content of a small file durable in chunks before its record lets go of it', async () => {
    const order: string[] = []
    cluster.onRequest = (method) => { if (['data.write', 'data.sync', 'meta.commit'].includes(method)) order.push(method); return undefined }
    await a.put('new', pattern(20_000))
    expect(order).to.deep.equal(['data.write', 'meta.commit'])
    const ino = await a.put('grows', pattern(10_000))
    order.length = 0
    const file = await a.run(a.volume.open(ino, { write: true }))
    for (const at of [10_000, 20_000, 30_000]) {
      await a.run(file.write(at, [pattern(10_000)]))
      await a.run(file.flush())
    }
    expect(order).to.deep.equal(['data.write', 'data.sync', 'meta.commit', 'data.write', 'meta.commit', 'data.write', 'meta.commit'])
    await a.run(file.release())
  })

  it('a write to a small file whose content cannot be had fails, once, and the process goes on', async () => {
    const ino = await a.put('f', 'content')
    const file = await a.run(a.volume.open(ino, { write: true }))
    const fail = (failing: string): void => { cluster.onRequest = (method) => method === failing ? posixError('ESTALE') : undefined }
    fail('meta.commit')
    await a.run(file.write(0, [Buffer.from('lost')]))
    expect(await a.code(file.flush())).to.equal('ESTALE')
    cluster.onRequest = () => undefined
    await a.run(a.volume.setattr(ino, { mode: 0o600 }, me)) // the answer is without the content
    fail('meta.getattr')
    cluster.resetCounts()
    const unhandled: unknown[] = []
    const listener = (error: unknown): void => { unhandled.push(error) }
    process.on('unhandledRejection', listener)
    try {
      expect(await a.code(file.write(0, [Buffer.from('C')]))).to.equal('ESTALE')
      await new Promise((resolve) => { setImmediate(resolve) })
    } finally {
      process.off('unhandledRejection', listener)
    }
    expect([unhandled, cluster.count('meta.getattr')]).to.deep.equal([[], 1])
    await a.run(file.release())
  })

  it('a commit of small content does not stand for a write that is about to move it to chunks', async () => {
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(file.write(0, [Buffer.from('small')]))
    await a.run(Promise.all([file.flush(), file.write(50_000, [pattern(1_000)])]))
    await a.run(file.flush())
    await a.run(file.release())
    const read = await (await cluster.client()).get('f')
    expect([read.length, read.toString('latin1', 0, 5), read.subarray(50_000).equals(pattern(1_000))]).to.deep.equal([51_000, 'small', true])
  })

  it('keeps what is open and unlinked until the last handle is gone', async () => {
    await a.put('f', pattern(100_000))
    const { file, gone } = await a.run((async () => {
      const { ino } = await a.volume.lookup(1, 'f')
      const file = await a.volume.open(ino, { write: true })
      await a.volume.unlink(1, 'f', me)
      await file.write(100_000, [Buffer.from('more')])
      await file.flush()
      return { file, gone: await a.volume.getattr(ino) }
    })())
    expect(gone.nlink).to.equal(0)
    expect(await a.code(a.volume.lookup(1, 'f'))).to.equal('ENOENT')
    const bytes = Buffer.concat(await a.run(file.read(99_996, 100)))
    expect(bytes.equals(Buffer.concat([pattern(100_000).subarray(99_996), Buffer.from('more')]))).to.equal(true)
    await a.run(file.release())
    expect(cluster.count('meta.forget')).to.equal(1)
    expect(await a.code(a.volume.getattr(file.ino))).to.equal('ENOENT')
  })

  it('renames, exchanges and replaces; links share an inode', async () => {
    const dir = await a.run(a.volume.mkdir(1, 'd', 0o755, me))
    await a.put('x', 'X')
    await a.put('y', 'Y')
    await a.run(a.volume.rename(1, 'x', dir.ino, 'z', 0, me))
    expect(await a.code(a.volume.lookup(1, 'x'))).to.equal('ENOENT')
    expect((await a.get('z', dir.ino)).toString()).to.equal('X')
    expect(await a.code(a.volume.rename(1, 'y', dir.ino, 'z', 1, me))).to.equal('EEXIST')
    await a.run(a.volume.rename(1, 'y', dir.ino, 'z', 2, me))
    expect((await a.get('y')).toString() + (await a.get('z', dir.ino)).toString()).to.equal('XY')
    await a.run(a.volume.rename(dir.ino, 'z', 1, 'y', 0, me))
    expect((await a.get('y')).toString()).to.equal('Y')
    expect(await a.names(dir.ino)).to.deep.equal([])
    const { ino } = await a.run(a.volume.lookup(1, 'y'))
    expect((await a.run(a.volume.link(ino, dir.ino, 'also', me))).nlink).to.equal(2)
    await a.run(a.volume.unlink(1, 'y', me))
    expect((await a.run(a.volume.lookup(dir.ino, 'also'))).nlink).to.equal(1)
    expect(await a.code(a.volume.rmdir(1, 'd', me))).to.equal('ENOTEMPTY')
    await a.run(a.volume.unlink(dir.ino, 'also', me))
    await a.run(a.volume.rmdir(1, 'd', me))
    expect(await a.names()).to.deep.equal([])
  })

  it('cuts and extends, inline and in chunks, and shows zeros where nothing was written', async () => {
    for (const size of [100, 50_000]) {
      const name = `t${size}`
      const content = pattern(size)
      const ino = await a.put(name, content)
      await a.run(a.volume.setattr(ino, { size: size / 2 }, me))
      await a.run(a.volume.setattr(ino, { size: size * 2 }, me))
      const expected = Buffer.concat([content.subarray(0, size / 2), Buffer.alloc(size * 1.5)])
      expect((await a.get(name)).equals(expected), `${size}`).to.equal(true)
      const b = await cluster.client()
      expect((await b.get(name)).equals(expected), `${size} elsewhere`).to.equal(true)
    }
  })

  it('a write into a small file that was extended or cut leaves its size and shows no old bytes', async () => {
    for (const size of [19, 3]) {
      const written = await a.run((async () => {
        const { file } = await a.volume.create(1, `resized${size}`, { mode: 0o644, exclusive: true }, me)
        await file.write(0, [Buffer.from('12345678')])
        await file.flush()
        await a.volume.setattr(file.ino, { size }, me)
        await file.write(0, [Buffer.from('ab')])
        await file.flush()
        await file.release()
        return await a.read(file.ino)
      })())
      expect(written.toString()).to.equal('ab345678'.slice(0, size).padEnd(size, '\0'))
    }
  })

  it('sets times and modes of a file that is being written without losing either', async () => {
    const { attr, bytes } = await a.run((async () => {
      const { file } = await a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me)
      await file.write(0, [Buffer.from('data')])
      await a.volume.setattr(file.ino, { mode: 0o600, mtime: 5n }, me)
      await file.flush()
      await file.release()
      return { attr: await a.volume.getattr(file.ino), bytes: await a.read(file.ino) }
    })())
    expect([attr.mtime, attr.mode & 0o777, attr.size, bytes.toString()]).to.deep.equal([5n, 0o600, 4, 'data'])
  })

  it('remembers extended attributes and their absence', async () => {
    const ino = await a.put('f', '')
    cluster.resetCounts()
    for (let count = 0; count < 3; count++) expect(await a.code(a.volume.getxattr(ino, 'user.x'))).to.equal('ENODATA')
    expect(cluster.requests).to.equal(1)
    await a.run(a.volume.setxattr(ino, 'user.x', Buffer.from('1'), 0, me))
    expect((await a.run(a.volume.getxattr(ino, 'user.x'))).toString()).to.equal('1')
    expect(await a.run(a.volume.listxattr(ino))).to.deep.equal(['user.x'])
    await a.run(a.volume.removexattr(ino, 'user.x', me))
    expect(await a.code(a.volume.getxattr(ino, 'user.x'))).to.equal('ENODATA')
  })

  it('refuses what cannot be done, with the POSIX name', async () => {
    await a.put('f', '')
    const { ino } = await a.run(a.volume.lookup(1, 'f'))
    expect(await a.code(a.volume.open(1, { write: false }))).to.equal('EISDIR')
    expect(await a.code(a.volume.lookup(ino, 'x'))).to.equal('ENOTDIR')
    expect(await a.code(a.volume.lookup(1, 'x'.repeat(256)))).to.equal('ENAMETOOLONG')
    expect(await a.code(a.volume.mkdir(1, 'f', 0o755, me))).to.equal('EEXIST')
    expect(await a.code(a.volume.unlink(1, 'g', me))).to.equal('ENOENT')
    expect(await a.code(a.volume.getattr(123_456))).to.equal('ENOENT')
    expect(await a.code(a.volume.getattr(2 ** 52))).to.equal('ENOENT')
    expect(await a.code(a.volume.readlink(ino))).to.equal('EINVAL')
  })

  it('tells how full the cluster is', async () => {
    const stat = await a.run(a.volume.statfs())
    expect(stat.blocks * stat.blockSize).to.equal(15_000 * 1024 * 1024)
    expect(stat.blocksFree * stat.blockSize).to.equal(13_500 * 1024 * 1024)
  })
})
