import { expect } from 'chai'
import type { DirectoryEntry } from '../../fsnode/protocol/metadata.ts'
import { Cluster, type TestClient } from './harness.ts'

const directory = 0o040755

describe('the metadata service', () => {
  let cluster: Cluster
  let client: TestClient

  beforeEach(async () => {
    cluster = await Cluster.open()
    client = await cluster.client('a')
  })

  it('creates, finds, lists and removes', async () => {
    const { attr: dir, created, dirAttr } = await client.create(1, 'd', { mode: directory })
    expect([created, dir.nlink, dirAttr!.nlink, dir.uid]).to.deep.equal([true, 2, 3, 1])
    const { attr: file } = await client.create(dir.ino, 'f')
    const { attr: symlink } = await client.create(dir.ino, 'l', { mode: 0o120777, symlink: '../x' })
    expect((await client.call('meta.lookup', { dir: dir.ino, name: 'f' })).attr).to.deep.equal(file)
    expect((await client.call('meta.getattr', { ino: symlink.ino })).symlink).to.equal('../x')
    const listed = await client.call('meta.readdir', { dir: dir.ino, after: '', limit: 10 })
    expect(listed.entries.map(({ name, ino, attr }) => [name, ino, attr!.ino])).to.deep.equal([['f', file.ino, file.ino], ['l', symlink.ino, symlink.ino]])
    expect([listed.done, listed.parent]).to.deep.equal([true, 1])
    expect((await client.call('meta.statfs', {})).inodes).to.equal(4)
    const removed = await client.call('meta.unlink', { dir: dir.ino, name: 'f', open: false })
    expect([removed.ino, removed.attr]).to.deep.equal([file.ino, undefined])
    expect(await client.code(client.call('meta.rmdir', { dir: 1, name: 'd' }))).to.equal('ENOTEMPTY')
    await client.call('meta.unlink', { dir: dir.ino, name: 'l', open: false })
    await client.call('meta.rmdir', { dir: 1, name: 'd' })
    expect(await client.code(client.call('meta.lookup', { dir: 1, name: 'd' }))).to.equal('ENOENT')
    expect(await client.code(client.call('meta.readdir', { dir: dir.ino, after: '', limit: 10 }))).to.equal('ENOENT')
  })

  it('lists a big directory page by page in the order of the names\' bytes, written or not', async () => {
    const names = Array.from({ length: 150 }, (_, at) => `n${(at * 7919) % 1000}`)
    for (const name of names) await client.create(1, name)
    await cluster.clock.advance(100)
    for (let at = 0; at < 150; at += 3) await client.call('meta.unlink', { dir: 1, name: names[at]!, open: false })
    for (let at = 0; at < 10; at++) await client.create(1, `\u00e4${at}`)
    const expected = [...names.filter((_, at) => at % 3 !== 0), ...Array.from({ length: 10 }, (_, at) => `\u00e4${at}`)].sort()
    const found: DirectoryEntry[] = []
    for (let done = false; !done;) {
      const page = await client.call('meta.readdir', { dir: 1, after: found.at(-1)?.name ?? '', limit: 17 })
      expect(page.entries.length).to.be.at.most(17)
      found.push(...page.entries)
      done = page.done
    }
    expect(found.map(({ name }) => name)).to.deep.equal(expected)
  })

  it('keeps small contents in the record and sends them along', async () => {
    const { attr } = await client.create(1, 'f', { lease: 'exclusive' })
    const committed = await client.call('meta.commit', { ino: attr.ino, size: 5, mtime: 77n, inline: true }, 0, [Buffer.from('he'), Buffer.from('llo')])
    expect([committed.attr.size, committed.attr.mtime, committed.attr.isInline]).to.deep.equal([5, 77n, true])
    const found = await client.call('meta.lookup', { dir: 1, name: 'f' })
    const listed = await client.call('meta.readdir', { dir: 1, after: '', limit: 10 })
    for (const inline of [found.inline, listed.entries[0]!.inline, (await client.call('meta.getattr', { ino: attr.ino })).inline]) expect(inline!.toString()).to.equal('hello')
    const again = await client.create(1, 'f', { exclusive: false })
    expect([again.created, again.inline!.toString()]).to.deep.equal([false, 'hello'])
  })

  it('answers a repeated mutation with the first answer, also while the first is under way', async () => {
    const request = { dir: 1, name: 'f', mode: 0o100644, exclusive: true, lease: 'shared' as const, caller: { uid: 1, gid: 1 }, op: 100 }
    const [one, other] = await cluster.clock.run(Promise.all([client.start('meta.create', request), client.start('meta.create', request)]))
    expect(one).to.deep.equal(other)
    const late = await client.call('meta.create', request)
    expect([late.created, late.attr.ino]).to.deep.equal([true, one.attr.ino])
  })

  it('refuses requests of sessions it does not know, and of a replica that does not lead', async () => {
    const stranger = await cluster.client('b')
    await stranger.call('meta.close-session', {})
    expect(await client.code(stranger.call('meta.getattr', { ino: 1 }))).to.equal('ATOLL_SESSION_EXPIRED')
    const { partition } = cluster.leader(0)
    cluster.logs[0]!.elect(null)
    const error = await partition.opened().catch((error: unknown) => error) as { code: string }
    expect(error.code).to.equal('ATOLL_NOT_LEADER')
  })

  it('refuses what is no request, and goes on', async () => {
    const good = { dir: 1, name: 'f', mode: 0o100644, exclusive: true, lease: 'shared', caller: { uid: 1, gid: 1 } }
    const bad = [
      { dir: -1 }, { dir: NaN }, { dir: '1' }, { dir: 2 ** 60 }, { name: 5 }, { name: null }, { mode: -1 }, { mode: 'x' }, { caller: null },
      { caller: { uid: -1, gid: 0 } }, { op: 'x' }, { exclusive: 'y' }
    ]
    for (const fields of bad) expect(await client.code(client.call('meta.create', { ...good, ...fields } as never)), JSON.stringify(fields)).to.equal('ATOLL_BAD_MESSAGE')
    for (const fields of [{ atime: 5 }, { mtime: 2n ** 63n }, { uid: 1.5 }]) {
      expect(await client.code(client.call('meta.setattr', { ino: 1, ...fields } as never))).to.be.oneOf(['ATOLL_BAD_MESSAGE', 'EINVAL'])
    }
    expect(await client.code(client.call('meta.getattr', {} as never))).to.not.equal('well')
    expect(await client.code(client.call('meta.create', {} as never))).to.not.equal('well')
    expect((await client.call('meta.create', good as never)).created).to.equal(true)
    expect(cluster.leader(0).machine.store.inodes.get(1)!.entries).to.equal(1)
  })

  it('gives extended attributes back', async () => {
    await client.call('meta.setxattr', { ino: 1, name: 'user.a', value: Buffer.from('x'), flags: 0 })
    expect((await client.call('meta.listxattr', { ino: 1 })).names).to.deep.equal(['user.a'])
    expect((await client.call('meta.getxattr', { ino: 1, name: 'user.a' })).value.toString()).to.equal('x')
    await client.call('meta.removexattr', { ino: 1, name: 'user.a' })
    expect(await client.code(client.call('meta.getxattr', { ino: 1, name: 'user.a' }))).to.equal('ENODATA')
  })

  it('keeps an unlinked file while its own client has it open, and lists it as an orphan', async () => {
    const { attr } = await client.create(1, 'f')
    const removed = await client.call('meta.unlink', { dir: 1, name: 'f', open: true })
    expect(removed.attr!.nlink).to.equal(0)
    expect((await client.call('meta.orphans', {})).inos).to.deep.equal([attr.ino])
    await client.call('meta.forget', { ino: attr.ino })
    expect(await client.code(client.call('meta.getattr', { ino: attr.ino }))).to.equal('ENOENT')
  })

  it('replaces a file by rename and tells what became of it', async () => {
    const [one, other] = [await client.create(1, 'a'), await client.create(1, 'b')]
    const renamed = await client.call('meta.rename', { dir: 1, name: 'a', newDir: 1, newName: 'b', flags: 0, open: true })
    expect([renamed.ino, renamed.attr!.ino, renamed.replaced!.ino, renamed.replaced!.attr!.nlink]).to.deep.equal([one.attr.ino, one.attr.ino, other.attr.ino, 0])
    expect(renamed.newDirAttr!.nlink).to.equal(2)
  })
})

