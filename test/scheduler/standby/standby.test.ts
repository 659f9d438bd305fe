import { expect } from 'chai'
import { AtollError } from '../../../fsnode/protocol/errors.ts'
import { ClusterStateStore } from '../../../scheduler/standby/cluster-store.ts'
import { StateMirror } from '../../../scheduler/standby/mirror.ts'
import { restoreSnapshot, takeSnapshot } from '../../../scheduler/standby/snapshot.ts'
import { waitForTurn } from '../../../scheduler/standby/standby.ts'
import type { Turn } from '../../../scheduler/standby/standby.ts'
import type { StateHead } from '../../../scheduler/standby/state-store.ts'
import { TestCluster } from '../../client/cluster.ts'
import { SimClock } from '../../sim/clock.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'
import { Harness, frameworkInit, quietLog } from '../framework/harness.ts'
import { startFramework } from '../../../scheduler/framework/index.ts'
import { SharedState } from './shared-state.ts'

const put = (kv: MemoryKv, key: string, value: string): Promise<void> => kv.batch([{ type: 'put', key: Buffer.from(key), value: Buffer.from(value) }], { sync: true })
const textOf = (kv: MemoryKv, key: string): string | undefined => {
  const value = kv.get(Buffer.from(key))
  return value === undefined ? undefined : Buffer.from(value).toString()
}

