import { expect } from 'chai'
import { homeOfRootChild } from '../../partitioning/directory-homes.ts'
import type { InodeAttr, TransactionRequest } from '../../fsnode/protocol/metadata.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { metadataIndexOf } from '../../partitioning/routing.ts'
import { SimRandom } from '../sim/random.ts'
import { collect, fsck } from './fsck.ts'
import { Cluster, type TestClient } from './harness.ts'

const directory = 0o040755

/** Names of children of the root whose directories live in the partition. */
function namesFor (index: number, partitions: number, count: number): string[] {
  const names: string[] = []
  for (let at = 0; names.length < count; at++) if (homeOfRootChild(`d${at}`, partitions) === index) names.push(`d${at}`)
  return names
}

const partitions = 3

/** Directories p0, p1, p2 in their partitions, each with a file 'f', a directory 's' and an empty directory 'e' below it. */
async function furnished (cluster: Cluster, client: TestClient) {
  const dirs: Array<{ ino: number, name: string, file: InodeAttr, sub: InodeAttr, empty: InodeAttr }> = []
  for (let index = 0; index < partitions; index++) {
    const name = namesFor(index, partitions, 1)[0]!
    const { attr } = await client.create(1, name, { mode: directory })
    expect(metadataIndexOf(attr.ino)).to.equal(index)
    const file = await client.create(attr.ino, 'f', { index })
    const sub = await client.create(attr.ino, 's', { index, mode: directory })
    const empty = await client.create(attr.ino, 'e', { index, mode: directory })
    await client.create(sub.attr.ino, 'below', { index })
    dirs.push({ ino: attr.ino, name, file: file.attr, sub: sub.attr, empty: empty.attr })
  }
  expect(await fsck(cluster)).to.deep.equal([])
  return dirs
}

type Dirs = Awaited<ReturnType<typeof furnished>>

interface Operation { what: string, run: (client: TestClient, dirs: Dirs) => Promise<unknown>, holds: (tree: { has: (dir: number, name: string) => number | undefined }, dirs: Dirs) => boolean }

const fresh = namesFor(2, partitions, 2)[1]!

const operations: Operation[] = [
  {
    what: 'mkdir',
    run: (client) => client.persist('meta.create', { dir: 1, name: fresh, mode: directory, exclusive: true, lease: 'shared', caller: { uid: 1, gid: 1 } }),
    holds: (tree) => tree.has(1, fresh) !== undefined
  },
  {
    what: 'rename of a file to another partition',
    run: (client, [, from, to]) => client.persist('meta.rename', { dir: from!.ino, name: 'f', newDir: to!.ino, newName: 'g', flags: 0, open: false }, 1),
    holds: (tree, [, from, to]) => tree.has(from!.ino, 'f') === undefined && tree.has(to!.ino, 'g') === from!.file.ino
  },
  {
    what: 'rename of a file over a file of another partition',
    run: (client, [, from, to]) => client.persist('meta.rename', { dir: from!.ino, name: 'f', newDir: to!.ino, newName: 'f', flags: 0, open: false }, 1),
    holds: (tree, [, from, to]) => tree.has(from!.ino, 'f') === undefined && tree.has(to!.ino, 'f') === from!.file.ino
  },
  {
    what: 'rename of a directory over an empty one of another partition',
    run: (client, [, from, to]) => client.persist('meta.rename', { dir: from!.ino, name: 's', newDir: to!.ino, newName: 'e', flags: 0, open: false }, 1),
    holds: (tree, [, from, to]) => tree.has(from!.ino, 's') === undefined && tree.has(to!.ino, 'e') === from!.sub.ino
  },
  {
    what: 'exchange of a file and a directory between partitions',
    run: (client, [, from, to]) => client.persist('meta.rename', { dir: from!.ino, name: 'f', newDir: to!.ino, newName: 's', flags: 2, open: false }, 1),
    holds: (tree, [, from, to]) => tree.has(from!.ino, 'f') === to!.sub.ino && tree.has(to!.ino, 's') === from!.file.ino
  },
  {
    what: 'link to a file of another partition',
    run: (client, [, from, to]) => client.persist('meta.link', { ino: from!.file.ino, dir: to!.ino, name: 'l' }, 2),
    holds: (tree, [, from, to]) => tree.has(to!.ino, 'l') === from!.file.ino
  },
  {
    what: 'unlink of a file of another partition',
    run: async (client, [, from, to]) => {
      await client.persist('meta.rename', { dir: from!.ino, name: 'f', newDir: to!.ino, newName: 'g', flags: 0, open: false }, 1)
      await client.persist('meta.unlink', { dir: to!.ino, name: 'g', open: false }, 2)
    },
    holds: (tree, [, from, to]) => tree.has(from!.ino, 'f') === undefined && tree.has(to!.ino, 'g') === undefined
  },
  {
    what: 'rmdir of a directory of another partition',
    run: async (client) => {
      await client.persist('meta.create', { dir: 1, name: fresh, mode: directory, exclusive: true, lease: 'shared', caller: { uid: 1, gid: 1 } })
      await client.persist('meta.rmdir', { dir: 1, name: fresh })
    },
    holds: (tree) => tree.has(1, fresh) === undefined
  }
]

