import { expect } from 'chai'
import { readdirSync, readFileSync } from 'node:fs'
import { bodyLengthMaxBytes } from '../../../scheduler/local/constants.ts'
import { available } from '../../../scheduler/local/core/allocate.ts'
import { minus, normalList, totalScalar } from '../../../scheduler/local/core/resources.ts'
import { usersOf } from '../../../scheduler/local/core/state.ts'
import { isInUse } from '../../../scheduler/local/core/tasks.ts'
import { readOperatorRequest, readSchedulerRequest } from '../../../scheduler/local/wire/http-contract.ts'
import { SimRandom } from '../../sim/random.ts'
import { CoreHarness, info } from './core-harness.ts'
import { agentOf, eventually, RawConnection, scalar, startTestMaster, type TestMaster } from './master-harness.ts'
import { HttpReader } from './http-reader.ts'

const subscribe = JSON.stringify({ type: 'SUBSCRIBE', subscribe: { framework_info: info } })

function requestOf (path: string, body: string, headers: Record<string, string> = {}): string {
  const all = { host: 'x', 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)), ...headers }
  return `POST ${path} HTTP/1.1\r\n${Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`
}

describe('HTTP side of the embedded master', () => {
  let master: TestMaster
  let connections: RawConnection[]
  const open = (): RawConnection => {
    const connection = new RawConnection(master.port)
    connections.push(connection)
    return connection
  }
  const answer = async (connection: RawConnection): Promise<RawConnection> => {
    expect(await eventually(() => connection.answers.length > 0), 'an answer').to.equal(true)
    return connection
  }
  beforeEach(async () => {
    connections = []
    master = await startTestMaster([agentOf('agent', [scalar('cpus', 4), scalar('mem', 4096)])])
  })
  afterEach(async () => {
    for (const { socket } of connections) socket.destroy()
    await master.shell.close()
  })

  it('a request may arrive byte by byte', async () => {
    const connection = open()
    for (const byte of requestOf('/api/v1/scheduler', subscribe)) {
      connection.send(byte)
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    await answer(connection)
    expect(await eventually(() => connection.events.length >= 3)).to.equal(true)
    expect(connection.events.map(({ type }) => type)).to.deep.equal(['SUBSCRIBED', 'HEARTBEAT', 'OFFERS'])
  })

  it('each event is one record, however the stream is cut', async () => {
    const connection = open()
    const pieces: Buffer[] = []
    connection.socket.on('data', (bytes) => { pieces.push(bytes as Buffer) })
    connection.send(requestOf('/api/v1/scheduler', subscribe))
    expect(await eventually(() => connection.events.length >= 3)).to.equal(true)
    const bytes = Buffer.concat(pieces)
    for (const length of [1, 2, 3, 7, 1000]) {
      const reader = new HttpReader()
      for (let offset = 0; offset < bytes.length; offset += length) reader.push(bytes.subarray(offset, offset + length))
      expect(reader.events).to.deep.equal(connection.events)
    }
  })

  it('the end of a subscriber\'s connection is the end of its subscription', async () => {
    const connection = open()
    connection.send(requestOf('/api/v1/scheduler', subscribe))
    expect(await eventually(() => connection.events.length >= 3)).to.equal(true)
    const [framework] = master.state.frameworks.values()
    expect(framework!.stream).not.to.equal(null)
    connection.socket.destroy()
    expect(await eventually(() => framework!.stream === null)).to.equal(true)
    expect(master.state.offers.size).to.equal(0)
  })

  it('a subscriber that leaves before it is answered is not subscribed', async () => {
    const connection = open()
    connection.send(requestOf('/api/v1/scheduler', subscribe))
    connection.socket.destroy()
    const other = open()
    other.send(requestOf('/api/v1', '{"type":"GET_HEALTH"}'))
    await answer(other)
    expect(await eventually(() => [...master.state.frameworks.values()].every(({ stream }) => stream === null))).to.equal(true)
  })

  it('TEARDOWN ends the stream and answers 202; the connection stays', async () => {
    const stream = open()
    stream.send(requestOf('/api/v1/scheduler', subscribe))
    expect(await eventually(() => stream.events.length >= 3)).to.equal(true)
    const id = stream.events[0].subscribed.framework_id
    const calls = open()
    calls.send(requestOf('/api/v1/scheduler', JSON.stringify({ framework_id: id, type: 'TEARDOWN' }), { 'mesos-stream-id': stream.answers[0]!.headers['mesos-stream-id']! }))
    await answer(calls)
    expect(calls.answers[0]!.status).to.equal(202)
    expect(await eventually(() => stream.streamEnded)).to.equal(true)
    expect(stream.closed).to.equal(false)
  })

  const paths: Array<[string, string, number]> = [
    ['GET', '/health', 200],
    ['GET', '/master/health', 200],
    ['POST', '/health', 405],
    ['GET', '/api/v1', 405],
    ['GET', '/', 404],
    ['GET', '/../../etc/passwd', 404]
  ]
  for (const [method, path, status] of paths) {
    it(`${method} ${path} is answered ${status}`, async () => {
      const connection = open()
      connection.send(`${method} ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n`)
      await answer(connection)
      expect(connection.answers[0]!.status).to.equal(status)
    })
  }

  it('web pages are not answered', async () => {
    const connection = open()
    connection.send(requestOf('/api/v1/scheduler', subscribe, { origin: 'http://example.org' }))
    await answer(connection)
    expect(connection.answers[0]!.status).to.equal(403)
    expect(master.state.frameworks.size).to.equal(0)
  })

  it('a body that is too long is refused before it is read', async () => {
    const connection = open()
    connection.send(requestOf('/api/v1/scheduler', '', { 'content-length': String(bodyLengthMaxBytes + 1) }))
    connection.send(' '.repeat(bodyLengthMaxBytes + 1))
    await answer(connection)
    expect(connection.answers[0]!.status).to.equal(413)
  })

  it('what is not HTTP is refused, and others are served all the same', async () => {
    const rubbish = open()
    rubbish.send('\0\0\0 rubbish\r\n\r\n')
    await answer(rubbish)
    expect(rubbish.answers[0]!.status).to.equal(400)
    const connection = open()
    connection.send(requestOf('/api/v1', '{"type":"GET_VERSION"}'))
    await answer(connection)
    expect(JSON.parse(connection.answers[0]!.body)).to.have.nested.property('get_version.version_info.version')
  })

  it('when the store fails, nothing is answered any more and the failure is told', async () => {
    const connection = open()
    master.kv.failure = new Error('no space')
    connection.send(requestOf('/api/v1/scheduler', subscribe))
    expect(await eventually(() => connection.closed)).to.equal(true)
    expect(connection.answers).to.deep.equal([])
    expect(await eventually(() => master.failures.length > 0)).to.equal(true)
    expect(master.failures.map(({ code }) => code)).to.deep.equal(['ATOLL_STORE_UNUSABLE'])
  })
})

describe('requests', () => {
  const request = (headers: Record<string, string>, body = subscribe): { method: string, headers: Record<string, string>, body: string } => ({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body })
  const statusOf = (headers: Record<string, string>, body?: string): number => {
    const read = readSchedulerRequest(request(headers, body))
    return 'refusal' in read ? read.refusal.status : 200
  }

  const accepted: Array<[string, number]> = [
    ['application/json', 200],
    ['*/*', 200],
    ['text/html, application/*;q=0.5', 200],
    ['application/json;q=0', 406],
    ['application/x-protobuf', 406],
    ['text/html', 406]
  ]
  for (const [accept, status] of accepted) {
    it(`Accept: ${accept} is ${status}`, () => { expect(statusOf({ accept })).to.equal(status) })
  }

  it('protobuf is not spoken here', () => { expect(statusOf({ 'content-type': 'application/x-protobuf' })).to.equal(415) })

  it('numbers may come as strings, unknown fields and unknown enum values are ignored', () => {
    const read = readSchedulerRequest(request({}, JSON.stringify({
      type: 'SUBSCRIBE', future: {}, subscribe: { framework_info: { user: '', name: 'n', failover_timeout: '12.5', capabilities: [{ type: 'FUTURE' }] } }
    })))
    expect(read).to.have.nested.property('call.subscribe.framework_info.failover_timeout', 12.5)
    expect(read).to.have.nested.property('call.subscribe.framework_info.capabilities').that.deep.equals([{}])
    expect(read).not.to.have.nested.property('call.future')
  })

  const amounts = ['1e999', '-1', '"NaN"', '1e13']
  for (const amount of amounts) {
    it(`${amount} is no amount of a resource`, () => {
      const body = `{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[],"operations":[{"type":"RESERVE","reserve":{"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":${amount}}}]}}]}}`
      expect(statusOf({}, body)).to.equal(400)
    })
  }

  it('deep nesting is refused where nothing is read', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    expect(statusOf({}, `{"type":"REQUEST","framework_id":{"value":"f"},"request":${deep}}`)).to.equal(400)
  })
})

