import { expect } from 'chai'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { inodeNumber, metadataIndexOf } from '../../partitioning/routing.ts'
import { checkReplicas } from './checkers/replicas.ts'
import { SimClient } from './client.ts'
import { SimCluster, volumeName } from './cluster.ts'
import { drawConfig, type SimConfig } from './config.ts'
import { SimRandom } from './random.ts'

const me = { uid: 0, gid: 0 }

type Volume = NonNullable<SimClient['process']>['volume']

/** A healthy cluster of four nodes with two clients, and somebody who may ask all of it. */
async function begun (seed: number, config: Partial<SimConfig>): Promise<{ cluster: SimCluster, clock: SimCluster['clock'], clients: SimClient[], one: Volume, other: Volume, router: ClusterRouter }> {
  const cluster = new SimCluster(seed, { ...drawConfig(new SimRandom(seed)), nodes: 4, scheduled: false, replicas: 3, dataPartitions: 4, journalRecordsMax: 1_000, driftMax: 0, ...config })
  const { clock } = cluster
  await cluster.start()
  await clock.until(() => cluster.healthy, 60_000)
  const clients = [1, 2].map((at) => new SimClient(cluster, `client-${at}`, () => 0))
  for (const client of clients) await clock.run(client.start())
  const [one, other] = clients.map(({ process }) => process!.volume) as [Volume, Volume]
  const router = new ClusterRouter({ network: cluster.network.host('operator'), clock, random: cluster.random.fork(), log: cluster.logger('operator') }, { seeds: cluster.seeds })
  await clock.run(router.start())
  return { cluster, clock, clients, one, other, router }
}

