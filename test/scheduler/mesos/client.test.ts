import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { expect } from 'chai'
import type { Clock } from '../../../fsnode/protocol/ports.ts'
import { systemClock, systemRandom } from '../../../fsnode/protocol/system.ts'
import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { MasterClient, MasterNotice } from '../../../scheduler/mesos/client.ts'
import { backoffMaxMs, subscribeTimeoutMs } from '../../../scheduler/mesos/constants.ts'
import { encodeJsonRecord } from '../../../scheduler/mesos/recordio.ts'
import type { SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import { quietLog } from '../framework/harness.ts'
import { Notices } from './notices.ts'
import { bodyOf, readRecording, recordsOf } from './recording.ts'

const frameworkInfo = { user: 'root', name: 'atoll', roles: ['atoll'], principal: 'atoll' }

/** Back-offs pass twenty times as fast; what is waited for has all its time. */
const fastClock: Clock = { ...systemClock, setTimer: (callback, delayMs) => systemClock.setTimer(callback, isBackoff(delayMs) ? delayMs / 20 : delayMs) }

function isBackoff (delayMs: number): boolean { return delayMs <= backoffMaxMs && delayMs !== subscribeTimeoutMs }

/** Where nobody listens. */
const deadMaster = '127.0.0.1:1'

describe('client', () => {
  const closing: Array<() => void> = []
  afterEach(() => { for (const close of closing.splice(0)) close() })

  function connect (masters: string[], options: { secret?: string, id?: string } = {}): { client: MasterClient, notices: Notices } {
    const notices = new Notices()
    const client = httpMasterClient({ clock: fastClock, random: systemRandom, log: quietLog })({
      masters,
      ...(options.secret === undefined ? {} : { credentials: { principal: 'atoll', secret: options.secret } }),
      subscribe: () => ({ framework_info: { ...frameworkInfo, ...(options.id === undefined ? {} : { id: { value: options.id } }) } }),
      onNotice: notices.push
    })
    closing.push(() => { client.close() })
    client.start()
    return { client, notices }
  }

  /** Plays the recorded bytes to whoever connects, in pieces of the given size. */
  async function replay (responses: Buffer[], pieceBytes: number): Promise<string> {
    const sockets: Socket[] = []
    const server: Server = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      socket.once('data', () => {
        const all = Buffer.concat(responses)
        for (let offset = 0; offset < all.length; offset += pieceBytes) socket.write(all.subarray(offset, offset + pieceBytes))
      })
    })
    closing.push(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  async function serve (answer: (request: IncomingMessage, response: ServerResponse, body: string) => void): Promise<string> {
    const server: HttpServer = createHttpServer((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => { body += chunk.toString() })
      request.on('end', () => { answer(request, response, body) })
    })
    closing.push(() => {
      server.closeAllConnections()
      server.close()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const openStream = (response: ServerResponse, streamId = 's-1'): void => {
    response.writeHead(200, { 'Content-Type': 'application/json', 'Mesos-Stream-Id': streamId })
    response.write(encodeJsonRecord({ type: 'SUBSCRIBED', subscribed: { framework_id: { value: 'f-1' }, heartbeat_interval_seconds: 15 } }))
  }

  for (const name of ['01-subscribe-offers-decline-revive-suppress', '02-stateful-life-with-operation-ids', '07-task-outcomes-and-health']) {
    for (const pieceBytes of [7, 1000, 1_000_000]) {
      it(`reads every event of a real master's stream: ${name}, in pieces of ${pieceBytes} bytes`, async () => {
        const responses = readRecording(name).responses(1)
        const expected = recordsOf(bodyOf(responses)) as SchedulerEvent[]
        const { notices } = connect([await replay(responses, pieceBytes)])
        // TEARDOWN or the end of the recording; the last event of note must have come by then.
        const told = expected.filter(({ type }) => type !== 'SUBSCRIBED' && type !== 'HEARTBEAT')
        const last = JSON.stringify(told.at(-1))
        await notices.until((notice): notice is MasterNotice => notice.type === 'event' && JSON.stringify(notice.event) === last)
        expect(notices.events).to.deep.equal(told)
        expect(notices.all[0]).to.include({ type: 'subscribed' })
      })
    }
  }

  it('a real failover: ERROR ends the stream of the older scheduler, and it does not come back', async () => {
    const { notices } = connect([await replay(readRecording('06-scheduler-failover').responses(1), 1000)])
    expect(await notices.ofType('stopped')).to.include({ code: 'ATOLL_MESOS_FAILED_OVER', message: 'Framework failed over' })
    expect(notices.all.at(-1)!.type).to.equal('stopped')
  })

  it('a real removal: the framework id is dead', async () => {
    const recording = readRecording('15-framework-removed-after-failover-timeout')
    const connection = Array.from({ length: 20 }, (_, index) => index + 1)
      .find((number) => recording.responses(number).some((bytes) => bytes.includes('Framework has been removed')))!
    const { notices } = connect([await replay(recording.responses(connection), 1000)], { id: 'f-1' })
    expect(await notices.ofType('stopped')).to.include({ code: 'ATOLL_MESOS_REMOVED' })
  })

  it('SUBSCRIBE and calls are sent as a real master wants them', async () => {
    const seen: Array<{ headers: IncomingMessage['headers'], body: Record<string, unknown> }> = []
    let done: () => void = () => {}
    const all = new Promise<void>((resolve) => { done = resolve })
    const master = await serve((request, response, body) => {
      seen.push({ headers: request.headers, body: JSON.parse(body) })
      if (seen.length === 1) openStream(response)
      else response.writeHead(202).end()
      if (seen.length === 4) done()
    })
    const { client, notices } = connect([master], { secret: 'pass word', id: 'f-1' })
    await notices.ofType('subscribed')
    client.call({ type: 'SUPPRESS' })
    client.call({ type: 'REVIVE', revive: { roles: ['atoll'] } })
    client.call({ type: 'RECONCILE', reconcile: { tasks: [] } })
    await all
    expect(seen.map(({ body }) => body.type)).to.deep.equal(['SUBSCRIBE', 'SUPPRESS', 'REVIVE', 'RECONCILE'])
    for (const { headers, body } of seen) {
      expect(headers).to.include({ 'content-type': 'application/json', accept: 'application/json' })
      expect(headers.authorization).to.equal(`Basic ${Buffer.from('atoll:pass word').toString('base64')}`)
      expect(body.framework_id).to.deep.equal({ value: 'f-1' })
    }
    expect(seen[0]!.headers).to.not.have.property('mesos-stream-id')
    for (const { headers } of seen.slice(1)) expect(headers['mesos-stream-id']).to.equal('s-1')
  })

  it('without an id neither framework_id nor framework_info.id is sent', async () => {
    let first: Record<string, unknown> | undefined
    const master = await serve((_request, response, body) => {
      first ??= JSON.parse(body)
      openStream(response)
    })
    await connect([master]).notices.ofType('subscribed')
    expect(first).to.deep.equal({ type: 'SUBSCRIBE', subscribe: { framework_info: frameworkInfo } })
  })

  it('follows the redirect of a master that does not lead', async () => {
    const leader = await serve((_request, response) => { openStream(response) })
    const follower = await serve((_request, response) => {
      response.writeHead(307, { Location: `//${leader}/master/api/v1/scheduler` }).end()
    })
    const { notices } = connect([follower])
    expect(await notices.ofType('subscribed')).to.include({ url: `http://${leader}/master/api/v1/scheduler` })
    expect(notices.all).to.have.length(1)
  })

  it('goes from a dead master to a starting one to the leader', async () => {
    let starting = true
    const master = await serve((_request, response) => {
      if (!starting) { openStream(response); return }
      starting = false
      response.writeHead(503).end('Master has not finished recovery')
    })
    const { notices } = connect([deadMaster, master])
    await notices.ofType('subscribed')
    expect(notices.all.map((notice) => 'code' in notice ? notice.code : notice.type)).to.deep.equal(
      ['ATOLL_UNREACHABLE', 'ATOLL_MESOS_NO_LEADER', 'ATOLL_UNREACHABLE', 'subscribed'])
  })

  it('a call that the master refuses is told, and the next one is sent; one with an unknown outcome ends the session', async () => {
    let subscriptions = 0
    const master = await serve((request, response, body) => {
      const { type } = JSON.parse(body) as { type: string }
      if (type === 'SUBSCRIBE') openStream(response, `s-${++subscriptions}`)
      else if (type === 'SUPPRESS') response.writeHead(400).end('no')
      else request.socket.destroy()
    })
    const { client, notices } = connect([master])
    await notices.ofType('subscribed')
    client.call({ type: 'SUPPRESS' })
    client.call({ type: 'REVIVE' })
    expect(await notices.ofType('refused')).to.include({ code: 'ATOLL_MESOS_REFUSED', message: 'SUPPRESS was answered 400: no' })
    expect(await notices.ofType('disconnected')).to.include({ code: 'ATOLL_CONNECTION_LOST' })
    await notices.until((notice): notice is MasterNotice => notice.type === 'subscribed' && subscriptions === 2)
  })

  for (const [what, bytes] of [
    ['a record that is not JSON', '5\nhello'],
    ['bytes that are not RecordIO', 'hello\n']
  ] as const) {
    it(`${what} ends the session, not the client`, async () => {
      let broken = false
      const master = await serve((_request, response) => {
        openStream(response)
        if (!broken) response.write(bytes)
        broken = true
      })
      const { notices } = connect([master])
      expect(await notices.ofType('disconnected')).to.include({ code: 'ATOLL_BAD_MESSAGE' })
      await notices.until((notice): notice is MasterNotice => notice.type === 'subscribed' && notices.all.length === 3)
    })
  }

  it('events that cannot be understood are skipped', async () => {
    const master = await serve((_request, response) => {
      openStream(response)
      for (const event of [{ type: 'NEWS', news: {} }, { type: 'OFFERS', offers: { offers: [{ id: 'x' }] } }, [], 'x', { type: 'toString' }, { type: 'UPDATE' }]) {
        response.write(encodeJsonRecord(event))
      }
      response.write(encodeJsonRecord({ type: 'RESCIND', rescind: { offer_id: { value: 'o-1' } } }))
    })
    const { notices } = connect([master])
    await notices.ofType('event')
    expect(notices.events).to.deep.equal([{ type: 'RESCIND', rescind: { offer_id: { value: 'o-1' } } }])
  })
})
