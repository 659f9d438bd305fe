import { expect } from 'chai'
import { Harness, errors } from './harness.ts'
import { calm } from './model-chaos.ts'

const limitMs = 30 * 60_000

describe('framework against a model master', () => {
  beforeEach(() => { errors.length = 0 })

  it('launches the manager group on three agents, each told of all addresses', async () => {
    const harness = new Harness()
    await harness.start()
    await harness.untilRunning(3, 10_000)
    const specs = harness.master.launches.map(({ command }) => JSON.parse(command!.environment!.variables!.find(({ name }) => name === 'ATOLL_NODE')!.value!))
    expect(specs.map(({ nodeId }) => nodeId).sort()).to.deep.equal(['node-1', 'node-2', 'node-3'])
    for (const spec of specs) {
      expect(spec.managers).to.deep.equal(specs[0].managers)
      expect(spec.managers).to.deep.include({ id: spec.nodeId, host: spec.host, rpcPort: spec.rpcPort, raftPort: spec.raftPort })
      expect(spec).to.include({ dataDirectory: 'data', capacityBytes: 1024 * 1024 * 1024, clusterId: harness.status().clusterId })
    }
    expect(new Set(specs.map(({ host }) => host)).size).to.equal(3)
    expect(harness.leaks()).to.deep.equal([])
    harness.stop()
  })

  it('an offer that is lost on its way does not keep a node from running: what is wanted and not offered for long is subscribed for anew', async () => {
    const harness = new Harness()
    await harness.start()
    await harness.untilRunning(3, 10_000)
    harness.master.chaos = { ...calm, loseOffers: 1 }
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await harness.clock.advance(2_000)
    harness.master.chaos = calm
    const subscriptions = harness.master.subscriptions
    await harness.clock.advance(4 * 60_000)
    expect(harness.master.subscriptions, 'REVIVE comes first').to.equal(subscriptions)
    await harness.untilRunning(3, 2 * 60_000)
    expect(harness.master.subscriptions).to.equal(subscriptions + 1)
    await harness.clock.advance(40 * 60_000)
    expect(harness.master.subscriptions, 'nothing is wanted any more').to.equal(subscriptions + 1)
    harness.stop()
  })

  it('what nobody can offer is subscribed for ever more seldom, at most once an hour', async () => {
    const harness = new Harness(1, 2)
    await harness.start()
    const times: number[] = []
    for (let minute = 1; minute <= 4 * 60; minute++) {
      const before = harness.master.subscriptions
      await harness.clock.advance(60_000)
      if (harness.master.subscriptions > before && minute > 1) times.push(minute)
    }
    expect(times.length).to.be.within(5, 7)
    expect(times.at(-1)! - times.at(-2)!).to.be.at.least(60)
    harness.stop()
  })

  it('a store that cannot be written stops every action, and is told; all goes on when it can', async () => {
    const harness = new Harness()
    await harness.start()
    await harness.untilRunning(3, 10_000)
    await harness.clock.advance(1_000)
    harness.kv.failure = new Error('no space left')
    const task = harness.master.liveTasks()[0]!
    const calls = harness.master.calls.length
    harness.master.endTask(task.info.task_id.value)
    await harness.clock.advance(30_000)
    expect(harness.master.calls.length).to.equal(calls)
    expect(task.updates).to.have.length(1)
    expect(harness.status().problem).to.include({ message: 'the records cannot be written: no space left', final: false })
    harness.kv.failure = null
    await harness.untilRunning(3, 10_000)
    expect(harness.status().problem).to.equal(null)
    expect(task.updates).to.have.length(0)
    harness.stop()
  })

  it('shutdown resolves when the last task has ended, and rejects when one does not', async () => {
    const harness = new Harness()
    await harness.start()
    await harness.untilRunning(3, 10_000)
    harness.master.faults.partition(harness.master.agents[0]!)
    const failed = harness.framework!.shutdown({ timeoutMs: 20_000 }).then(() => null, (error: { code: string }) => error.code)
    expect(await harness.clock.run(failed)).to.equal('ATOLL_TIMEOUT')
    expect(harness.master.liveTasks()).to.have.length(1)
    await harness.start()
    harness.master.faults.heal(harness.master.agents[0]!)
    await harness.untilRunning(3, 120_000)
    await harness.clock.run(harness.framework!.shutdown({ timeoutMs: 20_000 }))
    expect(harness.master.liveTasks()).to.deep.equal([])
    expect(harness.leaks()).to.deep.equal([])
    expect(harness.master.violations).to.deep.equal([])
    harness.stop()
  })

  it('crash: wherever the scheduler dies while it brings up, loses a task and relaunches, everything runs in the end', async () => {
    let reached = true
    for (let crashAt = 1; reached; crashAt++) {
      const harness = new Harness()
      let writes = 0
      reached = false
      harness.onWrite = () => {
        if (++writes === crashAt) {
          reached = true
          harness.kill()
        }
      }
      const bringUp = async (): Promise<void> => {
        await harness.start()
        if (harness.isDead) await harness.start()
        await harness.clock.until(async () => {
          if (harness.isDead) await harness.start()
          return harness.areRunning(3)
        }, limitMs, `crash at write ${crashAt}: three running nodes`)
      }
      await bringUp()
      harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
      await harness.clock.advance(1)
      await bringUp()
      await harness.clock.until(() => harness.leaks().length === 0, limitMs, `crash at write ${crashAt}: no leak`)
      expect(harness.master.violations, `crash at write ${crashAt}`).to.deep.equal([])
      harness.stop()
      expect(crashAt).to.be.lessThan(200)
    }
  })
})
