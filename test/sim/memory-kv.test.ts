import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import type { Kv, KvOperation, KvRange } from '../../fsnode/protocol/ports.ts'
import { MemoryKv } from './memory-kv.ts'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const put = (key: Uint8Array, value: Uint8Array): KvOperation => ({ type: 'put', key, value })
const list = async (kv: Kv, range: KvRange = {}): Promise<number[][]> => {
  const keys: number[][] = []
  for await (const [key] of kv.iterate(range)) keys.push([...key])
  return keys
}

const stores: Array<[string, () => Promise<{ kv: Kv, remove: () => Promise<void> }>]> = [
  ['memory', async () => ({ kv: new MemoryKv(), remove: async () => {} })],
  ['level', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-kv-'))
    return { kv: await openLevelKv({ directory }), remove: () => rm(directory, { recursive: true }) }
  }]
]

for (const [name, make] of stores) {
  describe(`Kv on ${name}`, () => {
    let kv: Kv
    let remove: () => Promise<void>
    beforeEach(async () => { ({ kv, remove } = await make()) })
    afterEach(async () => { await kv.close(); await remove() })

    it('orders keys bytewise and honours every bound, direction and limit', async () => {
      const keys = [bytes(0), bytes(1, 255), bytes(1), bytes(2), bytes(128), bytes(255, 0), bytes(255)]
      await kv.batch(keys.map((key) => put(key, bytes(1))), { sync: true })
      const all = [[0], [1], [1, 255], [2], [128], [255], [255, 0]]
      expect(await list(kv)).to.deep.equal(all)
      expect(await list(kv, { gte: bytes(1), lt: bytes(128) })).to.deep.equal(all.slice(1, 4))
      expect(await list(kv, { gt: bytes(1), lte: bytes(128) })).to.deep.equal(all.slice(2, 5))
      expect(await list(kv, { lt: bytes(128), reverse: true, limit: 2 })).to.deep.equal([[2], [1, 255]])
      expect(await list(kv, { gte: bytes(2), limit: 1 })).to.deep.equal([[2]])
      expect(await list(kv, { gt: bytes(5), lt: bytes(5) })).to.deep.equal([])
    })

    it('applies a batch in order and reads what was written last', async () => {
      await kv.batch([put(bytes(1), bytes(1)), { type: 'del', key: bytes(1) }, put(bytes(1), bytes(2)), put(bytes(2), bytes(3))])
      await kv.batch([{ type: 'del', key: bytes(2) }, { type: 'del', key: bytes(9) }])
      expect([...kv.get(bytes(1))!]).to.deep.equal([2])
      expect(kv.get(bytes(2))).to.equal(undefined)
    })

    it('iterates over the state at the call', async () => {
      await kv.batch([put(bytes(1), bytes(1)), put(bytes(2), bytes(2))])
      const iteration = kv.iterate({})
      await kv.batch([{ type: 'del', key: bytes(2) }])
      const seen: number[] = []
      for await (const [key] of iteration) seen.push(key[0]!)
      expect(seen).to.deep.equal([1, 2])
    })
  })
}

describe('MemoryKv', () => {
  it('loses in a crash exactly what no sync covered', async () => {
    const kv = new MemoryKv()
    await kv.batch([put(bytes(1), bytes(1))])
    await kv.batch([put(bytes(2), bytes(1))], { sync: true })
    await kv.batch([put(bytes(1), bytes(9)), put(bytes(3), bytes(1))])
    await kv.batch([{ type: 'del', key: bytes(2) }])
    kv.crash()
    const next = kv.reopen()
    expect(await list(next)).to.deep.equal([[1], [2]])
    expect([...next.get(bytes(1))!]).to.deep.equal([1])
  })

  it('keeps a prefix of the batches that were not synced', async () => {
    for (const [drawn, keys] of [[0, []], [0.4, [[1]]], [0.99, [[1], [2]]]] as Array<[number, number[][]]>) {
      const kv = new MemoryKv()
      await kv.batch([put(bytes(1), bytes(1))])
      void kv.batch([put(bytes(2), bytes(2))], { sync: true })
      kv.crash({ next: () => drawn, bytes: Buffer.alloc })
      expect(await list(kv.reopen())).to.deep.equal(keys)
    }
  })

  it('is dead to those who still hold it after a crash', async () => {
    const kv = new MemoryKv()
    const lost = kv.batch([put(bytes(1), bytes(1))], { sync: true })
    kv.crash()
    const next = kv.reopen()
    const settled = await Promise.race([lost.then(() => true, () => true), next.batch([put(bytes(2), bytes(2))]).then(() => false)])
    expect(settled).to.equal(false)
    expect(() => kv.get(bytes(1))).to.throw('the store is dead')
    expect(await list(next)).to.deep.equal([[2]])
  })
})
