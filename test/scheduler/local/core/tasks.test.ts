import { expect } from 'chai'
import { tasksMax, updatesPerTaskMax } from '../../../../scheduler/local/constants.ts'
import { CoreHarness, cpusOf, info, launch } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: tasks', () => {
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
    ['SIGKILL', { signal: 'SIGKILL' }, 'TASK_FAILED', 'Command terminated with signal Killed']
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

  it('an end that nobody has seen is told by the agent', () => {
    const { core, stream, id } = running()
    acknowledgeAll(core, stream, id)
    core.exited('t', 'unknown')
    const [status] = core.takeUpdates(stream)
    expect(status).to.deep.include({ state: 'TASK_FAILED', message: 'Executor terminated', source: 'SOURCE_AGENT', reason: 'REASON_EXECUTOR_TERMINATED', executor_id: { value: 't' } })
    expect(status).not.to.have.property('container_status')
  })

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

  it('KILL of a task whose end nobody has acknowledged changes nothing: its resources stay free', () => {
    const { core, stream, id } = running()
    core.exited('t')
    const offers = core.takeOffers(stream)
    core.call(id, { type: 'KILL', kill: { task_id: { value: 't' }, agent_id: { value: 'agent' } } })
    expect(core.effects.filter(({ type }) => type === 'kill')).to.deep.equal([])
    expect(core.task('t').state).to.equal('TASK_FINISHED')
    core.decline(id, offers, 0)
    core.advance(1)
    expect(cpusOf(core.takeOffers(stream))).to.equal(4)
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
