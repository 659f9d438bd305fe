import { expect } from 'chai'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import type { Placement } from '../../partitioning/types.ts'
import { dataIndexOfChunk, dataPartitionId } from '../../partitioning/routing.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'
import { childId, contentsOf, partitionId, SimClient, SimCluster } from './cluster.ts'

const ino = 2
/** Chunks of the file that stay, and that go to the partition that is split off. */
const [staying, going] = [0, 1].map((index) => Array.from({ length: 12 }, (_, chunk) => chunk).filter((chunk) => dataIndexOfChunk(ino, chunk, 2) === index)) as [number[], number[]]

async function begin (seed: number, placement: Placement = 'hawaii'): Promise<{ cluster: SimCluster, client: SimClient, random: SimRandom }> {
  const random = new SimRandom(seed)
  const cluster = new SimCluster({ clock: new SimClock(), random, placement })
  await cluster.start()
  const client = new SimClient(cluster, 'client')
  await cluster.clock.run(client.start())
  return { cluster, client, random }
}

async function settled (cluster: SimCluster): Promise<void> {
  await cluster.clock.until(() => cluster.healthy && [...cluster.nodes.values()].every(({ partitions }) => partitions?.find(childId)?.epoch === cluster.map.data[1]!.epoch), 30_000)
  await cluster.clock.advance(3_000)
}

async function expectEqual (cluster: SimCluster, what: string): Promise<void> {
  for (const partition of [partitionId, childId]) {
    const [first, ...others] = await contentsOf(cluster, partition)
    for (const other of others) expect(other, `${what}: ${partition}`).to.equal(first)
  }
}

