import { expect } from 'chai'
import type { CallBody, Operation, Resource, TaskInfo } from '../../../scheduler/mesos/types.ts'
import { mapOf } from './cluster-map.ts'
import { Harness } from './harness.ts'
import { Script, afterwards, operationTypes, operationsOf, tasksOf, types, unreserved } from './script.ts'

const amountOf = (resources: Resource[] | undefined, name: string): number => (resources ?? []).filter((each) => each.name === name).reduce((sum, { scalar }) => sum + scalar!.value, 0)
const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value.split('.')[0]! : [])
const reserved = (calls: CallBody[]): Resource[] => calls.flatMap((call) => operationsOf(call)).flatMap((operation) => operation.type === 'RESERVE' ? operation.reserve.resources : [])
const rejected = (promise: Promise<unknown>): Promise<{ code: string, message: string, details: { hint?: string } }> => promise.then(() => { throw new Error('it was taken') }, (error) => error)

describe('framework core: nodes get another size', () => {
  let script: Script
  let task: TaskInfo
  let held: Resource[]
  const ids = ['node-1', 'node-2', 'node-3']

  beforeEach(async () => {
    script = await Script.begin(3)
    const nodes = await script.bringUp(3)
    void ({ task, held } = nodes[0]!)
    await script.send({ type: 'cluster', map: mapOf(ids) })
  })

  const plan = () => script.status().plans.find(({ name }) => name === 'update')!
  const update = (sizes: { cpus?: number, memMb?: number, diskMb?: number }) => script.send({ type: 'update', sizes })
  async function more (...resources: Resource[]): Promise<CallBody[]> { return script.offers(script.offer('a1', resources)) }

  it('what a node is to have more is reserved under its label while it runs; then it is restarted, and launched on all of it', async () => {
    const calls = await update({ cpus: 2, memMb: 1024 })
    expect(killed(calls)).to.deep.equal([])
    expect(types([...calls, ...await script.advance(1_000)])).to.include('REVIVE')
    expect(plan().phases[0]!.steps[0]!.reason).to.contain('node-1 needs 1 cpus, 512 MB of memory more on host-a1')
    const spare = reserved(await more(...unreserved()))
    expect([amountOf(spare, 'cpus'), amountOf(spare, 'mem'), amountOf(spare, 'disk')]).to.deep.equal([1, 512, 0])
    expect(spare[0]!.reservations).to.deep.equal(held[0]!.reservations)
    expect(killed(await more(...spare))).to.deep.equal(['node-1'])
    await script.update(task, 'TASK_KILLED')
    const launched = await more(...held, ...spare)
    expect(operationTypes(launched)).to.deep.equal([['LAUNCH']])
    const [next] = launched.flatMap(tasksOf)
    expect([amountOf(next!.resources, 'cpus'), amountOf(next!.resources, 'mem')]).to.deep.equal([2, 1024])
    expect(script.node('node-1').outdated).to.equal(false)
    expect(script.node('node-2').outdated).to.equal(true)
  })

  it('a node is not ended while its agent has no room for more; the reason is told, and the others go on', async () => {
    await update({ cpus: 2 })
    expect(types(await more(...unreserved({ cpus: 0.5 })))).to.include('DECLINE')
    expect(script.node('node-1').reason).to.equal('is to have 1 cpus more, which host-a1 does not have free')
    const spare = reserved(await script.offers(script.offer('a2', unreserved())))
    expect(killed(await script.offers(script.offer('a2', spare)))).to.deep.equal(['node-2'])
  })

  it('what a node is not to have any more is given back with its next launch', async () => {
    expect(killed(await update({ cpus: 0.5, memMb: 256 }))).to.deep.equal(['node-1'])
    await script.update(task, 'TASK_KILLED')
    const launched = await more(...held)
    expect(operationTypes(launched)).to.deep.equal([['UNRESERVE', 'LAUNCH']])
    const [less] = launched.flatMap(operationsOf) as [Extract<Operation, { type: 'UNRESERVE' }>]
    expect(less.unreserve.resources.map(({ name, scalar }) => [name, scalar!.value])).to.deep.equal([['cpus', 0.5], ['mem', 256]])
    expect(launched.flatMap(tasksOf)[0]!.resources.map(({ name, scalar }) => [name, scalar?.value])).to.have.deep.members([['cpus', 0.5], ['mem', 256], ['ports', undefined], ['disk', 1024]])
  })

  it('what was reserved for more, and is not wanted after all, is given back while the node runs', async () => {
    await update({ cpus: 2 })
    const spare = reserved(await more(...unreserved()))
    await update({ cpus: 1 })
    expect(operationTypes(await more(...spare))).to.deep.equal([['UNRESERVE']])
    expect(script.node('node-1').outdated).to.equal(false)
  })

  it('a volume grows between two tasks: the addition is reserved first, the task comes with the offer of the larger volume', async () => {
    await update({ diskMb: 3000 })
    const spare = reserved(await more(...unreserved()))
    expect(spare.map(({ name, scalar }) => [name, scalar!.value])).to.deep.equal([['disk', 1976]])
    await more(...spare)
    await script.update(task, 'TASK_KILLED')
    const calls = await more(...held, ...spare)
    const accepts = calls.flatMap((call) => call.type === 'ACCEPT' ? call.accept.filters : [])
    const [grow] = calls.flatMap(operationsOf) as [Extract<Operation, { type: 'GROW_VOLUME' }>]
    expect(grow.type).to.equal('GROW_VOLUME')
    expect(accepts, 'the grown volume is not to be waited for as long as what was declined').to.deep.include({ refuse_seconds: 1 })
    expect([grow.grow_volume.volume.disk!.persistence!.id, grow.grow_volume.addition.scalar!.value]).to.deep.equal([script.node('node-1').persistenceId, 1976])
    const grown = held.map((resource) => resource.disk?.persistence === undefined ? resource : { ...resource, scalar: { value: 3000 } })
    const [next] = (await more(...grown)).flatMap(tasksOf)
    expect(JSON.parse(next!.command!.environment!.variables!.find(({ name }) => name === 'ATOLL_NODE')!.value!)).to.include({ capacityBytes: 3000 * 1024 * 1024 })
    expect(script.node('node-1')).to.include({ outdated: false }).and.have.deep.property('disk', { type: 'root', sizeMb: 3000 })
  })

  it('a master that does not grow volumes leaves the node on the one that it has, the addition is given back, and the reason told', async () => {
    await update({ diskMb: 3000 })
    const spare = reserved(await more(...unreserved()))
    await more(...spare)
    await script.update(task, 'TASK_KILLED')
    const [grow] = (await more(...held, ...spare)).flatMap(operationsOf)
    await script.event({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: grow!.id!, state: 'OPERATION_ERROR', message: 'not supported' } } })
    expect(operationTypes(await more(...held, ...spare))).to.deep.equal([['UNRESERVE', 'LAUNCH']])
    expect(script.node('node-1')).to.include({ outdated: false })
    expect(script.node('node-1').reason).to.contain('its volume did not become 3000 MB: not supported')
    await script.crash()
    expect(script.node('node-1').outdated).to.equal(false)
  })

  it('refuses what volumes cannot become, with what helps, and changes nothing', async () => {
    const error = await rejected(update({ diskMb: 512, cpus: 2 }))
    expect(error).to.include({ code: 'ATOLL_VOLUME_SIZE', message: 'volumes cannot shrink: that of node-1 has 1024 MB' })
    expect(error.details.hint).to.contain('atoll scheduler replace node-1')
    expect((await rejected(update({ cpus: -1 }))).code).to.equal('ATOLL_INVALID')
    expect(script.status().nodes.every(({ outdated }) => !outdated)).to.equal(true)
  })

  it('other sizes in the flags make nodes outdated and restart nobody; another --disk is of new places', async () => {
    Object.assign(script.settings, { resources: { cpus: 2, memMb: 512, diskMb: 4096 } })
    await script.crash()
    await script.send({ type: 'cluster', map: mapOf(ids) })
    expect(script.status().nodes.map(({ outdated }) => outdated)).to.deep.equal([true, true, true])
    expect(plan().phases[0]!.steps[0]!.reason).to.equal('not begun: runs when it is asked for')
    const spare = reserved(await script.send({ type: 'update' }).then(() => more(...unreserved())))
    expect(spare.map(({ name, scalar }) => [name, scalar!.value])).to.deep.equal([['cpus', 1]])
  })

  it('a node that is being emptied is left as it is; when it stays after all its turn comes', async () => {
    await script.send({ type: 'setNodes', nodes: 4 })
    const [accepted] = await script.offers(script.offer('a4', unreserved()))
    const fourth = afterwards(operationsOf(accepted))
    const [started] = (await script.offers(script.offer('a4', fourth))).flatMap(tasksOf)
    await script.update(started!, 'TASK_RUNNING')
    await script.send({ type: 'setNodes', nodes: 3 })
    await update({ cpus: 1.5 })
    expect(script.node('node-4').outdated).to.equal(false)
    await script.send({ type: 'setNodes', nodes: 4 })
    expect(script.node('node-4').outdated).to.equal(true)
    expect(reserved(await script.offers(script.offer('a4', unreserved()))).map(({ name }) => name)).to.deep.equal(['cpus'])
  })

  it('what an update has set outlives a restart with the same flags', async () => {
    await update({ cpus: 0.5 })
    await script.crash()
    expect(script.node('node-1').outdated).to.equal(true)
  })
})

