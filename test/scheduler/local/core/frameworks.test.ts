import { expect } from 'chai'
import { completedFrameworksMax } from '../../../../scheduler/local/constants.ts'
import { CoreHarness, cpusOf, info, launch, reserved } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: frameworks', () => {
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
