import { expect } from 'chai'
import { FrameworkCore } from '../../../scheduler/framework/core.ts'
import { loadState } from '../../../scheduler/framework/state.ts'
import type { CallBody, Resource } from '../../../scheduler/mesos/types.ts'
import { cpuMs } from '../../cpu-time.ts'
import { mapOf } from './cluster-map.ts'
import { Script, afterwards, operationTypes, operationsOf, specOf, tasksOf, types, unreserved } from './script.ts'

const accept = (calls: CallBody[]): CallBody => calls.find(({ type }) => type === 'ACCEPT')!
const declined = (calls: CallBody[]): number[] => calls.flatMap((call) => call.type === 'DECLINE' ? call.decline.filters?.refuse_seconds ?? 5 : [])
const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value : [])
const records = (script: Script, key: string): Record<string, unknown> | undefined => {
  const value = script.kv.get(Buffer.from(key))
  return value === undefined ? undefined : JSON.parse(Buffer.from(value).toString())
}

describe('framework core: bring-up', () => {
  it('its framework id is durable with the subscription, and is sent with the next one in FrameworkInfo', async () => {
    const script = await Script.begin(1)
    expect(script.core.frameworkInfo).to.not.have.property('id')
    await script.subscribe('f-77')
    expect(records(script, 'framework')).to.include({ frameworkId: 'f-77' })
    await script.load()
    expect(script.core.frameworkInfo).to.deep.include({ id: { value: 'f-77' }, checkpoint: true, roles: ['atoll'], failover_timeout: 3600 })
  })

  it('reserves with labels, creates a volume, and has written the place down before it does', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', unreserved()))
    expect(operationTypes(calls)).to.deep.equal([['RESERVE', 'CREATE']])
    const [reserve, create] = operationsOf(accept(calls))
    const record = records(script, 'node/node-1')!
    expect(record).to.include({ placement: 'reserving', agentId: 'a1', host: 'host-a1', rpcPort: 31_000, raftPort: 31_001 })
    const resources = (reserve as { reserve: { resources: Resource[] } }).reserve.resources
    expect(resources.map(({ name, scalar, ranges }) => [name, scalar?.value ?? ranges])).to.deep.equal([
      ['cpus', 1], ['mem', 512], ['disk', 1024], ['ports', { range: [{ begin: 31_000, end: 31_001 }] }]
    ])
    for (const resource of resources) {
      expect(resource.allocation_info).to.deep.equal({ role: 'atoll' })
      expect(resource.reservations![0]).to.deep.include({ type: 'DYNAMIC', role: 'atoll', principal: 'atoll' })
      expect(resource.reservations![0]!.labels!.labels).to.deep.include({ key: 'resource_id', value: record.resourceId })
    }
    const volume = (create as { create: { volumes: Resource[] } }).create.volumes[0]!
    expect(volume.disk).to.deep.equal({
      persistence: { id: record.persistenceId, principal: 'atoll' }, volume: { mode: 'RW', container_path: 'data' }
    })
  })

  it('launches no member of the manager group before every member has a proven place', async () => {
    const script = await Script.begin(3)
    await script.subscribe()
    const first = await script.offers(script.offer('a1', unreserved()), script.offer('a2', unreserved()))
    const held = first.filter(({ type }) => type === 'ACCEPT').map((call) => afterwards(operationsOf(call)))
    const second = await script.offers(script.offer('a1', held[0]!), script.offer('a2', held[1]!))
    expect(types(second)).to.deep.equal(['DECLINE', 'DECLINE'])
    expect(script.states()).to.deep.equal(['node-1 placed', 'node-2 placed', 'node-3 wanted'])
    expect(script.node('node-1').reason).to.contain('node-3 has none')
    const third = await script.offers(script.offer('a3', unreserved()))
    held.push(afterwards(operationsOf(accept(third))))
    await script.advance(1000)
    const calls = await script.offers(...held.map((resources, index) => script.offer(`a${index + 1}`, resources)))
    const tasks = calls.flatMap(tasksOf)
    expect(tasks.map(({ name }) => name)).to.deep.equal(['node-1', 'node-2', 'node-3'])
    for (const task of tasks) expect(specOf(task)['managers']).to.have.length(3)
  })

  it('the last proof brings a REVIVE, so that what was declined is offered again', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', unreserved()))
    const create = operationsOf(accept(calls))[1]!
    await script.advance(500)
    const answers = await script.event({
      type: 'UPDATE_OPERATION_STATUS',
      update_operation_status: { status: { operation_id: create.id!, state: 'OPERATION_FINISHED', uuid: { value: 'AAAA' }, agent_id: { value: 'a1' } } }
    })
    expect(script.states()).to.deep.equal(['node-1 placed'])
    expect(answers).to.deep.equal([
      { type: 'ACKNOWLEDGE_OPERATION_STATUS', acknowledge_operation_status: { agent_id: { value: 'a1' }, uuid: 'AAAA', operation_id: create.id } },
      { type: 'REVIVE', revive: { roles: ['atoll'] } }
    ])
  })

  it('places several nodes from one offer in one ACCEPT, with different ports, if that many are allowed on an agent', async () => {
    const script = await Script.begin(3, { nodesPerAgentMax: 3 })
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', unreserved()))
    expect(operationTypes(calls)).to.deep.equal([['RESERVE', 'CREATE', 'RESERVE', 'CREATE', 'RESERVE', 'CREATE']])
    const ports = script.status().nodes.flatMap(({ rpcPort, raftPort }) => [rpcPort, raftPort])
    expect(new Set(ports).size).to.equal(6)
    const launched = await script.offers(script.offer('a1', afterwards(operationsOf(accept(calls)))))
    expect(operationTypes(launched)).to.deep.equal([['LAUNCH', 'LAUNCH', 'LAUNCH']])
  })

  it('spreads over zones and racks before it fills one', async () => {
    const script = await Script.begin(2, { nodesPerAgentMax: 2 })
    await script.subscribe()
    const rack = (value: string): object => ({ attributes: [{ name: 'rack', type: 'TEXT', text: { value } }] })
    await script.offers(script.offer('a1', unreserved(), rack('r1')), script.offer('a2', unreserved(), rack('r1')), script.offer('a3', unreserved(), rack('r2')))
    expect(script.status().nodes.map(({ agentId }) => agentId)).to.deep.equal(['a1', 'a3'])
    expect(script.node('node-2').domain).to.deep.equal(['default', 'default', 'r2', 'host-a3'])
  })

  it('the task has its resources as offered, the command, the kill policy and labels', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    expect(task.resources).to.deep.equal(held)
    expect(task.command).to.deep.include({ shell: false, value: '/bin/node', arguments: ['/bin/node', 'main.js'] })
    expect(task.kill_policy).to.deep.equal({ grace_period: { nanoseconds: 1e10 } })
    expect(script.states()).to.deep.equal(['node-1 running'])
  })

  it('suppresses when nothing is wanted, declines what comes anyway for long', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const calls = await script.offers(script.offer('a1', unreserved()))
    const launched = await script.offers(script.offer('a1', afterwards(operationsOf(accept(calls)))))
    expect(types(launched)).to.deep.equal(['ACCEPT', 'SUPPRESS'])
    expect(declined(await script.offers(script.offer('a2', unreserved())))).to.deep.equal([3600])
  })

  it('tells for each rule why an offer does not do', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    await script.offers(script.offer('a1', unreserved({ cpus: 0.5, disk: 100, ports: [31_000, 31_000] })))
    const { lastEvaluation } = script.node('node-1')
    const failed = lastEvaluation!.outcome.children!.filter(({ pass }) => !pass)
    expect(failed.map(({ source, reason }) => `${source}: ${reason}`)).to.deep.equal([
      'cpus: needs 1, 0.5 unreserved are offered',
      'disk: needs 1024 MB, 100 MB unreserved are offered',
      'ports: needs 2 ports, fewer are offered'
    ])
    expect(lastEvaluation).to.include({ hostname: 'host-a1', nodeId: 'node-1' })
    await script.offers(script.offer('a2', unreserved(), { allocation_info: { role: 'other' }, unavailability: { start: { nanoseconds: 1 } } }))
    expect(script.node('node-1').lastEvaluation!.outcome.reason).to.contain('role: needs role atoll').and.to.contain('maintenance')
  })

  it('hundreds of nodes look at hundreds of agents without stopping the process for long', async () => {
    const script = await Script.begin(3)
    await script.subscribe()
    await script.send({ type: 'setNodes', nodes: 400 })
    const offers = Array.from({ length: 400 }, (_, index) => script.offer(`a${index}`, unreserved(index % 2 === 0 ? {} : { cpus: 0.1 })))
    const start = cpuMs()
    const calls = await script.offers(...offers)
    expect(cpuMs() - start).to.be.lessThan(3000)
    expect(types(calls).filter((type) => type === 'ACCEPT')).to.have.length(200)
    expect(script.node('node-400')).to.deep.include({ state: 'wanted', reason: 'no offer fits' })
    expect(script.node('node-400').lastEvaluation).to.include({ nodeId: 'node-400' })
  })

  it('keeps the newest evaluations only', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    for (let index = 0; index < 300; index++) await script.offers(script.offer(`a${index}`, unreserved({ cpus: 0.1 })))
    expect(script.status().evaluations).to.have.length(200)
    expect(script.status().evaluations.at(-1)!.agentId).to.equal('a299')
  })
})

