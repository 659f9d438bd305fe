import { expect } from 'chai'
import type { CallBody } from '../../../scheduler/mesos/types.ts'
import { readRecording, recordingNames } from '../mesos/recording.ts'
import { replayToClient } from '../mesos/replayed-socket.ts'
import { operationTypes, tasksOf, types } from './script.ts'
import { mapOf } from './cluster-map.ts'
import { Scenario, timelineOf } from './scenario.ts'

const killed = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'KILL' ? call.kill.task_id.value : [])
const acknowledged = (calls: CallBody[]): string[] => calls.flatMap((call) => call.type === 'ACKNOWLEDGE' ? call.acknowledge.uuid : [])
const offersIn = (name: string): string[] => timelineOf(name).flatMap((moment) => 'event' in moment && moment.event.type === 'OFFERS' ? moment.event.offers.offers.map(({ id }) => id.value) : [])
/** Agent ids of the recorded tasks. */
const agentOf = (name: string, taskId: string): string => timelineOf(name).flatMap((moment) =>
  'event' in moment && moment.event.type === 'UPDATE' && moment.event.update.status.task_id.value === taskId ? moment.event.update.status.agent_id?.value ?? [] : [])[0]!
const onVolume = (name: string, taskId: string): object =>
  ({ id: 'node-1', agentId: agentOf(name, taskId), resourceId: 'replica-1', persistenceId: 'vol-replica-1', task: { id: taskId, agentId: agentOf(name, taskId), state: 'TASK_STAGING' } })
const running = (name: string, id: string, taskId: string): object =>
  ({ id, agentId: agentOf(name, taskId), resourceId: `r-${id}`, persistenceId: `v-${id}`, task: { id: taskId, agentId: agentOf(name, taskId), state: 'TASK_STAGING' } })

