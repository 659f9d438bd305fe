import { connect, createServer, Socket, type ListenOptions, type NetConnectOpts, type OnReadOpts, type Server, type SocketConstructorOpts } from 'node:net'
import { AtollError, codeOf, messageOf } from './errors.ts'
import { noteAllocated } from './buffer-memory.ts'
import { claimLocalSocket, localSocket } from './local-sockets.ts'
import type { Address, Connection, Network } from './ports.ts'

export const keepAliveDelayMs = 5_000
const empty = Buffer.alloc(0)

/** What is received and belongs nowhere in particular goes to buffers of this size, one after another. */
const receiveBytes = 16 * 1024
/** Less of one that is left is not used any more. */
const receiveBytesMin = 4 * 1024

/** Buffers that are sent within one turn of the event loop leave in one system call. */
class SocketConnection implements Connection {
  onData: (chunk: Buffer) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  place: (() => Buffer | null) | undefined
  readonly isLocal: boolean
  /** For the socket: into which buffer it receives, and what to do then. */
  readonly onread: OnReadOpts = {
    buffer: () => this.nextBuffer(),
    callback: (count) => {
      this.received(count)
      return true
    }
  }
  private address: Address = { host: '', port: 0 }
  private socket!: Socket
  private corked = false
  private failure: Error | undefined
  /** Where the socket receives now. */
  private target: Buffer = empty
  /** What is left of the buffer for bytes that belong nowhere. */
  private spare: Buffer = empty

  /** @param isLocal By a Unix socket. */
  constructor (isLocal: boolean) { this.isLocal = isLocal }

  /** For a socket that was made with `onread`. */
  attach (socket: Socket, remote: Address): this {
    this.socket = socket
    this.address = remote
    socket.setNoDelay(true)
    socket.setKeepAlive(true, keepAliveDelayMs)
    socket.on('error', (error) => { this.failure = error })
    socket.on('close', () => { this.onClose(this.failure) })
    socket.on('end', () => { socket.destroy() })
    return this
  }

  get remote (): Address { return this.address }

  get queuedBytes (): number { return this.socket.writableLength }

  send (buffers: Buffer[], onSent?: () => void): void {
    if (this.socket.destroyed) {
      onSent?.()
      return
    }
    if (!this.corked) {
      this.corked = true
      this.socket.cork()
      process.nextTick(() => {
        this.corked = false
        this.socket.uncork()
      })
    }
    const last = buffers.length - 1
    for (let index = 0; index < last; index++) this.socket.write(buffers[index]!)
    if (last >= 0) this.socket.write(buffers[last]!, onSent)
  }

  close (): void {
    this.socket.destroy()
  }

  private nextBuffer (): Buffer {
    const place = this.place?.() ?? null
    if (place === null && this.spare.length < receiveBytesMin) {
      noteAllocated(receiveBytes)
      this.spare = Buffer.allocUnsafeSlow(receiveBytes)
    }
    this.target = place ?? this.spare
    return this.target
  }

  private received (count: number): void {
    const { target } = this
    // Slices of it may be kept: it is not written to again.
    if (target === this.spare) this.spare = target.subarray(count)
    this.onData(count === target.length ? target : target.subarray(0, count))
  }
}

/**
 * TCP; and between processes of one user that share their network name space a Unix socket, which carries the same bytes for about half
 * the processor time: whoever listens on an address listens there, too.
 */
export const systemNetwork: Network = {
  async dial (address, { timeoutMs = 3_000 } = {}) {
    const path = await localSocket(address)
    const local = path === null ? null : await connected({ path }, address, timeoutMs).catch(() => null)
    return local ?? await connected({ ...address, noDelay: true }, address, timeoutMs)
  },

  async listen (address, onConnection) {
    const sockets = new Set<Socket>()
    const { server, port } = await listening(address, address, sockets, onConnection)
    const bound = { host: address.host, port }
    const path = await claimLocalSocket(bound)
    const local = path === null ? null : await listening({ path }, bound, sockets, onConnection).catch(() => null)
    return {
      address: bound,
      close: async () => {
        for (const socket of sockets) socket.destroy()
        await Promise.all([server, local?.server].map((open) => new Promise((resolve) => { if (open === undefined) resolve(null); else open.close(resolve) })))
      }
    }
  }
}

function connected (options: NetConnectOpts, address: Address, timeoutMs: number): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = new SocketConnection('path' in options)
    const socket = connect({ ...options, onread: connection.onread })
    const fail = (reason: string): void => {
      socket.destroy()
      reject(new AtollError('ATOLL_UNREACHABLE', `cannot connect to ${nameOf(address)}: ${reason}`))
    }
    socket.setTimeout(timeoutMs, () => { fail('no answer') })
    socket.once('error', (error) => { fail(messageOf(error)) })
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.removeAllListeners('error')
      resolve(connection.attach(socket, address))
    })
  })
}

/** What is accepted is put into `sockets` while it is open. Answers with the port, if there is one. */
function listening (options: ListenOptions, address: Address, sockets: Set<Socket>, onConnection: (connection: Connection) => void): Promise<{ server: Server, port: number }> {
  return new Promise((resolve, reject) => {
    const server = createServer({ noDelay: true, pauseOnConnect: true }, (accepted) => {
      const { remoteAddress: host = address.host, remotePort: port = 0 } = accepted
      const connection = new SocketConnection('path' in options)
      const socket = adopted(accepted, connection.onread)
      sockets.add(socket)
      socket.on('close', () => { sockets.delete(socket) })
      onConnection(connection.attach(socket, { host, port }))
    })
    server.once('error', (error) => {
      const code = codeOf(error) === 'EADDRINUSE' ? 'ATOLL_PORT_IN_USE' : 'ATOLL_LISTEN_FAILED'
      reject(new AtollError(code, `cannot listen on ${nameOf(address)}: ${messageOf(error)}`))
    })
    server.listen(options, () => {
      const bound = server.address()
      resolve({ server, port: typeof bound === 'object' && bound !== null ? bound.port : address.port })
    })
  })
}

function nameOf ({ host, port }: Address): string { return `${host}:${port}` }

/** A server takes no `onread`, so what it has accepted, and not read from yet, is moved to a socket that was made with one. */
function adopted (accepted: Socket, onread: OnReadOpts): Socket {
  const owner = accepted as unknown as { _handle: object | null }
  const handle = owner._handle
  owner._handle = null
  accepted.destroy()
  return new Socket({ handle, onread } as unknown as SocketConstructorOpts)
}
