import { expect } from 'chai'
import { AtollError, codeOf, posixError } from '../../fsnode/protocol/errors.ts'
import type { Method } from '../../fsnode/protocol/methods.ts'
import { replay } from '../../fuse/mount/replay.ts'
import { silent } from '../metadata/harness.ts'
import { losePower, me, pattern, TestCluster, type TestVolume } from './cluster.ts'
import { Machine } from './machine.ts'

describe('client: changes under exclusive leases', () => {
  let cluster: TestCluster
  let machine: Machine
  let a: TestVolume
  /** A directory that `a` has made, and so holds. */
  let dir: number

  beforeEach(async () => {
    cluster = await TestCluster.open()
    machine = new Machine(cluster, 'a')
    a = await machine.start()
    dir = await a.heldDirectory()
    cluster.resetCounts()
  })

  it('a hundred files are made, written, changed and renamed without a message, and travel in few', async () => {
    for (let at = 0; at < 100; at++) {
      const ino = await a.create(dir, `f${at}`, 'content')
      await a.run(a.volume.setattr(ino, { mode: 0o600, mtime: 7n }, me))
      await a.run(a.volume.rename(dir, `f${at}`, dir, `g${at}`, 0, me))
    }
    await a.run(a.volume.syncNames())
    expect(cluster.count('meta.changes')).to.be.within(1, 10)
    expect(cluster.requests).to.equal(cluster.count('meta.changes'))
  })

  it('the partition comes to the same attributes as the client did', async () => {
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.setattr(ino, { mode: 0o4711, mtime: 7n, atime: 8n }, me))
    await a.run(a.volume.setattr(ino, { uid: 3 }, me))
    await a.run(a.volume.link(ino, dir, 'other', me))
    await a.run(a.volume.rename(dir, 'other', dir, 'another', 0, me))
    await a.run(a.volume.symlink(dir, 's', 'target', me))
    const sub = await a.run(a.volume.mkdir(dir, 'sub', 0o2775, me))
    const inner = await a.run(a.volume.mkdir(sub.ino, 'inner', 0o700, { uid: 5, gid: 6 }))
    await a.run(a.volume.unlink(dir, 'f', me))
    const decided = new Map<number, unknown>()
    for (const each of [dir, ino, sub.ino, inner.ino, (await a.run(a.volume.lookup(dir, 's'))).ino]) decided.set(each, await a.run(a.volume.getattr(each)))
    const b = await cluster.client('b')
    for (const [each, attr] of decided) expect(await b.run(b.volume.getattr(each)), `inode ${each}`).to.deep.equal(attr)
    expect(await b.names(dir)).to.deep.equal(['another', 's', 'sub'])
  })

  it('what was decided is there before anybody else sees the directory', async () => {
    const b = await cluster.client('b')
    await a.create(dir, 'f', 'content')
    await a.run(a.volume.mkdir(dir, 'd', 0o755, me))
    expect(await b.names(dir)).to.deep.equal(['d', 'f'])
    expect((await b.get('f', dir)).toString()).to.equal('content')
    await a.run(a.volume.unlink(dir, 'f', me))
    expect(await b.code(b.volume.lookup(dir, 'f'))).to.equal('ENOENT')
  })

  it('of two that make the same name, one is refused, whoever holds the directory', async () => {
    const b = await cluster.client('b')
    await a.create(dir, 'f', 'content')
    expect(await b.code(b.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))).to.equal('EEXIST')
    await b.put('g', 'of b', dir)
    expect(await a.code(a.volume.create(dir, 'g', { mode: 0o644, exclusive: true }, me))).to.equal('EEXIST')
  })

  it('another client\'s removal of what was just made finds it', async () => {
    const b = await cluster.client('b')
    await a.run(a.volume.lookup(dir, 'f').catch(() => {}))
    await a.create(dir, 'f', 'content')
    await b.run(b.volume.unlink(dir, 'f', me))
    expect(await a.code(a.volume.lookup(dir, 'f'))).to.equal('ENOENT')
  })

  it('a crash loses nothing that was told: the next process gets it to the partition before it answers', async () => {
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.mkdir(dir, 'd', 0o755, me))
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    expect(await next.names(dir)).to.deep.equal(['d', 'f'])
    expect((await next.run(next.read(ino))).toString()).to.equal('content')
    expect(machine.store.records.size).to.equal(0)
  })

  it('nor one of a process that had lost a session before: the next one goes on with the session it had last', async () => {
    cluster.onRequest = (method) => ['meta.renew', 'meta.session'].includes(method) ? new AtollError('ATOLL_UNAVAILABLE', 'cut off') : undefined
    await cluster.endOverdueSessions()
    cluster.onRequest = () => undefined
    for (const name of ['one', 'two', 'three']) await a.run(a.volume.mkdir(dir, name, 0o755, me))
    await cluster.clock.advance(1_000)
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.mkdir(dir, 'd', 0o755, me))
    expect(machine.store.records.size).to.be.greaterThan(0)
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    expect(await next.names(dir)).to.deep.equal(['d', 'f', 'one', 'three', 'two'])
    expect((await next.run(next.read(ino))).toString()).to.equal('content')
    expect(machine.store.records.size).to.equal(0)
    // And whoever comes after that one does the same.
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    for (const name of ['4', '5', '6']) await next.run(next.volume.mkdir(dir, name, 0o755, me))
    machine.crash()
    cluster.onRequest = () => undefined
    expect(await (await machine.start()).names(dir)).to.include.members(['4', '5', '6'])
  })

  it('what was written is replayed while nobody else can have changed the file: whoever asks for it waits', async () => {
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.syncNames())
    const open = await a.run(a.volume.open(ino, { write: true }))
    await a.run(open.write(0, [Buffer.from('CONT')]))
    const b = await cluster.client('b')
    machine.crash()
    await cluster.changeLeader()
    const next = await machine.start()
    let seen = ''
    const looking = b.get('f', dir).then((bytes) => { seen = bytes.toString() })
    await cluster.clock.advance(1_000)
    expect(seen).to.equal('')
    expect((await cluster.run(replay(next.volume, machine.journal!, silent))).size).to.equal(0)
    await looking
    expect(seen).to.equal('CONTent')
  })

  it('what was written is not replayed over what others wrote when the session had ended', async () => {
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.syncNames())
    const open = await a.run(a.volume.open(ino, { write: true }))
    await a.run(open.write(0, [Buffer.from('CONT')]))
    machine.crash()
    await cluster.clock.advance(15_000)
    const b = await cluster.client('b')
    await b.put('f', 'of b', dir)
    const next = await machine.start()
    const lost = await cluster.run(replay(next.volume, machine.journal!, silent))
    expect([...lost.keys()]).to.deep.equal([ino])
    expect((await b.get('f', dir)).toString()).to.equal('of b')
    expect((await next.get('f', dir)).toString()).to.equal('of b')
    expect(machine.store.records.size).to.equal(0)
  })

  it('what was committed by a change that was given up with the session is told to be lost, too', async () => {
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.syncNames())
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    const open = await a.run(a.volume.open(ino, { write: true }))
    await a.run(open.write(0, [Buffer.from('CONT')]))
    await a.run(open.flush())
    const made = await a.create(dir, 'made', 'lost')
    expect(machine.journal!.recover()).to.deep.equal([])
    machine.crash()
    cluster.onRequest = () => undefined
    await cluster.endOverdueSessions()
    const next = await machine.start()
    const lost = await cluster.run(replay(next.volume, machine.journal!, silent))
    expect([...lost].map(([each, error]) => [each, (error as { code: string }).code])).to.have.deep.members([[ino, 'EIO'], [made, 'EIO']])
    expect((await next.get('f', dir)).toString()).to.equal('content')
    expect(await next.names(dir)).to.deep.equal(['f'])
  })

  it('what was committed here and is given up while the file is open is told at once, for a process that comes after', async () => {
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.syncNames())
    const lost: number[] = []
    a.volume.onLost = (each) => { lost.push(each) }
    const open = await a.run(a.volume.open(ino, { write: true }))
    await a.run(open.write(0, [Buffer.from('CONT')]))
    cluster.onRequest = (method) => method.startsWith('meta.') ? new AtollError('ATOLL_UNAVAILABLE', 'cut off') : undefined
    await cluster.endOverdueSessions()
    cluster.onRequest = () => undefined
    const b = await cluster.client('b')
    expect((await b.get('f', dir)).toString()).to.equal('content')
    await cluster.clock.advance(1_000)
    expect([...new Set(lost)]).to.deep.equal([ino])
    expect(await a.code(open.flush())).to.equal('EIO')
  })

  it('what was written in a later session than the first is replayed, but not what is from before one that was lost', async () => {
    const early = await a.create(dir, 'early', 'before')
    const late = await a.create(dir, 'late', 'before')
    await a.run(a.volume.syncNames())
    // Nothing of it gets to the nodes, nor to an end, before the session is lost.
    const isEarly = (method: Method, body: unknown): boolean => ['meta.lease', 'data.write'].includes(method) && (body as { ino?: number }).ino === early
    const cutOff = (isCut: (method: Method, body: unknown) => boolean): void => { cluster.onRequest = (method, body) => isCut(method, body) ? new AtollError('ATOLL_UNAVAILABLE', 'cut off') : undefined }
    cutOff(isEarly)
    const opened = await a.run(a.volume.open(early, { write: true }))
    await a.run(opened.write(0, [pattern(20_000)]))
    cutOff((method, body) => method.startsWith('meta.') || isEarly(method, body))
    await cluster.endOverdueSessions()
    cluster.onRequest = () => undefined
    const b = await cluster.client('b')
    await b.put('early', 'of b', dir)
    cutOff(isEarly)
    await cluster.clock.advance(2_000)
    const again = await a.run(a.volume.open(late, { write: true }))
    await a.run(again.write(0, [Buffer.from('LATE!!')]))
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    const lost = await cluster.run(replay(next.volume, machine.journal!, silent))
    expect([...lost.keys()]).to.deep.equal([early])
    expect((await b.get('early', dir)).toString()).to.equal('of b')
    expect((await b.get('late', dir)).toString()).to.equal('LATE!!')
    expect(machine.store.records.size).to.equal(0)
  })

  it('the operation that a crash interrupted has happened once when it comes again', async () => {
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    const again = { ...me, operationId: 77 }
    const { attr } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, again))
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    const found = await next.run(next.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, again))
    expect(found).to.deep.include({ created: true })
    expect(found.attr.ino).to.equal(attr.ino)
    expect(await next.code(next.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, { ...me, operationId: 78 }))).to.equal('EEXIST')
  })

  it('nor is it missing when another has removed what it made: a file is open without a name, and a directory was made', async () => {
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    const [created, made] = [{ ...me, operationId: 77 }, { ...me, operationId: 78 }]
    const { attr } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, created))
    await a.run(a.volume.mkdir(dir, 'd', 0o755, made))
    machine.crash()
    cluster.onRequest = () => undefined
    const next = await machine.start()
    const b = await cluster.client('b')
    await b.run(b.volume.unlink(dir, 'f', me))
    await b.run(b.volume.rmdir(dir, 'd', me))
    const found = await next.run(next.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, created))
    expect([found.created, found.attr.ino, found.attr.nlink]).to.deep.equal([true, attr.ino, 0])
    await next.run(found.file.write(0, [Buffer.from('content')]))
    expect(Buffer.concat(await next.run(found.file.read(0, 100))).toString()).to.equal('content')
    await next.run(found.file.release())
    expect(await next.code(next.volume.getattr(attr.ino))).to.equal('ENOENT')
    expect((await next.run(next.volume.mkdir(dir, 'd', 0o755, made))).nlink).to.equal(0)
    expect(await next.names(dir)).to.deep.equal([])
  })

  it('and is not said to have happened when its session ended before anybody knew', async () => {
    await a.create(dir, 'f', 'content')
    await a.run(a.volume.syncNames())
    cluster.onRequest = (method) => method === 'meta.changes' ? 'lose-request' : undefined
    await a.run(a.volume.unlink(dir, 'f', { ...me, operationId: 77 }))
    machine.crash()
    cluster.onRequest = () => undefined
    await cluster.endOverdueSessions()
    const next = await machine.start()
    expect(await next.code(next.volume.unlink(dir, 'f', { ...me, operationId: 77 }))).to.equal('EIO')
    expect(await next.names(dir)).to.deep.equal(['f'])
    await next.run(next.volume.unlink(dir, 'f', { ...me, operationId: 78 }))
    expect(await next.names(dir)).to.deep.equal([])
  })

  it('a lost answer and a new leader change nothing twice', async () => {
    let lost = 0
    cluster.onRequest = (method) => method === 'meta.changes' && lost++ < 2 ? 'lose-answer' : undefined
    const ino = await a.create(dir, 'f', 'content')
    await a.run(a.volume.link(ino, dir, 'g', me))
    await cluster.changeLeader()
    await a.run(a.volume.syncNames())
    const b = await cluster.client('b')
    expect(await b.names(dir)).to.deep.equal(['f', 'g'])
    expect((await b.run(b.volume.getattr(ino))).nlink).to.equal(2)
    expect(lost).to.be.greaterThan(2)
  })

  it('when the session ends first, what was told is given up, loudly, and the truth is shown', async () => {
    cluster.onRequest = (method) => ['meta.changes', 'meta.renew', 'meta.session'].includes(method) ? new AtollError('ATOLL_UNAVAILABLE', 'cut off') : undefined
    const ino = await a.create(dir, 'f', 'content')
    const opened = await a.run(a.volume.open(ino, { write: false }))
    await cluster.endOverdueSessions()
    cluster.onRequest = () => undefined
    await cluster.clock.advance(5_000)
    expect(await a.code(a.volume.lookup(dir, 'f'))).to.equal('ENOENT')
    expect(await a.code(opened.sync())).to.equal('EIO')
    expect(machine.store.records.size).to.equal(0)
    expect(a.invalidations, 'the name may be known above').to.deep.include({ ino: dir, what: 'entries' })
  })

  it('nor is it said that others changed the file when nobody did', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(a.volume.syncNames())
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await a.run(opened.write(0, [Buffer.from('committed here')]))
    await a.run(opened.flush())
    // The last ones under the lease are not committed when it has run out.
    for (let at = 0; at < 60; at++) {
      opened.write(at, [Buffer.from('x')]).catch(() => {})
      await cluster.clock.advance(100)
    }
    await cluster.endOverdueSessions()
    cluster.network.heal()
    await cluster.clock.advance(5_000)
    const error = await a.run(opened.sync().then(() => null, (reason) => reason))
    expect(error.code).to.equal('EIO')
    expect(error.message).to.include('lost with the session').and.not.include('others')
  })

  it('what others wrote meanwhile stands, though they changed the file as often as was given up', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(a.volume.syncNames())
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await a.run(opened.write(100_000, [Buffer.from('raises the extent')]))
    await cluster.endOverdueSessions()
    const b = await cluster.client('b')
    const other = await b.run(b.volume.open(opened.ino, { write: true }))
    await b.run(other.write(0, [Buffer.from('of another')]))
    await b.run(other.flush())
    await b.run(other.release())
    cluster.network.heal()
    await cluster.clock.advance(5_000)
    expect(await a.code(opened.sync())).to.equal('EIO')
    expect((await a.run(a.read(opened.ino))).toString()).to.equal('of another')
    expect((await b.run(b.read(opened.ino))).toString()).to.equal('of another')
  })

  it('a write beyond what a size can say is refused, and nothing that was told to have happened is given up', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(a.volume.create(dir, 'g', { mode: 0o644, exclusive: true }, me))
    expect(await a.code(opened.write(Number.MAX_SAFE_INTEGER - 1, [Buffer.from('x')]))).to.equal('EFBIG')
    await a.run(a.volume.setattr(opened.ino, { size: Number.MAX_SAFE_INTEGER }, me))
    await a.run(a.volume.create(dir, 'h', { mode: 0o644, exclusive: true }, me))
    expect(await a.code(opened.append!(0, [Buffer.from('x')]))).to.equal('EFBIG')
    await a.run(opened.write(0, [Buffer.from('within')]))
    await a.run(opened.sync())
    const b = await cluster.client('b')
    for (const name of ['f', 'g', 'h']) await b.run(b.volume.lookup(dir, name))
    expect((await b.run(b.volume.getattr(opened.ino))).size).to.equal(Number.MAX_SAFE_INTEGER)
  })

  it('a removal that was given up leaves it known which bytes are on no stable storage', async () => {
    const ino = await a.create(dir, 'f', 'x'.repeat(100_000))
    const other = await a.create(dir, 'g', 'x'.repeat(100_000))
    await a.run(a.volume.syncNames())
    cluster.onRequest = (method) => ['meta.changes', 'meta.renew', 'meta.session'].includes(method) ? new AtollError('ATOLL_UNAVAILABLE', 'cut off') : undefined
    await a.run(a.volume.unlink(dir, 'f', me))
    await a.run(a.volume.rename(dir, 'g', dir, 'h', 0, me))
    losePower(cluster)
    await cluster.endOverdueSessions()
    cluster.onRequest = () => undefined
    await cluster.clock.advance(5_000)
    expect(await a.names(dir)).to.deep.equal(['f', 'g'])
    for (const lost of [ino, other]) {
      const opened = await a.run(a.volume.open(lost, { write: true }))
      expect(await a.code(opened.sync())).to.equal('EIO')
      expect(await a.code(opened.sync())).to.equal('well')
      await a.run(opened.release())
    }
    // One that happened leaves nothing to be told.
    await a.create(dir, 'i', 'x'.repeat(100_000))
    await a.run(a.volume.unlink(dir, 'i', me))
    await a.run(a.volume.syncNames())
    losePower(cluster)
    expect(await a.code(a.volume.sync())).to.equal('well')
  })

  it('who knew names of a directory that is taken is told to forget them', async () => {
    const b = await cluster.client('b')
    await a.run(a.volume.syncNames())
    expect(await b.code(b.volume.lookup(dir, 'later'))).to.equal('ENOENT')
    await cluster.clock.advance(5_000)
    b.invalidations.length = 0
    for (const name of ['one', 'two', 'three']) await a.put(name, '', dir)
    await cluster.clock.advance(100)
    expect(b.invalidations).to.deep.include({ ino: dir, what: 'entries' })
  })

  it('a directory that is changed again and again is taken, and one that others want is left alone', async () => {
    const b = await cluster.client('b')
    const shared = (await b.run(b.volume.mkdir(1, 'shared', 0o755, me))).ino
    for (let at = 0; at < 3; at++) await a.put(`a${at}`, '', shared)
    await cluster.clock.advance(100)
    cluster.resetCounts()
    await a.put('held', '', shared)
    expect(cluster.count('meta.create')).to.equal(0)
    await b.put('b', '', shared)
    cluster.resetCounts()
    for (let at = 0; at < 5; at++) await a.put(`later${at}`, '', shared)
    expect(cluster.count('meta.create')).to.equal(5)
    expect((await b.names(shared)).length).to.equal(10)
  })

  it('a file beyond its record is closed at once, and read elsewhere as written', async () => {
    const content = Buffer.alloc(100_000, 'x')
    const { file: opened } = await a.run(a.volume.create(dir, 'big', { mode: 0o644, exclusive: true }, me))
    await a.run(opened.write(0, [content]))
    await a.run(opened.flushBehind!())
    expect(cluster.count('data.write')).to.equal(0)
    await a.run(opened.release())
    await a.run(a.volume.setattr(opened.ino, { mtime: 7n }, me))
    const b = await cluster.client('b')
    expect(await b.get('big', dir)).to.deep.equal(content)
    expect((await b.run(b.volume.getattr(opened.ino))).mtime).to.equal(7n)
  })

  for (const [what, bytes] of [['a little', 300], ['more than a record holds', 100_000]] as const) {
    it(`what is written to a file that stays open, ${what}, is not lost with the machine a second later`, async () => {
      const { file: open } = await a.run(a.volume.create(dir, 'log', { mode: 0o644, exclusive: true }, me))
      await a.run(open.write(0, [pattern(bytes)]))
      await cluster.clock.advance(500)
      await a.run(open.write(bytes, [pattern(bytes, 2)]))
      await cluster.clock.advance(1_600)
      machine.crash()
      await cluster.clock.advance(15_000)
      const b = await cluster.client('b')
      expect((await b.get('log', dir)).equals(Buffer.concat([pattern(bytes), pattern(bytes, 2)]))).to.equal(true)
    })
  }

  it('a stream that ends while a commit of it is under way is not lost with the machine either', async () => {
    const { file: open } = await a.run(a.volume.create(dir, 'log', { mode: 0o644, exclusive: true }, me))
    const { held } = (a.volume as unknown as { context: { held: { commit: () => null } } }).context
    held.commit = () => null // as when changes of the inode are under way: it is the partition that commits
    cluster.onRequest = async (method) => {
      if (method === 'meta.commit') await new Promise<void>((resolve) => { cluster.clock.setTimer(resolve, 600) })
      return undefined
    }
    const written = Array.from({ length: 22 }, (_, index) => pattern(1024 * 1024, index))
    for (const [index, bytes] of written.entries()) {
      await a.run(open.write(index * bytes.length, [bytes]))
      await cluster.clock.advance(50)
    }
    await cluster.clock.advance(5_000)
    machine.crash()
    await cluster.clock.advance(15_000)
    const b = await cluster.client('b')
    expect((await b.get('log', dir)).equals(Buffer.concat(written))).to.equal(true)
  })

  it('the closing of a file need not be heard of while there is plenty of room; when that goes, writes wait for the nodes instead', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    expect(opened.closeUnheard!()).to.equal(true)
    await a.run(opened.write(0, [Buffer.alloc(100_000, 'x')]))
    expect(cluster.count('data.write')).to.equal(0)
    cluster.map = { ...cluster.map, version: cluster.map.version + 1, nodes: cluster.map.nodes.map((node) => ({ ...node, usedBytes: node.capacityBytes * 0.95 })) }
    await cluster.clock.advance(60_000)
    const before = cluster.count('data.write')
    await a.run(opened.write(100_000, [Buffer.alloc(100_000, 'y')]))
    expect(cluster.count('data.write')).to.be.greaterThan(before)
    cluster.onRequest = (method) => method === 'data.write' ? posixError('ENOSPC') : undefined
    expect(await a.run(opened.write(200_000, [Buffer.alloc(100_000, 'z')]).then(() => 'none', codeOf))).to.equal('ENOSPC')
    const reader = await a.run(a.volume.open(opened.ino, { write: false }))
    const writer = await a.run(a.volume.open(opened.ino, { write: true }))
    expect([reader.closeUnheard!(), writer.closeUnheard!()]).to.deep.equal([true, false])
  })

  it('a file that replaces another is written before it does', async () => {
    await a.create(dir, 'old', 'old')
    const { file: opened } = await a.run(a.volume.create(dir, 'new', { mode: 0o644, exclusive: true }, me))
    await a.run(opened.write(0, [Buffer.alloc(100_000, 'n')]))
    await a.run(opened.flushBehind!())
    await a.run(opened.release())
    await a.run(a.volume.rename(dir, 'new', dir, 'old', 0, me))
    expect(cluster.count('data.write')).to.be.greaterThan(0)
    expect((await a.get('old', dir)).length).to.equal(100_000)
  })

  it('that take the last names of files which the others have open do not wait for each other', async () => {
    const b = await new Machine(cluster, 'b').start()
    const owners = [{ client: a, dir, name: 'x' }, { client: b, dir: await b.heldDirectory('top-of-b'), name: 'y' }]
    const inos: number[] = []
    for (const { client, dir, name } of owners) {
      const { file } = await client.run(client.volume.create(dir, name, { mode: 0o644, exclusive: true }, me))
      await client.run(file.release())
      await client.run(client.volume.syncNames())
      inos.push(file.ino)
    }
    const opened = await cluster.run(Promise.all(owners.map(({ client }, at) => client.volume.open(inos[1 - at]!, { write: false }))))
    // Each has its own file for itself again; the other one has it open without a lease.
    for (const [at, { client, dir, name }] of owners.entries()) {
      const file = await client.run(client.volume.open(inos[at]!, { write: true }))
      await client.run(file.write(0, [Buffer.from('content')]))
      await client.run(file.flush())
      await client.run(file.release())
      await client.run(client.volume.setattr(dir, { mode: 0o700 }, me))
      await client.run(client.volume.lookup(dir, name))
      await client.run(client.volume.getattr(inos[at]!))
    }
    await cluster.clock.advance(1_000)
    for (const { client } of owners) await client.run(client.volume.syncNames())
    cluster.resetCounts()
    await cluster.run(Promise.all(owners.map(({ client, dir, name }) => client.volume.unlink(dir, name, me))))
    expect(cluster.requests, 'it is the holders that decide').to.equal(0)
    const begun = cluster.clock.now()
    await cluster.run(Promise.all(owners.map(({ client }) => client.volume.syncNames())))
    expect(cluster.clock.now() - begun, 'milliseconds').to.be.lessThan(1_000)
    for (const [at, { client }] of owners.entries()) {
      expect(Buffer.concat(await client.run(opened[at]!.read(0, 100))).toString()).to.equal('content')
      await client.run(opened[at]!.release())
    }
  })

  it('an inode that was removed stays so, whatever answers were still on their way', async () => {
    const b = await cluster.client('b')
    const shared = (await b.run(b.volume.mkdir(1, 'shared', 0o755, me))).ino
    const gone = await a.put('gone', '', shared)
    const sub = (await a.run(a.volume.mkdir(shared, 'sub', 0o755, me))).ino
    await a.run(a.volume.getattr(sub))
    const removals: Array<Promise<void>> = []
    // When it is taken, its names are read: the removals are decided while the answer is on its way.
    cluster.onRequest = (method, { dir: listed }) => {
      if (method !== 'meta.readdir' || listed !== shared || removals.length > 0) return undefined
      removals.push(a.volume.unlink(shared, 'gone', me), a.volume.rmdir(shared, 'sub', me))
      cluster.resetCounts()
      return undefined
    }
    await a.run(a.volume.mknod(shared, 'other', 0o100644, 0, me))
    await cluster.clock.advance(3)
    expect(removals).to.have.length(2)
    expect(cluster.count('meta.unlink') + cluster.count('meta.rmdir'), 'it is the holder that decides').to.equal(0)
    await cluster.run(Promise.all(removals))
    await cluster.clock.advance(100)
    for (const ino of [gone, sub]) expect(await a.code(a.volume.getattr(ino))).to.equal('ENOENT')
  })
})
