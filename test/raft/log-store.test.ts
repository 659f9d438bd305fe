import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import { encode } from '../../fsnode/protocol/frame.ts'
import type { Kv, KvOperation, Logger } from '../../fsnode/protocol/ports.ts'
import { entryKind, type LogWrite } from '../../fsnode/raft/core/types.ts'
import { LogStore, rubbishEntriesMax } from '../../fsnode/raft/log-store.ts'
import { MemoryKv } from '../sim/memory-kv.ts'
import { SimRandom } from '../sim/random.ts'
import { entryOf } from './core-net.ts'

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log }
const storeOn = (kv: Kv, onFailure: (error: Error) => void = (error) => { throw error }): LogStore => new LogStore({ kv, log }, { onFailure })
const cacheBytes = 1024 * 1024

let sequence = 0
const writeOf = (fields: Partial<LogWrite>): LogWrite => ({ sequence: ++sequence, hardState: null, mark: null, cutFrom: 0, truncateFrom: 0, truncateTo: -1, entries: [], ...fields })
const written = (store: LogStore, group: string, fields: Partial<LogWrite>): Promise<void> => new Promise((resolve) => { store.write(group, writeOf(fields), resolve) })
const entries = (first: number, last: number, term = 1): ReturnType<typeof entryOf>[] => Array.from({ length: last - first + 1 }, (_, at) => entryOf(first + at, term))

async function load (store: LogStore, group: string): Promise<{ term: number, vote: string | null, mark: number, terms: number[], data: string[] }> {
  const { hardState, log } = (await store.load(group, cacheBytes))!
  const loaded = log.slice(log.markIndex + 1, Infinity, Infinity)!
  return { ...hardState, mark: log.markIndex, terms: loaded.map(({ term }) => term), data: loaded.map(({ data }) => Buffer.from(data).toString()) }
}

const stores: Array<[string, () => Promise<{ kv: Kv, reopen: (kv: Kv) => Promise<Kv>, remove: () => Promise<void> }>]> = [
  ['memory', async () => ({ kv: new MemoryKv(), reopen: async (kv) => { (kv as MemoryKv).crash(); return (kv as MemoryKv).reopen() }, remove: async () => {} })],
  ['level', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'atoll-raft-log-'))
    return {
      kv: await openLevelKv({ directory }),
      reopen: async (kv) => { await kv.close(); return openLevelKv({ directory }) },
      remove: () => rm(directory, { recursive: true })
    }
  }]
]

