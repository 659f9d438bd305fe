import { expect } from 'chai'
import { leaseDurationMs } from '../../fsnode/metadata/constants.ts'
import { LeaseTable } from '../../fsnode/metadata/leases.ts'
import { Intents } from '../../fsnode/metadata/intents.ts'
import { Cluster, TestClient } from './harness.ts'

describe('the lease table', () => {
  it('knows who conflicts with whom', () => {
    const table = new LeaseTable()
    table.grant('a', 5, 'shared')
    expect([table.conflicts('b', 5, 'shared'), table.conflicts('b', 5, 'exclusive'), table.conflicts('a', 5, 'exclusive')]).to.deep.equal([false, true, false])
    table.grant('a', 5, 'exclusive')
    table.grant('a', 5, 'shared')
    expect([table.of('a', 5), table.conflicts('b', 5, 'shared')]).to.deep.equal(['exclusive', true])
    table.lower('a', 5, 'shared', true)
    expect(table.of('a', 5)).to.equal('shared')
    table.lower('a', 5, 'none', true)
    expect([table.of('a', 5), table.conflicts('b', 5, 'exclusive'), table.size]).to.deep.equal(['open', false, 1])
    table.grant('b', 5, 'shared')
    table.dropSession('a')
    expect([table.of('a', 5), table.of('b', 5), table.size]).to.deep.equal([undefined, 'shared', 1])
  })
})

describe('intents', () => {
  it('let changes of one directory run side by side, but not beside a listing', async () => {
    const intents = new Intents()
    const change = [{ key: 1, mode: 'change' as const }]
    expect(intents.tryTake(change, intents.ticket())).to.equal(null)
    expect(intents.tryTake(change, intents.ticket())).to.equal(null)
    const reader = intents.ticket()
    const wait = intents.tryTake([{ key: 1, mode: 'read' }], reader)
    expect(wait).to.not.equal(null)
    // A change that comes later waits behind the listing that waits: a busy directory can still be listed.
    expect(intents.tryTake(change, intents.ticket())).to.not.equal(null)
    intents.release(change)
    intents.release(change)
    await wait
    expect(intents.tryTake([{ key: 1, mode: 'read' }], reader)).to.equal(null)
    expect(intents.blocked(1, 'look', intents.ticket())).to.equal(null)
  })

  it('wake who came just before a reader went on, which releases nothing', async () => {
    const intents = new Intents()
    const write = [{ key: 1, mode: 'write' as const }]
    intents.tryTake(write, intents.ticket())
    const reader = intents.blocked(1, 'read', intents.ticket())
    intents.release(write)
    const late = intents.ticket()
    const wait = intents.tryTake(write, late)
    expect(wait).to.not.equal(null)
    await reader
    await wait
    expect(intents.tryTake(write, late)).to.equal(null)
    intents.release(write)
    expect(intents.size).to.equal(0)
  })

  it('take all or nothing', () => {
    const intents = new Intents()
    intents.tryTake([{ key: 2, mode: 'write' }], 1)
    intents.tryTake([{ key: 1, mode: 'write' }, { key: 2, mode: 'write' }], 2)
    expect(intents.isTaken(1, 'write')).to.equal(false)
  })
})

