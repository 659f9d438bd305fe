import { expect } from 'chai'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { encodeFrame, FrameDecoder, frameKind, type Frame } from '../../fsnode/protocol/frame.ts'
import { Peer, type Handlers } from '../../fsnode/protocol/peer.ts'
import { PeerPool } from '../../fsnode/protocol/pool.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { systemNetwork } from '../../fsnode/protocol/system-network.ts'

describe('frames', () => {
  it('survive every split of the byte stream', () => {
    const payload = [randomBytes(5), Buffer.alloc(0), randomBytes(7)]
    const bytes = Buffer.concat([
      ...encodeFrame(frameKind.request, 7, ['data.write', { ino: 2 ** 42, at: 5n }], payload),
      ...encodeFrame(frameKind.response, 8, { done: true })
    ])
    for (let first = 0; first <= bytes.length; first++) {
      for (const second of [first, Math.min(first + 1, bytes.length), Math.min(first + 17, bytes.length)]) {
        const frames: Frame[] = []
        const decoder = new FrameDecoder((frame) => frames.push(frame))
        for (const part of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) decoder.push(part)
        expect(frames.map((frame) => [frame.kind, frame.requestId, frame.head])).to.deep.equal([
          [frameKind.request, 7, ['data.write', { ino: 2 ** 42, at: 5n }]],
          [frameKind.response, 8, { done: true }]
        ])
        expect(Buffer.concat(frames[0]!.payload)).to.deep.equal(Buffer.concat(payload))
        expect(frames[1]!.payload).to.deep.equal([])
      }
    }
  })

  it('take what a connection puts where they want it, uncopied, for payloads and for heads of any length', () => {
    const payloads = [randomBytes(100), randomBytes(200_000), randomBytes(1_000_000), randomBytes(3_000_000)]
    const heads = payloads.map((payload) => ['data.write', { text: 'x'.repeat(payload.length / 7) }])
    const bytes = Buffer.concat(payloads.flatMap((payload, index) => encodeFrame(frameKind.request, index, heads[index], [payload])))
    for (const stepMax of [1_000, 65_536, 300_000]) {
      const frames: Frame[] = []
      const decoder = new FrameDecoder((frame) => frames.push(frame))
      let inPlace = 0
      for (let at = 0; at < bytes.length;) {
        const place = decoder.place()
        const length = Math.min(stepMax, bytes.length - at, place?.length ?? Infinity)
        if (place === null) {
          decoder.push(bytes.subarray(at, at + length))
        } else {
          inPlace += bytes.copy(place, 0, at, at + length)
          decoder.push(place.subarray(0, length))
        }
        at += length
      }
      expect(frames.map(({ head }) => head)).to.deep.equal(heads)
      for (const [index, frame] of frames.entries()) expect(Buffer.concat(frame.payload).equals(payloads[index]!)).to.equal(true)
      expect(frames.every((frame) => frame.payload.length === 1)).to.equal(true)
      expect(inPlace).to.be.at.least(3_000_000)
    }
  })

  it('refuse a stream that is not one of frames', () => {
    const decoder = new FrameDecoder(() => {})
    expect(() => { decoder.push(Buffer.from('GET / HTTP/1.1\r\nHost: here\r\n\r\n')) }).to.throw(AtollError).with.property('code', 'ATOLL_BAD_MESSAGE')
  })
})

