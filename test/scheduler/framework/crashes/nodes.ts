import { expect } from 'chai'
import { scenario } from './every-write.ts'
import type { Scenario } from './every-write.ts'

export const partitionAware: Scenario[] = [
  scenario('UNREACHABLE: a stand-in comes after the time of the policy, and goes when the node returns; no volume is destroyed that holds data', 4, async ({ harness, running, settled }) => {
    await harness.start({ replaceAfterMs: 60_000 })
    await running(3)
    const agent = harness.master.liveTasks()[2]!.agent
    harness.master.faults.partition(agent)
    await harness.until(() => harness.status().nodes.filter(({ state }) => state === 'running').length === 3, 'a stand-in')
    await harness.clock.advance(20_000)
    harness.master.faults.heal(agent)
    await settled(3)
  }),

  scenario('GONE_BY_OPERATOR: data is moved, another node takes the place, the old one is forgotten', 4, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.faults.markGone(harness.master.liveTasks()[1]!.agent)
    await settled(3)
    await harness.until(() => harness.cluster.map.nodes.length === 3, 'three nodes in the map')
  })
]

export const inverseOffers: Scenario[] = [
  scenario('machines are to go for maintenance: one is let go, which never costs a quorum, and all nodes run when it is back', 4, async ({ harness, running, settled }) => {
    const { maintenance, agents } = harness.master
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    for (const agent of agents) maintenance.announce(agent)
    await harness.until(() => maintenance.counts.departures > 0, 'a departure')
    await harness.clock.advance(20_000)
    maintenance.end()
    await settled(3)
  })
]

export const draining: Scenario[] = [
  scenario('an agent is drained: planned, the node comes back on its volume', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.endTask(harness.master.liveTasks()[1]!.info.task_id.value, 'TASK_KILLED', 'REASON_AGENT_DRAINING')
    await settled(3)
    expect(harness.status().nodes.every(({ attempts }) => attempts === 0)).to.equal(true)
  })
]

export const healthChecks: Scenario[] = [
  scenario('each launch carries the health check with its long grace; a node that its check ends is relaunched on its volume', 3, async ({ harness, running, settled }) => {
    const healthCheck = { command: { value: 'check' }, intervalMs: 30_000, timeoutMs: 20_000, failuresMax: 4, graceMs: 30 * 60_000 }
    await harness.start({ healthCheck })
    await running(3)
    const volumes = [...harness.master.reservedIds()].sort()
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value, 'TASK_FAILED', 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED')
    await settled(3)
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
    for (const { health_check: check } of harness.master.launches) expect(check).to.deep.include({ type: 'COMMAND', consecutive_failures: 4, grace_period_seconds: 1800 })
  })
]

/** Not on the list of section 9, and durable all the same. */
export const beyond: Scenario[] = [
  scenario('a task fails: it is relaunched on its volume', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await settled(3)
  }),

  scenario('scaling up, and down again: what is drained is verified to be empty before it is destroyed', 4, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.insist((framework) => framework.setNodes(4))
    await running(4)
    await harness.clock.advance(10_000)
    await harness.insist((framework) => framework.setNodes(3))
    await settled(3)
  }),

  scenario('an update is taken up where it was: all nodes are restarted, one after another, on their volumes', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    const volumes = [...harness.master.reservedIds()].sort()
    let away = 0
    const led: string[] = []
    harness.master.onKill = (name) => { if (harness.cluster.leads(name)) led.push(name) }
    await harness.insist((framework) => framework.update({ killGraceMs: 1234 }))
    await harness.until(() => {
      away = Math.max(away, 3 - harness.master.liveTasks().length)
      return harness.status().plans.find(({ name }) => name === 'update')!.status === 'complete'
    }, 'the end of the update')
    await settled(3)
    expect(away).to.equal(1)
    expect(led, 'ended while they led what another could').to.deep.equal([])
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
    expect(harness.master.liveTasks().every(({ info }) => info.kill_policy!.grace_period!.nanoseconds === 1234e6)).to.equal(true)
  }),

  scenario('nodes get another size: what they are to have more is reserved once, what they are not to have is given back', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    for (const sizes of [{ cpus: 1.5, memMb: 700, diskMb: 2000 }, { cpus: 0.5, memMb: 256 }]) {
      await harness.insist((framework) => framework.update({}, { sizes }))
      await harness.until(() => harness.status().plans.find(({ name }) => name === 'update')!.status === 'complete', 'the end of the update')
      await settled(3)
      await harness.until(() => harness.master.idleReservations().length === 0, 'nothing reserved in vain')
    }
    expect(harness.status().nodes.map(({ disk }) => disk!.sizeMb)).to.deep.equal([2000, 2000, 2000])
  }),

  scenario('a stop ends every task, keeps every volume, and the next start takes them up', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    const volumes = [...harness.master.reservedIds()].sort()
    // Whether it dies on the way or comes to its end: it is started again after a while.
    void harness.framework!.shutdown().catch(() => {})
    await harness.clock.advance(30_000)
    await harness.start()
    await settled(3)
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
  })
]
