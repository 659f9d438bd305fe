import { expect } from 'chai'
import { completedFrameworksMax, filtersPerFrameworkMax, tasksMax, updatesPerTaskMax } from '../../../scheduler/local/constants.ts'
import { restore } from '../../../scheduler/local/core/durable.ts'
import { createState } from '../../../scheduler/local/core/state.ts'
import type { Offer } from '../../../scheduler/mesos/types.ts'
import { CoreHarness, info, launch, reserved, role, volume } from './core-harness.ts'
import { scalar } from './master-harness.ts'

const cpusOf = (offers: Offer[]): number => offers.flatMap(({ resources = [] }) => resources).reduce((sum, { name, scalar: amount }) => name === 'cpus' ? sum + amount!.value : sum, 0)

describe('offers', () => {
  it('everything free is offered at once, and only once', () => {
    const core = new CoreHarness()
    const { stream } = core.subscribe()
    expect(cpusOf(core.takeOffers(stream))).to.equal(4)
    core.advance(10)
    expect(core.takeOffers(stream)).to.deep.equal([])
  })

  const filters: Array<[string, number | undefined, number]> = [
    ['zero seconds: the next round', 0, 1],
    ['no filters: five seconds', undefined, 5],
    ['half a second: at least one round', 0.5, 1],
    ['a negative number: the default', -1, 5],
    ['twenty seconds', 20, 20]
  ]
  for (const [what, refuseSeconds, backAfter] of filters) {
    it(`declined resources come back after the filter (${what})`, () => {
      const core = new CoreHarness()
      const { stream, id } = core.subscribe()
      core.decline(id, core.takeOffers(stream), refuseSeconds)
      core.advance(backAfter - 1)
      expect(core.takeOffers(stream)).to.deep.equal([])
      core.advance(1)
      expect(cpusOf(core.takeOffers(stream))).to.equal(4)
    })
  }

  it('a filter holds back a part of what was refused, not more than that', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't1', [scalar('cpus', 1)]), launch(offer!, 't2', [scalar('cpus', 1)])], 1000)
    core.spawned('t1')
    core.spawned('t2')
    core.take(stream)
    core.exited('t1')
    expect(cpusOf(core.takeOffers(stream)), 'more than was refused').to.equal(3)
  })

  it('REVIVE clears filters and suppression of its roles, SUPPRESS keeps outstanding offers', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const offers = core.takeOffers(stream)
    core.call(id, { type: 'SUPPRESS' })
    expect(core.decline(id, offers, 1000)).to.equal(202)
    core.advance(5)
    expect(core.takeOffers(stream)).to.deep.equal([])
    core.call(id, { type: 'REVIVE', revive: { roles: ['other'] } })
    expect(core.takeOffers(stream), 'a role that it does not have').to.deep.equal([])
    core.call(id, { type: 'REVIVE', revive: { roles: [role] } })
    expect(cpusOf(core.takeOffers(stream))).to.equal(4)
  })

  it('two frameworks take turns at what both want', () => {
    const core = new CoreHarness()
    const one = core.subscribe()
    const other = core.subscribe({ ...info, name: 'other' })
    const offers = core.takeOffers(one.stream)
    core.decline(one.id, offers, 0)
    core.advance(1)
    expect(cpusOf(core.takeOffers(other.stream))).to.equal(4)
  })

  it('resources reserved for another role are not offered', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [{ type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1))] } }])
    core.call(id, { type: 'TEARDOWN' })
    const other = core.subscribe({ ...info, roles: ['other'] })
    expect(cpusOf(core.takeOffers(other.stream))).to.equal(3)
    const child = core.subscribe({ ...info, roles: [`${role}/child`] })
    expect(cpusOf(core.takeOffers(child.stream)), 'a role below may use it').to.equal(1)
  })

  it('no number of declines makes more filters than the bound', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    for (let round = 0; round < filtersPerFrameworkMax + 50; round++) {
      const [offer] = core.takeOffers(stream)
      core.accept(id, [offer!], [launch(offer!, `t${round}`, [scalar('cpus', 0.01)])], 1_000_000)
      core.spawned(`t${round}`)
      core.exited(`t${round}`)
    }
    expect(core.state.frameworks.get(id)!.filters.length).to.equal(filtersPerFrameworkMax)
  })
})

