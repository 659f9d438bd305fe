import { expect } from 'chai'
import { StateMirror } from '../../../../scheduler/standby/mirror.ts'
import { restoreSnapshot } from '../../../../scheduler/standby/snapshot.ts'
import { MemoryKv } from '../../../sim/memory-kv.ts'
import { SharedState } from '../../standby/shared-state.ts'
import { quietLog } from '../harness.ts'
import { calm } from '../model-chaos.ts'
import { operationsOf, scenario, taskIdsOf } from './every-write.ts'
import type { Scenario } from './every-write.ts'

const weekSeconds = 7 * 24 * 3600

export const frameworkId: Scenario[] = [
  scenario('the framework id is durable before the first offer is used: it is never forgotten', 3, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    // The model notes it when a framework with tasks subscribes without its id.
    expect(harness.master.frameworkId).to.equal(harness.status().frameworkId)
  })
]

export const frameworkInfo: Scenario[] = [
  scenario('every subscription says the same: a failover timeout of a week, checkpoints, the same user, principal and capabilities', 3, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    harness.master.disconnect()
    await harness.clock.advance(1_000)
    await harness.until(() => harness.status().connected, 'a subscription')
    const [first, ...later] = harness.master.infos
    expect(first).to.deep.include({ failover_timeout: weekSeconds, checkpoint: true, roles: ['atoll'], principal: 'atoll' })
    expect(first!.capabilities!.map(({ type }) => type)).to.deep.equal(['PARTITION_AWARE', 'MULTI_ROLE', 'RESERVATION_REFINEMENT', 'TASK_KILLING_STATE', 'REGION_AWARE'])
    const { id: _id, ...rest } = first!
    for (const { id: _later, ...info } of later) expect(info).to.deep.equal(rest)
    expect(harness.master.infos.at(-1)!.id).to.deep.equal({ value: 'framework-1' })
  })
]

export const removed: Scenario[] = [
  scenario('the framework id is removed: it stops and keeps every volume, until an operator says that it may go on under a new id', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    const volumes = [...harness.master.reservedIds()].sort()
    harness.master.faults.forget()
    await harness.until(() => harness.status().problem?.final === true, 'the end')
    expect(harness.status().problem!.code).to.equal('ATOLL_MESOS_REMOVED')
    const [subscriptions, calls] = [harness.master.infos.length, harness.master.calls.length]
    await harness.clock.advance(30 * 60_000)
    expect([harness.master.infos.length, harness.master.calls.length]).to.deep.equal([subscriptions, calls])
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
    if (!harness.isDead) harness.kill()
    await harness.start({ newFrameworkIdIfRemoved: true })
    await settled(3)
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
  }),

  scenario('the framework id is removed: under a new one everything goes on, on the old volumes', 3, async ({ harness, running, settled }) => {
    await harness.start({ newFrameworkIdIfRemoved: true })
    await running(3)
    await harness.clock.advance(10_000)
    const volumes = [...harness.master.reservedIds()].sort()
    harness.master.faults.forget()
    await harness.until(() => !['framework-1', null].includes(harness.status().frameworkId), 'another id')
    await settled(3)
    expect([...harness.master.reservedIds()].sort()).to.deep.equal(volumes)
  })
]

export const writeAhead: Scenario[] = [
  scenario('an intent is written before ACCEPT: no second place is reserved for a node, no second task launched', 4, async ({ harness, settled }) => {
    await harness.start()
    await settled(3)
    await harness.clock.advance(120_000)
    expect(harness.leaks()).to.deep.equal([])
    expect(new Set(harness.master.liveTasks().map(({ info }) => info.name)).size).to.equal(3)
  })
]

export const reconciliation: Scenario[] = [
  scenario('the master starts anew: every task is reconciled, none relaunched', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(60_000)
    const { length } = harness.master.launches
    harness.master.faults.restart()
    await harness.clock.advance(60_000)
    await settled(3)
    expect(harness.master.launches).to.have.length(length)
  }),

  scenario('a task ended and nobody was told, and no offer says so: the periodic reconciliation finds it', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    // A task that the master has forgotten, with its update.
    const task = harness.master.liveTasks()[0]!
    harness.master.chaos = { ...calm, loseOffers: 1 }
    harness.master.endTask(task.info.task_id.value)
    task.updates = []
    await harness.until(() => !harness.areRunning(3) && harness.status().nodes.some(({ state }) => state !== 'running'), 'the end of the task is known', 16 * 60_000)
    harness.master.chaos = calm
    await settled(3)
  })
]

