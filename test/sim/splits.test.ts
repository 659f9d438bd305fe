import { expect } from 'chai'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { checkReplicas } from './checkers/replicas.ts'
import { SimClient } from './client.ts'
import { chunkSizeBytes, SimCluster, volumeName } from './cluster.ts'
import { drawConfig } from './config.ts'
import { SimRandom } from './random.ts'
import { runSeed } from './run.ts'

const me = { uid: 0, gid: 0 }
const chunks = 20
const pieceBytes = 1_000

/** One that fills files and knows what it was told to be written. */
class Writer {
  readonly expected: Buffer
  acknowledged = 0
  /** Longest time that one write took, ms, since this was set to 0. */
  longestMs = 0
  stopped = false
  private readonly clock: Pick<Clock, 'now'>

  constructor (clock: Pick<Clock, 'now'>, bytes: number) {
    this.clock = clock
    this.expected = Buffer.alloc(bytes)
  }

  /** Pieces all over the file, one after the other, until told to stop. */
  async run (client: SimClient, random: SimRandom): Promise<void> {
    const { file } = await client.process!.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me)
    while (!this.stopped) {
      const offset = random.below(this.expected.length - pieceBytes)
      const piece = random.bytes(pieceBytes)
      const began = this.clock.now()
      await file.write(offset, [piece])
      await file.flush()
      this.longestMs = Math.max(this.longestMs, this.clock.now() - began)
      piece.copy(this.expected, offset)
      this.acknowledged++
    }
  }
}

/** A cluster in which the partitions are split while a client writes; `strike` is called meanwhile. */
async function splitWhile (seed: number, placement: 'hawaii' | 'tivoli', strike: (cluster: SimCluster) => Promise<void>): Promise<Writer> {
  const cluster = new SimCluster(seed, { ...drawConfig(new SimRandom(seed)), nodes: 4, scheduled: false, replicas: 3, placement, dataPartitions: 4, metadataPartitions: 1, inlineBytesMax: 0, journalRecordsMax: 0, driftMax: 0 })
  const { clock } = cluster
  await cluster.start()
  await clock.until(() => cluster.healthy, 60_000)
  const client = new SimClient(cluster, 'client-1', () => 0)
  await clock.run(client.start())
  const writer = new Writer(clock, chunks * chunkSizeBytes)
  let failure: unknown = null
  const writing = writer.run(client, cluster.random.fork()).catch((error) => { failure = error })
  await clock.until(() => writer.acknowledged > 30, 30_000)
  const router = new ClusterRouter({ network: cluster.network.host('operator'), clock, random: cluster.random.fork(), log: cluster.logger('operator') }, { seeds: cluster.seeds })
  await clock.run(router.start())
  writer.longestMs = 0
  const asked = router.toManager('manager.set-volume', { name: volumeName, dataPartitions: 16 })
  await strike(cluster)
  await clock.run(asked)
  await clock.until(() => cluster.healthy, 120_000, 'health')
  expect(cluster.committedMap!.data.filter(({ span }) => span === 16).length).to.equal(16)
  const before = writer.acknowledged
  await clock.until(() => writer.acknowledged > before + 10 || failure !== null, 30_000)
  writer.stopped = true
  await clock.run(writing)
  expect(failure).to.equal(null)
  const reader = new SimClient(cluster, 'client-2', () => 0)
  await clock.run(reader.start())
  const { volume } = reader.process!
  const { ino, size } = await clock.run(volume.lookup(1, 'f'))
  const file = await clock.run(volume.open(ino, { write: false }))
  const read = Buffer.concat(await clock.run(file.read(0, size)))
  expect(read.equals(writer.expected.subarray(0, size)), `seed ${seed}: what was acknowledged is there`).to.equal(true)
  await clock.run(file.release())
  await clock.advance(20_000)
  expect(await checkReplicas(cluster), `seed ${seed}`).to.deep.equal([])
  expect(cluster.violations, `seed ${seed}`).to.deep.equal([])
  router.close()
  return writer
}