describe('operations', () => {
  const begin = (): { core: CoreHarness, stream: number, id: string, offer: Offer } => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    return { core, stream, id, offer: core.takeOffers(stream)[0]! }
  }

  it('reserve, create, launch in one ACCEPT: what the task uses is not offered any more', () => {
    const { core, stream, id, offer } = begin()
    const cpus = reserved(scalar('cpus', 1))
    core.accept(id, [offer], [
      { type: 'RESERVE', reserve: { resources: [cpus, reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } },
      launch(offer, 't1', [cpus, volume(100, 'v1')])
    ])
    const order = core.effects.find((effect) => effect.type === 'launch')
    expect(order).to.deep.include({ type: 'launch' })
    expect((order as any).order.volumes).to.deep.equal([{ role, id: 'v1', containerPath: 'data', readOnly: false }])
    expect(core.effects.findIndex(({ type }) => type === 'create-volume')).to.be.below(core.effects.indexOf(order!))
    core.effects = []
    core.advance(1)
    expect(cpusOf(core.takeOffers(stream))).to.equal(3)
  })

  it('reservations and volumes of a torn down framework are offered to the next one of the role', () => {
    const { core, id, offer } = begin()
    core.accept(id, [offer], [
      { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } }
    ])
    core.call(id, { type: 'TEARDOWN' })
    core.effects = []
    const next = core.subscribe()
    const offered = core.takeOffers(next.stream).flatMap(({ resources = [] }) => resources)
    expect(offered.some(({ disk }) => disk?.persistence?.id === 'v1')).to.equal(true)
  })

  const invalid: Array<[string, any, RegExp]> = [
    ['shared volume', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), shared: {} }] } }, /not supported/],
    ['container path above the sandbox', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RW', container_path: 'a/../../b' } } }] } }, /within the sandbox/],
    ['absolute container path', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RW', container_path: '/etc' } } }] } }, /within the sandbox/],
    ['persistence id with a slash', { type: 'CREATE', create: { volumes: [volume(10, 'a/b')] } }, /invalid characters/],
    ['persistence id ..', { type: 'CREATE', create: { volumes: [volume(10, '..')] } }, /disallowed/],
    ['read-only volume', { type: 'CREATE', create: { volumes: [{ ...volume(10, 'v'), disk: { persistence: { id: 'v', principal: 'p' }, volume: { mode: 'RO', container_path: 'data' } } }] } }, /RW/],
    ['two volumes of one id', { type: 'CREATE', create: { volumes: [volume(10, 'v'), volume(10, 'v')] } }, /not unique/],
    ['reserve nothing', { type: 'RESERVE', reserve: { resources: [] } }, /empty/],
    ['reserve unreserved', { type: 'RESERVE', reserve: { resources: [scalar('cpus', 1)] } }, /unreserved/],
    ['grow a volume', { type: 'GROW_VOLUME' }, /not supported/]
  ]
  for (const [what, operation, message] of invalid) {
    it(`an operation that is not possible is an error for its id and changes nothing (${what})`, () => {
      const { core, stream, id, offer } = begin()
      const before = JSON.stringify(core.state.agents.get('agent')!.total)
      expect(core.accept(id, [offer], [{ ...operation, id: { value: 'op' } }])).to.equal(202)
      const [event] = core.take(stream) as any[]
      expect(event.update_operation_status.status).to.deep.include({ state: 'OPERATION_ERROR', operation_id: { value: 'op' } })
      expect(event.update_operation_status.status.message).to.match(message)
      expect(JSON.stringify(core.state.agents.get('agent')!.total)).to.equal(before)
    })
  }

  it('operation updates are repeated after 10 s, 20 s, 40 s until they are acknowledged', () => {
    const { core, stream, id, offer } = begin()
    core.accept(id, [offer], [{ type: 'RESERVE', id: { value: 'op' }, reserve: { resources: [reserved(scalar('cpus', 1))] } }])
    const times: number[] = []
    for (let second = 0; second < 80; second++) {
      for (const event of core.take(stream)) if (event.type === 'UPDATE_OPERATION_STATUS') times.push(second)
      core.advance(1)
    }
    expect(times).to.deep.equal([0, 10, 30, 70])
    const [operation] = core.state.operations.values()
    expect(core.call(id, { type: 'ACKNOWLEDGE_OPERATION_STATUS', acknowledge_operation_status: { operation_id: { value: 'op' }, uuid: operation!.uuid } })).to.equal(202)
    expect(core.state.operations.size).to.equal(0)
    expect([...core.store.keys()].filter((key) => key.startsWith('operation/'))).to.deep.equal([])
  })
})

