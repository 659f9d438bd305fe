import { expect } from 'chai'
import { ChunkStore } from '../../client/chunk-store.ts'
import { syncChunksMax, type DataSyncRequest } from '../../fsnode/protocol/data.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'
import { TestCluster, type TestVolume } from './cluster.ts'

const chunkBytes = 64 * 1024
const chunkCount = 150

describe('client: syncs', () => {
  let cluster: TestCluster
  let a: TestVolume
  let ino: number
  let asked: DataSyncRequest[]

  beforeEach(async () => {
    cluster = await TestCluster.open({ seed: 5, chunkSizeBytes: chunkBytes })
    a = await cluster.client('a')
    ino = await a.put('f', Buffer.alloc(chunkCount * chunkBytes, 1))
    asked = []
    cluster.onRequest = (method, body) => { if (method === 'data.sync') asked.push(body) }
  })

  const open = () => a.run(a.volume.open(ino, { write: true }))

  it('ask for the chunks of a partition together, for each once', async () => {
    await a.run((await open()).sync())
    expect(asked.flatMap(({ chunks }) => chunks).sort((one, other) => one - other)).to.deep.equal(Array.from({ length: chunkCount }, (_, chunk) => chunk))
    for (const { chunks, partition } of asked) {
      expect(chunks.length).to.be.at.most(syncChunksMax)
      expect(asked.filter((other) => other.partition === partition && other.chunks.length < syncChunksMax)).to.have.length.at.most(1)
    }
    asked = []
    await a.run((await open()).sync())
    expect(asked, 'nothing was written since').to.deep.equal([])
  })

  it('wait for one another: what is under way for one is not on stable storage for the next', async () => {
    let end = (): void => {}
    const ended = new Promise<void>((resolve) => { end = resolve })
    cluster.onRequest = async (method) => {
      if (method !== 'data.sync') return undefined
      await ended
      return undefined
    }
    const [first, second] = [await open(), await open()]
    let isSynced = false
    const syncs = [first.sync(), second.sync().then(() => { isSynced = true })]
    await cluster.clock.advance(1_000)
    expect(isSynced).to.equal(false)
    end()
    await a.run(Promise.all(syncs))
  })

  it('ask again for what another could not bring to stable storage', async () => {
    let failures = 3
    cluster.onRequest = (method, body) => {
      if (method !== 'data.sync') return undefined
      if (failures-- > 0) return new AtollError('EIO', 'the disk')
      asked.push(body)
      return undefined
    }
    const [first, second] = [await open(), await open()]
    const outcomes = await a.run(Promise.allSettled([first.sync(), second.sync()]))
    expect(outcomes.map(({ status }) => status)).to.deep.equal(['rejected', 'fulfilled'])
    expect(new Set(asked.flatMap(({ chunks }) => chunks)).size).to.equal(chunkCount)
  })

  it('go to both partitions when one was split between two attempts', async () => {
    let isSplit = false
    const sent: Array<Pick<DataSyncRequest, 'partition' | 'chunks'>> = []
    const router = {
      map: { volumes: [] },
      partitionOfChunk: (_: number, __: number, chunk: number) => isSplit && chunk % 2 === 1 ? 'odd' : 'all',
      toPrimary: async (which: () => string, _: string, build: (epoch: number, partition: { id: string, losses: number }) => DataSyncRequest) => {
        build(1, { id: which(), losses: 0 })
        isSplit = true // and the answer is that the epoch is another one
        const { partition, chunks } = build(2, { id: which(), losses: 7 })
        sent.push({ partition, chunks })
      }
    }
    const store = new ChunkStore({ router: router as unknown as ClusterRouter, clock: new SimClock(), random: new SimRandom(1), files: null, writeBackPatienceMs: 60_000 }, cluster.volume)
    const synced = new Map<number, number>()
    await store.sync(1, [0, 1, 2, 3, 4], (chunks, losses) => { for (const chunk of chunks) synced.set(chunk, losses) })
    expect(sent).to.deep.equal([{ partition: 'all', chunks: [0, 2, 4] }, { partition: 'odd', chunks: [1, 3] }])
    expect([...synced]).to.deep.equal([[0, 7], [2, 7], [4, 7], [1, 7], [3, 7]])
  })
})