describe('schedulers in standby', () => {
  let clock: SimClock
  let shared: SharedState
  let seeds = 1
  const mirrors: StateMirror[] = []

  beforeEach(() => {
    clock = new SimClock()
    shared = new SharedState()
  })

  afterEach(() => { for (const mirror of mirrors.splice(0)) mirror.close() })

  async function act (kv: MemoryKv): Promise<StateMirror> {
    const mirror = new StateMirror({ clock, random: new SimRandom(seeds++), log: quietLog, kv, store: shared.store() }, { clusterId: 'c', api: 'http://a' })
    mirrors.push(mirror)
    await mirror.start()
    return mirror
  }

  function standBy (kv: MemoryKv): { turn: Turn | null } {
    const result: { turn: Turn | null } = { turn: null }
    void waitForTurn({ clock, random: new SimRandom(seeds++), log: quietLog, kv, store: shared.store() }, { cancelled: new Promise(() => {}) }).then((turn) => { result.turn = turn })
    return result
  }

  it('a snapshot holds all records but what is the store\'s own, and takes the place of all others', async () => {
    const [from, to] = [new MemoryKv(), new MemoryKv()]
    await put(from, 'framework', '{"x":1}')
    await put(from, 'node/node-1', '{}')
    await put(from, 'standby/writer', 'w')
    await put(to, 'node/node-9', '{}')
    await put(to, 'standby/writer', 'mine')
    await restoreSnapshot(to, await takeSnapshot(from))
    expect([JSON.parse(textOf(to, 'framework')!), textOf(to, 'node/node-1'), textOf(to, 'node/node-9'), textOf(to, 'standby/writer')]).to.deep.equal([{ x: 1, restored: true }, '{}', undefined, 'mine'])
    const code = await restoreSnapshot(to, Buffer.from('rubbish')).then(() => null, (error: { code: string }) => error.code)
    expect(code).to.equal('ATOLL_STORE_CORRUPT')
    expect(JSON.parse(textOf(to, 'framework')!)).to.include({ x: 1 })
  })

  it('one acts: a change is in the cluster within a second or two, a beat every five', async () => {
    const kv = new MemoryKv()
    const mirror = await act(kv)
    await put(kv, 'goal', 'one')
    mirror.touch()
    await clock.advance(3_000)
    const { beat, sequence } = shared.head!
    await clock.advance(60_000)
    expect(shared.head!.beat).to.be.within(beat + 11, beat + 13)
    expect(shared.head!.sequence).to.equal(sequence)
    await put(kv, 'goal', 'two')
    mirror.touch()
    await clock.advance(6_000)
    expect(shared.head!.sequence).to.equal(sequence + 1)
    const copy = new MemoryKv()
    await restoreSnapshot(copy, shared.state!)
    expect(textOf(copy, 'goal')).to.equal('two')
  })

  it('makes nothing in a cluster that has lost what it had: that is to be restored first; then the whole state is written again', async () => {
    const kv = new MemoryKv()
    await put(kv, 'goal', 'one')
    const mirror = await act(kv)
    await clock.advance(3_000)
    expect(textOf(kv, 'standby/made')).to.equal('1')
    Object.assign(shared, { isThere: false, head: null, state: null })
    await clock.advance(20_000)
    expect(mirror.problem).to.equal('no place')
    mirror.close()
    const next = await act(kv)
    await clock.advance(20_000)
    expect([next.problem, shared.isThere, shared.head]).to.deep.equal(['no place', false, null])
    // An operator has made it anew, empty.
    shared.isThere = true
    await clock.advance(6_000)
    expect(next.problem).to.equal(null)
    expect(shared.head).to.not.equal(null)
    expect(shared.state).to.not.equal(null)
  })

  it('another waits while the first is alive, and takes its state over when it is silent', async () => {
    const kv = new MemoryKv()
    await put(kv, 'goal', 'state')
    const mirror = await act(kv)
    await clock.advance(2_000)
    const other = new MemoryKv()
    const waiting = standBy(other)
    await clock.advance(10 * 60_000)
    expect(waiting.turn).to.equal(null)
    mirror.close()
    await clock.advance(25_000)
    expect(waiting.turn).to.equal(null)
    await clock.advance(20_000)
    expect(waiting.turn).to.equal('taken')
    expect(textOf(other, 'goal')).to.equal('state')
  })

  it('the first that ever starts acts at once, and so does one whose own store is the newest', async () => {
    const kv = new MemoryKv()
    const first = standBy(kv)
    await clock.advance(100)
    expect(first.turn).to.equal('first')
    const mirror = await act(kv)
    await clock.advance(2_000)
    mirror.close()
    const again = standBy(kv)
    await clock.advance(100)
    expect(again.turn).to.equal('own')
  })

  it('an old store does not act before what another one has written is silent: then it has that', async () => {
    const [old, newer] = [new MemoryKv(), new MemoryKv()]
    await put(old, 'goal', 'old')
    const first = await act(old)
    await clock.advance(2_000)
    first.close()
    await put(newer, 'goal', 'newer')
    const second = await act(newer)
    await clock.advance(2_000)
    const back = standBy(old)
    await clock.advance(60_000)
    expect(back.turn).to.equal(null)
    second.close()
    await clock.advance(45_000)
    expect(back.turn).to.equal('taken')
    expect(textOf(old, 'goal')).to.equal('newer')
  })

  it('while the cluster cannot be read nobody takes over; silence counts anew afterwards', async () => {
    const mirror = await act(new MemoryKv())
    await clock.advance(2_000)
    const waiting = standBy(new MemoryKv())
    await clock.advance(10_000)
    mirror.close()
    shared.unreachable = true
    await clock.advance(120_000)
    expect(waiting.turn).to.equal(null)
    shared.unreachable = false
    await clock.advance(20_000)
    expect(waiting.turn).to.equal(null)
    await clock.advance(25_000)
    expect(waiting.turn).to.equal('taken')
  })

  it('the framework waits for no copy: it acts while the cluster is away, and the copy follows', async () => {
    const kv = new MemoryKv()
    shared.unreachable = true
    const mirror = await act(kv)
    await put(kv, 'goal', 'state')
    mirror.touch()
    await clock.advance(30_000)
    expect(mirror.problem).to.contain('cut')
    shared.unreachable = false
    await clock.advance(10_000)
    expect(mirror.problem).to.equal(null)
    expect(shared.head).to.not.equal(null)
  })

  it('the state of another cluster is not overwritten', async () => {
    shared.head = { clusterId: 'another', writer: 'x', sequence: 1, beat: 1, api: '' }
    shared.state = Buffer.from('precious')
    const mirror = await act(new MemoryKv())
    await clock.advance(30_000)
    expect(mirror.problem).to.contain('another')
    expect(shared.state.toString()).to.equal('precious')
  })

  it('takes a running framework over: same id, no task relaunched, none killed; what the copy lacks is found by labels and tasks', async () => {
    const harness = new Harness()
    clock = harness.clock
    await harness.start()
    const mirror = await act(harness.kv)
    await harness.untilRunning(3)
    mirror.touch()
    await clock.advance(5_000)
    mirror.close()
    // Since the last copy a task was relaunched, and one more node was placed and launched.
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    harness.master.addAgent()
    await harness.framework!.setNodes(4)
    await harness.untilRunning(4)
    const { length } = harness.master.launches
    const tasks = harness.master.liveTasks().map(({ info }) => info.task_id.value).sort()
    const kv = new MemoryKv()
    const waiting = standBy(kv)
    await clock.advance(45_000)
    expect(waiting.turn).to.equal('taken')
    harness.kill()
    harness.kv = kv
    await harness.start({ nodes: 4 })
    await harness.untilRunning(4)
    await clock.advance(120_000)
    expect(harness.status().frameworkId).to.equal('framework-1')
    expect(harness.master.liveTasks().map(({ info }) => info.task_id.value).sort()).to.deep.equal(tasks)
    expect(harness.master.launches.length).to.equal(length)
    expect(harness.leaks()).to.deep.equal([])
    expect(harness.master.violations).to.deep.equal([])
    harness.stop()
  })

  it('whoever is taken over while it lives is told so, and ends', async () => {
    const harness = new Harness()
    await harness.start()
    await harness.untilRunning(3)
    const first = harness.framework!
    const stopped: string[] = []
    first.onChange(() => { const { problem } = first.status(); if (problem?.final === true) stopped.push(problem.code) })
    await startFramework({ kv: new MemoryKv(), clock: harness.clock, random: new SimRandom(3), log: quietLog, masterClientFactory: harness.master.clientFactory() }, frameworkInit)
    await harness.clock.advance(1_000)
    expect(stopped[0]).to.equal('ATOLL_MESOS_FAILED_OVER')
    harness.stop()
  })
})