describe('framework core: reservations and volumes', () => {
  it('creates the volume again where only the reservation is offered', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const operations = operationsOf(accept(await script.offers(script.offer('a1', unreserved()))))
    const reserved = (operations[0] as { reserve: { resources: Resource[] } }).reserve.resources
    const again = await script.offers(script.offer('a1', reserved))
    expect(operationTypes(again)).to.deep.equal([['CREATE']])
    expect((operationsOf(accept(again))[0] as { create: unknown }).create).to.deep.equal((operations[1] as { create: unknown }).create)
    expect(script.states()).to.deep.equal(['node-1 creating'])
  })

  it('a RESERVE that failed leads to another place at once; what is reserved after all is freed', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const operations = operationsOf(accept(await script.offers(script.offer('a1', unreserved()))))
    await script.event({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: operations[0]!.id!, state: 'OPERATION_ERROR', message: 'no' } } })
    expect(script.states()).to.deep.equal(['node-1 wanted'])
    expect(script.node('node-1').reason).to.equal('RESERVE failed: no')
    const calls = await script.offers(script.offer('a2', unreserved()), script.offer('a1', afterwards(operations)))
    expect(operationTypes(calls).sort()).to.deep.equal([['DESTROY', 'UNRESERVE'], ['RESERVE', 'CREATE']])
    const freed = calls.map(operationsOf).find((each) => each[0]!.type === 'DESTROY')!
    expect((freed[1] as { unreserve: { resources: Resource[] } }).unreserve.resources.filter(({ disk }) => disk !== undefined)).to.deep.equal([])
    const resourceId = script.status().garbage[0]
    await script.event({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: freed[1]!.id!, state: 'OPERATION_FINISHED' } } })
    expect(script.status().garbage).to.not.include(resourceId)
  })

  it('without any feedback the place is given up after a minute', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    await script.offers(script.offer('a1', unreserved()))
    await script.advance(59_000)
    expect(script.states()).to.deep.equal(['node-1 reserving'])
    await script.advance(2_000)
    expect(script.states()).to.deep.equal(['node-1 wanted'])
    expect(script.status().garbage).to.have.length(1)
  })

  it('leaves alone what carries another cluster\'s label, and volumes of its own label that it does not know', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    const reserved = (clusterId: string): Resource[] => [{
      name: 'disk',
      type: 'SCALAR',
      scalar: { value: 10 },
      reservations: [{
        type: 'DYNAMIC', role: 'atoll', principal: 'atoll', labels: { labels: [{ key: 'resource_id', value: 'unknown' }, { key: 'atoll_cluster', value: clusterId }] }
      }],
      disk: { persistence: { id: 'precious' } }
    }]
    const calls = await script.offers(script.offer('a7', reserved('somebody')), script.offer('a8', reserved(script.status().clusterId)))
    expect(types(calls)).to.deep.equal(['DECLINE', 'DECLINE'])
    expect(script.status().strays).to.deep.equal(['precious on host-a8'])
  })

  it('a volume is known by its persistence id: an agent with a new id gets the task', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    await script.update(task, 'TASK_LOST', { reason: 'REASON_AGENT_REMOVED' })
    const [relaunched] = (await script.offers(script.offer('a1-reborn', held))).flatMap(tasksOf)
    expect(relaunched!.agent_id).to.deep.equal({ value: 'a1-reborn' })
    expect(specOf(relaunched!)).to.include({ host: 'host-a1-reborn', rpcPort: 31_000, raftPort: 31_001 })
  })

  it('does not launch on a part of what was reserved', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    await script.update(task, 'TASK_FAILED')
    const calls = await script.offers(script.offer('a1', held.filter(({ name }) => name !== 'ports')))
    expect(declined(calls)).to.deep.equal([1])
    const both = await script.offers(script.offer('a1', held.filter(({ name }) => name !== 'ports')), script.offer('a1', held.filter(({ name }) => name === 'ports')))
    expect(operationTypes(both)).to.deep.equal([['LAUNCH']])
    expect((accept(both) as { accept: { offer_ids: unknown[] } }).accept.offer_ids).to.have.length(2)
  })
})

