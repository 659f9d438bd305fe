import { AtollError, codeOf, messageOf } from './errors.ts'
import { encodeFrame, FrameDecoder, frameKind, type Frame } from './frame.ts'
import type { Method, Methods } from './methods.ts'
import type { Address, Clock, Connection, Timer } from './ports.ts'

export const callTimeoutMs = 15_000
export const timeoutScanMs = 250

export interface CallOptions {
  payload?: readonly Buffer[]
  timeoutMs?: number
  /** Called with the answer's body before anything that arrived after it is looked at; the promise resolves later. Must not throw. */
  onAnswer?: (body: any) => void
}

export interface Answer<M extends Method> {
  body: Methods[M]['response']
  payload: Buffer[]
}

export interface Context { peer: Peer }

/** Answers one request. A thrown AtollError travels to the caller with its code. */
export type Handler<M extends Method> =
  (request: Methods[M]['request'], payload: Buffer[], context: Context) =>
  Promise<Reply<M>> | Reply<M>

export interface Reply<M extends Method> {
  body: Methods[M]['response']
  payload?: readonly Buffer[]
  /** Called once, when the payload has been sent or never will be: its buffers may be used again. */
  release?: () => void
}

export type Handlers = { [M in Method]?: Handler<M> }

interface Pending {
  resolve: (answer: { body: any, payload: Buffer[] }) => void
  reject: (error: AtollError) => void
  deadline: number
  method: string
  onAnswer: ((body: any) => void) | undefined
}

/**
 * One end of a connection on which both sides may call each other. Requests are started in the
 * order in which they arrive (a handler that needs order must take its place before it awaits);
 * answers come in any order.
 */
export class Peer {
  readonly remote: Address
  readonly handlers: Handlers
  /** For whoever serves this peer: what it knows of the other side. */
  readonly state = new Map<string, unknown>()
  private readonly connection: Connection
  private readonly clock: Clock
  private readonly pending = new Map<number, Pending>()
  private readonly closeListeners = new Set<(error?: Error) => void>()
  private nextRequestId = 1
  private scan: Timer | null = null
  closed = false

  constructor (connection: Connection, handlers: Handlers, clock: Clock) {
    this.connection = connection
    this.remote = connection.remote
    this.handlers = handlers
    this.clock = clock
    const decoder = new FrameDecoder((frame) => { this.receive(frame) })
    connection.onData = (chunk) => {
      try {
        decoder.push(chunk)
      } catch {
        // A stream that is out of step cannot be resumed.
        connection.close()
      }
    }
    connection.place = () => decoder.place()
    connection.onClose = (error) => { this.ended(error) }
  }

  /** Bytes that wait for the other side to take them. */
  get queuedBytes (): number { return this.connection.queuedBytes }

  /** Rejects with the AtollError of the other side, ATOLL_TIMEOUT or ATOLL_CONNECTION_LOST. */
  call<M extends Method> (method: M, request: Methods[M]['request'], options: CallOptions = {}): Promise<Answer<M>> {
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(new AtollError('ATOLL_CONNECTION_LOST', `${method}: the connection to ${this.name} is closed`))
        return
      }
      const requestId = this.nextRequestId
      this.nextRequestId = requestId === 0xffffffff ? 1 : requestId + 1
      const deadline = this.clock.now() + (options.timeoutMs ?? callTimeoutMs)
      this.pending.set(requestId, { resolve, reject, deadline, method, onAnswer: options.onAnswer })
      this.scan ??= this.clock.setTimer(() => { this.scanTimeouts() }, timeoutScanMs)
      this.connection.send(encodeFrame(frameKind.request, requestId, [method, request], options.payload))
    })
  }

  /** Sends a request whose answer nobody waits for. */
  notify<M extends Method> (method: M, request: Methods[M]['request'], payload?: readonly Buffer[]): void {
    if (!this.closed) this.connection.send(encodeFrame(frameKind.notice, 0, [method, request], payload))
  }

  onClose (listener: (error?: Error) => void): () => void {
    if (this.closed) listener()
    else this.closeListeners.add(listener)
    return () => { this.closeListeners.delete(listener) }
  }

  close (): void {
    this.connection.close()
  }

  private get name (): string { return `${this.remote.host}:${this.remote.port}` }

  private receive (frame: Frame): void {
    if (frame.kind === frameKind.request || frame.kind === frameKind.notice) {
      void this.serve(frame)
      return
    }
    const pending = this.pending.get(frame.requestId)
    if (pending === undefined) return // timed out meanwhile
    this.pending.delete(frame.requestId)
    if (frame.kind === frameKind.response) {
      pending.onAnswer?.(frame.head)
      pending.resolve({ body: frame.head, payload: frame.payload })
    } else {
      const error = frame.head as { code: string, message: string, details?: Record<string, unknown> }
      pending.reject(new AtollError(error.code, error.message, error.details))
    }
  }

  private async serve (frame: Frame): Promise<void> {
    const silent = frame.kind === frameKind.notice
    try {
      const [method, request] = frame.head as [Method, any]
      const handler = this.handlers[method] as Handler<Method> | undefined
      if (handler === undefined) throw new AtollError('ATOLL_UNKNOWN_METHOD', `no method ${String(method)} here`)
      const reply = await handler(request, frame.payload, { peer: this })
      if (silent) reply.release?.()
      else this.respond(encodeFrame(frameKind.response, frame.requestId, reply.body, reply.payload), reply.release)
    } catch (error) {
      const details = error instanceof AtollError ? error.details : {}
      if (!silent) this.respond(encodeFrame(frameKind.error, frame.requestId, { code: codeOf(error), message: messageOf(error), details }))
    }
  }

  private respond (buffers: Buffer[], release?: () => void): void {
    if (this.closed) release?.()
    else this.connection.send(buffers, release)
  }

  private scanTimeouts (): void {
    this.scan = null
    const now = this.clock.now()
    for (const [requestId, pending] of this.pending) {
      if (pending.deadline > now) continue
      this.pending.delete(requestId)
      pending.reject(new AtollError('ATOLL_TIMEOUT', `${pending.method}: no answer from ${this.name} in time`))
    }
    if (this.pending.size > 0 && !this.closed) this.scan = this.clock.setTimer(() => { this.scanTimeouts() }, timeoutScanMs)
  }

  private ended (error?: Error): void {
    if (this.closed) return
    this.closed = true
    this.scan?.cancel()
    for (const pending of this.pending.values()) {
      pending.reject(new AtollError('ATOLL_CONNECTION_LOST', `${pending.method}: lost the connection to ${this.name}`))
    }
    this.pending.clear()
    for (const listener of this.closeListeners) listener(error)
    this.closeListeners.clear()
  }
}
