import { expect } from 'chai'
import type { CreateArgs } from '../../fsnode/metadata/operations/create.ts'
import { linksMax } from '../../fsnode/protocol/posix.ts'
import { Replica } from './harness.ts'

const directory = 0o040755
const regular = 0o100644

describe('metadata operations, as applied', () => {
  let replica: Replica
  let op = 0
  const create = (dir: number, name: string, given: Partial<CreateArgs> = {}) =>
    replica.run('create', { dir, name, mode: regular, uid: 1, gid: 1, exclusive: true, ...given })
  const made = (dir: number, name: string, given: Partial<CreateArgs> = {}): number => create(dir, name, given).ino!
  const inode = (ino: number) => replica.machine.store.inodes.get(ino)!
  const unlink = (dir: number, name: string, holders: string[] = []) => replica.run('unlink', { dir, name, holders })
  const rename = (dir: number, name: string, newDir: number, newName: string, flags = 0) =>
    replica.run('rename', { dir, name, newDir, newName, flags, holders: [] })

  beforeEach(async () => {
    replica = await Replica.formatted()
    op = 0
  })

  it('count a directory\'s links as two and one for each subdirectory', () => {
    const dir = made(1, 'd', { mode: directory })
    expect([inode(1).nlink, inode(dir).nlink]).to.deep.equal([3, 2])
    made(dir, 'e', { mode: directory })
    made(dir, 'f')
    expect(inode(dir).nlink).to.equal(3)
    expect(rename(dir, 'e', 1, 'e').code).to.equal(undefined)
    expect([inode(1).nlink, inode(dir).nlink]).to.deep.equal([4, 2])
    replica.run('rmdir', { dir: 1, name: 'e' })
    expect(inode(1).nlink).to.equal(3)
  })

  const cases: Array<[rule: string, code: string | undefined, run: () => { code?: string }]> = [
    ['an existing name: EEXIST', 'EEXIST', () => { create(1, 'a'); return create(1, 'a') }],
    ['an existing name, not exclusive: found', undefined, () => { create(1, 'a'); return create(1, 'a', { exclusive: false }) }],
    ['an existing directory, not exclusive: EISDIR', 'EISDIR', () => { create(1, 'a', { mode: directory }); return create(1, 'a', { exclusive: false }) }],
    ['in what is not there: ENOENT', 'ENOENT', () => create(99, 'a')],
    ['in a file: ENOTDIR', 'ENOTDIR', () => create(made(1, 'f'), 'a')],
    ['256 bytes of name: ENAMETOOLONG', 'ENAMETOOLONG', () => create(1, 'a'.repeat(256))],
    ['128 two-byte letters: ENAMETOOLONG', 'ENAMETOOLONG', () => create(1, '\u00e4'.repeat(128))],
    ['255 bytes of name: fine', undefined, () => create(1, '\u00e4'.repeat(127) + 'a')],
    ['a slash in the name: EINVAL', 'EINVAL', () => create(1, 'a/b')],
    ['dot: EINVAL', 'EINVAL', () => create(1, '.')],
    ['an unknown type: EINVAL', 'EINVAL', () => create(1, 'a', { mode: 0o644 })],
    ['a link target of 4096 bytes: ENAMETOOLONG', 'ENAMETOOLONG', () => create(1, 'a', { mode: 0o120777, symlink: 'x'.repeat(4096) })],
    ['unlink of nothing: ENOENT', 'ENOENT', () => unlink(1, 'a')],
    ['unlink of a directory: EISDIR', 'EISDIR', () => { create(1, 'd', { mode: directory }); return unlink(1, 'd') }],
    ['rmdir of a file: ENOTDIR', 'ENOTDIR', () => { create(1, 'f'); return replica.run('rmdir', { dir: 1, name: 'f' }) }],
    ['rmdir of a full directory: ENOTEMPTY', 'ENOTEMPTY', () => { create(made(1, 'd', { mode: directory }), 'f'); return replica.run('rmdir', { dir: 1, name: 'd' }) }],
    ['link to a directory: EPERM', 'EPERM', () => replica.run('link', { ino: made(1, 'd', { mode: directory }), dir: 1, name: 'e' })],
    ['link over a name: EEXIST', 'EEXIST', () => { create(1, 'b'); return replica.run('link', { ino: made(1, 'a'), dir: 1, name: 'b' }) }],
    ['rename of nothing: ENOENT', 'ENOENT', () => rename(1, 'a', 1, 'b')],
    ['rename of a file over a directory: EISDIR', 'EISDIR', () => { create(1, 'f'); create(1, 'd', { mode: directory }); return rename(1, 'f', 1, 'd') }],
    ['rename of a directory over a file: ENOTDIR', 'ENOTDIR', () => { create(1, 'f'); create(1, 'd', { mode: directory }); return rename(1, 'd', 1, 'f') }],
    ['rename over a full directory: ENOTEMPTY', 'ENOTEMPTY', () => { create(made(1, 'd', { mode: directory }), 'f'); create(1, 'e', { mode: directory }); return rename(1, 'e', 1, 'd') }],
    ['rename over an empty directory: fine', undefined, () => { create(1, 'd', { mode: directory }); create(1, 'e', { mode: directory }); return rename(1, 'e', 1, 'd') }],
    ['rename without replacing: EEXIST', 'EEXIST', () => { create(1, 'a'); create(1, 'b'); return rename(1, 'a', 1, 'b', 1) }],
    ['exchange with nothing: ENOENT', 'ENOENT', () => { create(1, 'a'); return rename(1, 'a', 1, 'b', 2) }],
    ['rename with both flags: EINVAL', 'EINVAL', () => { create(1, 'a'); create(1, 'b'); return rename(1, 'a', 1, 'b', 3) }],
    ['rename of a directory into itself: EINVAL', 'EINVAL', () => rename(1, 'd', made(1, 'd', { mode: directory }), 'x')],
    ['exchange of a directory with its descendant: EINVAL', 'EINVAL', () => { const d = made(1, 'd', { mode: directory }); const e = made(d, 'e', { mode: directory }); create(e, 'f', { mode: directory }); return rename(1, 'd', e, 'f', 2) }],
    ['exchange of a descendant with its ancestor: EINVAL', 'EINVAL', () => { const d = made(1, 'd', { mode: directory }); const e = made(d, 'e', { mode: directory }); create(e, 'f', { mode: directory }); return rename(e, 'f', 1, 'd', 2) }],
    ['truncate of a directory: EISDIR', 'EISDIR', () => replica.run('setattr', { ino: 1, size: 0 })],
    ['truncate to less than nothing: EINVAL', 'EINVAL', () => replica.run('setattr', { ino: made(1, 'f'), size: -1 })],
    ['truncate beyond what a size can say: EFBIG', 'EFBIG', () => replica.run('setattr', { ino: made(1, 'f'), size: 2 ** 60 })],
    ['an attribute that is not there: ENODATA', 'ENODATA', () => replica.run('removexattr', { ino: 1, name: 'user.a' })],
    ['replacing an attribute that is not there: ENODATA', 'ENODATA', () => replica.run('setxattr', { ino: 1, name: 'user.a', value: Buffer.alloc(1), flags: 2 })],
    ['an attribute name of 256 bytes: ERANGE', 'ERANGE', () => replica.run('setxattr', { ino: 1, name: 'a'.repeat(256), value: Buffer.alloc(1), flags: 0 })],
    ['an attribute of more than 64 KiB: E2BIG', 'E2BIG', () => replica.run('setxattr', { ino: 1, name: 'user.a', value: Buffer.alloc(65_537), flags: 0 })],
    ['a session that is not open: ATOLL_SESSION_EXPIRED', 'ATOLL_SESSION_EXPIRED', () => replica.run('forget', { ino: 1 }, 'nobody', 1)]
  ]
  for (const [rule, code, run] of cases) it(rule, () => { expect(run().code).to.equal(code) })

  it('refuse a change without any trace', () => {
    create(1, 'a')
    const before = JSON.stringify(inode(1), (_, value) => typeof value === 'bigint' ? String(value) : value)
    for (const failing of [() => create(1, 'a'), () => unlink(1, 'b'), () => rename(1, 'x', 1, 'a'), () => rename(1, 'a', 99, 'a')]) expect(failing().code).to.be.a('string')
    expect(JSON.stringify(inode(1), (_, value) => typeof value === 'bigint' ? String(value) : value)).to.equal(before)
  })

  it('let a set-group-ID directory pass its group on, and the bit to directories', () => {
    const dir = made(1, 'd', { mode: 0o042775, gid: 50 })
    const file = made(dir, 'f')
    const sub = made(dir, 's', { mode: directory })
    expect([inode(file).gid, inode(file).mode, inode(sub).gid, inode(sub).mode]).to.deep.equal([50, regular, 50, directory | 0o2000])
  })

  it('clear the privileges of a file whose owner changes', () => {
    const file = made(1, 'f', { mode: 0o106755 })
    const locked = made(1, 'l', { mode: 0o106645 })
    const dir = made(1, 'd', { mode: 0o046755 })
    for (const ino of [file, locked, dir]) replica.run('setattr', { ino, uid: 7 })
    expect([inode(file).mode, inode(locked).mode, inode(dir).mode]).to.deep.equal([0o100755, 0o102645, 0o046755])
  })

  it('set the times that POSIX says', () => {
    const file = made(1, 'f')
    const created = replica.time
    expect([inode(file).atime, inode(file).mtime, inode(file).ctime, inode(1).mtime, inode(1).ctime]).to.deep.equal(Array(5).fill(created))
    replica.run('setattr', { ino: file, mode: 0o600 })
    expect([inode(file).mtime, inode(file).ctime]).to.deep.equal([created, replica.time])
    replica.run('setattr', { ino: file, size: 5 })
    expect([inode(file).mtime, inode(file).ctime]).to.deep.equal([replica.time, replica.time])
    replica.run('setattr', { ino: file, mtime: 12n, atime: 13n })
    expect([inode(file).atime, inode(file).mtime, inode(file).ctime]).to.deep.equal([13n, 12n, replica.time])
    rename(1, 'f', 1, 'g')
    expect([inode(file).mtime, inode(file).ctime, inode(1).mtime]).to.deep.equal([12n, replica.time, replica.time])
    replica.run('link', { ino: file, dir: 1, name: 'h' })
    expect([inode(file).ctime, inode(file).nlink]).to.deep.equal([replica.time, 2])
    unlink(1, 'h')
    expect([inode(file).ctime, inode(file).nlink]).to.deep.equal([replica.time, 1])
  })

  it('do nothing when a file is renamed to another of its names', () => {
    const file = made(1, 'a')
    replica.run('link', { ino: file, dir: 1, name: 'b' })
    expect(rename(1, 'a', 1, 'b')).to.deep.equal({ ino: file, replaced: file })
    expect([replica.machine.store.entry(1, 'a')!.ino, inode(file).nlink]).to.deep.equal([file, 2])
  })

  it('exchange a file and a directory between directories with their link counts', () => {
    const [d, e] = [made(1, 'd', { mode: directory }), made(1, 'e', { mode: directory })]
    const [file, sub] = [made(d, 'x'), made(e, 'y', { mode: directory })]
    expect(rename(d, 'x', e, 'y', 2).code).to.equal(undefined)
    expect([replica.machine.store.entry(d, 'x')!.ino, replica.machine.store.entry(e, 'y')!.ino]).to.deep.equal([sub, file])
    expect([inode(d).nlink, inode(e).nlink, inode(sub).parent]).to.deep.equal([3, 2, d])
  })

  it('keep an unlinked file for those who have it open, until the last forgets it', () => {
    replica.run('open-session', { id: 't', client: 'other' })
    const file = made(1, 'f')
    unlink(1, 'f', ['s', 't', 'nobody'])
    expect(inode(file).nlink).to.equal(0)
    replica.run('forget', { ino: file }, 's', ++op)
    expect(inode(file)).to.not.equal(undefined)
    replica.run('end-session', { id: 't' })
    expect(inode(file)).to.equal(undefined)
    expect(replica.machine.store.orphans.all.size).to.equal(0)
  })

  it('leave the chunks of a removed file to be collected, and nothing of a small one', () => {
    const [big, small] = [made(1, 'big'), made(1, 'small')]
    replica.run('extent', { ino: big, extent: 5_000 })
    replica.run('commit', { ino: big, size: 4_500, mtime: 5n })
    replica.run('commit', { ino: small, size: 3, mtime: 5n, data: Buffer.from('abc') })
    unlink(1, 'big')
    unlink(1, 'small')
    const { store } = replica.machine
    expect([store.garbage.get(big), store.garbage.get(small), store.content.get(small), store.counters.garbage, store.counters.inodes])
      .to.deep.equal([5_000, undefined, undefined, 1, 1])
    replica.run('collect', { left: [[big, 2_000]] })
    expect(store.garbage.get(big)).to.equal(2_000)
    replica.run('collect', { left: [[big, 0]] })
    expect([store.garbage.get(big), store.counters.garbage]).to.deep.equal([undefined, 0])
  })

  it('cut and extend a small file in its record, and refuse to lose content that must leave it', () => {
    const file = made(1, 'f')
    replica.run('commit', { ino: file, size: 6, mtime: 5n, data: Buffer.from('abcdef') })
    replica.run('setattr', { ino: file, size: 3 })
    replica.run('setattr', { ino: file, size: 5 })
    const { store } = replica.machine
    expect(store.content.get(file)!.toString()).to.equal('abc\0\0')
    expect(replica.run('setattr', { ino: file, size: 101 }).code).to.equal('ATOLL_CONTENT_INLINE')
    expect([inode(file).size, inode(file).isInline]).to.deep.equal([5, true])
    replica.run('setattr', { ino: file, size: 101, moved: true })
    expect([inode(file).size, inode(file).isInline, store.content.get(file)]).to.deep.equal([101, false, undefined])
    const empty = made(1, 'e')
    replica.run('setattr', { ino: empty, size: 1_000_000 })
    expect([inode(empty).size, inode(empty).isInline, inode(empty).extent]).to.deep.equal([1_000_000, false, 0])
  })

  it('record what a truncation has to cut until that is done; an empty file is small again', () => {
    const file = made(1, 'f')
    replica.run('extent', { ino: file, extent: 5_000 })
    replica.run('commit', { ino: file, size: 4_500, mtime: 5n })
    const { truncations } = replica.machine.store
    replica.run('setattr', { ino: file, size: 1_500 })
    expect([inode(file).size, truncations.get(file)]).to.deep.equal([1_500, { from: 1_500, to: 5_000 }])
    replica.run('end-truncation', { ino: file, from: 1_500 })
    expect([inode(file).extent, inode(file).isInline, truncations.get(file)]).to.deep.equal([1_500, false, undefined])
    replica.run('setattr', { ino: file, size: 0 })
    replica.run('end-truncation', { ino: file, from: 0 })
    expect([inode(file).extent, inode(file).isInline]).to.deep.equal([0, true])
  })

  it('never let a late commit shorten a file of chunks, nor bring old chunks behind inline content', () => {
    const file = made(1, 'f')
    replica.run('extent', { ino: file, extent: 5_000 })
    replica.run('commit', { ino: file, size: 4_500, mtime: 5n })
    replica.run('commit', { ino: file, size: 10, mtime: 5n })
    expect(inode(file).size).to.equal(4_500)
    expect(replica.run('commit', { ino: file, size: 1, mtime: 5n, data: Buffer.from('x') }).code).to.equal('EINVAL')
  })

  it('keep extended attributes until they are removed or their inode is', () => {
    const file = made(1, 'f')
    const set = (name: string, value: string, flags = 0) => replica.run('setxattr', { ino: file, name, value: Buffer.from(value), flags })
    set('user.a', '1', 1)
    set('user.b', '2')
    expect(set('user.a', '3', 1).code).to.equal('EEXIST')
    set('user.a', '4', 2)
    replica.run('removexattr', { ino: file, name: 'user.b' })
    const { store } = replica.machine
    expect(store.xattrs.get(file)!.map(([name, value]) => `${name}=${String(value)}`)).to.deep.equal(['user.a=4'])
    expect(set('user.c', 'x'.repeat(65_536)).code).to.equal(undefined)
    expect(set('user.d', 'x'.repeat(65_536)).code).to.equal('ENOSPC')
    unlink(1, 'f')
    expect(store.xattrs.get(file)).to.equal(undefined)
  })

  it('bound the number of links', () => {
    const file = made(1, 'f')
    inode(file).nlink = linksMax
    expect(replica.run('link', { ino: file, dir: 1, name: 'g' }).code).to.equal('EMLINK')
  })

  it('answer a repeated operation with its first outcome, good or bad', () => {
    const first = replica.run('create', { dir: 1, name: 'a', mode: regular, uid: 1, gid: 1, exclusive: true }, 's', 1)
    expect(replica.run('create', { dir: 1, name: 'a', mode: regular, uid: 1, gid: 1, exclusive: true }, 's', 1)).to.deep.equal(first)
    expect(replica.run('unlink', { dir: 1, name: 'b', holders: [] }, 's', 2).code).to.equal('ENOENT')
    create(1, 'b')
    expect(replica.run('unlink', { dir: 1, name: 'b', holders: [] }, 's', 2).code).to.equal('ENOENT')
    expect(replica.machine.store.entry(1, 'b')).to.not.equal(undefined)
  })

  it('carry a transaction out once, however late its messages come', () => {
    const prepare = (sequence: number, watermark: number) => replica.run('prepare-transaction', {
      id: `1.${sequence}`, coordinator: '7.m.1', coordinatorIndex: 1, sequence, watermark, session: 's',
      parts: [{ kind: 'links', ino: file, change: 1, holders: [] }]
    })
    const file = made(1, 'f')
    const first = prepare(5, 5)
    expect(first.results![0]!.attr!.nlink).to.equal(2)
    expect(prepare(5, 5)).to.deep.equal(first)
    replica.run('finish-transaction', { id: '1.5', commit: true })
    replica.run('finish-transaction', { id: '1.5', commit: true })
    expect(inode(file).nlink).to.equal(2)
    expect(prepare(5, 5).code).to.equal('ATOLL_ABORTED')
    // Number 5 is over everywhere: its mark goes, its number is not taken again.
    prepare(6, 6)
    expect([...replica.machine.store.transactions.all.keys()]).to.deep.equal(['1.6'])
    expect(prepare(5, 5).code).to.equal('ATOLL_ABORTED')
    replica.run('finish-transaction', { id: '1.6', commit: false })
    replica.run('finish-transaction', { id: '1.6', commit: true })
    expect([inode(file).nlink, replica.machine.store.transactions.all.size]).to.deep.equal([2, 0])
  })

  it('keep of a small content no more memory than it has', () => {
    const ino = made(1, 'f')
    expect(replica.run('commit', { ino, size: 90, mtime: 1n, data: Buffer.alloc(90, 'x') }).code).to.equal(undefined)
    const kept = replica.machine.store.content.get(ino)!
    expect(kept.toString()).to.equal('x'.repeat(90))
    expect(kept.buffer.byteLength).to.be.at.most(2 * kept.length)
  })

  it('survive commands that make no sense', () => {
    for (const command of [Buffer.from([0xc1]), Buffer.from('hello'), Buffer.alloc(0)]) replica.feed({ index: replica.log.length + 1, term: 1, command })
    expect(replica.run('create', null as never).code).to.equal('ATOLL_INTERNAL')
    expect(create(1, 'a').created).to.equal(true)
  })
})