describe('framework core: tasks', () => {
  it('relaunches on the same volume and ports under a new task id', async () => {
    const script = await Script.begin(3)
    const [first, second] = await script.bringUp(3)
    await script.advance(1000)
    const calls = await script.update(second!.task, 'TASK_FAILED', { message: 'Command terminated with signal Killed' })
    expect(types(calls)).to.deep.equal(['ACKNOWLEDGE', 'REVIVE'])
    expect(script.node('node-2').reason).to.contain('terminated with signal Killed')
    expect(declined(await script.offers(script.offer('a9', unreserved())))).to.deep.equal([3600])
    const [relaunched] = (await script.offers(script.offer('a2', second!.held))).flatMap(tasksOf)
    expect(relaunched!.task_id.value).to.match(/^node-2\.2\./)
    expect(relaunched!.resources).to.deep.equal(second!.held)
    expect(specOf(relaunched!)).to.deep.equal(specOf(second!.task))
    expect(specOf(first!.task)['managers']).to.deep.equal(specOf(relaunched!)['managers'])
  })

  it('an update is acknowledged after its record is durable, again when it is repeated, and counted once', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    const uuid = Buffer.from('0123456789abcdef').toString('base64')
    const acknowledge = { type: 'ACKNOWLEDGE', acknowledge: { agent_id: { value: 'a1' }, task_id: task.task_id, uuid } }
    const first = script.core.step({ type: 'notice', notice: { type: 'event', event: { type: 'UPDATE', update: { status: { task_id: task.task_id, agent_id: task.agent_id, state: 'TASK_FAILED', uuid } } } } }, script.nowMs)
    expect(first.calls[0]).to.deep.equal(acknowledge)
    expect(first.writes.map(({ key }) => Buffer.from(key).toString())).to.include('node/node-1')
    expect(await script.update(task, 'TASK_FAILED', { uuid })).to.deep.equal([acknowledge])
    expect(script.node('node-1').attempts).to.equal(1)
  })

  it('backs off from a crash loop, durably, and anew after it ran for a while', async () => {
    const script = await Script.begin(1)
    let { task, held } = (await script.bringUp(1))[0]!
    const delays: number[] = []
    for (let failure = 1; failure <= 12; failure++) {
      await script.update(task, 'TASK_FAILED')
      const delayMs = script.node('node-1').retryInMs ?? 0
      delays.push(delayMs)
      if (delayMs > 0) {
        expect(script.states()).to.deep.equal(['node-1 backoff'])
        expect(types(await script.offers(script.offer('a1', held)))).to.deep.equal(['DECLINE'])
        expect(types(await script.advance(delayMs))).to.include('REVIVE')
      }
      task = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)[0]!
      await script.update(task, 'TASK_RUNNING')
    }
    expect(delays[0]).to.equal(0)
    delays.slice(1).forEach((delayMs, index) => { expect(delayMs).to.be.within(Math.min(60_000, 1000 * 2 ** index) / 2, Math.min(60_000, 1000 * 2 ** index)) })
    await script.update(task, 'TASK_FAILED')
    await script.crash()
    expect(script.node('node-1')).to.include({ attempts: 13, state: 'backoff' })
    await script.advance(60_000)
    task = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)[0]!
    await script.update(task, 'TASK_RUNNING')
    await script.advance(120_000)
    expect(script.node('node-1').attempts).to.equal(0)
  })

  it('TASK_ERROR, which another attempt will hardly mend, goes to the longest back-off at once', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_ERROR', 'REASON_TASK_INVALID')
    expect(script.node('node-1').retryInMs).to.be.within(30_000, 60_000)
  })

  it('an unreachable task is waited for, and is what it was when its agent returns', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_UNREACHABLE', 'REASON_SLAVE_REMOVED')
    expect(script.states()).to.deep.equal(['node-1 unreachable'])
    const calls = [...await script.advance(599_000), ...await script.offers(script.offer('a2', unreserved()))]
    expect(calls.filter(({ type }) => type === 'ACCEPT' || type === 'KILL')).to.deep.equal([])
    await script.tell(task, 'TASK_RUNNING', 'REASON_AGENT_REREGISTERED')
    // The agent then tells its old news again.
    await script.update(task, 'TASK_STARTING')
    expect(script.states()).to.deep.equal(['node-1 running'])
    expect(script.node('node-1').task!.id).to.equal(task.task_id.value)
  })

  it('the offer of its volume proves that a task has ended, though nobody said so', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    const [relaunched] = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)
    expect(relaunched!.task_id.value).to.match(/^node-1\.2\./)
    // The end of the first comes late and means nothing to the second.
    await script.update(task, 'TASK_FAILED')
    expect(script.node('node-1').task!.id).to.equal(relaunched!.task_id.value)
  })

  it('TASK_GONE_BY_OPERATOR: the volume is lost, another node takes the place, the old id is never used again', async () => {
    const script = await Script.begin(3)
    const nodes = await script.bringUp(3)
    await script.tell(nodes[2]!.task, 'TASK_GONE_BY_OPERATOR', 'REASON_AGENT_REMOVED_BY_OPERATOR')
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 running', 'node-3 gone', 'node-4 wanted'])
    const held = afterwards(operationsOf(accept(await script.offers(script.offer('a4', unreserved())))))
    const [task] = (await script.offers(script.offer('a4', held))).flatMap(tasksOf)
    expect(specOf(task!)).to.include({ nodeId: 'node-4' })
    expect((specOf(task!)['managers'] as Array<{ id: string }>).map(({ id }) => id)).to.deep.equal(['node-1', 'node-2', 'node-3'])
    await script.send({ type: 'releaseNode', id: 'node-3' })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 running', 'node-4 launching'])
  })

  it('a planned drain of the agent is not a failure', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.update(task, 'TASK_KILLING', { reason: 'REASON_AGENT_DRAINING' })
    await script.update(task, 'TASK_KILLED', { reason: 'REASON_AGENT_DRAINING' })
    expect(script.node('node-1')).to.include({ attempts: 0, retryInMs: null, state: 'placed' })
  })

  it('a task that it does not know is killed; one of a launch after its copy of the store is adopted', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    const stranger = { task_id: { value: 'node-9.1.abc' }, agent_id: { value: 'a5' } }
    expect(killed(await script.tell(stranger, 'TASK_RUNNING'))).to.deep.equal(['node-9.1.abc'])
    expect(killed(await script.tell(stranger, 'TASK_FAILED'))).to.deep.equal([])
    expect(killed(await script.tell({ ...task, task_id: { value: 'node-1.5.abc' } }, 'TASK_RUNNING'))).to.deep.equal(['node-1.5.abc'])
    await script.update(task, 'TASK_FAILED')
    expect(killed(await script.tell(task, 'TASK_RUNNING'))).to.deep.equal([task.task_id.value])
    // On another volume than the node's: two copies of one node must not run.
    expect(killed(await script.tell({ ...task, task_id: { value: 'node-1.5.abc.another' } }, 'TASK_RUNNING'))).to.deep.equal(['node-1.5.abc.another'])
    const id = `node-1.5.abc.${script.node('node-1').resourceId}`
    expect(killed(await script.tell({ ...task, task_id: { value: id } }, 'TASK_RUNNING'))).to.deep.equal([])
    expect(script.node('node-1')).to.deep.include({ state: 'running', launches: 5, task: { id, agentId: 'a1', state: 'TASK_RUNNING' } })
  })

  it('a task, or a volume, of a node that its copy of the records lacks is adopted; no new place is taken before that', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    const { clusterId } = script.status()
    script.core = new FrameworkCore({ random: script.random }, { state: Object.assign(await loadState(script.kv, script.random, 1), {}), settings: script.settings, nowMs: script.nowMs })
    await script.kv.batch([{ type: 'put', key: Buffer.from('framework'), value: Buffer.from(JSON.stringify({ ...records(script, 'framework'), nodes: 3, restored: true })) }], { sync: true })
    await script.load()
    await script.send({ type: 'setNodes', nodes: 3 })
    await script.subscribe()
    expect(types(await script.offers(script.offer('a9', unreserved())))).to.deep.equal(['DECLINE'])
    const running = { task_id: { value: 'node-2.4.abc.r-2' }, agent_id: { value: 'a2' } }
    expect(killed(await script.tell(running, 'TASK_RUNNING'))).to.deep.equal([])
    const label = (key: string, value: string): object => ({ key, value })
    const reservations = [{ type: 'DYNAMIC' as const, role: 'atoll', principal: 'atoll', labels: { labels: [label('resource_id', 'r-7'), label('atoll_cluster', clusterId), label('atoll_node', 'node-7')] as never } }]
    const held: Resource[] = unreserved({ cpus: 1, mem: 512, disk: 1024, ports: [31_500, 31_501] }).map((resource) =>
      ({ ...resource, reservations, ...(resource.name === 'disk' && { disk: { persistence: { id: 'node-7.r-7' }, volume: { mode: 'RW' as const, container_path: 'data' } } }) }))
    const [task] = (await script.offers(script.offer('a7', held))).flatMap(tasksOf)
    expect(specOf(task!)).to.include({ nodeId: 'node-7', host: 'host-a7', rpcPort: 31_500, raftPort: 31_501, capacityBytes: 1024 * 1024 * 1024 })
    expect(script.states()).to.include.members(['node-2 running', 'node-7 launching'])
    await script.advance(16_000)
    await script.send({ type: 'setNodes', nodes: 5 })
    // No id is used that anybody may know.
    expect(script.states().at(-1)).to.match(/^node-([89]|\d\d)/)
  })

  it('a launch that nobody heard of is asked for, and tried again when the master does not know it', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const held = afterwards(operationsOf(accept(await script.offers(script.offer('a1', unreserved())))))
    const [task] = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)
    const asked = (await script.advance(31_000)).filter((call) => call.type === 'RECONCILE')
    expect(asked.at(-1)).to.deep.equal({ type: 'RECONCILE', reconcile: { tasks: [{ task_id: task!.task_id, agent_id: { value: 'a1' } }] } })
    await script.tell(task!, 'TASK_GONE')
    expect((await script.offers(script.offer('a1', held))).flatMap(tasksOf)).to.have.length(1)
  })
})

