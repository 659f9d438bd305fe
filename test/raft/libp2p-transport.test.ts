import { generateKeyPair } from '@libp2p/crypto/keys'
import { multiaddr } from '@multiformats/multiaddr'
import { expect } from 'chai'
import { createLibp2p } from 'libp2p'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { openLevelKv } from '../../fsnode/protocol/level-kv.ts'
import { encode } from '../../fsnode/protocol/frame.ts'
import type { Kv, Logger } from '../../fsnode/protocol/ports.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import type { RaftMessage } from '../../fsnode/raft/core/types.ts'
import { RaftHost } from '../../fsnode/raft/host.ts'
import { loadOrCreateIdentity } from '../../fsnode/raft/identity.ts'
import { gatheredTcp, tunedNoise } from '../../fsnode/raft/libp2p-tuning.ts'
import { Libp2pTransport, openLibp2pTransport, raftProtocol } from '../../fsnode/raft/libp2p-transport.ts'
import type { PeerAddress } from '../../fsnode/raft/outgoing-link.ts'
import { frameOf, StreamFrameDecoder, streamFrameBytesMax } from '../../fsnode/raft/stream-frames.ts'
import type { RaftGroup } from '../../fsnode/raft/types.ts'
import { yamux } from '@chainsafe/libp2p-yamux'
import { LogMachine } from './log-machine.ts'

const warnings: string[] = []
const log: Logger = { debug: () => {}, info: () => {}, warn: (message) => { warnings.push(message) }, error: (message) => { warnings.push(message) }, child: () => log }

const ping = (round: number): RaftMessage => ({ type: 'timeoutNow', term: 1, round })

