import { expect } from 'chai'
import { courtesyMs, courtesySessionsMax, leaseDurationMs, recallMsMax, sessionScanMs } from '../../fsnode/metadata/constants.ts'
import { Cluster, type TestClient } from './harness.ts'

describe('a session that is not renewed in time', () => {
  let cluster: Cluster
  let a: TestClient
  let b: TestClient
  /** Of a file that `b` holds exclusively. */
  let ino: number
  const nodes = ['n0', 'n1']
  const lead = (index: number): void => { cluster.logs[0]!.elect(cluster.logs[0]!.members[index]!) }
  const commit = (content: string) => b.call('meta.commit', { ino, size: content.length, mtime: 9n, inline: true }, 0, [Buffer.from(content)])
  const sessions = (): string[] => [...cluster.leader(0).machine.store.sessions.all.keys()].sort()
  const isMarked = (): boolean | undefined => cluster.leader(0).machine.store.sessions.get('b')?.overdue

  /** What `b` sends is not heard until `heal`; for longer than its lease. */
  const cutOff = async (forMs = leaseDurationMs + 2 * sessionScanMs): Promise<void> => {
    for (const node of nodes) cluster.network.cut('b', node)
    const renewing = cluster.keepRenewing(a)
    await cluster.clock.advance(forMs)
    renewing.stop()
  }

  const elapsed = async (promise: Promise<unknown>): Promise<number> => {
    const started = cluster.clock.now()
    await cluster.clock.run(promise)
    return cluster.clock.now() - started
  }

  beforeEach(async () => {
    cluster = await Cluster.open({ replicas: nodes.length })
    a = await cluster.client('a')
    b = await cluster.client('b')
    ino = (await b.create(1, 'f', { lease: 'exclusive' })).attr.ino
    a.onRecall = b.onRecall = async () => {}
  })

  it('keeps what it holds while nobody wants it, and goes on when it is back', async () => {
    await cutOff(10 * leaseDurationMs)
    expect(isMarked()).to.equal(true)
    cluster.network.heal()
    await commit('told')
    expect(isMarked()).to.equal(false)
    expect((await a.call('meta.getattr', { ino })).attr.size).to.equal(4)
  })

  it('ends at once when somebody wants what it holds', async () => {
    await cutOff()
    expect(await elapsed(a.start('meta.setattr', { ino, mode: 0o600 }))).to.be.lessThan(100)
    cluster.network.heal()
    expect(await b.code(commit('late'))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('ends when somebody wants it already as its time is over', async () => {
    for (const node of nodes) cluster.network.cut('b', node)
    const renewing = cluster.keepRenewing(a)
    expect(await elapsed(a.start('meta.setattr', { ino, mode: 0o600 }))).to.be.within(leaseDurationMs - 100, leaseDurationMs + 2 * sessionScanMs)
    renewing.stop()
    expect(sessions()).to.deep.equal(['a'])
  })

  it('is not waited for by a new leader, which ends it', async () => {
    await cutOff()
    lead(1)
    await a.call('meta.claim', { shared: [], exclusive: [] })
    expect(await elapsed(a.start('meta.setattr', { ino, mode: 0o600 }))).to.be.lessThan(100)
    cluster.network.heal()
    expect(await b.code(b.call('meta.claim', { shared: [], exclusive: [ino] }))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('is one like any other for a new leader once it is back, by whatever it sent', async () => {
    let leading = 0
    for (const back of [() => b.call('meta.renew', {}), () => b.call('meta.lookup', { dir: 1, name: 'f' }), () => b.openSession(0), () => commit('told')]) {
      await cutOff()
      cluster.network.heal()
      await back()
      lead(leading = 1 - leading)
      await a.call('meta.claim', { shared: [], exclusive: [] })
      await b.call('meta.claim', { shared: [], exclusive: [ino] })
      await commit('goes on')
    }
  })

  it('is not served before later leaders are to know that it is back', async () => {
    await cutOff()
    cluster.network.heal()
    const order: string[] = []
    cluster.logs[0]!.onProposed = () => { order.push(`marked: ${isMarked()}`) }
    await b.call('meta.renew', {}).then(() => { order.push('served') })
    expect(order).to.deep.equal(['marked: false', 'served'])
  })

  it('that is opened again while commits take longer than its lease is overdue for all leaders or for none', async () => {
    const { member } = cluster.leader(0)
    const committed = Promise.withResolvers<void>()
    const propose = member.propose.bind(member)
    // Entries are in the log, and are committed late.
    member.propose = async (command) => {
      const outcome = await propose(command)
      await committed.promise
      return outcome
    }
    b.openSession(0).catch(() => {})
    const renewing = cluster.keepRenewing(a)
    await cluster.clock.advance(leaseDurationMs + 4 * sessionScanMs)
    member.propose = propose
    committed.resolve()
    await cluster.clock.advance(10)
    renewing.stop()
    await b.call('meta.renew', {})
    expect(isMarked()).to.equal(false)
    lead(1)
    await a.call('meta.claim', { shared: [], exclusive: [] })
    await b.call('meta.claim', { shared: [], exclusive: [ino] })
  })

  it('that is wanted while it comes back is refused, if it ended first', async () => {
    await cutOff()
    cluster.network.heal()
    const leader = await cluster.leader(0).partition.opened()
    cluster.logs[0]!.onProposed = () => { void leader.sessions.end(leader.sessions.get('b')!, 'test') }
    expect(await b.code(b.call('meta.renew', {}))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('that is wanted while it comes back keeps nobody waiting: it was not answered', async () => {
    await cutOff()
    cluster.network.heal()
    const leader = await cluster.leader(0).partition.opened()
    leader.sessions.require('b').touch(cluster.clock.now(), leader.sessions.require('a').peer!)
    expect(await elapsed(a.start('meta.setattr', { ino, mode: 0o600 }))).to.be.lessThan(100)
  })

  it('ends in the end, and what it had open without a name is released', async () => {
    await b.call('meta.unlink', { dir: 1, name: 'f', open: true })
    await cutOff(courtesyMs)
    expect(sessions()).to.deep.equal(['a', 'b'])
    await cutOff(leaseDurationMs + 2 * sessionScanMs)
    const { store } = cluster.leader(0).machine
    expect([store.inodes.get(ino), store.orphans.all.size, sessions()]).to.deep.equal([undefined, 0, ['a']])
  })

  it('ends in time where there are very many', async () => {
    const others: TestClient[] = []
    while (others.length <= courtesySessionsMax) others.push(await cluster.client(`c${others.length}`))
    await cutOff()
    expect(sessions()).to.include('a').and.not.include('b').and.have.lengthOf(courtesySessionsMax)
  })
})

describe('a session that ends although it is renewed', () => {
  it('keeps what it holds from others for as long as its client may believe in it', async () => {
    const cluster = await Cluster.open()
    const a = await cluster.client('a')
    const b = await cluster.client('b')
    const { attr } = await b.create(1, 'f', { lease: 'exclusive' })
    b.onRecall = () => new Promise(() => {})
    let trustedUntil = 0
    const renew = (): void => {
      const sentAt = cluster.clock.now()
      b.start('meta.renew', {}).then(() => { trustedUntil = sentAt + leaseDurationMs }, () => {})
      cluster.clock.setTimer(renew, 1_000)
    }
    renew()
    const renewing = cluster.keepRenewing(a)
    await cluster.clock.run(a.persist('meta.setattr', { ino: attr.ino, mode: 0o600 }), 2 * recallMsMax)
    renewing.stop()
    expect(trustedUntil).to.be.within(recallMsMax, cluster.clock.now())
  })
  it('keeps from others what it is granted by a request that it had under way, too', async () => {
    const cluster = await Cluster.open()
    const a = await cluster.client('a')
    const b = await cluster.client('b')
    const { attr } = await a.create(1, 'f')
    await a.call('meta.release', { inos: [attr.ino] })
    const leader = await cluster.leader(0).partition.opened()
    const session = leader.sessions.require('b')
    void leader.sessions.end(session, 'test')
    const started = cluster.clock.now()
    leader.grant(session, attr.ino)
    const renewing = cluster.keepRenewing(a)
    await cluster.clock.run(a.start('meta.setattr', { ino: attr.ino, mode: 0o600 }))
    renewing.stop()
    expect(cluster.clock.now() - started).to.be.within(leaseDurationMs - 100, leaseDurationMs + 100)
    leader.grant(session, attr.ino)
    expect(leader.leases.of('b', attr.ino)).to.equal(undefined)
    expect(await b.code(b.call('meta.getattr', { ino: attr.ino }))).to.equal('ATOLL_SESSION_EXPIRED')
  })

  it('is not opened again by a request that was under way as it ended', async () => {
    const cluster = await Cluster.open()
    const b = await cluster.client('b')
    const leader = await cluster.leader(0).partition.opened()
    cluster.logs[0]!.onProposed = () => {
      cluster.logs[0]!.onProposed = () => {}
      void leader.sessions.end(leader.sessions.require('b'), 'test', 0)
    }
    expect(await b.code(b.call('meta.session', { client: 'b', existing: true }))).to.equal('ATOLL_SESSION_EXPIRED')
    expect(leader.sessions.get('b')).to.equal(undefined)
  })
})
