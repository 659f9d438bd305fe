import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http'
import type { Duplex } from 'node:stream'
import { errorBodyMaxBytes } from './constants.ts'
import type { HttpResponse } from './session.ts'

/**
 * A POST. `onResponse` is called once with the head; of an answer of 200 the body is given to `onData` as it comes, of any other
 * the beginning of the body is in the response. `onEnd` is called once, last, whatever happened; never after `close`.
 */
export interface PostHandlers {
  onResponse: (response: HttpResponse) => void
  onData: (chunk: Buffer) => void
  onEnd: (code: string, message: string) => void
}

export interface Post { close (): void }

export type HttpPost = (url: string, headers: Record<string, string>, body: string, handlers: PostHandlers) => Post

/** PEM texts. Without `ca` the authorities that Node knows are trusted. */
export interface TlsOptions { ca?: string, cert?: string, key?: string }

export interface HttpPosterInit {
  tls?: TlsOptions
  /** Instead of a connection of its own making. */
  connect?: (url: string) => Duplex
}

/**
 * Each POST has a connection of its own: an idle connection that the master is just closing would make the outcome of a call
 * unknown, and an ACCEPT may not be repeated.
 */
export const httpPoster = (init: HttpPosterInit = {}): HttpPost => (url, headers, body, handlers) => {
  let open = true
  const close = (): void => {
    open = false
    outgoing.destroy()
  }
  const end = (code: string, message: string): void => {
    if (!open) return
    // A master ends the body of a stream but keeps its connection: close ours.
    close()
    handlers.onEnd(code, message)
  }
  const { connect, tls } = init
  const options: RequestOptions & TlsOptions = {
    method: 'POST',
    ...(connect === undefined ? { agent: false } : { createConnection: () => connect(url) }),
    headers: { ...headers, 'Content-Length': String(Buffer.byteLength(body)) }
  }
  const outgoing: ClientRequest = url.startsWith('https:') ? requestHttps(url, { ...options, ...tls }) : requestHttp(url, options)
  outgoing.on('error', (error: NodeJS.ErrnoException) => { end(connectionCode(error), connectionMessage(error)) })
  outgoing.on('response', (incoming) => { receive(incoming, handlers, () => open, end) })
  outgoing.end(body)
  return { close }
}

export const httpPost = httpPoster()

const unreachable = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT'])
/** Of OpenSSL, and Node's own about names and versions. */
const isTls = (code: string): boolean => /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|EPROTO)/.test(code)

function connectionCode ({ code = '' }: NodeJS.ErrnoException): string {
  if (unreachable.has(code)) return 'ATOLL_UNREACHABLE'
  return isTls(code) ? 'ATOLL_MESOS_TLS' : 'ATOLL_CONNECTION_LOST'
}

function connectionMessage ({ code = '', message }: NodeJS.ErrnoException): string {
  if (isTls(code)) return `TLS: ${message}`
  return code.startsWith('HPE_') ? `the answer is not HTTP (${message}): perhaps it wants https` : message
}

function receive (incoming: IncomingMessage, handlers: PostHandlers, isOpen: () => boolean, end: (code: string, message: string) => void): void {
  const status = incoming.statusCode ?? 0
  const streamId = incoming.headers['mesos-stream-id']
  const { location } = incoming.headers
  const respond = (body: string): void => {
    handlers.onResponse({
      status,
      body,
      ...(location === undefined ? {} : { location }),
      ...(typeof streamId === 'string' && streamId !== '' ? { streamId } : {})
    })
  }
  let kept = ''
  let answered = status === 200
  if (answered) respond('')
  incoming.on('data', (chunk: Buffer) => {
    if (!isOpen()) return
    if (status === 200) handlers.onData(chunk)
    else if (kept.length < errorBodyMaxBytes) kept = (kept + chunk.toString()).slice(0, errorBodyMaxBytes)
  })
  const finish = (code: string, message: string): void => {
    if (!isOpen()) return
    if (!answered) {
      answered = true
      respond(kept)
    }
    end(code, message)
  }
  incoming.on('end', () => { finish('ATOLL_CONNECTION_LOST', 'the answer has ended') })
  incoming.on('error', (error) => { finish('ATOLL_CONNECTION_LOST', error.message) })
}
