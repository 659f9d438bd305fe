import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ChunkStore, type ChunkName } from '../../fsnode/data/chunk-store.ts'
import { blockBytes, chunkBytesMax, headerBytes } from '../../fsnode/data/chunk-header.ts'
import type { ChunkFiles } from '../../fsnode/data/files.ts'
import { nodeFiles } from '../../fsnode/data/node-files.ts'
import { bulkBuffers } from '../../fsnode/protocol/buffer-pool.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { SimRandom } from '../sim/random.ts'
import { NaiveChunk, randomChange, silentLog } from './support.ts'

const name: ChunkName = { partition: '1.d.0', ino: 7, chunk: 3 }
const failureOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'none', codeOf)

const disks: Array<[string, () => Promise<{ files: ChunkFiles, directory: string, remove: () => Promise<void> }>]> = [
  ['memory', async () => ({ files: new MemoryFiles(), directory: '/data/partitions', remove: async () => {} })],
  ['real files', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-chunks-'))
    return { files: nodeFiles, directory: join(directory, 'partitions'), remove: () => rm(directory, { recursive: true }) }
  }]
]

for (const [disk, make] of disks) {
  describe(`the chunk store on ${disk}`, () => {
    let files: ChunkFiles
    let directory: string
    let remove: () => Promise<void>
    let store: ChunkStore
    const reopen = async (): Promise<void> => {
      await store.close()
      store = new ChunkStore({ files, clock: new SimClock(), log: silentLog }, { directory, probe: false, reserveBytes: 0 })
      await store.open()
    }
    beforeEach(async () => {
      ({ files, directory, remove } = await make())
      store = new ChunkStore({ files, clock: new SimClock(), log: silentLog }, { directory, probe: false, reserveBytes: 0 })
      await store.open()
    })
    afterEach(async () => { await store.close(); await remove() })

    it('reads what a naive byte array would hold after any changes, before and after it was opened anew', async () => {
      for (let seed = 1; seed <= 12; seed++) {
        const random = new SimRandom(seed)
        const naive = new NaiveChunk()
        for (let step = 0; step < 60; step++) {
          await randomChange(random, 5 * blockBytes, naive, store, name)
          const offset = random.below(6 * blockBytes)
          const length = random.below(3 * blockBytes)
          const read = await store.read(name, offset, length)
          expect(read.equals(naive.read(offset, length)), `seed ${seed} step ${step}: ${offset}+${length}`).to.equal(true)
          if (random.chance(0.05)) await reopen()
        }
        expect((await store.verify(name)).bad).to.deep.equal([])
        await store.truncate(name, 0)
      }
    })

    it('gives equal digests to equal contents, however they came to be', async () => {
      const other: ChunkName = { ...name, chunk: 4 }
      const bytes = new SimRandom(3).bytes(3 * blockBytes + 100)
      await store.write(name, 0, [bytes])
      await store.write(other, 2 * blockBytes + 5, [bytes.subarray(2 * blockBytes + 5)])
      await store.write(other, 0, [Buffer.alloc(blockBytes, 1), bytes.subarray(blockBytes, 2 * blockBytes + 5)])
      expect(await store.digest(other)).to.not.deep.equal(await store.digest(name))
      for (let at = 0; at < blockBytes; at += 4096) await store.write(other, at, [bytes.subarray(at, at + 1000), bytes.subarray(at + 1000, at + 4096)])
      const digest = await store.digest(name)
      expect(await store.digest(other)).to.deep.equal(digest)
      await reopen()
      expect(await store.digest(other)).to.deep.equal(digest)
      await store.truncate(other, 3 * blockBytes)
      expect(await store.digest(other)).to.not.deep.equal(digest)
      expect(await store.digest({ ...name, chunk: 99 })).to.equal(null)
    })

    it('lists chunks by inode and index, forgets removed ones, and removes a partition whole', async () => {
      const names = [[2 ** 41 + 5, 0], [3, 10], [3, 2], [1, 0]] as const
      for (const [ino, chunk] of names) await store.write({ ...name, ino, chunk }, 0, [Buffer.from('x')])
      await store.write({ ...name, partition: '1.d.10' }, 0, [Buffer.from('y')])
      await store.truncate({ ...name, ino: 3, chunk: 10 }, 0)
      await store.truncate({ ...name, ino: 4, chunk: 4 }, 0)
      expect(await store.list(name.partition)).to.deep.equal([[1, 0], [3, 2], [2 ** 41 + 5, 0]])
      expect((await store.partitions()).sort()).to.deep.equal(['1.d.0', '1.d.10'])
      await store.syncPartition(name.partition)
      await store.removePartition(name.partition)
      expect(await store.list(name.partition)).to.deep.equal([])
      expect((await store.read({ ...name, partition: '1.d.10' }, 0, 10)).toString()).to.equal('y')
    })

    it('keeps a chunk within the size that its header can describe', async () => {
      expect(await failureOf(store.write(name, chunkBytesMax, [Buffer.from('x')]))).to.equal('EFBIG')
      expect(await store.list(name.partition)).to.deep.equal([])
      await store.write(name, chunkBytesMax - 1, [Buffer.from('x')])
      expect((await store.read(name, chunkBytesMax - 2, 10)).toString('hex')).to.equal('0078')
      expect((await store.verify(name)).bad).to.deep.equal([])
    })

    it('runs calls on one chunk in the order in which they were made', async () => {
      const writes = Array.from({ length: 50 }, (_, index) => store.write(name, index % 3, [Buffer.from([index, index, index])]))
      const read = store.read(name, 0, 10)
      void store.truncate(name, 1)
      expect([...await read]).to.deep.equal([48, 49, 49, 49, 47])
      await Promise.all(writes)
      expect([...await store.read(name, 0, 10)]).to.deep.equal([48])
    })

    it('who verifies a chunk gives back the buffers of the pool', async () => {
      await store.write(name, 0, [Buffer.alloc(4 * 2 ** 20, 7)])
      const taken = new Set<ArrayBufferLike>()
      const { take } = bulkBuffers
      bulkBuffers.take = (length) => {
        const bytes = take.call(bulkBuffers, length)
        taken.add(bytes.buffer)
        return bytes
      }
      try {
        expect((await store.verify(name)).bad).to.deep.equal([])
      } finally {
        bulkBuffers.take = take
      }
      expect(taken.size).to.equal(1)
    })

    it('replaces a chunk by pieces', async () => {
      const bytes = new SimRandom(4).bytes(2 * blockBytes + 9)
      await store.write(name, 0, [Buffer.alloc(5 * blockBytes, 7)])
      await reopen()
      await store.put(name, bytes.length, 0, [bytes.subarray(0, blockBytes + 1)])
      await store.put(name, bytes.length, blockBytes + 1, [bytes.subarray(blockBytes + 1)])
      expect((await store.read(name, 0, 5 * blockBytes)).equals(bytes)).to.equal(true)
      expect(await failureOf(store.put(name, 100, 50, [bytes.subarray(0, 50)]))).to.equal('ATOLL_BAD_MESSAGE')
      await store.put(name, 0, 0, [])
      expect(await store.list(name.partition)).to.deep.equal([])
    })
  })
}

