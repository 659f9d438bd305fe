import { expect } from 'chai'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { SimCluster } from './cluster.ts'
import { drawConfig } from './config.ts'
import { SimRandom } from './random.ts'

describe('nodes that are going to be away soon, in a whole cluster', function () {
  this.timeout(60_000)
  let cluster: SimCluster
  let router: ClusterRouter

  beforeEach(async () => {
    cluster = new SimCluster(3, { ...drawConfig(new SimRandom(3)), nodes: 4, scheduled: false, replicas: 3, placement: 'hawaii', dataPartitions: 8, metadataPartitions: 3, driftMax: 0 })
    await cluster.start()
    await cluster.clock.until(() => cluster.healthy, 60_000)
    router = new ClusterRouter({ network: cluster.network.host('operator'), clock: cluster.clock, random: cluster.random.fork(), log: cluster.logger('operator') }, { seeds: cluster.seeds })
    await cluster.clock.run(router.start())
  })

  afterEach(() => {
    router.close()
    expect(cluster.violations).to.deep.equal([])
  })

  const leads = (id: string): string[] => [
    ...cluster.node(id).running?.groups().filter(({ status }) => status.role === 'leader').map((group) => group.id) ?? [],
    ...cluster.committedMap!.data.filter(({ primary }) => primary === id).map((partition) => partition.id)
  ]

  it('each in turn leads neither metadata, nor the manager, nor data, and does not come to while it yields', async () => {
    for (const { id } of cluster.nodes) {
      const before = cluster.clock.now()
      const { body } = await cluster.clock.run(router.toManager('manager.yield-node', { node: id, yields: true }))
      if (!body.done) await cluster.clock.until(() => cluster.committedMap!.nodes.find((node) => node.id === id)!.yields === 'done', 5_000, `${id} yields`)
      expect(cluster.clock.now() - before).to.be.lessThan(5_000)
      expect(leads(id)).to.deep.equal([])
      await cluster.clock.advance(10_000)
      expect(leads(id)).to.deep.equal([])
      await cluster.clock.run(router.toManager('manager.yield-node', { node: id, yields: false }))
    }
  })

  it('hold no plan up: the only one that does not yield is emptied, and those that do lead what it led', async () => {
    const { clock } = cluster
    const [first, ...others] = cluster.nodes.map(({ id }) => id)
    for (const node of others) await clock.run(router.toManager('manager.yield-node', { node, yields: true }))
    await clock.until(() => cluster.committedMap!.nodes.every(({ id, yields }) => id === first || yields === 'done'), 10_000)
    await clock.run(router.toManager('manager.drain-node', { node: first!, drain: true }))
    const held = (): string[] => {
      const { data, metadata, managers } = cluster.committedMap!
      const groups = [...metadata, { id: 'manager', members: managers }, ...data.map(({ id, replicas }) => ({ id, members: replicas.map(({ node }) => node) }))]
      return groups.filter(({ members }) => members.includes(first!)).map(({ id }) => id)
    }
    await clock.until(() => held().length === 0, 60_000).catch(() => { throw new Error(`${first} is not emptied of ${held().join()}`) })
    expect(leads(first!)).to.deep.equal([])
    expect(cluster.committedMap!.data.every(({ primary }) => primary !== null)).to.equal(true)
  })

  it('one that is stopped lets others lead before it ends: no partition is without a primary for longer than a hand-over takes', async () => {
    const first = cluster.nodes.find(({ running }) => running?.manager?.group.status.role === 'leader')!
    let vacantMs = 0
    let sinceMs: number | null = null
    const watch = (): void => {
      const isVacant = cluster.committedMap!.data.some(({ primary }) => primary === null || cluster.nodes.find(({ id }) => id === primary)!.down)
      sinceMs = isVacant ? sinceMs ?? cluster.clock.now() : null
      if (sinceMs !== null) vacantMs = Math.max(vacantMs, cluster.clock.now() - sinceMs)
      cluster.clock.setTimer(watch, 5)
    }
    watch()
    await cluster.clock.run(first.stop())
    expect(leads(first.id)).to.deep.equal([])
    await cluster.clock.advance(5_000)
    expect(vacantMs).to.be.lessThan(1_000)
  })
})
