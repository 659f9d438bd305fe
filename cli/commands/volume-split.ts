import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../../client/connect.ts'
import type { ClusterMap, DataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { startProgress } from '../output.ts'

const pollMs = 500
const namedMax = 5

/** How far the data partitions of a volume are split. */
export interface SplitProgress {
  partitions: number
  /** As many as there are when nothing is being split. */
  wanted: number
  /** Are to be split next, but lack a replica or a primary. */
  waiting: string[]
}

export function splitProgress (volume: VolumeInfo, data: readonly DataPartition[]): SplitProgress {
  const own = data.filter((partition) => partition.volume === volume.id)
  if (volume.dataPartitionsWanted === undefined) return { partitions: own.length, wanted: own.length, waiting: [] }
  const left = own.filter(({ span = volume.dataPartitions }) => span === volume.dataPartitions)
  const waiting = left.filter(({ primary, replicas }) => primary === null || replicas.length < volume.replicas || replicas.some(({ state }) => state !== 'serving'))
  return { partitions: own.length, wanted: volume.dataPartitionsWanted, waiting: waiting.map(({ id }) => id) }
}

/** '8', or '11 of 16' while they are being split. */
export function partitionsText (volume: VolumeInfo, data: readonly DataPartition[]): string {
  const { partitions, wanted } = splitProgress(volume, data)
  return partitions === wanted ? String(partitions) : `${partitions} of ${wanted}`
}

/** '2', or '2 of 4' until the new ones serve. */
export function metadataText ({ metadataPartitions: now, metadataPartitionsWanted: wanted = now }: VolumeInfo): string {
  return now === wanted ? String(now) : `${now} of ${wanted}`
}

export function splitText ({ partitions, wanted, waiting }: SplitProgress): string {
  const lacking = waiting.length === 0 ? '' : `; ${waiting.slice(0, namedMax).join(', ')}${waiting.length > namedMax ? ` and ${waiting.length - namedMax} others` : ''} wait until all their replicas serve`
  return `${partitions} of ${wanted} data partitions${lacking}`
}

/** Resolves when no partition of the volume is to be split any more, and the new metadata partitions serve. */
export async function untilGrown (cluster: Cluster, name: string, quiet: boolean): Promise<VolumeInfo> {
  const progress = startProgress(quiet)
  for (let last = ''; ; await delay(pollMs)) {
    const { body: { map } } = await cluster.router.toManager('manager.map', { after: 0, waitMs: 0 })
    const volume = volumeOf(map!, name)
    const text = `${splitText(splitProgress(volume, map!.data))}, ${metadataText(volume)} metadata partitions`
    if (volume.dataPartitionsWanted === undefined && volume.metadataPartitionsWanted === undefined) {
      progress.done(text)
      return volume
    }
    if (text !== last) progress.step(text)
    last = text
  }
}

function volumeOf ({ volumes }: ClusterMap, name: string): VolumeInfo {
  const volume = volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `the volume ${name} was removed`, { hint: 'those that exist: atoll volume list' })
  return volume
}
