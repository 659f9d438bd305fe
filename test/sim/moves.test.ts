import { expect } from 'chai'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import { SimCluster } from './cluster.ts'
import { drawConfig } from './config.ts'
import { SimRandom } from './random.ts'
import { runSeed } from './run.ts'

describe('moves in a whole cluster', function () {
  this.timeout(60_000)

  it('replicas, members, drains and policies change under load, and no operation fails', async () => {
    for (const seed of [202, 211]) {
      const { violations, unknown, operated } = await runSeed(seed, { config: { nodes: 5, faults: [], operateEveryMs: 800, durationMs: 12_000 } })
      expect(violations, `seed ${seed}`).to.deep.equal([])
      expect(Object.keys(unknown).filter((code) => code !== 'ENOENT' && code !== 'ESTALE'), `seed ${seed}`).to.deep.equal([])
      expect(Object.keys(operated).length, `seed ${seed}`).to.be.greaterThan(2)
    }
  })

  it('one node after the other is emptied of data, metadata and the manager; each starts again empty and takes its share', async () => {
    const cluster = new SimCluster(1, { ...drawConfig(new SimRandom(1)), nodes: 5, replicas: 3, placement: 'hawaii', dataPartitions: 10, metadataPartitions: 3, driftMax: 0 })
    const { clock } = cluster
    await cluster.start()
    await clock.until(() => cluster.healthy, 60_000)
    const router = new ClusterRouter({ network: cluster.network.host('operator'), clock, random: cluster.random.fork(), log: cluster.logger('operator') }, { seeds: cluster.seeds })
    await clock.run(router.start())
    const firstManagers = [...cluster.committedMap!.managers]
    for (const { id } of cluster.nodes) {
      await clock.run(router.toManager('manager.drain-node', { node: id, drain: true }))
      const isEmpty = (): boolean => {
        const map = cluster.committedMap!
        return map.data.every(({ replicas }) => replicas.every(({ node }) => node !== id)) && map.metadata.every(({ members }) => !members.includes(id)) && !map.managers.includes(id) &&
          map.managersChange === undefined && map.metadata.every(({ change }) => change === undefined)
      }
      await clock.until(isEmpty, 120_000, `${id} is emptied`)
      const { data, metadata, managers } = cluster.committedMap!
      expect([...data.map(({ replicas }) => replicas.length), ...metadata.map(({ members }) => members.length), managers.length].every((count) => count === 3)).to.equal(true)
      await clock.until(() => cluster.node(id).running!.groups().length === 0, 10_000, 'its groups end')
      // Nothing is left that a later start would take for its own.
      cluster.node(id).end('kill')
      cluster.node(id).start()
      await clock.until(() => cluster.node(id).running?.agent.isRegistered === true, 20_000)
      expect(cluster.node(id).running!.groups()).to.deep.equal([])
      await clock.run(router.toManager('manager.drain-node', { node: id, drain: false }))
      await clock.until(() => cluster.healthy && cluster.committedMap!.data.some(({ replicas }) => replicas.some(({ node }) => node === id)), 120_000, `${id} has its share again`)
    }
    // All first members of the manager have left it at some time; the cluster starts again from the disks.
    expect(cluster.committedMap!.managers).to.not.have.members(firstManagers)
    for (const node of cluster.nodes) node.end('power')
    for (const node of cluster.nodes) node.start()
    await clock.until(() => cluster.healthy, 120_000, 'health after a restart of all')
    router.close()
    expect(cluster.violations).to.deep.equal([])
  })
})
