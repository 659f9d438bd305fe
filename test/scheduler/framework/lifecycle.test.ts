import { expect } from 'chai'
import { dangersWithout, holdingsOf, isEmpty } from '../../../scheduler/framework/cluster-view.ts'
import type { CallBody, Resource, SchedulerEvent, TaskInfo } from '../../../scheduler/mesos/types.ts'
import { mapOf } from './cluster-map.ts'
import type { MapOptions } from './cluster-map.ts'
import { Script, afterwards, operationTypes, operationsOf, tasksOf, types, unreserved } from './script.ts'

const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value.split('.')[0]! : [])
const plan = (script: Script, name: string): { status: string, steps: string[] } => {
  const found = script.status().plans.find((each) => each.name === name)!
  return { status: found.status, steps: found.phases.flatMap(({ name, steps }) => steps.map((step) => `${name}/${step.name} ${step.status}`)) }
}
const cluster = (script: Script, nodes: string[], options: MapOptions = {}): Promise<CallBody[]> => script.send({ type: 'cluster', map: mapOf(nodes, options) })

async function launchOn (script: Script, agent: string): Promise<{ task: TaskInfo, held: Resource[] }> {
  const accepted = (await script.offers(script.offer(agent, unreserved()))).find(({ type }) => type === 'ACCEPT')
  const held = afterwards(operationsOf(accepted))
  const [task] = (await script.offers(script.offer(agent, held))).flatMap(tasksOf)
  await script.update(task!, 'TASK_RUNNING')
  return { task: task!, held }
}

describe('the cluster without some of its nodes', () => {
  const nodes = ['n1', 'n2', 'n3', 'n4']

  it('a majority of each group, and whole partitions, are wanted', () => {
    const map = mapOf(nodes, { data: [['n1', 'n2', 'n3']], metadata: [['n1', 'n2', 'n4']] })
    expect(dangersWithout(map, ['n1'])).to.deep.equal([])
    expect(dangersWithout(map, ['n1', 'n2'])).to.deep.equal(['the manager would have 1 of 3 members, 2 are needed', 'metadata partition 1.m.0 would have 1 of 3 members, 2 are needed'])
    expect(dangersWithout(mapOf(nodes, { data: [['n1', 'n4']] }), ['n1', 'n4'])).to.include('data partition 1.d.0 would have no serving replica')
  })

  it('what is away already counts', () => {
    expect(dangersWithout(mapOf(nodes, { down: ['n2'] }), ['n1'])).to.deep.equal(['the manager would have 1 of 3 members, 2 are needed'])
    expect(dangersWithout(mapOf(nodes, { down: ['n2'], managers: ['n3'], data: [['n1', 'n2', 'n4']] }), ['n1'])[0]).to.contain('not whole')
    expect(dangersWithout(mapOf(nodes, { managers: ['n3'], data: [['n1', 'n2', 'n4']], states: { n4: 'syncing' } }), ['n1'])).to.deep.equal(['data partition 1.d.0 is not whole: the replica on n4 is syncing'])
  })

  it('a group that is broken without our doing is no danger of taking away another node', () => {
    expect(dangersWithout(mapOf(nodes, { down: ['n1', 'n2'], data: [['n1', 'n2']] }), ['n4'])).to.deep.equal([])
  })

  it('a node is empty when neither data nor votes are on it', () => {
    const map = mapOf(nodes, { data: [['n1', 'n2']], metadata: [['n1']], managers: ['n3'] })
    expect(holdingsOf(map, 'n1')).to.deep.equal({ data: 1, metadata: 1, manager: false })
    expect(['n1', 'n2', 'n3', 'n4'].filter((id) => isEmpty(holdingsOf(map, id)))).to.deep.equal(['n4'])
  })
})

