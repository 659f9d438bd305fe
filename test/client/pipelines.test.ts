import { expect } from 'chai'
import { BlockCache, FileBlocks } from '../../client/block-cache.ts'
import { blockIdleMs, cachedBlockBytesMax, readAheadBytesPerFile, readBlockBytes, readRequestBytes, writePieceBytesMax, writeQueueBytesMax, writeRequestsInFlightMax, writeWindowBytes } from '../../client/bounds.ts'
import { ChunkReader, ReadAheadBudget } from '../../client/reader.ts'
import { ChunkWriter, type WriteRecord } from '../../client/writer.ts'
import type { WriteJournal } from '../../client/types.ts'
import { bulkBuffers, giveBack } from '../../fsnode/protocol/buffer-pool.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { SimRandom } from '../sim/random.ts'
import { settle, SimClock } from '../sim/clock.ts'
import { me, pattern, TestCluster } from './cluster.ts'

const kibi = 1024
const mebi = 1024 * kibi

const nobodyAbove = { isOffered: () => false, offer: async () => false }

interface Sent { chunk: number, offset: number, bytes: Buffer, parts: number, extents: number[], answer: (error?: unknown) => void }

/** What a node does with the request. */
function apply ({ chunk, bytes, extents }: Sent, file: Buffer, chunkSize: number): void {
  for (let index = 0, at = 0; index < extents.length; index += 2) {
    bytes.copy(file, chunk * chunkSize + extents[index]!, at, at += extents[index + 1]!)
  }
}

function makeWriter (chunkSize = 4 * mebi) {
  const sent: Sent[] = []
  const ended: number[] = []
  const failures: unknown[] = []
  const writer = new ChunkWriter({
    send: (chunk, ranges) => new Promise<void>((resolve, reject) => {
      const data = ranges.flatMap((range) => range.data)
      const extents = ranges.flatMap(({ offset, length }) => [offset, length])
      sent.push({ chunk, offset: ranges[0]!.offset, bytes: Buffer.concat(data), parts: data.length, extents, answer: (error) => { error === undefined ? resolve() : reject(error) } })
    }),
    hold: () => null,
    isFree: () => true
  }, chunkSize)
  let sequence = 0
  const write = (offset: number, data: Buffer): void => {
    const record: WriteRecord = {
      sequence: ++sequence, piecesLeft: 0, failure: null, ended: ({ sequence, failure }) => {
        ended.push(sequence)
        if (failure !== null) failures.push(failure)
      }
    }
    writer.add(record, offset, [data])
    writer.pump()
  }
  return { writer, sent, ended, failures, write }
}

