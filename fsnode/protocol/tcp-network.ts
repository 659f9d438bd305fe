import { connect, createServer, type Socket } from 'node:net'
import { AtollError, codeOf, messageOf } from './errors.ts'
import { noteReceived } from './receive-memory.ts'
import type { Address, Connection, Listener, Network } from './ports.ts'

export const keepAliveDelayMs = 5_000

/** Plain TCP. Buffers that are sent within one turn of the event loop leave in one system call. */
class TcpConnection implements Connection {
  readonly remote: Address
  onData: (chunk: Buffer) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  private readonly socket: Socket
  private corked = false
  private failure: Error | undefined

  constructor (socket: Socket) {
    this.socket = socket
    this.remote = { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }
    socket.setNoDelay(true)
    socket.setKeepAlive(true, keepAliveDelayMs)
    socket.on('data', (chunk: Buffer) => {
      this.onData(chunk)
      noteReceived(chunk.length)
    })
    socket.on('error', (error) => { this.failure = error })
    socket.on('close', () => { this.onClose(this.failure) })
    socket.on('end', () => { socket.destroy() })
  }

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
}

export const tcpNetwork: Network = {
  dial (address, { timeoutMs = 3_000 } = {}) {
    return new Promise((resolve, reject) => {
      const name = `${address.host}:${address.port}`
      const socket = connect({ host: address.host, port: address.port, noDelay: true })
      const fail = (reason: string): void => {
        socket.destroy()
        reject(new AtollError('ATOLL_UNREACHABLE', `cannot connect to ${name}: ${reason}`))
      }
      socket.setTimeout(timeoutMs, () => { fail('no answer') })
      socket.once('error', (error) => { fail(messageOf(error)) })
      socket.once('connect', () => {
        socket.setTimeout(0)
        socket.removeAllListeners('error')
        resolve(new TcpConnection(socket))
      })
    })
  },

  listen (address, onConnection) {
    return new Promise((resolve, reject) => {
      const sockets = new Set<Socket>()
      const server = createServer({ noDelay: true }, (socket) => {
        sockets.add(socket)
        socket.on('close', () => { sockets.delete(socket) })
        onConnection(new TcpConnection(socket))
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
