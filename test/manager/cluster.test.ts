import { expect } from 'chai'
import { leaseMarginMs, nodeLeaseMs } from '../../fsnode/manager/bounds.ts'
import { SimCluster } from './sim-cluster.ts'

describe('the manager in a simulated cluster', () => {
  let cluster: SimCluster
  const begin = async (init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<SimCluster> => cluster = await new SimCluster({ nodes: 3, ...init }).start()

  afterEach(() => { cluster.finish() })

  it('nodes register and a volume is placed evenly, with defaults for what is left out', async () => {
    await begin()
    await cluster.createVolume()
    const { volumes, data, metadata, nodes } = cluster.map
    expect(volumes).to.deep.equal([{
      id: 1, name: 'main', placement: 'hawaii', replicas: 3, chunkSizeBytes: 4 * 2 ** 20, inlineBytesMax: 16 * 1024, dataPartitions: 12, metadataPartitions: 2
    }])
    expect(nodes.map(({ id, state }) => [id, state])).to.have.deep.members([['node-1', 'up'], ['node-2', 'up'], ['node-3', 'up']])
    expect(data.map(({ id, epoch }) => [id, epoch])).to.deep.equal(Array.from({ length: 12 }, (_, at) => [`1.d.${at}`, 1]))
    expect([...cluster.leadersOf().values()]).to.deep.equal([4, 4, 4])
    expect(metadata.map(({ id, members }) => [id, members.length])).to.deep.equal([['1.m.0', 3], ['1.m.1', 3]])
    await cluster.clock.until(() => cluster.alive().reduce((sum, process) => sum + process.leads().length, 0) === 12, 5_000)
  })

  it('a dead node is replaced as primary after its lease, not before, and soon after', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    const diedAt = cluster.clock.now()
    cluster.kill('node-3')
    // Its last heartbeat was at most an interval ago.
    await cluster.clock.advance(nodeLeaseMs - 500)
    expect(cluster.leadersOf().get('node-3')).to.equal(4)
    await cluster.clock.until(() => !cluster.leadersOf().has('node-3') && !cluster.leadersOf().has(null), 5_000)
    expect(cluster.clock.now() - diedAt).to.be.lessThan(nodeLeaseMs + leaseMarginMs + 300)
    expect(cluster.leadersOf()).to.deep.equal(new Map([['node-1', 6], ['node-2', 6]]))
    expect(cluster.states('node-3')).to.deep.equal(new Set(['offline']))
  })

  it('a restarted node is brought up again and gets its leads back', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    cluster.kill('node-3')
    await cluster.clock.until(() => cluster.states('node-3').has('offline'), 5_000)
    cluster.holdSyncs = true
    await cluster.restart('node-3')
    await cluster.clock.until(() => cluster.states('node-3').has('syncing'), 2_000)
    const syncing = cluster.map.data.filter(({ replicas }) => replicas.some(({ state }) => state === 'syncing'))
    expect(syncing.length).to.be.within(1, 4)
    expect(cluster.leadersOf().has('node-3')).to.equal(false)
    cluster.holdSyncs = false
    cluster.kill('node-3')
    await cluster.restart('node-3')
    await cluster.clock.until(() => cluster.healthy(), 20_000)
    expect(cluster.leadersOf()).to.deep.equal(new Map([['node-1', 4], ['node-2', 4], ['node-3', 4]]))
  })

  it('a node that restarts within its lease is replaced at once, since its store proves that the old process has ended', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    cluster.kill('node-3')
    await cluster.clock.advance(200)
    await cluster.restart('node-3')
    await cluster.clock.until(() => !cluster.leadersOf().has('node-3') && !cluster.leadersOf().has(null), 500)
    await cluster.clock.until(() => cluster.healthy(), 10_000)
  })

  it('a cluster that was stopped serves again as soon as its nodes are back', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    for (const id of cluster.ids) cluster.kill(id)
    await cluster.clock.advance(60_000)
    for (const id of cluster.ids) await cluster.restart(id)
    const backAt = cluster.clock.now()
    await cluster.clock.until(() => cluster.map.data.every(({ primary }) => primary !== null) && cluster.alive().some((process) => process.leads().length > 0), 5_000)
    expect(cluster.clock.now() - backAt).to.be.lessThan(1_500)
    await cluster.clock.until(() => cluster.healthy(), 20_000)
  })

  it('a node that is cut off stops serving before another leads, and comes back by itself', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    for (const other of ['node-1', 'node-2']) cluster.network.cut('node-3', other)
    await cluster.clock.until(() => cluster.process('node-3').leads().length === 0, 5_000)
    expect(cluster.leadersOf().get('node-3')).to.equal(4)
    await cluster.clock.until(() => !cluster.leadersOf().has('node-3') && !cluster.leadersOf().has(null), 2_000)
    cluster.network.heal()
    await cluster.clock.until(() => cluster.healthy(), 20_000)
    expect(cluster.leadersOf().get('node-3')).to.equal(4)
  })

  it('the last serving replica is waited for: no stale one leads, and it leads again when it is back', async () => {
    await begin({ nodes: 5, managers: 1 })
    await cluster.createVolume({ replicas: 2, dataPartitions: 10 })
    const at = cluster.map.data.findIndex(({ replicas }) => replicas.every(({ node }) => node !== 'node-1'))
    const partition = (): typeof cluster.map.data[0] => cluster.map.data[at]!
    const [first, second] = partition().replicas.map(({ node }) => node) as [string, string]
    const stateOf = (id: string): string => partition().replicas.find(({ node }) => node === id)!.state
    await cluster.clock.advance(1_000)
    cluster.kill(second)
    await cluster.clock.until(() => stateOf(second) === 'offline', 5_000)
    cluster.kill(first)
    await cluster.clock.until(() => stateOf(first) === 'last', 6_000)
    expect(partition().primary).to.equal(null)
    await cluster.restart(second)
    await cluster.clock.until(() => stateOf(second) === 'waiting', 5_000)
    await cluster.clock.advance(10_000)
    expect(partition().primary).to.equal(null)
    await cluster.restart(first, false)
    await cluster.clock.until(() => partition().primary === first, 2_000)
    await cluster.clock.until(() => cluster.healthy(), 10_000)
  })

  it('a new leader of the manager waits a full lease before it judges anybody', async () => {
    await begin({ nodes: 4 })
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    cluster.kill('node-4')
    await cluster.clock.advance(2_000)
    cluster.log.elect('node-2')
    const electedAt = cluster.clock.now()
    await cluster.clock.advance(nodeLeaseMs)
    expect(cluster.node('node-4').state).to.equal('up')
    await cluster.clock.until(() => cluster.node('node-4').state === 'down' && !cluster.leadersOf().has('node-4') && !cluster.leadersOf().has(null), 2_000)
    expect(cluster.clock.now() - electedAt).to.be.within(nodeLeaseMs + leaseMarginMs, nodeLeaseMs + leaseMarginMs + 300)
    expect(cluster.map.nodes.filter(({ state }) => state === 'up').length).to.equal(3)
  })

  it('the node of the manager\'s leader dies: the next leader replaces it everywhere', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    cluster.kill('node-1')
    await cluster.clock.until(() => cluster.log.leader !== 'node-1' && !cluster.leadersOf().has('node-1') && !cluster.leadersOf().has(null), 10_000)
    await cluster.restart('node-1')
    await cluster.clock.until(() => cluster.healthy(), 20_000)
    await cluster.clock.advance(100)
    expect(cluster.managers.get('node-1')!.map).to.deep.equal(cluster.map)
  })

  it('the leader of the manager falls silent: the other nodes find the next one within their leases and serve on', async () => {
    await begin({ nodes: 5 })
    await cluster.createVolume({ dataPartitions: 20 })
    await cluster.clock.advance(2_000)
    for (const id of cluster.ids) cluster.network.cut('node-1', id)
    await cluster.clock.advance(1_000)
    cluster.log.elect('node-2')
    const others = cluster.ids.slice(1)
    const started = cluster.clock.now()
    let gaps = 0
    while (cluster.clock.now() < started + 12_000) {
      await cluster.clock.advance(50)
      gaps += others.filter((id) => !cluster.process(id).agent.leaseValid()).length
      for (const id of others) expect(cluster.node(id).state, id).to.equal('up')
    }
    expect(gaps).to.equal(0)
    expect(cluster.node('node-1').state).to.equal('down')
    expect(cluster.leadersOf().has(null)).to.equal(false)
    cluster.network.heal()
    await cluster.clock.until(() => cluster.healthy(), 20_000)
  })

  it('a second process under a node\'s id: the first stops, and the second serves only after the first one\'s lease', async () => {
    await begin()
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    const old = cluster.process('node-3')
    cluster.zombies.push(old)
    // It cannot show the store of the old one: it may be on another machine.
    cluster.network.crash('node-3')
    const process = await cluster.boot('node-3')
    const bootedAt = cluster.clock.now()
    await cluster.clock.until(() => old.replaced, 1_000)
    expect(old.agent.leaseValid()).to.equal(false)
    await cluster.clock.until(() => cluster.node('node-3').incarnation === process.incarnation, 5_000)
    expect(cluster.clock.now() - bootedAt).to.be.greaterThan(nodeLeaseMs - 500)
    await cluster.clock.until(() => cluster.healthy(), 20_000)
  })

  it('the same when the first is cut off and the manager has a new leader, which knows nothing of that lease', async () => {
    await begin({ nodes: 4 })
    await cluster.createVolume()
    await cluster.clock.advance(2_000)
    const old = cluster.process('node-4')
    cluster.zombies.push(old)
    for (const manager of cluster.managerIds) cluster.network.cut('node-4', manager)
    cluster.log.elect('node-2')
    await cluster.boot('node-4', undefined, 'elsewhere')
    await cluster.clock.advance(1_000)
    expect(old.leads().length).to.be.greaterThan(0)
    await cluster.clock.until(() => cluster.node('node-4').host === 'elsewhere' && cluster.healthy(), 20_000)
    expect(old.leads()).to.deep.equal([])
  })

  it('a lead moves only when the old leader has learned it, or its lease has run out', async () => {
    await begin({ nodes: 4, managers: 1 })
    await cluster.createVolume({ replicas: 4, dataPartitions: 4 })
    await cluster.clock.advance(1_000)
    // With as many leads on each, the next in order takes over.
    const led = cluster.map.data.find(({ replicas }) => replicas.slice(0, 2).every(({ node }) => node !== 'node-1'))!
    const partition = (): typeof led => cluster.map.data.find(({ id }) => id === led.id)!
    const first = led.primary!
    cluster.kill(first)
    await cluster.clock.until(() => cluster.states(first).has('offline') && !cluster.leadersOf().has(null), 5_000)
    cluster.holdSyncs = true
    await cluster.restart(first)
    await cluster.clock.until(() => !cluster.states(first).has('offline') && !cluster.states(first).has('waiting'), 5_000)
    const old = cluster.process(partition().primary!)
    cluster.network.cut(old.id, 'node-1')
    cluster.holdSyncs = false
    cluster.process(first).resumeSyncs()
    await cluster.clock.until(() => partition().primary === null, 1_000)
    expect(old.leads().map(({ id }) => id)).to.include(led.id)
    await cluster.clock.until(() => partition().primary !== null, 5_000)
    expect(old.leads()).to.deep.equal([])
    // Undisturbed, it takes a moment.
    cluster.network.heal()
    await cluster.clock.until(() => cluster.healthy(), 10_000)
  })

  it('a process that ended before it was registered does not replace the one after it, however late its request is decided', async () => {
    await begin()
    const { state: _state, ...node } = cluster.node('node-3')
    const register = (incarnation: string, previous?: { incarnation: string, intact: boolean }): Promise<string> =>
      cluster.process('node-1').router.toManager('manager.register', { clusterId: 'c', node: { ...node, incarnation }, previous }).then(() => 'well', (error) => error.code)
    cluster.kill('node-3')
    // Both wait until the lease of the registered process has run out.
    const [first, second] = [register('first'), cluster.clock.advance(10).then(() => register('second', { incarnation: 'first', intact: true }))]
    expect(await cluster.clock.run(Promise.all([first, second]))).to.deep.equal(['ATOLL_SUPERSEDED', 'well'])
    expect(await cluster.clock.run(register('first'))).to.equal('ATOLL_SUPERSEDED')
    expect(cluster.node('node-3').incarnation).to.equal('second')
  })

  it('a replaced incarnation never comes back', async () => {
    await begin()
    const old = cluster.process('node-3')
    cluster.kill('node-3')
    await cluster.restart('node-3')
    await cluster.clock.until(() => cluster.node('node-3').incarnation !== old.incarnation, 2_000)
    const { state: _state, ...node } = cluster.node('node-3')
    const again = cluster.process('node-1').router.toManager('manager.register', { clusterId: 'c', node: { ...node, incarnation: old.incarnation } })
    expect(await cluster.clock.run(again.catch((error) => error.code))).to.equal('ATOLL_SUPERSEDED')
  })

  it('random faults: never two leaders of a partition; all is well again when they end', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      await begin({ nodes: 5, seed })
      await cluster.createVolume({ dataPartitions: 10, placement: seed % 2 === 0 ? 'tivoli' : 'hawaii' })
      await runFaults(cluster, 30)
      await healAll(cluster)
      await cluster.clock.until(() => cluster.healthy(), 60_000, `seed ${seed}: ${JSON.stringify(cluster.map.data.map(({ replicas, primary }) => [primary, ...replicas.map(({ node, state }) => `${node}:${state}`)]))}`)
      cluster.finish()
    }
  })
})