describe('client: chunk writes', () => {
  it('are split at chunks and at the size of a request, and end when every piece is acknowledged', async () => {
    const { sent, ended, write } = makeWriter()
    const length = writePieceBytesMax + mebi
    write(3 * mebi + 512 * kibi, pattern(length))
    expect(sent.map(({ chunk, offset, bytes }) => [chunk, offset, bytes.length])).to.deep.equal([
      [0, 3 * mebi + 512 * kibi, 512 * kibi], [1, 0, writePieceBytesMax], [1, writePieceBytesMax, 512 * kibi]
    ])
    expect(Buffer.concat(sent.map(({ bytes }) => bytes)).equals(pattern(length))).to.equal(true)
    for (const one of sent.slice(0, 2)) one.answer()
    await settle()
    expect(ended).to.deep.equal([])
    sent[2]!.answer()
    await settle()
    expect(ended).to.deep.equal([1])
  })

  it('of small ranges of one chunk travel together behind the window, but never past an overlapping one', async () => {
    const { sent, ended, write } = makeWriter()
    const small = 4 * kibi
    for (let index = 0; index < writeRequestsInFlightMax; index++) write(4 * mebi * (index + 1), Buffer.alloc(small))
    for (const place of [9, 3, 7, 3, 1]) write(place * small, Buffer.alloc(small, place))
    sent[0]!.answer()
    await settle()
    const batch = sent[writeRequestsInFlightMax]!
    expect(batch.extents).to.deep.equal([9, 3, 7, 1].flatMap((place) => [place * small, small]))
    expect(batch.bytes.equals(Buffer.concat([9, 3, 7, 1].map((place) => Buffer.alloc(small, place))))).to.equal(true)
    expect(sent).to.have.length(writeRequestsInFlightMax + 1)
    batch.answer()
    await settle()
    expect(sent[writeRequestsInFlightMax + 1]!.extents).to.deep.equal([3 * small, small])
    expect(ended).to.have.length(5)
  })

  it('go out at once within the window; behind it, neighbours join into large requests', async () => {
    const { sent, ended, write } = makeWriter()
    const small = 4 * kibi
    for (let index = 0; index < 600; index++) write(index * small, Buffer.alloc(small, index))
    expect(sent).to.have.length(writeRequestsInFlightMax)
    expect(sent.every(({ parts }) => parts === 1)).to.equal(true)
    while (ended.length < 600) {
      sent.find((one) => !one.bytes.equals(Buffer.alloc(0)))
      for (const one of sent) one.answer()
      await settle()
    }
    expect(sent.length).to.be.lessThan(writeRequestsInFlightMax + 5)
    expect(Math.max(...sent.map(({ bytes }) => bytes.length))).to.equal(writePieceBytesMax)
    const file = Buffer.alloc(600 * small)
    for (const { offset, bytes } of sent) bytes.copy(file, offset)
    expect(file.equals(Buffer.concat(Array.from({ length: 600 }, (_, index) => Buffer.alloc(small, index))))).to.equal(true)
  })

  it('never have more bytes in flight than the window, nor more requests', async () => {
    const { sent, write } = makeWriter(64 * mebi)
    for (let index = 0; index < 40; index++) write(index * mebi, Buffer.alloc(mebi))
    expect(sent.reduce((sum, { bytes }) => sum + bytes.length, 0)).to.equal(writeWindowBytes)
    expect(sent.length).to.be.at.most(writeRequestsInFlightMax)
  })

  it('are sent when they are full while much is under way, and the last of a stream when less is', async () => {
    const { sent, ended, write } = makeWriter()
    const sizes = (): number[] => sent.map(({ bytes }) => bytes.length / mebi)
    for (let index = 0; index < 7; index++) write(index * mebi, Buffer.alloc(mebi))
    expect(sizes()).to.deep.equal([1, 1, 1, 1, 2])
    sent[0]!.answer()
    sent[1]!.answer()
    await settle()
    expect(sizes()).to.deep.equal([1, 1, 1, 1, 2])
    sent[2]!.answer()
    await settle()
    expect(sizes()).to.deep.equal([1, 1, 1, 1, 2, 1])
    for (const one of sent) one.answer()
    await settle()
    expect(ended).to.have.length(7)
  })

  it('that overlap keep their order, whatever the order of the answers', async () => {
    const random = new SimRandom(5)
    for (let round = 0; round < 40; round++) {
      const { sent, ended, write } = makeWriter(10_000)
      const expected = Buffer.alloc(40_000)
      const applied = Buffer.alloc(40_000)
      const open: Sent[] = []
      let taken = 0
      const total = 60
      for (let index = 0; index < total; index++) {
        const offset = random.below(30_000)
        const data = Buffer.alloc(1 + random.below(8_000), index + 1)
        write(offset, data)
        data.copy(expected, offset)
        open.push(...sent.slice(taken))
        taken = sent.length
        while (open.length > 0 && random.chance(0.6)) {
          const [one] = open.splice(random.below(open.length), 1)
          // Repeated after a lost answer: no later write to the range may have come in between.
          for (let copies = 0; copies < 2; copies++) apply(one!, applied, 10_000)
          one!.answer()
          await settle()
          open.push(...sent.slice(taken))
          taken = sent.length
        }
      }
      while (ended.length < total) {
        const one = open.shift()!
        apply(one, applied, 10_000)
        one.answer()
        await settle()
        open.push(...sent.slice(taken))
        taken = sent.length
      }
      expect(applied.equals(expected)).to.equal(true)
    }
  })

  it('that fail are told to those whose bytes they were', async () => {
    const { sent, ended, failures, writer, write } = makeWriter()
    for (let index = 0; index < writeRequestsInFlightMax + 2; index++) write(index * 10_000_000, Buffer.alloc(10))
    sent[0]!.answer(new AtollError('ENOSPC', 'full'))
    await settle()
    expect([ended, failures.length]).to.deep.equal([[1], 1])
    writer.abandon(new AtollError('EIO', 'lost'))
    expect(ended).to.deep.equal([1, writeRequestsInFlightMax + 2])
    expect(writer.pendingBytes).to.equal(10 * writeRequestsInFlightMax)
  })
})

