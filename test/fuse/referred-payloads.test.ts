import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync, mkdirSync, statSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect } from 'chai'
import fc from 'fast-check'
import { AtollError, codeOf, isRetryable } from '../../fsnode/protocol/errors.ts'
import { bulkBuffers } from '../../fsnode/protocol/buffer-pool.ts'
import { lieInFile, lieNowhere, placeOf } from '../../fsnode/protocol/file-places.ts'
import { encodeFrame, FrameDecoder, frameKind, type Frame } from '../../fsnode/protocol/frame.ts'
import { Peer, type Handlers } from '../../fsnode/protocol/peer.ts'
import type { Address, Connection, Listener } from '../../fsnode/protocol/ports.ts'
import { readReferred, referenceTo } from '../../fsnode/protocol/referred-payloads.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { systemNetwork } from '../../fsnode/protocol/system-network.ts'
import { FileJournal } from '../../fuse/mount/journal.ts'
import { SimClock } from '../sim/clock.ts'

const kibi = 1024
const address = { partition: 'p', epoch: 1, ino: 1, chunk: 0, offset: 0, writer: 'w', order: 1 }

/** Two ends in this process; `local` as a Unix socket is. */
function ends (local = true): [Connection, Connection] {
  const make = (): Connection => ({ remote: { host: 'there', port: 1 }, isLocal: local, queuedBytes: 0, send: () => {}, onData: () => {}, onClose: () => {}, close: () => {} })
  const [near, far] = [make(), make()]
  near.send = (buffers) => { const bytes = Buffer.concat(buffers); setImmediate(() => { far.onData(bytes) }) }
  far.send = (buffers) => { const bytes = Buffer.concat(buffers); setImmediate(() => { near.onData(bytes) }) }
  return [near, far]
}

