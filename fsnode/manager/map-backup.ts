import type { PartitionRecord } from '../../partitioning/replica-states.ts'
import type { DataPartition, MetadataPartition, NodeId, NodeInfo, Replica } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { MapBackup, RestoreResponse } from '../protocol/manager.ts'
import type { LeaderFacts } from './leader-facts.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'
import { withLaterSplits } from './splits.ts'

/** By how much versions and epochs of a restored map exceed those of the backup: more than can have come after it. */
export const restoredStep = 1_000_000

export function backupOf (state: ManagerState, takenMs: number): MapBackup {
  const { map, nextVolume, tokens } = state.image
  return { format: 1, takenMs, map, nextVolume, tokens, balance: state.settings }
}

/**
 * Brings back volumes that the manager has forgotten. What has become of replicas since the backup nobody can tell, so
 * of each partition one replica leads, and every other one is compared with it as a whole before it serves: the one that served
 * when the backup was taken and holds most, or, where the partition has moved since, the one that holds most. Nodes tell
 * what they hold; whoever has files of a partition becomes a replica, so that nothing is deleted before all are equal.
 *
 * @throws AtollError ATOLL_BAD_ARGUMENT, ATOLL_WRONG_CLUSTER, ATOLL_VOLUME_EXISTS; ATOLL_UNAVAILABLE until all nodes that are up have told.
 */
export function restoration (state: ManagerState, facts: LeaderFacts, backup: MapBackup): { change: MapChange, report: RestoreResponse } {
  const { map } = state
  requireSound(backup)
  if (backup.map.clusterId !== map.clusterId) throw new AtollError('ATOLL_WRONG_CLUSTER', `the backup is of cluster ${backup.map.clusterId}, this is ${map.clusterId}`)
  for (const { id, name } of backup.map.volumes) {
    const known = map.volumes.find((volume) => volume.id === id || volume.name === name)
    if (known !== undefined) throw new AtollError('ATOLL_VOLUME_EXISTS', `the cluster has the volume ${known.name}: only what it has forgotten is restored`)
  }
  const version = Math.max(map.version, backup.map.version) + restoredStep
  const nodes = [...map.nodes, ...backup.map.nodes.filter(({ id }) => state.node(id) === undefined).map((node): NodeInfo => ({ ...node, state: 'down' }))]
  const up = new Set(nodes.filter((node) => node.state !== 'down').map(({ id }) => id))
  const silent = [...up].filter((id) => !facts.hasToldStored(id))
  if (silent.length > 0) throw new AtollError('ATOLL_UNAVAILABLE', `what ${silent.join(', ')} hold is not known yet`)
  const found = backup.map.volumes.map((volume) => withLaterSplits(volume, backup.map.data.filter((partition) => partition.volume === volume.id), facts.storedPartitions))
  const records = found.flatMap(({ partitions }) => partitions).map((partition) => restored(partition, nodes, up, facts, version))
  const metadata = backup.map.metadata.map(({ change, ...partition }): MetadataPartition => change === undefined ? partition : { ...partition, change: { ...change, revision: version } })
  const change: MapChange = { base: map.version, version, nodes, records, metadata, volumes: found.map(({ volume }) => volume), tokens: backup.tokens.map(([volume, token]) => ({ volume, token })), balance: backup.balance }
  return { change, report: { volumes: backup.map.volumes.map(({ name }) => name), partitions: records.map(({ partition }) => summaryOf(partition, facts)) } }
}

function restored (partition: DataPartition, nodes: readonly NodeInfo[], up: ReadonlySet<NodeId>, facts: LeaderFacts, version: number): PartitionRecord {
  const holders = facts.holdersOf(partition.id)
  const served = partition.replicas.filter(({ state }) => state === 'serving' || state === 'last').map(({ node }) => node)
  const ids = [...new Set([...partition.replicas.map(({ node }) => node), ...holders.keys()])].filter((id) => nodes.some((node) => node.id === id))
  const leads = leaderOf(partition, ids, served, holders, up)
  const replicas = ids.map((node): Replica => ({ node, state: node === leads ? 'serving' : up.has(node) ? 'waiting' : 'offline' }))
  replicas.sort((one, other) => Number(other.node === leads) - Number(one.node === leads))
  return {
    partition: { ...partition, epoch: partition.epoch + restoredStep, replicas, primary: null },
    // Whoever leads by an older map must have learned of this one.
    fences: nodes.map(({ id }) => ({ node: id, since: version })),
    doubtful: []
  }
}

function leaderOf ({ primary }: DataPartition, ids: readonly NodeId[], served: readonly NodeId[], holders: ReadonlyMap<NodeId, number>, up: ReadonlySet<NodeId>): NodeId | undefined {
  const best = (candidates: readonly NodeId[]): NodeId | undefined => {
    return [...candidates].sort((one, other) => (holders.get(other) ?? 0) - (holders.get(one) ?? 0) || Number(other === primary) - Number(one === primary))[0]
  }
  const present = ids.filter((id) => up.has(id))
  return best(present.filter((id) => served.includes(id) && holders.has(id))) ?? best(present.filter((id) => holders.has(id))) ??
    best(present.filter((id) => served.includes(id))) ?? best(served)
}

function summaryOf ({ id, replicas }: DataPartition, facts: LeaderFacts): RestoreResponse['partitions'][number] {
  const leads = replicas.find(({ state }) => state === 'serving')?.node ?? null
  return { partition: id, leads, compare: replicas.filter(({ node }) => node !== leads).map(({ node }) => node), bytes: leads === null ? 0 : facts.holdersOf(id).get(leads) ?? 0 }
}

function requireSound (backup: MapBackup): void {
  const isList = (value: unknown): boolean => Array.isArray(value)
  const sound = backup?.format === 1 && typeof backup.map === 'object' && backup.map !== null && typeof backup.map.clusterId === 'string' && Number.isSafeInteger(backup.map.version) &&
    isList(backup.map.nodes) && isList(backup.map.volumes) && isList(backup.map.data) && isList(backup.map.metadata) && isList(backup.tokens) &&
    backup.map.data.every((partition) => typeof partition.id === 'string' && Number.isSafeInteger(partition.epoch) && isList(partition.replicas) && partition.replicas.every((replica) => typeof replica?.node === 'string')) &&
    backup.map.metadata.every((partition) => typeof partition.id === 'string' && isList(partition.members)) &&
    backup.map.volumes.every((volume) => Number.isSafeInteger(volume.id) && typeof volume.name === 'string') && typeof backup.balance === 'object'
  if (!sound) throw new AtollError('ATOLL_BAD_ARGUMENT', 'that is no backup of a cluster map')
}