async function lookUp (cluster: Cluster) {
  const { entries } = await collect(cluster)
  return { has: (dir: number, name: string) => entries.find((entry) => entry.dir === dir && entry.name === name)?.ino }
}

/** Waits until every transaction is over, wherever it was left. */
function settled (cluster: Cluster): Promise<void> {
  return cluster.clock.until(() => [0, 1, 2].every((index) => [...cluster.leader(index).machine.store.transactions.all.values()].every(({ state }) => state === 'done')), 60_000, 'the end of all transactions')
}

describe('operations across partitions', () => {
  let cluster: Cluster
  let client: TestClient
  let dirs: Dirs

  beforeEach(async () => {
    cluster = await Cluster.open({ partitions, replicas: 2 })
    client = await cluster.client('a')
    dirs = await furnished(cluster, client)
  })

  for (const { what, run, holds } of operations) {
    it(`${what} happens once and wholly`, async () => {
      await cluster.clock.run(run(client, dirs))
      expect(holds(await lookUp(cluster), dirs)).to.equal(true)
      await settled(cluster)
      expect(await fsck(cluster)).to.deep.equal([])
    })
  }

  it('answer with the attributes that the inode has then', async () => {
    const { attr: made } = await client.create(1, fresh, { mode: directory })
    expect((await client.call('meta.getattr', { ino: made.ino }, 2)).attr).to.deep.equal(made)
    const linked = await client.call('meta.link', { ino: dirs[1]!.file.ino, dir: dirs[2]!.ino, name: 'l' }, 2)
    expect(linked.attr.nlink).to.equal(2)
    expect((await client.call('meta.getattr', { ino: dirs[1]!.file.ino }, 1)).attr).to.deep.equal(linked.attr)
    const removed = await client.call('meta.unlink', { dir: dirs[2]!.ino, name: 'l', open: false }, 2)
    expect(removed.attr!.nlink).to.equal(1)
    const found = await client.call('meta.lookup', { dir: 1, name: fresh })
    expect(found).to.deep.equal({ ino: made.ino })
    const again = await client.code(client.create(1, fresh, { mode: directory }))
    expect(again).to.equal('EEXIST')
  })

  it('keep a file that is open somewhere when its last name goes', async () => {
    await client.call('meta.rename', { dir: dirs[1]!.ino, name: 'f', newDir: dirs[2]!.ino, newName: 'g', flags: 0, open: false }, 1)
    const removed = await client.call('meta.unlink', { dir: dirs[2]!.ino, name: 'g', open: true }, 2)
    expect(removed.attr!.nlink).to.equal(0)
    expect((await client.call('meta.orphans', {}, 1)).inos).to.deep.equal([dirs[1]!.file.ino])
  })

  it('recall what others hold in every partition concerned', async () => {
    const other = await cluster.client('b')
    await other.call('meta.getattr', { ino: dirs[1]!.file.ino }, 1)
    await other.code(other.call('meta.lookup', { dir: dirs[2]!.ino, name: 'l' }, 2))
    await client.call('meta.link', { ino: dirs[1]!.file.ino, dir: dirs[2]!.ino, name: 'l' }, 2)
    expect(other.recalls).to.have.deep.members([
      { partition: '7.m.1', ino: dirs[1]!.file.ino, to: 'none' },
      { partition: '7.m.2', ino: dirs[2]!.ino, to: 'shared', names: ['l'] }
    ])
  })

  it('refuse a full directory, and remember it', async () => {
    const { attr } = await client.create(1, fresh, { mode: directory })
    await client.create(attr.ino, 'x', { index: 2 })
    const request = { dir: 1, name: fresh, op: 900 }
    expect(await client.code(client.call('meta.rmdir', request))).to.equal('ENOTEMPTY')
    await client.call('meta.unlink', { dir: attr.ino, name: 'x', open: false }, 2)
    expect(await client.code(client.call('meta.rmdir', request))).to.equal('ENOTEMPTY')
    await client.call('meta.rmdir', { ...request, op: 901 })
    await settled(cluster)
    expect(await fsck(cluster)).to.deep.equal([])
  })

  it('refuse to move a directory below itself, through other partitions too', async () => {
    const [, one, two] = dirs
    await client.call('meta.rename', { dir: 1, name: two!.name, newDir: one!.sub.ino, newName: 'in', flags: 0, open: false })
    expect(await client.code(client.call('meta.rename', { dir: one!.ino, name: 's', newDir: two!.sub.ino, newName: 'x', flags: 0, open: false }, 1))).to.equal('EINVAL')
    expect(await client.code(client.call('meta.rename', { dir: 1, name: one!.name, newDir: two!.empty.ino, newName: 'x', flags: 0, open: false }))).to.equal('EINVAL')
    // One of partition 2 to another directory of partition 2 whose ancestors are elsewhere.
    expect(await client.code(client.call('meta.rename', { dir: two!.ino, name: 's', newDir: two!.empty.ino, newName: 'x', flags: 0, open: false }, 2))).to.equal('well')
    await settled(cluster)
    expect(await fsck(cluster)).to.deep.equal([])
  })

  it('say of another partition whose leader is not to be asked only that: not who leads it, nor that an outcome is unknown', async () => {
    const request = { dir: dirs[1]!.ino, name: 'f', newDir: dirs[2]!.ino, newName: 'g', flags: 0, open: false }
    for (const step of ['query', 'prepare']) {
      for (const code of ['ATOLL_NOT_LEADER', 'ATOLL_CONNECTION_LOST', 'ATOLL_TIMEOUT'] as const) {
        cluster.onTransaction = (message) => { if (message.step === step) throw new AtollError(code, 'struck', { leader: 'n9' }) }
        const error = await cluster.clock.run(client.start('meta.rename', request, 1).then(() => null, (error: AtollError) => error))
        expect([error?.code, error?.details], `${step}: ${code}`).to.deep.equal(['ATOLL_UNAVAILABLE', {}])
      }
    }
    cluster.onTransaction = () => {}
    await cluster.clock.run(client.persist('meta.rename', request, 1))
    await settled(cluster)
    expect(await fsck(cluster)).to.deep.equal([])
  })

  it('never make a loop when two directories are moved below each other at once', async () => {
    for (let round = 0; round < 12; round++) {
      const fork = await Cluster.open({ partitions, seed: round + 1 })
      const [a, b] = [await fork.client('a'), await fork.client('b')]
      const [, one, two] = await furnished(fork, a)
      const both = await fork.clock.run(Promise.all([
        a.code(a.persist('meta.rename', { dir: 1, name: one!.name, newDir: two!.sub.ino, newName: 'x', flags: 0, open: false })),
        b.code(b.persist('meta.rename', { dir: 1, name: two!.name, newDir: one!.sub.ino, newName: 'y', flags: 0, open: false })),
        // Within partition 1, below what is about to move.
        a.code(a.persist('meta.rename', { dir: one!.ino, name: 's', newDir: one!.empty.ino, newName: 'z', flags: 0, open: false }, 1))
      ]))
      expect(both.slice(0, 2).sort()).to.deep.equal(['EINVAL', 'well'])
      await settled(fork)
      expect(await fsck(fork)).to.deep.equal([])
    }
  })

  it('wait for each other without end neither here nor there', async () => {
    const [, one, two] = dirs
    const other = await cluster.client('b')
    for (let round = 0; round < 10; round++) {
      const codes = await cluster.clock.run(Promise.all([
        client.code(client.persist('meta.rename', { dir: one!.ino, name: 'f', newDir: two!.ino, newName: 'f', flags: 2, open: false }, 1)),
        other.code(other.persist('meta.rename', { dir: two!.ino, name: 'f', newDir: one!.ino, newName: 'f', flags: 2, open: false }, 2))
      ]))
      expect(codes).to.deep.equal(['well', 'well'])
    }
    await settled(cluster)
    expect(await fsck(cluster)).to.deep.equal([])
  })
})

