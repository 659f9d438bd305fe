import { expect } from 'chai'
import { leaseDurationMs, sessionScanMs } from '../../fsnode/metadata/constants.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { replay } from '../../fuse/mount/replay.ts'
import { silent } from '../metadata/harness.ts'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'
import { Machine } from './machine.ts'

describe('client: outages that are longer than leases', () => {
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
  })

  it('of a metadata partition lose nothing: whoever leads next has given nobody what was held', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    const opened = await a.run(a.volume.open(ino, { write: true }))
    await a.run(opened.write(0, [Buffer.from('told')]))
    const b = await cluster.client('b')
    await a.create(dir, 'g', 'not synced')
    cluster.logs[0]!.elect(null)
    await cluster.clock.advance(90_000)
    const seen = b.read(ino)
    await cluster.clock.advance(100)
    cluster.logs[0]!.elect(cluster.logs[0]!.members[1]!)
    expect((await b.run(seen)).toString()).to.equal('toldre')
    await a.run(opened.sync())
    await a.run(a.volume.syncNames())
    expect(await b.names(dir)).to.deep.equal(['f', 'g'])
    expect(cluster.logs[0]!.entries.filter(({ command }) => Buffer.from(command).includes('end-session')).length, 'sessions ended').to.equal(0)
  })

  it('of all nodes, longer than anybody waits, neither: who waits is told so, and what was accepted gets there afterwards', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    const opened = await a.run(a.volume.open(ino, { write: true }))
    const { file: large } = await a.run(a.volume.create(dir, 'large', { mode: 0o644, exclusive: true }, me))
    await a.run(large.write(0, [pattern(100_000)]))
    await a.run(large.sync())
    const { file: gapped } = await a.run(a.volume.create(dir, 'gapped', { mode: 0o644, exclusive: true }, me))
    await a.run(gapped.write(0, [pattern(100_000)]))
    await a.run(gapped.sync())
    const b = await cluster.client('b')
    await b.run(b.read(gapped.ino))
    cluster.onRequest = (method) => ['data.write', 'data.truncate', 'data.sync'].includes(method) ? new AtollError('ATOLL_UNAVAILABLE', 'away') : undefined
    await a.run(opened.write(0, [Buffer.from('told')]))
    // What may lie behind its end is cut before.
    await a.run(gapped.write(200_000, [Buffer.from('behind a gap')]))
    await cluster.clock.advance(100)
    for (let at = 0; at < 100_000; at += 10_000) await a.run(large.write(at, [Buffer.alloc(5_000, 7)]))
    await a.run(a.volume.mkdir(dir, 'd', 0o755, me))
    cluster.logs[0]!.elect(null)
    const failures = [opened, large, gapped].map((file) => a.code(file.sync()))
    const names = a.code(a.volume.syncNames())
    await cluster.clock.advance(200_000)
    expect(new Set(await Promise.all([...failures, names]))).to.deep.equal(new Set(['ATOLL_TIMEOUT']))
    cluster.onRequest = () => undefined
    await cluster.changeLeader()
    await a.run(opened.sync())
    await a.run(large.sync())
    await a.run(gapped.sync())
    expect((await a.run(a.read(ino))).toString()).to.equal('toldre')
    const expected = pattern(100_000)
    for (let at = 0; at < 100_000; at += 10_000) expected.fill(7, at, at + 5_000)
    expect((await b.run(b.read(large.ino))).equals(expected)).to.equal(true)
    const behindGap = Buffer.concat([pattern(100_000), Buffer.alloc(100_000), Buffer.from('behind a gap')])
    expect((await b.run(b.read(gapped.ino))).equals(behindGap)).to.equal(true)
    expect(await b.names(dir)).to.deep.equal(['d', 'f', 'gapped', 'large'])
  })

  it('of a client\'s own network, neither, while nobody wants what it holds', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    const b = await cluster.client('b')
    await b.put('elsewhere', 'of b')
    const opened = await a.run(a.volume.open(ino, { write: true }))
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await a.run(opened.write(0, [Buffer.from('told')]))
    await a.create(dir, 'g', 'not synced')
    await cluster.clock.advance(600_000)
    expect((await b.get('elsewhere')).toString()).to.equal('of b')
    cluster.network.heal()
    await a.run(opened.sync())
    await a.run(a.volume.syncNames())
    expect((await b.run(b.read(ino))).toString()).to.equal('toldre')
    expect(await b.names(dir)).to.deep.equal(['f', 'g'])
  })

  it('and a process that comes long after one that was killed goes on where that one was', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    cluster.onRequest = (method) => method === 'meta.changes' || method === 'data.write' ? 'lose-request' : undefined
    const opened = await a.run(a.volume.open(ino, { write: true }))
    await a.run(opened.write(0, [Buffer.from('told')]))
    await a.run(opened.flush())
    await a.create(dir, 'g', 'not synced')
    machine.crash()
    cluster.onRequest = () => undefined
    await cluster.clock.advance(600_000)
    const next = await machine.start()
    expect([...await cluster.run(replay(next.volume, machine.journal!, silent))]).to.deep.equal([])
    const b = await cluster.client('b')
    expect(await b.names(dir)).to.deep.equal(['f', 'g'])
    expect((await b.run(b.read(ino))).toString()).to.equal('toldre')
  })

  it('nor those of a leader that stood still: what its sessions sent meanwhile is waiting', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    const [node] = cluster.nodes
    node!.clock.stop()
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await a.run(opened.write(0, [Buffer.from('told')]))
    await cluster.clock.advance(20_000)
    node!.clock.goOn()
    await cluster.clock.advance(100)
    cluster.network.heal()
    await a.run(opened.sync())
    expect((await a.run(a.read(opened.ino))).toString()).to.equal('told')
  })

  it('which gives back no more than a lease to who was heard again before it noticed', async () => {
    const b = await cluster.client('b')
    const ino = await b.put('f', 'x')
    await b.run(b.volume.setattr(ino, { mode: 0o600 }, me))
    const [node] = cluster.nodes
    const c = await cluster.client('c')
    node!.clock.stop()
    await cluster.clock.advance(10 * leaseDurationMs)
    node!.clock.goOn()
    cluster.network.cut('b', node!.name)
    const started = cluster.clock.now()
    await c.run(c.volume.setattr(ino, { mode: 0o640 }, me))
    expect(cluster.clock.now() - started).to.be.at.most(leaseDurationMs + 2 * sessionScanMs)
  })

  it('what a session held is nobody else\'s before its end is committed: a leader that is cut off gives nothing of it away', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    const opened = await a.run(a.volume.open(ino, { write: true }))
    await a.run(opened.write(0, [Buffer.from('told')]))
    const b = await cluster.client('b')
    await b.run(b.volume.lookup(1, 'top'))
    const former = cluster.leader()
    former.stuck = true
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    let answered = false
    const seen = b.read(ino).finally(() => { answered = true })
    await cluster.clock.advance(9_000)
    expect(answered).to.equal(false)
    await cluster.changeLeader()
    cluster.network.heal()
    expect((await b.run(seen)).toString()).to.equal('toldre')
    await a.run(opened.sync())
  })

  it('what was written under a session that has ended is not committed in the next one, behind changes that wait', async () => {
    const ino = await a.create(dir, 'f', 'before')
    await a.run(a.volume.syncNames())
    const opened = await a.run(a.volume.open(ino, { write: true }))
    const b = await cluster.client('b')
    await b.run(b.volume.lookup(1, 'top'))
    for (const { id } of cluster.map.nodes) cluster.network.cut('a', id)
    await a.create(dir, 'g', 'is on its way')
    // It is to be committed when the lease time is over.
    await cluster.clock.advance(4_300)
    await a.run(opened.write(0, [Buffer.from('of a')]))
    await cluster.clock.advance(10_000)
    const written = await b.run(b.volume.open(ino, { write: true }))
    await b.run(written.write(0, [Buffer.from('of b')]))
    await b.run(written.sync())
    cluster.network.heal()
    expect(await a.code(opened.sync())).to.equal('EIO')
    await cluster.clock.advance(5_000)
    expect((await b.run(b.read(ino))).toString()).to.equal('of bre')
  })

  it('what was written is replayed by a later process, if the nodes are away for longer than anybody waits', async () => {
    const { file: opened } = await a.run(a.volume.create(dir, 'f', { mode: 0o644, exclusive: true }, me))
    await a.run(opened.write(0, [pattern(100_000)]))
    await a.run(opened.sync())
    await a.run(opened.write(10, [Buffer.from('changed')]))
    machine.crash()
    cluster.onRequest = (method) => method.startsWith('data.') ? new AtollError('ATOLL_UNAVAILABLE', 'away') : undefined
    const next = await machine.start()
    const outcome = await cluster.run(replay(next.volume, machine.journal!, silent).then(() => 'replayed', codeOf), 300_000)
    expect(outcome).to.equal('ATOLL_TIMEOUT')
    machine.crash()
    cluster.onRequest = () => undefined
    const last = await machine.start()
    expect([...await cluster.run(replay(last.volume, machine.journal!, silent))]).to.deep.equal([])
    const expected = pattern(100_000)
    expected.write('changed', 10)
    expect((await last.run(last.read(opened.ino))).equals(expected)).to.equal(true)
    await last.run(last.volume.syncNames())
    expect(machine.store.records.size).to.equal(0)
  })
})