describe('tasks', () => {
  const running = (more: object = {}, framework: any = info): { core: CoreHarness, stream: number, id: string } => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe(framework)
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't', [scalar('cpus', 1)], more)], 1000)
    core.spawned('t')
    return { core, stream, id }
  }
  const acknowledgeAll = (core: CoreHarness, stream: number, id: string): string[] => {
    const states: string[] = []
    for (let updates = core.takeUpdates(stream); updates.length > 0; updates = core.takeUpdates(stream)) {
      for (const status of updates) {
        states.push(status.state)
        core.acknowledge(id, status)
      }
    }
    return states
  }

  it('the identity of a process is written before it may become the command', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    const { key, containerId } = core.task('t')
    expect((core.store.get(`task/${key}`) as any).state).to.equal('TASK_STAGING')
    const { writes, effects } = core.feed({ type: 'task-spawned', key, containerId, process: { pid: 7, startTime: 'x' } })
    expect(writes.find((write) => write.key === `task/${key}`)!.value).to.deep.include({ process: { pid: 7, startTime: 'x' } })
    expect(effects.map(({ type }) => type)).to.include('release')
  })

  it('one update is in flight per task; the next waits for its acknowledgement', () => {
    const { core, stream, id } = running()
    const [starting, ...more] = core.takeUpdates(stream)
    expect([starting!.state, more.length]).to.deep.equal(['TASK_STARTING', 0])
    core.exited('t', { status: 3 })
    expect(core.takeUpdates(stream)).to.deep.equal([])
    core.acknowledge(id, starting!)
    expect(acknowledgeAll(core, stream, id)).to.deep.equal(['TASK_RUNNING', 'TASK_FAILED'])
    expect(core.state.tasks.size).to.equal(0)
    expect(core.state.completedTasks.map(({ state }) => state)).to.deep.equal(['TASK_FAILED'])
  })

  it('an update is repeated with the same uuid, and a wrong acknowledgement changes nothing', () => {
    const { core, stream, id } = running()
    const [first] = core.takeUpdates(stream)
    core.advance(9)
    expect(core.takeUpdates(stream)).to.deep.equal([])
    core.advance(1)
    expect(core.takeUpdates(stream)).to.deep.equal([first])
    expect(core.acknowledge(id, { ...first!, uuid: Buffer.alloc(16, 0x41).toString('base64') })).to.equal(202)
    expect(core.acknowledge(id, { ...first!, agent_id: { value: 'other' } })).to.equal(202)
    expect(core.takeUpdates(stream)).to.deep.equal([])
    core.acknowledge(id, first!)
    core.acknowledge(id, first!)
    expect(core.takeUpdates(stream).map(({ state }) => state)).to.deep.equal(['TASK_RUNNING'])
  })

  const endings: Array<[string, any, string, string]> = [
    ['exit 0', { status: 0 }, 'TASK_FINISHED', 'Command exited with status 0'],
    ['exit 3', { status: 3 }, 'TASK_FAILED', 'Command exited with status 3'],
    ['SIGKILL', { signal: 'SIGKILL' }, 'TASK_FAILED', 'Command terminated with signal Killed'],
    ['unknown', 'unknown', 'TASK_FAILED', 'Command ended, its exit status is unknown: the embedded master was restarted while it ran']
  ]
  for (const [what, exit, state, message] of endings) {
    it(`how a process ends decides the last update (${what})`, () => {
      const { core, stream, id } = running()
      acknowledgeAll(core, stream, id)
      core.exited('t', exit)
      const [status] = core.takeUpdates(stream)
      expect(status).to.deep.include({ state, message, source: 'SOURCE_EXECUTOR', executor_id: { value: 't' } })
      expect(status).not.to.have.property('reason')
    })
  }

  it('KILL: TASK_KILLING for those who know it, then TASK_KILLED however the process ends', () => {
    for (const knows of [true, false]) {
      const framework = knows ? info : { ...info, capabilities: info.capabilities.filter(({ type }: any) => type !== 'TASK_KILLING_STATE') }
      const { core, stream, id } = running({}, framework)
      acknowledgeAll(core, stream, id)
      core.call(id, { type: 'KILL', kill: { task_id: { value: 't' } } })
      const kills = core.effects.filter(({ type }) => type === 'kill')
      expect(kills.map((effect: any) => effect.graceMs)).to.deep.equal([3000])
      expect(acknowledgeAll(core, stream, id)).to.deep.equal(knows ? ['TASK_KILLING'] : [])
      core.exited('t', { status: 0 })
      expect(acknowledgeAll(core, stream, id)).to.deep.equal(['TASK_KILLED'])
    }
  })

  const graces: Array<[string, object, object | undefined, number]> = [
    ['of the call', { kill_policy: { grace_period: { nanoseconds: 1e9 } } }, { grace_period: { nanoseconds: 2e9 } }, 2000],
    ['of the task', { kill_policy: { grace_period: { nanoseconds: 1e9 } } }, undefined, 1000],
    ['the default', {}, undefined, 3000]
  ]
  for (const [what, task, policy, graceMs] of graces) {
    it(`the grace of a KILL is the one ${what}`, () => {
      const { core, id } = running(task)
      core.call(id, { type: 'KILL', kill: { task_id: { value: 't' }, agent_id: { value: 'agent' }, ...(policy !== undefined && { kill_policy: policy }) } })
      expect(core.effects.find(({ type }) => type === 'kill')).to.deep.include({ graceMs })
    })
  }

  it('KILL with another agent is ignored; of an unknown task it is a reconciliation', () => {
    const { core, stream, id } = running()
    core.take(stream)
    core.call(id, { type: 'KILL', kill: { task_id: { value: 't' }, agent_id: { value: 'other' } } })
    expect(core.effects.filter(({ type }) => type === 'kill' || type === 'event')).to.deep.equal([])
    core.call(id, { type: 'KILL', kill: { task_id: { value: 'none' }, agent_id: { value: 'agent' } } })
    expect(core.takeUpdates(stream)[0]).to.deep.include({ state: 'TASK_GONE', reason: 'REASON_RECONCILIATION' })
  })

  it('a task that is killed before it is spawned never runs', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    core.call(id, { type: 'KILL', kill: { task_id: { value: 't' } } })
    core.take(stream)
    core.spawned('t')
    expect(core.effects.map(({ type }) => type)).not.to.include('release')
    expect(core.effects.map(({ type }) => type)).to.include('kill')
    core.exited('t', { signal: 'SIGTERM' })
    expect(acknowledgeAll(core, stream, id)).to.deep.equal(['TASK_STARTING', 'TASK_KILLED'])
  })

  it('a launch that fails is TASK_FAILED of the agent, and frees the resources at once', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')], 1000)
    core.take(stream)
    const { key, containerId } = core.task('t')
    core.feed({ type: 'task-launch-failed', key, containerId, message: 'no such user' })
    const events = core.take(stream) as any[]
    expect(events[0].update.status).to.deep.include({ state: 'TASK_FAILED', source: 'SOURCE_AGENT', reason: 'REASON_CONTAINER_LAUNCH_FAILED', message: 'Failed to launch container: no such user' })
    expect(events[1].type).to.equal('OFFERS')
  })

  it('max_completion_time ends a task as TASK_FAILED, without TASK_KILLING', () => {
    const { core, stream, id } = running({ max_completion_time: { nanoseconds: 5e9 } })
    acknowledgeAll(core, stream, id)
    core.advance(5)
    expect(core.effects.filter(({ type }) => type === 'kill')).to.have.length(1)
    core.advance(1)
    core.exited('t', { signal: 'SIGTERM' })
    const [status] = core.takeUpdates(stream)
    expect(status).to.deep.include({ state: 'TASK_FAILED', reason: 'REASON_MAX_COMPLETION_TIME_REACHED' })
  })

  it('a report about an earlier launch of the same task id is ignored', () => {
    const { core, stream, id } = running()
    const { key } = core.task('t')
    core.take(stream)
    core.feed({ type: 'task-exited', key, containerId: 'earlier', exit: { status: 0 } })
    expect(core.task('t').state).to.equal('TASK_RUNNING')
    expect(id).to.be.a('string')
  })

  it('health changes that nobody acknowledges do not pile up', () => {
    const { core } = running()
    const { key, containerId } = core.task('t')
    for (let round = 0; round < updatesPerTaskMax * 2; round++) core.feed({ type: 'task-health', key, containerId, healthy: round % 2 === 0, kill: false })
    expect(core.task('t').updates.length).to.be.at.most(updatesPerTaskMax)
  })

  const unsupported: Array<[string, object, RegExp]> = [
    ['custom executor', { command: undefined, executor: {} }, /custom executors/],
    ['container', { container: { type: 'DOCKER' } }, /containers/],
    ['no command value', { command: {} }, /no value/],
    ['secret', { command: { value: 'x', environment: { variables: [{ name: 'A', type: 'SECRET' }] } } }, /secret/],
    ['zero byte', { command: { value: 'a\0b' } }, /zero byte/]
  ]
  for (const [what, fields, message] of unsupported) {
    it(`a task that cannot be run here is TASK_ERROR with the reason (${what})`, () => {
      const core = new CoreHarness()
      const { stream, id } = core.subscribe()
      const [offer] = core.takeOffers(stream)
      core.accept(id, [offer!], [launch(offer!, 't', [scalar('cpus', 1)], fields)])
      const [status] = core.takeUpdates(stream)
      expect(status).to.deep.include({ state: 'TASK_ERROR', reason: 'REASON_TASK_INVALID' })
      expect(status!.message).to.match(message)
    })
  }

  it('task groups are refused task by task', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    const task = (launch(offer!, 't') as any).launch.task_infos[0]
    core.accept(id, [offer!], [{ type: 'LAUNCH_GROUP', launch_group: { task_group: { tasks: [task, task] } } } as any])
    expect(core.takeUpdates(stream).map(({ state, reason }) => [state, reason])).to.deep.equal(Array(2).fill(['TASK_ERROR', 'REASON_TASK_GROUP_INVALID']))
  })

  it('two frameworks may use one task id: their sandboxes differ', () => {
    const core = new CoreHarness()
    const one = core.subscribe()
    const [offer] = core.takeOffers(one.stream)
    core.accept(one.id, [offer!], [launch(offer!, 't')])
    core.take(one.stream)
    const other = core.subscribe({ ...info, name: 'other' })
    const [second] = core.takeOffers(other.stream)
    core.accept(other.id, [second!], [launch(second!, 't')])
    expect(new Set([...core.state.tasks.values()].map(({ directory }) => directory)).size).to.equal(2)
  })

  it('there is room for a bounded number of tasks', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    const task = core.task('t')
    for (let number = 1; number < tasksMax; number++) core.state.tasks.set(`filler/${number}`, { ...task, key: `filler/${number}`, state: 'TASK_FAILED' })
    core.advance(1)
    const [second] = core.takeOffers(stream)
    core.accept(id, [second!], [launch(second!, 'one-more')])
    expect(core.takeUpdates(stream)[0]).to.deep.include({ state: 'TASK_ERROR', message: `More than ${tasksMax} tasks` })
  })
})