describe('a crash during an operation across partitions', () => {
  /** What happens at the n-th moment: a message about to be delivered, its answer about to be, or a proposal. */
  const faults: Array<[name: string, act: (cluster: Cluster, partition: number | null) => void]> = [
    ['every leader changes', (cluster) => { for (let index = 0; index < partitions; index++) cluster.changeLeader(index) }],
    ['the leaders of partitions 0 and 1 change', (cluster) => { cluster.changeLeader(0); cluster.changeLeader(1) }],
    ['the leader of partition 2 changes', (cluster) => { cluster.changeLeader(2) }],
    ['the message is lost', () => {}]
  ]
  for (const { what, run, holds } of operations) {
    it(`leaves ${what} done once or, for a while, undone`, async () => {
      let moments = 0
      for (const [name, act] of faults) {
        for (let moment = 1; ; moment++) {
          const cluster = await Cluster.open({ partitions, replicas: 2 })
          const client = await cluster.client('a')
          const dirs = await furnished(cluster, client)
          let seen = 0
          const strike = (message: TransactionRequest | null): void => {
            if (++seen !== moment) return
            act(cluster, null)
            if (message !== null || name === 'the message is lost') throw new AtollError('ATOLL_CONNECTION_LOST', 'struck')
          }
          cluster.onTransaction = strike
          cluster.onTransactionAnswer = strike
          for (const log of cluster.logs) if (name !== 'the message is lost') log.onPropose = log.onProposed = () => { strike(null) }
          await cluster.clock.run(run(client, dirs), 120_000)
          await settled(cluster)
          expect(holds(await lookUp(cluster), dirs), `${name}, moment ${moment}`).to.equal(true)
          expect(await fsck(cluster), `${name}, moment ${moment}`).to.deep.equal([])
          moments++
          if (seen < moment) break
        }
      }
      expect(moments).to.be.greaterThan(20)
    })
  }
})

