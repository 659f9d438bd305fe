import { expect } from 'chai'
import { Harness, errors } from './harness.ts'
import { calm } from './model-chaos.ts'
import type { Chaos, Mishap } from './model-chaos.ts'

/** Seeds of one run; `ATOLL_SEEDS` plays more, from `ATOLL_SEED` on. */
const seeds = Number(process.env['ATOLL_SEEDS'] ?? 25)
const firstSeed = Number(process.env['ATOLL_SEED'] ?? 1)
/** So many seeds see every kind of mishap. */
const allMishapsSeeds = 12
const stormMs = 300_000
const limitMs = 60 * 60_000
/** Longer than the policy lets a node be away, so that stand-ins come and go. */
const replaceAfterMs = 45_000

const stormOf = (seed: number): Chaos => ({
  dropOperation: 0.2,
  failOperation: 0.2,
  loseFeedback: 0.3,
  dropLaunch: 0.1,
  failTask: 0.01,
  repeatUpdate: 0.3,
  rescind: 0.05,
  disconnect: 0.02,
  partition: 0.02,
  delay: 0.3,
  loseNews: 0.2,
  restart: 0.005,
  gone: seed % 4 === 0 ? 0.002 : 0,
  loseCall: 0.01,
  repeatCall: 0.02,
  hang: 0.002,
  split: 0.2,
  election: 0.004,
  loseOffers: 0.05,
  forget: seed % 3 === 0 ? 0.002 : 0,
  maintain: 0.005,
  insist: 0.02
})

/** The node has gone since the status. */
function tooLate (error: { code?: string }): void { if (error.code !== 'ATOLL_UNKNOWN_NODE') throw error as Error }