describe('client: chunk reads', () => {
  const size = 64 * mebi
  const makeReader = (budget = new ReadAheadBudget(), cache = new BlockCache({ clock: new SimClock() })) => {
    const state = { mayKeep: true }
    const blocks = new FileBlocks({ cache, mayKeep: () => state.mayKeep, ...nobodyAbove })
    const fetched: Array<[number, number, number]> = []
    const reader = new ChunkReader({
      budget,
      blocks,
      mayKeep: () => true,
      fetch: async (chunk, offset, length) => {
        fetched.push([chunk, offset, length])
        const bytes = Buffer.alloc(length)
        for (let at = 0; at + 8 <= length; at += 4_096) bytes.writeDoubleLE(chunk * 4 * mebi + offset + at, at)
        return [bytes]
      }
    }, 4 * mebi)
    return { reader, fetched, blocks, state }
  }

  it('in sequence need few requests, and are ahead of who reads', async () => {
    const { reader, fetched } = makeReader()
    for (let offset = 0; offset < size; offset += 128 * kibi) {
      const bytes = Buffer.concat(await reader.read(offset, 128 * kibi, size))
      expect(bytes.length).to.equal(128 * kibi)
      expect(bytes.readDoubleLE(0)).to.equal(offset)
      const ahead = fetched.reduce((sum, [, , length]) => sum + length, 0) - offset - 128 * kibi
      expect(ahead).to.be.at.most(readAheadBytesPerFile + readRequestBytes)
      if (offset >= 2 * mebi && offset < size - 8 * mebi) expect(ahead).to.be.at.least(mebi)
    }
    expect(fetched.length).to.be.within(size / readRequestBytes, size / readRequestBytes + 2)
  })

  it('out of sequence of a great file, or while somebody here may write, fetch what is asked for, no more', async () => {
    for (const [fileSize, mayKeep] of [[cachedBlockBytesMax + 1, true], [size, false]] as const) {
      const { reader, fetched, state } = makeReader()
      state.mayKeep = mayKeep
      const random = new SimRandom(2)
      let asked = 0
      for (let count = 0; count < 50; count++) {
        const offset = random.below(size / 4_096 / 2) * 8_192
        await reader.read(offset, 4_096, fileSize)
        asked += 4_096
      }
      expect(fetched.reduce((sum, [, , length]) => sum + length, 0)).to.equal(asked)
    }
  })

  it('out of sequence are fetched anew when nobody has read the block for long', async () => {
    const clock = new SimClock()
    const { reader, fetched } = makeReader(new ReadAheadBudget(), new BlockCache({ clock }))
    const readTwo = async (): Promise<void> => {
      await reader.read(4 * readBlockBytes + 8_192, 4_096, size)
      await reader.read(8_192, 4_096, size)
    }
    await readTwo()
    for (let count = 0; count < 5; count++) {
      await clock.advance(blockIdleMs / 2)
      await reader.read(8_192 * 2, 4_096, size)
    }
    expect(fetched.length).to.equal(2)
    await readTwo()
    expect(fetched.length).to.equal(3)
    await clock.advance(3 * blockIdleMs)
    await readTwo()
    expect(fetched.length).to.equal(5)
  })

  it('out of sequence fetch each block once, whoever asks first', async () => {
    const { reader, fetched } = makeReader()
    const random = new SimRandom(3)
    const blockCount = 16
    const end = blockCount * readBlockBytes
    const places = Array.from({ length: 400 }, () => random.below(end / 8_192) * 8_192)
    for (let index = 0; index < places.length; index += 4) {
      const found = await Promise.all(places.slice(index, index + 4).map((offset) => reader.read(offset, 4_096, end)))
      expect(found.map((bytes) => Buffer.concat(bytes).readDoubleLE(0))).to.deep.equal(places.slice(index, index + 4))
    }
    expect(fetched.length).to.be.at.most(blockCount)
    expect(fetched.every(([, offset, length]) => offset % readBlockBytes === 0 && length === readBlockBytes)).to.equal(true)
  })

  it('out of sequence fetch a block again after it was dropped, or other files took its room', async () => {
    const fileSize = 4 * readBlockBytes
    const cache = new BlockCache({ clock: new SimClock() }, { bytesMax: fileSize })
    const one = makeReader(new ReadAheadBudget(), cache)
    const other = makeReader(new ReadAheadBudget(), cache)
    const read = ({ reader }: typeof one, block: number): Promise<Buffer[]> => reader.read(block * readBlockBytes + 8_192, 4_096, fileSize)
    for (const block of [0, 3, 2, 1, 3, 0, 2, 1]) await read(one, block)
    expect(one.fetched.length).to.equal(4)
    await read(other, 3)
    await read(one, 0)
    expect(one.fetched.length, 'the one that was read last stays').to.equal(4)
    await read(one, 3)
    expect(one.fetched.length).to.equal(5)
    one.blocks.drop()
    await read(one, 3)
    await read(one, 0)
    expect(one.fetched.length).to.equal(7)
  })

  it('in sequence keep what others still look at when the memory is used again', async () => {
    const pending: Array<() => void> = []
    const reader = new ChunkReader({
      budget: new ReadAheadBudget(),
      blocks: new FileBlocks({ cache: new BlockCache({ clock: new SimClock() }), mayKeep: () => false, ...nobodyAbove }),
      mayKeep: () => true,
      fetch: (chunk, offset, length) => new Promise((resolve) => {
        pending.push(() => {
          const bytes = bulkBuffers.take(length)
          for (let at = 0; at < length; at += mebi) bytes.fill((chunk * 4 * mebi + offset + at) / mebi + 1, at, at + mebi)
          resolve([bytes])
        })
      })
    }, 4 * mebi)
    const kept: Buffer[] = []
    const step = mebi / 2
    const reads = new Map<number, Promise<Buffer[]>>()
    for (let offset = 0; offset < 24 * mebi; offset += step) {
      reads.set(offset, reader.read(offset, step, size))
      if (offset % (3 * mebi) === 0) for (const answer of pending.splice(0).reverse()) answer()
      await settle()
      for (const [at, read] of offset % (3 * mebi) === 0 ? reads : []) {
        const bytes = await read
        reads.delete(at)
        expect(Buffer.concat(bytes).equals(Buffer.alloc(step, Math.floor(at / mebi) + 1)), `at ${at}`).to.equal(true)
        // Every other half is kept, as by somebody who never gives anything back.
        if (at % mebi === 0) kept.push(...bytes)
        else giveBack(bytes)
      }
    }
    expect(kept.map((bytes) => bytes.every((byte) => byte === bytes[0]))).to.not.include(false)
    expect(new Set(kept.map((bytes) => bytes[0])).size).to.be.at.least(20)
  })

  it('are answered from their own bytes when the block around them cannot be read', async () => {
    const asked: number[] = []
    const reader = new ChunkReader({
      budget: new ReadAheadBudget(),
      blocks: new FileBlocks({ cache: new BlockCache({ clock: new SimClock() }), mayKeep: () => true, ...nobodyAbove }),
      mayKeep: () => true,
      fetch: async (_chunk, offset, length) => {
        asked.push(length)
        if (offset === 0) throw new AtollError('ATOLL_BAD_CHECKSUM', 'damaged')
        return [Buffer.alloc(length, 7)]
      }
    }, 4 * mebi)
    for (let count = 0; count < 2; count++) expect(Buffer.concat(await reader.read(8_192, 4_096, size)).equals(Buffer.alloc(4_096, 7))).to.equal(true)
    expect(asked).to.deep.equal([readBlockBytes, 4_096, readBlockBytes, 4_096])
  })

  it('that come slightly out of order are still in sequence', async () => {
    const { reader, fetched } = makeReader()
    const offsets = Array.from({ length: 128 }, (_, index) => index * 256 * kibi)
    for (let index = 4; index + 1 < offsets.length; index += 2) [offsets[index], offsets[index + 1]] = [offsets[index + 1]!, offsets[index]!]
    for (const offset of offsets) expect(Buffer.concat(await reader.read(offset, 256 * kibi, size)).readDoubleLE(0)).to.equal(offset)
    expect(fetched.length).to.be.at.most(50)
  })

  it('share one budget of memory and give it back', async () => {
    const budget = new ReadAheadBudget(4 * mebi)
    const readers = Array.from({ length: 4 }, () => makeReader(budget))
    for (let offset = 0; offset < 8 * mebi; offset += 512 * kibi) {
      for (const { reader } of readers) expect(Buffer.concat(await reader.read(offset, 512 * kibi, size)).readDoubleLE(0)).to.equal(offset)
    }
    for (const { reader } of readers) reader.drop()
    expect(budget.take(4 * mebi)).to.equal(true)
  })
})

