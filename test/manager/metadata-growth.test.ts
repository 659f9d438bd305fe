import { expect } from 'chai'
import { addMetadataPartitions, nextMetadataPartitions } from '../../fsnode/manager/metadata-growth.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import type { ClusterMap, NodeInfo, VolumeInfo } from '../../partitioning/types.ts'

const volume: VolumeInfo = { id: 1, name: 'main', placement: 'hawaii', replicas: 3, chunkSizeBytes: 4096, inlineBytesMax: 0, dataPartitions: 1, metadataPartitions: 1 }

function mapOf (states: Array<NodeInfo['state']>): ClusterMap {
  const nodes = states.map((state, at): NodeInfo => ({
    id: `n${at}`, incarnation: 'i', peerId: 'p', host: 'h', rpcPort: 1, raftPort: 2, domain: [`d${at}`], capacityBytes: 1e12, usedBytes: 0, disk: null, state
  }))
  return { clusterId: 'c', version: 7, managers: ['n0'], nodes, volumes: [volume], data: [], metadata: [{ id: '1.m.0', volume: 1, index: 0, members: ['n0'] }] }
}

describe('a volume gets more metadata partitions', () => {
  it('each begins with members that are up, and counts once its group has begun', () => {
    const map = mapOf(['up', 'down', 'up', 'draining', 'up'])
    const { metadata, volumes } = addMetadataPartitions({ map }, volume, 3)!
    expect(metadata!.map(({ id, members }) => [id, [...members].sort()])).to.deep.equal([['1.m.1', ['n0', 'n2', 'n4']], ['1.m.2', ['n0', 'n2', 'n4']]])
    const grown: ClusterMap = { ...map, volumes: volumes!, metadata: [...map.metadata, ...metadata!] }
    expect(nextMetadataPartitions(grown)).to.equal(null)
    const begun = { ...grown, metadata: grown.metadata.map(({ change: _, ...partition }) => partition) }
    expect(nextMetadataPartitions(begun)).to.deep.equal({ volumes: [{ ...volume, metadataPartitions: 3 }] })
  })

  it('while no node may hold one it is refused: a group without members would never begin', () => {
    const refused = (): unknown => addMetadataPartitions({ map: mapOf(['down', 'draining', 'down']) }, volume, 2)
    expect(refused).to.throw().and.satisfy((error: unknown) => codeOf(error) === 'ATOLL_NOT_ENOUGH_NODES')
  })
})
