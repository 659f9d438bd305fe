import { expect } from 'chai'
import type { CallBody, SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import { yieldPatienceMs } from '../../../scheduler/framework/constants.ts'
import { mapOf } from './cluster-map.ts'
import type { MapOptions } from './cluster-map.ts'
import { Script, types } from './script.ts'

const ids = ['node-1', 'node-2', 'node-3']
const cluster = (script: Script, options: MapOptions = {}): Promise<CallBody[]> => script.send({ type: 'cluster', map: mapOf(ids, options) })
const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value.split('.')[0]! : [])
const answers = (calls: CallBody[]): string[] => types(calls).filter((type) => type.endsWith('INVERSE_OFFERS'))
const asked = (script: Script): string[] => script.requests.splice(0).flatMap((request) => request.type === 'yield' ? `${request.node} ${request.yields}` : [])
const inverse = (agent: string, startMs: number, id = `i-${agent}`, durationMs?: number): SchedulerEvent => ({
  type: 'INVERSE_OFFERS',
  inverse_offers: { inverse_offers: [{ id: { value: id }, framework_id: { value: 'f-1' }, agent_id: { value: agent }, unavailability: { start: { nanoseconds: startMs * 1e6 }, ...(durationMs !== undefined && { duration: { nanoseconds: durationMs * 1e6 } }) } }] }
}) as SchedulerEvent
const farMs = 1e12

async function threeNodes (): Promise<{ script: Script, nodes: Awaited<ReturnType<Script['bringUp']>> }> {
  const script = await Script.begin(3)
  script.yieldsAtOnce = false
  const nodes = await script.bringUp(3)
  await cluster(script)
  return { script, nodes }
}

