import type { PartitionRecord } from '../../partitioning/replica-states.ts'
import { dataPartitionId } from '../../partitioning/routing.ts'
import type { DataPartition, PartitionId, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { SplitPartitionRequest } from '../protocol/manager.ts'
import { dataPartitionsMax, splitsAtOnceMax, splitsAtOnceMin, splitsAtOnceShare } from './bounds.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'

/**
 * Splitting of a volume's data partitions: see docs/manager.md. A volume of N partitions has 2N when each has been split once; then N is
 * doubled, and, if more are wanted, it begins anew.
 */

/** How many partitions the volume shall have; null: nothing changes. @throws AtollError ATOLL_BAD_ARGUMENT. */
export function wantPartitions (state: ManagerState, volume: VolumeInfo, wanted: number): Omit<MapChange, 'base'> | null {
  const { dataPartitions: now, dataPartitionsWanted: before = now, name } = volume
  if (wanted === before) return null
  requireReachable(state, volume, wanted)
  const { dataPartitionsWanted: _, ...rest } = volume
  if (wanted > now) return { volumes: [{ ...rest, dataPartitionsWanted: wanted }] }
  const own = state.map.data.filter((partition) => partition.volume === volume.id)
  if (own.some((partition) => spanOf(partition, volume) > now)) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `${own.length - now} of the ${now} partitions of ${name} are split already, and partitions are not merged`, {
      hint: `end it when all are: atoll volume set ${name} data-partitions=${2 * now}`
    })
  }
  return { volumes: [rest], records: marked(state, own.filter(({ splitting }) => splitting === true), false) }
}

function requireReachable (state: ManagerState, { id, name, dataPartitions: now }: VolumeInfo, wanted: number): void {
  const doublings = Math.log2(wanted / now)
  if (!Number.isInteger(wanted) || !Number.isInteger(doublings) || doublings < 0) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `the data partitions of ${name} can be ${now} times a power of two, not ${String(wanted)}: each is split into two, and they are not merged`, {
      hint: `for example: atoll volume set ${name} data-partitions=${2 * now}`
    })
  }
  const others = state.map.data.filter((partition) => partition.volume !== id).length
  if (others + wanted > dataPartitionsMax) throw new AtollError('ATOLL_BAD_ARGUMENT', `a cluster holds at most ${dataPartitionsMax} data partitions; other volumes have ${others}`)
}

/** What the leader does by itself while volumes are being split; null: nothing now. */
export function nextSplits (state: Pick<ManagerState, 'map' | 'record'>): Omit<MapChange, 'base'> | null {
  const { map } = state
  for (const volume of map.volumes) {
    if (volume.dataPartitionsWanted === undefined) continue
    const left = map.data.filter((partition) => partition.volume === volume.id && spanOf(partition, volume) === volume.dataPartitions)
    if (left.length === 0) return doubled(volume)
    const begun = left.filter(({ splitting }) => splitting === true).length
    const ready = left.filter((partition) => partition.splitting !== true && isWhole(state.record(partition.id), volume))
    const atOnce = Math.min(splitsAtOnceMax, Math.max(splitsAtOnceMin, Math.floor(volume.dataPartitions * splitsAtOnceShare)))
    const next = ready.slice(0, Math.max(0, atOnce - begun))
    if (next.length > 0) return { records: marked(state, next, true) }
  }
  return null
}

/** Splits, in one change, the partitions of whose primaries it is known that they hold changes back; null: none can be split now. */
export function splitNow (state: ManagerState, requests: Iterable<SplitPartitionRequest>): MapChange | null {
  const records = [...requests].flatMap((request) => {
    const record = state.record(request.partition)
    return record === undefined ? [] : halves(state, record, request)
  })
  return records.length === 0 ? null : { base: state.map.version, records }
}

/** Which partitions a change of `splitNow` makes of which. */
export function halvesIn (change: MapChange | null): Array<[half: PartitionId, other: PartitionId]> {
  const ids = change?.records?.map(({ partition }) => partition.id) ?? []
  return ids.flatMap((id, at): Array<[PartitionId, PartitionId]> => at % 2 === 0 ? [[id, ids[at + 1]!]] : [])
}

