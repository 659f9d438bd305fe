import { expect } from 'chai'
import { pack } from 'msgpackr'
import { encodeChange, type MapChange } from '../../fsnode/manager/map-change.ts'
import { ServingLease } from '../../fsnode/manager/lease.ts'
import { ManagerStateMachine } from '../../fsnode/manager/state-machine.ts'
import type { NodeInfo } from '../../partitioning/types.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { silent } from './sim-cluster.ts'

const init = { clusterId: 'c', managers: ['a'] }
const open = (kv = new MemoryKv()): Promise<ManagerStateMachine> => ManagerStateMachine.open({ kv, log: silent }, init)
const node = (id: string, fields: Partial<NodeInfo> = {}): NodeInfo => ({
  id, incarnation: 'i', peerId: 'p', host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1, usedBytes: 0, disk: null, state: 'up', ...fields
})

const changes: MapChange[] = [
  { base: 1, nodes: [node('a')], histories: [{ id: 'a', former: ['h'], drains: false }] },
  {
    base: 2,
    volumes: [{ id: 1, name: 'main', placement: 'hawaii', replicas: 1, chunkSizeBytes: 4096, inlineBytesMax: 0, dataPartitions: 2, metadataPartitions: 1 }],
    metadata: [{ id: '1.m.0', volume: 1, index: 0, members: ['a'] }],
    records: ['1.d.0', '1.d.1'].map((id, index) => ({
      partition: { id, volume: 1, index, epoch: 1, replicas: [{ node: 'a', state: 'serving' }], primary: 'a' }, fences: [], doubtful: []
    })),
    tokens: [{ volume: 1, token: 't' }]
  },
  {
    base: 3,
    nodes: [node('a', { state: 'down' })],
    records: [{ partition: { id: '1.d.1', volume: 1, index: 1, epoch: 2, replicas: [{ node: 'a', state: 'last' }], primary: null }, fences: [{ node: 'a', since: 4 }], doubtful: ['a'] }]
  }
]

const applied = (machine: ManagerStateMachine, from = 0): ManagerStateMachine => {
  changes.slice(from).forEach((change, at) => {
    expect(machine.apply({ index: from + at + 1, term: 1, command: encodeChange(change) })).to.deep.equal({ applied: true, version: change.base + 1 })
  })
  return machine
}

