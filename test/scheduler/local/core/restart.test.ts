import { expect } from 'chai'
import { CoreHarness, cpusOf, info, launch, reserved, volume } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: restart of the master', () => {
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
    const next = core.restart()
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
    const next = core.restart()
    const types = next.effects.map((effect: any) => `${effect.type} ${effect.order?.info.task_id.value ?? ''}`.trim())
    expect(types).to.deep.equal(['launch staging', 'adopt killing', 'kill'])
    expect(next.task('killed').state).to.equal('TASK_KILLED')
  })

  it('a framework without failover_timeout has time to come back', () => {
    const core = new CoreHarness()
    core.feed({ type: 'recovered' })
    const { id } = core.subscribe({ ...info, failover_timeout: 0 })
    const next = core.restart()
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
    expect(core.restart().subscribe().id).to.equal('master-0001')
  })
})
