import { AtollError, codeOf, messageOf } from './errors.ts'
import { encodeFrame, FrameDecoder, frameKind, type Frame } from './frame.ts'
import type { Method, Methods } from './methods.ts'
import type { Address, Clock, Connection, Timer } from './ports.ts'
import { readReferred, referenceTo } from './referred-payloads.ts'

export const callTimeoutMs = 15_000
export const timeoutScanMs = 250
/** A call that is not answered after so long is doubted, unless it says otherwise. */
export const doubtAfterMs = 500
/** For so long payloads are sent after a reference to one was of no use. */
export const referringPauseMs = 10_000
/** In place of a method: [reference, method, request], whose payload is where the reference says. */
const referringMethod = 'payload.at'

export interface CallOptions {
  payload?: readonly Buffer[]
  timeoutMs?: number
  /** Called with the answer's body before anything that arrived after it is looked at; the promise resolves later. Must not throw. */
  onAnswer?: (body: any) => void
  /** Asked again and again while a call is doubted; true: the other side is not the one to be asked any more, and nobody waits for its answer. Must not throw. */
  isPointless?: () => boolean
  /** When the call is doubted; default `doubtAfterMs`. */
  doubtAfterMs?: number
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
  isPointless: (() => boolean) | undefined
  doubtedFrom: number
  isReferring: boolean
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
  /** Before, a payload is not sent as the place in a file where it is. */
  private refersFromMs: number
  closed = false

  constructor (connection: Connection, handlers: Handlers, clock: Clock) {
    this.connection = connection
    this.remote = connection.remote
    this.handlers = handlers
    this.clock = clock
    this.refersFromMs = connection.isLocal === true ? -Infinity : Infinity
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
      const now = this.clock.now()
      const { timeoutMs = callTimeoutMs, onAnswer, isPointless, payload } = options
      const reference = payload !== undefined && now >= this.refersFromMs ? referenceTo(payload) : null
      this.pending.set(requestId, { resolve, reject, deadline: now + timeoutMs, method, onAnswer, isPointless, doubtedFrom: now + (options.doubtAfterMs ?? doubtAfterMs), isReferring: reference !== null })
      this.scan ??= this.clock.setTimer(() => { this.scanTimeouts() }, timeoutScanMs)
      this.connection.send(reference === null
        ? encodeFrame(frameKind.request, requestId, [method, request], payload)
        : encodeFrame(frameKind.request, requestId, [referringMethod, [reference, method, request]]))
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
      pending.reject(pending.isReferring ? this.failedReferring(error) : new AtollError(error.code, error.message, error.details))
    }
  }

  private async serve (frame: Frame): Promise<void> {
    const silent = frame.kind === frameKind.notice
    try {
      const { method, request, payload } = this.requestIn(frame)
      const handler = this.handlers[method] as Handler<Method> | undefined
      if (handler === undefined) throw new AtollError('ATOLL_UNKNOWN_METHOD', `no method ${String(method)} here`)
      const reply = await handler(request, payload, { peer: this })
      if (silent) reply.release?.()
      else this.respond(encodeFrame(frameKind.response, frame.requestId, reply.body, reply.payload), reply.release)
    } catch (error) {
      const details = error instanceof AtollError ? error.details : {}
      if (!silent) this.respond(encodeFrame(frameKind.error, frame.requestId, { code: codeOf(error), message: messageOf(error), details }))
    }
  }

  private requestIn ({ head, payload }: Frame): { method: Method, request: any, payload: Buffer[] } {
    const [method, request] = head as [string, any]
    if (method !== referringMethod) return { method: method as Method, request, payload }
    // Whoever is elsewhere has no business with files here.
    if (this.connection.isLocal !== true || !Array.isArray(request)) throw new AtollError('ATOLL_BAD_MESSAGE', 'a payload is said to be in a file of another machine')
    return { method: request[1], request: request[2], payload: [readReferred(request[0])] }
  }

  /** A process of an earlier version knows no references: it has done nothing either. */
  private failedReferring ({ code, message, details }: { code: string, message: string, details?: Record<string, unknown> }): AtollError {
    const isUseless = code === 'ATOLL_PAYLOAD_LOST' || code === 'ATOLL_UNKNOWN_METHOD'
    if (isUseless) this.refersFromMs = this.clock.now() + referringPauseMs
    return new AtollError(isUseless ? 'ATOLL_PAYLOAD_LOST' : code, message, details)
  }

  private respond (buffers: Buffer[], release?: () => void): void {
    if (this.closed) release?.()
    else this.connection.send(buffers, release)
  }

  private scanTimeouts (): void {
    this.scan = null
    const now = this.clock.now()
    for (const [requestId, pending] of this.pending) {
      const isLate = pending.deadline <= now
      if (!isLate && (pending.doubtedFrom > now || pending.isPointless?.() !== true)) continue
      this.pending.delete(requestId)
      const what = isLate ? `no answer from ${this.name} in time` : `no answer from ${this.name}, which is not to be asked any more`
      pending.reject(new AtollError('ATOLL_TIMEOUT', `${pending.method}: ${what}`))
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