describe('the manager\'s state machine', () => {
  it('applies changes, each once and only to the map it was decided on', async () => {
    const machine = applied(await open())
    const { map } = machine
    expect([map.version, map.nodes[0]!.state, map.data.map(({ epoch }) => epoch)]).to.deep.equal([4, 'down', [1, 2]])
    expect([...machine.view.unsettled]).to.deep.equal(['1.d.1'])
    // Another one decided on an old map, and one seen before.
    expect(machine.apply({ index: 4, term: 1, command: encodeChange({ base: 3, nodes: [node('b')] }) })).to.deep.equal({ applied: false, version: 4 })
    expect(machine.apply({ index: 2, term: 1, command: encodeChange({ base: 4, nodes: [node('b')] }) })).to.deep.equal({ applied: false, version: 4 })
    expect(machine.map).to.equal(map)
  })

  it('maps that were handed out never change', async () => {
    const machine = await open()
    const before = machine.map
    const copy = structuredClone(before)
    applied(machine)
    expect(before).to.deep.equal(copy)
  })

  it('what is no change changes nothing', async () => {
    const machine = applied(await open())
    const { map } = machine
    for (const command of [Buffer.alloc(0), Buffer.from('nonsense'), pack(null), pack(7), pack({ base: 'x' }), pack({ base: 4, nodes: 7 }), pack({ base: 4, records: [null] })]) {
      expect(machine.apply({ index: 4, term: 1, command }).applied).to.equal(false)
    }
    expect(machine.map).to.equal(map)
  })

  it('nothing is durable before flush; after it, the store holds everything', async () => {
    const kv = new MemoryKv()
    const machine = applied(await open(kv))
    expect(machine.durableIndex).to.equal(0)
    await machine.flush()
    expect(machine.durableIndex).to.equal(3)
    kv.crash()
    const again = await open(kv.reopen())
    expect(again.durableIndex).to.equal(3)
    expect(again.view.image).to.deep.equal(machine.view.image)
    // Entries before it are known; the next is applied.
    expect(again.apply({ index: 3, term: 1, command: encodeChange({ base: 4 }) }).applied).to.equal(false)
    expect(again.apply({ index: 4, term: 1, command: encodeChange({ base: 4, removedVolumes: [1] }) }).applied).to.equal(true)
    expect(again.map.data).to.deep.equal([])
    expect([...again.view.unsettled]).to.deep.equal([])
  })

  it('a crash before flush loses nothing that the log does not have', async () => {
    const kv = new MemoryKv()
    applied(await open(kv))
    kv.crash()
    const again = await open(kv.reopen())
    expect(again.map.version).to.equal(1)
    applied(again)
  })

  it('a snapshot gives another replica the same state, durable there', async () => {
    const machine = applied(await open())
    const snapshot = await machine.snapshot()
    machine.apply({ index: 4, term: 1, command: encodeChange({ base: 4, nodes: [node('b')] }) })
    const kv = new MemoryKv()
    const other = await open(kv)
    other.apply({ index: 1, term: 1, command: encodeChange({ base: 1, nodes: [node('gone')] }) })
    const seen: number[] = []
    other.onMap(({ version }) => seen.push(version))
    await other.restore(snapshot)
    expect([other.durableIndex, other.map.version, seen]).to.deep.equal([3, 4, [4]])
    expect(other.view.record('1.d.1')!.fences).to.deep.equal([{ node: 'a', since: 4 }])
    expect(other.view.token(1)).to.equal('t')
    kv.crash()
    expect((await open(kv.reopen())).view.image).to.deep.equal(other.view.image)
  })

  it('a damaged store, or one of another cluster, is refused', async () => {
    const damaged = new MemoryKv()
    await damaged.batch([{ type: 'put', key: Buffer.from('image'), value: Buffer.from('??') }])
    const other = new MemoryKv()
    const machine = applied(await open(other))
    await machine.flush()
    const failures = [open(damaged), ManagerStateMachine.open({ kv: other, log: silent }, { ...init, clusterId: 'd' })]
    for (const failure of failures) expect(await failure.then(() => 'opened', (error) => error.code)).to.equal('ATOLL_STORE_UNUSABLE')
  })

  it('a failed flush is reported and can be repeated', async () => {
    const kv = new MemoryKv()
    const machine = applied(await open(kv))
    kv.failure = new Error('disk full')
    expect(await machine.flush().then(() => 'flushed', (error) => error.message)).to.equal('disk full')
    expect(machine.durableIndex).to.equal(0)
    kv.failure = null
    await machine.flush()
    expect(machine.durableIndex).to.equal(3)
  })
})

describe('the serving lease', () => {
  it('counts from when the heartbeat was sent, and only with the map it was granted with', async () => {
    const clock = new SimClock()
    let known = 5
    const lease = new ServingLease(clock, () => known)
    expect(lease.isValid()).to.equal(false)
    await clock.advance(100)
    lease.grant(50, 3_000, 5)
    await clock.advance(2_949)
    expect(lease.isValid()).to.equal(true)
    lease.grant(3_000, 3_000, 6)
    await clock.advance(1)
    expect(lease.isValid()).to.equal(false)
    known = 6
    expect(lease.isValid()).to.equal(true)
    // An older grant does not shorten it, nor do many that wait.
    lease.grant(0, 3_000, 1)
    for (let version = 100; version < 200; version++) lease.grant(3_050, 3_000, version)
    await clock.advance(2_940)
    expect(lease.isValid()).to.equal(true)
    lease.drop()
    expect(lease.isValid()).to.equal(false)
  })
})