describe('framework core: others lead before a node goes', () => {
  it('an update ends a node when the cluster says that it leads nothing that another could', async () => {
    const { script } = await threeNodes()
    expect(killed(await script.send({ type: 'update', configuration: { killGraceMs: 1 } }))).to.deep.equal([])
    expect(asked(script)).to.deep.equal(['node-1 true'])
    expect(script.node('node-1').goesBecause).to.equal('it is going to be restarted')
    expect(killed(await cluster(script))).to.deep.equal([])
    expect(killed(await cluster(script, { yielding: ['node-1'] }))).to.deep.equal(['node-1'])
    expect(asked(script)).to.deep.equal([])
  })

  it('a cluster that does not bring itself to it is asked again, and not waited for longer than a while', async () => {
    const { script } = await threeNodes()
    await script.send({ type: 'update', configuration: { killGraceMs: 1 } })
    expect(killed(await script.advance(10_000))).to.deep.equal([])
    await cluster(script)
    expect(asked(script)).to.deep.equal(['node-1 true', 'node-1 true'])
    expect(killed(await script.advance(yieldPatienceMs - 10_000))).to.deep.equal(['node-1'])
  })

  it('without any word of the cluster a forced update waits as long, and goes on', async () => {
    const script = await Script.begin(1)
    await script.bringUp(1)
    expect(killed(await script.send({ type: 'update', force: true }))).to.deep.equal([])
    expect(killed(await script.advance(yieldPatienceMs))).to.deep.equal(['node-1'])
  })

  it('consent to maintenance is given when others lead; it is meant, and so counted, from the question on', async () => {
    const { script } = await threeNodes()
    expect(answers(await script.event(inverse('a1', farMs)))).to.deep.equal([])
    expect(asked(script)).to.deep.equal(['node-1 true'])
    expect(script.status().maintenance[0]).to.include({ accepted: false, reason: 'others are to lead first what it leads' })
    expect(answers(await script.event(inverse('a2', farMs)))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(answers(await cluster(script, { yielding: ['node-1'] }))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    expect(answers(await script.event(inverse('a1', farMs, 'again')))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
  })

  it('what has happened while others came to lead is looked at before consent is given', async () => {
    const { script } = await threeNodes()
    await script.event(inverse('a1', farMs))
    expect(answers(await cluster(script, { yielding: ['node-1'], down: ['node-2'] }))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(script.status().maintenance[0]!.reason).to.contain('the manager would have 1 of 3 members')
  })

  it('a machine that may not go is led from when its time is near: it may go all the same', async () => {
    const { script } = await threeNodes()
    await cluster(script, { down: ['node-3'] })
    expect(answers(await script.event(inverse('a1', script.nowMs + 20 * 60_000)))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(asked(script)).to.deep.equal([])
    await script.event(inverse('a1', script.nowMs + 9 * 60_000))
    expect(asked(script)).to.deep.equal(['node-1 true'])
  })

  it('a machine that might not go and is not asked about any more leads again within a minute and a quarter', async () => {
    const { script } = await threeNodes()
    await cluster(script, { down: ['node-3'] })
    await script.event(inverse('a1', script.nowMs))
    expect(asked(script)).to.deep.equal(['node-1 true'])
    // The schedule is changed: who has answered is not told.
    const end = script.nowMs + 75_000
    while (script.nowMs < end && asked(script).length === 0) {
      await cluster(script, { yielding: ['node-1'] })
      await script.advance(2_000)
    }
    await cluster(script, { yielding: ['node-1'] })
    expect(script.node('node-1').goesBecause).to.equal(null)
    expect(script.status().maintenance).to.deep.equal([])
    expect(script.nowMs).to.be.lessThan(end)
  })

  it('a maintenance whose time is over has nobody yield, and no machine go, though it stays in the schedule', async () => {
    const { script } = await threeNodes()
    const ask = (id: string): Promise<CallBody[]> => script.event(inverse('a1', begin, id, 60_000))
    const begin = script.nowMs
    await ask('first')
    expect(answers(await cluster(script, { yielding: ['node-1'] }))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    await script.advance(30_000)
    await cluster(script, { yielding: ['node-1'] })
    expect(answers(await ask('second'))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    await script.advance(30_000)
    await cluster(script, { yielding: ['node-1'] })
    script.requests.length = 0
    expect(answers(await ask('third'))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(script.status().maintenance[0]).to.deep.include({ accepted: false, reason: 'its time is over, though the schedule still has it' })
    for (let round = 0; round < 5; round++) {
      await script.advance(20_000)
      await cluster(script, { yielding: ['node-1'] })
      expect(answers(await ask(`again ${round}`))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    }
    expect(script.node('node-1').goesBecause).to.equal(null)
    expect(asked(script)).to.include('node-1 false')
  })

  it('the drain of an agent, which ends its tasks, is one: nothing is led back to what is being ended', async () => {
    const { script, nodes } = await threeNodes()
    await script.update(nodes[1]!.task, 'TASK_KILLING', { reason: 'REASON_AGENT_DRAINING' })
    expect(asked(script)).to.deep.equal(['node-2 true'])
    expect(script.node('node-2').goesBecause).to.equal('it is being ended')
  })

  it('a node that stays after all leads again, but not at once: one that was told to end says so itself, before we hear of it', async () => {
    const { script } = await threeNodes()
    await cluster(script, { yielding: ['node-1'] })
    await script.advance(9_000)
    await cluster(script, { yielding: ['node-1'] })
    expect(asked(script)).to.deep.equal([])
    await script.advance(2_000)
    await cluster(script, { yielding: ['node-1'] })
    expect(asked(script)).to.deep.equal(['node-1 false'])
  })
})

describe('framework core: consent to maintenance is durable', () => {
  const step = (script: Script): string => script.status().plans.find(({ name }) => name === 'update')!.phases[0]!.steps[0]!.reason

  async function consented (): Promise<Script> {
    const { script } = await threeNodes()
    script.yieldsAtOnce = true
    expect(answers(await script.event(inverse('a3', farMs)))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
    return script
  }

  it('after a crash of the scheduler no other machine is let go, and none updated, before the question has had time to come again', async () => {
    const script = await consented()
    await script.crash()
    await cluster(script)
    expect(script.status().maintenance).to.deep.include({ agentId: 'a3', hosts: ['host-a3'], startsAtSeconds: farMs / 1000, accepted: true, reason: 'every partition keeps its quorum without it' })
    expect(answers(await script.event(inverse('a1', farMs)))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(killed(await script.send({ type: 'update', configuration: { killGraceMs: 1 } }))).to.deep.equal([])
    expect(step(script)).to.contain('node-3 (maintenance)')
    await script.advance(120_000)
    expect(killed(await cluster(script))).to.deep.equal(['node-1'])
    await script.crash()
    expect(script.status().maintenance.map(({ agentId }) => agentId)).to.not.include('a3')
  })

  it('a crash between the decision and the answer forgets neither', async () => {
    const { script } = await threeNodes()
    await script.event(inverse('a3', farMs))
    await script.crash()
    await cluster(script)
    expect(answers(await script.event(inverse('a1', farMs)))).to.deep.equal(['DECLINE_INVERSE_OFFERS'])
    expect(answers(await script.event(inverse('a3', farMs)))).to.deep.equal([])
    expect(answers(await cluster(script, { yielding: ['node-3'] }))).to.deep.equal(['ACCEPT_INVERSE_OFFERS'])
  })

  it('while there is no master it holds: nobody can ask again', async () => {
    const script = await consented()
    await script.send({ type: 'notice', notice: { type: 'disconnected', code: 'ATOLL_CONNECTION_LOST', message: '', retryInMs: 1 } })
    await script.advance(60 * 60_000)
    await cluster(script)
    expect(script.status().maintenance[0]!.accepted).to.equal(true)
    await script.subscribe()
    expect(script.status().maintenance[0]!.accepted).to.equal(true)
  })

  it('the same answer to the same question is written once', async () => {
    const script = await consented()
    script.requests.length = 0
    const { writes } = script.core.step({ type: 'notice', notice: { type: 'event', event: inverse('a3', farMs, 'again') } }, script.nowMs)
    expect(writes).to.deep.equal([])
  })
})
