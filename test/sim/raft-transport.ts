import { decode, encode } from '../../fsnode/protocol/frame.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import type { RaftMessage } from '../../fsnode/raft/core/types.ts'
import { fromWire, toWire } from '../../fsnode/raft/message-codec.ts'
import type { RaftMessageHandler, RaftTransport } from '../../fsnode/raft/transport.ts'
import type { SimRandom } from './random.ts'

export interface SimRaftNetworkInit {
  clock: Clock
  random: SimRandom
  delayMsMin?: number
  delayMsMax?: number
  /** Share of the messages that are lost; that arrive twice; that take `lateMsMax` more. */
  loss?: number
  duplicates?: number
  late?: number
  lateMsMax?: number
}

/** Carries Raft messages between nodes of one process, through the wire format, as badly as asked for. */
export class SimRaftNetwork {
  /** Told of each message that a node sends. */
  onSend: (from: string, to: string, group: string, message: RaftMessage) => void = () => {}
  /** Told of each message that arrives. */
  onDeliver: (from: string, to: string, bytes: Uint8Array) => void = () => {}
  readonly faults: Required<Omit<SimRaftNetworkInit, 'clock' | 'random'>>
  private readonly clock: Clock
  private readonly random: SimRandom
  private readonly handlers = new Map<string, { handler: RaftMessageHandler, incarnation: number }>()
  /** 'from>to' */
  private readonly cuts = new Set<string>()
  private incarnations = 0

  constructor ({ clock, random, ...faults }: SimRaftNetworkInit) {
    this.clock = clock
    this.random = random
    this.faults = { delayMsMin: 0.1, delayMsMax: 1, loss: 0, duplicates: 0, late: 0, lateMsMax: 0, ...faults }
  }

  /** The transport of a node that starts; the one it had before falls silent. */
  endpoint (node: string): RaftTransport {
    const incarnation = ++this.incarnations
    this.handlers.set(node, { handler: () => {}, incarnation })
    const current = (): boolean => this.handlers.get(node)?.incarnation === incarnation
    return {
      send: (to, group, message) => {
        if (!current()) return
        this.onSend(node, to, group, message)
        const bytes = encode([group, toWire(message)])
        const copies = this.random.chance(this.faults.loss) ? 0 : this.random.chance(this.faults.duplicates) ? 2 : 1
        for (let copy = 0; copy < copies; copy++) this.carry(node, to, bytes)
      },
      onMessage: (handler) => { if (current()) this.handlers.set(node, { handler, incarnation }) },
      close: async () => { if (current()) this.handlers.delete(node) }
    }
  }

  /** The node's process ended: nothing that its transport is asked to send leaves any more. */
  crash (node: string): void { this.handlers.delete(node) }

  /** One way only, unless called for both. */
  cutOneWay (from: string, to: string): void { this.cuts.add(`${from}>${to}`) }

  /** Separates the nodes of `side` from all others. */
  partition (side: readonly string[], others: readonly string[]): void {
    for (const one of side) {
      for (const other of others) {
        if (one === other) continue
        this.cutOneWay(one, other)
        this.cutOneWay(other, one)
      }
    }
  }

  heal (): void { this.cuts.clear() }

  healOneWay (from: string, to: string): void { this.cuts.delete(`${from}>${to}`) }

  private carry (from: string, to: string, bytes: Uint8Array): void {
    const { delayMsMin, delayMsMax, late, lateMsMax } = this.faults
    const delayMs = delayMsMin + this.random.next() * (delayMsMax - delayMsMin) + (this.random.chance(late) ? this.random.next() * lateMsMax : 0)
    this.clock.setTimer(() => {
      if (this.cuts.has(`${from}>${to}`)) return
      const [group, wire] = decode(bytes) as [string, unknown]
      const message = fromWire(wire)
      if (message === undefined) throw new Error(`the codec does not understand its own ${JSON.stringify(wire)}`)
      this.onDeliver(from, to, bytes)
      this.handlers.get(to)?.handler(from, group, message)
    }, delayMs)
  }
}
