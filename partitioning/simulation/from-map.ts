import { dataPartitionId } from '../routing.ts'
import type { ClusterMap, DataPartition, PartitionId } from '../types.ts'
import { bandwidthDefault, failuresDefault, type SimulatedNode, type SimulatedVolume, type Simulation } from './description.ts'

/** What the manager has heard of the partitions. */
export interface Observed {
  /** Bytes of a replica. */
  stored: ReadonlyArray<{ partition: PartitionId, bytes: number }>
  /** Bytes per second. */
  loads: ReadonlyArray<{ partition: PartitionId, readBytes: number, writeBytes: number }>
}

/**
 * A live cluster as it is. Within a volume all partitions count alike, with their part of what it holds and of its load; where nothing has been
 * heard of what partitions hold, with their part of what the nodes have used. Nodes that are down or being emptied are left out, so their replicas must move.
 */
export function simulationOf (map: ClusterMap, { stored, loads }: Observed = { stored: [], loads: [] }): Simulation {
  const nodes = map.nodes.filter(({ state }) => state === 'up').map((info): SimulatedNode => ({
    info: { ...info, capacityBytes: Math.max(1, info.capacityBytes), disk: info.disk ?? { readBandwidth: bandwidthDefault, writeBandwidth: bandwidthDefault, readLatencyMs: 1, writeLatencyMs: 1, utilization: 0 } },
    lossesPerYear: failuresDefault.lossesPerYear
  }))
  const held = map.data.reduce((sum, { replicas }) => sum + replicas.length, 0)
  const used = map.nodes.reduce((sum, { usedBytes }) => sum + usedBytes, 0)
  const volumes = map.volumes.map((volume, number): SimulatedVolume => {
    const data = map.data.filter((partition) => partition.volume === volume.id).sort((one, other) => one.index - other.index)
    const ids = new Set(data.map(({ id }) => id))
    const known = stored.filter(({ partition }) => ids.has(partition))
    const share = known.length === 0 ? used / Math.max(1, held) : sumOf(known, ({ bytes }) => bytes) / known.length
    const own = loads.filter(({ partition }) => ids.has(partition))
    return {
      name: volume.name, replicas: volume.replicas, partitions: data.length, bytes: share * data.length,
      reads: sumOf(own, ({ readBytes }) => readBytes), writes: sumOf(own, ({ writeBytes }) => writeBytes), skew: 0, scatterWidth: undefined,
      placed: data.map((partition): DataPartition => ({ ...partition, id: dataPartitionId(number, partition.index), volume: number }))
    }
  })
  return { nodes, volumes: volumes.filter(({ partitions }) => partitions > 0), failures: failuresDefault, growth: [] }
}

function sumOf<T> (rows: readonly T[], value: (row: T) => number): number { return rows.reduce((sum, row) => sum + value(row), 0) }
