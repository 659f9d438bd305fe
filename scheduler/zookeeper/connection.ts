import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Address, Clock, Connection, Network, Timer } from '../../fsnode/protocol/ports.ts'
import { connectTimeoutMs, requestsWaitingMax, sessionTimeoutMs } from './constants.ts'
import { PacketDecoder, bareRequest, connectRequest, digestRequest, errors, opcodes, pathRequest, readChildren, readConnectReply, readReply, readWatchEvent, xids } from './packets.ts'
import type { Reader } from './packets.ts'

export interface ZooKeeperComponents { network: Network, clock: Clock }

export interface ZooKeeperInit {
  server: Address
  digest?: string
  /** A watch has fired: what it watched may have changed. */
  onWatch: (path: string) => void
  /** Once, when the connection or the session is over, other than by `close`. */
  onLost: (error: AtollError) => void
}

interface Waiting { resolve: (body: Reader) => void, reject: (error: AtollError) => void }

/**
 * A session of ZooKeeper for reading, which lives as long as its connection. Nothing that is kept in ZooKeeper depends
 * on it, so there is no need to take a session to another server: whoever loses it opens another and looks anew.
 */
export class ZooKeeperConnection {
  readonly #clock: Clock
  readonly #init: ZooKeeperInit
  readonly #connection: Connection
  readonly #decoder = new PacketDecoder()
  readonly #waiting = new Map<number, Waiting>()
  #onOpen: (error?: AtollError) => void = () => {}
  #timeoutMs = sessionTimeoutMs
  #opened = false
  #closed = false
  #lastXid = 0
  #heardMs: number
  #timer: Timer | undefined

  private constructor (clock: Clock, init: ZooKeeperInit, connection: Connection) {
    this.#clock = clock
    this.#init = init
    this.#connection = connection
    this.#heardMs = clock.now()
    connection.onData = (chunk) => { this.#receive(chunk) }
    connection.onClose = (error) => { this.#lose(new AtollError('ATOLL_CONNECTION_LOST', `the connection to ZooKeeper closed${error === undefined ? '' : `: ${error.message}`}`)) }
  }

  /** Rejects with ATOLL_UNREACHABLE, ATOLL_TIMEOUT, ATOLL_CONNECTION_LOST or ATOLL_BAD_MESSAGE. */
  static async open ({ network, clock }: ZooKeeperComponents, init: ZooKeeperInit): Promise<ZooKeeperConnection> {
    const connection = await network.dial(init.server, { timeoutMs: connectTimeoutMs })
    const opened = new ZooKeeperConnection(clock, init, connection)
    await opened.#open()
    return opened
  }

  /** Rejects with ATOLL_ZOOKEEPER_NO_NODE, ATOLL_ZOOKEEPER_ERROR, or as the connection ends. */
  async getChildren (path: string, watch: boolean): Promise<string[]> {
    return readChildren(await this.#ask(opcodes.getChildren, path, watch))
  }

  /** Rejects like `getChildren`. */
  async getData (path: string, watch: boolean): Promise<Buffer> {
    return (await this.#ask(opcodes.getData, path, watch)).bytes()
  }

  /** Its watch also fires when the node is made. */
  async exists (path: string, watch: boolean): Promise<boolean> {
    try {
      await this.#ask(opcodes.exists, path, watch)
      return true
    } catch (error) {
      if (error instanceof AtollError && error.code === 'ATOLL_ZOOKEEPER_NO_NODE') return false
      throw error
    }
  }

  close (): void {
    if (this.#closed) return
    if (this.#opened) this.#connection.send([bareRequest(++this.#lastXid, opcodes.close)], () => { this.#connection.close() })
    else this.#connection.close()
    this.#end(new AtollError('ATOLL_CLOSED', 'closed'))
  }

  #open (): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#onOpen = (error) => {
        if (error === undefined) resolve()
        else reject(error)
      }
      this.#timer = this.#clock.setTimer(() => { this.#lose(new AtollError('ATOLL_TIMEOUT', `ZooKeeper did not answer within ${connectTimeoutMs} ms`)) }, connectTimeoutMs)
      this.#connection.send([connectRequest(sessionTimeoutMs)])
    })
  }

  #receive (chunk: Buffer): void {
    if (this.#closed) return
    this.#heardMs = this.#clock.now()
    try {
      for (const packet of this.#decoder.push(chunk)) {
        if (this.#closed) return
        if (this.#opened) this.#answer(packet)
        else this.#welcome(packet)
      }
    } catch (error) {
      this.#lose(new AtollError('ATOLL_BAD_MESSAGE', messageOf(error)))
    }
  }

  #welcome (packet: Buffer): void {
    const { timeoutMs, sessionId } = readConnectReply(packet)
    if (sessionId === 0n || timeoutMs <= 0) {
      this.#lose(new AtollError('ATOLL_UNAVAILABLE', 'ZooKeeper gives no session'))
      return
    }
    this.#timer?.cancel()
    this.#opened = true
    this.#timeoutMs = timeoutMs
    if (this.#init.digest !== undefined) this.#connection.send([digestRequest(this.#init.digest)])
    this.#beat()
    this.#onOpen()
  }

  #answer (packet: Buffer): void {
    const { xid, error, body } = readReply(packet)
    if (xid === xids.watch) {
      this.#init.onWatch(readWatchEvent(body).path)
    } else if (xid === xids.auth) {
      if (error !== errors.ok) this.#lose(new AtollError('ATOLL_ZOOKEEPER_ERROR', 'ZooKeeper refuses the user and password'))
    } else if (xid !== xids.ping) {
      const waiting = this.#waiting.get(xid)
      this.#waiting.delete(xid)
      if (error === errors.ok) waiting?.resolve(body)
      else waiting?.reject(errorOf(error))
    }
  }

  #ask (opcode: number, path: string, watch: boolean): Promise<Reader> {
    if (this.#closed) return Promise.reject(new AtollError('ATOLL_CLOSED', 'the connection to ZooKeeper is closed'))
    if (this.#waiting.size >= requestsWaitingMax) return Promise.reject(new AtollError('ATOLL_OVERLOADED', `${requestsWaitingMax} requests wait for ZooKeeper`))
    const xid = ++this.#lastXid
    return new Promise((resolve, reject) => {
      this.#waiting.set(xid, { resolve, reject })
      this.#connection.send([pathRequest(xid, opcode, path, watch)])
    })
  }

  /** A ping each third of the time-out; two thirds of silence are the end. */
  #beat (): void {
    this.#timer = this.#clock.setTimer(() => {
      const silentMs = this.#clock.now() - this.#heardMs
      if (silentMs >= this.#timeoutMs * 2 / 3) {
        this.#lose(new AtollError('ATOLL_TIMEOUT', `nothing was heard of ZooKeeper for ${Math.round(silentMs)} ms`))
        return
      }
      this.#connection.send([bareRequest(xids.ping, opcodes.ping)])
      this.#beat()
    }, this.#timeoutMs / 3)
  }

  #lose (error: AtollError): void {
    if (this.#closed) return
    const wasOpen = this.#opened
    this.#end(error)
    this.#connection.close()
    if (wasOpen) this.#init.onLost(error)
    else this.#onOpen(error)
  }

  #end (error: AtollError): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

function errorOf (code: number): AtollError {
  if (code === errors.noNode) return new AtollError('ATOLL_ZOOKEEPER_NO_NODE', 'there is no such node in ZooKeeper')
  const what = code === errors.noAuth ? 'no permission to read' : `error ${code}`
  return new AtollError('ATOLL_ZOOKEEPER_ERROR', `ZooKeeper: ${what}`)
}