describe('the chunks of files', () => {
  let cluster: Cluster
  let client: TestClient
  let ino: number
  const setattr = (size: number) => client.call('meta.setattr', { ino, size })

  beforeEach(async () => {
    cluster = await Cluster.open()
    client = await cluster.client('a')
    ino = (await client.create(1, 'f', { lease: 'exclusive' })).attr.ino
  })

  const fill = async (extent: number, size: number) => {
    await client.call('meta.extent', { ino, extent })
    for (let chunk = 0; chunk < Math.ceil(extent / 1_000); chunk++) cluster.chunks.write(ino, chunk, Buffer.alloc(1_000, 'x'))
    return client.call('meta.commit', { ino, size, mtime: 5n, inline: false })
  }

  it('are cut before a truncation is answered', async () => {
    await fill(5_000, 4_800)
    const { attr } = await setattr(1_500)
    expect(cluster.chunks.of(ino)).to.deep.equal([0, 1])
    expect(cluster.chunks.chunks.get(`${ino}/1`)!.length).to.equal(500)
    expect([attr.size, attr.extent]).to.deep.equal([1_500, 1_500])
    const emptied = await setattr(0)
    expect([cluster.chunks.of(ino), emptied.attr.isInline]).to.deep.equal([[], true])
    // The size is durable: what was cut off must not come back with the power.
    expect(cluster.chunks.passing).to.equal(0)
  })

  it('hold no stale bytes where a file grows', async () => {
    await fill(5_000, 1_500)
    const { attr } = await setattr(3_000)
    expect(attr.size).to.equal(3_000)
    expect(cluster.chunks.of(ino)).to.deep.equal([0, 1])
    expect(cluster.chunks.chunks.get(`${ino}/1`)!.length).to.equal(500)
  })

  it('take the content of a small file that grows out of its record', async () => {
    await client.call('meta.commit', { ino, size: 5, mtime: 5n, inline: true }, 0, [Buffer.from('hello')])
    const { attr } = await setattr(2_000)
    expect([attr.size, attr.isInline, attr.extent]).to.deep.equal([2_000, false, 5])
    expect(cluster.chunks.chunks.get(`${ino}/0`)!.toString()).to.equal('hello')
  })

  it('that a vanished writer may have left beyond the end go before another writer begins', async () => {
    const other = await cluster.client('b')
    const { attr } = await other.create(1, 'g', { lease: 'exclusive' })
    await other.call('meta.extent', { ino: attr.ino, extent: 5_000 })
    await other.call('meta.commit', { ino: attr.ino, size: 500, mtime: 5n, inline: false })
    for (let chunk = 0; chunk < 5; chunk++) cluster.chunks.write(attr.ino, chunk, Buffer.alloc(1_000, 'x'))
    for (let at = 0; at < 8; at++) {
      await cluster.clock.advance(1_000)
      await client.call('meta.renew', {})
    }
    const leased = await client.call('meta.lease', { ino: attr.ino, mode: 'exclusive' })
    expect([cluster.chunks.of(attr.ino), leased.attr.extent]).to.deep.equal([[0], 500])
  })

  it('go after their file, once the data nodes can be reached', async () => {
    await fill(5_000, 4_800)
    cluster.chunks.failure = new Error('unreachable')
    await client.call('meta.unlink', { dir: 1, name: 'f', open: false })
    await cluster.clock.advance(5_000)
    expect(cluster.chunks.of(ino).length).to.equal(5)
    await cluster.client('c')
    expect(cluster.leader(0).machine.store.counters.garbage).to.equal(1)
    cluster.chunks.failure = null
    await cluster.clock.advance(15_000)
    expect([cluster.chunks.of(ino), cluster.leader(0).machine.store.counters.garbage]).to.deep.equal([[], 0])
  })

  it('are cut on by the next leader, and nobody touches the file before', async () => {
    cluster = await Cluster.open({ replicas: 2 })
    client = await cluster.client('a')
    ino = (await client.create(1, 'f', { lease: 'exclusive' })).attr.ino
    await fill(5_000, 4_800)
    let open = (): void => {}
    cluster.chunks.gate = new Promise((resolve) => { open = resolve })
    client.start('meta.setattr', { ino, size: 1_500 }).catch(() => {})
    await cluster.clock.until(() => cluster.leader(0).machine.store.truncations.all.size > 0)
    const log = cluster.logs[0]!
    log.elect(log.members[1]!)
    await cluster.clock.advance(10)
    await client.call('meta.claim', { shared: [], exclusive: [] })
    let answered = false
    const reading = client.start('meta.getattr', { ino }).then((answer) => { answered = true; return answer })
    await cluster.clock.advance(1_000)
    expect(answered).to.equal(false)
    open()
    const { attr } = await cluster.clock.run(reading)
    expect([attr.size, attr.extent, cluster.chunks.of(ino)]).to.deep.equal([1_500, 1_500, [0, 1]])
  })
})
