import { expect } from 'chai'
import { Harness } from './harness.ts'
import { calm } from './model-chaos.ts'

/** A scheduler that dies more often than this in one scenario would never get through it: the scenario has ended before. */
const writesMax = 300

interface Life {
  harness: Harness
  running (nodes: number): Promise<void>
  /** Exactly the wanted nodes run, nothing else is reserved, no plan is open. */
  settled (nodes: number): Promise<void>
}

/** Plays a scenario once for each durable write in it, with the scheduler killed at that write: before it or after it, in turn. */
async function atEveryWrite (agents: number, scenario: (life: Life) => Promise<void>): Promise<number> {
  for (let crashAt = 0; ; crashAt++) {
    const harness = new Harness(1, agents)
    let writes = 0
    let reached = crashAt === 0
    harness.onWrite = (when) => {
      if (when === 'before') writes++
      if (writes !== crashAt || reached || when === (crashAt % 2 === 0 ? 'before' : 'after')) return
      reached = true
      harness.kill()
    }
    const running = (nodes: number): Promise<void> => harness.until(() => harness.areRunning(nodes), `crash at write ${crashAt}: ${nodes} running nodes`)
    const settled = (nodes: number): Promise<void> => harness.until(() =>
      harness.areRunning(nodes) && harness.status().nodes.length === nodes && harness.leaks().length === 0 && harness.status().plans.every(({ status }) => status === 'complete'),
    `crash at write ${crashAt}: ${nodes} nodes and nothing else`)
    try {
      await scenario({ harness, running, settled })
      expect(harness.master.violations).to.deep.equal([])
    } catch (error) {
      throw new Error(`crash at write ${crashAt}: ${error instanceof Error ? error.message : String(error)}`)
    }
    harness.stop()
    if (!reached) return crashAt - 1
    expect(crashAt).to.be.lessThan(writesMax)
  }
}

/** Section 9 of what a stateful framework has to do, each with a crash of the scheduler at every step. */
describe('framework: the scheduler dies at every step', function () {
  this.timeout(120_000)

  const it9 = (rule: string, agents: number, scenario: (life: Life) => Promise<void>): void => {
    it(rule, async () => { expect(await atEveryWrite(agents, scenario)).to.be.greaterThan(3) })
  }

  it9('the framework id is durable before the first offer is used: it is never forgotten', 3, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    // The model notes it when a framework with tasks subscribes without its id.
    expect(harness.master.frameworkId).to.equal(harness.status().frameworkId)
  })

  it9('an intent is written before ACCEPT: no second place is reserved for a node, no second task launched', 4, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    await harness.clock.advance(120_000)
    expect(harness.leaks()).to.deep.equal([])
    expect(new Set(harness.master.liveTasks().map(({ info }) => info.name)).size).to.equal(3)
  })

  it9('CREATE is lost without a word: the volume is created in the reservation that is offered', 3, async ({ harness, settled }) => {
    harness.master.chaos = { ...calm, dropOperation: 0.5, loseFeedback: 1 }
    await harness.start()
    await harness.until(() => harness.master.calls.length > 10, 'some calls')
    harness.master.chaos = calm
    await settled(3)
  })

  it9('operations fail: another place is taken, what was reserved after all is freed', 3, async ({ harness, settled }) => {
    harness.master.chaos = { ...calm, failOperation: 0.6 }
    await harness.start()
    await harness.until(() => harness.master.calls.length > 12, 'some calls')
    harness.master.chaos = calm
    await settled(3)
  })

  it9('an agent is away with a reservation that nobody has proven: the place is given up, and freed when the agent returns', 4, async ({ harness, settled }) => {
    const [agent] = harness.master.agents
    await harness.start()
    await harness.until(() => harness.master.reservedIds().size > 0, 'a reservation')
    harness.master.partition(agent!)
    await harness.clock.advance(90_000)
    harness.master.heal(agent!)
    await settled(3)
  })

  it9('a task fails: it is relaunched on its volume', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await settled(3)
  })

  it9('the master starts anew: every task is reconciled, none relaunched', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(60_000)
    const { length } = harness.master.launches
    harness.master.restart()
    await harness.clock.advance(60_000)
    await settled(3)
    expect(harness.master.launches).to.have.length(length)
  })

  it9('the framework id is removed: under a new one everything goes on, on the old volumes', 3, async ({ harness, running, settled }) => {
    await harness.start({ newFrameworkIdIfRemoved: true })
    await running(3)
    await harness.clock.advance(10_000)
    const volumes = [...harness.master.reservedIds()].sort()
    harness.master.forget()
    await harness.until(() => !['framework-1', null].includes(harness.status().frameworkId), 'another id')
    await settled(3)
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
  })

  it9('UNREACHABLE: a stand-in comes after the time of the policy, and goes when the node returns; no volume is destroyed that holds data', 4, async ({ harness, running, settled }) => {
    await harness.start({ replaceAfterMs: 60_000 })
    await running(3)
    const agent = harness.master.liveTasks()[2]!.agent
    harness.master.partition(agent)
    await harness.until(() => harness.status().nodes.filter(({ state }) => state === 'running').length === 3, 'a stand-in')
    await harness.clock.advance(20_000)
    harness.master.heal(agent)
    await settled(3)
  })

  it9('GONE_BY_OPERATOR: data is moved, another node takes the place, the old one is forgotten', 4, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.markGone(harness.master.liveTasks()[1]!.agent)
    await settled(3)
    await harness.until(() => harness.cluster.map.nodes.length === 3, 'three nodes in the map')
  })

  it9('an agent is drained: planned, the node comes back on its volume', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    harness.master.endTask(harness.master.liveTasks()[1]!.info.task_id.value, 'TASK_KILLED', 'REASON_AGENT_DRAINING')
    await settled(3)
    expect(harness.status().nodes.every(({ attempts }) => attempts === 0)).to.equal(true)
  })

  it9('machines are to go for maintenance: one is let go, which never costs a quorum, and all nodes run when it is back', 4, async ({ harness, running, settled }) => {
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

  it9('scaling up, and down again: what is drained is verified to be empty before it is destroyed', 4, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.insist((framework) => framework.setNodes(4))
    await running(4)
    await harness.clock.advance(10_000)
    await harness.insist((framework) => framework.setNodes(3))
    await settled(3)
  })

  it9('an update is taken up where it was: all nodes are restarted, one after another, on their volumes', 3, async ({ harness, running, settled }) => {
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
  })

  it9('nodes get another size: what they are to have more is reserved once, what they are not to have is given back', 3, async ({ harness, running, settled }) => {
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
  })

  it9('a stop ends every task, keeps every volume, and the next start takes them up', 3, async ({ harness, running, settled }) => {
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

  it9('an uninstall gives everything back and tears the framework down, nothing is left', 3, async ({ harness, running }) => {
    await harness.start()
    await running(3)
    harness.master.onDestroy = () => {}
    await harness.insist((framework) => framework.uninstall())
    await harness.until(() => harness.master.tornDown, 'the end of the framework')
    expect([...harness.master.reservedIds()]).to.deep.equal([])
    expect(harness.master.liveTasks()).to.deep.equal([])
  })
})