/** Looks again after each turn of the event loop, until it holds or the test's time is up. */
async function until (condition: () => boolean, limitMs = 60_000): Promise<void> {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not hold within ${limitMs} ms: ${String(condition)}`)
    await new Promise(setImmediate)
  }
}

describe('raft over libp2p', function () {
  this.timeout(120_000)
  let directory: string
  const book = new Map<string, PeerAddress>()
  const open = new Set<Libp2pTransport>()
  const received = new Map<string, Array<[string, string, RaftMessage]>>()

  const start = async (id: string, port = 0): Promise<Libp2pTransport> => {
    const identity = await loadOrCreateIdentity(join(directory, id))
    const transport = await openLibp2pTransport({ clock: systemClock, random: systemRandom, log, resolve: (node) => book.get(node) }, { self: id, identity, host: '127.0.0.1', port })
    book.set(id, { peerId: transport.peerId, host: '127.0.0.1', raftPort: transport.port })
    transport.onMessage((from, group, message) => {
      if (!received.has(id)) received.set(id, [])
      received.get(id)!.push([from, group, message])
    })
    open.add(transport)
    return transport
  }
  const stop = async (transport: Libp2pTransport): Promise<void> => {
    open.delete(transport)
    await transport.close()
  }
  const roundsAt = (id: string): number[] => (received.get(id) ?? []).map(([, , message]) => (message as { round: number }).round)
  /** Sends until something arrives: what is sent while there is no connection is lost. */
  const reach = async (from: Libp2pTransport, to: string, round: number): Promise<void> => {
    await until(() => {
      from.send(to, 'g', ping(round))
      return roundsAt(to).includes(round)
    })
  }

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'atoll-libp2p-'))
    book.clear()
    received.clear()
    warnings.length = 0
  })
  afterEach(async () => {
    await Promise.all([...open].map(stop))
    await rm(directory, { recursive: true, force: true })
  })

  it('carries messages between nodes both ways, in order, large ones too', async () => {
    const [a, b] = [await start('a'), await start('b')]
    a.send('b', 'g1', ping(0))
    await until(() => received.has('b'))
    expect(received.get('b')).to.deep.equal([['a', 'g1', ping(0)]])
    const data = Buffer.alloc(3 * 1024 * 1024, 5)
    const large: RaftMessage = { type: 'append', term: 1, prevIndex: 0, prevTerm: 0, commitIndex: 0, stamp: 1.5, round: 2, entries: [{ index: 1, term: 1, kind: 1, data }] }
    for (let round = 1; round <= 500; round++) {
      if (round === 250) a.send('b', 'g2', large)
      a.send('b', 'g2', ping(round))
      b.send('a', 'g2', ping(round))
      if (round % 7 === 0) await Promise.resolve()
    }
    await until(() => received.get('b')!.length === 502 && received.get('a')?.length === 500)
    expect(roundsAt('a')).to.deep.equal(Array.from({ length: 500 }, (_, at) => at + 1))
    expect(received.get('b')!.find(([, , { type }]) => type === 'append')).to.deep.equal(['a', 'g2', large])
    expect(roundsAt('b').filter((round) => round > 2)).to.deep.equal(Array.from({ length: 498 }, (_, at) => at + 3))
  })

  it('finds a node again that restarted on another port', async () => {
    const a = await start('a')
    let b = await start('b')
    await reach(a, 'b', 1)
    await stop(b)
    book.delete('b')
    a.send('b', 'g', ping(2)) // to nobody
    b = await start('b')
    await reach(a, 'b', 3)
    await reach(b, 'a', 4)
    expect(roundsAt('b')).not.to.include(2)
  })

  it('talks to nobody who is not who the cluster map says', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const stranger = await start('stranger')
    // The stranger says that it is b; and a is told that b is where the stranger listens.
    const real = book.get('b')!
    book.set('b', { ...real, raftPort: stranger.port })
    for (let attempt = 0; attempt < 3; attempt++) {
      a.send('b', 'g', ping(1))
      await new Promise(setImmediate)
    }
    const impostor = await openLibp2pTransport(
      { clock: systemClock, random: systemRandom, log, resolve: (node) => book.get(node) },
      { self: 'b', identity: await loadOrCreateIdentity(join(directory, 'stranger')), host: '127.0.0.1', port: 0 }
    )
    open.add(impostor)
    impostor.send('a', 'g', ping(2))
    await until(() => warnings.some((warning) => warning.includes('does not know')))
    // Another message on the same stream, and one from the real b, after which it would have arrived.
    impostor.send('a', 'g', ping(3))
    await reach(b, 'a', 9)
    expect(new Set(roundsAt('a'))).to.deep.equal(new Set([9]))
    expect(received.has('stranger')).to.equal(false)
  })

  it('listens to a node that the cluster map learns of later', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const address = book.get('b')!
    const forA = book.get('a')!
    book.delete('b')
    b.send('a', 'g', ping(1))
    await until(() => warnings.length > 0)
    book.set('b', address)
    book.set('a', forA)
    await reach(b, 'a', 2)
    await reach(a, 'b', 3)
  })

  it('gives up a stream of garbage, and goes on with the others', async () => {
    const [a, b] = [await start('a'), await start('b')]
    const raw = await createLibp2p({
      privateKey: await generateKeyPair('Ed25519'), addresses: { listen: [] }, transports: [gatheredTcp()],
      connectionEncrypters: [tunedNoise()], streamMuxers: [yamux()], connectionMonitor: { enabled: false }
    })
    const garbage = [
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      frameOf(encode(17)),
      frameOf(Buffer.from([0xc1])),
      Buffer.from([0xff, 0xff, 0xff, 0xff])
    ]
    for (const bytes of garbage) {
      const stream = await raw.dialProtocol(multiaddr(`/ip4/127.0.0.1/tcp/${a.port}/p2p/${a.peerId}`), raftProtocol)
      let closed = false
      stream.addEventListener('close', () => { closed = true })
      stream.send(bytes)
      await until(() => closed)
    }
    await raw.stop()
    await reach(b, 'a', 1)
  })

  it('says when its port is taken', async () => {
    const a = await start('a')
    const error = await start('b', a.port).then(() => null, (error: unknown) => error)
    expect(error).to.have.property('code', 'ATOLL_PORT_IN_USE')
  })

  it('forgets messages for a node that nobody knows', async () => {
    const a = await start('a')
    for (let attempt = 0; attempt < 10_000; attempt++) a.send('nobody', 'g', ping(1))
    expect((a as unknown as { links: Map<string, unknown> }).links.size).to.equal(0)
  })

  it('three hosts agree, one restarts elsewhere, the leader goes: nothing acknowledged is lost', async () => {
    const ids = ['a', 'b', 'c']
    const nodes = new Map<string, { transport: Libp2pTransport, kv: Kv, host: RaftHost, group: RaftGroup, machine: LogMachine }>()
    const timing = { heartbeatMs: 20, tickMs: 10, electionTimeoutMsMin: 1_000, electionTimeoutMsMax: 2_000, leaseMarginMs: 50, resendMs: 100 }
    const startNode = async (id: string): Promise<void> => {
      const transport = await start(id)
      const kv = await openLevelKv({ directory: join(directory, id, 'raft') })
      const host = new RaftHost({ clock: systemClock, random: systemRandom, log, kv, transport }, { self: id, timing })
      const machine = new LogMachine()
      const group = await host.open({ groupId: '1.m.0', members: ids, stateMachine: machine })
      nodes.set(id, { transport, kv, host, group, machine })
    }
    const stopNode = async (id: string): Promise<void> => {
      const { transport, kv, host } = nodes.get(id)!
      nodes.delete(id)
      await host.close()
      await stop(transport)
      await kv.close()
    }
    const leader = async (): Promise<string> => {
      let found: string | undefined
      await until(() => {
        found = [...nodes].find(([, { group }]) => group.status.role === 'leader')?.[0]
        return found !== undefined
      })
      return found!
    }
    const acknowledged: string[] = []
    /** Again, by another name, when nobody knows what came of it: a leader that is held up for long does not stay one. */
    const propose = async (command: string): Promise<void> => {
      for (let attempt = 1; ; attempt++) {
        const name = `${command} ${attempt}`
        const error = await nodes.get(await leader())!.group.propose(Buffer.from(name)).then(() => null, (error: unknown) => error)
        if (error !== null) expect(codeOf(error)).to.be.oneOf(['ATOLL_NOT_LEADER', 'ATOLL_UNAVAILABLE'])
        else return void acknowledged.push(name)
      }
    }
    const holdsAll = (id: string): boolean => nodes.get(id)!.machine.commands.filter((name) => acknowledged.includes(name)).join() === acknowledged.join()
    for (const id of ids) await startNode(id)
    await propose('one')
    const follower = ids.find((id) => nodes.get(id)!.group.status.role !== 'leader')!
    await stopNode(follower)
    await propose('two')
    await startNode(follower)
    await until(() => holdsAll(follower))
    await stopNode(await leader())
    await propose('three')
    await until(() => [...nodes.keys()].every(holdsAll))
    for (const id of [...nodes.keys()]) await stopNode(id)
  })
})

describe('the identity of a node', () => {
  let directory: string
  beforeEach(async () => { directory = await mkdtemp(join(tmpdir(), 'atoll-identity-')) })
  afterEach(() => rm(directory, { recursive: true }))

  it('is made once, readable by its owner only, and stays', async () => {
    const first = await loadOrCreateIdentity(join(directory, 'new'))
    const again = await loadOrCreateIdentity(join(directory, 'new'))
    expect(again.peerId).to.equal(first.peerId)
    expect(first.peerId).to.match(/^12D3Koo/)
    const file = join(directory, 'new', 'identity.key')
    expect((await stat(file)).mode & 0o777).to.equal(0o600)
    expect((await readFile(file)).length).to.be.greaterThan(32)
    expect((await loadOrCreateIdentity(directory)).peerId).not.to.equal(first.peerId)
  })

  it('that is damaged is not replaced by another', async () => {
    await writeFile(join(directory, 'identity.key'), 'nonsense')
    const error = await loadOrCreateIdentity(directory).then(() => null, (error: unknown) => error)
    expect(error).to.have.property('code', 'ATOLL_STORE_UNUSABLE')
    expect(await readFile(join(directory, 'identity.key'), 'utf8')).to.equal('nonsense')
  })
})

describe('frames on a stream', () => {
  it('survive every split', () => {
    const bodies = [Buffer.from('one'), Buffer.alloc(0), Buffer.alloc(70_000, 1), Buffer.from('x')]
    const bytes = Buffer.concat(bodies.map(frameOf))
    for (const size of [1, 2, 3, 4, 5, 7, 1_000, 65_536, bytes.length]) {
      const frames: Buffer[] = []
      const decoder = new StreamFrameDecoder((body) => frames.push(Buffer.from(body)))
      for (let offset = 0; offset < bytes.length; offset += size) decoder.push(bytes.subarray(offset, offset + size))
      expect(frames).to.deep.equal(bodies)
    }
  })

  it('of impossible length are refused before they are awaited', () => {
    const header = Buffer.alloc(4)
    header.writeUInt32BE(streamFrameBytesMax + 1)
    expect(() => { new StreamFrameDecoder(() => {}).push(header) }).to.throw().with.property('code', 'ATOLL_BAD_MESSAGE')
  })
})
