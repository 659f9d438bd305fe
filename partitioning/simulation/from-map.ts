import { dataPartitionId } from '../routing.ts'
import type { ClusterMap, DataPartition } from '../types.ts'
import { bandwidthDefault, failuresDefault, type SimulatedNode, type SimulatedVolume, type Simulation } from './description.ts'

/**
 * A live cluster as it is. The map knows what each node has used, not what each partition holds: partitions
 * count with their part of the whole. Nodes that are down or being emptied are left out, so their replicas must move.
 */
export function simulationOf (map: ClusterMap): Simulation {
  const nodes = map.nodes.filter(({ state }) => state === 'up').map((info): SimulatedNode => ({
    info: { ...info, capacityBytes: Math.max(1, info.capacityBytes), disk: info.disk ?? { readBandwidth: bandwidthDefault, writeBandwidth: bandwidthDefault, readLatencyMs: 1, writeLatencyMs: 1, utilization: 0 } },
    lossesPerYear: failuresDefault.lossesPerYear
  }))
  const held = map.data.reduce((sum, { replicas }) => sum + replicas.length, 0)
  const used = map.nodes.reduce((sum, { usedBytes }) => sum + usedBytes, 0)
  const volumes = map.volumes.map((volume, number): SimulatedVolume => {
    const data = map.data.filter((partition) => partition.volume === volume.id).sort((one, other) => one.index - other.index)
    return {
      name: volume.name, replicas: volume.replicas, partitions: data.length, bytes: used / Math.max(1, held) * data.length, reads: 0, writes: 0, skew: 0, scatterWidth: undefined,
      placed: data.map((partition): DataPartition => ({ ...partition, id: dataPartitionId(number, partition.index), volume: number }))
    }
  })
  return { nodes, volumes: volumes.filter(({ partitions }) => partitions > 0), failures: failuresDefault, growth: [] }
}