describe('the scheduler\'s state in the storage cluster', () => {
  const head = (beat: number, sequence = 1): StateHead => ({ clusterId: 'c', writer: 'w', sequence, beat, api: '' })

  it('is read as it was written, by anybody, across sessions that expired and a change of leader', async () => {
    const cluster = await TestCluster.open()
    const open = (host: string, seed: number): ClusterStateStore => new ClusterStateStore({ network: cluster.network.host(host), clock: cluster.clock, random: new SimRandom(seed), log: quietLog }, { seeds: () => [{ host: 'n0', port: 1 }], nodesWanted: () => 2, volume: 'v' })
    const [writer, reader] = [open('s1', 1), open('s2', 2)]
    expect(await cluster.run(reader.readHead())).to.equal(null)
    expect(await cluster.run(reader.readState())).to.equal(null)
    const big = Buffer.from(new SimRandom(9).bytes(60_000))
    await cluster.run(writer.writeState(head(1), Buffer.from('one')))
    await cluster.run(writer.writeState(head(2, 2), big))
    expect((await cluster.run(reader.readState()))!.state.equals(big)).to.equal(true)
    // Far beyond any lease.
    await cluster.clock.advance(10 * 60_000)
    await cluster.run(writer.writeHead(head(3, 2)))
    expect(await cluster.run(reader.readHead())).to.deep.equal(head(3, 2))
    await cluster.changeLeader()
    await cluster.run(writer.writeState(head(4, 3), Buffer.from('three')))
    const read = (await cluster.run(reader.readState()))!
    expect([read.head.beat, read.state.toString()]).to.deep.equal([4, 'three'])
    const code = await cluster.run(writer.writeState(head(5), Buffer.alloc(62_000)).then(() => null, (error: { code: string }) => error.code))
    expect(code).to.equal('ATOLL_TOO_LARGE')
    writer.close()
    reader.close()
  })

  it('a writer that dies between state and head leaves the state before it', async () => {
    const cluster = await TestCluster.open()
    let dead = false
    let writes = 0
    cluster.onRequest = (method) => {
      if (method === 'meta.setxattr' && ++writes === 4) dead = true
      return dead && method === 'meta.setxattr' ? new AtollError('ATOLL_CLOSED', 'dead') : undefined
    }
    const store = new ClusterStateStore({ network: cluster.network.host('s1'), clock: cluster.clock, random: new SimRandom(1), log: quietLog }, { seeds: () => [{ host: 'n0', port: 1 }], nodesWanted: () => 2, volume: 'v' })
    await cluster.run(store.writeState(head(1), Buffer.from('one')))
    await cluster.run(store.writeState(head(2, 2), Buffer.from('two')).catch(() => {}))
    dead = false
    const read = (await cluster.run(store.readState()))!
    expect([read.head.sequence, read.state.toString()]).to.deep.equal([1, 'one'])
    store.close()
  })

  it('gets as many replicas as the cluster is to have nodes, three at most, as soon as so many are up', async () => {
    const cluster = await TestCluster.open({ nodes: 2 })
    let nodesWanted = 2
    const store = new ClusterStateStore({ network: cluster.network.host('s1'), clock: cluster.clock, random: new SimRandom(1), log: quietLog }, { seeds: () => [{ host: 'n0', port: 1 }], nodesWanted: () => nodesWanted, volume: 'v' })
    const write = (): Promise<string> => cluster.run(store.writeState(head(1), Buffer.from('one')).then(() => 'written', ({ message }: Error) => message))
    expect(await write()).to.equal('written')
    nodesWanted = 5
    expect(await write()).to.equal('written')
    nodesWanted = 1
    // This cluster's manager cannot do it.
    expect(await write()).to.contain('manager.set-volume')
    store.close()
  })
})
