import type { Connection, Stream } from '@libp2p/interface'
import type { NodeId } from '../../partitioning/types.ts'
import { messageOf } from '../protocol/errors.ts'
import { encode } from '../protocol/frame.ts'
import type { Clock, Logger, Random } from '../protocol/ports.ts'
import type { RaftMessage } from './core/types.ts'
import { toWire } from './message-codec.ts'
import { emptyFrame, frameOf } from './stream-frames.ts'

export interface PeerAddress { peerId: string, host: string, raftPort: number }

export interface OutgoingLinkComponents {
  clock: Clock
  random: Random
  log: Logger
  resolve: (node: NodeId) => PeerAddress | undefined
}

export interface OutgoingLinkInit {
  self: NodeId
  to: NodeId
  open: (address: PeerAddress) => Promise<{ stream: Stream, connection: Connection }>
}

/** Messages that wait for the stream to open. More are dropped: Raft sends again what matters. */
export const waitingMessagesMax = 1_024
/** Bytes in the stream that the network has not taken; while there are more, messages are dropped. */
export const outgoingBytesMax = 16 * 1024 * 1024
/** A frame is closed when its messages hold so much. */
export const frameBytesTarget = 1024 * 1024
export const redialDelayMsMin = 50
export const redialDelayMsMax = 2_000
export const silenceMsMax = 6_000

/** The stream to one node: opened when there is something to send, and again after it was lost. */
export class OutgoingLink {
  private readonly components: OutgoingLinkComponents
  private readonly init: OutgoingLinkInit
  private address: PeerAddress | null = null
  private stream: Stream | null = null
  private connection: Connection | null = null
  private opening = false
  /** group, message, group, message ... */
  private pending: unknown[] = []
  private flushScheduled = false
  private redialAt = -Infinity
  private redialDelayMs = redialDelayMsMin
  private heardAt = 0
  /** Bytes that the stream was given, and those of them that had left it at the last check. */
  private given = 0
  private left = 0
  private closed = false

  constructor (components: OutgoingLinkComponents, init: OutgoingLinkInit) {
    this.components = components
    this.init = init
  }

  send (group: string, message: RaftMessage): void {
    if (this.stream === null) {
      if (this.pending.length >= 2 * waitingMessagesMax) return
      this.pending.push(group, message)
      if (!this.opening) this.dial()
      return
    }
    this.pending.push(group, message)
    if (this.flushScheduled) return
    this.flushScheduled = true
    queueMicrotask(this.flush)
  }

  /** The node has just been heard of. */
  retrySoon (): void {
    this.redialAt = -Infinity
    this.redialDelayMs = redialDelayMsMin
  }

  /** False when the node is no longer in the address book. */
  check (now: number): boolean {
    const address = this.components.resolve(this.init.to)
    if (address === undefined) return false
    const { stream } = this
    if (stream === null) return true
    const moved = address.peerId !== this.address?.peerId || address.host !== this.address.host || address.raftPort !== this.address.raftPort
    // With more to send than the other side takes at once no sign of life is asked for; that it takes more is one.
    const left = this.given - stream.writeBufferLength
    if (left > this.left && stream.writeBufferLength > 0) this.heardAt = now
    this.left = left
    if (moved || now - this.heardAt > silenceMsMax) this.abandon(moved ? 'it has another address' : 'it is silent')
    else if (stream.writeBufferLength === 0) this.transmit(stream, emptyFrame)
    return true
  }

  close (): void {
    this.closed = true
    this.pending = []
    this.stream?.abort(new Error('the link is closed'))
    this.stream = null
  }

  private readonly flush = (): void => {
    this.flushScheduled = false
    const { stream, pending } = this
    if (stream === null || pending.length === 0) return
    this.pending = []
    if (stream.writeBufferLength > outgoingBytesMax) return
    let batch: unknown[] = []
    let bytes = 0
    for (let at = 0; at < pending.length; at += 2) {
      const message = pending[at + 1] as RaftMessage
      batch.push(pending[at], toWire(message))
      bytes += sizeOf(message)
      if (bytes < frameBytesTarget) continue
      this.transmit(stream, frameOf(encode(batch)))
      batch = []
      bytes = 0
    }
    if (batch.length > 0) this.transmit(stream, frameOf(encode(batch)))
  }

  private transmit (stream: Stream, frame: Uint8Array): void {
    try {
      this.given += frame.length
      stream.send(frame)
    } catch {
      // It is closing; its event follows.
    }
  }

  private dial (): void {
    const { clock, random, resolve, log } = this.components
    const now = clock.now()
    const address = resolve(this.init.to)
    if (now < this.redialAt || address === undefined) {
      this.pending = []
      return
    }
    this.opening = true
    this.address = address
    this.redialAt = now + this.redialDelayMs * (0.5 + random.next())
    this.redialDelayMs = Math.min(2 * this.redialDelayMs, redialDelayMsMax)
    this.init.open(address).then(
      ({ stream, connection }) => { this.opened(stream, connection) },
      (error: unknown) => { log.debug('no Raft connection', { to: this.init.to, error: messageOf(error) }) }
    ).finally(() => {
      this.opening = false
      if (this.stream === null) this.pending = []
    })
  }

  private opened (stream: Stream, connection: Connection): void {
    if (this.closed) {
      stream.abort(new Error('the link is closed'))
      return
    }
    this.stream = stream
    this.connection = connection
    this.given = 0
    this.left = 0
    this.heardAt = this.components.clock.now()
    stream.addEventListener('message', () => {
      this.heardAt = this.components.clock.now()
      this.redialDelayMs = redialDelayMsMin
    })
    stream.addEventListener('close', () => { this.lost(stream) })
    stream.addEventListener('remoteCloseWrite', () => { stream.abort(new Error('the other side closed the stream')) })
    this.transmit(stream, frameOf(encode(this.init.self)))
    this.transmit(stream, emptyFrame)
    this.flush()
  }

  private lost (stream: Stream): void {
    if (this.stream !== stream) return
    this.stream = null
    this.connection = null
    this.pending = []
  }

  /** Also the connection: it may look alive for many minutes when the other machine is gone. */
  private abandon (reason: string): void {
    this.components.log.info('a Raft connection is given up', { to: this.init.to, reason })
    const { stream, connection } = this
    if (stream !== null) this.lost(stream)
    connection?.abort(new Error(reason))
  }
}

function sizeOf (message: RaftMessage): number {
  let bytes = 64
  if (message.type === 'append') for (const entry of message.entries) bytes += entry.data.length + 16
  else if (message.type === 'snapshot') bytes += message.data.length
  return bytes
}
