import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { ClientRequest, IncomingMessage } from 'node:http'
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

/**
 * Each POST has a connection of its own: an idle connection that the master is just closing would make the outcome of a call
 * unknown, and an ACCEPT may not be repeated.
 */
export const httpPost: HttpPost = (url, headers, body, handlers) => {
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
  const outgoing: ClientRequest = (url.startsWith('https:') ? requestHttps : requestHttp)(url, {
    method: 'POST',
    agent: false,
    headers: { ...headers, 'Content-Length': String(Buffer.byteLength(body)) }
  })
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    end(error.code === 'ECONNREFUSED' ? 'ATOLL_UNREACHABLE' : 'ATOLL_CONNECTION_LOST', error.message)
  })
  outgoing.on('response', (incoming) => { receive(incoming, handlers, () => open, end) })
  outgoing.end(body)
  return { close }
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