describe('frameworks', () => {
  it('calls: unknown, without stream id, with a wrong one, without subscription', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    expect(core.call('unknown', { type: 'REVIVE' }, 'x')).to.equal(400)
    expect(core.call(id, { type: 'REVIVE' }, 'wrong')).to.equal(400)
    expect(core.call(id, { type: 'REVIVE' })).to.equal(202)
    core.feed({ type: 'stream-closed', stream })
    expect(core.call(id, { type: 'REVIVE' }, 'any')).to.equal(403)
  })

  it('the newest subscription wins: the old stream is told and closed, pending updates go to the new one at once', () => {
    const core = new CoreHarness()
    const first = core.subscribe()
    const [offer] = core.takeOffers(first.stream)
    core.accept(first.id, [offer!], [launch(offer!, 't')], 1000)
    core.spawned('t')
    core.effects = []
    const second = core.subscribe({ ...info, id: { value: first.id } })
    expect(core.events(first.stream)).to.deep.equal([{ type: 'ERROR', error: { message: 'Framework failed over' } }])
    expect(core.effects).to.deep.include({ type: 'close-stream', stream: first.stream })
    expect(core.events(second.stream).map(({ type }) => type).slice(0, 3)).to.deep.equal(['SUBSCRIBED', 'HEARTBEAT', 'UPDATE'])
    core.feed({ type: 'stream-closed', stream: first.stream })
    expect(core.state.frameworks.get(first.id)!.stream).to.equal(second.stream)
  })

  it('one that stays away for its failover_timeout is removed, and its tasks are killed', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    core.spawned('t')
    core.feed({ type: 'stream-closed', stream })
    core.advance(99)
    expect(core.state.frameworks.has(id)).to.equal(true)
    core.effects = []
    core.advance(1)
    expect(core.state.frameworks.has(id)).to.equal(false)
    expect(core.effects.map(({ type }) => type)).to.include('kill')
    const next = core.subscribe({ ...info, id: { value: id } })
    expect(core.events(next.stream)).to.deep.equal([{ type: 'ERROR', error: { message: 'Framework has been removed' } }])
  })

  it('a removed framework\'s task holds its resources until its process is gone', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't', [scalar('cpus', 3)])])
    core.spawned('t')
    const { key, containerId } = core.task('t')
    core.call(id, { type: 'TEARDOWN' })
    core.effects = []
    const next = core.subscribe()
    expect(cpusOf(core.takeOffers(next.stream))).to.equal(1)
    core.feed({ type: 'task-exited', key, containerId, exit: { signal: 'SIGTERM' } })
    expect(cpusOf(core.takeOffers(next.stream))).to.equal(3)
    expect(core.store.has(`task/${key}`)).to.equal(false)
  })

  it('of a removed framework nothing stays in the store but its id', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [{ type: 'RESERVE', id: { value: 'op' }, reserve: { resources: [reserved(scalar('cpus', 1))] } }, launch(offer!, 'ended'), launch(offer!, 'runs')])
    core.spawned('ended')
    core.spawned('runs')
    core.exited('ended')
    const runs = core.task('runs')
    core.call(id, { type: 'TEARDOWN' })
    core.feed({ type: 'task-exited', key: runs.key, containerId: runs.containerId, exit: { signal: 'SIGTERM' } })
    expect([...core.store.keys()].filter((key) => !/^(meta|agent)/.test(key))).to.deep.equal([`completed/${id}`])
    expect(core.state.tasks.size).to.equal(0)
  })

  it('a HEARTBEAT follows SUBSCRIBED, and comes every 15 s', () => {
    const core = new CoreHarness()
    const { stream } = core.subscribe()
    const times: number[] = []
    for (let second = 0; second < 46; second++) {
      for (const event of core.take(stream)) if (event.type === 'HEARTBEAT') times.push(second)
      core.advance(1)
    }
    expect(times).to.deep.equal([0, 15, 30, 45])
  })

  it('a bounded number of removed frameworks is remembered, the oldest is forgotten first', () => {
    const core = new CoreHarness()
    const ids: string[] = []
    for (let number = 0; number < completedFrameworksMax + 3; number++) {
      const { id } = core.subscribe()
      ids.push(id)
      core.call(id, { type: 'TEARDOWN' })
    }
    expect([...core.state.completedFrameworks.keys()]).to.deep.equal(ids.slice(3))
    expect([...core.store.keys()].filter((key) => key.startsWith('completed/'))).to.have.length(completedFrameworksMax)
  })
})

