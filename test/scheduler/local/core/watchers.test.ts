import { expect } from 'chai'
import { watchersMax } from '../../../../scheduler/local/constants.ts'
import { CoreHarness, launch } from '../core-harness.ts'

describe('the embedded master: operators that watch', () => {
  const watch = (core: CoreHarness, request: number): void => { core.feed({ type: 'operator-call', request, call: { type: 'SUBSCRIBE' } }) }
  const seen = (core: CoreHarness, stream: number): string[] => core.effects.flatMap((effect) => effect.type === 'operator-event' && effect.stream === stream ? effect.event.type : [])

  it('are told what there is, then each change, and a heartbeat every 15 s', () => {
    const core = new CoreHarness()
    watch(core, 900)
    const { stream, id } = core.subscribe()
    const [offer] = core.events(stream).flatMap((event) => event.type === 'OFFERS' ? event.offers.offers : [])
    core.accept(id, [offer!], [launch(offer!, 't')])
    core.spawned('t')
    core.acknowledgeAll(id, stream)
    core.feed({ type: 'agent-presence', agentId: 'agent', presence: 'removed' })
    core.feed({ type: 'agent-presence', agentId: 'agent', presence: 'registered' })
    core.call(id, { type: 'TEARDOWN' })
    core.advance(15)
    expect(seen(core, 900)).to.deep.equal([
      'SUBSCRIBED', 'HEARTBEAT', 'FRAMEWORK_ADDED', 'TASK_ADDED', 'TASK_UPDATED', 'TASK_UPDATED', 'TASK_UPDATED', 'AGENT_REMOVED', 'AGENT_ADDED', 'FRAMEWORK_REMOVED', 'HEARTBEAT'
    ])
  })

  it('are told nothing more when they have gone', () => {
    const core = new CoreHarness()
    watch(core, 900)
    core.feed({ type: 'stream-closed', stream: 900 })
    core.subscribe()
    expect(seen(core, 900)).to.deep.equal(['SUBSCRIBED', 'HEARTBEAT'])
  })

  it('are so many at most: the oldest is disconnected', () => {
    const core = new CoreHarness()
    for (let request = 1; request <= watchersMax + 1; request++) watch(core, 1000 + request)
    expect(core.effects.flatMap((effect) => effect.type === 'close-stream' ? effect.stream : [])).to.deep.equal([1001])
    expect(core.state.watchers.size).to.equal(watchersMax)
  })
})