class TestJournal implements WriteJournal {
  readonly open = new Map<number, number>()
  full = false
  private next = 1

  record (_ino: number, _offset: number, data: readonly Buffer[]): number {
    if (this.full) throw new AtollError('ATOLL_JOURNAL_FULL', 'full')
    this.open.set(this.next, data.reduce((sum, part) => sum + part.length, 0))
    return this.next++
  }

  settle (token: number): void {
    expect(this.open.delete(token)).to.equal(true)
  }
}

describe('client: open files', () => {
  let cluster: TestCluster
  beforeEach(async () => { cluster = await TestCluster.open() })

  it('a sequential read of 64 MiB needs a message for each request of the greatest size', async () => {
    const a = await cluster.client()
    const ino = await a.put('f', '')
    for (let chunk = 0; chunk < 16; chunk++) cluster.chunks.write(ino, chunk, Buffer.alloc(4 * mebi, chunk))
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: false }, me))
    await a.run(file.write(64 * mebi - 1, [Buffer.alloc(1)]))
    await a.run(file.flush())
    for (let chunk = 0; chunk < 16; chunk++) cluster.chunks.write(ino, chunk, Buffer.alloc(4 * mebi, chunk))
    cluster.resetCounts()
    for (let offset = 0; offset < 64 * mebi; offset += 256 * kibi) {
      const bytes = await a.run(file.read(offset, 256 * kibi))
      expect(bytes[0]![0]).to.equal(Math.floor(offset / (4 * mebi)))
    }
    expect(cluster.requests).to.be.within(64 * mebi / readRequestBytes, 64 * mebi / readRequestBytes + 4)
    expect(cluster.count('data.read')).to.equal(cluster.requests)
  })

  it('a read waits for own writes to its range and sees them', async () => {
    const a = await cluster.client()
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    const journal = a
    void journal
    const random = new SimRandom(4)
    let model = Buffer.alloc(0)
    const work: Array<Promise<unknown>> = []
    for (let count = 0; count < 60; count++) {
      const offset = random.below(300_000)
      const data = Buffer.alloc(1 + random.below(50_000), count + 1)
      const next = Buffer.alloc(Math.max(model.length, offset + data.length))
      model.copy(next)
      data.copy(next, offset)
      model = next
      const expected = Buffer.from(model)
      work.push(file.write(offset, [data]))
      if (random.chance(0.3)) {
        const bytes = Buffer.concat(await a.run(file.read(0, 1_000_000)))
        expect(bytes.equals(expected), `read after write ${count}`).to.equal(true)
      }
    }
    await a.run(Promise.all(work))
    await a.run(file.flush())
    const b = await cluster.client()
    expect((await b.get('f')).equals(model)).to.equal(true)
  })

  it('with a journal a write is done when it is recorded, and leaves the journal when its size is committed too', async () => {
    const journal = new TestJournal()
    const a = await cluster.client('a', { journal })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    let written = 0
    const before = cluster.clock.now()
    for (let index = 0; index < 10; index++) await file.write(index * mebi, [Buffer.alloc(mebi, index)]).then(() => { written++ })
    expect([written, cluster.clock.now()]).to.deep.equal([10, before])
    expect(journal.open.size).to.equal(10)
    await cluster.clock.advance(1_000)
    // 8 MiB wait at most: the size is committed by itself.
    expect([...journal.open.values()].reduce((sum, bytes) => sum + bytes, 0)).to.be.lessThan(8 * mebi)
    expect(cluster.count('meta.commit')).to.be.at.least(1)
    await a.run(file.flush())
    expect(journal.open.size).to.equal(0)
    const b = await cluster.client()
    expect((await b.get('f')).length).to.equal(10 * mebi)
    await a.run(file.write(0, [Buffer.from('x')]))
    await a.run(file.release())
    await cluster.clock.advance(100)
    expect(journal.open.size).to.equal(0)
  })

  it('with a full journal a write waits for the nodes', async () => {
    const journal = new TestJournal()
    const a = await cluster.client('a', { journal })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    journal.full = true
    cluster.resetCounts()
    await a.run(file.write(0, [Buffer.from('small')]))
    expect(cluster.count('meta.commit')).to.equal(1)
    await a.run(file.write(5, [pattern(100_000)]))
    expect(cluster.count('data.write')).to.equal(1)
    expect(cluster.count('meta.commit')).to.equal(2)
  })

  it('an error behind the back of a journaled write is reported once by each handle', async () => {
    const journal = new TestJournal()
    const a = await cluster.client('a', { journal })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    const other = await a.run(a.volume.open(file.ino, { write: true }))
    cluster.onRequest = (method) => method === 'data.write' ? new AtollError('ENOSPC', 'full') : undefined
    await a.run(file.write(0, [pattern(100_000)]))
    await cluster.clock.advance(100)
    expect(await a.code(file.write(100_000, [Buffer.from('x')]))).to.equal('ENOSPC')
    cluster.onRequest = () => undefined
    expect(await a.code(file.flush())).to.equal('well')
    expect(await a.code(other.sync())).to.equal('ENOSPC')
    expect(await a.code(other.sync())).to.equal('well')
    expect(journal.open.size).to.equal(0)
  })

  it('accepts no more bytes than the queue holds until the nodes take some', async () => {
    const journal = new TestJournal()
    const a = await cluster.client('a', { journal })
    const { file } = await a.run(a.volume.create(1, 'f', { mode: 0o644, exclusive: true }, me))
    let open = (): void => {}
    const gate = new Promise<undefined>((resolve) => { open = () => { resolve(undefined) } })
    cluster.onRequest = (method) => method === 'data.write' ? gate : undefined
    let accepted = 0
    const writes = Promise.all(Array.from({ length: 100 }, (_, index) => file.write(index * mebi, [Buffer.alloc(mebi)]).then(() => { accepted++ })))
    await cluster.clock.advance(1_000)
    expect(accepted).to.be.within(writeQueueBytesMax / mebi, writeQueueBytesMax / mebi + 1)
    open()
    await a.run(writes)
    await a.run(file.flush())
    expect((await a.run(a.volume.getattr(file.ino))).size).to.equal(100 * mebi)
  })

  it('sync reaches the chunks of files that were closed, once', async () => {
    const a = await cluster.client()
    await a.put('f', pattern(5_000_000))
    await a.put('g', pattern(100_000))
    cluster.resetCounts()
    await a.run(a.volume.sync())
    expect(cluster.count('data.sync')).to.equal(3)
    await a.run(a.volume.sync())
    expect(cluster.count('data.sync')).to.equal(3)
  })

  it('Tivoli reads from replicas that are not the primary, and from it when they fail', async () => {
    cluster = await TestCluster.open({ placement: 'tivoli' })
    const a = await cluster.client()
    await a.put('f', pattern(100_000))
    const readers = new Set<string>()
    let failing = false
    cluster.onRequest = (method, body, node) => {
      if (method !== 'data.read') return undefined
      const { primary } = cluster.map.data.find((partition) => partition.id === body.partition)!
      readers.add(node === primary ? 'primary' : 'other')
      return failing && node !== primary ? new AtollError('ATOLL_UNAVAILABLE', 'not now') : undefined
    }
    expect((await a.get('f')).equals(pattern(100_000))).to.equal(true)
    expect([...readers]).to.deep.equal(['other'])
    failing = true
    expect((await a.get('f')).equals(pattern(100_000))).to.equal(true)
    expect([...readers]).to.deep.equal(['other', 'primary'])
  })

  it('a change of the policy counts for what is mounted already', async () => {
    const a = await cluster.client()
    await a.put('f', pattern(100_000))
    const readers: string[] = []
    cluster.onRequest = (method, body, node) => {
      if (method === 'data.read') readers.push(node === cluster.map.data.find(({ id }) => id === body.partition)!.primary ? 'primary' : 'other')
      return undefined
    }
    await a.get('f')
    cluster.map = { ...cluster.map, version: cluster.map.version + 1, volumes: [{ ...cluster.volume, placement: 'tivoli' }] }
    await cluster.clock.advance(60_000)
    await a.get('f')
    expect(new Set(readers.slice(0, 1))).to.deep.equal(new Set(['primary']))
    expect(readers.at(-1)).to.equal('other')
  })
})