for (const [name, make] of stores) {
  describe(`the raft log store on ${name}`, () => {
    let kv: Kv
    let reopen: (kv: Kv) => Promise<Kv>
    let remove: () => Promise<void>
    beforeEach(async () => { ({ kv, reopen, remove } = await make()) })
    afterEach(async () => { await kv.close(); await remove() })

    it('finds after a restart what it said was written', async () => {
      const store = storeOn(kv)
      expect(await store.load('g', cacheBytes)).to.equal(null)
      await store.create('g', ['a', 'b'])
      await written(store, 'g', { hardState: { term: 3, vote: 'b' }, entries: [...entries(1, 3), { index: 4, term: 2, kind: entryKind.members, data: encode(['a', 'b', 'c']) }, entryOf(5, 3)] })
      await store.close()
      kv = await reopen(kv)
      const loaded = (await storeOn(kv).load('g', cacheBytes))!
      expect(loaded.hardState).to.deep.equal({ term: 3, vote: 'b' })
      expect(loaded.memberHistory).to.deep.equal([{ index: 0, members: ['a', 'b'] }, { index: 4, members: ['a', 'b', 'c'] }])
      expect(await load(storeOn(kv), 'g')).to.deep.include({ mark: 0, terms: [1, 1, 1, 2, 3] })
    })

    it('replaces the end of a log in one step', async () => {
      const store = storeOn(kv)
      await store.create('g', ['a'])
      await written(store, 'g', { entries: entries(1, 9) })
      await written(store, 'g', { truncateFrom: 4, truncateTo: 9, entries: entries(4, 5, 2) })
      await store.close()
      kv = await reopen(kv)
      expect(await load(storeOn(kv), 'g')).to.deep.include({ terms: [1, 1, 1, 2, 2], data: ['1.1', '2.1', '3.1', '4.2', '5.2'] })
    })

    it('forgets what a cut covers, little by little, and never what follows', async () => {
      const store = storeOn(kv)
      const count = 3 * rubbishEntriesMax
      await store.create('g', ['a'])
      await written(store, 'g', { entries: entries(1, count + 2) })
      await written(store, 'g', { mark: { index: count, term: 1, members: ['a'] }, cutFrom: 1 })
      await store.close()
      expect(await store.read('g', 1, count, 1e9)).to.deep.equal([])
      expect(await load(store, 'g')).to.deep.include({ mark: count, data: [`${count + 1}.1`, `${count + 2}.1`] })
    })

    it('starts a log over at a snapshot: nothing old is left behind it', async () => {
      const store = storeOn(kv)
      await store.create('g', ['a'])
      await written(store, 'g', { entries: entries(1, 20) })
      await written(store, 'g', { mark: { index: 10, term: 7, members: ['a', 'z'] }, cutFrom: 1, truncateFrom: 1, truncateTo: 20, entries: entries(11, 12, 7) })
      await store.close()
      kv = await reopen(kv)
      expect(await load(storeOn(kv), 'g')).to.deep.include({ mark: 10, data: ['11.7', '12.7'] })
      expect((await storeOn(kv).load('g', cacheBytes))!.memberHistory).to.deep.equal([{ index: 10, members: ['a', 'z'] }])
    })

    it('keeps groups apart, also those whose names begin alike', async () => {
      const store = storeOn(kv)
      const names = ['1.m.1', '1.m.10', '1.m.', 'g'.repeat(255)]
      for (const group of names) await store.create(group, [group])
      await Promise.all(names.map((group, at) => written(store, group, { entries: entries(1, at + 1) })))
      expect((await store.groups()).sort()).to.deep.equal([...names].sort())
      await store.remove('1.m.1')
      expect(await store.load('1.m.1', cacheBytes)).to.equal(null)
      for (const [at, group] of names.entries()) if (at > 0) expect((await load(store, group)).terms).to.have.length(at + 1)
    })

    it('a group that was removed begins from nothing', async () => {
      const store = storeOn(kv)
      await store.create('g', ['a'])
      await written(store, 'g', { hardState: { term: 9, vote: 'a' }, entries: entries(1, 600) })
      await store.remove('g')
      await store.create('g', ['b'])
      expect(await load(store, 'g')).to.deep.equal({ term: 0, vote: null, mark: 0, terms: [], data: [] })
    })

    it('reads ranges within a bound of bytes, but at least one entry', async () => {
      const store = storeOn(kv)
      await store.create('g', ['a'])
      await written(store, 'g', { entries: Array.from({ length: 10 }, (_, at) => entryOf(at + 1, 1, 'x'.repeat(100))) })
      expect((await store.read('g', 3, 10, 250)).map(({ index }) => index)).to.deep.equal([3, 4])
      expect((await store.read('g', 3, 10, 1)).map(({ index }) => index)).to.deep.equal([3])
      expect((await store.read('g', 8, 99, 1e6)).map(({ index }) => index)).to.deep.equal([8, 9, 10])
    })

    it('says so when a log is damaged', async () => {
      const store = storeOn(kv)
      const damages: Array<(prefix: Buffer) => KvOperation> = [
        (prefix) => ({ type: 'del', key: Buffer.concat([prefix, Buffer.from([0, 0, 0, 0, 0, 2])]) }), // a gap
        (prefix) => ({ type: 'put', key: Buffer.concat([prefix, Buffer.from([0, 0, 0, 0, 0, 2])]), value: Buffer.alloc(3) }),
        () => ({ type: 'put', key: Buffer.concat([Buffer.from('M'), Buffer.from([1]), Buffer.from('g')]), value: encode('nonsense') }),
        () => ({ type: 'put', key: Buffer.concat([Buffer.from('H'), Buffer.from([1]), Buffer.from('g')]), value: Buffer.from([0xc1]) })
      ]
      for (const damage of damages) {
        await store.create('g', ['a'])
        await written(store, 'g', { hardState: { term: 1, vote: null }, entries: entries(1, 3) })
        await kv.batch([damage(Buffer.concat([Buffer.from('E'), Buffer.from([1]), Buffer.from('g')]))])
        const error = await store.load('g', cacheBytes).then(() => null, (error: unknown) => error)
        expect(error).to.have.property('code', 'ATOLL_STORE_UNUSABLE')
        await store.remove('g')
      }
    })
  })
}