export const singleActive: Scenario[] = [
  scenario('another scheduler has subscribed: this one ends, writes nothing, and takes nothing back by itself', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(10_000)
    await harness.until(() => harness.status().connected, 'a subscription')
    let writes = 0
    const { onWrite } = harness
    harness.onWrite = (when) => {
      writes++
      onWrite(when)
    }
    const { infos, calls, launches } = harness.master
    harness.master.subscribe('the stream of another', { ...infos.at(-1)!, id: { value: 'framework-1' } }, { event: () => {}, end: () => {} })
    await harness.until(() => harness.status().problem?.final === true, 'the end')
    expect(harness.status().problem!.code).to.equal('ATOLL_MESOS_FAILED_OVER')
    const before = [infos.length, calls.length, launches.length]
    await harness.clock.advance(60 * 60_000)
    expect([infos.length, calls.length, launches.length, writes]).to.deep.equal([...before, 0])
    expect(harness.master.liveTasks()).to.have.length(3)
    // An operator starts it again: now it is the newest.
    harness.kill()
    await settled(3)
  })
]

export const lock: Scenario[] = [
  scenario('its machine is lost with its store: one that stood by goes on from the copy in the cluster, launches nothing twice, leaks nothing', 4, async ({ harness, running }) => {
    const shared = new SharedState()
    let mirror: StateMirror | undefined
    const keepCopy = async (): Promise<void> => {
      mirror?.close()
      mirror = new StateMirror({ clock: harness.clock, random: harness.random.fork(), log: quietLog, kv: harness.kv, store: shared.store() }, { clusterId: 'model', api: '' })
      await mirror.start()
    }
    await harness.start()
    await running(3)
    harness.beforeStart = async () => {
      if (shared.state === null) return
      harness.kv = new MemoryKv()
      await restoreSnapshot(harness.kv, shared.state)
      await keepCopy()
    }
    harness.framework?.onChange(() => { mirror?.touch() })
    await keepCopy()
    await harness.clock.advance(6_000)
    expect(shared.state).to.not.equal(null)
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    await harness.until(() => harness.areRunning(3), 'the relaunch')
    // Nothing waits for the copy: what was asked in the seconds before the loss is asked for again.
    for (let asked = 0; asked < 2; asked++) {
      await harness.insist((framework) => framework.setNodes(4))
      await harness.clock.advance(6_000)
    }
    // What is adopted counts as outdated: with which configuration it runs is not known.
    await harness.until(() => harness.areRunning(4) && harness.status().nodes.length === 4 && harness.leaks().length === 0, 'four nodes and nothing else')
    mirror!.close()
    expect(harness.master.frameworkId).to.equal('framework-1')
  })
]

export const heartbeats: Scenario[] = [
  scenario('the stream falls silent: five heartbeats later it is made anew, and what happened meanwhile is found', 3, async ({ harness, running, settled }) => {
    await harness.start()
    await running(3)
    await harness.clock.advance(20_000)
    await harness.until(() => harness.status().connected, 'a subscription')
    const { length } = harness.master.infos
    harness.master.chaos = { ...calm, hang: 1 }
    harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
    harness.master.chaos = calm
    await harness.clock.advance(40_000)
    expect(harness.master.infos, 'silence is no end yet').to.have.length(length)
    await settled(3)
    expect(harness.master.infos.length).to.be.greaterThan(length)
  }),

  scenario('calls and their answers are lost: what became of them is asked for, nothing is done twice', 3, async ({ harness, settled }) => {
    harness.master.chaos = { ...calm, loseCall: 0.3 }
    await harness.start()
    await harness.until(() => harness.master.calls.length > 15, 'some calls')
    harness.master.chaos = calm
    await settled(3)
  })
]

export const taskIds: Scenario[] = [
  scenario('launches are dropped and tasks end: each launch has an id of its own', 3, async ({ harness, running, settled }) => {
    harness.master.chaos = { ...calm, dropLaunch: 0.5 }
    await harness.start()
    await running(3)
    harness.master.chaos = calm
    for (let round = 0; round < 3; round++) {
      harness.master.endTask(harness.master.liveTasks()[0]!.info.task_id.value)
      await harness.clock.advance(1_000)
    }
    await settled(3)
    const ids = taskIdsOf(operationsOf(harness.master.calls))
    expect(ids.length).to.be.at.least(6)
    expect(new Set(ids).size).to.equal(ids.length)
  })
]
