import { expect } from 'chai'
import { readFileSync } from 'node:fs'
import { redirectUrl } from '../../scheduler/mesos/address.ts'
import { httpPoster } from '../../scheduler/mesos/http.ts'
import { Session, statusCode } from '../../scheduler/mesos/session.ts'
import type { CallBody, Resource, TaskInfo } from '../../scheduler/mesos/types.ts'
import { SimRandom } from '../sim/random.ts'
import { Scenario, timelineOf } from './framework/scenario.ts'
import { Script, afterwards, operationsOf, tasksOf, types } from './framework/script.ts'
import { RawConnection, agentOf, eventually, ports, scalar, startTestMaster } from './local/master-harness.ts'
import type { TestMaster } from './local/master-harness.ts'
import { readRecording, recordingNames } from './mesos/recording.ts'
import { replayToClient, replayedSocket } from './mesos/replayed-socket.ts'

/** The surprises that the README of the recordings lists, each with its number there: what the framework, or the embedded master, makes of it. */

const agentIn = (name: string, taskId: string): string => timelineOf(name).flatMap((moment) =>
  'event' in moment && moment.event.type === 'UPDATE' && moment.event.update.status.task_id.value === taskId ? moment.event.update.status.agent_id?.value ?? [] : [])[0]!
const running = (name: string, id: string, taskId: string): { id: string } =>
  ({ id, agentId: agentIn(name, taskId), resourceId: 'replica-1', persistenceId: 'vol-replica-1', task: { id: taskId, agentId: agentIn(name, taskId), state: 'TASK_STAGING' } }) as { id: string }
const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value : [])

const surprises = 34

