import { yamux } from '@chainsafe/libp2p-yamux'
import type { ComponentLogger, Connection, Libp2p, Logger as Libp2pLogger, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { isIPv4, isIPv6 } from 'node:net'
import type { NodeId } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import { decode } from '../protocol/frame.ts'
import type { Clock, Logger, Random, Timer } from '../protocol/ports.ts'
import type { RaftMessage } from './core/types.ts'
import type { Identity } from './identity.ts'
import { gatheredTcp, tunedNoise, tuneWindow } from './libp2p-tuning.ts'
import { fromWire } from './message-codec.ts'
import { OutgoingLink, type PeerAddress } from './outgoing-link.ts'
import { emptyFrame, StreamFrameDecoder } from './stream-frames.ts'
import type { RaftMessageHandler, RaftTransport } from './transport.ts'

export const raftProtocol = '/atoll/raft/1'
/** Each link is asked for a sign of life this often, and given up when none came for three times as long. */
export const livenessCheckMs = 2_000
/** Nodes of one machine may all connect at once. */
export const connectionsMax = 2_000

export interface Libp2pTransportComponents {
  clock: Clock
  random: Random
  log: Logger
  /** The address book. Asked anew for each connection; undefined: no such node. */
  resolve: (node: NodeId) => PeerAddress | undefined
}

export interface Libp2pTransportInit {
  self: NodeId
  identity: Identity
  /** An address of this machine; '0.0.0.0' for all. */
  host: string
  /** 0 takes a free one. */
  port: number
}

/** Rejects with ATOLL_PORT_IN_USE or ATOLL_LISTEN_FAILED. */
export async function openLibp2pTransport (components: Libp2pTransportComponents, init: Libp2pTransportInit): Promise<Libp2pTransport> {
  const transport = new Libp2pTransport(components, init)
  await transport.listen()
  return transport
}

/** Raft messages over libp2p. Messages to one node share one long-lived stream; what cannot leave soon is dropped. */
export class Libp2pTransport implements RaftTransport {
  private readonly components: Libp2pTransportComponents
  private readonly init: Libp2pTransportInit
  private readonly links = new Map<NodeId, OutgoingLink>()
  private handler: RaftMessageHandler = () => {}
  private libp2p: Libp2p | null = null
  private timer: Timer | null = null
  private closed = false

  constructor (components: Libp2pTransportComponents, init: Libp2pTransportInit) {
    this.components = components
    this.init = init
  }

  get peerId (): string { return this.init.identity.peerId }

  /** The port in use. */
  get port (): number {
    const address = this.libp2p?.getMultiaddrs()[0]?.getComponents().find(({ name }) => name === 'tcp')
    return Number(address?.value ?? this.init.port)
  }

  async listen (): Promise<void> {
    const { host, port, identity } = this.init
    try {
      this.libp2p = await createLibp2p({
        privateKey: identity.privateKey,
        addresses: { listen: [`${hostPart(host)}/tcp/${port}`] },
        transports: [gatheredTcp()],
        connectionEncrypters: [tunedNoise()],
        streamMuxers: [yamux({ enableKeepAlive: false, streamOptions: { maxStreamWindowSize: 16 * 1024 * 1024 } })],
        // What an open network needs and a cluster does not.
        connectionMonitor: { enabled: false },
        connectionManager: { maxConnections: connectionsMax, inboundConnectionThreshold: connectionsMax, maxIncomingPendingConnections: connectionsMax },
        logger: silent
      })
      await this.libp2p.handle(raftProtocol, (stream, connection) => { this.accept(stream, connection) }, { maxInboundStreams: 8, maxOutboundStreams: 8 })
    } catch (error) {
      const inUse = messageOf(error).includes('EADDRINUSE') || String((error as Error).cause).includes('EADDRINUSE') || JSON.stringify((error as { errors?: unknown[] }).errors?.map(String) ?? []).includes('EADDRINUSE')
      throw new AtollError(inUse ? 'ATOLL_PORT_IN_USE' : 'ATOLL_LISTEN_FAILED', `cannot listen on ${host}:${port}: ${messageOf(error)}`)
    }
    this.schedule()
  }

  send (to: NodeId, group: string, message: RaftMessage): void {
    if (this.closed) return
    let link = this.links.get(to)
    if (link === undefined) {
      if (this.components.resolve(to) === undefined) return
      link = new OutgoingLink(this.components, { self: this.init.self, to, open: (address) => this.dial(address) })
      this.links.set(to, link)
    }
    link.send(group, message)
  }

  onMessage (handler: RaftMessageHandler): void {
    this.handler = handler
  }

  async close (): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.timer?.cancel()
    for (const link of this.links.values()) link.close()
    this.links.clear()
    const { libp2p } = this
    if (libp2p === null) return
    // Nobody waits for a good-bye: a peer that is gone would hold us up.
    for (const connection of libp2p.getConnections()) connection.abort(new Error('the node stops'))
    await libp2p.stop()
  }

  private async dial (address: PeerAddress): Promise<{ stream: Stream, connection: Connection }> {
    const target = multiaddr(`${hostPart(address.host)}/tcp/${address.raftPort}/p2p/${address.peerId}`)
    const signal = AbortSignal.timeout(dialTimeoutMs)
    const connection = await this.libp2p!.dial(target, { signal })
    const stream = await connection.newStream(raftProtocol, { signal })
    if (this.closed) stream.abort(new Error('the node stops'))
    return { stream, connection }
  }

  /** A stream on which another node sends to us. Its first frame says which node that is. */
  private accept (stream: Stream, connection: Connection): void {
    tuneWindow(stream)
    let from: NodeId | null = null
    const peerId = connection.remotePeer.toString()
    const decoder = new StreamFrameDecoder((body) => {
      if (body.length === 0) stream.send(emptyFrame)
      else if (from === null) from = this.greeted(body, peerId)
      else if (this.isNode(from, peerId)) this.deliver(from, body)
    })
    stream.addEventListener('message', ({ data }) => {
      try {
        decoder.push(data instanceof Uint8Array ? data : data.subarray())
      } catch (error) {
        this.components.log.warn('a Raft stream is given up', { from, error: messageOf(error) })
        stream.abort(error instanceof Error ? error : new Error(String(error)))
      }
    })
    stream.addEventListener('remoteCloseWrite', () => { stream.close().catch(() => {}) })
  }

  private greeted (body: Buffer, peerId: string): NodeId {
    const node = decode(body)
    if (typeof node !== 'string') throw new AtollError('ATOLL_BAD_MESSAGE', 'a Raft stream begins with the name of its node')
    if (this.isNode(node, peerId)) this.links.get(node)?.retrySoon()
    else this.components.log.warn('a Raft stream from a peer that the cluster map does not know by this name', { node, peerId })
    return node
  }

  /** The cluster map may learn of a node after its first message, and its word counts. */
  private isNode (node: NodeId, peerId: string): boolean {
    return this.components.resolve(node)?.peerId === peerId
  }

  private deliver (from: NodeId, body: Buffer): void {
    const batch = decode(body)
    if (!Array.isArray(batch)) throw new AtollError('ATOLL_BAD_MESSAGE', 'a Raft frame holds an array')
    for (let at = 0; at + 1 < batch.length; at += 2) {
      const group: unknown = batch[at]
      const message = fromWire(batch[at + 1])
      if (typeof group === 'string' && message !== undefined) this.handler(from, group, message)
      else this.components.log.warn('a Raft message that cannot be understood', { from })
    }
  }

  private schedule (): void {
    this.timer = this.components.clock.setTimer(() => {
      const now = this.components.clock.now()
      for (const [node, link] of this.links) {
        if (link.check(now)) continue
        link.close()
        this.links.delete(node)
      }
      if (!this.closed) this.schedule()
    }, livenessCheckMs)
  }
}

export const dialTimeoutMs = 3_000

function hostPart (host: string): string {
  return isIPv4(host) ? `/ip4/${host}` : isIPv6(host) ? `/ip6/${host}` : `/dns/${host}`
}

/** libp2p speaks of each frame. */
const silentLogger: Libp2pLogger = Object.assign(() => {}, {
  error: () => {}, trace: () => {}, enabled: false, newScope: () => silentLogger
})
const silent: ComponentLogger = { forComponent: () => silentLogger }
