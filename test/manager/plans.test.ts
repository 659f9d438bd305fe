import { expect } from 'chai'
import { replicaMovesMax } from '../../fsnode/manager/bounds.ts'
import { ManagerState } from '../../fsnode/manager/manager-state.ts'
import type { PlanSummary } from '../../fsnode/protocol/manager.ts'
import type { Method, Methods } from '../../fsnode/protocol/methods.ts'
import { place } from '../../partitioning/placement.ts'
import type { ClusterMap, DataPartition } from '../../partitioning/types.ts'
import { SimCluster } from './sim-cluster.ts'

describe('plans of moves', () => {
  let cluster: SimCluster
  const begin = async (init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<void> => {
    cluster = await new SimCluster({ nodes: 5, ...init }).start()
  }
  const ask = async <M extends Method>(method: M, request: Methods[M]['request']): Promise<Methods[M]['response']> =>
    (await cluster.clock.run(cluster.alive()[0]!.router.toManager(method, request))).body
  const failure = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'it did not fail', (error) => error.code)
  const partition = (id: string): DataPartition => cluster.map.data.find((candidate) => candidate.id === id)!
  const holders = (id: string): string[] => partition(id).replicas.map(({ node }) => node)
  const plan = async (id: number): Promise<PlanSummary> => (await ask('manager.plan', { plan: id })).plan
  const planEnds = async (id: number, limitMs = 60_000): Promise<PlanSummary> => {
    const over = (): boolean => [...cluster.managers.values()].some((manager) => ['ended', 'aborted'].includes(manager.planState(id)?.phase ?? ''))
    await cluster.clock.until(over, limitMs, `plan ${id}`)
    return plan(id)
  }
  const elsewhere = (id: string): string => cluster.ids.find((node) => !holders(id).includes(node))!
  const countsOf = (map: ClusterMap): number[] => cluster.ids.map((id) => map.data.filter(({ replicas }) => replicas.some(({ node }) => node === id)).length)

  /** Calls back with every map that the manager commits. */
  const watch = (look: (map: ClusterMap) => void): void => {
    cluster.managers.get(cluster.log.leader!)!.onMap(look)
  }

  afterEach(() => { cluster.finish() })

  it('a replica is copied, then hands over its lead, then goes: three serve at every moment', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 10 })
    await cluster.clock.advance(1_000)
    const { id, primary, replicas } = partition('1.d.0')
    const [from, to] = [primary!, elsewhere(id)]
    const seen: string[] = []
    watch(({ data }) => {
      const now = data.find((one) => one.id === id)!
      expect(now.replicas.filter(({ state }) => state === 'serving').length).to.be.at.least(3)
      const stateOf = (node: string): string => now.replicas.find((replica) => replica.node === node)?.state ?? '-'
      const line = `${stateOf(from)} ${stateOf(to)} ${now.primary === from ? 'from' : now.primary === to ? 'to' : now.primary ?? 'nobody'}`
      if (seen.at(-1) !== line) seen.push(line)
    })
    const begun = (await ask('manager.move-partition', { partition: id, from, to })).plan!
    const ended = await planEnds(begun.id)
    expect(ended).to.include({ kind: 'move', phase: 'ended', moves: 1, movesDone: 1, why: `${id} from ${from} to ${to}` })
    expect(seen).to.deep.equal(['serving - from', 'serving waiting from', 'serving syncing from', 'serving serving from', 'serving serving nobody', 'serving serving to', '- serving to'])
    expect(holders(id)).to.have.members([...replicas.map(({ node }) => node).filter((node) => node !== from), to])
    // It stays there: nothing else has changed.
    await cluster.clock.advance(30_000)
    expect(holders(id)).to.include(to)
    expect(partition(id).primary).to.equal(to)
  })

  const moments: Array<[string, (from: string, to: string, one: DataPartition) => boolean]> = [
    ['the plan is made', () => true],
    ['the replica is added', (_, to, { replicas }) => replicas.some(({ node }) => node === to)],
    ['it is being copied', (_, to, { replicas }) => replicas.some(({ node, state }) => node === to && state === 'syncing')],
    ['it serves', (_, to, { replicas }) => replicas.some(({ node, state }) => node === to && state === 'serving')],
    ['nobody leads', (_, __, { primary }) => primary === null],
    ['the lead is handed over', (_, to, { primary }) => primary === to],
    ['the source is dropped', (from, _, { replicas }) => !replicas.some(({ node }) => node === from)]
  ]
  for (const victim of ['the manager\'s leader', 'the source', 'the target'] as const) {
    it(`${victim} is killed at any moment of a move, for a moment or for a while: the move comes to its end`, async () => {
      for (const [what, isNow] of moments) {
        for (const awayMs of [500, 20_000]) {
          await begin({ checkIntervalMs: 50 })
          await cluster.createVolume({ dataPartitions: 5 })
          await cluster.clock.advance(1_000)
          const { id } = partition('1.d.1')
          const from = partition(id).primary!
          const to = elsewhere(id)
          const begun = (await ask('manager.move-partition', { partition: id, from, to })).plan!
          await cluster.clock.until(() => isNow(from, to, partition(id)), 20_000, what)
          const killed = victim === 'the source' ? from : victim === 'the target' ? to : cluster.log.leader!
          cluster.kill(killed)
          await cluster.clock.advance(awayMs)
          await cluster.restart(killed)
          const ended = await planEnds(begun.id, 120_000)
          await cluster.clock.until(() => cluster.healthy(), 30_000, `${victim}, when ${what}, for ${awayMs} ms`)
          expect([ended.phase, ended.movesDone], `${victim}, when ${what}`).to.deep.equal(['ended', 1])
          expect(holders(id)).to.include(to).and.not.include(from)
          expect(holders(id).length).to.equal(3)
          cluster.finish()
        }
      }
    }).timeout(60_000)
  }

  it('a target that stays away is given up for now, and the copy is tried again when it is back', async () => {
    await begin({ checkIntervalMs: 1_000 })
    await cluster.createVolume({ dataPartitions: 5 })
    await cluster.clock.advance(1_000)
    const { id, primary } = partition('1.d.0')
    const to = elsewhere(id)
    const begun = (await ask('manager.move-partition', { partition: id, from: primary!, to })).plan!
    await cluster.clock.until(() => holders(id).includes(to), 5_000)
    cluster.kill(to)
    await cluster.clock.until(() => !holders(id).includes(to), 120_000)
    expect(holders(id)).to.include(primary)
    await cluster.restart(to)
    expect((await planEnds(begun.id)).movesDone).to.equal(1)
    expect(holders(id)).to.include(to)
  }).timeout(20_000)

  it('a plan outlives the manager\'s leader: what is paused stays so, what is resumed goes on', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(1_000)
    await ask('manager.set-balance', { copiesPerNode: 1 })
    await ask('manager.drain-node', { node: 'node-4', drain: true })
    await cluster.clock.until(() => cluster.map.data.some(({ replicas }) => replicas.length > 3), 10_000)
    const { plans } = await ask('manager.control-plan', { action: 'pause' })
    const { id } = plans.find(({ phase }) => phase === 'paused')!
    cluster.log.elect('node-2')
    await cluster.clock.advance(20_000)
    const held = countsOf(cluster.map)[3]!
    expect(held).to.be.greaterThan(0)
    expect(cluster.healthy()).to.equal(true)
    expect((await plan(id)).phase).to.equal('paused')
    await cluster.clock.advance(20_000)
    expect(countsOf(cluster.map)[3]).to.equal(held)
    await ask('manager.control-plan', { action: 'resume' })
    cluster.log.elect('node-3')
    await cluster.clock.until(() => countsOf(cluster.map)[3] === 0 && cluster.healthy(), 120_000)
  })

  it('a cancelled plan drops the copies that are under way and keeps what is done', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(1_000)
    await ask('manager.drain-node', { node: 'node-4', drain: true })
    await cluster.clock.until(() => countsOf(cluster.map)[3]! < 10, 20_000)
    cluster.holdSyncs = true
    await cluster.clock.until(() => cluster.map.data.some(({ replicas }) => replicas.some(({ state }) => state === 'syncing')), 10_000)
    const { plans, settings } = await ask('manager.control-plan', { action: 'cancel' })
    expect(settings.automatic).to.equal(false)
    const ended = await planEnds(plans[0]!.id)
    expect(ended.phase).to.equal('aborted')
    expect(ended.movesDone).to.be.greaterThan(0)
    expect(cluster.map.data.every(({ replicas }) => replicas.length === 3 && replicas.every(({ state }) => state === 'serving'))).to.equal(true)
    const held = countsOf(cluster.map)
    await cluster.clock.advance(30_000)
    expect(countsOf(cluster.map)).to.deep.equal(held)
    cluster.holdSyncs = false
  })

  it('no more copies from or to a node at once than the budget says, nor more bytes a second', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(1_000)
    // Each partition holds 1 MB; 250 kB/s are allowed: a copy every four seconds.
    for (const id of cluster.ids) cluster.process(id).report.stored = cluster.map.data.map(({ id: one }) => [one, 1e6])
    await cluster.clock.advance(2_000)
    await ask('manager.set-balance', { bytesPerSecond: 250_000, copiesPerNode: 1 })
    let most = 0
    watch(({ data }) => {
      const joining = data.flatMap(({ replicas }) => replicas.filter(({ state }) => state !== 'serving').map(({ node }) => node))
      most = Math.max(most, ...cluster.ids.map((id) => joining.filter((node) => node === id).length))
    })
    await ask('manager.drain-node', { node: 'node-5', drain: true })
    await cluster.clock.advance(1_000)
    const startedAt = cluster.clock.now()
    const { plans: [running] } = await ask('manager.plans', {})
    expect(running).to.include({ phase: 'running', why: 'node-5 drained', bytes: 12e6 })
    await planEnds(running!.id, 120_000)
    expect(cluster.clock.now() - startedAt).to.be.within(40_000, 52_000)
    expect(most).to.equal(1)
  })

  it('a new node gets its share by one plan, and no more than its share moves', async () => {
    await begin({ nodes: 4 })
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(6_000)
    const before = new Map(cluster.map.data.map(({ id }) => [id, holders(id)]))
    await cluster.boot('node-5')
    await cluster.clock.until(() => cluster.healthy() && cluster.map.data.filter(({ replicas }) => replicas.some(({ node }) => node === 'node-5')).length === 12, 120_000)
    const moved = cluster.map.data.flatMap(({ id, replicas }) => replicas.filter(({ node }) => !before.get(id)!.includes(node)))
    expect(moved.length).to.equal(12)
    await cluster.clock.advance(10_000)
    const { plans } = await ask('manager.plans', {})
    expect(plans.map(({ why, phase }) => [why, phase])).to.deep.equal([['node-5 new', 'ended']])
  })

  it('with balancing switched off a new node stays empty, but what a dead node held is replaced', async () => {
    await begin({ nodes: 4, checkIntervalMs: 5_000 })
    await cluster.createVolume({ dataPartitions: 8 })
    await ask('manager.set-balance', { automatic: false })
    await cluster.boot('node-5')
    await cluster.clock.advance(20_000)
    expect(cluster.states('node-5').size).to.equal(0)
    const lost = cluster.map.data.filter(({ replicas }) => replicas.some(({ node }) => node === 'node-4')).length
    cluster.kill('node-4')
    await cluster.clock.until(() => cluster.states('node-4').size === 0 && cluster.healthy(), 12 * 60_000)
    expect(cluster.map.data.filter(({ replicas }) => replicas.some(({ node }) => node === 'node-5')).length).to.be.within(1, lost)
  }).timeout(60_000)

  it('what an operator made uneven is evened out when asked for, and a dry run only says how', async () => {
    await begin({ nodes: 4 })
    await cluster.createVolume({ dataPartitions: 8 })
    await cluster.clock.advance(1_000)
    for (let moved = 0; moved < 3; moved++) {
      const { id } = cluster.map.data.find(({ replicas }) => replicas.some(({ node }) => node === 'node-1') && replicas.every(({ node }) => node !== 'node-2'))!
      await planEnds((await ask('manager.move-partition', { partition: id, from: 'node-1', to: 'node-2' })).plan!.id)
      if (countsOf(cluster.map)[1] === 8) break
    }
    await cluster.clock.advance(20_000)
    const uneven = countsOf(cluster.map)
    expect(uneven[1]! - uneven[0]!).to.be.at.least(4)
    const { plan: none, moves } = await ask('manager.rebalance', { dryRun: true })
    expect([none, moves.filter(({ kind }) => kind === 'replica').length]).to.deep.equal([null, (uneven[1]! - 6)])
    expect(countsOf(cluster.map)).to.deep.equal(uneven)
    const { plan: begun } = await ask('manager.rebalance', { token: 't' })
    expect((await ask('manager.rebalance', { token: 't' })).plan!.id).to.equal(begun!.id)
    await planEnds(begun!.id)
    expect(countsOf(cluster.map)).to.deep.equal([6, 6, 6, 6])
    expect((await ask('manager.rebalance', {})).plan).to.equal(null)
  })

  it('a volume gets more replicas, or fewer, while it serves', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 10, replicas: 2 })
    await cluster.clock.advance(1_000)
    let least = Infinity
    watch(({ data }) => { least = Math.min(least, ...data.map(({ replicas }) => replicas.filter(({ state }) => state === 'serving').length)) })
    await ask('manager.set-volume', { name: 'main', replicas: 3 })
    await cluster.clock.until(() => cluster.healthy() && cluster.map.data.every(({ replicas }) => replicas.length === 3), 60_000)
    expect(countsOf(cluster.map)).to.deep.equal([6, 6, 6, 6, 6])
    await ask('manager.set-volume', { name: 'main', replicas: 2 })
    await cluster.clock.until(() => cluster.healthy() && cluster.map.data.every(({ replicas }) => replicas.length === 2), 60_000)
    expect(countsOf(cluster.map)).to.deep.equal([4, 4, 4, 4, 4])
    expect(least).to.equal(2)
  })

  it('another policy: every partition gets a new epoch at once', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 10 })
    await cluster.clock.advance(1_000)
    const before = new Map(cluster.map.data.map(({ id, epoch }) => [id, epoch]))
    await ask('manager.set-volume', { name: 'main', placement: 'tivoli' })
    expect(cluster.map.volumes[0]!.placement).to.equal('tivoli')
    for (const { id, epoch } of cluster.map.data) expect(epoch).to.be.greaterThan(before.get(id)!)
    await cluster.clock.advance(6_000)
    const { version } = cluster.map
    await ask('manager.set-volume', { name: 'main', placement: 'tivoli' })
    expect(cluster.map.version).to.equal(version)
    await cluster.clock.until(() => cluster.healthy(), 20_000)
  })

  it('a volume that is removed in the midst of a plan does not hold it up', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(1_000)
    await ask('manager.drain-node', { node: 'node-4', drain: true })
    await cluster.clock.until(() => cluster.map.data.some(({ replicas }) => replicas.length > 3), 10_000)
    const { plans: [running] } = await ask('manager.plans', {})
    await ask('manager.remove-volume', { name: 'main' })
    await planEnds(running!.id, 30_000)
  })

  it('refuses what cannot be, with a code, and changes nothing', async () => {
    await begin({ nodes: 6 })
    await cluster.createVolume({ dataPartitions: 6 })
    await cluster.clock.advance(1_000)
    const { id } = partition('1.d.0')
    const [first, second] = holders(id)
    const others = cluster.ids.filter((node) => !holders(id).includes(node))
    const [free, dead, drained] = others as [string, string, string]
    cluster.kill(dead)
    await cluster.clock.until(() => cluster.node(dead).state === 'down', 5_000)
    await ask('manager.set-balance', { automatic: false })
    await ask('manager.drain-node', { node: drained, drain: true })
    await ask('manager.control-plan', { action: 'cancel' })
    await cluster.clock.advance(20_000)
    const { version } = cluster.map
    const move = (fields: object) => failure(ask('manager.move-partition', { partition: id, from: first!, to: free, ...fields }))
    expect(await move({ partition: '9.d.9' })).to.equal('ATOLL_NO_SUCH_PARTITION')
    expect(await move({ to: 'nobody' })).to.equal('ATOLL_UNKNOWN_NODE')
    expect(await move({ to: dead })).to.equal('ATOLL_NODE_DOWN')
    expect(await move({ to: drained })).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await move({ to: second })).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await move({ from: free, to: free })).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.plan', { plan: 77 }))).to.equal('ATOLL_NO_SUCH_PLAN')
    expect(await failure(ask('manager.control-plan', { plan: 77, action: 'pause' }))).to.equal('ATOLL_NO_SUCH_PLAN')
    expect(await failure(ask('manager.control-plan', { action: 'explode' as 'pause' }))).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.set-balance', { copiesPerNode: 0 }))).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.set-balance', { bytesPerSecond: -5 }))).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.set-volume', { name: 'none', replicas: 2 }))).to.equal('ATOLL_NO_SUCH_VOLUME')
    expect(await failure(ask('manager.set-volume', { name: 'main', replicas: 7 }))).to.equal('ATOLL_NOT_ENOUGH_NODES')
    expect(await failure(ask('manager.set-volume', { name: 'main', placement: 'bali' as 'hawaii' }))).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.rebalance', { volume: 'none' }))).to.equal('ATOLL_NO_SUCH_VOLUME')
    expect(cluster.map.version).to.equal(version)
    cluster.holdSyncs = true
    const begun = (await ask('manager.move-partition', { partition: id, from: first!, to: free })).plan!
    expect(await move({ from: second })).to.equal('ATOLL_PLAN_CONFLICT')
    await ask('manager.control-plan', { plan: begun.id, action: 'cancel' })
    expect((await planEnds(begun.id)).phase).to.equal('aborted')
    expect(await failure(ask('manager.control-plan', { plan: begun.id, action: 'resume' }))).to.equal('ATOLL_PLAN_ENDED')
    expect(replicaMovesMax).to.be.greaterThan(1)
  })

  it('draining a node that is dead replaces what it held at once; then it can be forgotten', async () => {
    await begin({ nodes: 5, managers: 1 })
    await cluster.createVolume({ dataPartitions: 10 })
    await cluster.clock.advance(1_000)
    expect(await failure(ask('manager.remove-node', { node: 'node-5' }))).to.equal('ATOLL_NODE_IN_USE')
    cluster.kill('node-5')
    await cluster.clock.until(() => cluster.node('node-5').state === 'down', 5_000)
    await ask('manager.drain-node', { node: 'node-5', drain: true })
    await cluster.clock.until(() => cluster.states('node-5').size === 0 && cluster.healthy(), 60_000)
    expect(cluster.map.data.every(({ replicas }) => replicas.length === 3)).to.equal(true)
    // The members of Raft groups are changed by their leaders, which are not here.
    await cluster.clock.until(() => cluster.map.metadata.every(({ change, members }) => !members.includes('node-5') || change?.target.includes('node-5') === false), 10_000)
    for (const { id, change } of cluster.map.metadata) {
      if (change !== undefined) await ask('manager.members-changed', { group: id, revision: change.revision, members: change.target })
    }
    await ask('manager.remove-node', { node: 'node-5' })
    expect(cluster.map.nodes.map(({ id }) => id)).to.not.include('node-5')
    expect(await failure(ask('manager.remove-node', { node: 'node-5' }))).to.equal('ATOLL_UNKNOWN_NODE')
    await cluster.clock.until(() => cluster.healthy(), 20_000)
  })

  it('a node that is not emptied any more leads its share again, also where nothing could leave it but leads', async () => {
    await begin({ nodes: 3 })
    await cluster.createVolume({ dataPartitions: 12 })
    await cluster.clock.advance(1_000)
    const leads = (): number => cluster.map.data.filter(({ primary }) => primary === 'node-1').length
    const before = leads()
    expect(before).to.equal(4)
    await ask('manager.drain-node', { node: 'node-1', drain: true })
    await cluster.clock.until(() => leads() === 0, 60_000, 'others lead')
    await ask('manager.drain-node', { node: 'node-1', drain: false })
    await cluster.clock.until(() => leads() === before && cluster.healthy(), 60_000, 'its share')
  })

  it('a backup brings back what the manager has lost: the fullest replica leads, all others are compared, nothing is dropped before', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 6 })
    await cluster.clock.advance(6_000)
    const { backup } = JSON.parse(JSON.stringify(await ask('manager.backup', {}))) as Methods['manager.backup']['response']
    expect(await failure(ask('manager.restore', { backup }))).to.equal('ATOLL_VOLUME_EXISTS')
    // Since then a partition has moved away altogether, and time has passed.
    const moved = partition('1.d.0')
    const free = cluster.ids.filter((id) => !holders('1.d.0').includes(id))
    for (const [at, to] of free.entries()) await planEnds((await ask('manager.move-partition', { partition: '1.d.0', from: moved.replicas[at]!.node, to })).plan!.id)
    const last = cluster.map
    cluster.finish()
    // The manager begins anew, knowing nothing; the nodes still have their files, of a volume that was made after the backup, too.
    await begin({ newestVolume: 2 })
    expect(await failure(cluster.createVolume())).to.equal('ATOLL_MAP_LOST')
    await cluster.clock.advance(2_000)
    const silent = cluster.alive()[0]!.router.toManager('manager.restore', { backup, dryRun: true }, { patienceMs: 0 })
    expect(await failure(cluster.clock.run(silent)), 'before all have told what they hold').to.equal('ATOLL_UNAVAILABLE')
    for (const id of cluster.ids) {
      cluster.process(id).report.stored = last.data.filter(({ replicas }) => replicas.some(({ node }) => node === id)).map(({ id: one }) => [one, one === '1.d.0' && id === free[0] ? 2e6 : 1e6])
    }
    await cluster.clock.advance(2_000)
    const report = await ask('manager.restore', { backup, dryRun: true })
    expect(cluster.map.volumes).to.deep.equal([])
    const first = report.partitions.find((one) => one.partition === '1.d.0')!
    const kept = moved.replicas.at(-1)!.node
    // Of those that served when the backup was taken only one still has files.
    expect(first.leads).to.equal(kept)
    expect(first.compare).to.have.members([...moved.replicas.map(({ node }) => node).filter((node) => node !== kept), ...free])
    await ask('manager.restore', { backup })
    expect(cluster.map.version).to.be.greaterThan(last.version)
    expect(cluster.map.data.every(({ id, epoch }) => epoch > last.data.find((one) => one.id === id)!.epoch)).to.equal(true)
    await cluster.clock.until(() => cluster.healthy() && cluster.map.data.every(({ replicas }) => replicas.length === 3), 60_000)
    expect(cluster.map.volumes).to.deep.equal(last.volumes)
    await cluster.createVolume({ name: 'later' })
    expect(cluster.map.volumes.map(({ id }) => id)).to.deep.equal([1, 3])
    expect(await failure(ask('manager.restore', { backup: { ...backup, map: { ...backup.map, clusterId: 'other' } } }))).to.equal('ATOLL_WRONG_CLUSTER')
    expect(await failure(ask('manager.restore', { backup: { format: 1 } as never }))).to.equal('ATOLL_BAD_ARGUMENT')
    expect(await failure(ask('manager.restore', { backup: null as never }))).to.equal('ATOLL_BAD_ARGUMENT')
  })

  it('Tivoli: a busy replica that leads nowhere changes places with an idle one of a cool node, and stays there', async () => {
    await begin({ nodes: 4, checkIntervalMs: 100 })
    await cluster.createVolume({ dataPartitions: 8, replicas: 1, placement: 'tivoli' })
    await cluster.clock.advance(6_000)
    const disk = (utilization: number) => ({ readBandwidth: 1e8, writeBandwidth: 1e8, readLatencyMs: 1, writeLatencyMs: 1, utilization })
    const ledBy = (id: string): string[] => cluster.map.data.filter(({ primary }) => primary === id).map((one) => one.id)
    const [hot, warm] = ledBy('node-3') as [string, string]
    const report = (): void => {
      for (const id of cluster.ids) {
        const mine = ledBy(id)
        const busy = mine.reduce((sum, one) => sum + (one === hot ? 0.55 : one === warm ? 0.3 : 0.02), 0)
        cluster.process(id).report = { usedBytes: 0, capacityBytes: 1e12, disk: disk(busy), load: mine.map((partition) => ({ partition, readBytes: 0, writeBytes: partition === hot ? 27e6 : partition === warm ? 15e6 : 1e6, reads: 0, writes: 1 })) }
      }
      cluster.clock.setTimer(report, 200)
    }
    report()
    await cluster.clock.until(() => ledBy('node-3').filter((id) => id === hot || id === warm).length === 1, 180_000)
    await cluster.clock.until(() => cluster.healthy(), 10_000)
    const { plans: [last] } = await ask('manager.plans', {})
    expect(last).to.include({ why: 'load leaves hot disks', moves: 2 })
    expect(cluster.ids.map((id) => ledBy(id).length)).to.deep.equal([2, 2, 2, 2])
    const where = holders(hot)
    await cluster.clock.advance(600_000)
    expect(holders(hot)).to.deep.equal(where)
  }).timeout(30_000)

  for (const placement of ['hawaii', 'tivoli'] as const) {
    it(`an upgrade moves nothing: each node in turn goes and comes back as another process, and no plan is made (${placement})`, async () => {
      await begin()
      await cluster.createVolume({ dataPartitions: 20, placement })
      await cluster.clock.advance(30_000)
      await cluster.clock.until(() => cluster.healthy(), 10_000)
      const where = (): string[][] => cluster.map.data.map(({ id }) => [id, ...holders(id)])
      const [before, plansBefore] = [where(), (await ask('manager.plans', {})).plans.length]
      for (const id of cluster.ids) {
        await ask('manager.yield-node', { node: id, yields: true })
        await cluster.clock.advance(1_000)
        cluster.kill(id)
        await cluster.clock.advance(15_000)
        await cluster.restart(id)
        await cluster.clock.until(() => cluster.healthy(), 60_000, `${id} is back`)
      }
      await cluster.clock.advance(60_000)
      expect(where()).to.deep.equal(before)
      expect((await ask('manager.plans', {})).plans.length).to.equal(plansBefore)
    }).timeout(20_000)
  }

  for (const automatic of [true, false]) {
    it(`whether a plan follows from other settings of a volume is undecided until it is made (balancing by itself ${automatic ? 'on' : 'off'})`, async () => {
      await begin()
      await cluster.createVolume({ dataPartitions: 10, replicas: 2 })
      await cluster.clock.advance(30_000)
      const { volumes: [{ name }] } = cluster.map as ClusterMap & { volumes: [{ name: string }] }
      await ask('manager.set-balance', { automatic })
      const look = (): Promise<Methods['manager.plans']['response']> => ask('manager.plans', { volume: name })
      const before = await look()
      expect(before.undecided).to.equal(false)
      await ask('manager.set-volume', { name, replicas: 3 })
      let seen = await look()
      for (let turns = 0; seen.undecided === true && turns < 100; turns++) {
        expect(seen.plans.length).to.equal(before.plans.length)
        await cluster.clock.advance(100)
        seen = await look()
      }
      expect([seen.undecided, seen.plans.length]).to.deep.equal([false, before.plans.length + 1])
      await planEnds(seen.plans[0]!.id)
      expect(cluster.map.data.map(({ replicas }) => replicas.length)).to.deep.equal(Array(10).fill(3))
      await ask('manager.set-volume', { name, replicas: 2 })
      await cluster.clock.advance(10_000)
      // What is merely too many waits until balancing is on.
      const after = await look()
      expect([after.undecided, after.plans.length]).to.deep.equal([false, before.plans.length + (automatic ? 2 : 1)])
      expect(await failure(ask('manager.plans', { volume: 'none' }))).to.equal('ATOLL_NO_SUCH_VOLUME')
    })
  }

  it('other weights of nodes, while it serves, are a plan of the least moves, which ends balanced', async () => {
    await begin()
    await cluster.createVolume({ dataPartitions: 40 })
    await cluster.clock.advance(30_000)
    expect(countsOf(cluster.map)).to.deep.equal([24, 24, 24, 24, 24])
    const plansBefore = (await ask('manager.plans', {})).plans.length
    // Two nodes get larger disks: 2 of 7 parts each instead of one of five.
    for (const id of ['node-1', 'node-2']) cluster.process(id).report = { usedBytes: 0, capacityBytes: 2e12, disk: null }
    watch(({ data }) => { for (const { replicas } of data) expect(replicas.filter(({ state }) => state === 'serving').length).to.be.at.least(3) })
    await cluster.clock.until(() => countsOf(cluster.map)[0]! > 24, 120_000, 'a move')
    const { plans: [made] } = await ask('manager.plans', {})
    expect((await planEnds(made!.id, 120_000)).movesGivenUp).to.equal(0)
    await cluster.clock.advance(60_000)
    const outcome = place(cluster.map, { placement: 'hawaii', partitions: cluster.map.data.map(({ id, replicas, primary }) => ({ id, replicas: 3, current: replicas.map(({ node }) => node), primary })) })
    for (const { node, replicaShare } of outcome.shares) expect(Math.abs(countsOf(cluster.map)[cluster.ids.indexOf(node)]! - replicaShare), node).to.be.lessThan(1)
    expect(outcome.added, 'nothing is left to move').to.equal(0)
    expect(countsOf(cluster.map).slice(0, 2).every((count) => count > 30)).to.equal(true)
    expect((await ask('manager.plans', {})).plans.length).to.equal(plansBefore + 1)
  }).timeout(20_000)

  it('a state of a version without plans opens, with nothing to do', () => {
    const { plans: _, balance: __, even: ___, ...image } = ManagerState.empty('c', ['a']).image
    const state = new ManagerState(image)
    expect([state.plans.all, state.settings.automatic]).to.deep.equal([[], true])
  })
})
