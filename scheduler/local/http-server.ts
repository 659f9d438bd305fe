import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import { encodeJsonRecord } from '../mesos/recordio.ts'
import { bodyLengthMaxBytes, keepAliveMs, streamQueuedMaxBytes } from './constants.ts'
import type { OperatorCall } from './wire/operator-calls.ts'
import { authenticate, principalProblem, type Credential, type Realm } from './wire/authentication.ts'
import { methodRefusal, readOperatorRequest, readSchedulerRequest, type Read, type Refusal } from './wire/http-contract.ts'
import { phaseRefusal, type Phase } from './wire/phase.ts'
import type { SchedulerCall } from './wire/scheduler-calls.ts'

/** Whoever answers: through `reply`, `openStream`, ... with the number of the request. */
export interface RequestHandler {
  /** `principal`: who has authenticated. */
  schedulerCall (request: number, call: SchedulerCall, streamId: string | undefined, principal: string | undefined): void
  operatorCall (request: number, call: OperatorCall): void
  /** The other side has closed a stream. */
  streamClosed (request: number): void
}

export interface MasterHttpServerInit {
  /** Whoever asks must be one of these; default: anybody may. */
  credentials?: Credential[]
  version: string
}

/** Carries requests to the master and its answers back. */
export interface MasterServer {
  reply (request: number, status: number, body: { text?: string, json?: unknown }): void
  openStream (request: number, streamId: string | undefined): void
  event (stream: number, event: object): void
  closeStream (stream: number): void
  /** Ends the streams and breaks off the rest. */
  close (): Promise<void>
}

/** The HTTP side of the embedded master. */
export class MasterHttpServer implements MasterServer {
  private readonly server: Server
  private readonly log: Logger
  private readonly handler: RequestHandler
  private readonly waiting = new Map<number, ServerResponse>()
  private readonly streams = new Map<number, ServerResponse>()
  private lastRequest = 0
  private readonly init: MasterHttpServerInit
  phase: Phase = 'leading'

