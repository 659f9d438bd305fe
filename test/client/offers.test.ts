import { expect } from 'chai'
import { cachedBlockBytesMax, offersMax, readBlockBytes } from '../../client/bounds.ts'
import type { Offer, OpenFile } from '../../client/types.ts'
import { settle } from '../sim/clock.ts'
import { me, pattern, TestCluster, type TestVolume } from './cluster.ts'

interface Offered extends Offer { arrive: (has?: boolean) => void }

describe('client: what is read beyond what was asked for is offered above', () => {
  const size = 20 * readBlockBytes + 1_000
  const content = pattern(size, 3)
  let cluster: TestCluster
  let a: TestVolume
  let b: TestVolume
  let ino: number
  let file: OpenFile
  let offers: Offered[]
  let invalidated: number

  beforeEach(async () => {
    cluster = await TestCluster.open()
    a = await cluster.client()
    b = await cluster.client()
    ino = await b.put('f', content)
    offers = []
    invalidated = 0
    a.volume.onOffer = (offer) => new Promise((resolve) => { offers.push({ ...offer, arrive: (has = true) => { resolve(has) } }) })
    a.volume.onInvalidate = async (invalidation) => {
      if (invalidation.ino === ino && invalidation.what === 'content') invalidated++
    }
    file = await a.run(a.volume.open(ino, { write: false }))
  })

  const read = async (offset: number, direct = false): Promise<Buffer> => Buffer.concat(await a.run(file.read(offset, 4_096, { direct })))

  it('the block around a small read, once, and again when it has arrived and was lost there', async () => {
    for (const offset of [3 * readBlockBytes + 8_192, 3 * readBlockBytes, size - 500]) {
      expect((await read(offset)).equals(content.subarray(offset, offset + 4_096))).to.equal(true)
    }
    expect(offers.map(({ ino, offset, data }) => [ino, offset, Buffer.concat(data).equals(content.subarray(offset, offset + readBlockBytes))])).to.deep.equal([
      [ino, 3 * readBlockBytes, true], [ino, 20 * readBlockBytes, true]
    ])
    offers[0]!.arrive()
    await settle()
    cluster.resetCounts()
    await read(3 * readBlockBytes + 40_000)
    expect([offers.length, cluster.count('data.read')]).to.deep.equal([3, 1])
    offers[1]!.arrive(false)
    await settle()
    await read(size - 900)
    expect([offers.length, cluster.count('data.read')], 'one that was not wanted then is kept here').to.deep.equal([4, 1])
  })

  it('but nothing to who bypasses the cache above, nor of a file that is open for writing, nor too much at once', async () => {
    await read(0, true)
    await read(50_000, true)
    expect([offers.length, cluster.count('data.read')]).to.deep.equal([0, 1])
    const writer = await a.run(a.volume.open(ino, { write: true }))
    await read(5 * readBlockBytes)
    expect(offers).to.deep.equal([])
    await a.run(writer.release())
    await b.run(b.volume.setattr(ino, { size: cachedBlockBytesMax }, me))
    for (let block = 0; block < offersMax + 10; block++) await read((300 - 3 * block) * readBlockBytes)
    expect(offers.length).to.equal(offersMax)
  })

  it('a recall waits for what is under way, then drops it; nothing more is offered meanwhile', async () => {
    await read(0)
    let done = false
    const change = b.put('f', pattern(size, 4)).then(() => { done = true })
    await cluster.clock.advance(100)
    await a.run(file.read(9 * readBlockBytes, 4_096))
    expect([done, invalidated, offers.length]).to.deep.equal([false, 0, 1])
    offers[0]!.arrive()
    await a.run(change)
    expect(invalidated).to.be.at.least(1)
    const known = offers.length
    expect((await read(0)).equals(pattern(size, 4).subarray(0, 4_096))).to.equal(true)
    expect(Buffer.concat(offers[known]!.data).equals(pattern(size, 4).subarray(0, readBlockBytes))).to.equal(true)
  })

  it('who wants to write, and who cuts the file, waits for what is under way', async () => {
    const outcomes: string[] = []
    await read(0)
    const opening = a.volume.open(ino, { write: true }).then((opened) => {
      outcomes.push('open')
      return opened
    })
    const cutting = a.volume.setattr(ino, { size: 5_000 }, me).then(() => { outcomes.push('cut') })
    const touching = a.volume.setattr(ino, { mode: 0o600 }, me).then(() => { outcomes.push('touched') })
    await cluster.clock.advance(500)
    await a.run(touching)
    expect(outcomes).to.deep.equal(['touched'])
    await a.run(file.read(9 * readBlockBytes, 4_096))
    expect(offers.length, 'while they wait').to.equal(1)
    offers[0]!.arrive()
    await a.run(cutting)
    await a.run((await a.run(opening)).release())
    await read(0)
    expect(offers.slice(1).map(({ offset, data }) => [offset, Buffer.concat(data).length])).to.deep.equal([[0, 5_000]])
  })

  it('what was being read when the lease went is not offered any more', async () => {
    let answer = (): void => {}
    cluster.onRequest = async (method) => {
      if (method === 'data.read') await new Promise<void>((resolve) => { answer = resolve })
      return undefined
    }
    const reading = file.read(0, 4_096)
    await cluster.clock.advance(50)
    const held = answer
    cluster.onRequest = () => undefined
    await b.put('f', pattern(size, 5))
    held()
    await a.run(reading)
    await settle()
    expect(offers).to.deep.equal([])
    expect((await read(4_096)).equals(pattern(size, 5).subarray(4_096, 8_192))).to.equal(true)
  })
})