describe('framework against a master, agents and a cluster full of faults', function () {
  this.timeout(600_000)
  let consents: number
  let departures: number

  it(`after a storm every wanted node runs, none ever ran twice on a volume, no data was destroyed, nothing leaks (${seeds} seeds from ${firstSeed})`, async () => {
    errors.length = 0
    const struck = new Map<Mishap, number>()
    consents = 0
    departures = 0
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      for (const [mishap, times] of await weather(seed, stormOf(seed), { agents: 3 + seed % 3, nodes: 1 + seed % 3, nodesPerAgentMax: 3 })) struck.set(mishap, (struck.get(mishap) ?? 0) + times)
    }
    // The end of a framework id is logged as an error; the scheduler has none of its own.
    expect(errors.filter((line) => !line.includes('ATOLL_MESOS_REMOVED') && !line.startsWith('a call was refused'))).to.deep.equal([])
    if (seeds >= allMishapsSeeds) expect([...struck.keys()]).to.have.members(Object.keys(calm))
    if (seeds >= allMishapsSeeds) expect(Math.min(consents, departures), 'machines that were told that they may go, and went').to.be.greaterThan(0)
    if (process.env['ATOLL_SEEDS'] !== undefined) console.log(`      ${[...struck].map(([mishap, times]) => `${mishap} ${times}`).join(', ')}; ${consents} consents to maintenance, ${departures} departures after one`)
  })

  it(`machines go for maintenance while the scheduler crashes: they never cost a quorum, and every wanted node runs in the end (${seeds} seeds from ${firstSeed})`, async () => {
    errors.length = 0
    consents = 0
    departures = 0
    const chaos: Chaos = { ...calm, maintain: 0.05, delay: 0.2, repeatCall: 0.02, disconnect: 0.005, partition: 0.001 }
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) await weather(seed, chaos, { agents: 6, nodes: 3 + seed % 3, nodesPerAgentMax: 1 })
    expect(errors).to.deep.equal([])
    expect(consents, 'consents').to.be.greaterThan(seeds)
    expect(departures, 'departures').to.be.greaterThan(seeds)
    if (process.env['ATOLL_SEEDS'] !== undefined) console.log(`      ${consents} consents to maintenance, ${departures} departures after one`)
  })

  async function weather (seed: number, chaos: Chaos, { agents, ...sizes }: { agents: number, nodes: number, nodesPerAgentMax: number }): Promise<Map<Mishap, number>> {
    const harness = new Harness(seed, agents)
    const { master, random } = harness
    const init = { ...sizes, replaceAfterMs, newFrameworkIdIfRemoved: true }
    const start = async (): Promise<void> => {
      await harness.start(init)
      await harness.clock.until(() => !harness.isDead)
    }
    master.chaos = chaos
    let volumeMb = 1024
    await start()
    for (let elapsedMs = 0; elapsedMs < stormMs; elapsedMs += 1000) {
      await harness.clock.advance(1000)
      harness.cluster.reachable = random.chance(0.8)
      if (random.chance(0.02)) {
        harness.kill()
        await start()
      }
      const { nodesWanted, nodes } = harness.status()
      if (random.chance(0.02)) await harness.framework!.setNodes(Math.max(init.nodes, nodesWanted + random.pick([-1, 1])))
      if (random.chance(0.005)) await harness.framework!.update({ killGraceMs: 1000 + random.below(1000) }, { force: init.nodes < 3 })
      if (random.chance(0.005)) await harness.framework!.update({}, { sizes: { cpus: random.pick([0.5, 1, 1.2]), memMb: random.pick([256, 512, 700]), diskMb: volumeMb += 100 }, force: init.nodes < 3 })
      if (random.chance(0.005) && nodes.length > 0) await harness.framework!.replaceNode(random.pick(nodes).id).catch(tooLate)
    }
    master.chaos = calm
    master.maintenance.end()
    harness.cluster.reachable = true
    await harness.framework!.setNodes(init.nodes)
    await settle(harness, seed)
    await requireCalm(harness, seed)
    if (seed % 5 === 0) await uninstall(harness, seed)
    harness.stop()
    consents += master.maintenance.counts.consents
    departures += master.maintenance.counts.departures
    return master.mishaps
  }

  /** Until exactly the wanted nodes are there and run, all that was given up is freed, and no update is under way. */
  async function settle (harness: Harness, seed: number): Promise<void> {
    const isSettled = (): boolean => {
      const { nodes, nodesWanted, plans } = harness.status()
      const active = nodes.filter(({ state }) => state === 'running')
      return active.length === nodesWanted && nodes.length === nodesWanted && harness.areRunning(nodesWanted) && harness.leaks().length === 0 &&
        plans.find(({ name }) => name === 'update')!.status === 'complete'
    }
    try {
      await harness.clock.until(isSettled, limitMs)
    } catch {
      const { nodes, ...rest } = harness.status()
      throw new Error(`seed ${seed} does not settle: leaks ${harness.leaks().join()}\n${JSON.stringify(nodes.map(({ lastEvaluation, ...node }) => node), null, 1)}\n${JSON.stringify({ ...rest, evaluations: undefined })}\n${JSON.stringify(harness.cluster.map)}`)
    }
  }

  /** Late updates and reconciliation change nothing any more. */
  async function requireCalm (harness: Harness, seed: number): Promise<void> {
    const { master } = harness
    const launches = master.launches.length
    await harness.clock.advance(20 * 60_000)
    expect(harness.areRunning(harness.status().nodesWanted), `seed ${seed}`).to.equal(true)
    expect(master.launches.length, `seed ${seed}: launches`).to.equal(launches)
    expect(harness.leaks(), `seed ${seed}`).to.deep.equal([])
    expect(master.idleReservations(), `seed ${seed}: reserved and used by no task`).to.deep.equal([])
    expect(master.violations, `seed ${seed}`).to.deep.equal([])
    expect(master.calls.at(-1)!.type, `seed ${seed}`).to.be.oneOf(['SUPPRESS', 'RECONCILE', 'ACKNOWLEDGE', 'DECLINE'])
  }

  async function uninstall (harness: Harness, seed: number): Promise<void> {
    // What holds data is what is to go now.
    harness.master.onDestroy = () => {}
    await harness.framework!.uninstall()
    try {
      await harness.clock.until(() => harness.master.tornDown, limitMs)
    } catch {
      throw new Error(`seed ${seed}: the uninstall does not end: ${[...harness.master.reservedIds()].join()} ${JSON.stringify({ ...harness.status(), evaluations: undefined })}`)
    }
    expect([...harness.master.reservedIds()], `seed ${seed}`).to.deep.equal([])
    expect(harness.master.liveTasks(), `seed ${seed}`).to.deep.equal([])
  }
})