  constructor (components: { log: Logger }, handler: RequestHandler, init: MasterHttpServerInit) {
    this.log = components.log
    this.handler = handler
    this.init = init
    this.server = createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
      this.answer(request, response).catch((error: unknown) => {
        this.log.debug('a request broke off', { error: messageOf(error) })
        response.destroy()
      })
    })
  }

  /** Rejects with ATOLL_PORT_IN_USE, or ATOLL_ADDRESS_UNUSABLE when the host is none of this machine's. */
  async listen (host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        const inUse = codeOf(error) === 'EADDRINUSE'
        reject(new AtollError(inUse ? 'ATOLL_PORT_IN_USE' : 'ATOLL_ADDRESS_UNUSABLE', `cannot listen on ${host}:${port}: ${error.message}`, {
          ...(inUse && { hint: `find who listens there with: ss -ltnp 'sport = :${port}'; or choose another port` })
        }))
      }
      this.server.once('error', fail)
      this.server.listen(port, host, () => {
        this.server.off('error', fail)
        resolve()
      })
    })
    return (this.server.address() as AddressInfo).port
  }

  async close (): Promise<void> {
    for (const stream of this.streams.values()) stream.end()
    this.streams.clear()
    const closed = new Promise((resolve) => { this.server.close(resolve) })
    this.server.closeAllConnections()
    await closed
  }

  reply (request: number, status: number, { text, json }: { text?: string, json?: unknown }): void {
    const response = this.waiting.get(request)
    if (response === undefined) return
    this.waiting.delete(request)
    if (json !== undefined) send(response, status, 'application/json', JSON.stringify(json))
    else if (text !== undefined) send(response, status, 'text/plain; charset=utf-8', text)
    else response.writeHead(status, { 'content-length': 0 }).end()
  }

  openStream (request: number, streamId: string | undefined): void {
    const response = this.waiting.get(request)
    if (response === undefined) {
      this.handler.streamClosed(request)
      return
    }
    this.waiting.delete(request)
    this.streams.set(request, response)
    response.writeHead(200, { 'content-type': 'application/json', ...(streamId !== undefined && { 'mesos-stream-id': streamId }) })
    response.flushHeaders()
  }

  event (stream: number, event: object): void {
    const response = this.streams.get(stream)
    if (response === undefined) return
    response.write(encodeJsonRecord(event))
    if (response.writableLength <= streamQueuedMaxBytes) return
    this.log.warn('a subscriber does not read its events and is disconnected', { queuedBytes: response.writableLength })
    response.destroy()
  }

  closeStream (stream: number): void {
    this.streams.get(stream)?.end()
    this.streams.delete(stream)
  }

  private async answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').replace(/\?.*$/, '').replace(/^\/master(?=\/)/, '')
    const read = path === '/api/v1/scheduler' || path.startsWith('/api/v1/scheduler/')
      ? readSchedulerRequest
      : path === '/api/v1' || path.startsWith('/api/v1/') ? readOperatorRequest : undefined
    // As long as there are no routes, nobody is asked who he is either.
    const identity = this.phase === 'starting' ? {} : this.identify(path, read, request)
    const refusal = 'refusal' in identity ? identity.refusal : phaseRefusal(this.phase, path)
    if (refusal !== undefined) {
      refuse(response, refusal)
      return
    }
    if (read === undefined) {
      this.answerPlain(path, request, response)
      return
    }
    if (request.headers.origin !== undefined) {
      // No client of Mesos sends it; a web page that was made to reach this port does.
      send(response, 403, 'text/plain; charset=utf-8', 'Web pages are not answered')
      return
    }
    const body = await bodyOf(request)
    if (body === undefined) {
      response.setHeader('connection', 'close')
      send(response, 413, 'text/plain; charset=utf-8', `The body is longer than ${bodyLengthMaxBytes} bytes`)
      return
    }
    const result: Read<SchedulerCall | OperatorCall> = read({ method: request.method ?? 'GET', headers: request.headers, body })
    if ('refusal' in result) {
      refuse(response, result.refusal)
      return
    }
    const { principal } = identity as { principal?: string }
    if (read === readSchedulerRequest && result.call.type === 'SUBSCRIBE') {
      const problem = principalProblem(principal, (result.call as Extract<SchedulerCall, { type: 'SUBSCRIBE' }>).subscribe.framework_info.principal)
      if (problem !== undefined) {
        refuse(response, { status: 400, text: `Failed to validate scheduler::Call: ${problem}` })
        return
      }
    }
    const number = ++this.lastRequest
    this.waiting.set(number, response)
    response.once('close', () => { this.closed(number) })
    if (read === readSchedulerRequest) this.handler.schedulerCall(number, result.call as SchedulerCall, result.streamId, principal)
    else this.handler.operatorCall(number, result.call as OperatorCall)
  }

  private identify (path: string, read: unknown, request: IncomingMessage): { principal?: string } | { refusal: Refusal } {
    const realm: Realm | undefined = read === readSchedulerRequest ? 'mesos-master-scheduler'
      : read === readOperatorRequest ? 'mesos-master-readwrite' : openPaths.has(path) ? undefined : 'mesos-master-readonly'
    return realm === undefined ? {} : authenticate(this.init.credentials, request.headers.authorization, realm)
  }

  private answerPlain (path: string, { method = 'GET', headers }: IncomingMessage, response: ServerResponse): void {
    if (!openPaths.has(path)) send(response, 404, 'text/plain; charset=utf-8', '404 Not Found.')
    else if (method !== 'GET') refuse(response, methodRefusal(method, 'GET'))
    else if (path === '/health') response.writeHead(200, { 'content-length': 0 }).end()
    else if (path === '/version') send(response, 200, 'application/json', JSON.stringify({ build_user: '', version: this.init.version }))
    else response.writeHead(307, { location: `//${headers.host ?? ''}`, 'content-length': 0 }).end()
  }

  private closed (request: number): void {
    this.waiting.delete(request)
    if (this.streams.delete(request)) this.handler.streamClosed(request)
  }
}

/** Anybody may ask there, whatever the credentials. */
const openPaths = new Set(['/health', '/version', '/redirect'])

/** Undefined when it is too long. */
async function bodyOf (request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length
    if (length > bodyLengthMaxBytes) {
      request.resume()
      return undefined
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function refuse (response: ServerResponse, { status, text, headers }: Refusal): void {
  for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value)
  if (text === '') response.writeHead(status, { 'content-length': 0 }).end()
  else send(response, status, 'text/plain; charset=utf-8', text)
}

function send (response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }).end(body)
}
