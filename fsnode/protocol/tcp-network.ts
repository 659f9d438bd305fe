import { connect, createServer, Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net'
import { AtollError, codeOf, messageOf } from './errors.ts'
import { noteAllocated } from './buffer-memory.ts'
import type { Address, Connection, Listener, Network } from './ports.ts'

export const keepAliveDelayMs = 5_000
const empty = Buffer.alloc(0)

/** What is received and belongs nowhere in particular goes to buffers of this size, one after another. */
const receiveBytes = 16 * 1024
/** Less of one that is left is not used any more. */
const receiveBytesMin = 4 * 1024

/** Plain TCP. Buffers that are sent within one turn of the event loop leave in one system call. */
class TcpConnection implements Connection {
  onData: (chunk: Buffer) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  place: (() => Buffer | null) | undefined
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

  /** For a socket that was made with `onread`. */
  attach (socket: Socket): this {
    this.socket = socket
    this.address = { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }
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

export const tcpNetwork: Network = {
  dial (address, { timeoutMs = 3_000 } = {}) {
    return new Promise((resolve, reject) => {
      const name = `${address.host}:${address.port}`
      const connection = new TcpConnection()
      const socket = connect({ host: address.host, port: address.port, noDelay: true, onread: connection.onread })
      const fail = (reason: string): void => {
        socket.destroy()
        reject(new AtollError('ATOLL_UNREACHABLE', `cannot connect to ${name}: ${reason}`))
      }
      socket.setTimeout(timeoutMs, () => { fail('no answer') })
      socket.once('error', (error) => { fail(messageOf(error)) })
      socket.once('connect', () => {
        socket.setTimeout(0)
        socket.removeAllListeners('error')
        resolve(connection.attach(socket))
      })
    })
  },

  listen (address, onConnection) {
    return new Promise((resolve, reject) => {
      const sockets = new Set<Socket>()
      const server = createServer({ noDelay: true, pauseOnConnect: true }, (accepted) => {
        const connection = new TcpConnection()
        const socket = adopted(accepted, connection.onread)
        sockets.add(socket)
        socket.on('close', () => { sockets.delete(socket) })
        onConnection(connection.attach(socket))
      })
      server.once('error', (error) => {
        const code = codeOf(error) === 'EADDRINUSE' ? 'ATOLL_PORT_IN_USE' : 'ATOLL_LISTEN_FAILED'
        reject(new AtollError(code, `cannot listen on ${address.host}:${address.port}: ${messageOf(error)}`))
      })
      server.listen(address.port, address.host, () => {
        const bound = server.address()
        const port = typeof bound === 'object' && bound !== null ? bound.port : address.port
        const listener: Listener = {
          address: { host: address.host, port },
          close: () => new Promise((resolve) => {
            for (const socket of sockets) socket.destroy()
            server.close(() => { resolve() })
          })
        }
        resolve(listener)
      })
    })
  }
}

/** A server takes no `onread`, so what it has accepted, and not read from yet, is moved to a socket that was made with one. */
function adopted (accepted: Socket, onread: OnReadOpts): Socket {
  const owner = accepted as unknown as { _handle: object | null }
  const handle = owner._handle
  owner._handle = null
  accepted.destroy()
  return new Socket({ handle, onread } as unknown as SocketConstructorOpts)
}