describe('framework core: nodes that are away', () => {
  it('TASK_UNREACHABLE waits the time of the policy, across a crash, then another node stands in; the volume is left alone', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_UNREACHABLE', 'REASON_AGENT_REMOVED')
    await script.advance(300_000)
    await script.crash()
    expect(script.states()).to.deep.equal(['node-1 unreachable'])
    await script.advance(301_000)
    expect(script.states()).to.deep.equal(['node-1 unreachable', 'node-2 wanted'])
    expect(script.node('node-1')).to.include({ missing: true })
    expect(script.node('node-1').resourceId).to.not.equal(null)
    expect(script.status().garbage).to.deep.equal([])
    expect(plan(script, 'recovery').steps).to.deep.equal(['nodes/node-1 waiting'])
  })

  it('when it returns before its stand-in has run, the stand-in goes at once', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_UNREACHABLE')
    await script.advance(601_000)
    await script.offers(script.offer('a2', unreserved()))
    expect(script.states()).to.deep.equal(['node-1 unreachable', 'node-2 reserving'])
    await script.tell(task, 'TASK_RUNNING', 'REASON_AGENT_REREGISTERED')
    expect(script.states()).to.deep.equal(['node-1 running'])
    expect(script.status().garbage).to.have.length(1)
  })

  it('when it returns after its stand-in has run, the stand-in is drained, and its volume freed only when it is empty', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_UNREACHABLE')
    await script.advance(601_000)
    const standIn = await launchOn(script, 'a2')
    await script.tell(task, 'TASK_RUNNING', 'REASON_AGENT_REREGISTERED')
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 draining'])
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1', 'node-2']], managers: ['node-1'] })
    expect(script.requests.at(-1)).to.deep.equal({ type: 'drain', node: 'node-2', drain: true })
    expect(script.node('node-2').reason).to.contain('1 data replica to be moved')
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1']], managers: ['node-1'], draining: ['node-2'] })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 killing'])
    await script.update(standIn.task, 'TASK_KILLED')
    await script.advance(10_000)
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1']], managers: ['node-1'], down: ['node-2'] })
    expect(operationTypes(await script.offers(script.offer('a2', standIn.held)))).to.deep.equal([['DESTROY', 'UNRESERVE']])
  })

  it('a node whose volume is not offered any more is replaced, too; one that fails again and again is not', async () => {
    const script = await Script.begin(1)
    let { task, held } = (await script.bringUp(1))[0]!
    for (let failure = 0; failure < 20; failure++) {
      await script.update(task, 'TASK_FAILED')
      await script.advance(61_000)
      task = (await script.offers(script.offer('a1', held))).flatMap(tasksOf)[0]!
    }
    expect(script.states()).to.deep.equal(['node-1 launching'])
    await script.update(task, 'TASK_FAILED')
    await script.advance(700_000)
    expect(script.states()).to.deep.equal(['node-1 unreachable', 'node-2 wanted'])
    expect(types(await script.offers(script.offer('a1', held)))).to.include('ACCEPT')
    expect(script.states()).to.deep.equal(['node-1 launching'])
  })

  it('data of a node that is away is moved, and its return takes that back', async () => {
    const script = await Script.begin(2)
    const [first] = await script.bringUp(2)
    await script.tell(first!.task, 'TASK_UNREACHABLE')
    await script.advance(601_000)
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1', 'node-2']], down: ['node-1'] })
    expect(script.requests).to.deep.include({ type: 'drain', node: 'node-1', drain: true })
    await script.tell(first!.task, 'TASK_RUNNING')
    script.requests.length = 0
    await script.advance(20_000)
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1', 'node-2']], draining: ['node-1'] })
    expect(script.requests).to.deep.equal([{ type: 'drain', node: 'node-1', drain: false }])
    await script.advance(60_000)
    script.requests.length = 0
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1', 'node-2']] })
    await script.advance(20_000)
    // What somebody else drains is none of our business.
    await cluster(script, ['node-1', 'node-2'], { data: [['node-1', 'node-2']], draining: ['node-1'] })
    expect(script.requests).to.deep.equal([])
  })

  it('while the recovery is paused nobody is replaced and nothing relaunched', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    await script.send({ type: 'pause', plan: 'recovery', paused: true })
    await script.update(task, 'TASK_FAILED')
    await script.advance(3600_000)
    expect(types(await script.offers(script.offer('a1', held)))).to.deep.equal(['DECLINE'])
    expect(script.states()).to.deep.equal(['node-1 placed'])
    expect(plan(script, 'recovery')).to.deep.equal({ status: 'paused', steps: ['nodes/node-1 waiting'] })
    await script.crash()
    expect(plan(script, 'recovery').status).to.equal('paused')
    await script.send({ type: 'pause', plan: 'recovery', paused: false })
    expect((await script.offers(script.offer('a1', held))).flatMap(tasksOf)).to.have.length(1)
  })
})