describe('many clients with everything at once', () => {
  it('leave a sound volume, whatever fails on the way', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const cluster = await Cluster.open({ partitions, replicas: 3, seed })
      const random = new SimRandom(seed)
      const clients = [await cluster.client('c0'), await cluster.client('c1'), await cluster.client('c2')]
      const known = [1]
      const strike = (): void => { if (random.chance(0.03)) throw new AtollError('ATOLL_CONNECTION_LOST', 'struck') }
      cluster.onTransaction = strike
      cluster.onTransactionAnswer = strike
      let running = true
      const disturb = (): void => {
        if (!running) return
        cluster.changeLeader(random.below(partitions))
        cluster.clock.setTimer(disturb, 200 + random.below(800))
      }
      cluster.clock.setTimer(disturb, 300)
      const work = async (client: TestClient): Promise<void> => {
        for (let step = 0; step < 60; step++) {
          const dir = random.pick(known)
          const [name, newName] = [random.pick(['a', 'b', 'c', 'd']), random.pick(['a', 'b', 'c', 'd'])]
          const index = metadataIndexOf(dir)
          const kind = random.below(6)
          try {
            if (kind <= 1) {
              const { attr } = await client.persist('meta.create', { dir, name, mode: kind === 0 ? directory : 0o100644, exclusive: true, lease: 'exclusive', caller: { uid: 1, gid: 1 } }, index)
              if (kind === 0) known.push(attr.ino)
            } else if (kind === 2) {
              await client.persist('meta.unlink', { dir, name, open: random.chance(0.3) }, index)
            } else if (kind === 3) {
              await client.persist('meta.rmdir', { dir, name }, index)
            } else {
              await client.persist('meta.rename', { dir, name, newDir: random.pick(known), newName, flags: random.pick([0, 0, 2]), open: false }, index)
            }
          } catch (error) {
            expect((error as { code: string }).code, String(error)).to.match(/^E/)
          }
        }
      }
      const renewals = cluster.keepRenewing(...clients)
      await cluster.clock.run(Promise.all(clients.map(work)), 1_000_000)
      running = false
      await settled(cluster)
      renewals.stop()
      expect(await fsck(cluster), `seed ${seed}`).to.deep.equal([])
    }
  })
})
