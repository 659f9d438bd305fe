import { crc32 } from 'node:zlib'
import { expect } from 'chai'
import fc from 'fast-check'
import { ChunkStore } from '../../fsnode/data/chunk-store.ts'
import { blockBytes, headerBytes } from '../../fsnode/data/chunk-header.ts'
import { sumReplaced } from '../../fsnode/data/sum-algebra.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { SimClock } from '../sim/clock.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { silentLog } from './support.ts'

const places = fc.tuple(fc.uint8Array({ maxLength: 500 }), fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.nat(40_000))

describe('checksums of what is changed in part', () => {
  it('follow from the parts, whatever comes before and behind', () => {
    fc.assert(fc.property(places, fc.nat(), ([head, part, tailLength], seed) => {
      const other = Buffer.from(part.map((byte, index) => byte ^ (seed >> index % 24)))
      const tail = Buffer.alloc(tailLength, seed & 0xff)
      const whole = (middle: Uint8Array): number => crc32(Buffer.concat([head, middle, tail]))
      expect(sumReplaced(whole(part), crc32(part), crc32(other), tailLength)).to.equal(whole(other))
    }))
  })

  it('of a block that was damaged elsewhere still tell it, after one range and after several', async () => {
    const files = new MemoryFiles()
    const store = new ChunkStore({ files, clock: new SimClock(), log: silentLog }, { directory: '/data', probe: false, reserveBytes: 0 })
    await store.open()
    const name = { partition: '1.d.0', ino: 7, chunk: 0 }
    await store.write(name, 0, [Buffer.alloc(3 * blockBytes, 'a')])
    files.rot(files.paths.find((path) => path.endsWith('/7.0'))!, headerBytes + blockBytes + 20_000)
    const range = (offset: number, length: number) => ({ offset, length, data: [Buffer.alloc(length, 'b')] })
    await store.writeRanges(name, [range(blockBytes + 100, 50), range(10, 5), range(2 * blockBytes - 9, 18)])
    expect((await store.verify(name)).bad).to.deep.equal([1])
    expect(await store.read(name, blockBytes + 100, 50).catch(codeOf)).to.equal('ATOLL_BAD_CHECKSUM')
    expect((await store.read(name, 8, 9)).toString()).to.equal('aabbbbbaa')
    // A write of the whole block leaves nothing of the damage.
    await store.writeRanges(name, [range(blockBytes, blockBytes), range(0, 1)])
    expect((await store.verify(name)).bad).to.deep.equal([])
  })

  it('of scattered ranges are those of the bytes, also in the short last block', async () => {
    const files = new MemoryFiles()
    const store = new ChunkStore({ files, clock: new SimClock(), log: silentLog }, { directory: '/data', probe: false, reserveBytes: 0 })
    await store.open()
    const length = 40 * blockBytes + 777
    await fc.assert(fc.asyncProperty(fc.nat(1000), fc.array(fc.tuple(fc.nat(length - 1), fc.integer({ min: 1, max: 2 * blockBytes })), { minLength: 1, maxLength: 12 }), async (chunk, wanted) => {
      const name = { partition: '1.d.0', ino: 7, chunk }
      await store.write(name, 0, [Buffer.alloc(length, chunk)])
      const taken: Array<[number, number]> = []
      for (const [offset, size] of wanted) {
        const end = Math.min(length, offset + size)
        if (taken.every(([from, to]) => to <= offset || end <= from)) taken.push([offset, end])
      }
      await store.writeRanges(name, taken.map(([from, to], index) => ({ offset: from, length: to - from, data: [Buffer.alloc(to - from - 1, index), Buffer.alloc(1, 'z')].filter((part) => part.length > 0) })))
      expect((await store.verify(name)).bad).to.deep.equal([])
      await store.truncate(name, 0)
    }), { numRuns: 60 })
  })
})