describe('restart of the master', () => {
  const restart = (core: CoreHarness): CoreHarness => {
    const state = createState('master', {}, 0)
    for (const [key, value] of core.store) if (key !== 'meta') restore(state, key, JSON.stringify(value))
    const meta = core.store.get('meta') as any
    state.frameworkCount = meta.frameworkCount
    state.offerCount = state.offerCountReserved = meta.offerCountReserved
    const next = new CoreHarness(state)
    next.random.next()
    for (const [key, value] of core.store) next.store.set(key, value)
    next.feed({ type: 'recovered' })
    return next
  }

  it('frameworks, tasks, reservations, volumes and unacknowledged updates are there again', () => {
    const core = new CoreHarness()
    core.feed({ type: 'recovered' })
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    const cpus = reserved(scalar('cpus', 1))
    core.accept(id, [offer!], [
      { type: 'RESERVE', id: { value: 'op' }, reserve: { resources: [cpus, reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } },
      launch(offer!, 't', [cpus, volume(100, 'v1')])
    ])
    core.spawned('t')
    const next = restart(core)
    expect(next.effects.filter(({ type }) => type === 'adopt')).to.have.length(1)
    next.effects = []
    const again = next.subscribe({ ...info, id: { value: id } })
    const events = next.take(again.stream) as any[]
    expect(events.map(({ type }) => type)).to.deep.equal(['SUBSCRIBED', 'HEARTBEAT', 'UPDATE', 'UPDATE_OPERATION_STATUS', 'OFFERS'])
    expect(events[2].update.status.state).to.equal('TASK_STARTING')
    expect(cpusOf(events[4].offers.offers)).to.equal(3)
    expect(events[4].offers.offers[0].id.value, 'offer ids are never used twice').not.to.equal(offer!.id.value)
  })

  it('a launch that had not begun begins now; a kill under way goes on', () => {
    const core = new CoreHarness()
    core.feed({ type: 'recovered' })
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], ['staging', 'killing', 'killed'].map((name) => launch(offer!, name, [scalar('cpus', 0.5)])))
    core.spawned('killing')
    for (const name of ['killing', 'killed']) core.call(id, { type: 'KILL', kill: { task_id: { value: name } } })
    const next = restart(core)
    const types = next.effects.map((effect: any) => `${effect.type} ${effect.order?.info.task_id.value ?? ''}`.trim())
    expect(types).to.deep.equal(['launch staging', 'adopt killing', 'kill'])
    expect(next.task('killed').state).to.equal('TASK_KILLED')
  })

  it('a framework without failover_timeout has time to come back', () => {
    const core = new CoreHarness()
    core.feed({ type: 'recovered' })
    const { id } = core.subscribe({ ...info, failover_timeout: 0 })
    const next = restart(core)
    next.advance(500)
    expect(next.state.frameworks.has(id)).to.equal(true)
    next.advance(101)
    expect(next.state.frameworks.has(id)).to.equal(false)
  })

  it('new framework ids go on where the old ones ended', () => {
    const core = new CoreHarness()
    core.feed({ type: 'recovered' })
    const { id } = core.subscribe()
    core.call(id, { type: 'TEARDOWN' })
    expect(restart(core).subscribe().id).to.equal('master-0001')
  })
})

