import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { encodeJsonRecord } from '../../../scheduler/mesos/recordio.ts'

const folder = new URL('../../fixtures/tls/', import.meta.url)
const read = (name: string): string => readFileSync(new URL(name, folder), 'utf8')

export const ca = read('ca.pem')
export const readTls = (who: 'server' | 'client' | 'stranger'): { cert: string, key: string } => ({ cert: read(`${who}.pem`), key: read(`${who}.key`) })
export const frameworkInfo = { user: 'root', name: 'atoll', roles: ['atoll'], principal: 'atoll' }

export interface TlsMaster {
  port: number
  calls: string[]
  peers: Array<{ authorization: string | undefined, subject: string | undefined }>
  heartbeat (): void
  until (condition: () => boolean): Promise<void>
  close (): void
}

export interface TlsMasterInit {
  /** Takes only clients with a certificate of our authority. Default true. */
  wantsCertificate?: boolean
  certificateOf?: 'server' | 'stranger'
  /** Default: 'atoll' with 'pass word'. */
  authorization?: string
  /** Instead of serving. */
  redirectTo?: string
}

/** Answers as a leading master does that was started with SSL and basic authentication. */
export async function serveMaster (init: TlsMasterInit = {}): Promise<TlsMaster> {
  const { wantsCertificate = true, certificateOf = 'server', authorization = `Basic ${Buffer.from('atoll:pass word').toString('base64')}` } = init
  const streams: ServerResponse[] = []
  let wake: () => void = () => {}
  const master: TlsMaster = {
    port: 0,
    calls: [],
    peers: [],
    heartbeat: () => { for (const stream of streams) stream.write(encodeJsonRecord({ type: 'HEARTBEAT' })) },
    until: async (condition) => { while (!condition()) await new Promise<void>((resolve) => { wake = resolve }) },
    close: () => {
      server.closeAllConnections()
      server.close()
    }
  }
  const server = createServer({ ca, ...readTls(certificateOf), requestCert: wantsCertificate, rejectUnauthorized: wantsCertificate }, (request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => { body += chunk.toString() })
    request.on('end', () => {
      const subject = (request.socket as TLSSocket).getPeerCertificate().subject?.CN
      master.peers.push({ authorization: request.headers.authorization, subject: typeof subject === 'string' ? subject : undefined })
      if (init.redirectTo !== undefined) {
        response.writeHead(307, { Location: init.redirectTo, 'Content-Length': 0 }).end()
      } else if (request.headers.authorization !== authorization) {
        response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="mesos-master-scheduler"', 'Content-Type': 'text/plain' }).end('401 Unauthorized.')
      } else {
        const { type } = JSON.parse(body) as { type: string }
        master.calls.push(type)
        if (type === 'SUBSCRIBE') {
          streams.push(response)
          response.writeHead(200, { 'Content-Type': 'application/json', 'Mesos-Stream-Id': `s-${master.calls.length}` })
          response.write(encodeJsonRecord({ type: 'SUBSCRIBED', subscribed: { framework_id: { value: 'f-1' }, heartbeat_interval_seconds: 15 } }))
        } else {
          response.writeHead(202, { 'Content-Length': 0 }).end()
        }
      }
      wake()
    })
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  master.port = (server.address() as AddressInfo).port
  return master
}