describe('peers over sockets', () => {
  const serve = async (handlers: Handlers) => {
    const served: Peer[] = []
    const listener = await systemNetwork.listen({ host: '127.0.0.1', port: 0 }, (connection) => served.push(new Peer(connection, handlers, systemClock)))
    const callbacks: Handlers = { 'lease.recall': () => ({ body: { open: true } }) }
    const pool = new PeerPool({ network: systemNetwork, clock: systemClock }, callbacks)
    return { listener, pool, served, close: async () => { pool.close(); await listener.close() } }
  }

  it('carry payloads both ways, errors with their codes, and calls from the called side', async () => {
    const { listener, pool, close } = await serve({
      'data.read': (_, payload) => ({ body: {}, payload }),
      'data.sync': () => { throw new AtollError('ATOLL_NOT_LEADER', 'not here', { leader: 'node-2' }) },
      'node.status': async (_, __, { peer }) => {
        const { body } = await peer.call('lease.recall', { partition: '1.m.0', ino: 1, to: 'none' })
        expect(body.open).to.equal(true)
        return { body: { nodeId: 'node-1' } as never }
      }
    })
    const peer = await pool.get(listener.address)
    const chunk = { partition: '1.d.0', epoch: 1, ino: 1, chunk: 0 }
    const payload = randomBytes(3 * 1024 * 1024)
    const answer = await peer.call('data.read', { ...chunk, offset: 0, length: 0 }, { payload: [payload] })
    expect(Buffer.concat(answer.payload).equals(payload)).to.equal(true)
    expect((await peer.call('node.status', {})).body.nodeId).to.equal('node-1')
    const error = await peer.call('data.sync', { partition: '1.d.0', epoch: 1, ino: 1, chunks: [0] }).catch((error) => error)
    expect([error.code, error.details.leader]).to.deep.equal(['ATOLL_NOT_LEADER', 'node-2'])
    expect((await peer.call('data.zero', { ...chunk, offset: 0, length: 1 }).catch((error) => error)).code).to.equal('ATOLL_UNKNOWN_METHOD')
    await close()
  })

  it('reject what is pending when the connection is lost, and dial anew afterwards', async () => {
    const { listener, pool, served, close } = await serve({ 'node.hello': () => new Promise(() => {}), 'data.read': () => ({ body: {} }) })
    const pending = (await pool.get(listener.address)).call('node.hello', {}).catch((error) => error)
    await (await pool.get(listener.address)).call('data.read', { partition: '', epoch: 0, ino: 0, chunk: 0, offset: 0, length: 0 })
    served[0]!.close()
    expect((await pending).code).to.equal('ATOLL_CONNECTION_LOST')
    await (await pool.get(listener.address)).call('data.read', { partition: '', epoch: 0, ino: 0, chunk: 0, offset: 0, length: 0 })
    await close()
    expect((await pool.get(listener.address).catch((error) => error)).code).to.equal('ATOLL_UNREACHABLE')
  })

  describe('on one machine', () => {
    const temporary = process.env['TMPDIR']
    const attemptsMax = 20
    let directory = ''

    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'sockets-'))
      process.env['TMPDIR'] = directory
    })

    afterEach(() => {
      if (temporary === undefined) delete process.env['TMPDIR']
      else process.env['TMPDIR'] = temporary
      rmSync(directory, { recursive: true })
    })

    const sockets = () => readdirSync(directory).flatMap((name) => readdirSync(join(directory, name)))

    /** Whether a call arrives by a Unix socket. */
    const goesLocally = async (before: (port: number) => void = () => {}): Promise<boolean> => {
      const { listener, pool, served, close } = await serve({ 'data.read': (_, payload) => ({ body: {}, payload }) })
      before(listener.address.port)
      const payload = randomBytes(1_000_000)
      const answer = await (await pool.get(listener.address)).call('data.read', { partition: '', epoch: 0, ino: 0, chunk: 0, offset: 0, length: 0 }, { payload: [payload] })
      expect(Buffer.concat(answer.payload).equals(payload)).to.equal(true)
      const { port } = served[0]!.remote
      await close()
      return port === 0
    }

    /** A process that is held up does without sockets for once: its directory seems not to answer. */
    const atLast = async (attempt: () => Promise<boolean>): Promise<boolean> => {
      for (let left = attemptsMax; left > 0; left--) if (await attempt()) return true
      return false
    }

    it('meet by a Unix socket, which is gone when nobody listens any more', async () => {
      expect(await atLast(() => goesLocally())).to.equal(true)
      expect(sockets()).to.deep.equal([])
    })

    it('meet by TCP when the socket is not there', async () => {
      expect(await goesLocally(() => { for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true }) })).to.equal(false)
    })

    it('meet by TCP when others may have put a socket there', async () => {
      expect(await goesLocally(() => { for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o777) })).to.equal(false)
    })

    it('remove the sockets of processes that were killed, once they are not about to be listened to, and nothing else', async () => {
      let { listener, close } = await serve({})
      expect(await atLast(async () => {
        if (sockets().length > 0) return true
        await close();
        ({ listener, close } = await serve({}))
        return false
      })).to.equal(true)
      const own = join(directory, readdirSync(directory)[0]!)
      const [name] = sockets()
      const longAgo = new Date(Date.now() - 120_000)
      for (const index of [1, 2]) {
        const killed = spawn(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(join(own, `dead ${index}`))}, () => process.kill(process.pid, 'SIGKILL'))`])
        await once(killed, 'exit')
      }
      writeFileSync(join(own, 'file'), '')
      for (const old of ['dead 1', 'file', name!]) utimesSync(join(own, old), longAgo, longAgo)
      expect(await atLast(async () => {
        await (await serve({})).close()
        return !sockets().includes('dead 1')
      })).to.equal(true)
      expect(sockets().sort()).to.deep.equal([name!, 'dead 2', 'file'])
      expect((await systemNetwork.dial(listener.address)).remote).to.deep.equal(listener.address)
      await close()
    })

    it('do without when the path would be too long', async () => {
      process.env['TMPDIR'] = join(directory, 'x'.repeat(100))
      mkdirSync(process.env['TMPDIR'])
      expect(await goesLocally()).to.equal(false)
    })
  })
})