describe('splits in a whole cluster', function () {
  this.timeout(90_000)

  it('partitions are doubled twice under load, and no operation fails', async () => {
    for (const [seed, placement] of [[301, 'hawaii'], [302, 'tivoli']] as const) {
      const { violations, unknown, operated } = await runSeed(seed, { config: { nodes: 4, placement, faults: [], operateEveryMs: null, splits: 2, durationMs: 3_000 } })
      expect(violations, `seed ${seed}`).to.deep.equal([])
      expect(Object.keys(unknown).filter((code) => code !== 'ENOENT' && code !== 'ESTALE'), `seed ${seed}`).to.deep.equal([])
      expect(operated.split, `seed ${seed}`).to.equal(2)
    }
  })

  for (const [victim, idOf] of [
    ['the primary', (cluster: SimCluster) => cluster.committedMap!.data[0]!.primary],
    ['another replica', ({ committedMap }: SimCluster) => committedMap!.data[0]!.replicas.find(({ node }) => node !== committedMap!.data[0]!.primary)!.node],
    ['the leader of the manager', (cluster: SimCluster) => cluster.nodes.find(({ running }) => running?.manager?.group.status.role === 'leader')?.id]
  ] as const) {
    it(`${victim} may end at any step of a split: nothing that was acknowledged is missing, and it goes on to the end`, async () => {
      for (let step = 0; step < 6; step++) {
        await splitWhile(400 + step, step % 3 === 2 ? 'tivoli' : 'hawaii', async (cluster) => {
          await cluster.clock.advance(0.5 + step * 1.5)
          const node = cluster.node(idOf(cluster) ?? 'node-1')
          node.end(step % 2 === 0 ? 'kill' : 'power')
          await cluster.clock.advance(step % 4 < 2 ? 200 : 6_000)
          node.start()
        })
      }
    })
  }

  it('a volume that is removed in the middle of it leaves nothing behind', async () => {
    for (const afterMs of [1, 4, 8]) {
      const cluster = new SimCluster(460, { ...drawConfig(new SimRandom(460)), nodes: 3, scheduled: false, replicas: 2, placement: 'hawaii', dataPartitions: 4, metadataPartitions: 1, inlineBytesMax: 0, journalRecordsMax: 0, driftMax: 0 })
      const { clock } = cluster
      await cluster.start()
      await clock.until(() => cluster.healthy, 60_000)
      const client = new SimClient(cluster, 'client-1', () => 0)
      await clock.run(client.start())
      const { file } = await clock.run(client.process!.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
      for (let chunk = 0; chunk < chunks; chunk++) await clock.run(file.write(chunk * chunkSizeBytes, [Buffer.alloc(2_000, 1)]))
      await clock.run(file.flush())
      const router = new ClusterRouter({ network: cluster.network.host('operator'), clock, random: cluster.random.fork(), log: cluster.logger('operator') }, { seeds: cluster.seeds })
      await clock.run(router.start())
      await clock.run(router.toManager('manager.create-volume', { name: 'other', placement: 'hawaii', replicas: 2, dataPartitions: 2 }))
      await clock.run(router.toManager('manager.set-volume', { name: volumeName, dataPartitions: 16 }))
      await clock.advance(afterMs)
      await clock.run(router.toManager('manager.remove-volume', { name: volumeName }))
      const left = (): string[] => cluster.nodes.flatMap(({ disk }) => disk.files.paths.filter((path) => path.includes('/1.d.')))
      await clock.until(() => left().length === 0, 60_000, `nothing of the volume, removed after ${afterMs} ms`)
      client.crash(false)
      router.close()
      expect(cluster.violations).to.deep.equal([])
    }
  })

  it('nobody waits long for it', async () => {
    for (const placement of ['hawaii', 'tivoli'] as const) {
      const { longestMs } = await splitWhile(450, placement, ({ clock }) => clock.advance(1_000))
      expect(longestMs, placement).to.be.lessThan(100)
    }
  })
})
