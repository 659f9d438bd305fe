import { expect } from 'chai'
import { SimClient } from './client.ts'
import { chunkSizeBytes, SimCluster } from './cluster.ts'
import { drawConfig } from './config.ts'
import type { SimNode } from './node.ts'
import { SimRandom } from './random.ts'

const me = { uid: 0, gid: 0 }
const hangMs = 15_000
const writeEveryMs = 50
/** A lease of the node, a leader of the manager that waits for such leases anew, and finding out. */
const pauseMsMax = 8_500

/** Cut off without a word: as a process that was stopped. */
function hang (cluster: SimCluster, node: SimNode, others: string[], hangs: boolean): void {
  for (const other of others) {
    for (const [from, to] of [[node.host, other], [other, node.host]] as const) {
      if (hangs) cluster.network.cutOneWay(from, to)
      if (hangs) cluster.raft.cutOneWay(from, to)
      else cluster.raft.healOneWay(from, to)
    }
    if (!hangs) cluster.network.heal(node.host, other)
  }
}

/** A client writes and makes directories while the nodes that are chosen hang, one choice after the other. */
async function writeWhile (seed: number, journalRecordsMax: number, choices: (nodes: readonly SimNode[]) => SimNode[][]): Promise<number> {
  const cluster = new SimCluster(seed, { ...drawConfig(new SimRandom(seed)), nodes: 3, scheduled: false, replicas: 3, placement: 'hawaii', dataPartitions: 6, metadataPartitions: 2, inlineBytesMax: 0, journalRecordsMax, driftMax: 0 })
  const { clock } = cluster
  await cluster.start()
  await clock.until(() => cluster.healthy, 60_000)
  const client = new SimClient(cluster, 'client-1', () => 0)
  cluster.onLog = ({ who, message }) => { if (who === client.host && message.startsWith('session expired')) client.sessionsLost++ }
  await clock.run(client.start())
  const { volume } = client.process!
  let longestMs = 0
  let written = 0
  let stopped = false
  let failure: unknown = null
  const writing = (async () => {
    const { file } = await volume.create(1, 'f', { mode: 0o644, exclusive: true }, me)
    while (!stopped) {
      const began = clock.now()
      await file.write(written * 40_000 % (8 * chunkSizeBytes), [Buffer.alloc(40_000, 1 + written % 250)])
      await file.flush()
      await volume.mkdir(1, `d${written}`, 0o755, me)
      longestMs = Math.max(longestMs, clock.now() - began)
      written++
      await new Promise<void>((resolve) => { clock.setTimer(resolve, writeEveryMs) })
    }
  })().catch((error) => { failure = error })
  const everybody = [...cluster.nodes.map(({ host }) => host), client.host]
  for (const nodes of choices(cluster.nodes)) {
    await clock.until(() => cluster.healthy || failure !== null, 60_000, 'health')
    await clock.advance(cluster.random.below(3_000))
    for (const node of nodes) hang(cluster, node, everybody.filter((other) => other !== node.host), true)
    await clock.advance(hangMs)
    const before = written
    for (const node of nodes) hang(cluster, node, everybody.filter((other) => other !== node.host), false)
    await clock.until(() => written > before + 3 || failure !== null, 20_000, 'writes go on')
  }
  stopped = true
  await clock.run(writing)
  expect(failure, `seed ${seed}`).to.equal(null)
  expect(client.sessionsLost, `seed ${seed}`).to.equal(0)
  expect(cluster.violations, `seed ${seed}`).to.deep.equal([])
  return longestMs
}

describe('nodes that hang, in a whole cluster', function () {
  this.timeout(240_000)

  for (const journalRecordsMax of [0, 200]) {
    const kind = `a client ${journalRecordsMax === 0 ? 'without' : 'with'} a journal`

    it(`one: it holds nobody up until it goes on, and no session ends: ${kind}`, async () => {
      for (let seed = 1; seed <= 6; seed++) {
        expect(await writeWhile(seed, journalRecordsMax, (nodes) => nodes.map((node) => [node]))).to.be.lessThan(pauseMsMax)
      }
    })

    it(`two, or all: what is under way waits for them, and no session ends: ${kind}`, async () => {
      for (let seed = 1; seed <= 2; seed++) await writeWhile(seed, journalRecordsMax, (nodes) => [nodes.slice(1), [...nodes]])
    })
  }
})