describe('surprises of a real master: the list', () => {
  it(`each of the ${surprises} has a test that bears its number`, () => {
    const text = readFileSync(new URL(import.meta.url), 'utf8')
    const numbers = new Set([...text.matchAll(/^  it\('(\d+): /gm)].map(([, number]) => Number(number)))
    expect([...numbers].sort((one, other) => one - other)).to.deep.equal(Array.from({ length: surprises }, (_, index) => index + 1))
  })
})

describe('surprises of a real master: the framework', () => {
  it('1: the grace of a KILL may be ignored: a task is being killed until its end is told, however long that takes', async () => {
    const scenario = await Scenario.begin('20', { nodes: [running('20', 'node-1', 'stubborn-r1')] })
    scenario.until('KILL with kill_policy grace 2 s')
    scenario.do({ type: 'releaseNode', id: 'node-1' })
    // 6 s instead of 2.
    scenario.until('killed after 6.1 s')
    expect(killed(scenario.calls).length).to.be.greaterThan(1)
    expect(scenario.states().filter((state) => state.startsWith('node-1'))).to.deep.equal([])
  })

  it('2: TASK_LOST does come to a PARTITION_AWARE framework: the end of the task, not of the volume', async () => {
    for (const [name, until] of [['09', 'RECONCILE explicit and implicit'], ['11', 'RECONCILE explicit; GET_MAINTENANCE_STATUS']] as const) {
      const scenario = await Scenario.begin(name, { nodes: [running(name, 'node-1', 'node-1')] })
      scenario.until(until)
      expect(scenario.node('node-1')).to.include({ state: 'placed', task: null, persistenceId: 'vol-replica-1' })
      expect(scenario.node('node-1').reason).to.contain('TASK_LOST')
    }
  })

  it('3: the agent id stays over a reboot and changes without one: volumes are known by role and persistence id', async () => {
    const scenario = await Scenario.begin('09', { nodes: [{ ...running('09', 'node-1', 'node-1'), agentId: 'another id' } as { id: string }] })
    scenario.until('relaunch on the volume as node-1.b')
    expect(scenario.node('node-1')).to.include({ state: 'launching', agentId: agentIn('09', 'node-1') })
  })

  it('4: after a reboot the task is TASK_FAILED, not TASK_GONE: it is relaunched on its volume', async () => {
    const scenario = await Scenario.begin('09', { nodes: [running('09', 'node-1', 'node-1.b')] })
    scenario.until('host reboot, imitated')
    scenario.do({ type: 'retry', id: 'node-1' })
    expect(scenario.until('after the imitated reboot').flatMap(tasksOf)).to.have.length(1)
  })

  it('5: an explicit RECONCILE always names the agent', async () => {
    for (const name of recordingNames) {
      const tasks = [...new Set(timelineOf(name).flatMap((moment) => 'event' in moment && moment.event.type === 'UPDATE' ? moment.event.update.status.task_id.value : []))].filter((id) => agentIn(name, id) !== undefined)
      const scenario = await Scenario.begin(name, { nodes: tasks.slice(0, 3).map((task, index) => running(name, `node-${index + 1}`, task)) })
      for (const call of scenario.until()) {
        if (call.type === 'RECONCILE') for (const { agent_id: agent } of call.reconcile.tasks) expect(agent?.value, name).to.be.a('string')
      }
    }
  })

  it('6: RECONCILE tells the update in delivery: TASK_STARTING does not set a running task back', async () => {
    const script = await Script.begin(1)
    const [node] = await script.bringUp(1)
    await script.tell(node!.task, 'TASK_STARTING')
    expect(script.states()).to.deep.equal(['node-1 running'])
  })

  it('7: TASK_GONE is also the answer about a task that finished well: of an old task it means nothing', async () => {
    const script = await Script.begin(1)
    const [node] = await script.bringUp(1)
    await script.update(node!.task, 'TASK_FINISHED')
    const [next] = (await script.offers(script.offer('a1', node!.held))).flatMap(tasksOf)
    await script.update(next!, 'TASK_RUNNING')
    await script.tell(node!.task, 'TASK_GONE')
    expect(script.node('node-1')).to.include({ state: 'running', attempts: 1 })
  })

  it('8: a launch to an agent that does not answer is unreachable, and gone when it is asked for after the return', async () => {
    const scenario = await Scenario.begin('08', { nodes: [running('08', 'node-1', 'late-1')] })
    scenario.until('the agent process goes on')
    expect(scenario.node('node-1').state).to.equal('unreachable')
    scenario.until('short stop')
    expect(scenario.node('node-1')).to.include({ state: 'placed', task: null })
  })

  it('9: a KILL may be forgotten: it is repeated until the task has ended, also after a reconnection', async () => {
    const script = await Script.begin(1)
    const [node] = await script.bringUp(1)
    expect(killed(await script.send({ type: 'setGoal', goal: 'stopped' }))).to.have.length(1)
    await script.tell(node!.task, 'TASK_UNREACHABLE')
    expect(killed(await script.advance(15_000)).length).to.equal(3)
    expect(killed(await script.crash())).to.have.length(1)
    await script.tell(node!.task, 'TASK_RUNNING', 'REASON_AGENT_REREGISTERED')
    expect(killed(await script.advance(5_000))).to.have.length(1)
  })

  it('10: states go backward, and updates come twice: neither changes what is known', async () => {
    const scenario = await Scenario.begin('08', { nodes: [running('08', 'node-1', 'node-1')] })
    scenario.until('RECONCILE explicit after the return')
    const seen = timelineOf('08').flatMap((moment) => 'event' in moment && moment.event.type === 'UPDATE' && moment.event.update.status.task_id.value === 'node-1' ? moment.event.update.status.state : [])
    expect(seen.join()).to.contain('TASK_RUNNING,TASK_STARTING,TASK_STARTING,TASK_RUNNING')
    expect(scenario.node('node-1')).to.include({ state: 'running', attempts: 0 })
  })

  it('11: 404 from a starting master is a retry, as are a refused connection and 503', async () => {
    const session = new Session({ random: new SimRandom(1) }, { masters: ['a'] })
    session.step({ type: 'start' })
    const delays = session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' }).flatMap((effect) => effect.type === 'timer' ? effect.delayMs : [])
    expect(delays, 'refused').to.have.length(1)
    expect(delays[0]).to.be.at.most(500)
    expect([404, 503].map(statusCode)).to.deep.equal(['ATOLL_MESOS_STARTING', 'ATOLL_MESOS_NO_LEADER'])
    for (const [conn, code] of [[15, 'ATOLL_MESOS_STARTING'], [17, 'ATOLL_MESOS_NO_LEADER']] as const) {
      const [notice] = await replayToClient(readRecording('13').responses(conn))
      expect(notice).to.include({ type: 'disconnected', code })
      // Not as slowly as what will hardly mend itself.
      expect((notice as { retryInMs: number }).retryInMs).to.be.at.most(500)
    }
  })

  it('12: a redirect has no scheme, and its path begins with /master', () => {
    const locations = new Set(readRecording('16').lines.flatMap(({ bytes }) => /Location: (\S+)/.exec(bytes ?? '')?.[1] ?? []))
    expect([...locations].map((location) => redirectUrl(location, 'http://127.0.0.1:5060/api/v1/scheduler'))).to.deep.include.members([
      'http://127.0.0.1:5050/master/api/v1/scheduler', 'http://127.0.0.1:5050/api/v1/scheduler'
    ])
  })

  it('13: a redirect may lead to a dead master: followed, refused, then the next configured one, with growing pauses', () => {
    const session = new Session({ random: new SimRandom(1) }, { masters: ['a', 'b', 'c'] })
    session.step({ type: 'start' })
    const connects: string[] = []
    const delays: number[] = []
    for (let round = 0; round < 8; round++) {
      session.step({ type: 'response', response: { status: 307, location: '//a:5050/master/api/v1/scheduler', body: '' } })
      for (const effect of session.step({ type: 'end', code: 'ATOLL_UNREACHABLE', message: 'refused' })) if (effect.type === 'timer') delays.push(effect.delayMs)
      for (const effect of session.step({ type: 'timer' })) if (effect.type === 'connect') connects.push(new URL(effect.url).hostname)
    }
    expect(connects).to.deep.equal(['b', 'c', 'a', 'b', 'c', 'a', 'b', 'c'])
    expect(delays.at(-1)).to.be.within(7_500, 15_000)
  })

  it('14: agents may take long to notice a new master: no task is given up or launched twice meanwhile', async () => {
    const scenario = await Scenario.begin('13', { nodes: [running('13', 'node-1', 'node-2')] })
    scenario.until('RECONCILE explicit: every task is answered')
    expect(scenario.node('node-1')).to.include({ state: 'running', launches: 1 })
  })

  it('15: a FAILURE with an executor id and status 0 is no loss of an agent', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    expect(await script.event({ type: 'FAILURE', failure: { agent_id: { value: 'a1' }, executor_id: { value: 'group-1' }, status: 0 } })).to.deep.equal([])
    expect(script.states()).to.deep.equal(['node-1 running'])
  })

  it('16: ERROR and TEARDOWN end the body, not the connection: the client closes it itself', async () => {
    const recording = readRecording('06')
    let closed = false
    await new Promise<void>((resolve) => {
      // The recorded bytes, and then nothing: no end of the connection.
      const socket = replayedSocket(recording.responses(1))
      const push = socket.push.bind(socket)
      socket.push = (chunk: unknown) => chunk === null ? true : push(chunk)
      socket.on('close', () => { closed = true })
      httpPoster({ connect: () => socket })('http://m:5050/api/v1/scheduler', {}, '{}', { onResponse: () => {}, onData: () => {}, onEnd: () => { resolve() } })
    })
    expect(await eventually(() => closed)).to.equal(true)
  })

  it('18: the Content-Type is exactly application/json', async () => {
    let head = ''
    await new Promise<void>((resolve) => {
      const socket = replayedSocket(readRecording('14').responses(1), (text) => { head += text })
      httpPoster({ connect: () => socket })('http://m:5050/api/v1/scheduler', { 'Content-Type': 'application/json' }, '{}', { onResponse: () => {}, onData: () => {}, onEnd: () => { resolve() } })
    })
    expect(head).to.match(/\r\nContent-Type: application\/json\r\n/)
  })

  it('25: the id of a task that finished would be accepted again, that of an unreachable one is an error: no id is ever used twice', async () => {
    const script = await Script.begin(1)
    let [{ task, held } = {} as { task: TaskInfo, held: Resource[] }] = await script.bringUp(1)
    const ids = new Set([task.task_id.value])
    for (let launch = 0; launch < 5; launch++) {
      await script.update(task, 'TASK_FAILED')
      await script.crash()
      await script.send({ type: 'retry', id: 'node-1' })
      task = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)[0]!
      ids.add(task.task_id.value)
    }
    expect(ids.size).to.equal(6)
  })

  it('28: a wrong principal with authentication is HTTP 400, a changed one is an ERROR event: both are told, neither ends the client', async () => {
    expect((await replayToClient(readRecording('14').responses(7)))[0]).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_REFUSED' })
    const changed = readRecording('06')
    const conn = changed.subscriptions().find((each) => changed.events(each).some((event) => event.type === 'ERROR' && event.error.message.includes('principal')))!
    expect((await replayToClient(changed.responses(conn)))[0]).to.include({ type: 'disconnected', code: 'ATOLL_MESOS_REFUSED' })
  })

  it('29: a kill by a health check is TASK_KILLED with healthy:false: a failure, nothing that was wished for', async () => {
    const scenario = await Scenario.begin('07', { nodes: [running('07', 'node-1', 'health-fails')] })
    scenario.until('health check that fails within')
    expect(scenario.node('node-1')).to.include({ state: 'placed', attempts: 1 })
    expect(scenario.node('node-1').reason).to.contain('its health check fails')
  })

  it('30: filters survive a takeover: whoever wants something says REVIVE after each subscription', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    await script.offers(script.offer('a1', []))
    expect(types(await script.crash())).to.include('REVIVE')
  })

  it('31: an agent that is away for a moment takes its offers back and says nothing else: nothing is concluded', async () => {
    const scenario = await Scenario.begin('09', { nodes: [running('09', 'node-1', 'node-1')] })
    scenario.until('RECONCILE explicit')
    const rescinded = timelineOf('09').filter((moment) => 'event' in moment && moment.event.type === 'RESCIND' && moment.t < 9)
    expect(rescinded).to.have.length(1)
    expect(scenario.node('node-1')).to.include({ state: 'running', attempts: 0 })
  })
})

describe('surprises of a real master: the embedded master does the same', () => {
  let master: TestMaster
  let connections: RawConnection[]

  beforeEach(async () => {
    connections = []
    master = await startTestMaster([1, 2].map((index) => agentOf(`agent-${index}`, [scalar('cpus', 4), scalar('mem', 4096), scalar('disk', 20_000), ports(31_000, 31_099)])))
  })

  afterEach(async () => {
    for (const { socket } of connections) socket.destroy()
    await master.shell.close()
  })

  const info = { user: 'root', name: 'atoll', roles: ['atoll'], principal: 'atoll', failover_timeout: 60, capabilities: ['PARTITION_AWARE', 'MULTI_ROLE', 'RESERVATION_REFINEMENT', 'TASK_KILLING_STATE'].map((type) => ({ type })) }

  async function post (path: string, body: unknown, headers: Record<string, string> = {}): Promise<RawConnection> {
    const connection = new RawConnection(master.port)
    connections.push(connection)
    const text = JSON.stringify(body)
    const all = { Host: 'm', 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(text)), ...headers }
    connection.send(`POST ${path} HTTP/1.1\r\n${Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`)
    expect(await eventually(() => connection.answers.length > 0), 'an answer').to.equal(true)
    return connection
  }

  async function subscribe (framework: object = info): Promise<{ stream: RawConnection, id: string, call: (body: object, headers?: Record<string, string>) => Promise<number> }> {
    const stream = await post('/api/v1/scheduler', { type: 'SUBSCRIBE', ...('id' in framework && { framework_id: framework.id }), subscribe: { framework_info: framework } })
    await waitFor(stream, 'SUBSCRIBED', 'ERROR')
    const id = stream.events.find(({ type }) => type === 'SUBSCRIBED')?.subscribed.framework_id.value
    const call = async (body: object, headers: Record<string, string> = {}): Promise<number> =>
      (await post('/api/v1/scheduler', { framework_id: { value: id }, ...body }, { 'Mesos-Stream-Id': stream.answers[0]!.headers['mesos-stream-id']!, ...headers })).answers[0]!.status
    return { stream, id, call }
  }

  const waitFor = async ({ events }: RawConnection, ...types: string[]): Promise<void> => {
    expect(await eventually(() => events.some(({ type }) => types.includes(type))), types.join(' or ')).to.equal(true)
  }

  const operator = async (body: object): Promise<[number, string]> => {
    const { answers: [answer] } = await post('/api/v1', body)
    return [answer!.status, answer!.body]
  }
  /** All so far, at least the first ones. */
  const offersOf = async (stream: RawConnection): Promise<any[]> => {
    await waitFor(stream, 'OFFERS')
    return stream.events.flatMap((event) => event.type === 'OFFERS' ? event.offers.offers : [])
  }
  const updates = (stream: RawConnection): string[] => stream.events.flatMap((event) => event.type === 'UPDATE' ? event.update.status.state : [])
  const launch = (offer: any, taskId: string, resources: object[]): object => ({ type: 'ACCEPT', accept: {
    offer_ids: [offer.id],
    operations: [{ type: 'LAUNCH', launch: { task_infos: [{ name: 't', task_id: { value: taskId }, agent_id: offer.agent_id, resources, command: { value: 'true' } }] } }],
    filters: { refuse_seconds: 0 }
  } })
  const allocated = (name: string, value: number): object => ({ ...scalar(name, value), allocation_info: { role: 'atoll' } })

  it('17: a call of type UNKNOWN does not hurt: 400', async () => {
    const { call } = await subscribe()
    expect(await call({ type: 'UNKNOWN' })).to.equal(400)
    expect(await call({ type: 'REVIVE' })).to.equal(202)
  })

  it('18: a Content-Type with a charset is 415', async () => {
    expect((await post('/api/v1/scheduler', { type: 'REVIVE' }, { 'Content-Type': 'application/json; charset=utf-8' })).answers[0]!.status).to.equal(415)
  })

  it('19: paths are prefixes', async () => {
    expect((await post('/api/v1/nope', { type: 'GET_HEALTH' })).answers[0]!.status).to.equal(200)
    expect((await post('/api/v1/scheduler/', { type: 'REVIVE', framework_id: { value: 'x' } })).answers[0]!.body).to.equal('Framework cannot be found')
  })

  it('20: an unknown operation, or one without its member, is 202 without a word; an unknown call is 400', async () => {
    const { stream, call } = await subscribe()
    const [offer] = await offersOf(stream)
    const before = stream.events.length
    expect(await call({ type: 'ACCEPT', accept: { offer_ids: [offer.id], operations: [{ type: 'NOPE', id: { value: 'op' } }, { type: 'RESERVE', id: { value: 'op-2' } }], filters: { refuse_seconds: 0 } } })).to.equal(202)
    await master.clock.advance(1500)
    expect(await eventually(() => stream.events.length > before)).to.equal(true)
    expect([...new Set(stream.events.slice(before).map(({ type }) => type))]).to.deep.equal(['OFFERS'])
    expect(await call({ type: 'NOPE' })).to.equal(400)
  })

  it('21: Accept is looked at with SUBSCRIBE only', async () => {
    const { call } = await subscribe()
    expect(await call({ type: 'REVIVE' }, { Accept: 'text/html' })).to.equal(202)
    expect((await post('/api/v1/scheduler', { type: 'SUBSCRIBE', subscribe: { framework_info: info } }, { Accept: 'text/html' })).answers[0]!.status).to.equal(406)
  })

  it('22: the nil UUID is none; a wrong one is accepted and ignored', async () => {
    const { call } = await subscribe()
    const acknowledge = (uuid: Buffer): Promise<number> => call({ type: 'ACKNOWLEDGE', acknowledge: { agent_id: { value: 'agent-1' }, task_id: { value: 't' }, uuid: uuid.toString('base64') } })
    expect(await acknowledge(Buffer.alloc(16))).to.equal(400)
    expect(await acknowledge(Buffer.from('0123456789ab4def8123456789abcdef', 'hex'))).to.equal(202)
  })

  it('23: an unknown framework id is accepted as it is, and a negative failover_timeout; an enormous one is not', async () => {
    expect((await subscribe({ ...info, id: { value: 'never-seen' } })).id).to.equal('never-seen')
    expect((await subscribe({ ...info, failover_timeout: -1 })).id).to.be.a('string')
    expect((await subscribe({ ...info, failover_timeout: 1e300 })).stream.events[0].type).to.equal('ERROR')
  })

  const reservation = { reservations: [{ type: 'DYNAMIC', role: 'atoll', principal: 'atoll' }] }

  it('24: RESERVE does without allocation_info; the operator must do without it', async () => {
    const { stream, call } = await subscribe()
    const [offer] = await offersOf(stream)
    await call({ type: 'ACCEPT', accept: { offer_ids: [offer.id], operations: [{ type: 'RESERVE', id: { value: 'op' }, reserve: { resources: [{ ...scalar('cpus', 1), ...reservation }] } }] } })
    await waitFor(stream, 'UPDATE_OPERATION_STATUS')
    expect(stream.events.find(({ type }) => type === 'UPDATE_OPERATION_STATUS').update_operation_status.status.state).to.equal('OPERATION_FINISHED')
    const [status] = await operator({ type: 'RESERVE_RESOURCES', reserve_resources: { agent_id: { value: 'agent-2' }, resources: [{ ...allocated('cpus', 1), reservations: [{ type: 'DYNAMIC', role: 'atoll' }] }] } })
    expect(status).to.equal(400)
  })

  it('25: the id of a running task is an error', async () => {
    const { stream, call } = await subscribe()
    const [one, two] = await offersOf(stream)
    await call(launch(one, 't-1', [allocated('cpus', 0.1)]))
    await call(launch(two, 't-1', [allocated('cpus', 0.1)]))
    expect(await eventually(() => updates(stream).includes('TASK_ERROR'))).to.equal(true)
  })

  it('26: cpus alone are enough for a task, nothing at all is not', async () => {
    const { stream, call } = await subscribe()
    const [one, two] = await offersOf(stream)
    await call(launch(one, 'cpus-only', [allocated('cpus', 0.1)]))
    await call(launch(two, 'nothing', []))
    expect(await eventually(() => updates(stream).includes('TASK_ERROR'))).to.equal(true)
    expect(master.agent.orders.has('cpus-only')).to.equal(true)
    expect(master.agent.orders.has('nothing')).to.equal(false)
  })

  it('27: a change of the schedule rescinds all offers; those of the machine come with unavailability', async () => {
    const { stream } = await subscribe()
    master.state.agents.get('agent-2')!.hostname = 'elsewhere'
    const before = (await offersOf(stream)).map(({ id }) => id.value)
    const [status] = await operator({ type: 'UPDATE_MAINTENANCE_SCHEDULE', update_maintenance_schedule: { schedule: { windows: [{ machine_ids: [{ hostname: '127.0.0.1' }], unavailability: { start: { nanoseconds: 1e18 } } }] } } })
    expect(status).to.equal(200)
    await waitFor(stream, 'INVERSE_OFFERS')
    expect(stream.events.flatMap((event) => event.type === 'RESCIND' ? event.rescind.offer_id.value : []).sort()).to.deep.equal(before.sort())
    const again = (await offersOf(stream)).slice(before.length)
    expect(again.map(({ agent_id: id, unavailability }) => [id.value, unavailability !== undefined]).sort()).to.deep.equal([['agent-1', true], ['agent-2', false]])
  })

  it('32: DESTROY_VOLUMES of a volume in use is 400, UNRESERVE_RESOURCES of used resources 409', async () => {
    const { stream, call } = await subscribe()
    const [offer] = await offersOf(stream)
    const disk = { ...allocated('disk', 100), ...reservation }
    const volume = { ...disk, disk: { persistence: { id: 'v', principal: 'atoll' }, volume: { mode: 'RW', container_path: 'data' } } }
    const cpus = { ...allocated('cpus', 1), ...reservation }
    await call({ type: 'ACCEPT', accept: { offer_ids: [offer.id], operations: [
      { type: 'RESERVE', reserve: { resources: [disk, cpus] } }, { type: 'CREATE', create: { volumes: [volume] } },
      { type: 'LAUNCH', launch: { task_infos: [{ name: 't', task_id: { value: 't' }, agent_id: offer.agent_id, resources: [cpus, volume], command: { value: 'true' } }] } }
    ] } })
    const bare = (resource: Record<string, unknown>): object => Object.fromEntries(Object.entries(resource).filter(([name]) => name !== 'allocation_info'))
    expect((await operator({ type: 'DESTROY_VOLUMES', destroy_volumes: { agent_id: offer.agent_id, volumes: [bare(volume)] } }))[0]).to.equal(400)
    expect((await operator({ type: 'UNRESERVE_RESOURCES', unreserve_resources: { agent_id: offer.agent_id, resources: [bare(cpus)] } }))[0]).to.equal(409)
  })

  it('33: REACTIVATE_AGENT of an agent that is gone by a drain is 400, still DRAINING', async () => {
    await operator({ type: 'DRAIN_AGENT', drain_agent: { agent_id: { value: 'agent-1' }, mark_gone: true } })
    expect(await operator({ type: 'REACTIVATE_AGENT', reactivate_agent: { agent_id: { value: 'agent-1' } } })).to.deep.equal([400, 'Agent is still in the DRAINING state'])
  })

  it('34: GET_EXECUTORS does not list the executors of command tasks', async () => {
    const { stream, call } = await subscribe()
    await call(launch((await offersOf(stream))[0], 't', [allocated('cpus', 0.1)]))
    master.agent.spawned('t')
    expect(await operator({ type: 'GET_EXECUTORS' })).to.deep.equal([200, '{"type":"GET_EXECUTORS","get_executors":{"executors":[]}}'])
  })
})

describe('surprises of a real master: what follows for whoever reserves', () => {
  it('an operation without an id fails without a word: the time-out, and the next offer, tell', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const [accept] = await script.offers(script.offer('a1', [...['cpus', 'mem', 'disk'].map((name) => ({ ...scalar(name, 20_000), allocation_info: { role: 'atoll' } })), { ...ports(31_000, 31_001), allocation_info: { role: 'atoll' } }]))
    expect(operationsOf(accept).every(({ id }) => id !== undefined)).to.equal(true)
    expect(afterwards(operationsOf(accept))).to.have.length(4)
    await script.advance(61_000)
    expect(script.states()).to.deep.equal(['node-1 wanted'])
  })
})