describe('framework core: subscriptions', () => {
  it('another start has the same id, reconciles explicitly with agent ids, then implicitly, and launches nothing', async () => {
    const script = await Script.begin(3)
    const nodes = await script.bringUp(3)
    const calls = await script.crash()
    expect(types(calls)).to.deep.equal(['RECONCILE', 'SUPPRESS'])
    const asked = calls[0]?.type === 'RECONCILE' ? calls[0].reconcile.tasks : []
    expect(asked.map(({ agent_id: id }) => id?.value)).to.deep.equal(['a1', 'a2', 'a3'])
    for (const { task } of nodes.slice(0, 2)) expect(types(await script.tell(task, 'TASK_RUNNING'))).to.deep.equal([])
    // Silence about the third means that it is not known yet: asked again, ever more rarely.
    const repeated = (await script.advance(200_000)).filter((call) => call.type === 'RECONCILE')
    expect(repeated.length).to.be.within(6, 9)
    for (const call of repeated) expect(call.type === 'RECONCILE' && call.reconcile.tasks.map(({ task_id: id }) => id)).to.deep.equal([nodes[2]!.task.task_id])
    const last = await script.tell(nodes[2]!.task, 'TASK_RUNNING')
    expect(last).to.deep.equal([{ type: 'RECONCILE', reconcile: { tasks: [] } }])
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 running', 'node-3 running'])
    expect((await script.advance(16 * 60_000)).filter(({ type }) => type === 'RECONCILE').length).to.be.greaterThan(0)
  })

  it('TASK_UNKNOWN after a master restart is not the end: the task turns up again', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.crash()
    await script.tell(task, 'TASK_UNKNOWN')
    expect(script.states()).to.deep.equal(['node-1 unreachable'])
    await script.tell(task, 'TASK_RUNNING', 'REASON_AGENT_REREGISTERED')
    expect(script.states()).to.deep.equal(['node-1 running'])
  })

  it('says nothing to a master while there is none, and tells why in the status', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    await script.send({ type: 'notice', notice: { type: 'disconnected', code: 'ATOLL_UNREACHABLE', message: 'refused', retryInMs: 500 } })
    expect(script.status()).to.deep.include({ connected: false, master: null, problem: { code: 'ATOLL_UNREACHABLE', message: 'refused', final: false } })
    expect(await script.advance(3600_000)).to.deep.equal([])
    await script.send({ type: 'notice', notice: { type: 'stopped', code: 'ATOLL_MESOS_FAILED_OVER', message: 'Framework failed over' } })
    expect(script.status().problem).to.deep.include({ code: 'ATOLL_MESOS_FAILED_OVER', final: true })
  })

  it('gives the offers of a refused ACCEPT back', async () => {
    const script = await Script.begin(1)
    await script.subscribe()
    const call = accept(await script.offers(script.offer('a1', unreserved())))
    const calls = await script.send({ type: 'notice', notice: { type: 'refused', call, code: 'ATOLL_MESOS_REFUSED', message: 'no' } })
    expect(calls[0]).to.deep.equal({ type: 'DECLINE', decline: { offer_ids: [{ value: 'o-1' }] } })
  })

  it('after its id was removed it can go on under a new one, on the old volumes', async () => {
    const script = await Script.begin(1)
    const { held } = (await script.bringUp(1))[0]!
    await script.send({ type: 'forgetFrameworkId' })
    expect(script.core.frameworkInfo).to.not.have.property('id')
    await script.subscribe('f-2')
    expect((await script.offers(script.offer('a1', held))).flatMap(tasksOf)).to.have.length(1)
    expect(records(script, 'framework')).to.include({ frameworkId: 'f-2' })
  })

  it('lets no machine go while the cluster does not say how it is, and says so after a while', async () => {
    const script = await Script.begin(2)
    await script.bringUp(2)
    const inverse = { type: 'INVERSE_OFFERS' as const, inverse_offers: { inverse_offers: [{ id: { value: 'i-1' }, framework_id: { value: 'f-1' }, agent_id: { value: 'a1' }, unavailability: { start: { nanoseconds: 1 } } }] } }
    expect(types(await script.event(inverse))).to.deep.equal([])
    expect(types(await script.advance(29_000)).filter((type) => type.includes('INVERSE'))).to.deep.equal([])
    expect(types(await script.advance(1_000))).to.include('DECLINE_INVERSE_OFFERS')
    expect(script.status().maintenance[0]).to.include({ accepted: false, reason: 'the storage cluster does not say how it is' })
    expect(types(await script.event(inverse))).to.deep.equal([])
    expect(types(await script.send({ type: 'cluster', map: mapOf(['node-1', 'node-2'], { managers: ['node-2'], yielding: ['node-1'] }) }))).to.include('ACCEPT_INVERSE_OFFERS')
  })
})