describe('a replicated partition is split', () => {
  it('clients that follow the map never read zeros, whenever they ask', async () => {
    for (const placement of ['hawaii', 'tivoli'] as const) {
      for (let seed = 1; seed <= 6; seed++) {
        const { cluster, client, random } = await begin(seed, placement)
        const { clock } = cluster
        const bytes = (chunk: number): Buffer => Buffer.alloc(3_000, chunk + 1)
        for (const chunk of [...staying, ...going]) await clock.run(client.write(ino, chunk, 0, bytes(chunk)))
        let over = false
        const reader = async (): Promise<void> => {
          while (!over) {
            const chunk = random.pick([...staying, ...going])
            const which = (): string => dataPartitionId(1, dataIndexOfChunk(ino, chunk, 1, (index) => client.router.dataPartition(dataPartitionId(1, index)).span))
            const { payload } = await client.router.toPrimary(which, 'data.read', (epoch, { id }) => ({ partition: id, epoch, ino, chunk, offset: 0, length: 4_000 }), { timeoutMs: 2_000 })
            expect(Buffer.concat(payload).equals(bytes(chunk)), `${placement} ${seed}: chunk ${chunk}`).to.equal(true)
          }
        }
        const reading = Promise.all([reader(), reader(), reader()])
        await clock.advance(5)
        cluster.split()
        await clock.advance(150)
        over = true
        await clock.run(reading)
        await clock.advance(2_000)
        await expectEqual(cluster, `${placement} ${seed}`)
      }
    }
  })

  it('who still asks the old partition is refused by every replica, for reads and for writes', async () => {
    const { cluster, client } = await begin(7, 'tivoli')
    const { clock } = cluster
    for (const chunk of [...staying, ...going]) await clock.run(client.write(ino, chunk, 0, Buffer.alloc(100, 1)))
    cluster.split()
    await settled(cluster)
    await clock.run(client.router.refresh(cluster.map.version - 1))
    for (const node of cluster.nodes.keys()) {
      expect(await clock.run(client.readAt(node, ino, staying[0]!, 0, 100).then((bytes) => bytes.length, codeOf)), node).to.equal(100)
      expect(await clock.run(client.readAt(node, ino, going[0]!, 0, 100).then(() => 'read', codeOf)), node).to.equal('ATOLL_STALE_EPOCH')
    }
    expect(await clock.run(client.write(ino, going[0]!, 0, Buffer.alloc(100, 2), 1_000).then(() => 'written', codeOf))).to.equal('ATOLL_STALE_EPOCH')
  })

  it('what was under way and reached some replicas only is made equal in both halves', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { cluster, client, random } = await begin(seed)
      const { clock, network } = cluster
      for (const chunk of [...staying, ...going]) await clock.run(client.write(ino, chunk, 0, Buffer.alloc(5_000, 1)))
      // Started anew after a stop: none has a reason to compare everything.
      for (const node of cluster.nodes.values()) {
        await clock.run(node.stop())
        await clock.run(node.start())
        await clock.until(() => cluster.healthy, 30_000)
      }
      await clock.until(() => [...cluster.nodes.values()].every(({ partitions }) => partitions!.find(partitionId)!.settled), 30_000)
      // The last one hears nothing from the primary; the writer gives up at once.
      const primary = cluster.partition.primary!
      const deaf = [...cluster.nodes.keys()].find((id) => id !== primary)!
      network.cutOneWay(primary, deaf)
      const lost = [...staying.slice(0, 2), ...going.slice(0, 2)].map((chunk) => client.write(ino, chunk, random.below(4_000), Buffer.alloc(500, 9), 1).then(() => 'written', codeOf))
      await clock.advance(20 + random.next() * 100)
      cluster.split()
      await clock.advance(random.next() * 20)
      network.heal(primary, deaf)
      await clock.run(Promise.all(lost))
      await settled(cluster)
      await expectEqual(cluster, `seed ${seed}`)
      expect((await contentsOf(cluster, childId))[0]!.split('\n').length).to.equal(going.length)
    }
  })

  it('a replica that was away compares both halves with the primary, and gets what it lacks', async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const { cluster, client, random } = await begin(seed)
      const { clock } = cluster
      for (const chunk of [...staying, ...going]) await clock.run(client.write(ino, chunk, 0, Buffer.alloc(5_000, 1)))
      const node = cluster.nodes.get('node-3')!
      cluster.split()
      await clock.advance(random.next() * 4)
      node.crash(seed % 2 === 0)
      await clock.advance(500)
      await clock.run(client.write(ino, staying[0]!, 100, Buffer.alloc(500, 3)))
      await clock.run(node.start())
      await clock.until(() => cluster.healthy, 60_000)
      await clock.advance(10_000)
      const own = (await contentsOf(cluster, partitionId))
      expect(own[2], `seed ${seed}`).to.equal(own[0])
    }
  })

  it('its primary lets changes end before it asks for the split, holds back those that come, and lets them go on when it cannot be', async () => {
    const { cluster, client } = await begin(9)
    const { clock, network } = cluster
    const chunk = staying[0]!
    await clock.run(client.write(ino, chunk, 0, Buffer.alloc(100, 1)))
    await clock.advance(1_000)
    const asked: number[] = []
    let answer = (): void => {}
    cluster.onSplit = () => new Promise<void>((resolve) => {
      asked.push(clock.now())
      answer = resolve
    })
    const other = [...cluster.nodes.keys()].find((id) => id !== cluster.partition.primary)!
    // One replica does not answer: a change is under way for a while, and a sync.
    network.cut(cluster.partition.primary!, other)
    const slow = client.write(ino, chunk, 0, Buffer.alloc(100, 2))
    await clock.advance(20)
    cluster.want()
    await clock.advance(300)
    expect(asked).to.deep.equal([])
    network.heal(cluster.partition.primary!, other)
    await clock.run(slow)
    await clock.until(() => asked.length === 1, 5_000)
    let written = false
    const held = client.write(ino, chunk, 50, Buffer.alloc(10, 3)).then(() => { written = true })
    const began = clock.now()
    await clock.run(client.sync(ino, chunk))
    expect((await clock.run(client.read(ino, chunk, 0, 1)))[0]).to.equal(2)
    expect([clock.now() - began < 100, written]).to.deep.equal([true, false])
    // The manager does not split it: what was held goes on, and it is tried again, ever less often.
    answer()
    await clock.run(held)
    const gaps: number[] = []
    for (let attempt = 2; attempt < 7; attempt++) {
      const last = clock.now()
      await clock.until(() => asked.length === attempt, 20_000)
      gaps.push(clock.now() - last)
      answer()
    }
    for (const [at, gap] of gaps.entries()) if (at > 0) expect(gap).to.be.greaterThan(gaps[at - 1]! * 1.5)
    cluster.want(false)
    await clock.advance(30_000)
    expect(asked.length).to.be.at.most(7)
  })
})
