import { expect } from 'chai'
import { failureAvoidedMs, hedgeBurstMax, hedgeShare } from '../../client/bounds.ts'
import { ReplicaReads } from '../../client/replica-reads.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { DataPartition, NodeInfo, ReplicaState } from '../../partitioning/types.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'

const blockBytes = 4096

describe('reads at replicas (Tivoli)', () => {
  let clock: SimClock
  let reads: ReplicaReads
  let partition: DataPartition
  /** What each node takes to answer, ms, or how it fails. */
  let nodes: Record<string, number | AtollError>
  let asked: string[]

  beforeEach(() => {
    clock = new SimClock()
    asked = []
    nodes = { a: 1, b: 1, c: 1 }
    partition = partitionOf({ a: 'serving', b: 'serving', c: 'serving' })
    const router = {
      dataPartition: () => partition,
      node: () => ({ disk: null }) as NodeInfo,
      toNode: async (node: string) => {
        asked.push(node)
        const answer = nodes[node]!
        if (answer instanceof AtollError) throw answer
        await new Promise<void>((resolve) => { clock.setTimer(resolve, answer) })
        return { body: {}, payload: [Buffer.from(node)] }
      }
    }
    reads = new ReplicaReads({ router: router as never, clock, random: new SimRandom(5) })
  })

  async function read (): Promise<{ from: string | null, ms: number }> {
    const began = clock.now()
    const reading = reads.read('1.d.0', { ino: 1, chunk: 0, offset: 0, length: blockBytes })
    let answer: { from: string | null, ms: number } | null = null
    void reading.then((payload) => { answer = { from: payload === null ? null : payload[0]!.toString(), ms: clock.now() - began } })
    await clock.until(() => answer !== null)
    return answer!
  }

  /** Who answered, of so many reads one after the other. */
  async function readMany (count: number): Promise<Record<string, number>> {
    const counts: Record<string, number> = { a: 0, b: 0, c: 0 }
    for (let at = 0; at < count; at++) counts[(await read()).from!]!++
    return counts
  }

  it('replicas share the reads, the primary is spared', async () => {
    const { a, b, c } = await readMany(200)
    expect(a).to.equal(0)
    expect(b).to.be.greaterThan(50)
    expect(c).to.be.greaterThan(50)
  })

  it('a replica that turns slow is left alone once that was seen, and asked again when that has faded', async () => {
    await readMany(100)
    nodes.b = 200
    await readMany(20)
    asked = []
    await readMany(100)
    expect(asked.filter((node) => node === 'b').length).to.be.lessThan(5)
    nodes.b = 1
    await clock.advance(120_000)
    expect((await readMany(100)).b).to.be.greaterThan(20)
  })

  it('a read that takes long is asked for at another replica, and the first answer counts', async () => {
    await readMany(100)
    nodes.b = nodes.c = 500
    asked = []
    const { ms } = await read()
    expect(asked.length).to.equal(2)
    // The primary is as good as any for that.
    expect(asked[1]).to.equal('a')
    expect(ms).to.be.lessThan(20)
  })

  it('at most a tenth of the reads is asked for twice, after a burst', async () => {
    const count = 400
    // Each answers in the usual time only now and then.
    let turn = 0
    Object.defineProperty(nodes, 'b', { get: () => turn++ % 3 === 0 ? 1 : 60 })
    Object.defineProperty(nodes, 'c', { get: () => turn++ % 3 === 0 ? 1 : 60 })
    nodes.a = 100
    await readMany(count)
    expect(asked.length - count).to.be.within(1, hedgeBurstMax + count * hedgeShare)
  })

  it('a replica that fails is left alone for a while; where none answers the primary is asked by the caller', async () => {
    nodes.b = new AtollError('ATOLL_UNREACHABLE', 'gone')
    let missed = 0
    for (let at = 0; at < 50; at++) if ((await read()).from === null) missed++
    expect(missed).to.equal(1)
    nodes.c = new AtollError('ATOLL_UNREACHABLE', 'gone')
    await clock.advance(failureAvoidedMs)
    expect((await read()).from).to.equal(null)
  })

  it('the answer that another map is needed says nothing of the node\'s speed', async () => {
    nodes.b = nodes.c = new AtollError('ATOLL_STALE_EPOCH', 'another epoch')
    expect((await read()).from).to.equal(null)
    nodes.b = nodes.c = 1
    expect((await readMany(50)).a).to.equal(0)
  })

  it('where only the primary serves there is no choice', async () => {
    partition = partitionOf({ a: 'serving', b: 'offline', c: 'syncing' })
    expect((await read()).from).to.equal(null)
    expect(asked).to.deep.equal([])
  })
})

function partitionOf (states: Record<string, ReplicaState>): DataPartition {
  return { id: '1.d.0', volume: 1, index: 0, epoch: 1, primary: 'a', replicas: Object.entries(states).map(([node, state]) => ({ node, state })) }
}
