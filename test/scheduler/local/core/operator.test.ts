import { expect } from 'chai'
import { CoreHarness, cpusOf, launch, reserved, volume } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: operator API', () => {
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
    expect(core.events(stream).map(({ type }) => type)).to.deep.equal(['RESCIND'])
    expect(core.effects.map(({ type }) => type)).to.include('destroy-volume')
    expect(core.operate({ type: 'UNRESERVE_RESOURCES', unreserve_resources: { agent_id: agent, resources: [reserved(scalar('cpus', 1)), reserved(scalar('disk', 100))] } }).status).to.equal(202)
    expect(core.state.agents.get('agent')!.total.every(({ reservations }) => reservations === undefined)).to.equal(true)
    expect(core.operate({ type: 'DESTROY_VOLUMES', destroy_volumes: { agent_id: agent, volumes: [volume(100, 'v1')] } }).status, 'not there').to.equal(400)
    core.take(stream)
    core.advance(1)
    expect(cpusOf(core.takeOffers(stream)), 'in the next round').to.equal(4)
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
