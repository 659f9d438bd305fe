import { expect } from 'chai'
import { mapWaitersMax, replicaMovesMax, syncsPerNodeMax } from '../../fsnode/manager/bounds.ts'
import type { CreateVolumeRequest } from '../../fsnode/protocol/manager.ts'
import { SimCluster } from './sim-cluster.ts'

describe('requests to the manager', () => {
  let cluster: SimCluster
  const begin = async (init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<SimCluster> => cluster = await new SimCluster({ nodes: 3, ...init }).start()
  const router = () => cluster.process('node-1').router
  const failure = (promise: Promise<unknown>): Promise<{ code: string, details: Record<string, unknown> }> =>
    cluster.clock.run(promise.then(() => { throw new Error('it did not fail') }, (error) => error))

  afterEach(() => { cluster.finish() })

  const good: CreateVolumeRequest = { name: 'main', placement: 'hawaii', replicas: 3 }
  const bad: Array<[string, Partial<CreateVolumeRequest> | Record<string, unknown>, string]> = [
    ['a name that is taken', {}, 'ATOLL_VOLUME_EXISTS'],
    ['more replicas than nodes that are up', { name: 'b', replicas: 4 }, 'ATOLL_NOT_ENOUGH_NODES'],
    ['no name', { name: '' }, 'ATOLL_BAD_ARGUMENT'],
    ['a name with a slash', { name: 'a/b' }, 'ATOLL_BAD_ARGUMENT'],
    ['a name that is no string', { name: 7 }, 'ATOLL_BAD_ARGUMENT'],
    ['an unknown placement', { name: 'b', placement: 'bali' }, 'ATOLL_BAD_ARGUMENT'],
    ['no replicas', { name: 'b', replicas: 0 }, 'ATOLL_BAD_ARGUMENT'],
    ['half a replica', { name: 'b', replicas: 1.5 }, 'ATOLL_BAD_ARGUMENT'],
    ['a chunk size that is no power of two', { name: 'b', chunkSizeBytes: 3_000_000 }, 'ATOLL_BAD_ARGUMENT'],
    ['a chunk size of zero', { name: 'b', chunkSizeBytes: 0 }, 'ATOLL_BAD_ARGUMENT'],
    ['too many partitions', { name: 'b', dataPartitions: 70_000 }, 'ATOLL_BAD_ARGUMENT'],
    ['more metadata partitions than inode numbers can tell apart', { name: 'b', metadataPartitions: 5_000 }, 'ATOLL_BAD_ARGUMENT']
  ]
  it('create-volume refuses what cannot be, with a stable code and nothing changed', async () => {
    await begin()
    await cluster.createVolume()
    const before = cluster.map
    for (const [what, fields, code] of bad) {
      const error = await failure(router().toManager('manager.create-volume', { ...good, ...fields } as CreateVolumeRequest))
      expect(error.code, what).to.equal(code)
      if (code !== 'ATOLL_BAD_ARGUMENT') expect(error.details.hint, what).to.be.a('string')
    }
    expect(cluster.map).to.deep.equal(before)
  })

  it('a retried create-volume finds the volume of its first attempt', async () => {
    await begin()
    const make = (token: string) => router().toManager('manager.create-volume', { ...good, token })
    const first = await cluster.clock.run(make('t1'))
    const again = await cluster.clock.run(make('t1'))
    expect(again.body.volume).to.deep.equal(first.body.volume)
    expect((await failure(make('t2'))).code).to.equal('ATOLL_VOLUME_EXISTS')
  })

  it('a removed volume goes with its partitions; its id is not used again', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.run(router().toManager('manager.remove-volume', { name: 'main' }))
    expect([cluster.map.volumes, cluster.map.data, cluster.map.metadata]).to.deep.equal([[], [], []])
    expect((await failure(router().toManager('manager.remove-volume', { name: 'main' }))).code).to.equal('ATOLL_NO_SUCH_VOLUME')
    await cluster.createVolume()
    expect(cluster.map.volumes[0]!.id).to.equal(2)
    expect(cluster.map.data[0]!.id).to.equal('2.d.0')
  })

  it('a reported replica stops to count at once, is left alone for a while, then brought up again', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(1_000)
    const partition = cluster.map.data[0]!
    const reporter = partition.primary!
    const reported = partition.replicas.find(({ node }) => node !== reporter)!.node
    const stateOf = () => cluster.map.data[0]!.replicas.find(({ node }) => node === reported)!.state
    const report = () => router().toManager('manager.report-replica', { partition: partition.id, epoch: partition.epoch, node: reported, reporter })
    const { body } = await cluster.clock.run(report(), 200)
    expect(body.map!.data[0]!.epoch).to.equal(partition.epoch + 1)
    expect(body.map!.data[0]!.primary).to.equal(reporter)
    expect(stateOf()).to.equal('waiting')
    await cluster.clock.advance(1_500)
    expect(stateOf()).to.equal('waiting')
    await cluster.clock.until(() => stateOf() === 'serving', 2_000)
    // The epoch has passed: the same report says nothing now.
    const { version } = cluster.map
    await cluster.clock.run(report(), 200)
    expect(cluster.map.version).to.equal(version)
  })

  it('only the primary\'s report counts', async () => {
    await begin()
    await cluster.createVolume()
    const { id, epoch, primary, replicas } = cluster.map.data[0]!
    const others = replicas.map(({ node }) => node).filter((node) => node !== primary)
    const { body } = await cluster.clock.run(router().toManager('manager.report-replica', { partition: id, epoch, node: primary!, reporter: others[0]! }), 200)
    expect(body.map!.data[0]!.epoch).to.equal(epoch)
    await cluster.clock.run(router().toManager('manager.report-replica', { partition: 'none', epoch, node: primary!, reporter: others[0]! }), 200)
  })

  it('a replica that is not syncing cannot claim to be in sync', async () => {
    await begin()
    await cluster.createVolume()
    const { version } = cluster.map
    const { id, epoch } = cluster.map.data[0]!
    await cluster.clock.run(router().toManager('manager.replica-synced', { partition: id, epoch, node: 'node-1' }), 200)
    await cluster.clock.run(router().toManager('manager.replica-synced', { partition: id, epoch: epoch + 1, node: 'node-1' }), 200)
    expect(cluster.map.version).to.equal(version)
  })

  it('no more copies run at once than the bound says', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 40 })
    await cluster.clock.advance(1_000)
    cluster.holdSyncs = true
    cluster.kill('node-3')
    await cluster.restart('node-3')
    await cluster.clock.advance(5_000)
    const syncing = cluster.map.data.filter(({ replicas }) => replicas.some(({ node, state }) => node === 'node-3' && state === 'syncing'))
    expect(syncing.length).to.equal(syncsPerNodeMax)
  })

  it('a follower refuses, and says who leads', async () => {
    await begin()
    const { details, code } = await failure(router().toNode('node-2', 'manager.map', { after: 0, waitMs: 0 }))
    expect(code).to.equal('ATOLL_NOT_LEADER')
    expect(details.leader).to.equal('node-1')
  })

  it('a node of another cluster, and one that says nonsense of itself, are refused', async () => {
    await begin()
    const { state: _state, ...node } = cluster.node('node-3')
    const register = (request: object) => failure(router().toManager('manager.register', request as never))
    expect((await register({ clusterId: 'other', node })).code).to.equal('ATOLL_WRONG_CLUSTER')
    for (const fields of [{ id: '' }, { id: '../x' }, { incarnation: '' }, { host: 3 }, { rpcPort: 70_000 }, { capacityBytes: -1 }, { capacityBytes: 'much' }, { domain: 'zone' }]) {
      expect((await register({ clusterId: 'c', node: { ...node, ...fields } })).code, JSON.stringify(fields)).to.equal('ATOLL_BAD_ARGUMENT')
    }
    expect((await register({ clusterId: 'c' })).code).to.equal('ATOLL_BAD_ARGUMENT')
    expect((await failure(router().toManager('manager.heartbeat', { node: 'x', incarnation: 'y', usedBytes: 0, capacityBytes: 0, disk: null, mapVersion: 0 }))).code).to.equal('ATOLL_UNKNOWN_NODE')
  })

  it('registering again changes nothing, or only what is new', async () => {
    await begin()
    const { state: _state, ...node } = cluster.node('node-3')
    const { version } = cluster.map
    const register = (fields = {}) => cluster.clock.run(router().toManager('manager.register', { clusterId: 'c', node: { ...node, ...fields } }))
    await register()
    expect(cluster.map.version).to.equal(version)
    await register({ rpcPort: 7_777 })
    expect(cluster.node('node-3').rpcPort).to.equal(7_777)
    await register({})
  })

  it('whoever asks for a newer map waits until there is one, or for as long as it wants', async () => {
    await begin()
    const ask = (method: 'manager.map' | 'node.map', after: number, waitMs: number) => cluster.process('node-2').router.toNode('node-1', method, { after, waitMs })
    for (const method of ['manager.map', 'node.map'] as const) {
      const { version } = cluster.map
      expect((await cluster.clock.run(ask(method, 0, 0))).body.map!.version).to.equal(version)
      const started = cluster.clock.now()
      expect((await cluster.clock.run(ask(method, version, 3_000))).body).to.deep.equal({})
      expect(cluster.clock.now() - started).to.be.within(3_000, 3_020)
      const waiting = ask(method, version, 10_000)
      await cluster.clock.advance(100)
      await cluster.createVolume({ name: method.slice(0, 4) })
      expect((await cluster.clock.run(waiting, 100)).body.map!.version).to.be.greaterThan(version)
      expect((await failure(ask(method, NaN, 0))).code).to.equal('ATOLL_BAD_ARGUMENT')
    }
    expect(mapWaitersMax).to.be.greaterThan(100)
  })

  it('what nodes measure gets into the map now and then, when it has changed by enough', async () => {
    await begin()
    const disk = { readBandwidth: 1e8, writeBandwidth: 5e7, readLatencyMs: 1, writeLatencyMs: 2, utilization: 0.5 }
    cluster.process('node-2').report = { usedBytes: 3e11, capacityBytes: 1e12, disk }
    const { version } = cluster.map
    await cluster.clock.until(() => cluster.node('node-2').usedBytes === 3e11, 12_000)
    expect(cluster.node('node-2').disk).to.deep.equal(disk)
    expect(cluster.map.version).to.equal(version + 1)
    cluster.process('node-2').report = { usedBytes: 3.01e11, capacityBytes: 1e12, disk: { ...disk, readLatencyMs: 1.1 } }
    await cluster.clock.advance(30_000)
    expect(cluster.map.version).to.equal(version + 1)
  })

  it('a drained node leads nothing and loses its replicas, each only after another one serves', async () => {
    await begin({ nodes: 5 })
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(1_000)
    await cluster.clock.run(router().toManager('manager.drain-node', { node: 'node-4', drain: true }))
    let most = 0
    const watch = cluster.process('node-1').router.onMap((map) => {
      most = Math.max(most, map.data.filter(({ replicas }) => replicas.length > 3).length)
      for (const { id, replicas } of map.data) expect(replicas.filter(({ state }) => state === 'serving').length, id).to.be.at.least(3)
    })
    await cluster.clock.until(() => cluster.map.data.every(({ replicas }) => replicas.length === 3 && replicas.every(({ node }) => node !== 'node-4')) && cluster.healthy(), 120_000)
    watch()
    expect(most).to.be.within(1, replicaMovesMax)
    expect([...cluster.leadersOf().values()].sort()).to.deep.equal([5, 5, 5, 5])
    expect(cluster.node('node-4').state).to.equal('draining')
    // It stays so across a restart; afterwards it gets its share again.
    cluster.kill('node-4')
    await cluster.clock.until(() => cluster.node('node-4').state === 'down', 5_000)
    await cluster.restart('node-4')
    await cluster.clock.until(() => cluster.node('node-4').state === 'draining', 2_000)
    await cluster.clock.run(router().toManager('manager.drain-node', { node: 'node-4', drain: false }))
    await cluster.clock.until(() => cluster.leadersOf().size === 5 && cluster.healthy(), 120_000)
    expect((await failure(router().toManager('manager.drain-node', { node: 'none', drain: true }))).code).to.equal('ATOLL_UNKNOWN_NODE')
  })

  it('Tivoli: a busy disk hands on the lead of a busy partition, and it stays there', async () => {
    await begin()
    await cluster.createVolume({ placement: 'tivoli', dataPartitions: 6 })
    const hot = cluster.map.data.filter(({ primary }) => primary === 'node-2').map(({ id }) => id)
    expect(hot.length).to.equal(2)
    const disk = (utilization: number) => ({ readBandwidth: 1e8, writeBandwidth: 1e8, readLatencyMs: 1, writeLatencyMs: 1, utilization })
    for (const id of cluster.ids) cluster.process(id).report = { usedBytes: 0, capacityBytes: 1e12, disk: disk(id === 'node-2' ? 0.9 : 0.1) }
    cluster.process('node-2').report.load = hot.map((partition) => ({ partition, readBytes: 0, writeBytes: 1e7, reads: 0, writes: 10 }))
    const led = () => cluster.map.data.filter(({ primary }) => primary === 'node-2').length
    await cluster.clock.until(() => led() === 1, 60_000)
    for (const id of cluster.ids) cluster.process(id).report.disk = disk(0.4)
    await cluster.clock.advance(20_000)
    expect(led()).to.equal(1)
    expect(cluster.healthy()).to.equal(true)
  })

  it('draining the only replica moves it first', async () => {
    await begin({ nodes: 3 })
    await cluster.createVolume({ dataPartitions: 3, replicas: 1, placement: 'tivoli' })
    await cluster.clock.advance(1_000)
    await cluster.clock.run(router().toManager('manager.drain-node', { node: 'node-2', drain: true }))
    await cluster.clock.until(() => cluster.healthy() && !cluster.leadersOf().has('node-2'), 60_000)
  })

  it('a node that stays away is replaced; nothing is dropped before', async () => {
    await begin({ nodes: 4, checkIntervalMs: 5_000 })
    await cluster.createVolume({ dataPartitions: 8 })
    await cluster.clock.advance(1_000)
    cluster.kill('node-4')
    await cluster.clock.advance(9 * 60_000)
    expect(cluster.states('node-4')).to.deep.equal(new Set(['offline']))
    await cluster.clock.until(() => cluster.states('node-4').size === 0, 4 * 60_000)
    await cluster.clock.until(() => cluster.healthy(), 60_000)
    cluster.kill('node-3')
    await cluster.clock.advance(11 * 60_000)
    // There is no node to replace it: its replicas are kept.
    expect(cluster.states('node-3')).to.deep.equal(new Set(['offline']))
  }).timeout(60_000)
})