describe('framework core: GONE_BY_OPERATOR', () => {
  it('data is moved elsewhere; the record goes when nothing of the cluster is on the node any more', async () => {
    const script = await Script.begin(3)
    const nodes = await script.bringUp(3)
    await script.tell(nodes[2]!.task, 'TASK_GONE_BY_OPERATOR')
    await launchOn(script, 'a4')
    const ids = ['node-1', 'node-2', 'node-3', 'node-4']
    await cluster(script, ids, { data: [['node-1', 'node-3']], down: ['node-3'], managers: ['node-1', 'node-2', 'node-4'] })
    expect(script.requests.at(-1)).to.deep.equal({ type: 'drain', node: 'node-3', drain: true })
    expect(plan(script, 'drain').steps).to.deep.equal(['node-3/move its data working'])
    await cluster(script, ids, { data: [['node-1', 'node-4']], down: ['node-3'], managers: ['node-1', 'node-2', 'node-4'] })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 running', 'node-4 running'])
    expect(script.status().garbage).to.deep.equal([])
  })
})

describe('framework core: scaling down', () => {
  it('drains, verifies, destroys, unreserves; nothing is destroyed while the cluster says nothing', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    await script.send({ type: 'setNodes', nodes: 4 })
    const fourth = await launchOn(script, 'a4')
    await script.send({ type: 'setNodes', nodes: 3 })
    expect(killed(await script.advance(600_000))).to.deep.equal([])
    const ids = ['node-1', 'node-2', 'node-3', 'node-4']
    // Empty, but not known to be draining: something could still come.
    await cluster(script, ids)
    expect(script.node('node-4').state).to.equal('draining')
    await cluster(script, ids, { draining: ['node-4'], metadata: [['node-1', 'node-2', 'node-4']] })
    expect(script.node('node-4').reason).to.contain('1 metadata replica to be moved')
    expect(killed(await cluster(script, ids, { draining: ['node-4'] }))).to.deep.equal(['node-4'])
    await script.crash()
    await script.update(fourth.task, 'TASK_KILLED')
    const offered = async (): Promise<string[][]> => operationTypes(await script.offers(script.offer('a4', fourth.held)))
    // What was seen before its end, and soon after it, may be older than what has come to it.
    await cluster(script, ids, { down: ['node-4'] })
    expect(await offered()).to.deep.equal([])
    await script.advance(10_000)
    expect(await offered()).to.deep.equal([])
    await cluster(script, ids, { draining: ['node-4'] })
    expect(await offered()).to.deep.equal([])
    await cluster(script, ids, { down: ['node-4'] })
    expect(await offered()).to.deep.equal([['DESTROY', 'UNRESERVE']])
    expect(script.states()).to.have.length(3)
  })

  it('what has come to a node between the last look and its end is not destroyed: it runs again until that is elsewhere, too', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    await script.send({ type: 'setNodes', nodes: 4 })
    const fourth = await launchOn(script, 'a4')
    await script.send({ type: 'setNodes', nodes: 3 })
    const ids = ['node-1', 'node-2', 'node-3', 'node-4']
    await cluster(script, ids)
    expect(killed(await cluster(script, ids, { draining: ['node-4'] }))).to.deep.equal(['node-4'])
    await script.update(fourth.task, 'TASK_KILLED')
    await script.advance(11_000)
    await cluster(script, ids, { down: ['node-4'], data: [['node-1', 'node-4']] })
    expect(script.node('node-4').reason).to.contain('1 data replica after all')
    const calls = await script.offers(script.offer('a4', fourth.held))
    expect(operationTypes(calls)).to.deep.equal([['LAUNCH']])
    expect(script.node('node-4')).to.include({ attempts: 0 })
    await script.update(tasksOf(calls.find(({ type }) => type === 'ACCEPT')!)[0]!, 'TASK_RUNNING')
    expect(script.states()).to.include('node-4 draining')
  })

  it('a node that was to end and stays after all gets the configuration of an update that did not wait for it', async () => {
    const script = await Script.begin(3)
    const [first, second, third] = await script.bringUp(3)
    await script.send({ type: 'setNodes', nodes: 4 })
    const fourth = await launchOn(script, 'a4')
    await script.send({ type: 'setNodes', nodes: 3 })
    const ids = ['node-1', 'node-2', 'node-3', 'node-4']
    await cluster(script, ids)
    await cluster(script, ids, { draining: ['node-4'] })
    // Its agent does not hear of the KILL.
    await script.tell(fourth.task, 'TASK_UNREACHABLE')
    await script.send({ type: 'update', configuration: { killGraceMs: 1 }, force: true })
    const incarnations: Record<string, string> = {}
    for (const { agent, task, held } of [first!, second!, third!]) {
      await script.update(task, 'TASK_KILLED')
      const [next] = (await script.offers(script.offer(agent, held))).flatMap(tasksOf)
      await script.update(next!, 'TASK_RUNNING')
      incarnations[task.name] = 'second'
      await cluster(script, ids, { draining: ['node-4'], incarnations })
    }
    expect(plan(script, 'update').status).to.equal('complete')
    await script.send({ type: 'setNodes', nodes: 4 })
    await script.update(fourth.task, 'TASK_RUNNING')
    expect(killed(await script.advance(5_000))).to.deep.equal(['node-4'])
    await script.update(fourth.task, 'TASK_KILLED')
    await script.offers(script.offer('a4', fourth.held))
    expect(script.node('node-4')).to.include({ outdated: false, state: 'launching' })
  })

  it('an operator may replace a node: its data moves, another one comes', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    await script.send({ type: 'replaceNode', id: 'node-2' })
    expect(script.states()).to.deep.equal(['node-1 running', 'node-2 draining', 'node-3 running', 'node-4 wanted'])
  })

  it('a node that is replaced before any ran leaves its place in the first manager group to another', async () => {
    const script = await Script.begin(1)
    await script.send({ type: 'replaceNode', id: 'node-1' })
    expect(script.status().managers).to.deep.equal(['node-2'])
    await script.bringUp(1)
    expect(script.states()).to.deep.equal(['node-2 running'])
    await script.send({ type: 'replaceNode', id: 'node-2' })
    expect(script.status().managers, 'there is a cluster now').to.deep.equal(['node-2'])
  })
})