describe('leases', () => {
  let cluster: Cluster
  let a: TestClient
  let b: TestClient

  beforeEach(async () => {
    cluster = await Cluster.open()
    a = await cluster.client('a')
    b = await cluster.client('b')
  })

  const holds = (client: TestClient, ino: number) => cluster.leader(0).partition.opened().then((leader) => leader.leases.of(client.name, ino))

  it('on what others read are recalled before a change, the changer\'s own are not', async () => {
    const { attr } = await a.create(1, 'f')
    await b.call('meta.getattr', { ino: attr.ino })
    await a.call('meta.setattr', { ino: attr.ino, mode: 0o600 })
    expect(b.recalls).to.deep.equal([{ partition: '7.m.0', ino: attr.ino, to: 'none' }])
    expect(a.recalls).to.deep.equal([])
    expect([await holds(a, attr.ino), await holds(b, attr.ino)]).to.deep.equal(['shared', undefined])
  })

  it('on a directory stay with others when a name changes: they drop the name', async () => {
    await b.code(b.call('meta.lookup', { dir: 1, name: 'f' }))
    await a.create(1, 'f')
    expect(b.recalls).to.deep.equal([{ partition: '7.m.0', ino: 1, to: 'shared', names: ['f'] }])
    expect(await holds(b, 1)).to.equal('shared')
    await a.call('meta.rename', { dir: 1, name: 'f', newDir: 1, newName: 'g', flags: 0, open: false })
    expect(b.recalls.slice(1).map(({ names }) => names!).flat().sort()).to.deep.equal(['f', 'g'])
  })

  it('held exclusively are written back before another reads, who sees the result', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    a.onRecall = async () => { await a.start('meta.commit', { ino: attr.ino, size: 3, mtime: 9n, inline: true }, 0, [Buffer.from('new')]) }
    const read = await b.call('meta.getattr', { ino: attr.ino })
    expect([read.attr.size, read.inline!.toString()]).to.deep.equal([3, 'new'])
    expect(a.recalls).to.deep.equal([{ partition: '7.m.0', ino: attr.ino, to: 'shared' }])
    expect([await holds(a, attr.ino), await holds(b, attr.ino)]).to.deep.equal(['shared', 'shared'])
    const looked = await b.call('meta.lookup', { dir: 1, name: 'f' })
    expect([looked.attr!.size, a.recalls.length]).to.deep.equal([3, 1])
  })

  it('held exclusively are written back before another changes the file', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    a.onRecall = async () => { await a.start('meta.commit', { ino: attr.ino, size: 3, mtime: 9n, inline: true }, 0, [Buffer.from('new')]) }
    const changed = await b.call('meta.setattr', { ino: attr.ino, mode: 0o600 })
    expect([changed.attr.size, changed.attr.mode]).to.deep.equal([3, 0o100600])
    expect([await holds(a, attr.ino), await holds(b, attr.ino)]).to.deep.equal([undefined, 'shared'])
  })

  it('are granted exclusively to one after the other', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    let size = 0
    for (const client of [a, b]) {
      client.onRecall = async () => {
        if (await holds(client, attr.ino) !== 'exclusive') return
        await client.start('meta.commit', { ino: attr.ino, size: ++size, mtime: 9n, inline: true }, 0, [Buffer.alloc(size)])
      }
    }
    for (let turn = 0; turn < 5; turn++) {
      const [one, other] = await cluster.clock.run(Promise.all([a.start('meta.lease', { ino: attr.ino, mode: 'exclusive' }), b.start('meta.lease', { ino: attr.ino, mode: 'exclusive' })]))
      expect(Math.max(one.attr.size, other.attr.size)).to.equal(size)
      const held = [await holds(a, attr.ino), await holds(b, attr.ino)]
      expect(held.filter((mode) => mode === 'exclusive').length).to.equal(1)
    }
    expect(size).to.be.at.least(5)
  })

  it('let the listing of a directory pass files that somebody writes, without attributes', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    const { entries } = await b.call('meta.readdir', { dir: 1, after: '', limit: 10 })
    expect(entries).to.deep.equal([{ name: 'f', ino: attr.ino, type: 0o100000 }])
    expect(a.recalls.filter(({ ino }) => ino === attr.ino)).to.deep.equal([])
  })

  it('are not granted on what is about to change: the read waits and sees the change', async () => {
    const { attr } = await a.create(1, 'f')
    await b.call('meta.getattr', { ino: attr.ino })
    let release = (): void => {}
    b.onRecall = () => new Promise((resolve) => { release = resolve })
    const change = a.start('meta.setattr', { ino: attr.ino, mode: 0o600 })
    await cluster.clock.until(() => b.recalls.length > 0)
    const c = await cluster.client('c')
    const read = c.start('meta.getattr', { ino: attr.ino })
    const found = c.start('meta.lookup', { dir: 1, name: 'f' })
    await cluster.clock.advance(100)
    release()
    await cluster.clock.run(change)
    expect((await cluster.clock.run(read)).attr.mode).to.equal(0o100600)
    expect((await cluster.clock.run(found)).attr!.mode).to.equal(0o100600)
  })

  it('of a client that does not answer end with its time, and so does its session', async () => {
    const { attr } = await b.create(1, 'f', { lease: 'exclusive' })
    cluster.network.cut('b', 'n0')
    const started = cluster.clock.now()
    const changing = a.start('meta.setattr', { ino: attr.ino, mode: 0o600 })
    const renewing = cluster.keepRenewing(a)
    await cluster.clock.run(changing)
    renewing.stop()
    const waited = cluster.clock.now() - started
    expect(waited).to.be.within(leaseDurationMs - 100, leaseDurationMs + 600)
    cluster.network.heal()
    expect(await b.code(b.call('meta.commit', { ino: attr.ino, size: 1, mtime: 1n, inline: false }))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('are recalled on the client\'s new connection when the old one breaks', async () => {
    const { attr } = await b.create(1, 'f', { lease: 'exclusive' })
    b.onRecall = async () => { if (b.recalls.length === 1) await new Promise(() => {}) }
    const changing = a.start('meta.setattr', { ino: attr.ino, mode: 0o600 })
    await cluster.clock.until(() => b.recalls.length === 1)
    cluster.network.crash('b')
    await cluster.clock.advance(10)
    await b.call('meta.renew', {})
    const started = cluster.clock.now()
    await cluster.clock.run(changing)
    expect([b.recalls.length, cluster.clock.now() - started < 1_000]).to.deep.equal([2, true])
  })

  it('tell who has a file open when it is unlinked, even without a lease', async () => {
    const opener = await cluster.client('o', { open: () => true })
    const { attr } = await a.create(1, 'f')
    await opener.call('meta.getattr', { ino: attr.ino })
    await a.call('meta.setattr', { ino: attr.ino, mode: 0o600 })
    expect(await holds(opener, attr.ino)).to.equal('open')
    const removed = await a.call('meta.unlink', { dir: 1, name: 'f', open: false })
    expect(removed.attr!.nlink).to.equal(0)
    expect((await opener.call('meta.orphans', {})).inos).to.deep.equal([attr.ino])
    await opener.call('meta.forget', { ino: attr.ino })
    expect(cluster.leader(0).machine.store.inodes.get(attr.ino)).to.equal(undefined)
  })

  it('are dropped when the client gives them back', async () => {
    const { attr } = await b.create(1, 'f')
    await b.call('meta.release', { inos: [attr.ino, 1] })
    await a.call('meta.setattr', { ino: attr.ino, mode: 0o600 })
    expect(b.recalls).to.deep.equal([])
  })

  it('on a directory come with the directory\'s attributes only while nobody else changes it', async () => {
    const known = new Map<TestClient, number>()
    for (const client of [a, b]) client.onRecall = async ({ ino }) => { if (ino === 1) known.delete(client) }
    const create = async (client: TestClient, name: string): Promise<void> => {
      const { dirAttr } = await client.start('meta.create', { dir: 1, name, mode: 0o100644, exclusive: true, lease: 'shared', caller: { uid: 1, gid: 1 } })
      if (dirAttr !== undefined) known.set(client, Math.max(dirAttr.version, known.get(client) ?? 0))
    }
    const { store } = cluster.leader(0).machine
    let withAttributes = 0
    for (let round = 0; round < 10; round++) {
      await cluster.clock.run(Promise.all([a, b].flatMap((client) => [0, 1, 2].map((at) => create(client, `${client.name}${round}.${at}`)))))
      await cluster.clock.run(create(round % 2 === 0 ? a : b, `last${round}`))
      withAttributes += known.size
      for (const version of known.values()) expect(version).to.equal(store.inodes.get(1)!.version)
    }
    expect(withAttributes).to.be.at.least(10)
    expect(store.inodes.get(1)!.entries).to.equal(70)
  })
})

describe('a new leader', () => {
  let cluster: Cluster
  let a: TestClient
  const change = (index: number) => {
    const log = cluster.logs[0]!
    log.elect(log.members[index]!)
  }

  beforeEach(async () => {
    cluster = await Cluster.open({ replicas: 2 })
    a = await cluster.client('a')
  })

  it('serves the only client at once, and keeps what it claims', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    const { term } = await a.call('meta.renew', {})
    change(1)
    const started = cluster.clock.now()
    await a.create(1, 'g')
    expect(cluster.clock.now() - started).to.be.lessThan(20)
    expect((await a.call('meta.renew', {})).term).to.equal(term + 1)
    await a.call('meta.claim', { shared: [1], exclusive: [attr.ino] })
    const b = await cluster.client('b')
    a.onRecall = async () => { await a.start('meta.commit', { ino: attr.ino, size: 1, mtime: 9n, inline: true }, 0, [Buffer.from('x')]) }
    expect((await b.call('meta.getattr', { ino: attr.ino })).attr.size).to.equal(1)
  })

  it('lets nobody pass until every other session has claimed its leases', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    const b = await cluster.client('b')
    change(1)
    let answered = false
    const reading = b.start('meta.getattr', { ino: attr.ino }).then((answer) => { answered = true; return answer })
    await cluster.clock.advance(1_000)
    expect(answered).to.equal(false)
    a.onRecall = async () => { await a.start('meta.commit', { ino: attr.ino, size: 2, mtime: 9n, inline: true }, 0, [Buffer.from('xy')]) }
    await a.call('meta.claim', { shared: [], exclusive: [attr.ino] })
    expect((await cluster.clock.run(reading)).attr.size).to.equal(2)
  })

  it('goes on without a session that neither claims nor renews, after its time', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    const b = await cluster.client('b')
    change(1)
    cluster.network.cut('a', 'n1')
    const started = cluster.clock.now()
    const renewing = cluster.keepRenewing(b)
    const reading = b.start('meta.getattr', { ino: attr.ino })
    await cluster.clock.run(reading)
    renewing.stop()
    expect(cluster.clock.now() - started).to.be.within(leaseDurationMs, leaseDurationMs + 1_000)
    cluster.network.heal()
    expect(await a.code(a.call('meta.claim', { shared: [], exclusive: [attr.ino] }))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('waits for no claim of a client that never heard of its session, and keeps it', async () => {
    cluster.logs[0]!.members[0]!.deaf = true
    const late = new TestClient(cluster, 'late', () => false)
    late.openSession(0).catch(() => {})
    await cluster.clock.until(() => cluster.leader(0).machine.store.sessions.get('late') !== undefined)
    change(1)
    await a.call('meta.claim', { shared: [], exclusive: [] })
    await late.openSession(0)
    const started = cluster.clock.now()
    await a.create(1, 'f')
    expect(cluster.clock.now() - started).to.be.lessThan(20)
    const renewing = cluster.keepRenewing(late)
    await cluster.clock.advance(leaseDurationMs + 1_000)
    renewing.stop()
    expect((await late.call('meta.lookup', { dir: 1, name: 'f' })).attr!.nlink).to.equal(1)
  })

  it('refuses a claim that comes after somebody was granted what conflicts', async () => {
    const { attr } = await a.create(1, 'f', { lease: 'exclusive' })
    const b = await cluster.client('b')
    change(1)
    const renewing = cluster.keepRenewing(a, b)
    await cluster.clock.run(b.start('meta.getattr', { ino: attr.ino }))
    renewing.stop()
    expect(await a.code(a.call('meta.claim', { shared: [], exclusive: [attr.ino] }))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('gives the first answer to what an earlier leader had applied without answering', async () => {
    const log = cluster.logs[0]!
    log.members[0]!.deaf = true
    const request = { dir: 1, name: 'f', mode: 0o100644, exclusive: true, lease: 'shared' as const, caller: { uid: 1, gid: 1 }, op: 50 }
    a.start('meta.create', request).catch(() => {})
    await cluster.clock.until(() => cluster.leader(0).machine.store.entry(1, 'f') !== undefined)
    change(1)
    const { attr, created } = await a.call('meta.create', request)
    expect([created, attr.ino]).to.deep.equal([true, cluster.leader(0).machine.store.entry(1, 'f')!.ino])
  })

  it('fails what waits on the old one with ATOLL_NOT_LEADER', async () => {
    const { attr } = await a.create(1, 'f')
    const b = await cluster.client('b')
    await b.call('meta.getattr', { ino: attr.ino })
    b.onRecall = () => new Promise(() => {})
    const changing = a.code(a.start('meta.setattr', { ino: attr.ino, mode: 0o600 }))
    const c = await cluster.client('c')
    const reading = c.code(c.start('meta.getattr', { ino: attr.ino }))
    await cluster.clock.advance(100)
    change(1)
    expect([await cluster.clock.run(changing), await cluster.clock.run(reading)]).to.deep.equal(['ATOLL_NOT_LEADER', 'ATOLL_NOT_LEADER'])
  })
})