describe('damaged calls', () => {
  /** Bodies of all recorded requests. */
  const bodies = readdirSync(new URL('../../fixtures/mesos/', import.meta.url)).flatMap((name) =>
    readFileSync(new URL(`../../fixtures/mesos/${name}`, import.meta.url), 'utf8').trimEnd().split('\n')
      .map((line) => JSON.parse(line))
      .filter(({ dir, bytes }) => dir === 'request' && typeof bytes === 'string' && bytes.includes('{'))
      .map(({ bytes }) => bytes.slice(bytes.indexOf('{'))))
  /** Nothing would be offered afterwards. */
  const takesAgentAway = new Set(['TEARDOWN', 'MARK_AGENT_GONE', 'DRAIN_AGENT', 'DEACTIVATE_AGENT', 'START_MAINTENANCE'])
  const rubbish: unknown[] = [null, 0, -1, 1e300, '', 'x', '..', '*', [], {}, true, [[]], { value: '' }, { value: 1 }, { range: [{ begin: 5, end: 1 }] }, '__proto__']

  function damage (value: any, random: SimRandom): unknown {
    if (typeof value !== 'object' || value === null || random.chance(0.15)) return random.pick(rubbish)
    const keys = Object.keys(value)
    if (keys.length === 0) return random.pick(rubbish)
    const copy = Array.isArray(value) ? [...value] : { ...value }
    const key = random.pick(keys)
    if (random.chance(0.15)) delete copy[key as keyof typeof copy]
    else copy[key as keyof typeof copy] = damage(copy[key as keyof typeof copy], random) as never
    return copy
  }

  it('never throw, and never make or lose resources', () => {
    const random = new SimRandom(7)
    const core = new CoreHarness()
    const { stream, id } = core.subscribe({ ...info, principal: 'atoll' })
    for (let round = 0; round < 5000; round++) {
      const body = random.pick(bodies)
      const damaged = JSON.stringify(damageOf(body, random)).replaceAll(/"framework_id":\{"value":"[^"]*"\}/g, `"framework_id":{"value":"${id}"}`)
      const offers = [...core.state.offers.keys()].map((value) => ({ value }))
      const text = damaged.replace(/"offer_ids":\[[^\]]*\]/, `"offer_ids":${JSON.stringify(offers)}`).replaceAll(/"agent_id":\{"value":"[^"]*"\}/g, '"agent_id":{"value":"agent"}')
      feed(core, text, stream)
      if (random.chance(0.5)) core.advance(1)
      if (round % 100 === 0) requireBalance(core)
    }
    requireBalance(core)
    expect(core.state.tasks.size, 'some get through').to.be.above(10)
    expect(core.state.operations.size, 'some get through').to.be.above(10)
  })

  function damageOf (body: string, random: SimRandom): unknown {
    try {
      const parsed = JSON.parse(body)
      return random.chance(0.3) ? parsed : damage(parsed, random)
    } catch {
      return body
    }
  }

  function feed (core: CoreHarness, body: string, stream: number): void {
    const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
    const read = readSchedulerRequest(request)
    const [framework] = core.state.frameworks.values()
    if ('call' in read && !['TEARDOWN', 'SUBSCRIBE'].includes(read.call.type)) {
      const answer = core.feed({ type: 'call', request: 1_000_000, call: read.call, ...(framework !== undefined && { streamId: framework.streamId }) })
      expect(answer.effects.filter(({ type }) => type === 'reply'), body).to.have.length(1)
    }
    const operator = readOperatorRequest(request)
    if ('call' in operator && !takesAgentAway.has(operator.call.type)) core.feed({ type: 'operator-call', request: 1_000_001, call: operator.call })
    for (const task of [...core.state.tasks.values()]) {
      if (task.state === 'TASK_STAGING') core.feed({ type: 'task-spawned', key: task.key, containerId: task.containerId, process: { pid: 1, startTime: '1' } })
      if (isInUse(task) && core.random.chance(0.1)) core.feed({ type: 'task-exited', key: task.key, containerId: task.containerId, exit: { status: 0 } })
    }
    core.take(stream)
  }

  function requireBalance (core: CoreHarness): void {
    const agent = core.state.agents.get('agent')!
    for (const [name, amount] of [['cpus', 4], ['mem', 4096], ['disk', 20000]] as const) expect(totalScalar(agent.total, name)).to.equal(amount)
    const held = [...usersOf(core.state), ...core.state.offers.values()].flatMap(({ resources }) => [...resources])
    const free = available(core.state, agent)
    expect(minus(agent.total, normalList([...held, ...free])), 'each resource has one holder').to.deep.equal([])
  }
})