describe('framework core: growing, shrinking, stopping', () => {
  it('grows by new ids; the manager group stays', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    const calls = await script.send({ type: 'setNodes', nodes: 3 })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 wanted', 'node-3 wanted'])
    expect(types([...calls, ...await script.advance(300)])).to.include('REVIVE')
    expect(script.status().managers).to.deep.equal(['node-1'])
  })

  it('a surplus node that has run is drained, runs on until it is released, then frees everything', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    await script.send({ type: 'setNodes', nodes: 2 })
    const held = afterwards(operationsOf(accept(await script.offers(script.offer('a2', unreserved())))))
    const [task] = (await script.offers(script.offer('a2', held))).flatMap(tasksOf)
    await script.update(task!, 'TASK_RUNNING')
    expect(killed(await script.send({ type: 'setNodes', nodes: 1 }))).to.deep.equal([])
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 draining'])
    await script.send({ type: 'setNodes', nodes: 2 })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 running'])
    await script.send({ type: 'setNodes', nodes: 1 })
    expect(killed(await script.send({ type: 'releaseNode', id: 'node-2' }))).to.deep.equal([task!.task_id.value])
    await script.update(task!, 'TASK_KILLED')
    expect(script.states()).to.deep.equal(['node-1 running'])
    expect(records(script, 'node/node-2')).to.equal(undefined)
    expect(operationTypes(await script.offers(script.offer('a2', held)))).to.deep.equal([['DESTROY', 'UNRESERVE']])
  })

  it('a surplus node that never ran goes at once', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    await script.send({ type: 'setNodes', nodes: 2 })
    const held = afterwards(operationsOf(accept(await script.offers(script.offer('a2', unreserved())))))
    await script.send({ type: 'setNodes', nodes: 1 })
    expect(script.states()).to.deep.equal(['node-1 running'])
    expect(operationTypes(await script.offers(script.offer('a2', held)))).to.deep.equal([['DESTROY', 'UNRESERVE']])
  })

  it('a released node that is still wanted is replaced by another id', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    await script.send({ type: 'releaseNode', id: 'node-1' })
    expect(script.states()).to.deep.equal(['node-1 killing', 'node-2 wanted'])
  })

  for (const nodes of [0, -1, 1.5, 2, 1001, NaN]) {
    it(`refuses to run ${nodes} nodes with a manager group of three, and changes nothing`, async () => {
      const script = await Script.begin(3)
      expect(() => script.core.step({ type: 'setNodes', nodes }, script.nowMs)).to.throw().with.property('code', 'ATOLL_INVALID')
      expect(script.status()).to.include({ nodesWanted: 3 })
    })
  }

  it('stopping kills every task until it has ended, keeps the volumes, and is durable', async () => {
    const script = await Script.begin(2)
    const nodes = await script.bringUp(2)
    const ids = nodes.map(({ task }) => task.task_id.value)
    expect(killed(await script.send({ type: 'setGoal', goal: 'stopped' }))).to.deep.equal(ids)
    await script.update(nodes[0]!.task, 'TASK_KILLED')
    expect(script.states()).to.deep.equal(['node-1 stopped', 'node-2 killing'])
    // A KILL is forgotten by an agent that is away.
    expect(killed(await script.advance(5_000))).to.deep.equal([ids[1]])
    expect(killed(await script.crash())).to.deep.equal([ids[1]])
    await script.update(nodes[1]!.task, 'TASK_KILLED')
    expect(script.core.tasks).to.deep.equal([])
    expect(declined(await script.offers(...nodes.map(({ agent, held }) => script.offer(agent, held))))).to.deep.equal([3600, 3600])
    await script.send({ type: 'setGoal', goal: 'running' })
    expect((await script.offers(...nodes.map(({ agent, held }) => script.offer(agent, held)))).flatMap(tasksOf)).to.have.length(2)
  })

  it('what failed before it was stopped is tried at once when it is started again', async () => {
    const script = await Script.begin(1)
    const [node] = await script.bringUp(1)
    for (let launch = 0, task = node!.task; launch < 5; launch++) {
      await script.update(task, 'TASK_FAILED')
      await script.advance(60_000)
      task = (await script.offers(script.offer(node!.agent, node!.held))).flatMap(tasksOf)[0]!
    }
    await script.send({ type: 'setGoal', goal: 'stopped' })
    await script.update({ ...node!.task, task_id: { value: script.node('node-1').task!.id } }, 'TASK_KILLED')
    await script.crash()
    await script.send({ type: 'setGoal', goal: 'running' })
    expect(script.node('node-1')).to.include({ attempts: 0, state: 'placed' })
    expect((await script.offers(script.offer(node!.agent, node!.held))).flatMap(tasksOf)).to.have.length(1)
  })
})
