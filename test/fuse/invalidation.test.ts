import { constants } from 'node:fs'
import { expect } from 'chai'
import * as fuse from '../../fuse/protocol/constants.ts'
import { wantedFlags } from '../../fuse/protocol/init.ts'
import { invalidationWaitMs } from '../../fuse/filesystem/invalidation.ts'
import { folioBytesMax, gapsBetween, PageActivity } from '../../fuse/filesystem/page-activity.ts'
import { SimClock, settle } from '../sim/clock.ts'
import { root, start, lookup, gate } from './dispatching.ts'
import { FakeKernel, u32 } from './fake-kernel.ts'
import { MemoryVolume } from './memory-volume.ts'

describe('fuse dispatcher: invalidation', () => {
  const codes = (kernel: FakeKernel): number[] => kernel.notifications.map((message) => message.readInt32LE(4))

  it('content, attributes and names each have their notification', async () => {
    const { kernel, volume } = await start()
    await volume.onInvalidate!({ ino: 9, what: 'content' })
    await volume.onInvalidate!({ ino: 9, what: 'attributes' })
    await volume.onInvalidate!({ ino: 9, what: 'entries', names: ['a'] })
    expect(codes(kernel)).to.deep.equal([2, 2, 2, 8])
    expect(kernel.notifications.slice(0, 2).map((message) => Number(message.readBigInt64LE(24)))).to.deep.equal([0, -1])
  })

  it('many changes of names at once share one epoch', async () => {
    const { kernel, volume } = await start()
    await Promise.all([1, 2, 3].map((ino) => volume.onInvalidate!({ ino, what: 'entries' })))
    expect(codes(kernel).filter((code) => code === 8)).to.have.length(1)
    await volume.onInvalidate!({ ino: 1, what: 'entries' })
    expect(codes(kernel).filter((code) => code === 8)).to.have.length(2)
  })

  it('without epochs names are cached for a second and invalidated one by one', async () => {
    const volume = new MemoryVolume({ clock: new SimClock() })
    const kernel = new FakeKernel(volume)
    await kernel.init(43)
    expect(Number((await lookup(kernel, 1, 'nothing')).payload.readBigUInt64LE(16))).to.equal(1)
    await volume.onInvalidate!({ ino: 1, what: 'entries', names: ['a', 'b'] })
    expect(codes(kernel)).to.deep.equal([2, 3, 3])
  })

  it('a recall does not wait for the kernel for ever', async () => {
    const { kernel, volume } = await start()
    kernel.stuck = true
    let done = false
    void volume.onInvalidate!({ ino: 9, what: 'content' }).then(() => { done = true })
    await kernel.clock.advance(invalidationWaitMs - 1)
    expect(done).to.equal(false)
    await kernel.clock.advance(1)
    expect(done).to.equal(true)
  })

  it('a recall does not wait for pages that a READ holds, nor for a READ that comes meanwhile: it may wait for the recall', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    await volume.setattr(ino, { size: 100_000_000 }, root)
    const { wait, open } = gate()
    const openFile = volume.open.bind(volume)
    volume.open = async (which, options) => Object.assign(await openFile(which, options), { read: async () => { await wait; return [] } })
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(0, 0))).payload.readBigUInt64LE(0))
    const first = kernel.read(ino, fh, folioBytesMax + 5, 10)
    await volume.onInvalidate!({ ino, what: 'content' })
    expect(kernel.notifications.map((message) => [Number(message.readBigInt64LE(24)), Number(message.readBigInt64LE(32))])).to.deep.equal([
      [0, folioBytesMax], [2 * folioBytesMax, 0], [folioBytesMax, folioBytesMax]
    ])
    kernel.stuck = true
    let done = false
    const recalled = volume.onInvalidate!({ ino, what: 'content' }).then(() => { done = true })
    await settle()
    expect(done).to.equal(false)
    const second = kernel.read(ino, fh, 50_000_000, 10)
    await recalled
    open()
    await Promise.all([first, second])
  })

  it('content that nobody asked for is stored as whole pages, behind the answers, and not where a READ is under way', async () => {
    const { kernel, volume } = await start()
    const { ino } = await kernel.create(1, 'file')
    const data = Buffer.from(Array.from({ length: 30_000 }, (_, index) => index % 251))
    const { wait, open } = gate()
    const options: unknown[] = []
    const openFile = volume.open.bind(volume)
    let taken: Promise<boolean> | null = null
    volume.open = async (which, how) => Object.assign(await openFile(which, how), {
      read: async (offset: number, _: number, given: unknown) => {
        options.push(given)
        if (offset > 0) await wait
        else taken = volume.onOffer!({ ino, offset: 5_000, data: [data.subarray(0, 10_000), data.subarray(10_000)] })
        return []
      }
    })
    const fh = Number((await kernel.ask({ opcode: fuse.FUSE_OPEN, nodeid: ino }, u32(0, 0))).payload.readBigUInt64LE(0))
    await kernel.read(ino, fh, 0, 4_096)
    const answered = kernel.replies.size
    expect(await taken!).to.equal(true)
    const [{ message, answered: before }] = kernel.stores as [typeof kernel.stores[0]]
    expect(before).to.equal(answered)
    expect([message.readUInt32LE(0), message.readInt32LE(4), message.readBigUInt64LE(8)]).to.deep.equal([message.length, fuse.FUSE_NOTIFY_STORE, 0n])
    expect([Number(message.readBigUInt64LE(16)), Number(message.readBigUInt64LE(24)), message.readUInt32LE(32)]).to.deep.equal([ino, 8_192, 24_576])
    expect(message.subarray(40).equals(data.subarray(3_192, 3_192 + 24_576))).to.equal(true)

    const waiting = kernel.read(ino, fh, 40_960, 4_096, fuse.FUSE_READ, constants.O_DIRECT)
    const offer = (offset: number): Promise<boolean> => volume.onOffer!({ ino, offset, data: [Buffer.alloc(8_192)] })
    expect([await offer(36_864), await offer(40_960), await offer(45_056), await offer(4_000)]).to.deep.equal([false, false, true, true])
    expect(await volume.onOffer!({ ino, offset: 4_097, data: [Buffer.alloc(8_190)] }), 'no whole page').to.equal(true)
    expect(kernel.stores.length).to.equal(3)
    open()
    await waiting
    expect(options).to.deep.equal([undefined, { direct: true }])
    const later = new MemoryVolume({ clock: new SimClock() })
    void new FakeKernel(later, { generation: 1 })
    expect(later.onOffer, 'a later worker does not know who writes').to.equal(null)
  })

  it('pages in use: whole folios, merged, and what lies between', () => {
    const activity = new PageActivity()
    const folio = folioBytesMax
    const ranges = [activity.begin(5, 3 * folio + 1, 1), activity.begin(5, 10, folio), activity.begin(5, 2 * folio, 1)]
    activity.begin(6, 0, 1)
    expect(activity.lockedRanges(5)).to.deep.equal([{ from: 0, to: 4 * folio }])
    activity.end(5, ranges[2]!)
    expect(gapsBetween(activity.lockedRanges(5))).to.deep.equal([{ from: 2 * folio, to: 3 * folio }, { from: 4 * folio, to: Infinity }])
    for (const range of ranges) activity.end(5, range)
    expect(gapsBetween(activity.lockedRanges(5))).to.deep.equal([{ from: 0, to: Infinity }])
  })

  it('before INIT there is nothing to invalidate; a later worker begins with a new epoch', async () => {
    const volume = new MemoryVolume({ clock: new SimClock() })
    const kernel = new FakeKernel(volume)
    await volume.onInvalidate!({ ino: 9, what: 'content' })
    expect(kernel.notifications).to.deep.equal([])
    const successor = new FakeKernel(volume, { generation: 1, negotiated: { minor: 45, flags: String(wantedFlags), maxReadahead: 0 } })
    await successor.dispatcher.distrustCaches()
    expect(codes(successor)).to.deep.equal([fuse.FUSE_NOTIFY_INC_EPOCH])
  })
})