describe('framework: what it concludes from each recording', () => {
  for (const name of recordingNames) {
    it(`${name}: every offer is answered exactly once, every update with a uuid acknowledged, no other`, async () => {
      const scenario = await Scenario.begin(name)
      scenario.do({ type: 'pause', plan: 'deploy', paused: true })
      const calls = scenario.until()
      const answered = calls.flatMap((call) => call.type === 'DECLINE' ? call.decline.offer_ids.map(({ value }) => value) : call.type === 'ACCEPT' ? call.accept.offer_ids.map(({ value }) => value) : [])
      expect(answered.sort()).to.deep.equal(offersIn(name).sort())
      const updates = timelineOf(name).flatMap((moment) => 'event' in moment && moment.event.type === 'UPDATE' ? moment.event.update.status.uuid ?? [] : [])
      expect(acknowledged(calls).sort()).to.deep.equal(updates.sort())
      const operations = timelineOf(name).flatMap((moment) => 'event' in moment && moment.event.type === 'UPDATE_OPERATION_STATUS' ? moment.event.update_operation_status.status.uuid?.value ?? [] : [])
      expect(calls.flatMap((call) => call.type === 'ACKNOWLEDGE_OPERATION_STATUS' ? call.acknowledge_operation_status.uuid : []).sort()).to.deep.equal(operations.sort())
    })
  }

  it('01: REVIVE clears all filters: the offers that were declined are answered anew', async () => {
    const scenario = await Scenario.begin('01')
    expect(types(scenario.until('DECLINE of two offers'))).to.include('ACCEPT')
    expect(types(scenario.until()).filter((type) => type === 'DECLINE' || type === 'ACCEPT').length).to.be.greaterThan(3)
  })

  it('02: a reservation is believed when it is offered; OPERATION_UNKNOWN changes nothing; the freed volume proves the end of its task', async () => {
    const scenario = await Scenario.begin('02', { nodes: [{ ...onVolume('02', 'node-1.a'), id: 'node-1', placement: 'reserving', task: null }] })
    // No operation update was acknowledged yet; the offer that holds the volume is launched on at once.
    expect(scenario.until('the offer shows reservation and volume').flatMap(tasksOf)).to.have.length(1)
    expect(scenario.node('node-1').state).to.equal('launching')
    scenario.until('ACCEPT: LAUNCH node-1.a')
    expect(scenario.node('node-1').state).to.equal('launching')
    scenario.launched('node-1', 'node-1.a')
    scenario.until('KILL node-1.a')
    expect(scenario.node('node-1')).to.include({ state: 'running' })
    const calls = scenario.until('sandbox stdout of node-1.b')
    expect(scenario.node('node-1').reason).to.contain('launched on 127.0.0.1')
    expect(calls.flatMap(tasksOf).at(-1)!.resources.find(({ disk }) => disk?.persistence !== undefined)!.disk!.persistence!.id).to.equal('vol-replica-1')
  })

  it('03: volumes and reservations outlive the framework; another one of the role adopts them by their labels', async () => {
    const scenario = await Scenario.begin('03', { nodes: [{ id: 'node-1', resourceId: 'replica-1', persistenceId: 'vol-replica-1', agentId: 'agent of before' }] })
    scenario.until('the framework is torn down')
    const calls = scenario.until('the new framework launches on the volume')
    expect(operationTypes(calls)).to.deep.include(['LAUNCH'])
    expect(scenario.node('node-1').agentId).to.not.equal('agent of before')
  })

  it('04: a launch in a stale offer was dropped: it is begun again; a task that is invalid waits; neither costs the volume', async () => {
    const ends = new Map(timelineOf('04').flatMap((moment) => 'event' in moment && moment.event.type === 'UPDATE' ? [[moment.event.update.status.task_id.value, moment.event.update.status] as const] : []))
    const failed = [...ends].filter(([, { state }]) => state === 'TASK_DROPPED' || state === 'TASK_ERROR')
    expect(failed.length).to.be.greaterThan(10)
    for (const [taskId, { state, reason }] of failed) {
      const scenario = await Scenario.begin('04', { nodes: [running('04', 'node-1', taskId) as { id: string }] })
      scenario.until()
      const node = scenario.node('node-1')
      expect(node, taskId).to.include({ state: state === 'TASK_DROPPED' ? 'placed' : 'backoff', persistenceId: 'v-node-1', task: null })
      expect(node.reason, taskId).to.contain(state).and.contain(reason)
    }
  })

  it('06: the newest subscription wins: the older scheduler stops for good', async () => {
    const notices = await replayToClient(readRecording('06').responses(1))
    expect(notices.at(-1)).to.include({ type: 'stopped', code: 'ATOLL_MESOS_FAILED_OVER' })
  })

  it('07: each end of a task is an end, with state, reason and message; a failure of health is none until the task ends', async () => {
    for (const [taskId, note, reason] of [
      ['exits-3', 'a task that exits 0', 'TASK_FAILED: Command exited with status 3'],
      ['exits-0', 'a task that ends by SIGKILL', 'TASK_FINISHED: Command exited with status 0'],
      ['kills-itself', 'a shell command that does not exist', 'TASK_FAILED: Command terminated with signal Killed'],
      ['uri-file', 'a URI that cannot be fetched (http', 'TASK_FAILED: REASON_CONTAINER_LAUNCH_FAILED: Failed to launch container'],
      ['max-completion', 'a task that writes more', 'TASK_FAILED: REASON_MAX_COMPLETION_TIME_REACHED'],
      ['disk-limit', 'health check of a task', 'TASK_FAILED: REASON_CONTAINER_LIMITATION_DISK: Disk usage'],
      ['health-fails', 'health check that fails within', 'TASK_KILLED: its health check fails']
    ] as const) {
      const scenario = await Scenario.begin('07', { nodes: [{ ...running('07', 'node-1', taskId), id: 'node-1' }] })
      scenario.until(note)
      expect(scenario.node('node-1'), taskId).to.include({ state: 'placed', attempts: 1 })
      expect(scenario.node('node-1').reason, taskId).to.contain(reason)
    }
    const flaps = await Scenario.begin('07', { nodes: [{ ...running('07', 'node-1', 'health-flaps'), id: 'node-1' }] })
    flaps.until('health check that fails: three failures')
    expect(flaps.node('node-1').reason).to.contain('TASK_FINISHED')
  })

  it('08: TASK_UNREACHABLE is not the end: the task is what it was, or its end is told, when the agent returns; old news does not set it back', async () => {
    const scenario = await Scenario.begin('08', { nodes: [{ ...onVolume('08', 'node-1'), id: 'node-1' }, { ...running('08', 'node-2', 'plain-1'), id: 'node-2' }, { ...running('08', 'node-3', 'late-1'), id: 'node-3' }] })
    scenario.until('ACCEPT of the held offer')
    expect(scenario.states()).to.deep.equal(['node-1 launching', 'node-2 running', 'node-3 launching'])
    scenario.until('RECONCILE explicit and implicit')
    expect(scenario.states()).to.deep.equal(['node-1 unreachable', 'node-2 unreachable', 'node-3 unreachable'])
    scenario.until('KILL of the unreachable')
    // Asked for without its agent, a task of an agent that is away is UNKNOWN: that is not the end either.
    expect(scenario.states()).to.deep.equal(['node-1 unreachable', 'node-2 unreachable', 'node-3 unreachable'])
    const calls = scenario.until('RECONCILE explicit after the return')
    // node-2 in a long back-off: the recorded framework has used its task id a second time, which is a TASK_ERROR.
    expect(scenario.states()).to.deep.equal(['node-1 running', 'node-2 backoff', 'node-3 unreachable'])
    expect(killed(calls)).to.deep.equal([])
    // The launch that never arrived: the agent does not know it.
    scenario.until('short stop')
    expect(scenario.states()).to.deep.equal(['node-1 running', 'node-2 backoff', 'node-3 placed'])
    scenario.until('SIGCONT')
    expect(scenario.node('node-1').state).to.equal('unreachable')
    scenario.until()
    expect(scenario.node('node-1').state).to.equal('running')
  })

  it('09: whatever happens to an agent, its volume comes back and is launched on, by its persistence id, under any agent id', async () => {
    const scenario = await Scenario.begin('09', { nodes: [{ ...onVolume('09', 'node-1'), id: 'node-1' }] })
    scenario.until('RECONCILE explicit')
    expect(scenario.node('node-1').state).to.equal('running')
    const relaunches: string[] = []
    for (const [before, taskId] of [['relaunch on the volume as node-1.b', 'node-1.b'], ['relaunch on the volume as node-1.c', 'node-1.c'], ['relaunch on the volume as node-1.d', 'node-1.d'], ['relaunch on the volume as node-1.e', 'node-1.e']] as const) {
      const calls = scenario.until(before)
      relaunches.push(...calls.flatMap(tasksOf).map(({ agent_id: agent }) => agent.value.slice(-2)))
      scenario.launched('node-1', taskId)
      // Without the pauses between failures: what was recorded does not wait for them.
      scenario.do({ type: 'retry', id: 'node-1' })
    }
    expect(relaunches).to.deep.equal(['S0', 'S0', 'S0', 'S3'])
    scenario.until('executor killed')
    expect(scenario.node('node-1').state).to.equal('running')
    scenario.until('TEARDOWN')
    expect(scenario.node('node-1').launches).to.be.greaterThan(8)
  })

  it('10: TASK_GONE_BY_OPERATOR is final: the volume is lost, another node takes the place', async () => {
    const scenario = await Scenario.begin('10', { nodes: [{ ...running('10', 'node-1', 'node-1'), id: 'node-1' }] })
    scenario.until('RECONCILE explicit')
    expect(scenario.states()[0]).to.equal('node-1 gone')
    scenario.until()
    expect(scenario.states()[0]).to.equal('node-1 gone')
    expect(scenario.states()[1]).to.match(/^node-2/)
  })

  it('11: each inverse offer is answered; TASK_LOST by maintenance is the end of the task, not of the volume', async () => {
    const scenario = await Scenario.begin('11', { nodes: [{ ...running('11', 'node-1', 'node-1'), id: 'node-1' }] })
    scenario.map = mapOf(['node-1', 'node-2'], { managers: ['node-2'], yielding: ['node-1'] })
    const calls = scenario.until('RECONCILE explicit; GET_MAINTENANCE_STATUS')
    expect(types(calls).filter((type) => type === 'ACCEPT_INVERSE_OFFERS')).to.have.length(5)
    expect(scenario.node('node-1')).to.include({ state: 'placed', persistenceId: 'v-node-1' })
    expect(scenario.node('node-1').reason).to.contain('TASK_LOST').and.contain('Machine DOWN')
  })

  it('12: REASON_AGENT_DRAINING is planned, not a failure; with mark_gone the volume is lost', async () => {
    const scenario = await Scenario.begin('12', { nodes: [{ ...running('12', 'node-1', 'node-1'), id: 'node-1' }, { ...running('12', 'node-2', 'node-2'), id: 'node-2' }] })
    scenario.until('operator: GET_AGENTS when drained')
    expect(scenario.node('node-1')).to.include({ state: 'placed', attempts: 0, retryInMs: null })
    scenario.until('operator: DRAIN_AGENT with mark_gone')
    expect(scenario.node('node-2').state).to.equal('running')
    scenario.until()
    expect(scenario.node('node-2').state).to.equal('gone')
  })

  it('13: silence means not known yet: each task is asked for until it is answered; no task is given up or launched twice meanwhile', async () => {
    const scenario = await Scenario.begin('13', { nodes: [{ ...running('13', 'node-1', 'node-1'), id: 'node-1' }, { ...running('13', 'node-2', 'node-2'), id: 'node-2' }] })
    scenario.until('the process of agent r2 is stopped')
    expect(scenario.states()).to.deep.equal(['node-1 running', 'node-2 running'])
    const calls = scenario.until('RECONCILE explicit: every task is answered')
    expect(scenario.states()).to.deep.equal(['node-1 running', 'node-2 running'])
    const asked = calls.flatMap((call) => call.type === 'RECONCILE' ? [call.reconcile.tasks.map(({ task_id: id }) => id.value).join()] : [])
    expect(asked[0]).to.equal('node-1,node-2')
    expect(asked.at(-1)).to.equal('node-2')
    expect(asked.length).to.be.greaterThan(2)
    expect(calls.flatMap(tasksOf)).to.deep.equal([])
    expect(calls.every((call) => call.type !== 'RECONCILE' || call.reconcile.tasks.every(({ agent_id: agent }) => agent !== undefined))).to.equal(true)
  })

  it('15: the id is dead, the reservations are not: under a new id the volume is adopted', async () => {
    const recording = readRecording('15')
    const removed = recording.subscriptions().find((conn) => recording.events(conn).some((event) => event.type === 'ERROR' && event.error.message.includes('removed')))!
    expect((await replayToClient(recording.responses(removed))).at(-1)).to.include({ type: 'stopped', code: 'ATOLL_MESOS_REMOVED' })
    const scenario = await Scenario.begin('15', { nodes: [{ id: 'node-1', resourceId: 'replica-1', persistenceId: 'vol-replica-1' }] })
    scenario.until('subscribe without an id')
    scenario.do({ type: 'forgetFrameworkId' })
    expect(scenario.until('RECONCILE by the new framework').flatMap(tasksOf)).to.have.length(1)
  })

  it('17: a MOUNT disk is taken whole or not at all, the one that fits best; of a PATH disk what is needed', async () => {
    for (const [diskType, wantedMb, takenMb, root] of [['mount', 20, 32, 'mount1'], ['mount', 40, 48, 'mount2'], ['mount', 60, null, ''], ['path', 600, 600, 'path1']] as const) {
      const scenario = await Scenario.begin('17', { settings: { diskType, resources: { cpus: 1, memMb: 256, diskMb: wantedMb } } })
      const operations = scenario.until('RESERVE of 500 MB').flatMap((call) => call.type === 'ACCEPT' ? call.accept.operations : [])
      const disks = operations.slice(0, 2).flatMap((operation) => operation.type === 'RESERVE' ? operation.reserve.resources : operation.type === 'CREATE' ? operation.create.volumes : [])
        .filter(({ name }) => name === 'disk')
      expect(disks.map(({ scalar, disk }) => [scalar!.value, (disk!.source!.mount ?? disk!.source!.path)!.root!.split('/').at(-1)]), `${diskType} ${wantedMb}`)
        .to.deep.equal(takenMb === null ? [] : [[takenMb, root], [takenMb, root]])
      if (takenMb === null) expect(scenario.node('node-1')).to.include({ state: 'wanted', reason: 'no offer fits' })
    }
  })

  it('18: what is reserved for a role above is refined; what is refined is not offered to the role above', async () => {
    const scenario = await Scenario.begin('18', { role: 'atoll/cluster-a' })
    const [reserve] = scenario.until('LAUNCH on the refined').flatMap((call) => call.type === 'ACCEPT' ? call.accept.operations : [])
    const cpus = reserve?.type === 'RESERVE' ? reserve.reserve.resources.find(({ name }) => name === 'cpus') : undefined
    expect(cpus?.reservations?.map(({ type, role }) => [type, role])).to.deep.equal([['STATIC', 'atoll'], ['DYNAMIC', 'atoll/cluster-a']])
    const toParent = timelineOf('18').flatMap((moment) => 'event' in moment && moment.event.type === 'OFFERS' ? moment.event.offers.offers : []).filter(({ allocation_info: allocation }) => allocation?.role === 'atoll')
    expect(toParent).to.not.deep.equal([])
    expect(toParent.flatMap(({ resources = [] }) => resources.flatMap(({ reservations = [] }) => reservations.map(({ role }) => role))).filter((role) => role !== 'atoll')).to.deep.equal([])
  })

  it('20: a FAILURE that names an executor is not the loss of an agent, and changes nothing', async () => {
    const scenario = await Scenario.begin('20', { nodes: [{ ...running('20', 'node-1', 'group-1.a'), id: 'node-1' }, { ...running('20', 'node-2', 'group-1.b'), id: 'node-2' }] })
    scenario.until('operator: GET_EXECUTORS')
    expect(scenario.states()).to.deep.equal(['node-1 running', 'node-2 running'])
    scenario.until()
    expect(scenario.states()).to.deep.equal(['node-1 placed', 'node-2 placed'])
    expect(scenario.node('node-1').reason).to.contain('TASK_KILLED')
  })
})