describe('operator API', () => {
  it('volumes and reservations that a framework left behind can be removed; offers are rescinded for it', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [
      { type: 'RESERVE', reserve: { resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 100))] } },
      { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } }
    ])
    core.advance(1)
    core.take(stream)
    const agent = { value: 'agent' }
    expect(core.operate({ type: 'DESTROY_VOLUMES', destroy_volumes: { agent_id: agent, volumes: [volume(100, 'v1')] } }).status).to.equal(202)
    expect(core.events(stream).map(({ type }) => type)).to.deep.equal(['RESCIND', 'OFFERS'])
    expect(core.effects.map(({ type }) => type)).to.include('destroy-volume')
    expect(core.operate({ type: 'UNRESERVE_RESOURCES', unreserve_resources: { agent_id: agent, resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 100))] } }).status).to.equal(202)
    expect(core.state.agents.get('agent')!.total.every(({ reservations }) => reservations === undefined)).to.equal(true)
    expect(core.operate({ type: 'DESTROY_VOLUMES', destroy_volumes: { agent_id: agent, volumes: [volume(100, 'v1')] } }).status, 'not there').to.equal(400)
  })

  it('what a task uses cannot be unreserved', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    const cpus = reserved(scalar('cpus', 1))
    core.accept(id, [offer!], [{ type: 'RESERVE', reserve: { resources: [cpus] } }, launch(offer!, 't', [cpus])])
    expect(core.operate({ type: 'UNRESERVE_RESOURCES', unreserve_resources: { agent_id: { value: 'agent' }, resources: [cpus] } }).status).to.equal(409)
  })

  it('stopping kills every task, rescinds the offers and makes no more', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    core.spawned('t')
    core.advance(1)
    core.effects = []
    core.feed({ type: 'stop-tasks' })
    expect(core.effects.map(({ type }) => type)).to.include('kill')
    expect(core.take(stream).map(({ type }) => type)).to.include('RESCIND')
    core.exited('t', { signal: 'SIGTERM' })
    core.advance(3)
    expect(core.takeOffers(stream)).to.deep.equal([])
  })

  it('tells what there is', () => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    core.accept(id, [offer!], [launch(offer!, 't')])
    core.spawned('t')
    const { json } = core.operate({ type: 'GET_STATE' })
    const { get_tasks: tasks, get_frameworks: frameworks, get_agents: agents } = json.get_state
    expect(tasks.tasks[0]).to.deep.include({ task_id: { value: 't' }, state: 'TASK_RUNNING', status_update_state: 'TASK_STARTING' })
    expect(frameworks.frameworks[0]).to.deep.include({ active: true, connected: true, recovered: false })
    expect(agents.agents[0].allocated_resources[0]).to.deep.include({ name: 'cpus', scalar: { value: 1 } })
    expect(core.operate({ type: 'GET_HEALTH' }).json).to.deep.equal({ type: 'GET_HEALTH', get_health: { healthy: true } })
    expect(core.operate({ type: 'GET_FLAGS' }).status).to.equal(501)
    expect(core.operate({ type: 'TEARDOWN', teardown: { framework_id: { value: id } } }).status).to.equal(200)
    expect(core.operate({ type: 'TEARDOWN', teardown: { framework_id: { value: id } } }).status).to.equal(400)
  })
})