describe('the raft log store', () => {
  it('gathers the writes of all groups while a sync runs, and syncs them together', async () => {
    const batches: Array<{ puts: number, sync: boolean }> = []
    let finish: () => void = () => {}
    const kv = new MemoryKv()
    const slow: Kv = {
      get: (key) => kv.get(key),
      iterate: (range) => kv.iterate(range),
      close: () => kv.close(),
      batch: (operations, options) => {
        batches.push({ puts: operations.length, sync: options?.sync === true })
        return new Promise((resolve) => { finish = resolve })
      }
    }
    const store = storeOn(slow)
    const done: string[] = []
    store.write('g0', writeOf({ entries: entries(1, 1) }), () => done.push('g0'))
    await Promise.resolve()
    for (let group = 1; group <= 50; group++) store.write(`g${group}`, writeOf({ entries: entries(1, 2) }), () => done.push(`g${group}`))
    expect(batches).to.deep.equal([{ puts: 1, sync: true }])
    expect(done).to.deep.equal([])
    finish()
    await new Promise(setImmediate)
    expect(done).to.deep.equal(['g0'])
    expect(batches.slice(1)).to.deep.equal([{ puts: 100, sync: true }])
    finish()
    await new Promise(setImmediate)
    expect(done).to.have.length(51)
  })

  it('after a crash at any moment holds all that it said was written, and nothing that was not', async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = new SimRandom(seed)
      const kv = new MemoryKv()
      const store = storeOn(kv)
      await store.create('g', ['a'])
      // What the log is after each write, and how many writes are known to be done.
      const states: Array<{ mark: number, data: string[] }> = [{ mark: 0, data: [] }]
      let known = 0
      for (let write = 1; write <= 30; write++) {
        const { mark, data } = states[write - 1]!
        const last = mark + data.length
        const draw = random.next()
        const number = write
        const fields: Partial<LogWrite> = draw < 0.6 || data.length < 2
          ? { entries: Array.from({ length: random.below(5) }, (_, at) => entryOf(last + 1 + at, write)) }
          : draw < 0.8
            ? { truncateFrom: last - 1, truncateTo: last, entries: [entryOf(last - 1, write)] }
            : { mark: { index: mark + 1, term: 1, members: ['a'] }, cutFrom: mark + 1 }
        const kept = fields.truncateFrom !== undefined ? data.slice(0, -2) : fields.mark != null ? data.slice(1) : data
        states.push({ mark: fields.mark?.index ?? mark, data: [...kept, ...(fields.entries ?? []).map(({ data }) => Buffer.from(data).toString())] })
        store.write('g', writeOf(fields), () => { known = number })
        if (random.chance(0.5)) await Promise.resolve()
        if (random.chance(0.2)) await new Promise(setImmediate)
        if (random.chance(0.05)) break
      }
      kv.crash(random)
      const { mark, data } = await load(storeOn(kv.reopen()), 'g')
      const possible = states.slice(known).map((state) => JSON.stringify(state))
      expect(possible, `seed ${seed}`).to.include(JSON.stringify({ mark, data }))
    }
  })

  it('a write that fails ends it, loudly: nothing after it is said to be written', async () => {
    const kv = new MemoryKv()
    const failures: Error[] = []
    const store = storeOn(kv, (error) => failures.push(error))
    await store.create('g', ['a'])
    kv.failure = new Error('no space left')
    let done = 0
    store.write('g', writeOf({ entries: entries(1, 1) }), () => done++)
    await new Promise(setImmediate)
    kv.failure = null
    store.write('g', writeOf({ entries: entries(2, 2) }), () => done++)
    await new Promise(setImmediate)
    expect(failures.map(({ message }) => message)).to.deep.equal(['no space left'])
    expect(done).to.equal(0)
  })
})
