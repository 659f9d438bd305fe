import { expect } from 'chai'
import { restore } from '../../../../scheduler/local/core/durable.ts'
import { createState } from '../../../../scheduler/local/core/state.ts'
import { CoreHarness, launch, reserved, volume } from '../core-harness.ts'
import { scalar } from '../master-harness.ts'

describe('the embedded master: agents that are lost', () => {
  /** With a task on a volume. */
  const begin = (): { core: CoreHarness, stream: number, id: string } => {
    const core = new CoreHarness()
    const { stream, id } = core.subscribe()
    const [offer] = core.takeOffers(stream)
    const cpus = reserved(scalar('cpus', 1))
    core.accept(id, [offer!], [
      { type: 'RESERVE', reserve: { resources: [cpus, reserved(scalar('disk', 100))] } }, { type: 'CREATE', create: { volumes: [volume(100, 'v1')] } },
      launch(offer!, 't', [cpus, volume(100, 'v1')])
    ])
    core.spawned('t')
    core.acknowledgeAll(id, stream)
    core.take(stream)
    return { core, stream, id }
  }
  const volumesOffered = (core: CoreHarness, stream: number): string[] =>
    core.takeOffers(stream).flatMap(({ agent_id: agent, resources = [] }) => resources.flatMap(({ disk }) => disk?.persistence === undefined ? [] : `${disk.persistence.id} on ${agent.value}`))

  it('an agent with a new identity has the reservations and volumes of the old one; a volume is offered when nothing runs on it any more', () => {
    const { core, stream } = begin()
    core.feed({ type: 'agent-replaced', agentId: 'agent' })
    expect(core.events(stream).flatMap((event) => event.type === 'UPDATE' ? event.update.status.state : [])).to.deep.equal(['TASK_LOST'])
    expect(volumesOffered(core, stream)).to.deep.equal([])
    core.exited('t', { signal: 'SIGTERM' })
    expect(volumesOffered(core, stream)).to.deep.equal(['v1 on master-S1'])
    expect(core.state.agents.get('agent')).to.include({ presence: 'removed', machine: null })
  })

  it('after a restart of the master the agent has the new identity', () => {
    const { core } = begin()
    core.state.agents.get('agent')!.machine = 0
    core.feed({ type: 'agent-replaced', agentId: 'agent' })
    core.exited('t', { signal: 'SIGTERM' })
    const next = core.restart()
    expect([...next.state.agents.values()].map(({ id, machine, total }) => [id, machine, total.length > 0])).to.deep.equal([['agent', null, false], ['master-S1', 0, true]])
  })

  it('a record from before agents had a number has that of its id', () => {
    const state = createState('master', {}, 0)
    for (const id of ['master-S0', 'master-S2']) restore(state, `agent/${id}`, JSON.stringify({ id, base: [], total: [], registeredMs: 0, presence: 'registered' }))
    expect([...state.agents.values()].map(({ machine }) => machine)).to.deep.equal([0, 2])
  })

  it('a task that has ended on an agent that never returned to say so is lost', () => {
    const { core, stream } = begin()
    core.feed({ type: 'agent-presence', agentId: 'agent', presence: 'away' })
    core.exited('t', { status: 0 })
    core.take(stream)
    core.feed({ type: 'agent-presence', agentId: 'agent', presence: 'removed' })
    expect(core.takeUpdates(stream).map(({ state }) => state)).to.deep.equal(['TASK_LOST'])
  })
})
