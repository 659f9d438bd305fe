import { expect } from 'chai'
import { settledYields } from '../../fsnode/manager/yields.ts'
import { SimCluster } from './sim-cluster.ts'

describe('nodes that are going to be away soon', () => {
  let cluster: SimCluster
  const begin = async (init: Partial<ConstructorParameters<typeof SimCluster>[0]> = {}): Promise<void> => {
    cluster = await new SimCluster({ nodes: 4, ...init }).start()
    for (const { report } of cluster.processes.values()) report.leads = 0
    await cluster.createVolume({ dataPartitions: 12 })
    await cluster.clock.until(() => cluster.healthy(), 10_000)
  }
  const yields = (node: string, yields: boolean) => cluster.clock.run(cluster.process('node-1').router.toManager('manager.yield-node', { node, yields })).then(({ body }) => body.done)
  const led = (node: string): number => cluster.leadersOf().get(node) ?? 0

  afterEach(() => { cluster.finish() })

  it('lead nothing within a moment, keep their replicas, get no lead back; when they stay after all they do', async () => {
    await begin()
    const replicas = JSON.stringify(cluster.map.data.map((partition) => partition.replicas))
    const before = cluster.clock.now()
    expect(await yields('node-2', true)).to.equal(true)
    expect(cluster.clock.now() - before).to.be.lessThan(1_500)
    expect(led('node-2')).to.equal(0)
    expect(cluster.node('node-2')).to.include({ state: 'up', yields: 'done' })
    const leaders = cluster.map.data.map(({ primary }) => primary)
    await cluster.clock.advance(30_000)
    expect(cluster.map.data.map(({ primary }) => primary), 'no lead moves to and fro').to.deep.equal(leaders)
    expect(JSON.stringify(cluster.map.data.map((partition) => partition.replicas))).to.equal(replicas)
    expect(await yields('node-2', false)).to.equal(true)
    expect(cluster.node('node-2').yields).to.equal(undefined)
    await cluster.clock.until(() => cluster.healthy(), 10_000)
    expect(led('node-2')).to.equal(3)
  })

  it('go on leading what nobody else can', async () => {
    await begin({ nodes: 3 })
    for (const node of ['node-1', 'node-2', 'node-3']) expect(await yields(node, true), node).to.equal(true)
    await cluster.clock.advance(10_000)
    expect(cluster.map.data.every(({ primary }) => primary !== null)).to.equal(true)
    await yields('node-2', false)
    await cluster.clock.until(() => led('node-2') === 12, 5_000)
  })

  it('begin anew with another process', async () => {
    await begin()
    await yields('node-2', true)
    cluster.kill('node-2')
    await cluster.restart('node-2')
    await cluster.clock.until(() => cluster.healthy(), 10_000)
    expect(cluster.node('node-2').yields).to.equal(undefined)
    expect(led('node-2')).to.equal(3)
  })

  it('what a process has said of itself before it ended means nothing to the next one, whenever it arrives', async () => {
    await begin()
    const { incarnation } = cluster.node('node-2')
    cluster.kill('node-2')
    await cluster.restart('node-2')
    await cluster.clock.until(() => cluster.node('node-2').incarnation !== incarnation, 10_000)
    await cluster.clock.run(cluster.process('node-1').router.toManager('manager.yield-node', { node: 'node-2', yields: true, incarnation }))
    expect(cluster.node('node-2').yields).to.equal(undefined)
    await cluster.clock.run(cluster.process('node-1').router.toManager('manager.yield-node', { node: 'node-2', yields: true, incarnation: cluster.node('node-2').incarnation }))
    expect(cluster.node('node-2').yields).to.equal('asked')
  })

  it('are done when their own word says that they lead no group, and not any more when they come to', async () => {
    await begin()
    const { report } = cluster.process('node-3')
    delete report.leads
    expect(await yields('node-3', true)).to.equal(false)
    expect(led('node-3')).to.equal(0)
    report.leads = 1
    await cluster.clock.advance(2_000)
    expect(cluster.node('node-3').yields).to.equal('asked')
    report.leads = 0
    await cluster.clock.until(() => cluster.node('node-3').yields === 'done', 2_000)
    report.leads = 1
    await cluster.clock.until(() => cluster.node('node-3').yields === 'asked', 2_000)
  })

  it('hand over more leads at once than come back at once', async () => {
    await begin()
    cluster.kill('node-4')
    await cluster.clock.until(() => cluster.node('node-4').state === 'down', 5_000)
    await yields('node-1', true)
    expect(led('node-1') + led('node-4')).to.equal(0)
  })

  for (const [what, move] of [['a node is emptied', { drain: true }], ['an operator moves a replica', { drain: false }]] as const) {
    it(`hold no plan up: ${what}, and what they are to lead others lead meanwhile`, async () => {
      await begin()
      await yields('node-4', true)
      const { router } = cluster.process('node-1')
      if (move.drain) await cluster.clock.run(router.toManager('manager.drain-node', { node: 'node-2', drain: true }))
      else {
        const { id } = cluster.map.data.find(({ replicas, primary }) => primary === 'node-2' && replicas.every(({ node }) => node !== 'node-4'))!
        await cluster.clock.run(router.toManager('manager.move-partition', { partition: id, from: 'node-2', to: 'node-4' }))
      }
      const areOver = async (): Promise<boolean> => (await cluster.clock.run(router.toManager('manager.plans', {}))).body.plans.every(({ phase }) => phase === 'ended')
      await cluster.clock.advance(60_000)
      expect(await areOver()).to.equal(true)
      expect(led('node-4')).to.equal(0)
      if (move.drain) expect(cluster.states('node-2').size).to.equal(0)
      await yields('node-4', false)
      await cluster.clock.until(() => cluster.healthy(), 20_000)
      expect(led('node-4')).to.be.greaterThan(0)
    })
  }

  it('are unknown to who asks for a node that is not there', async () => {
    await begin()
    const code = await cluster.clock.run(cluster.process('node-1').router.toManager('manager.yield-node', { node: 'none', yields: true }).then(() => '', (error: { code: string }) => error.code))
    expect(code).to.equal('ATOLL_UNKNOWN_NODE')
    expect(settledYields(cluster.map, () => 0)).to.deep.equal([])
  })
})