describe('framework: nodes get another size on a master', function () {
  this.timeout(60_000)

  for (const grows of [true, false]) {
    it(`all of them, one after another, up and down again; ${grows ? 'volumes grow' : 'where volumes cannot grow they stay'}; nothing is left reserved that no node has`, async () => {
      const harness = new Harness(1, 3)
      harness.master.growsVolumes = grows
      await harness.start()
      await harness.untilRunning()
      await harness.clock.advance(10_000)
      const totals = (): number[][] => harness.master.agents.map(({ items }) => ['cpus', 'mem', 'disk'].map((name) => amountOf(items.flatMap(({ resource }) => resource ?? []), name)))
      const until = async (sizes: number[]): Promise<void> => {
        await harness.until(() => harness.areRunning(3) && harness.status().plans.find(({ name }) => name === 'update')!.status === 'complete' &&
          totals().every((total) => total.join() === sizes.join()), sizes.join()).catch((error: Error) => { throw new Error(`${JSON.stringify(totals())} ${error.message}`) })
      }
      await harness.framework!.update({}, { sizes: { cpus: 2, memMb: 2048, diskMb: 5000 } })
      await until([2, 2048, grows ? 5000 : 1024])
      await harness.framework!.update({}, { sizes: { cpus: 0.5, memMb: 256 } })
      await until([0.5, 256, grows ? 5000 : 1024])
      expect(harness.master.violations).to.deep.equal([])
      harness.stop()
    })
  }
})
