import { timingSafeEqual } from 'node:crypto'
import { createServer as createHttp } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { Framework } from '../framework/index.ts'
import { answer, failure } from './routes.ts'
import type { OperatorAnswer } from './routes.ts'

export const bodyMaxBytes = 1024 * 1024
/** A client that sends nothing for so long is cut off. */
export const requestTimeoutMs = 30_000

export interface OperatorServerInit {
  host: string
  /** 0: a free one. */
  port: number
  /** What whoever asks must show; the artifact, which agents fetch, needs none. */
  token: string
  /** PEM texts: then it is https. */
  tls?: { cert: string, key: string }
  /** Answers below /artifact/; false: there is no such file. */
  serveArtifact?: (name: string, response: ServerResponse) => boolean
}

/** The operator's HTTP API of the scheduler that acts; one that stands by says so. */
export class OperatorServer {
  readonly #log: Logger
  readonly #init: OperatorServerInit
  readonly #server: Server
  #framework: Framework | undefined
  /** Where the API of the scheduler that acts is, as that one says. */
  #acts: string | undefined

  constructor ({ log }: { log: Logger }, init: OperatorServerInit) {
    this.#log = log
    this.#init = init
    const listener: RequestListener = (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        this.#log.debug('a request broke off', { reason: messageOf(error) })
        response.destroy()
      })
    }
    this.#server = init.tls === undefined ? createHttp(listener) : createHttps(init.tls, listener)
    this.#server.requestTimeout = requestTimeoutMs
  }

  /** Another scheduler acts: it says that its API is there. */
  standBy (api: string): void { this.#acts = api }

  /** From now on this process acts. */
  use (framework: Framework | undefined): void { this.#framework = framework }

  /** Resolves with its URL. Rejects with ATOLL_PORT_IN_USE or ATOLL_ADDRESS_UNUSABLE. */
  async listen (): Promise<string> {
    const { host, port, tls } = this.#init
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(new AtollError(codeOf(error) === 'EADDRINUSE' ? 'ATOLL_PORT_IN_USE' : 'ATOLL_ADDRESS_UNUSABLE', `cannot listen on ${host}:${port}: ${messageOf(error)}`, {
          hint: 'choose another one: --listen HOST:PORT'
        }))
      })
      this.#server.listen(port, host, () => { resolve() })
    })
    const actual = (this.#server.address() as AddressInfo).port
    return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${actual}`
  }

  async close (): Promise<void> {
    const closed = new Promise((resolve) => { this.#server.close(resolve) })
    this.#server.closeAllConnections()
    await closed
  }

  async #answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (url.pathname === '/health') return send(response, { status: 200, text: 'ok\n' })
    if (url.pathname.startsWith('/artifact/') && (request.method === 'GET' || request.method === 'HEAD')) {
      if (this.#init.serveArtifact?.(url.pathname.slice('/artifact/'.length), response) === true) return
      return send(response, failure(404, 'ATOLL_NOT_FOUND', 'there is no such artifact'))
    }
    if (!this.#isAllowed(request)) {
      response.setHeader('www-authenticate', 'Bearer')
      return send(response, failure(401, 'ATOLL_UNAUTHENTICATED', 'the token is missing or wrong', 'Authorization: Bearer TOKEN; it is in operator.json of the data directory'))
    }
    const body = await bodyOf(request)
    if ('problem' in body) return send(response, failure(400, 'ATOLL_INVALID', body.problem))
    if (this.#framework === undefined) return send(response, this.#standby())
    send(response, await answer(this.#framework, { method: request.method ?? 'GET', path: url.pathname, query: url.searchParams, body: body.json }))
  }

  #standby (): OperatorAnswer {
    if (this.#acts === undefined) return failure(503, 'ATOLL_STANDBY', 'this scheduler does not act yet: it starts, or does not reach the cluster to see whether another one acts', 'see its log, and ask again')
    return failure(503, 'ATOLL_STANDBY', `this scheduler stands by: the one at ${this.#acts} acts`, `ask that one: --api ${this.#acts} --token-file PATH (operator-token in its data directory)`)
  }

  #isAllowed ({ headers }: IncomingMessage): boolean {
    const given = Buffer.from(/^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1] ?? '')
    const token = Buffer.from(this.#init.token)
    return given.length === token.length && timingSafeEqual(given, token)
  }
}

/** One that is too long is read to its end, or to the time limit of requests, and not kept: who still sends does not hear the answer. */
async function bodyOf (request: IncomingMessage): Promise<{ json: unknown } | { problem: string }> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    length += (chunk as Buffer).length
    if (length <= bodyMaxBytes) chunks.push(chunk as Buffer)
  }
  if (length > bodyMaxBytes) return { problem: `the body is longer than ${bodyMaxBytes} bytes` }
  if (length === 0) return { json: undefined }
  try {
    return { json: JSON.parse(Buffer.concat(chunks).toString()) as unknown }
  } catch {
    return { problem: 'the body is not JSON' }
  }
}

function send (response: ServerResponse, { status, json, text, allow }: OperatorAnswer): void {
  const body = text ?? `${JSON.stringify(json)}\n`
  response.writeHead(status, {
    'content-type': text === undefined ? 'application/json' : 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    ...(allow === undefined ? {} : { allow })
  }).end(body)
}