describe('the chunk store on a failing disk', () => {
  const directory = '/data/partitions'
  const path = `${directory}/1.d.0/`
  let files: MemoryFiles
  let clock: SimClock
  let store: ChunkStore
  const start = async (): Promise<void> => {
    store = new ChunkStore({ files, clock, log: silentLog }, { directory, probe: false, reserveBytes: 0, openChunksMax: 4 })
    await store.open()
  }
  const restart = async (): Promise<void> => {
    files = files.reopen()
    await start()
  }
  const fileOf = (ino: number, chunk: number): string => files.paths.find((known) => known.startsWith(path) && known.endsWith(`/${ino}.${chunk}`))!
  beforeEach(async () => {
    files = new MemoryFiles()
    clock = new SimClock()
    await start()
  })

  it('finds a flipped bit anywhere: in the bytes, in the header, in the table', async () => {
    const bytes = new SimRandom(5).bytes(3 * blockBytes)
    for (const [offset, bad] of [[headerBytes + blockBytes + 77, [1]], [66, 'header'], [20, 'header'], [0, 'header']] as Array<[number, number[] | 'header']>) {
      await store.write(name, 0, [bytes])
      await store.close()
      files.rot(fileOf(7, 3), offset)
      await restart()
      expect(await failureOf(store.read(name, blockBytes, 10)), `offset ${offset}`).to.equal('ATOLL_BAD_CHECKSUM')
      expect(await failureOf(store.write(name, blockBytes + 5, [Buffer.from('x')]))).to.equal('ATOLL_BAD_CHECKSUM')
      if (bad === 'header') {
        expect(await failureOf(store.verify(name))).to.equal('ATOLL_BAD_CHECKSUM')
        await store.put(name, bytes.length, 0, [bytes])
      } else {
        expect((await store.read(name, 0, blockBytes)).length).to.equal(blockBytes)
        expect(await store.verify(name)).to.deep.equal({ bad, length: bytes.length })
        expect(await store.restore(name, 1, bytes.subarray(0, blockBytes))).to.equal(false)
        expect(await store.restore(name, 1, bytes.subarray(blockBytes, 2 * blockBytes))).to.equal(true)
      }
      expect((await store.read(name, 0, bytes.length)).equals(bytes)).to.equal(true)
    }
  })

  it('loses nothing that was written when the process ends at any moment', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = new SimRandom(seed)
      const naive = new NaiveChunk()
      const steps = random.below(25)
      for (let step = 0; step < steps; step++) {
        await randomChange(random, 4 * blockBytes, naive, store, name)
        if (random.chance(0.2)) await clock.advance(7_000)
      }
      const offset = random.below(3 * blockBytes)
      const payload = random.bytes(random.below(blockBytes) + 1)
      const before = naive.read(0, 8 * blockBytes)
      naive.write(offset, payload)
      void store.write(name, offset, [payload]).catch(() => {})
      for (let turn = random.below(12); turn > 0; turn--) await Promise.resolve()
      files.kill()
      await restart()
      // The write under way is there, or in part, or not; everything else is.
      const after = await store.read(name, 0, 8 * blockBytes)
      const whole = naive.read(0, 8 * blockBytes)
      for (let at = 0; at < after.length; at++) {
        const inside = at >= offset && at < offset + payload.length
        if (after[at] === whole[at] || (inside && after[at] === (before[at] ?? 0))) continue
        expect.fail(`seed ${seed}: byte ${at}`)
      }
      expect(after.length).to.be.oneOf([before.length, whole.length, ...range(before.length, whole.length)])
      expect((await store.verify(name)).bad).to.deep.equal([])
      await store.truncate(name, 0)
    }
  })

  it('keeps every synced byte readable when the power fails', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SimRandom(seed)
      const naive = new NaiveChunk()
      for (let step = random.below(10) + 1; step > 0; step--) {
        await randomChange(random, 4 * blockBytes, naive, store, name)
        if (random.chance(0.2)) await clock.advance(7_000)
        if (random.chance(0.2)) await store.sync(name)
      }
      await store.sync(name)
      const synced = naive.read(0, 8 * blockBytes)
      if (random.chance(0.5)) await clock.advance(7_000)
      const touched = new Uint8Array(8 * blockBytes)
      const changes = random.below(3)
      for (let change = 0; change < changes; change++) {
        const offset = random.below(3 * blockBytes)
        const payload = random.bytes(random.below(blockBytes) + 1)
        touched.fill(1, offset, offset + payload.length)
        await store.write(name, offset, [payload])
        if (random.chance(0.3)) await clock.advance(7_000)
      }
      files.crash(random)
      await restart()
      const after = await store.read(name, 0, 8 * blockBytes)
      for (let at = 0; at < synced.length; at++) if (touched[at] === 0 && after[at] !== synced[at]) expect.fail(`seed ${seed}: byte ${at}`)
      expect((await store.verify(name)).bad, `seed ${seed}`).to.deep.equal([])
      await store.truncate(name, 0)
      await store.sync(name)
    }
  })

  it('takes a chunk for empty whose first write was cut short', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const clock = new SimClock()
      const random = new SimRandom(seed)
      const files = new MemoryFiles({ clock, random: random.fork() }, { delayMsMax: 10 })
      const store = await clock.run(opened(files, clock))
      void store.write(name, 0, [random.bytes(random.pick([500, 3_000, 20_000]))])
      await clock.advance(random.below(40))
      files.kill()
      const next = await clock.run(opened(files.reopen(), clock))
      expect((await clock.run(next.verify(name))).bad, `seed ${seed}`).to.deep.equal([])
      await clock.run(next.write(name, 0, [Buffer.from('new')]))
      expect((await clock.run(next.read(name, 0, 3))).toString(), `seed ${seed}`).to.equal('new')
    }
  })

  it('lists a chunk whose first write is under way: who compares lists must not take it for absent', async () => {
    const clock = new SimClock()
    const store = await clock.run(opened(new MemoryFiles({ clock, random: new SimRandom(5) }, { delayMsMax: 10 }), clock))
    const writing = store.write(name, 0, [Buffer.from('new')])
    expect(await clock.run(store.list(name.partition))).to.deep.equal([[name.ino, name.chunk]])
    expect((await clock.run(store.digest(name)))!.length).to.equal(3)
    await clock.run(writing)
  })

  it('makes durable with the next sync what the process before had made or removed, and not synced', async () => {
    const files = new MemoryFiles()
    const first = await opened(files)
    await first.write(name, 0, [Buffer.from('kept')])
    await first.write({ ...name, chunk: 4 }, 0, [Buffer.from('gone')])
    await first.sync({ ...name, chunk: 4 })
    await first.truncate({ ...name, chunk: 4 }, 0)
    files.kill()
    const afterKill = files.reopen()
    const second = await opened(afterKill)
    await second.sync(name)
    await second.sync({ ...name, chunk: 4 })
    afterKill.crash(new SimRandom(1))
    const third = await opened(afterKill.reopen())
    expect((await third.read(name, 0, 10)).toString()).to.equal('kept')
    expect((await third.read({ ...name, chunk: 4 }, 0, 10)).length).to.equal(0)
  })

  for (const last of ['power', 'kill'] as const) {
    it(`brings no chunk of a removed partition back (${last === 'power' ? 'removed, then the power fails' : 'killed while removing it, opened again, then the power fails'})`, async () => {
      for (let seed = 1; seed <= 20; seed++) {
        const files = new MemoryFiles()
        const store = await opened(files)
        await store.write(name, 0, [Buffer.from('of another time')])
        await store.syncPartition(name.partition)
        let now = files
        if (last === 'power') {
          await store.removePartition(name.partition)
        } else {
          await files.removeTree(`/data/partitions/${name.partition}`)
          files.kill()
          now = files.reopen()
          await opened(now)
        }
        now.crash(new SimRandom(seed))
        const next = await opened(now.reopen())
        expect(await next.list(name.partition), `seed ${seed}`).to.deep.equal([])
      }
    })
  }

  it('answers a sync only when what it covers is durable, also while another sync is under way', async () => {
    const clock = new SimClock()
    const files = new MemoryFiles({ clock, random: new SimRandom(5) }, { delayMsMax: 10 })
    const store = await clock.run(opened(files, clock))
    await clock.run(store.write(name, 0, [Buffer.from('kept')]))
    const syncs = [store.sync(name), store.sync(name)]
    await clock.run(Promise.race(syncs))
    files.crash(new SimRandom(1))
    const next = await clock.run(opened(files.reopen(), clock))
    expect((await clock.run(next.read(name, 0, 10))).toString()).to.equal('kept')
  })

  it('stores no checksum of bytes that a sync under way did not cover', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const clock = new SimClock()
      const random = new SimRandom(seed)
      const files = new MemoryFiles({ clock, random: random.fork() }, { delayMsMax: 10 })
      const store = await clock.run(opened(files, clock))
      await clock.run(store.write(name, 0, [random.bytes(9_000)]))
      const calls: Array<Promise<unknown>> = []
      for (let step = 0; step < 12; step++) {
        calls.push(random.pick([() => store.sync(name), () => store.truncate(name, 1 + random.below(8_000)), () => store.write(name, random.below(9_000), [random.bytes(600)])])())
        await clock.advance(random.below(15))
      }
      await clock.run(Promise.all(calls))
      const naive = await clock.run(store.read(name, 0, 20_000))
      await clock.run(store.close())
      files.crash(random)
      const next = await clock.run(opened(files.reopen(), clock))
      expect((await clock.run(next.verify(name))).bad, `seed ${seed}`).to.deep.equal([])
      expect((await clock.run(next.read(name, 0, 20_000))).equals(naive), `seed ${seed}`).to.equal(true)
    }
  })

  it('answers ENOSPC and damages nothing when the disk is full, and removal still works', async () => {
    const bytes = new SimRandom(6).bytes(2 * blockBytes)
    await store.write(name, 0, [bytes])
    files.capacityBytes = 2 * blockBytes + headerBytes + 5000
    expect(await failureOf(store.write(name, blockBytes, [Buffer.alloc(2 * blockBytes, 9)]))).to.equal('ENOSPC')
    const read = await store.read(name, 0, 5 * blockBytes)
    expect(read.length).to.equal(2 * blockBytes)
    expect(read.subarray(0, blockBytes).equals(bytes.subarray(0, blockBytes))).to.equal(true)
    expect(await failureOf(store.write({ ...name, chunk: 4 }, 0, [Buffer.alloc(blockBytes)]))).to.equal('ENOSPC')
    expect(await store.list(name.partition)).to.deep.equal([[7, 3]])
    await store.write(name, 0, [Buffer.alloc(100, 3)])
    await store.truncate(name, 0)
    await clock.advance(2_000)
    await store.write({ ...name, chunk: 4 }, 0, [Buffer.alloc(blockBytes)])
  })

  it('refuses growth below half the reserve, not changes in place', async () => {
    await store.write(name, 0, [Buffer.alloc(blockBytes)])
    await store.close()
    files = files.reopen()
    files.capacityBytes = blockBytes + headerBytes + 5000
    store = new ChunkStore({ files, clock, log: silentLog }, { directory, probe: false, reserveBytes: 12_000 })
    await store.open()
    expect(await failureOf(store.write(name, blockBytes, [Buffer.from('x')]))).to.equal('ENOSPC')
    await store.write(name, 5, [Buffer.from('x')])
    await store.truncate(name, 10)
    expect((await store.read(name, 0, 10)).toString('latin1')).to.equal('\0\0\0\0\0x\0\0\0\0')
  })

  it('holds no more open chunks than its bound and stores the checksums of those it closes', async () => {
    for (let chunk = 0; chunk < 20; chunk++) await store.write({ ...name, chunk }, 0, [Buffer.from(`chunk ${chunk}`)])
    const reads = await Promise.all(Array.from({ length: 20 }, (_, chunk) => store.read({ ...name, chunk }, 0, 100)))
    expect(reads.map(String)).to.deep.equal(Array.from({ length: 20 }, (_, chunk) => `chunk ${chunk}`))
    const clean = files.paths.filter((known) => files.contents(known)[10] === 0)
    expect(clean.length).to.be.at.least(16)
  })

  it('reads a block at most once for many small writes within it, and none for whole blocks and appends', async () => {
    await store.write(name, 0, [Buffer.alloc(4 * blockBytes, 1)])
    files.calls.read = 0
    for (let at = 0; at < blockBytes; at += 512) await store.write(name, at, [Buffer.alloc(512, 2)])
    expect(files.calls.read).to.be.at.most(1)
    files.calls.read = 0
    await store.write(name, blockBytes, [Buffer.alloc(2 * blockBytes, 3)])
    for (let at = 0; at < 5; at++) await store.write(name, 4 * blockBytes + 1000 * at, [Buffer.alloc(1000, 4)])
    expect(files.calls.read).to.equal(0)
    expect((await store.verify(name)).bad).to.deep.equal([])
  })

  it('tells whether it was closed', async () => {
    expect(store.wasClosed).to.equal(false)
    await store.close()
    await restart()
    expect(store.wasClosed).to.equal(true)
    files.kill()
    await restart()
    expect(store.wasClosed).to.equal(false)
    await store.close(false)
    await restart()
    expect(store.wasClosed).to.equal(false)
  })
})

function range (from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index)
}

async function opened (files: ChunkFiles, clock = new SimClock()): Promise<ChunkStore> {
  const store = new ChunkStore({ files, clock, log: silentLog }, { directory: '/data/partitions', probe: false, reserveBytes: 0 })
  await store.open()
  return store
}
