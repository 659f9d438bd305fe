import { expect } from 'chai'
import { crc32 } from 'node:zlib'
import { blockBytes, headerBytes } from '../../fsnode/data/chunk-header.ts'
import { ChunkStore } from '../../fsnode/data/chunk-store.ts'
import { recentChangesMax } from '../../fsnode/data/constants.ts'
import { RecentChanges } from '../../fsnode/data/recent-changes.ts'
import type { DataScrubResponse } from '../../fsnode/protocol/data.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { SimClock } from '../sim/clock.ts'
import { machine } from '../sim/memory-files.ts'
import { SimRandom } from '../sim/random.ts'
import { contentsOf, partitionId, SimClient, SimCluster, type SimNode } from './cluster.ts'
import { silentLog } from './support.ts'

describe('a data partition', () => {
  let clock: SimClock
  let random: SimRandom
  let cluster: SimCluster
  let client: SimClient
  const start = async (init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<void> => {
    clock = new SimClock()
    random = new SimRandom(42)
    cluster = new SimCluster({ clock, random, ...init })
    await cluster.start()
    client = new SimClient(cluster, 'client')
    await clock.run(client.start())
  }
  const node = (id: string): SimNode => cluster.nodes.get(id)!
  const run = <T>(promise: Promise<T>): Promise<T> => clock.run(promise, 120_000)
  const failureOf = (promise: Promise<unknown>): Promise<string> => run(promise.then(() => 'none', codeOf))
  const healthy = (): Promise<void> => clock.until(() => cluster.healthy, 60_000, 'health')
  const expectIdentical = async (): Promise<void> => {
    const contents = await contentsOf(cluster)
    for (const other of contents.slice(1)) expect(other).to.equal(contents[0])
  }

  it('has every acknowledged change on all replicas, byte for byte', async () => {
    await start()
    const bytes = random.bytes(3 * blockBytes + 17)
    await run(client.write(5, 0, 1000, bytes))
    await run(client.zero(5, 0, 2000, blockBytes))
    await run(client.truncate(5, 0, 2 * blockBytes))
    await run(client.write(6, 1, 0, Buffer.from('gone')))
    await run(client.truncate(6, 1, 0))
    await run(client.sync(5, 0))
    await expectIdentical()
    const read = await run(client.read(5, 0, 0, 10 * blockBytes))
    const expected = Buffer.concat([Buffer.alloc(1000), bytes]).fill(0, 2000, 2000 + blockBytes).subarray(0, 2 * blockBytes)
    expect(read.equals(expected)).to.equal(true)
    expect(await run(node('node-2').store!.list(partitionId))).to.deep.equal([[5, 0]])
    expect(node('node-1').partitions!.takeLoad()).to.deep.equal([{ partition: partitionId, readBytes: 2 * blockBytes, writeBytes: bytes.length + 4, reads: 1, writes: 2 }])
    expect(node('node-1').partitions!.takeLoad()).to.deep.equal([])
  })

  it('has on stable storage what was acknowledged of all chunks of a sync, on all replicas', async () => {
    await start()
    const contents = [0, 1, 2, 3].map((chunk) => random.bytes(1_000 * (chunk + 1)))
    for (const [chunk, bytes] of contents.entries()) await run(client.write(5, chunk, 0, bytes))
    await run(client.sync(5, 0, 1, 3))
    for (const each of cluster.nodes.values()) {
      each.crash(true)
      const store = new ChunkStore({ files: each.files, clock, log: silentLog }, { directory: '/data/partitions', probe: false })
      await run(store.open())
      for (const chunk of [0, 1, 3]) expect((await run(store.read({ partition: partitionId, ino: 5, chunk }, 0, 1e6))).equals(contents[chunk]!)).to.equal(true)
    }
  })

  it('refuses other epochs, other nodes than the primary, a primary without lease, and malformed requests', async () => {
    await start()
    const read = (to: string, epoch: number, fields = {}): Promise<unknown> =>
      client.router.toNode(to, 'data.read', { partition: partitionId, epoch, ino: 1, chunk: 0, offset: 0, length: 1, ...fields })
    expect(await failureOf(read('node-1', 1))).to.equal('none')
    expect(await failureOf(read('node-1', 2))).to.equal('ATOLL_STALE_EPOCH')
    expect(await failureOf(read('node-1', 0))).to.equal('ATOLL_STALE_EPOCH')
    expect(await failureOf(read('node-2', 1))).to.equal('ATOLL_NOT_PRIMARY')
    expect(await failureOf(read('node-1', 1, { partition: '9.d.9' }))).to.equal('ATOLL_STALE_EPOCH')
    for (const fields of [{ ino: -1 }, { ino: 0.5 }, { chunk: '../x' }, { offset: 2 ** 40 }, { length: -5 }, { length: null }]) {
      expect(await failureOf(read('node-1', 1, fields)), JSON.stringify(fields)).to.equal('EINVAL')
    }
    const digests = (chunks: unknown, limit: unknown = 1): Promise<unknown> =>
      client.router.toNode('node-1', 'replica.digests', { partition: partitionId, epoch: 1, after: null, limit, recent: false, chunks } as never)
    expect(await failureOf(digests([[1, 0]]))).to.equal('none')
    for (const chunks of [[], ['../x'], [-1], Array.from({ length: 17 }, () => 0), 'x', undefined]) {
      const sync = client.router.toNode('node-1', 'data.sync', { partition: partitionId, epoch: 1, ino: 1, chunks } as never)
      expect(await failureOf(sync), JSON.stringify(chunks)).to.equal('EINVAL')
    }
    for (const [chunks, limit] of [[[['../../etc', 0]], 1], [[1], 1], ['x', 1], [[[1, 0]], NaN]]) expect(await failureOf(digests(chunks, limit))).to.equal('EINVAL')
    expect(await failureOf(client.write(1, 0, 2 ** 25, Buffer.from('x')))).to.equal('EFBIG')
    expect(cluster.partition.epoch).to.equal(1)
    cluster.network.cut('node-1', 'm')
    await clock.advance(990)
    cluster.leaseUntil.set('node-1', 0)
    expect(await failureOf(read('node-1', 1))).to.equal('ATOLL_UNAVAILABLE')
  })

  it('tells a reader on its machine where committed bytes are, with their checksums', async () => {
    await start()
    const bytes = random.bytes(2 * blockBytes + 100)
    await run(client.write(5, 0, 0, bytes))
    const read = (from: string): ReturnType<typeof client.router.toPrimary<'data.read'>> =>
      client.router.toPrimary(partitionId, 'data.read', (epoch) => ({ partition: partitionId, epoch, ino: 5, chunk: 0, offset: blockBytes + 10, length: 5 * blockBytes, machine: from }))
    const { body: { file }, payload } = await run(read(machine))
    expect(payload).to.deep.equal([])
    const found = Buffer.alloc(file!.length)
    expect(node('node-1').files.peek(file!.path.replace('node-1:', ''), found, file!.position)).to.equal(file!.length)
    expect(found.subarray(file!.skip, file!.skip + file!.count).equals(bytes.subarray(blockBytes + 10))).to.equal(true)
    expect([...new Uint32Array(new Uint8Array(file!.sums).buffer)]).to.deep.equal([crc32(found.subarray(0, blockBytes)), crc32(found.subarray(blockBytes))])
    expect(node('node-1').partitions!.takeLoad()[0]).to.include({ reads: 1, readBytes: bytes.length - blockBytes - 10 })
    const elsewhere = await run(read('another machine'))
    expect(elsewhere.body).to.deep.equal({})
    expect(Buffer.concat(elsewhere.payload).equals(bytes.subarray(blockBytes + 10))).to.equal(true)
  })

  it('refuses what is for a chunk as it was before others changed it, whoever is the primary', async () => {
    await start()
    const ask = async (): Promise<{ origin: string, order: number }> =>
      (await client.router.toPrimary(partitionId, 'data.position', (epoch) => ({ partition: partitionId, epoch }))).body
    let order = 0
    const write = (writer: string, chunk: number, since?: { origin: string, order: number }): Promise<unknown> =>
      client.router.toPrimary(partitionId, 'data.write', (epoch) => ({ partition: partitionId, epoch, ino: 1, chunk, offset: 0, writer, order: ++order, since }), { payload: [Buffer.from(writer)] })
    await run(write('b', 0))
    const since = await run(ask())
    await run(write('a', 0, since))
    await run(write('a', 0, since))
    await run(write('b', 1))
    await run(write('a', 0, since))
    expect(await failureOf(write('a', 1, since))).to.equal('ATOLL_CHANGED')
    await run(write('b', 0))
    await run(write('a', 0))
    expect(await failureOf(write('a', 0, since)), 'its own change came last, but another lies between').to.equal('ATOLL_CHANGED')
    await run(write('a', 0, await run(ask())))
    const before = await run(ask())
    cluster.change({}, 'node-2')
    await healthy()
    expect(await failureOf(write('a', 0, before)), 'another primary cannot tell').to.equal('ATOLL_CHANGED')
    await run(write('a', 0, await run(ask())))
  })

  it('what is forgotten of changes counts as changed', () => {
    const changes = new RecentChanges()
    for (let order = 1; order <= 3 * recentChangesMax; order++) changes.note(`${order}.0`, 'b', order)
    expect(changes.othersOrder(`${3 * recentChangesMax}.0`, 'a')).to.equal(3 * recentChangesMax)
    expect(changes.othersOrder('1.0', 'a')).to.be.at.least(1).and.lessThan(2 * recentChangesMax)
    expect(changes.othersOrder('never.0', 'a')).to.equal(changes.othersOrder('1.0', 'a'))
  })

  it('refuses an attempt that comes after a later one of the same client', async () => {
    await start()
    const write = (order: number): Promise<unknown> =>
      client.router.toNode('node-1', 'data.write', { partition: partitionId, epoch: 1, ino: 1, chunk: 0, offset: 0, writer: 'w', order }, { payload: [Buffer.from([order])] })
    await run(write(4))
    expect(await failureOf(write(3))).to.equal('ATOLL_SUPERSEDED')
    await run(write(5))
    expect([...await run(client.read(1, 0, 0, 9))]).to.deep.equal([5])
  })

  it('shows no write before it is committed, not even at the primary', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.alloc(100, 1)))
    cluster.network.cut('node-1', 'node-3')
    const write = client.write(1, 0, 50, Buffer.alloc(100, 2))
    await clock.advance(20)
    const answers: string[] = []
    const reads = [[0, 'before'], [60, 'within'], [149, 'within']].map(async ([offset, name]) => {
      await client.read(1, 0, offset as number, 50)
      answers.push(name as string)
    })
    await clock.advance(500)
    expect(answers).to.deep.equal(['before'])
    await run(Promise.all([write, ...reads]))
  })

  it('applies each mutation of a session once and in order, and those of older sessions never', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.from('first')))
    const apply = (session: number, sequence: number, text: string, kind: 'write' | 'settle' = 'write'): Promise<unknown> =>
      client.router.toNode('node-2', 'replica.apply', {
        partition: partitionId, epoch: 1, ino: 1, chunk: 0, kind, offset: 0, length: 0, origin: 'o', session, sequence, order: sequence, committed: 0, reconciled: false
      }, { payload: [Buffer.from(text)] })
    expect(await failureOf(apply(1000, 1, 'without hello'))).to.equal('ATOLL_STALE_EPOCH')
    await run(apply(1000, 0, '', 'settle'))
    expect(await failureOf(apply(1000, 2, 'gap'))).to.equal('ATOLL_STALE_EPOCH')
    await run(apply(1000, 1, 'once'))
    expect(await failureOf(apply(1000, 1, 'twice'))).to.equal('ATOLL_STALE_EPOCH')
    expect(await failureOf(apply(999, 0, '', 'settle'))).to.equal('ATOLL_STALE_EPOCH')
    expect((await run(node('node-2').store!.read({ partition: partitionId, ino: 1, chunk: 0 }, 0, 9))).toString()).to.equal('oncet')
    // The primary finds its session outdated, opens a newer one, and sends again what was refused.
    await run(client.write(1, 0, 0, Buffer.from('again')))
    expect(cluster.partition.epoch).to.equal(1)
    await expectIdentical()
  })

  it('a piece of a copied chunk that is sent again takes the place of what came first', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.from('before')))
    const apply = (kind: 'put' | 'settle', session: number, sequence: number, offset = 0, text = ''): Promise<unknown> =>
      client.router.toNode('node-2', 'replica.apply', {
        partition: partitionId, epoch: 1, ino: 1, chunk: 0, kind, offset, length: 9, origin: 'o', session, sequence, order: 1, committed: 0, reconciled: false
      }, { payload: [Buffer.from(text)] })
    await run(apply('settle', 1000, 0))
    await run(apply('put', 1000, 1, 0, 'one'))
    await run(apply('put', 1000, 2, 3, 'two'))
    await run(apply('settle', 1001, 0))
    await run(apply('put', 1001, 1, 3, 'TWO'))
    await run(apply('put', 1001, 2, 6, 'end'))
    expect((await run(node('node-2').store!.read({ partition: partitionId, ino: 1, chunk: 0 }, 0, 20))).toString()).to.equal('oneTWOend')
  })

  it('the last piece of a copied chunk that is sent again without those before it, which were acknowledged, has the primary send all of it', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.from('right')))
    await run(node('node-2').store!.write({ partition: partitionId, ino: 1, chunk: 0 }, 0, [Buffer.from('wrong')]))
    const apply = (kind: 'put' | 'settle', session: number, sequence: number): Promise<unknown> =>
      client.router.toNode('node-2', 'replica.apply', {
        partition: partitionId, epoch: 1, ino: 1, chunk: 0, kind, offset: 3, length: 5, origin: 'o', session, sequence, order: 1, committed: 0, reconciled: false
      }, { payload: [Buffer.from('ht')] })
    await run(apply('settle', 1000, 0))
    await run(apply('put', 1000, 1))
    expect(cluster.partition.epoch).to.equal(1)
    await expectIdentical()
  })

  it('goes on without a replica that dies, and brings it up by copying only the chunks that changed', async () => {
    await start()
    for (let chunk = 0; chunk < 20; chunk++) await run(client.write(1, chunk, 0, random.bytes(3000)))
    node('node-3').crash(false)
    await run(client.write(1, 4, 100, Buffer.from('changed')))
    await run(client.write(1, 30, 0, Buffer.from('new')))
    await run(client.truncate(1, 7, 0))
    expect(cluster.stateOf('node-3')).to.equal('offline')
    await run(node('node-3').start())
    let copied = 0
    await clock.until(() => {
      copied = Math.max(copied, node('node-3').partitions!.find(partitionId)?.recovering ?? 0)
      return cluster.healthy
    })
    expect(copied).to.equal(3)
    await expectIdentical()
  })

  it('keeps writes that arrive while a replica catches up', async () => {
    await start()
    for (let chunk = 0; chunk < 40; chunk++) await run(client.write(1, chunk, 0, random.bytes(2000)))
    node('node-2').crash(true)
    await clock.advance(2_000)
    for (let chunk = 0; chunk < 40; chunk++) await run(client.write(1, chunk, 500, random.bytes(1000)))
    await run(node('node-2').start())
    let writes = 0
    while (!cluster.healthy) {
      await run(client.write(1, writes % 50, random.below(3000), random.bytes(200)))
      writes++
    }
    expect(writes).to.be.above(5)
    await expectIdentical()
  })

  it('acknowledges nothing that a replica lacks which is about to serve, also when it learns last that it serves', async () => {
    await start()
    await run(client.write(1, 0, 0, random.bytes(2000)))
    node('node-3').crash(false)
    await clock.until(() => cluster.stateOf('node-3') === 'offline')
    await run(node('node-3').start())
    await clock.until(() => cluster.stateOf('node-3') === 'syncing' && client.router.dataPartition(partitionId).epoch === cluster.partition.epoch)
    // Nobody else hears of what the manager decides now.
    const deaf = [node('node-1').router!, node('node-2').router!, client.router]
    for (const router of deaf) router.adopt = () => {}
    await clock.until(() => cluster.stateOf('node-3') === 'serving' && node('node-3').router!.mapVersion === cluster.map.version)
    let isThere = false
    const late = client.write(2, 0, 0, Buffer.from('late')).then(() => { isThere = node('node-3').files.paths.some((path) => path.endsWith('/2.0')) })
    await clock.advance(300)
    for (const router of deaf) {
      delete (router as Partial<typeof router>).adopt
      router.adopt(cluster.map)
    }
    await run(late)
    expect(isThere).to.equal(true)
    await healthy()
    await expectIdentical()
  })

  it('brings up a replica of which the primary never saw that it was away', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.from('x')))
    cluster.change({ 'node-2': 'waiting' })
    node('node-2').router!.adopt(cluster.map)
    cluster.change({ 'node-2': 'syncing' })
    node('node-1').router!.adopt(cluster.map)
    await healthy()
    await expectIdentical()
  })

  it('promotes no replica before the lease of the primary has run out, and loses nothing', async () => {
    await start()
    await run(client.write(1, 0, 0, Buffer.from('acknowledged')))
    cluster.network.cut('node-1', 'm')
    cluster.network.cut('node-1', 'node-2')
    cluster.network.cut('node-1', 'node-3')
    const cutAt = clock.now()
    const write = client.write(1, 0, 0, Buffer.from('A'))
    await clock.until(() => cluster.partition.primary !== 'node-1')
    expect(clock.now() - cutAt).to.be.at.least(900)
    await run(write)
    expect((await run(client.read(1, 0, 0, 100))).toString()).to.equal('Acknowledged')
    cluster.network.heal()
    await healthy()
    await expectIdentical()
  })

  it('makes replicas equal where the old primary died in the midst of a write', async () => {
    await start()
    for (let round = 0; round < 6; round++) {
      await run(client.write(1, round, 0, Buffer.alloc(5000, 1)))
      const primary = cluster.partition.primary!
      const others = [...cluster.nodes.keys()].filter((id) => id !== primary)
      // Only one of the others gets the write.
      cluster.network.cut(primary, others[round % 2]!)
      void client.write(1, round, 2000, Buffer.alloc(100, 9), 1).catch(() => {})
      await clock.advance(10)
      node(primary).crash(false)
      await clock.until(() => cluster.partition.primary !== primary)
      cluster.network.heal()
      await clock.until(() => others.every((id) => {
        const { epoch, settled } = node(id).partitions!.find(partitionId)!
        return epoch === cluster.partition.epoch && settled
      }), 30_000, 'comparison')
      const digests = await Promise.all(others.map((id) => run(node(id).store!.digest({ partition: partitionId, ino: 1, chunk: round }))))
      expect(digests[0]).to.deep.equal(digests[1])
      await run(node(primary).start())
      await healthy()
    }
    await expectIdentical()
  })

  it('repairs bit rot at the primary from a secondary, and at a secondary from the primary', async () => {
    await start()
    const bytes = random.bytes(2 * blockBytes)
    await run(client.write(1, 0, 0, bytes))
    await run(client.write(1, 1, 0, bytes))
    const rot = async (id: string, chunk: number, offset: number): Promise<void> => {
      const { files } = node(id)
      files.rot(files.paths.find((path) => path.endsWith(`/1.${chunk}`))!, offset)
    }
    await rot('node-1', 0, headerBytes + blockBytes + 5)
    expect((await run(client.read(1, 0, 0, bytes.length))).equals(bytes)).to.equal(true)
    // A small write needs the rest of its block.
    await rot('node-1', 0, headerBytes + 5)
    await run(client.write(1, 0, 100, Buffer.from('x')))
    await rot('node-2', 1, headerBytes + 77)
    await run(client.write(1, 1, 100, Buffer.from('x')))
    await expectIdentical()
    expect((await run(client.read(1, 0, 99, 3)))).to.deep.equal(Buffer.from([bytes[99]!, 120, bytes[101]!]))
  })

  it('answers EIO-like damage as such when no replica has a good copy', async () => {
    await start({ nodes: 1 })
    await run(client.write(1, 0, 0, random.bytes(100)))
    node('node-1').files.rot(node('node-1').files.paths[0]!, headerBytes + 5)
    expect(await failureOf(client.read(1, 0, 0, 10))).to.equal('ATOLL_BAD_CHECKSUM')
    await run(client.truncate(1, 0, 0))
    expect((await run(client.read(1, 0, 0, 10))).length).to.equal(0)
  })

  it('brings up chunks that are larger than a message', async () => {
    await start({ nodes: 2 })
    for (let offset = 0; offset < 20 * 2 ** 20; offset += 5 * 2 ** 20) await run(client.write(1, 0, offset, Buffer.alloc(5 * 2 ** 20 - 7, 1 + offset)))
    node('node-2').crash(false)
    await run(client.write(1, 0, 12_345, Buffer.from('changed')))
    await run(node('node-2').start())
    await healthy()
    await expectIdentical()
  })

  it('scrub finds and repairs damage and differences on every replica', async () => {
    await start()
    for (let chunk = 0; chunk < 4; chunk++) await run(client.write(1, chunk, 0, random.bytes(2 * blockBytes)))
    const name = { partition: partitionId, ino: 1, chunk: 0 }
    const { files } = node('node-1')
    files.rot(files.paths.find((path) => path.endsWith('/1.0'))!, headerBytes + 5)
    await run(node('node-2').store!.write({ ...name, chunk: 2 }, 10, [Buffer.from('behind the back')]))
    await run(node('node-3').store!.truncate({ ...name, chunk: 3 }, 0))
    await run(node('node-3').store!.write({ ...name, ino: 9 }, 0, [Buffer.from('nobody else has it')]))
    const scrub = async (dryRun: boolean): Promise<unknown[]> => {
      const found: unknown[] = []
      for await (const { ino, chunk, bad, differing, repaired } of node('node-1').partitions!.find(partitionId)!.scrub({ dryRun })) found.push([ino, chunk, bad, differing, repaired])
      return found
    }
    const damage = (repaired: boolean): unknown[] => [
      [1, 0, [0], [], repaired], [1, 1, [], [], true], [1, 2, [], ['node-2'], repaired], [1, 3, [], ['node-3'], repaired], [9, 0, [], ['node-3'], repaired]
    ]
    expect(await run(scrub(true))).to.deep.equal(damage(false))
    expect(await run(scrub(false))).to.deep.equal(damage(true))
    expect(await run(scrub(false))).to.deep.equal([0, 1, 2, 3].map((chunk) => [1, chunk, [], [], true]))
    await expectIdentical()
  })

  it('a scrub begins anew when the epoch changes in the middle, and ends when the replica is put out', async () => {
    await start()
    for (let chunk = 0; chunk < 4; chunk++) await run(client.write(1, chunk, 0, random.bytes(blockBytes)))
    const scrub = (node: string): Promise<DataScrubResponse | null> =>
      client.router.toReplica(partitionId, node, 'data.scrub', { partition: partitionId, bytesPerSecond: blockBytes }, { timeoutMs: 60_000 }).then((answer) => answer?.body ?? null)
    const whole = { chunks: 4, bytes: 4 * blockBytes, damaged: 0, differing: 0, repaired: 0, failures: [] }
    const [ofPrimary, ofSecondary, ofGone] = [scrub('node-1'), scrub('node-2'), scrub('node-3')]
    await clock.advance(1_500)
    node('node-3').crash(false) // it is silent, and is put out: the epoch grows
    expect(await run(Promise.all([ofPrimary, ofSecondary, ofGone]))).to.deep.equal([whole, whole, null])
  })

  it('answers ENOSPC when a disk is full, stays in sync, and removal makes room', async () => {
    await start({ capacityBytes: 400 * 1024 })
    let written = 0
    let code = 'none'
    for (; code === 'none' && written < 30; written++) code = await failureOf(client.write(1, written, 0, Buffer.alloc(blockBytes, written)))
    expect(code).to.equal('ENOSPC')
    await run(client.write(1, 0, 5, Buffer.from('in place')))
    expect(cluster.partition.epoch).to.equal(1)
    for (let chunk = 0; chunk < 5; chunk++) await run(client.truncate(1, chunk, 0))
    await clock.advance(3_000)
    expect(await failureOf(client.write(2, 0, 0, Buffer.alloc(blockBytes)))).to.be.oneOf(['none', 'ENOSPC'])
    await clock.advance(3_000)
    await run(client.write(2, 0, 0, Buffer.alloc(blockBytes)))
    await expectIdentical()
  })

  it('puts out a replica whose disk fails', async () => {
    await start()
    node('node-2').files.failure = 'EIO'
    await run(client.write(1, 0, 0, Buffer.from('x')))
    expect(cluster.stateOf('node-2')).to.not.equal('serving')
    node('node-2').files.failure = null
    await healthy()
    await expectIdentical()
  })

  it('a clean stop of all nodes is known as such at the next start', async () => {
    await start()
    for (let chunk = 0; chunk < 5; chunk++) await run(client.write(1, chunk, 0, random.bytes(100)))
    await clock.advance(1_000)
    await Promise.all([...cluster.nodes.values()].map((each) => run(each.stop())))
    for (const each of cluster.nodes.values()) await run(each.start())
    expect([...cluster.nodes.values()].map(({ store }) => store!.wasClosed)).to.deep.equal([true, true, true])
    await healthy()
    await expectIdentical()
  })

  describe('in a Tivoli volume', () => {
    it('is read at any serving replica, which sees what was acknowledged', async () => {
      await start({ placement: 'tivoli' })
      await clock.advance(2_000)
      for (let value = 1; value < 30; value++) {
        await run(client.write(1, 0, 0, Buffer.alloc(100, value)))
        for (const id of ['node-3', 'node-1', 'node-2']) {
          const [first] = await run(client.readAt(id, 1, 0, 0, 100))
          expect(first, id).to.equal(value)
        }
      }
      expect(node('node-2').partitions!.takeLoad()[0]!.reads).to.equal(29)
    })

    it('does not show a write that may yet be dropped', async () => {
      await start({ placement: 'tivoli' })
      await run(client.write(1, 0, 0, Buffer.alloc(100, 1)))
      await run(client.readAt('node-2', 1, 0, 0, 1))
      cluster.network.cut('node-1', 'node-3')
      const write = client.write(1, 0, 0, Buffer.alloc(100, 2))
      await clock.advance(20)
      let answered = false
      const read = client.readAt('node-2', 1, 0, 0, 1).finally(() => { answered = true })
      await clock.advance(100)
      expect(answered).to.equal(false)
      expect((await run(read))[0]).to.equal(2)
      await run(write)
    })

    it('acknowledges no write while a replica that was put out may still serve reads', async () => {
      await start({ placement: 'tivoli' })
      await clock.advance(2_000)
      await run(client.write(1, 0, 0, Buffer.alloc(100, 1)))
      const reader = new SimClient(cluster, 'reader')
      await run(reader.start())
      await clock.advance(100)
      await run(reader.readAt('node-3', 1, 0, 0, 1))
      for (const host of ['node-1', 'node-2', 'm']) {
        cluster.network.cut('node-3', host)
        cluster.network.cut('reader', host)
      }
      cluster.leaseUntil.set('node-3', Infinity)
      const stale = (): Promise<boolean> => reader.readAt('node-3', 1, 0, 0, 1).then(([first]) => first === 1, () => false)
      expect(await run(stale())).to.equal(true)
      cluster.change({ 'node-3': 'offline' })
      let acknowledged = false
      const write = client.write(1, 0, 0, Buffer.alloc(100, 2)).then(() => { acknowledged = true })
      let served = 0
      while (!acknowledged) {
        if (await run(stale())) served++
        await clock.advance(5)
      }
      expect(served).to.be.above(10)
      expect(await run(stale())).to.equal(false)
      await run(write)
    })

    /** Keeps reading at a replica, so that it holds a lease. */
    const keepReading = (id: string): (() => void) => {
      let over = false
      const read = async (): Promise<void> => {
        while (!over) {
          await client.readAt(id, 1, 0, 0, 1).catch(() => {})
          await new Promise<void>((resolve) => { clock.setTimer(resolve, 20) })
        }
      }
      void read()
      return () => { over = true }
    }
    const timeOfWrite = async (value: number): Promise<number> => {
      const began = clock.now()
      await run(client.write(1, 0, 0, Buffer.alloc(100, value)))
      return clock.now() - began
    }

    it('hardly waits when a reader is put out, or another leads, as planned: they say that they know', async () => {
      await start({ placement: 'tivoli' })
      await clock.advance(2_000)
      await timeOfWrite(1)
      const stops = ['node-2', 'node-3'].map(keepReading)
      await clock.advance(500)
      cluster.change({ 'node-3': 'offline' })
      expect(await timeOfWrite(2)).to.be.lessThan(400)
      await healthy()
      await clock.advance(500)
      // Only what the old primary granted counts, and it tells.
      cluster.change({}, null)
      await clock.advance(150)
      cluster.change({}, 'node-2')
      expect(await timeOfWrite(3)).to.be.lessThan(400)
      for (const stop of stops) stop()
      await healthy()
      await expectIdentical()
    })

    it('waits for the leases when the old primary cannot be asked', async () => {
      await start({ placement: 'tivoli' })
      await clock.advance(2_000)
      await timeOfWrite(1)
      const stop = keepReading('node-3')
      await clock.advance(500)
      cluster.change({}, null)
      await clock.advance(150)
      node('node-1').crash(false)
      cluster.change({ 'node-1': 'offline' }, 'node-2')
      const changedAt = clock.now()
      await timeOfWrite(2)
      expect(clock.now() - changedAt).to.be.greaterThan(1_000)
      stop()
      await run(node('node-1').start())
      await healthy()
    })

    it('a new policy: nobody waits who did not read by leases, and whoever did is asked', async () => {
      await start({ placement: 'hawaii' })
      await clock.advance(6_000)
      await timeOfWrite(1)
      const setPlacement = (placement: 'hawaii' | 'tivoli'): void => {
        cluster.map = { ...cluster.map, volumes: cluster.map.volumes.map((volume) => ({ ...volume, placement })) }
        cluster.change({})
      }
      setPlacement('tivoli')
      expect(await timeOfWrite(2)).to.be.lessThan(400)
      const stops = ['node-2', 'node-3'].map(keepReading)
      await clock.advance(1_000)
      expect(node('node-2').partitions!.takeLoad()[0]!.reads).to.be.greaterThan(10)
      setPlacement('hawaii')
      expect(await timeOfWrite(3)).to.be.lessThan(400)
      expect(await run(client.readAt('node-2', 1, 0, 0, 1).then(() => 'read', (error) => error.code))).to.equal('ATOLL_NOT_PRIMARY')
      for (const stop of stops) stop()
      await healthy()
      await expectIdentical()
    })
  })
})