describe('payloads that are in a file of this machine', () => {
  let directory: string
  let journal: FileJournal
  const got: Buffer[] = []
  const keep: Handlers = { 'data.write': (_, payload) => { got.push(Buffer.concat(payload)); return { body: {} } } }

  before(function () {
    // As the journal of a mount is: in memory.
    try {
      directory = mkdtempSync('/dev/shm/atoll-referred-')
    } catch {
      this.skip()
    }
  })
  after(() => { rmSync(directory, { recursive: true, force: true }) })
  beforeEach(() => {
    got.length = 0
    journal = FileJournal.open(join(directory, `${Math.random()}`), 1024 * kibi)
  })
  afterEach(() => { journal.close() })

  /** Recorded, with the sign that it is read from the file: what is in memory changes. */
  function recorded (bytes = randomBytes(300 * kibi)): { bytes: Buffer, expected: Buffer, token: number } {
    const expected = Buffer.from(bytes)
    const token = journal.record(1, 0, [bytes])
    bytes.fill(0)
    return { bytes, expected, token }
  }

  function pair (handlers: Handlers = keep, local = true): { peer: Peer, write: (payload: Buffer[]) => Promise<unknown> } {
    const [near, far] = ends(local)
    void new Peer(far, handlers, systemClock)
    const peer = new Peer(near, {}, systemClock)
    return { peer, write: (payload) => peer.call('data.write', address, { payload }) }
  }

  it('are read from there by a receiver on this machine, slices and several records of them, too', async () => {
    const { write } = pair()
    const [one, other] = [recorded(), recorded()]
    await write([one.bytes])
    await write([one.bytes.subarray(100 * kibi), other.bytes.subarray(0, 200 * kibi + 1)])
    expect(got[0]!.equals(one.expected)).to.equal(true)
    expect(got[1]!.equals(Buffer.concat([one.expected.subarray(100 * kibi), other.expected.subarray(0, 200 * kibi + 1)]))).to.equal(true)
  })

  it('are referred to once more by who has got them so', async () => {
    const next = pair()
    const { write } = pair({ 'data.write': async (_, payload) => {
      payload[0]!.fill(0)
      await next.write(payload)
      return { body: {} }
    } })
    const { bytes, expected } = recorded()
    await write([bytes])
    expect(got[0]!.equals(expected)).to.equal(true)
  })

  it('keep their place among the requests of a connection', async () => {
    const order: number[] = []
    const { peer } = pair({ 'data.write': ({ order: place }) => { order.push(place!); return { body: {} } } })
    const { bytes } = recorded()
    const send = (place: number, payload: Buffer): Promise<unknown> => peer.call('data.write', { ...address, order: place }, { payload: [payload] })
    await Promise.all([send(1, bytes), send(2, Buffer.alloc(10)), send(3, bytes.subarray(0, 100 * kibi)), send(4, Buffer.alloc(200 * kibi))])
    expect(order).to.deep.equal([1, 2, 3, 4])
  })

  it('are sent when part of them is not there, and to another machine', async () => {
    const { bytes } = recorded()
    const fresh = randomBytes(70 * kibi)
    await pair().write([bytes, fresh])
    expect(got[0]!.equals(Buffer.concat([Buffer.alloc(300 * kibi), fresh]))).to.equal(true)
    await pair(keep, false).write([bytes])
    expect(got[1]!.equals(Buffer.alloc(300 * kibi))).to.equal(true)
  })

  it('are refused when they were overwritten, in part as well, and then sent', async () => {
    const { bytes, token } = recorded()
    journal.settle(token)
    // Around the ring: the last lies where the first 180 KiB were.
    for (const length of [300, 300, 180]) journal.settle(recorded(randomBytes(length * kibi)).token)
    for (const part of [0, 200 * kibi]) {
      got.length = 0
      const { write } = pair()
      const refusal = await write([bytes.subarray(part)]).catch((error) => error)
      expect(codeOf(refusal)).to.equal('ATOLL_PAYLOAD_LOST')
      expect(isRetryable(refusal)).to.equal(true)
      expect(got).to.deep.equal([])
      await write([bytes.subarray(part)])
      expect(got[0]!.equals(bytes.subarray(part))).to.equal(true)
    }
  })

  it('are sent to who has never heard of references', async () => {
    const [near, far] = ends()
    const decoder = new FrameDecoder(({ requestId, head, payload }: Frame) => {
      const [method] = head as [string]
      const known = method === 'data.write'
      if (known) got.push(Buffer.concat(payload))
      far.send(known ? encodeFrame(frameKind.response, requestId, {}) : encodeFrame(frameKind.error, requestId, { code: 'ATOLL_UNKNOWN_METHOD', message: `no method ${method} here` }))
    })
    far.onData = (chunk) => { decoder.push(chunk) }
    const peer = new Peer(near, {}, systemClock)
    const { bytes } = recorded()
    const refusal = await peer.call('data.write', address, { payload: [bytes] }).catch((error) => error)
    expect(isRetryable(refusal)).to.equal(true)
    await peer.call('data.write', address, { payload: [bytes] })
    expect(got.map(({ length }) => length)).to.deep.equal([300 * kibi])
  })

  it('are referred to again some time after that was of no use', async () => {
    const clock = new SimClock()
    const [near, far] = ends()
    const peer = new Peer(near, {}, clock)
    const heads: string[] = []
    const decoder = new FrameDecoder(({ requestId, head }) => {
      heads.push((head as [string])[0])
      far.send(encodeFrame(frameKind.error, requestId, { code: 'ATOLL_PAYLOAD_LOST', message: '' }))
    })
    far.onData = (chunk) => { decoder.push(chunk) }
    const { bytes } = recorded()
    for (const laterMs of [0, 9_999, 1]) {
      await clock.advance(laterMs)
      await peer.call('data.write', address, { payload: [bytes] }).catch(() => {})
    }
    expect(heads).to.deep.equal(['payload.at', 'data.write', 'payload.at'])
  })

  it('are not looked for where a buffer that is used again was: neither recorded anew nor taken from the pool', async () => {
    const { bytes } = recorded()
    expect(referenceTo([bytes])).to.not.equal(null)
    // No room: it is not in the journal.
    expect(() => { for (;;) journal.record(1, 0, [randomBytes(300 * kibi)]) }).to.throw(AtollError)
    expect(() => journal.record(1, 0, [bytes])).to.throw(AtollError)
    expect(referenceTo([bytes])).to.equal(null)
    const pooled = bulkBuffers.take(300 * kibi)
    lieInFile(pooled, { path: '/x', device: 1, inode: 1, parts: [{ position: 0, length: pooled.length, guardAt: 0, guard: new Uint8Array(8) }] })
    bulkBuffers.give(pooled)
    expect(referenceTo([bulkBuffers.take(300 * kibi)])).to.equal(null)
  })

  it('are not read from what is no file of this user, from a place that cannot be, nor from one who may be anywhere', async () => {
    const real = join(directory, 'file')
    writeFileSync(real, Buffer.alloc(100 * kibi))
    const { dev: device, ino } = statSync(real)
    const [link, fifo, folder] = [join(directory, 'link'), join(directory, 'fifo'), join(directory, 'folder')]
    symlinkSync(real, link)
    execFileSync('mkfifo', [fifo])
    mkdirSync(folder)
    const part = [0, 70 * kibi, 0, Buffer.alloc(8)]
    const codes: Array<[unknown, string]> = [
      [{ path: link, device, inode: ino, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: fifo, device, inode: statSync(fifo).ino, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: folder, device, inode: statSync(folder).ino, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: join(directory, 'none'), device, inode: 1, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: real, device, inode: ino + 1, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: real, device: device + 1, inode: ino, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: real, device, inode: ino, parts: [[60 * kibi, 70 * kibi, 0, Buffer.alloc(8)]] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: real, device, inode: ino, parts: [[0, 70 * kibi, 0, Buffer.alloc(8, 1)]] }, 'ATOLL_PAYLOAD_LOST'],
      [{ path: `${real}\0`, device, inode: ino, parts: [part] }, 'ATOLL_PAYLOAD_LOST'],
      [null, 'ATOLL_BAD_MESSAGE'], [7, 'ATOLL_BAD_MESSAGE'], [{ path: real, device, inode: ino, parts: [] }, 'ATOLL_BAD_MESSAGE'], [{ path: 1, device, inode: ino, parts: [part] }, 'ATOLL_BAD_MESSAGE'],
      ...[[-1, 9, 0, Buffer.alloc(8)], [0, 0, 0, Buffer.alloc(8)], [0, 2 ** 40, 0, Buffer.alloc(8)], [0, 9, 0, 'guard'], [0, 9, 0, Buffer.alloc(1000)], 7, [0.5, 9, 0, Buffer.alloc(8)]]
        .map((wrong): [unknown, string] => [{ path: real, device, inode: ino, parts: [wrong] }, 'ATOLL_BAD_MESSAGE'])
    ]
    for (const [reference, code] of codes) expect(() => readReferred(reference), JSON.stringify(reference)).to.throw(AtollError).with.property('code', code)
    expect(readReferred({ path: real, device, inode: ino, parts: [part] }).equals(Buffer.alloc(70 * kibi))).to.equal(true)
    const [near, far] = ends(false)
    void new Peer(far, keep, systemClock)
    const answer = new Promise<Frame>((resolve) => { const decoder = new FrameDecoder(resolve); near.onData = (chunk) => { decoder.push(chunk) } })
    near.send(encodeFrame(frameKind.request, 1, ['payload.at', [{ path: real, device, inode: ino, parts: [part] }, 'data.write', address]]))
    expect((await answer).head).to.include({ code: 'ATOLL_BAD_MESSAGE' })
    expect(got).to.deep.equal([])
  })

  it('have the place of any slice (naive twin)', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }), fc.nat(100), fc.nat(100), (lengths, one, other) => {
      const total = lengths.reduce((sum, length) => sum + length, 0)
      const bytes = Buffer.allocUnsafeSlow(total)
      let position = 0
      const parts = lengths.map((length, index) => ({ position: (position += 1_000), length, guardAt: index, guard: new Uint8Array(0) }))
      const twin = parts.flatMap(({ position, length, guardAt }) => Array.from({ length }, (_, at) => `${position + at} ${guardAt}`))
      lieInFile(bytes, { path: 'f', device: 1, inode: 1, parts })
      const [from, to] = [Math.min(one, other) % (total + 1), Math.max(one, other) % (total + 1)].sort((a, b) => a - b) as [number, number]
      const found = placeOf(bytes.subarray(from, to))!.parts.flatMap(({ position, length, guardAt }) => Array.from({ length }, (_, at) => `${position + at} ${guardAt}`))
      expect(found).to.deep.equal(twin.slice(from, to))
      lieNowhere(bytes)
      expect(placeOf(bytes)).to.equal(null)
    }))
  })

  it('go so by the Unix socket of two processes of one user, and not by TCP', async () => {
    let listener: Listener | null = null
    try {
      listener = await systemNetwork.listen({ host: '127.0.0.1', port: 0 }, (connection) => { void new Peer(connection, keep, systemClock) })
      const connection = await systemNetwork.dial(listener.address as Address)
      expect(connection.isLocal).to.equal(true)
      const { bytes, expected } = recorded()
      await new Peer(connection, {}, systemClock).call('data.write', address, { payload: [bytes] })
      expect(got[0]!.equals(expected)).to.equal(true)
      connection.close()
    } finally {
      await listener?.close()
    }
  })
})