describe('framework core: update', () => {
  const racks = ['r1', 'r1', 'r2', 'r2']
  const ids = ['node-1', 'node-2', 'node-3', 'node-4']
  const command = { nodeCommand: { arguments: ['/bin/node', 'new.js'] } }
  const whole: MapOptions = { data: [['node-1', 'node-3'], ['node-2', 'node-4']], managers: ['node-1', 'node-3', 'node-4'] }

  async function fourOnTwoRacks (): Promise<{ script: Script, held: Resource[][], tasks: TaskInfo[] }> {
    const script = await Script.begin(4)
    await script.subscribe()
    const attributes = (index: number): object => ({ attributes: [{ name: 'rack', type: 'TEXT', text: { value: racks[index] } }] })
    const held: Resource[][] = []
    // One after another, so that the order of the racks is ours.
    for (let index = 0; index < 4; index++) {
      const calls = await script.offers(script.offer(`a${index + 1}`, unreserved(), attributes(index)))
      held.push(afterwards(operationsOf(calls.find(({ type }) => type === 'ACCEPT'))))
    }
    const tasks = (await script.offers(...held.map((resources, index) => script.offer(`a${index + 1}`, resources, attributes(index))))).flatMap(tasksOf)
    for (const task of tasks) await script.update(task, 'TASK_RUNNING')
    return { script, held, tasks }
  }

  async function relaunch (script: Script, index: number, held: Resource[][], tasks: TaskInfo[]): Promise<TaskInfo> {
    await script.update(tasks[index]!, 'TASK_KILLED')
    const [task] = (await script.offers(script.offer(`a${index + 1}`, held[index]!, { attributes: [{ name: 'rack', type: 'TEXT', text: { value: racks[index]! } }] }))).flatMap(tasksOf)
    await script.update(task!, 'TASK_RUNNING')
    return task!
  }

  it('restarts one fault domain after another, each when every partition is whole and its nodes are back, on the same volumes', async () => {
    const { script, held, tasks } = await fourOnTwoRacks()
    await cluster(script, ids, whole)
    expect(killed(await script.send({ type: 'update', configuration: command }))).to.deep.equal(['node-1', 'node-2'])
    expect(plan(script, 'update').steps).to.deep.equal(['default/default/r1/node-1 working', 'default/default/r1/node-2 working', 'default/default/r2/node-3 waiting', 'default/default/r2/node-4 waiting'])
    const relaunched = await relaunch(script, 0, held, tasks)
    expect(relaunched.command!.arguments).to.deep.equal(['/bin/node', 'new.js'])
    expect(relaunched.resources).to.deep.equal(held[0])
    await relaunch(script, 1, held, tasks)
    // Both tasks run, but the cluster still tells of their old processes.
    expect(killed(await cluster(script, ids, whole))).to.deep.equal([])
    const back = { incarnations: { 'node-1': 'second', 'node-2': 'second' } }
    expect(killed(await cluster(script, ids, { ...whole, ...back, states: { 'node-1': 'syncing' } }))).to.deep.equal([])
    expect(script.status().plans.find(({ name }) => name === 'update')!.phases[1]!.steps[0]!.reason).to.contain('without node-3: data partition 1.d.0 would have no serving replica')
    expect(killed(await cluster(script, ids, { ...whole, ...back, managers: ['node-1', 'node-2', 'node-3'] }))).to.deep.equal(['node-3', 'node-4'])
    await relaunch(script, 2, held, tasks)
    await relaunch(script, 3, held, tasks)
    await cluster(script, ids, { ...whole, incarnations: Object.fromEntries(ids.map((id) => [id, 'third'])) })
    expect(plan(script, 'update')).to.deep.equal({ status: 'complete', steps: [] })
    expect(script.status().nodes.every(({ outdated, attempts }) => !outdated && attempts === 0)).to.equal(true)
  })

  it('one node after another where the cluster cannot do without the whole domain', async () => {
    const { script } = await fourOnTwoRacks()
    await cluster(script, ids, { ...whole, data: [['node-1', 'node-2']] })
    expect(killed(await script.send({ type: 'update', configuration: command }))).to.deep.equal(['node-1'])
  })

  it('never while a partition would be unavailable: the reason is told', async () => {
    const { script } = await fourOnTwoRacks()
    await cluster(script, ids, { ...whole, data: [['node-1']] })
    expect(killed(await script.send({ type: 'update', configuration: command }))).to.deep.equal([])
    expect(script.status().plans.find(({ name }) => name === 'update')!.phases[0]!.steps[0]!.reason).to.contain('without node-1: data partition 1.d.0 would have no serving replica')
    // An operator may insist: still one after another.
    expect(killed(await script.send({ type: 'update', configuration: command, force: true }))).to.deep.equal(['node-1'])
  })

  it('never while the cluster says nothing, and not on old news', async () => {
    const { script } = await fourOnTwoRacks()
    expect(killed(await script.send({ type: 'update', configuration: command }))).to.deep.equal([])
    await script.send({ type: 'pause', plan: 'update', paused: true })
    await cluster(script, ids, whole)
    await script.advance(60_000)
    expect(killed(await script.send({ type: 'pause', plan: 'update', paused: false }))).to.deep.equal([])
    expect(killed(await cluster(script, ids, whole))).to.deep.equal(['node-1', 'node-2'])
  })

  it('goes on after a crash of the scheduler at the same point, and restarts nobody twice', async () => {
    const { script, held, tasks } = await fourOnTwoRacks()
    await cluster(script, ids, whole)
    await script.send({ type: 'update', configuration: command })
    // Whether others lead by now is not known before the cluster was heard.
    expect(killed(await script.crash())).to.deep.equal([])
    expect(killed(await cluster(script, ids, whole))).to.deep.equal(['node-1', 'node-2'])
    await relaunch(script, 0, held, tasks)
    await script.crash()
    await relaunch(script, 1, held, tasks)
    await script.crash()
    expect(killed(await cluster(script, ids, whole))).to.deep.equal([])
    expect(killed(await cluster(script, ids, { ...whole, managers: ['node-1'], incarnations: { 'node-1': 'x', 'node-2': 'x' } }))).to.deep.equal(['node-3', 'node-4'])
  })

  it('stops at a node that does not come up with the new configuration', async () => {
    const { script, held, tasks } = await fourOnTwoRacks()
    await cluster(script, ids, { ...whole, data: [['node-1', 'node-2']] })
    await script.send({ type: 'update', configuration: command })
    let task = await relaunch(script, 0, held, tasks)
    for (let failure = 0; failure < 4; failure++) {
      await script.update(task, 'TASK_FAILED', { message: 'no such option' })
      await script.advance(60_000)
      await cluster(script, ids, whole)
      task = (await script.offers(script.offer('a1', held[0]!))).flatMap(tasksOf)[0]!
    }
    expect(script.status().nodes.slice(1).map(({ launches }) => launches)).to.deep.equal([1, 1, 1])
    expect(script.status().plans.find(({ name }) => name === 'update')!.phases[1]!.steps[0]!.reason).to.contain('node-1 does not come up')
  })

  it('without a change it restarts all; a change of the flags makes nodes outdated but restarts nobody', async () => {
    const { script, tasks } = await fourOnTwoRacks()
    await cluster(script, ids, whole)
    expect(killed(await script.send({ type: 'update' }))).to.deep.equal(['node-1', 'node-2'])
    const other = await fourOnTwoRacks()
    other.script.settings.configuration = { ...other.script.settings.configuration, killGraceMs: 1 }
    expect(killed(await other.script.crash())).to.deep.equal([])
    expect(other.script.status().nodes.every(({ outdated }) => outdated)).to.equal(true)
    expect(killed(await cluster(other.script, ids, whole))).to.deep.equal([])
    expect(killed(await other.script.send({ type: 'update' }))).to.deep.equal(['node-1', 'node-2'])
    expect(tasks).to.have.length(4)
  })

  it('what an update has set outlives a restart with the same flags', async () => {
    const { script } = await fourOnTwoRacks()
    await script.send({ type: 'update', configuration: command })
    const { version } = script.status()
    await script.crash()
    expect(script.status().version).to.equal(version)
  })
})

