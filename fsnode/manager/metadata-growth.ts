import { metadataPartitionsMax } from '../../partitioning/routing.ts'
import type { ClusterMap, MetadataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'
import { metadataPartitions } from './volumes.ts'

/**
 * A volume gets more metadata partitions: empty ones, for directories that are made from then on. Their groups begin at once; they count when
 * each has a leader, which says so as after a change of members. null: nothing changes. @throws AtollError ATOLL_BAD_ARGUMENT,
 * ATOLL_NOT_ENOUGH_NODES: a group that begins without members never has any.
 */
export function addMetadataPartitions (state: Pick<ManagerState, 'map'>, volume: VolumeInfo, wanted: number): Pick<MapChange, 'volumes' | 'metadata'> | null {
  const { name, metadataPartitions: now, metadataPartitionsWanted: before = now } = volume
  if (wanted === before) return null
  if (!Number.isInteger(wanted) || wanted < before || wanted > metadataPartitionsMax) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `the metadata partitions of ${name}: from ${before}, which it has, to ${metadataPartitionsMax}, not ${String(wanted)}; they are not merged`)
  }
  if (!state.map.nodes.some((node) => node.state === 'up')) {
    throw new AtollError('ATOLL_NOT_ENOUGH_NODES', 'metadata partitions need a node; none is up that is not being emptied', { hint: 'atoll node list' })
  }
  const added = metadataPartitions(state, { ...volume, metadataPartitions: wanted }, before).map((partition): MetadataPartition => {
    return { ...partition, change: { revision: state.map.version, target: partition.members, hosts: partition.members } }
  })
  return { volumes: [{ ...volume, metadataPartitionsWanted: wanted }], metadata: added }
}

/** Those whose groups have begun count from now on; null: none does. */
export function nextMetadataPartitions ({ volumes, metadata }: ClusterMap): Pick<MapChange, 'volumes'> | null {
  for (const volume of volumes) {
    const { metadataPartitionsWanted: wanted, ...rest } = volume
    if (wanted === undefined) continue
    const isBegun = metadata.every((partition) => partition.volume !== volume.id || partition.index < volume.metadataPartitions || partition.change === undefined)
    if (isBegun) return { volumes: [{ ...rest, metadataPartitions: wanted }] }
  }
  return null
}
