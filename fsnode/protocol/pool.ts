import { AtollError } from './errors.ts'
import { Peer, type Handlers } from './peer.ts'
import type { Address, Clock, Network } from './ports.ts'

export interface PeerPoolComponents { network: Network, clock: Clock }

export const dialTimeoutMs = 3_000

/** Keeps one connection per address, made on first use and again after it was lost. */
export class PeerPool {
  private readonly components: PeerPoolComponents
  private readonly handlers: Handlers
  private readonly peers = new Map<string, Promise<Peer>>()
  private closed = false

  /** `handlers` answer what the other side calls on our connections (lease recalls, for instance). */
  constructor (components: PeerPoolComponents, handlers: Handlers = {}) {
    this.components = components
    this.handlers = handlers
  }

  /** Rejects with ATOLL_UNREACHABLE. */
  get (address: Address): Promise<Peer> {
    if (this.closed) return Promise.reject(new AtollError('ATOLL_UNREACHABLE', 'this client is closed'))
    const key = `${address.host}:${address.port}`
    const known = this.peers.get(key)
    if (known !== undefined) return known
    const made = this.dial(key, address)
    this.peers.set(key, made)
    return made
  }

  private async dial (key: string, address: Address): Promise<Peer> {
    try {
      const connection = await this.components.network.dial(address, { timeoutMs: dialTimeoutMs })
      const peer = new Peer(connection, this.handlers, this.components.clock)
      peer.onClose(() => { this.peers.delete(key) })
      if (this.closed) peer.close()
      return peer
    } catch (error) {
      this.peers.delete(key)
      throw error
    }
  }

  close (): void {
    this.closed = true
    for (const made of this.peers.values()) made.then((peer) => { peer.close() }, () => {})
  }
}
