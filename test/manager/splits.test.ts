import { expect } from 'chai'
import { splitsAtOnceMin } from '../../fsnode/manager/bounds.ts'
import { nextSplits, withLaterSplits } from '../../fsnode/manager/splits.ts'
import type { Methods } from '../../fsnode/protocol/methods.ts'
import { dataIndexOfChunk } from '../../partitioning/routing.ts'
import type { ClusterMap, DataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { SimCluster } from './sim-cluster.ts'

describe('the manager splits partitions', () => {
  let cluster: SimCluster
  const begin = async (nodes = 3): Promise<SimCluster> => cluster = await new SimCluster({ nodes, checkIntervalMs: 50 }).start()
  const router = () => cluster.alive()[0]!.router
  const set = async (dataPartitions: number): Promise<VolumeInfo> => (await cluster.clock.run(router().toManager('manager.set-volume', { name: 'main', dataPartitions }))).body.volume
  const failure = (promise: Promise<unknown>): Promise<{ code: string, details: { hint?: string } }> => cluster.clock.run(promise.then(() => { throw new Error('it did not fail') }, (error) => error))
  const refused = (dataPartitions: unknown) => failure(router().toManager('manager.set-volume', { name: 'main', dataPartitions: dataPartitions as number }))
  const volume = (): VolumeInfo => cluster.map.volumes[0]!
  const partition = (id: string): DataPartition => cluster.map.data.find((one) => one.id === id)!
  const ended = (): boolean => volume().dataPartitionsWanted === undefined
  const holders = ({ replicas }: DataPartition): string[] => replicas.map(({ node }) => node).sort()

  afterEach(() => { cluster.finish() })

  it('each becomes two on the same nodes, led by the same one, in an epoch that nobody has seen', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 6 })
    const before = cluster.map.data
    for (const id of cluster.ids) cluster.process(id).report.stored = before.map((one) => [one.id, 8e6])
    await cluster.clock.advance(2_000)
    for (const id of cluster.ids) delete cluster.process(id).report.stored
    expect(await set(12)).to.include({ dataPartitions: 6, dataPartitionsWanted: 12 })
    await cluster.clock.until(ended, 30_000)
    expect(volume()).to.include({ dataPartitions: 12 })
    expect(cluster.map.data.map(({ index }) => index).sort((one, other) => one - other)).to.deep.equal(Array.from({ length: 12 }, (_, index) => index))
    for (const { id, index, epoch, replicas, primary } of before) {
      for (const half of [partition(id), partition(`1.d.${index + 6}`)]) {
        expect(half).to.deep.include({ span: 12, replicas, primary, volume: 1 })
        expect(half.epoch).to.be.greaterThan(epoch)
        expect(half).to.not.have.property('splitting')
      }
    }
    // Until nodes tell what each holds, half of it is.
    const { stored } = (await cluster.clock.run(router().toManager('manager.loads', {}))).body
    expect(stored.map(({ bytes }) => bytes)).to.deep.equal(Array.from({ length: 12 }, () => 4e6))
  })

  it('several doublings follow one another, at most so many at once, and what exists is always a whole set of partitions', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 20 })
    await set(80)
    let most = 0
    const watch = (): void => {
      const { data } = cluster.map
      most = Math.max(most, data.filter(({ splitting }) => splitting === true).length)
      const spans = new Map(data.map(({ index, span }) => [index, span]))
      for (let ino = 0; ino < 200; ino++) expect(spans.has(dataIndexOfChunk(ino, 0, volume().dataPartitions, (index) => spans.get(index)))).to.equal(true)
      if (!ended()) cluster.clock.setTimer(watch, 20)
    }
    watch()
    await cluster.clock.until(ended, 60_000)
    expect(most).to.equal(splitsAtOnceMin)
    expect(cluster.map.data.every(({ span }) => span === 80)).to.equal(true)
    expect(volume().dataPartitions).to.equal(80)
  })

  it('of many, more are split at once: the map travels with each step', () => {
    for (const [partitions, atOnce] of [[8, 8], [64, 16], [1_024, 64], [8_192, 256]] as const) {
      const data = Array.from({ length: partitions }, (_, index): DataPartition => ({ id: `7.d.${index}`, volume: 7, index, epoch: 1, replicas: [{ node: 'a', state: 'serving' }], primary: 'a' }))
      const map = { volumes: [{ id: 7, replicas: 1, dataPartitions: partitions, dataPartitionsWanted: 2 * partitions }], data } as unknown as ClusterMap
      const marked = nextSplits({ map, record: (id) => ({ partition: data[Number(id.split('.')[2])]!, fences: [], doubtful: [] }) })
      expect(marked!.records!.length).to.equal(atOnce)
    }
    cluster = new SimCluster({ nodes: 0 })
  })

  it('a number that cannot be reached is refused, with what can', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 6 })
    const before = cluster.map
    for (const wanted of [3, 7, 18, 0, -12, 1.5, '12', null, NaN]) {
      const error = await refused(wanted)
      expect([error.code, error.details.hint]).to.deep.equal(['ATOLL_BAD_ARGUMENT', 'for example: atoll volume set main data-partitions=12'])
    }
    expect((await refused(6 * 2 ** 14)).code).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await set(6)).to.include({ dataPartitions: 6 })
    expect(cluster.map).to.deep.equal(before)
  })

  it('it may be stopped until the first one is split, and then goes on to the end', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 4 })
    cluster.holdSplits = true
    await set(8)
    await cluster.clock.until(() => cluster.map.data.every(({ splitting }) => splitting === true), 5_000)
    expect(await set(4)).to.not.have.property('dataPartitionsWanted')
    expect(cluster.map.data.some(({ splitting }) => splitting)).to.equal(false)
    const { epoch, primary } = partition('1.d.0')
    // A primary that has not heard of it.
    await cluster.clock.run(router().toManager('manager.split-partition', { partition: '1.d.0', epoch, node: primary! }))
    expect(cluster.map.data.length).to.equal(4)
    await set(8)
    await cluster.clock.until(() => cluster.map.data.every(({ splitting }) => splitting === true), 5_000)
    await cluster.clock.run(router().toManager('manager.split-partition', { partition: '1.d.0', epoch, node: primary! }))
    expect(cluster.map.data.length).to.equal(5)
    expect((await refused(4)).details.hint).to.equal('end it when all are: atoll volume set main data-partitions=8')
    // Asked again, as after an answer that was lost: nothing happens twice.
    await cluster.clock.run(router().toManager('manager.split-partition', { partition: '1.d.0', epoch, node: primary! }))
    expect(cluster.map.data.length).to.equal(5)
    cluster.holdSplits = false
    for (const process of cluster.alive()) process.resumeSplits()
    await cluster.clock.until(ended, 30_000)
    expect(cluster.map.data.length).to.equal(8)
  })

  it('a partition that lacks a replica waits, and is not split by who does not lead it', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 4 })
    cluster.holdSyncs = true
    cluster.kill('node-3')
    await cluster.clock.until(() => cluster.node('node-3').state === 'down' && cluster.map.data.every(({ primary }) => primary !== null), 20_000)
    await set(8)
    await cluster.clock.advance(10_000)
    expect(cluster.map.data.length).to.equal(4)
    const { epoch, primary } = partition('1.d.0')
    await cluster.clock.run(router().toManager('manager.split-partition', { partition: '1.d.0', epoch, node: primary === 'node-1' ? 'node-2' : 'node-1' }))
    await cluster.clock.run(router().toManager('manager.split-partition', { partition: '1.d.0', epoch, node: primary! }))
    expect(cluster.map.data.length).to.equal(4)
    cluster.holdSyncs = false
    await cluster.restart('node-3')
    await cluster.clock.until(ended, 60_000)
    expect(cluster.map.data.length).to.equal(8)
  })

  it('goes on when the leader of the manager and primaries die, and moves go on beside it', async () => {
    await begin(5)
    await cluster.createVolume({ dataPartitions: 16 })
    await set(64)
    const free = cluster.ids.find((id) => !holders(partition('1.d.3')).includes(id))!
    await cluster.clock.run(router().toManager('manager.move-partition', { partition: '1.d.3', from: holders(partition('1.d.3'))[0]!, to: free }))
    for (const id of ['node-1', 'node-4']) {
      await cluster.clock.advance(60)
      cluster.kill(id)
      await cluster.clock.advance(4_000)
      await cluster.restart(id)
    }
    await cluster.clock.until(() => ended() && cluster.healthy(), 120_000)
    expect(cluster.map.data.length).to.equal(64)
    expect(cluster.map.data.every(({ span, replicas }) => span === 64 && replicas.length === 3)).to.equal(true)
  }).timeout(10_000)

  it('when all are split, they are spread over nodes that came meanwhile', async () => {
    await begin(9)
    for (const id of ['node-4', 'node-5', 'node-6', 'node-7', 'node-8', 'node-9']) await cluster.clock.run(router().toManager('manager.drain-node', { node: id, drain: true }))
    await cluster.createVolume({ dataPartitions: 3 })
    for (const id of ['node-4', 'node-5', 'node-6', 'node-7', 'node-8', 'node-9']) await cluster.clock.run(router().toManager('manager.drain-node', { node: id, drain: false }))
    await set(24)
    const counts = (): number[] => cluster.ids.map((id) => cluster.map.data.filter((one) => holders(one).includes(id)).length)
    await cluster.clock.until(() => ended() && cluster.healthy() && counts().every((count) => count === 8), 120_000)
  }).timeout(20_000)

  it('a backup from before the splits comes back with the partitions that nodes have files of', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 3 })
    const { backup } = JSON.parse(JSON.stringify((await cluster.clock.run(router().toManager('manager.backup', {}))).body)) as Methods['manager.backup']['response']
    await set(12)
    await cluster.clock.until(ended, 30_000)
    const last = cluster.map
    cluster.finish()
    await begin()
    // Of some no chunk was ever written.
    const empty = ['1.d.5', '1.d.7', '1.d.10']
    for (const id of cluster.ids) cluster.process(id).report.stored = last.data.filter((one) => !empty.includes(one.id) && holders(one).includes(id)).map((one) => [one.id, 1e6])
    await cluster.clock.advance(2_000)
    await cluster.clock.run(router().toManager('manager.restore', { backup }))
    await cluster.clock.until(() => cluster.healthy() && ended(), 120_000)
    expect(volume()).to.deep.equal(last.volumes[0])
    expect(cluster.map.data.map(({ id, span }) => `${id} ${span}`).sort()).to.deep.equal(last.data.map(({ id, span }) => `${id} ${span}`).sort())
  })

  it('what nodes have files of shows how far a volume was split', () => {
    const info = { id: 7, name: 'v', dataPartitions: 2 } as VolumeInfo
    const partitions = [0, 1].map((index): DataPartition => ({ id: `7.d.${index}`, volume: 7, index, epoch: 4, replicas: [{ node: `n${index}`, state: 'serving' }], primary: `n${index}` }))
    const spans = (stored: string[]): string => {
      const found = withLaterSplits(info, partitions, stored)
      return `${found.volume.dataPartitionsWanted ?? '-'}: ${found.partitions.map(({ index, span }) => `${index}/${span ?? '-'}`).join(' ')}`
    }
    expect(spans(['7.d.0', '7.d.1', '8.d.9', 'clean', '7.m.4'])).to.equal('-: 0/- 1/-')
    expect(spans(['7.d.3'])).to.equal('4: 0/- 1/4 3/4')
    // 5 was split off 1 after 3 had been.
    expect(spans(['7.d.5'])).to.equal('8: 0/- 1/8 3/4 5/8')
    expect(withLaterSplits(info, partitions, ['7.d.5']).partitions.every(({ index, replicas }) => replicas[0]!.node === `n${index % 2}`)).to.equal(true)
    cluster = new SimCluster({ nodes: 0 })
  })
})
