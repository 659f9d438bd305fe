import { expect } from 'chai'
import type { Resource } from '../../../../scheduler/mesos/types.ts'
import { calm } from '../model-chaos.ts'
import { scenario } from './every-write.ts'
import type { Scenario } from './every-write.ts'

export const reservations: Scenario[] = [
  scenario('CREATE is lost without a word: the volume is created in the reservation that is offered', 3, async ({ harness, settled }) => {
    harness.master.chaos = { ...calm, dropOperation: 0.5, loseFeedback: 1 }
    await harness.start()
    await harness.until(() => harness.master.calls.length > 10, 'some calls')
    harness.master.chaos = calm
    await settled(3)
  }),

  scenario('operations fail: another place is taken, what was reserved after all is freed', 3, async ({ harness, settled }) => {
    harness.master.chaos = { ...calm, failOperation: 0.6 }
    await harness.start()
    await harness.until(() => harness.master.calls.length > 12, 'some calls')
    harness.master.chaos = calm
    await settled(3)
  })
]

export const surplus: Scenario[] = [
  scenario('an agent is away with a reservation that nobody has proven: the place is given up, and freed when the agent returns', 4, async ({ harness, settled }) => {
    const [agent] = harness.master.agents
    await harness.start()
    await harness.until(() => harness.master.reservedIds().size > 0, 'a reservation')
    harness.master.faults.partition(agent!)
    await harness.clock.advance(90_000)
    harness.master.faults.heal(agent!)
    await settled(3)
  }),

  scenario('an uninstall gives everything back and tears the framework down, nothing is left', 3, async ({ harness, running }) => {
    await harness.start()
    await running(3)
    harness.master.onDestroy = () => {}
    await harness.insist((framework) => framework.uninstall())
    await harness.until(() => harness.master.tornDown, 'the end of the framework')
    expect([...harness.master.reservedIds()]).to.deep.equal([])
    expect(harness.master.liveTasks()).to.deep.equal([])
  })
]

export const offers: Scenario[] = [
  scenario('when all run, offers are suppressed, and nothing is asked of the master for an hour but what its tasks do; when one ends they are revived, and suppressed again', 4, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    const callsOfAnHour = async (): Promise<string[]> => {
      // For ten minutes a new process, which it may be once more, looks for what lost operations may have left.
      for (let round = 0; round < 2; round++) {
        await harness.until(() => harness.status().connected, 'a subscription')
        await harness.clock.advance(15 * 60_000)
      }
      const { length } = harness.master.calls
      await harness.clock.advance(60 * 60_000)
      return [...new Set(harness.master.calls.slice(length).map(({ type }) => type))]
    }
    expect(await callsOfAnHour()).to.deep.equal(['RECONCILE'])
    const last = (): string => harness.master.calls.filter(({ type }) => ['REVIVE', 'SUPPRESS'].includes(type)).at(-1)!.type
    expect(last()).to.equal('SUPPRESS')
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await settled(3)
    expect(await callsOfAnHour()).to.deep.equal(['RECONCILE'])
    expect(last()).to.equal('SUPPRESS')
    const seconds = harness.master.calls.flatMap((call) => call.type === 'DECLINE' ? [call.decline.filters?.refuse_seconds ?? 0] : [])
    expect(seconds.every((each) => each === 1 || each === 3600), seconds.join()).to.equal(true)
  })
]

export const explanations: Scenario[] = [
  scenario('a node finds no place: the rule that fails is told, again after each crash, until there is a place', 2, async ({ harness, settled }) => {
    harness.master.addAgent({ mem: 100, disk: 10 })
    await harness.start()
    await harness.until(() => {
      const outcomes = harness.status().evaluations.filter(({ hostname }) => hostname === 'host-2').map(({ outcome }) => JSON.stringify(outcome))
      return outcomes.some((outcome) => outcome.includes('mem') && outcome.includes('disk'))
    }, 'the reason')
    expect(harness.status().nodes.filter(({ lastEvaluation }) => lastEvaluation !== null)).to.not.deep.equal([])
    harness.master.addAgent()
    await settled(3)
  })
]

export const ownRole: Scenario[] = [
  scenario('what another cluster holds under the role is left alone, to the end of an uninstall', 3, async ({ harness, running }) => {
    const foreign = foreignVolume()
    harness.master.agents[0]!.items.push({ resource: foreign, offer: null, task: null })
    await harness.start()
    await running(3)
    await harness.insist((framework) => framework.uninstall())
    harness.master.onDestroy = (id) => { expect(id).to.not.equal(foreign.disk!.persistence!.id) }
    await harness.until(() => harness.master.tornDown, 'the end of the framework')
    expect([...harness.master.reservedIds()]).to.deep.equal(['of-another'])
  })
]

export const ownPrincipal: Scenario[] = [
  scenario('nodes come, end and go: every operation carries the principal, in reservations and volumes', 4, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await harness.insist((framework) => framework.update({}, { sizes: { diskMb: 2000 } }))
    await harness.until(() => harness.status().plans.find(({ name }) => name === 'update')!.status === 'complete', 'the end of the update')
    await harness.insist((framework) => framework.setNodes(4))
    // Of all scenarios, `checkOperations` looks at each operation.
    await settled(4)
  })
]

function foreignVolume (): Resource {
  return {
    name: 'disk', type: 'SCALAR', scalar: { value: 10 }, allocation_info: { role: 'atoll' },
    reservations: [{ type: 'DYNAMIC', role: 'atoll', principal: 'atoll', labels: { labels: [{ key: 'resource_id', value: 'of-another' }, { key: 'atoll_cluster', value: 'another' }, { key: 'atoll_node', value: 'node-1' }] } }],
    disk: { persistence: { id: 'node-1.another', principal: 'atoll' }, volume: { mode: 'RW', container_path: 'data' } }
  }
}