async function runFaults (cluster: SimCluster, rounds: number): Promise<void> {
  const { random, network, ids, managerIds } = cluster
  for (let round = 0; round < rounds; round++) {
    const id = random.pick(ids)
    const isAlive = cluster.process(id).alive
    const managersAlive = managerIds.filter((manager) => cluster.managers.has(manager)).length
    switch (random.below(6)) {
      case 0: if (isAlive && (!managerIds.includes(id) || managersAlive === 3)) cluster.kill(id); break
      case 1: case 2: if (!isAlive) await cluster.restart(id, random.chance(0.7)); break
      case 3: network.cut(id, random.pick(ids)); break
      case 4: network.heal(); break
      case 5: cluster.log.elect(random.pick(managerIds.filter((manager) => cluster.managers.has(manager)))); break
    }
    report(cluster)
    await cluster.clock.advance(random.below(2_500))
  }
}

/** Some primary fails to reach some replica. */
function report (cluster: SimCluster): void {
  const process = cluster.random.pick(cluster.alive())
  const partition = process.leads()[0]
  const other = partition?.replicas.find(({ node, state }) => node !== process.id && state === 'serving')
  if (partition === undefined || other === undefined) return
  process.router.toManager('manager.report-replica', { partition: partition.id, epoch: partition.epoch, node: other.node, reporter: process.id }, { patienceMs: 1_000 }).catch(() => {})
}

async function healAll (cluster: SimCluster): Promise<void> {
  cluster.network.heal()
  for (const id of cluster.ids) if (!cluster.process(id).alive) await cluster.restart(id)
}