describe('framework core: maintenance', () => {
  const inverse = (...agents: string[]): SchedulerEvent => ({
    type: 'INVERSE_OFFERS',
    inverse_offers: { inverse_offers: agents.map((agent) => ({ id: { value: `i-${agent}` }, framework_id: { value: 'f-1' }, agent_id: { value: agent }, unavailability: { start: { nanoseconds: 1e18 } } })) }
  }) as SchedulerEvent
  const answers = (calls: CallBody[]): string[] => types(calls).filter((type) => type.endsWith('INVERSE_OFFERS'))

  it('accepts when every partition keeps its quorum without the machine, else declines with the reason', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    const ids = ['node-1', 'node-2', 'node-3']
    await cluster(script, ids, { data: [['node-1', 'node-2']] })
    expect(types(await script.event(inverse('a1')))).to.include('ACCEPT_INVERSE_OFFERS')
    await cluster(script, ids, { data: [['node-1']] })
    expect(types(await script.event(inverse('a1')))).to.include('DECLINE_INVERSE_OFFERS')
    expect(script.status().maintenance).to.deep.equal([
      { agentId: 'a1', hosts: ['host-a1'], startsAtSeconds: 1e9, accepted: false, reason: 'data partition 1.d.0 would have no serving replica' }
    ])
    expect(types(await script.event(inverse('a9')))).to.include('ACCEPT_INVERSE_OFFERS')
  })

  it('machines that together would cost a quorum are not all let go, asked for at once or one after another', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    const ids = ['node-1', 'node-2', 'node-3']
    await cluster(script, ids)
    // What is refused is said at once, what is granted when others lead.
    expect(answers(await script.event(inverse('a1', 'a2')))).to.deep.equal(['DECLINE_INVERSE_OFFERS', 'ACCEPT_INVERSE_OFFERS'])
    expect(script.status().maintenance.map(({ agentId, accepted }) => `${agentId} ${accepted}`).sort()).to.deep.equal(['a1 true', 'a2 false'])
    expect(script.status().maintenance.find(({ agentId }) => agentId === 'a2')!.reason).to.equal('host-a1 may go already: the manager would have 1 of 3 members, 2 are needed')
    expect(answers(await script.event(inverse('a3')))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(answers(await script.event(inverse('a1'))), 'the one that may go is asked again').to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    // The schedule is changed.
    await script.event({ type: 'RESCIND_INVERSE_OFFER', rescind_inverse_offer: { inverse_offer_id: { value: 'i-a1' } } })
    expect(answers(await script.event(inverse('a2')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    expect(answers(await script.event(inverse('a3')))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    // It is not asked for any more: it is back in service.
    await script.advance(121_000)
    await cluster(script, ids)
    expect(answers(await script.event(inverse('a3')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
  })

  it('a machine that was told that it may go counts as gone for a minute, though it was told otherwise since: it may not have heard that', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    const ids = ['node-1', 'node-2', 'node-3']
    await cluster(script, ids)
    expect(answers(await script.event(inverse('a1')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    await cluster(script, ids, { data: [['node-1']] })
    expect(answers(await script.event(inverse('a1')))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(script.status().maintenance.map(({ accepted }) => accepted)).to.deep.equal([false])
    await cluster(script, ids)
    expect(answers(await script.event(inverse('a2')))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    await script.advance(61_000)
    await cluster(script, ids)
    expect(answers(await script.event(inverse('a2')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
  })

  it('a machine that may go is not refused for one that is only about to, whichever is asked for first', async () => {
    for (const order of [['a1', 'a2'], ['a2', 'a1']]) {
      const script = await Script.begin(3)
      await script.bringUp(3)
      const ids = ['node-1', 'node-2', 'node-3']
      await cluster(script, ids)
      expect(answers(await script.event(inverse('a1')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
      await script.advance(31_000) // what the cluster has said is too old
      for (const agent of order) expect(answers(await script.event(inverse(agent)))).to.deep.equal([])
      await cluster(script, ids)
      expect(script.status().maintenance.map(({ agentId, accepted }) => `${agentId} ${accepted}`).sort()).to.deep.equal(['a1 true', 'a2 false'])
    }
  })

  it('an update and a maintenance do not take two machines at once', async () => {
    const script = await Script.begin(3)
    await script.bringUp(3)
    const ids = ['node-1', 'node-2', 'node-3']
    await cluster(script, ids)
    await script.event(inverse('a3'))
    expect(killed(await script.send({ type: 'update', configuration: { killGraceMs: 1 } }))).to.deep.equal([])
    expect(script.status().plans.find(({ name }) => name === 'update')!.phases[0]!.steps[0]!.reason).to.contain('without node-1, node-3 (maintenance): the manager would have 1 of 3 members')
    await script.advance(121_000)
    expect(killed(await cluster(script, ids))).to.deep.equal(['node-1'])
    expect(answers(await script.event(inverse('a3')))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
  })

  it('an offer with unavailability is no place for a new node, but good enough for the volume that is there', async () => {
    const script = await Script.begin(1)
    const { task, held } = (await script.bringUp(1))[0]!
    await script.update(task, 'TASK_FAILED')
    const unavailability = { start: { nanoseconds: 1e18 } }
    expect((await script.offers(script.offer('a1', held, { unavailability }))).flatMap(tasksOf)).to.have.length(1)
    await script.send({ type: 'setNodes', nodes: 2 })
    expect(types(await script.offers(script.offer('a2', unreserved(), { unavailability })))).to.include('DECLINE')
    expect(script.node('node-2').lastEvaluation!.outcome.reason).to.contain('taken out of service at 2001-09-09')
  })
})

describe('framework core: uninstall', () => {
  it('ends every task, destroys every volume, unreserves, waits for more to turn up, tears down; all of it across crashes', async () => {
    const script = await Script.begin(2)
    const nodes = await script.bringUp(2)
    expect(killed(await script.send({ type: 'uninstall' }))).to.deep.equal(['node-1', 'node-2'])
    for (const { task } of nodes) await script.update(task, 'TASK_KILLED')
    await script.crash()
    expect(script.status().goal).to.equal('uninstalling')
    const calls = await script.offers(...nodes.map(({ agent, held }) => script.offer(agent, held)))
    expect(operationTypes(calls)).to.deep.equal([['DESTROY', 'UNRESERVE'], ['DESTROY', 'UNRESERVE']])
    for (const call of calls) {
      const unreserve = operationsOf(call)[1]!
      await script.event({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: unreserve.id!, state: 'OPERATION_FINISHED' } } })
    }
    expect(types(await script.advance(10_000))).to.not.include('TEARDOWN')
    // A volume with our label that nobody knew of.
    const stray: Resource[] = nodes[0]!.held.map((resource) => ({
      ...resource, reservations: [{ ...resource.reservations![0]!, labels: { labels: resource.reservations![0]!.labels!.labels.map((label) => label.key === 'resource_id' ? { ...label, value: 'unknown' } : label) } }]
    }))
    const freed = await script.offers(script.offer('a7', stray))
    expect(operationTypes(freed)).to.deep.equal([['DESTROY', 'UNRESERVE']])
    expect(types(await script.advance(14_000))).to.not.include('TEARDOWN')
    await script.send({ type: 'reserved', resourceIds: [], agentIds: ['a7'] })
    expect(types(await script.advance(16_000))).to.include('TEARDOWN')
    expect(script.status().goal).to.equal('uninstalled')
    expect(plan(script, 'uninstall').status).to.equal('complete')
    expect(types(await script.crash())).to.include('TEARDOWN')
  })

  it('is over at once when the master lists nothing twice, but not before all agents can have come back to a new master', async () => {
    const script = await Script.begin(1)
    const { task, agent, held } = (await script.bringUp(1))[0]!
    const nothing = { type: 'reserved' as const, resourceIds: [], agentIds: [agent] }
    await script.send({ type: 'uninstall' })
    await script.update(task, 'TASK_KILLED')
    await script.offers(script.offer(agent, held))
    await script.crash()
    for (let look = 0; look < 3; look++) expect(types(await script.send(nothing))).to.not.include('TEARDOWN')
    await script.advance(14_000)
    await script.send({ ...nothing, resourceIds: ['another'] })
    await script.advance(2_000)
    expect(types(await script.send(nothing))).to.not.include('TEARDOWN')
    await script.send({ ...nothing, resourceIds: ['another'] })
    expect(types(await script.send(nothing))).to.not.include('TEARDOWN')
    expect(types(await script.send(nothing))).to.include('TEARDOWN')
  })

  it('waits for what an agent that is away still holds', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_UNREACHABLE')
    await script.send({ type: 'uninstall' })
    expect(types(await script.advance(3600_000))).to.not.include('TEARDOWN')
    expect(plan(script, 'uninstall').steps).to.include('uninstall/end all tasks working')
  })

  it('is not taken back by a start', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    await script.send({ type: 'uninstall' })
    await script.send({ type: 'setGoal', goal: 'running' })
    expect(script.status().goal).to.equal('uninstalling')
  })
})

describe('framework core: plans', () => {
  it('deploy shows the manager group and the other nodes; paused, no place is taken', async () => {
    const script = await Script.begin(3)
    await script.send({ type: 'setNodes', nodes: 4 })
    await script.send({ type: 'pause', plan: 'deploy', paused: true })
    await script.subscribe()
    expect(types(await script.offers(script.offer('a1', unreserved())))).to.include('DECLINE')
    expect(plan(script, 'deploy')).to.deep.equal({ status: 'paused', steps: ['manager group/node-1 pending', 'manager group/node-2 pending', 'manager group/node-3 pending', 'nodes/node-4 pending'] })
    await script.send({ type: 'pause', plan: 'deploy', paused: false })
    await script.offers(script.offer('a1', unreserved()))
    expect(plan(script, 'deploy').steps[0]).to.equal('manager group/node-1 working')
  })

  it('a step in a long back-off is tried at once when that is asked for', async () => {
    const script = await Script.begin(1)
    const { task } = (await script.bringUp(1))[0]!
    await script.tell(task, 'TASK_ERROR')
    expect(script.node('node-1').retryInMs).to.be.greaterThan(20_000)
    await script.send({ type: 'retry', id: 'node-1' })
    expect(script.node('node-1')).to.include({ retryInMs: null, attempts: 0 })
    expect(() => script.core.step({ type: 'retry', id: 'node-9' }, script.nowMs)).to.throw().with.property('code', 'ATOLL_UNKNOWN_NODE')
  })
})
