import { expect } from 'chai'
import type { Offer, Resource } from '../../../../scheduler/mesos/types.ts'
import { CoreHarness, cpusOf, launch } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: task groups', () => {
  let core: CoreHarness
  let stream: number
  let id: string
  let offer: Offer

  beforeEach(() => {
    core = new CoreHarness()
    ;({ stream, id } = core.subscribe())
    offer = core.takeOffers(stream)[0]!
  })

  const executor = (more: object = {}): any => ({ type: 'DEFAULT', executor_id: { value: 'e' }, resources: [scalar('cpus', 0.1)], ...more })
  const task = (name: string, resources: Resource[] = [scalar('cpus', 1)], more: object = {}): any => (launch(offer, name, resources, more) as any).launch.task_infos[0]
  const group = (tasks: any[], given: any = executor()): any => ({ type: 'LAUNCH_GROUP', launch_group: { ...(given !== undefined && { executor: given }), task_group: { tasks } } })
  const running = (...names: string[]): void => {
    for (const name of names) {
      core.spawned(name)
      core.acknowledgeAll(id, stream)
    }
  }

  for (const [what, operation, message] of [
    ['a member needs more than is left', () => group([task('a', [scalar('cpus', 2)]), task('b', [scalar('cpus', 2)])]), 'required by task group and its executor are more than available'],
    ['a member is invalid', () => group([task('a'), task('b', [])]), "Task 'b' is invalid: Task uses no resources"],
    ['two members have one id', () => group([task('a'), task('a')]), 'Task has duplicate ID: a'],
    ['it has no executor', () => ({ type: 'LAUNCH_GROUP', launch_group: { task_group: { tasks: [task('a'), task('b')] } } }), 'executor of the task group is missing'],
    ['its executor is a custom one', () => group([task('a'), task('b')], executor({ type: 'CUSTOM' })), 'type DEFAULT'],
    ['its executor has a container', () => group([task('a'), task('b')], executor({ container: {} })), 'not supported'],
    ['it has an operation id', () => ({ ...group([task('a'), task('b')]), id: { value: 'op' } }), 'cannot be set']
  ] as const) {
    it(`none is launched when ${what}`, () => {
      core.accept(id, [offer], [operation()])
      const updates = core.takeUpdates(stream)
      expect(updates.map(({ state, reason }) => [state, reason])).to.deep.equal(Array(2).fill(['TASK_ERROR', 'REASON_TASK_GROUP_INVALID']))
      expect(updates[0]!.message).to.contain(message)
      expect(core.state.tasks.size).to.equal(0)
    })
  }

  it('the executor takes its resources until the end of its last task is acknowledged, and then says that it ended well', () => {
    core.accept(id, [offer], [group([task('a'), task('b')])])
    core.takeUpdates(stream)
    running('a', 'b')
    core.advance(1)
    const [next] = core.takeOffers(stream)
    expect([cpusOf([next!]), next!.executor_ids]).to.deep.equal([1.9, [{ value: 'e' }]])
    for (const name of ['a', 'b']) core.exited(name)
    expect(core.events(stream).map(({ type }) => type)).to.not.include('FAILURE')
    core.acknowledgeAll(id, stream)
    const events = core.take(stream)
    expect(events.find(({ type }) => type === 'FAILURE')).to.deep.equal({ type: 'FAILURE', failure: { agent_id: { value: 'agent' }, executor_id: { value: 'e' }, status: 0 } })
    expect(core.state.tasks.size).to.equal(0)
  })

  it('a task that ends well leaves the others alone, one that fails ends them', () => {
    core.accept(id, [offer], [group([task('a'), task('b'), task('c')])])
    running('a', 'b', 'c')
    core.exited('a')
    expect([core.task('b').killing, core.task('c').killing]).to.deep.equal([undefined, undefined])
    core.exited('b', { status: 1 })
    expect(core.task('c').state).to.equal('TASK_KILLING')
  })

  it('a second group joins an executor that runs, if it describes it in the same way', () => {
    core.accept(id, [offer], [group([task('a')]), group([task('b')]), group([task('c')], executor({ resources: [scalar('cpus', 0.2)] }))])
    expect(core.takeUpdates(stream).map(({ task_id: name, message }) => [name.value, message])).to.deep.equal([['c', "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID 'e'"]])
    core.advance(1)
    expect(cpusOf(core.takeOffers(stream))).to.equal(1.9)
  })

  it('a restart of the master keeps the group together', () => {
    core.accept(id, [offer], [group([task('a'), task('b')])])
    running('a', 'b')
    const next = core.restart()
    const again = next.subscribe({ ...next.state.frameworks.get(id)!.info })
    expect(cpusOf(next.takeOffers(again.stream))).to.equal(1.9)
    next.exited('a', { signal: 'SIGKILL' })
    expect(next.task('b').killing).to.not.equal(undefined)
  })
})