/** The partition with half of its chunks, and the one with the others: the same replicas, led by the same node, in an epoch that nobody has seen. */
function halves (state: ManagerState, record: PartitionRecord, { epoch, node }: SplitPartitionRequest): PartitionRecord[] {
  const { partition } = record
  const volume = state.volume(partition.volume)
  const span = volume === undefined ? 0 : spanOf(partition, volume)
  const child = { id: dataPartitionId(partition.volume, partition.index + span), index: partition.index + span }
  const isDue = volume !== undefined && partition.splitting === true && span === volume.dataPartitions && partition.epoch === epoch && partition.primary === node
  if (!isDue || !isWhole(record, volume) || state.record(child.id) !== undefined) return []
  const { splitting: _, ...rest } = partition
  const half = { ...rest, epoch: epoch + 1, span: 2 * span }
  return [half, { ...half, ...child }].map((next) => ({ partition: next, fences: [], doubtful: [] }))
}

/** Every replica has every write, and nobody else may act as one: only such a partition is split. */
function isWhole (record: PartitionRecord | undefined, volume: VolumeInfo): boolean {
  if (record === undefined || record.fences.length > 0 || record.doubtful.length > 0) return false
  const { primary, replicas } = record.partition
  return primary !== null && replicas.length >= volume.replicas && replicas.every(({ state }) => state === 'serving')
}

/** Placement looks at the volume anew: there is twice as much to spread. */
function doubled (volume: VolumeInfo): Omit<MapChange, 'base'> {
  const { dataPartitionsWanted: wanted = 0, ...rest } = volume
  const dataPartitions = 2 * volume.dataPartitions
  const next: VolumeInfo = { ...rest, dataPartitions, ...(wanted > dataPartitions && { dataPartitionsWanted: wanted }) }
  return { volumes: [next], even: [[volume.id, '']] }
}

function marked (state: Pick<ManagerState, 'record'>, partitions: readonly DataPartition[], splitting: boolean): PartitionRecord[] {
  return partitions.map(({ id }) => {
    const record = state.record(id)!
    const { splitting: _, ...partition } = record.partition
    return { ...record, partition: splitting ? { ...partition, splitting } : partition }
  })
}

/**
 * A backup of the map that is older than splits: nodes hold files of partitions that it does not know. The volume as those show it; a split
 * of which no node has anything yet is made again.
 */
export function withLaterSplits (volume: VolumeInfo, partitions: readonly DataPartition[], stored: Iterable<PartitionId>): { volume: VolumeInfo, partitions: DataPartition[] } {
  const { id, dataPartitions: first } = volume
  const byIndex = new Map(partitions.map((partition) => [partition.index, partition]))
  const known = byIndex.size
  for (const index of [...stored].map((name) => indexWithin(name, id)).filter((one) => one !== null)) {
    for (let span = first; span <= index; span *= 2) addHalf(byIndex, index % span + span, volume)
  }
  if (byIndex.size === known) return { volume, partitions: [...partitions] }
  const all = [...byIndex.values()].map((partition): DataPartition => {
    let span = partition.span
    for (let half = first; half < dataPartitionsMax; half *= 2) if (partition.index < 2 * half && byIndex.has(partition.index % half) && byIndex.has(partition.index % half + half)) span = Math.max(span ?? 0, 2 * half)
    return span === undefined ? partition : { ...partition, span }
  })
  let wanted = first
  while (wanted <= Math.max(...byIndex.keys())) wanted *= 2
  return { volume: { ...volume, dataPartitionsWanted: Math.max(wanted, volume.dataPartitionsWanted ?? 0) }, partitions: all }
}

/** It began with the replicas of what it was split off. */
function addHalf (byIndex: Map<number, DataPartition>, index: number, { id, dataPartitions }: VolumeInfo): void {
  const root = byIndex.get(index % dataPartitions)
  if (byIndex.has(index) || root === undefined) return
  const { splitting: _, ...rest } = root
  byIndex.set(index, { ...rest, id: dataPartitionId(id, index), index })
}

/** null: no data partition of the volume. */
function indexWithin (name: PartitionId, volume: number): number | null {
  const match = /^(\d+)\.d\.(\d+)$/.exec(name)
  const index = Number(match?.[2])
  return match !== null && Number(match[1]) === volume && index < dataPartitionsMax ? index : null
}

export function spanOf ({ span }: Pick<DataPartition, 'span'>, volume: Pick<VolumeInfo, 'dataPartitions'>): number { return span ?? volume.dataPartitions }

/** Requests that wait to be decided together, by partition: the last one counts. */
export type SplitRequests = Map<PartitionId, SplitPartitionRequest>
