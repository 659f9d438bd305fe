import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Address, Clock, Connection, Listener, Network } from '../../fsnode/protocol/ports.ts'
import type { SimRandom } from './random.ts'

export interface SimNetworkInit {
  clock: Clock
  random: SimRandom
  delayMsMin?: number
  delayMsMax?: number
}

interface End extends SimConnection {}

/** What a connection carried, for traces. */
export type OnDeliver = (from: string, to: string, bytes: Buffer) => void

/**
 * An in-process network: hosts are names. Connections are ordered and reliable until something cuts
 * them; every message takes a random delay. `cut` makes two hosts unable to reach each other
 * (connections between them hang, as in a real partition), `crash` closes all of a host's.
 */
export class SimNetwork {
  onDeliver: OnDeliver = () => {}
  private readonly init: Required<SimNetworkInit>
  private readonly listeners = new Map<string, (connection: Connection) => void>()
  /** 'from>to' */
  private readonly cuts = new Set<string>()
  private readonly connections = new Set<SimConnection>()
  private nextPort = 40_000

  constructor (init: SimNetworkInit) {
    this.init = { delayMsMin: 0.1, delayMsMax: 1, ...init }
  }

  /** The network as a host sees it. */
  host (name: string): Network {
    return {
      dial: (address, options) => this.dial(name, address, options?.timeoutMs ?? 3_000),
      listen: (address, onConnection) => this.listen(name, address, onConnection)
    }
  }

  cut (one: string, other: string): void {
    this.cutOneWay(one, other)
    this.cutOneWay(other, one)
  }

  /** What `from` sends does not reach `to`; the other direction works. */
  cutOneWay (from: string, to: string): void { this.cuts.add(`${from}>${to}`) }

  heal (one?: string, other?: string): void {
    if (one === undefined || other === undefined) {
      this.cuts.clear()
    } else {
      this.cuts.delete(`${one}>${other}`)
      this.cuts.delete(`${other}>${one}`)
    }
    for (const connection of this.connections) connection.resume()
  }

  /** Whether what `from` sends is held up. */
  isCut (from: string, to: string): boolean { return this.cuts.size > 0 && this.cuts.has(`${from}>${to}`) }

  /** The connections between two hosts break. */
  disconnect (one: string, other: string): void {
    for (const connection of [...this.connections]) if (connection.local === one && connection.remote.host === other) connection.reset()
  }

  /** How long each message takes from now on. */
  setDelay (delayMsMin: number, delayMsMax: number): void { Object.assign(this.init, { delayMsMin, delayMsMax }) }

  /** The host's process dies: its listeners vanish, its connections are reset. */
  crash (host: string): void {
    for (const key of [...this.listeners.keys()]) if (key.startsWith(`${host}:`)) this.listeners.delete(key)
    for (const connection of [...this.connections]) if (connection.local === host) connection.reset()
  }

  delay (): number {
    const { random, delayMsMin, delayMsMax } = this.init
    return delayMsMin + random.next() * (delayMsMax - delayMsMin)
  }

  get clock (): Clock { return this.init.clock }

  forget (connection: SimConnection): void { this.connections.delete(connection) }

  private listen (name: string, address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    const port = address.port === 0 ? this.nextPort++ : address.port
    const key = `${name}:${port}`
    if (this.listeners.has(key)) return Promise.reject(new AtollError('ATOLL_PORT_IN_USE', `${key} is taken`))
    this.listeners.set(key, onConnection)
    return Promise.resolve({ address: { host: name, port }, close: async () => { this.listeners.delete(key) } })
  }

  private dial (from: string, address: Address, timeoutMs: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const fail = (): void => { reject(new AtollError('ATOLL_UNREACHABLE', `cannot connect to ${address.host}:${address.port}`)) }
      if (this.isCut(from, address.host) || this.isCut(address.host, from)) {
        this.clock.setTimer(fail, timeoutMs)
        return
      }
      this.clock.setTimer(() => {
        const accept = this.listeners.get(`${address.host}:${address.port}`)
        if (accept === undefined) {
          fail()
          return
        }
        const near = new SimConnection(this, from, address)
        const far = new SimConnection(this, address.host, { host: from, port: this.nextPort++ })
        near.far = far
        far.far = near
        this.connections.add(near).add(far)
        accept(far)
        resolve(near)
      }, this.delay())
    })
  }
}

class SimConnection implements Connection {
  readonly local: string
  readonly remote: Address
  onData: (chunk: Buffer) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  queuedBytes = 0
  far: End | null = null
  private readonly network: SimNetwork
  private readonly outgoing: Buffer[] = []
  private busy = false
  closed = false

  constructor (network: SimNetwork, local: string, remote: Address) {
    this.network = network
    this.local = local
    this.remote = remote
  }

  send (buffers: Buffer[], onSent?: () => void): void {
    if (this.closed) {
      onSent?.()
      return
    }
    // Copied here as a kernel would: the sender may not change them, but a test must notice if it does not matter.
    const bytes = Buffer.concat(buffers)
    this.queuedBytes += bytes.length
    this.outgoing.push(bytes)
    onSent?.()
    this.resume()
  }

  /** Delivers what waits, one message at a time, unless the hosts are cut from each other. */
  resume (): void {
    if (this.busy || this.closed || this.outgoing.length === 0 || this.network.isCut(this.local, this.remote.host)) return
    this.busy = true
    this.network.clock.setTimer(() => {
      this.busy = false
      if (this.closed || this.network.isCut(this.local, this.remote.host)) return
      const bytes = Buffer.concat(this.outgoing.splice(0))
      this.queuedBytes -= bytes.length
      // As a kernel answers for a connection that it does not know (any more).
      if (this.far === null || this.far.closed) {
        this.ended()
      } else {
        this.network.onDeliver(this.local, this.remote.host, bytes)
        this.far.receive(bytes)
      }
      this.resume()
    }, this.network.delay())
  }

  close (): void { this.reset() }

  reset (): void {
    const { far } = this
    this.ended()
    // The other side learns of it unless it is cut off; then its own time-outs must tell.
    if (far !== null) this.network.clock.setTimer(() => { if (!this.network.isCut(this.local, this.remote.host)) far.ended() }, this.network.delay())
  }

  private receive (bytes: Buffer): void {
    if (!this.closed) this.onData(bytes)
  }

  private ended (): void {
    if (this.closed) return
    this.closed = true
    this.network.forget(this)
    this.onClose()
  }
}
