import { codeOf, messageOf } from '../../../fsnode/protocol/errors.ts'
import type { Connection, Network } from '../../../fsnode/protocol/ports.ts'
import type { MasterServer, RequestHandler } from '../../../scheduler/local/http-server.ts'
import { readSchedulerRequest } from '../../../scheduler/local/wire/http-contract.ts'
import { encodeJsonRecord, RecordDecoder } from '../../../scheduler/mesos/recordio.ts'
import type { HttpPost } from '../../../scheduler/mesos/http.ts'
import type { HttpResponse } from '../../../scheduler/mesos/session.ts'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'

/** What stands for HTTP between scheduler and master: a request, then a head, pieces of the body, the end. One connection for each request. */
type Answer = { head: HttpResponse } | { data: string } | { end: true }

interface Request { headers: Record<string, string>, body: string }

/** POSTs over the simulated network: what the product does with node:http. */
export function simPost (network: Network): HttpPost {
  return (url, headers, body, { onResponse, onData, onEnd }) => {
    const { hostname, port } = new URL(url)
    let connection: Connection | null = null
    let open = true
    const end = (code: string, message: string): void => {
      if (!open) return
      open = false
      onEnd(code, message)
    }
    network.dial({ host: hostname, port: Number(port) }).then((dialled) => {
      if (!open) {
        dialled.close()
        return
      }
      connection = dialled
      const decoder = new RecordDecoder()
      dialled.onData = (chunk) => {
        for (const answer of messagesOf<Answer>(decoder, chunk)) {
          if (!open) return
          if ('head' in answer) onResponse(answer.head)
          else if ('data' in answer) onData(Buffer.from(answer.data))
          else dialled.close()
        }
      }
      dialled.onClose = () => { end('ATOLL_CONNECTION_LOST', 'the answer has ended') }
      dialled.send([encodeJsonRecord({ headers, body } satisfies Request)])
    }, (error) => { end(codeOf(error), messageOf(error)) })
    return {
      close: () => {
        open = false
        connection?.close()
      }
    }
  }
}

/** The master's side of it. */
export class SimMasterServer implements MasterServer {
  private readonly handler: RequestHandler
  private readonly connections = new Map<number, Connection>()
  private readonly streams = new Set<number>()
  private lastRequest = 0

  constructor (handler: RequestHandler) { this.handler = handler }

  async listen (network: Network, host: string, port: number): Promise<void> {
    await network.listen({ host, port }, (connection) => { this.accept(connection) })
  }

  reply (request: number, status: number, { text = '' }: { text?: string }): void { this.finish(request, { status, body: text }) }

  openStream (request: number, streamId: string): void {
    if (!this.connections.has(request)) {
      this.handler.streamClosed(request)
      return
    }
    this.streams.add(request)
    this.send(request, { head: { status: 200, streamId, body: '' } })
  }

  event (stream: number, event: SchedulerEvent): void {
    if (this.streams.has(stream)) this.send(stream, { data: encodeJsonRecord(event).toString() })
  }

  closeStream (stream: number): void {
    this.streams.delete(stream)
    this.send(stream, { end: true })
  }

  async close (): Promise<void> {
    for (const connection of this.connections.values()) connection.close()
  }

  private accept (connection: Connection): void {
    const request = ++this.lastRequest
    const decoder = new RecordDecoder()
    this.connections.set(request, connection)
    connection.onData = (chunk) => { for (const asked of messagesOf<Request>(decoder, chunk)) this.asked(request, asked) }
    connection.onClose = () => {
      this.connections.delete(request)
      if (this.streams.delete(request)) this.handler.streamClosed(request)
    }
  }

  private asked (request: number, { headers, body }: Request): void {
    const lowered = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
    const read = readSchedulerRequest({ method: 'POST', headers: lowered, body })
    if ('refusal' in read) this.finish(request, { status: read.refusal.status, body: read.refusal.text })
    else this.handler.schedulerCall(request, read.call, read.streamId, undefined)
  }

  /** Whoever asked closes: what is sent must arrive before. */
  private finish (request: number, head: HttpResponse): void {
    this.send(request, { head })
    this.send(request, { end: true })
  }

  private send (request: number, answer: Answer): void { this.connections.get(request)?.send([encodeJsonRecord(answer)]) }
}

function messagesOf<T> (decoder: RecordDecoder, chunk: Buffer): T[] {
  return decoder.push(chunk).map((record) => JSON.parse(record.toString()) as T)
}