describe('a volume gets more metadata partitions', function () {
  this.timeout(60_000)

  for (const [what, first] of [['one', 1], ['two', 2]] as const) {
    it(`of which it had ${what}: new directories are spread over all, for clients that were there before as well, and what was there stays`, async () => {
      const { cluster, clock, clients, one, other, router } = await begun(500 + first, { metadataPartitions: first })
      const mkdir = async (name: string): Promise<number> => (await clock.run(one.mkdir(1, name, 0o755, me))).ino
      const old = [await mkdir('old-1'), await mkdir('old-2')]
      const refused = (metadataPartitions: number): Promise<string> => clock.run(router.toManager('manager.set-volume', { name: volumeName, metadataPartitions }).then(() => 'done', codeOf))
      for (const wanted of [0, -1, 1.5, 5_000, first - 1]) expect(await refused(wanted), String(wanted)).to.equal('ATOLL_BAD_ARGUMENT')
      await clock.run(router.toManager('manager.set-volume', { name: volumeName, metadataPartitions: 6 }))
      // Who leads the first partition and the manager ends, before the new groups have begun.
      const leader = cluster.nodes.find(({ running }) => running?.manager?.group.status.role === 'leader')!
      leader.end('kill')
      await clock.advance(500)
      leader.start()
      await clock.until(() => cluster.healthy, 60_000)
      expect(cluster.committedMap!.volumes[0]).to.include({ metadataPartitions: 6 })
      expect(await refused(2)).to.equal('ATOLL_BAD_ARGUMENT')
      const made = new Map<string, number>()
      for (let at = 0; at < 40; at++) made.set(`new-${at}`, await mkdir(`new-${at}`))
      expect(new Set([...made.values()].map(metadataIndexOf)).size).to.equal(6)
      for (const [name, ino] of made) {
        expect((await clock.run(other.lookup(1, name))).ino).to.equal(ino)
        const { file } = await clock.run(other.create(ino, 'f', { mode: 0o644, exclusive: true }, me))
        await clock.run(file.write(0, [Buffer.from(name)]))
        await clock.run(file.flush())
        await clock.run(file.release())
      }
      for (const [at, ino] of old.entries()) expect((await clock.run(other.lookup(1, `old-${at + 1}`))).ino).to.equal(ino)
      // Between partitions that were there and new ones.
      await clock.run(other.rename(made.get('new-3')!, 'f', old[0]!, 'moved', 0, me))
      await clock.run(other.rename(1, 'new-5', old[1]!, 'sub', 0, me))
      expect(metadataIndexOf((await clock.run(one.lookup(old[1]!, 'sub'))).ino)).to.equal(metadataIndexOf(made.get('new-5')!))
      expect(await clock.run(one.rename(1, 'old-2', made.get('new-5')!, 'loop', 0, me).then(() => 'done', codeOf))).to.equal('EINVAL')
      // A number that no partition ever gave out.
      expect(await clock.run(one.getattr(inodeNumber(9, 5)).then(() => 'found', codeOf))).to.equal('ENOENT')
      const late = new SimClient(cluster, 'client-3', () => 0)
      await clock.run(late.start())
      const { entries } = await clock.run(late.process!.volume.readdir(1, '', 100))
      expect(entries.length).to.equal(2 + 39)
      for (const { process } of [...clients, late]) await clock.run(process!.volume.close())
      await clock.advance(10_000)
      expect(await checkReplicas(cluster)).to.deep.equal([])
      expect(cluster.violations).to.deep.equal([])
      router.close()
    })
  }

  it('of which it had one, and all is below /home: directories that are made there from then on are spread over all, at any depth, and trees stay together', async () => {
    const { cluster, clock, clients, one, other, router } = await begun(510, { metadataPartitions: 1, spreadInodesMin: 60 })
    const mkdir = async (dir: number, name: string, volume = one): Promise<number> => (await clock.run(volume.mkdir(dir, name, 0o755, me))).ino
    /** A user's directory with a tree as a program unpacks it. */
    const user = async (name: string, volume = one): Promise<{ top: number, below: number[] }> => {
      const top = await mkdir(home, name, volume)
      const below: number[] = []
      for (let at = 0; at < 8; at++) below.push(await mkdir(at % 2 === 0 ? top : below[at - 1]!, `d${at}`, volume))
      return { top, below }
    }
    const home = await mkdir(1, 'home')
    const old = []
    for (let at = 0; at < 10; at++) old.push(await user(`old-${at}`))
    expect(new Set(old.flatMap(({ top, below }) => [top, ...below]).map(metadataIndexOf))).to.deep.equal(new Set([0]))
    await clock.run(router.toManager('manager.set-volume', { name: volumeName, metadataPartitions: 6 }))
    await clock.until(() => cluster.healthy, 60_000)
    const users = []
    for (let at = 0; at < 24; at++) {
      // As long as it takes until partitions and clients have heard of each other's filling.
      await clock.advance(8_000)
      users.push(await user(`new-${at}`, at % 2 === 0 ? one : other))
    }
    expect(new Set(users.map(({ top }) => metadataIndexOf(top))).size).to.equal(6)
    const together = users.filter(({ top, below }) => below.every((ino) => metadataIndexOf(ino) === metadataIndexOf(top)))
    expect(together.length).to.be.greaterThan(12)
    const inodes = await Promise.all(Array.from({ length: 6 }, (_, index) => clock.run(router.toMetadata(`${cluster.volume!.id}.m.${index}`, 'meta.statfs', { partition: `${cluster.volume!.id}.m.${index}` })).then(({ body }) => body.inodes)))
    expect(inodes[0], inodes.join(' ')).to.be.lessThan(2 + 10 * 9 + 6 * 9)
    expect(Math.min(...inodes), inodes.join(' ')).to.be.greaterThan(9)
    expect((await clock.run(other.readdir(home, '', 100))).entries.length).to.equal(34)
    for (const [at, { top }] of users.entries()) expect((await clock.run(other.lookup(home, `new-${at}`))).ino).to.equal(top)
    for (const { process } of clients) await clock.run(process!.volume.close())
    await clock.advance(10_000)
    expect(await checkReplicas(cluster)).to.deep.equal([])
    expect(cluster.violations).to.deep.equal([])
    router.close()
  })
})
