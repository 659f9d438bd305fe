import { expect } from 'chai'
import { NodeAgent } from '../../fsnode/manager/node-agent.ts'
import type { ClusterRouter } from '../../fsnode/protocol/router.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { SimClock } from '../sim/clock.ts'
import { SimRandom } from '../sim/random.ts'
import { silent } from './sim-cluster.ts'

const mapOf = (version: number, primary: string): ClusterMap => ({
  clusterId: 'c', version, nodes: [], managers: [], volumes: [], metadata: [], data: [{ id: '1.d.0', volume: 1, index: 0, epoch: version, replicas: [], primary }]
})

describe('a node that is not registered yet', () => {
  it('sends no heartbeat, even when it learns that it leads no longer: the manager would take it for a process that was replaced', async () => {
    const clock = new SimClock()
    const sent: string[] = []
    const listeners: Array<(map: ClusterMap) => void> = []
    const router = {
      mapVersion: 0,
      assumeManagers () {},
      onMap (listener: (map: ClusterMap) => void) { listeners.push(listener); return () => {} },
      toManager (method: string) { sent.push(method); return new Promise(() => {}) }
    }
    const agent = new NodeAgent({ clock, random: new SimRandom(1), log: silent, router: router as unknown as ClusterRouter }, {
      clusterId: 'c', node: { id: 'a', incarnation: 'i', peerId: 'p', host: 'a', rpcPort: 1, raftPort: 2, domain: [] }, managers: [],
      report: () => ({ usedBytes: 0, capacityBytes: 1, disk: null }), onReplaced: () => {}
    })
    void agent.start()
    for (const map of [mapOf(1, 'a'), mapOf(2, 'b')]) for (const listener of listeners) listener(map)
    await clock.advance(5_000)
    expect(sent).to.deep.equal(['manager.register'])
    agent.stop()
  })
})
