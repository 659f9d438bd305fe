import { place, placeMetadata } from '../../partitioning/placement.ts'
import type { PartitionRecord } from '../../partitioning/replica-states.ts'
import { dataPartitionId, metadataPartitionId, metadataPartitionsMax } from '../../partitioning/routing.ts'
import type { MetadataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { CreateVolumeRequest } from '../protocol/manager.ts'
import {
  chunkSizeBytesDefault, chunkSizeBytesMax, chunkSizeBytesMin, dataPartitionsMax, dataPartitionsMin, dataPartitionsPerNode,
  inlineBytesDefault, inlineBytesMaxMax, metadataPartitionsDefault, nameLengthMax, replicasMax, volumesMax
} from './bounds.ts'
import type { MapChange } from './map-change.ts'
import type { ManagerState } from './manager-state.ts'

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/** The volume that an earlier attempt of the same request made. */
export function existingVolume (state: ManagerState, request: CreateVolumeRequest): VolumeInfo | undefined {
  if (request.token === undefined) return undefined
  return state.map.volumes.find(({ id, name }) => name === request.name && state.token(id) === request.token)
}

/** @throws AtollError ATOLL_MAP_LOST, ATOLL_BAD_ARGUMENT, ATOLL_VOLUME_EXISTS, ATOLL_NOT_ENOUGH_NODES. */
export function createVolume (state: ManagerState, request: CreateVolumeRequest): MapChange {
  const { map } = state
  requireMap(state)
  const up = map.nodes.filter((node) => node.state === 'up').length
  // Of a map that was restored: nodes may have files of volumes that it does not know.
  const id = Math.max(state.nextVolume, ...map.nodes.map(({ newestVolume = 0 }) => newestVolume + 1))
  const volume = checkedVolume(request, id, up)
  if (map.volumes.some(({ name }) => name === volume.name)) {
    throw new AtollError('ATOLL_VOLUME_EXISTS', `there is a volume ${volume.name} already`, { hint: `atoll volume show ${volume.name}` })
  }
  if (map.volumes.length >= volumesMax) throw badArgument(`a cluster holds at most ${volumesMax} volumes`)
  if (map.data.length + volume.dataPartitions > dataPartitionsMax) {
    throw badArgument(`a cluster holds at most ${dataPartitionsMax} data partitions; ${map.data.length} exist`)
  }
  if (volume.replicas > up) {
    throw new AtollError('ATOLL_NOT_ENOUGH_NODES', `${volume.replicas} replicas need as many nodes; ${up} of ${map.nodes.length} are up`, {
      hint: 'atoll node list shows them; add nodes, or ask for fewer replicas'
    })
  }
  const tokens = request.token === undefined ? [] : [{ volume: volume.id, token: request.token }]
  return { base: map.version, volumes: [volume], records: dataPartitions(state, volume), metadata: metadataPartitions(state, volume), tokens }
}

/** Files of volumes, and no volume was ever made: the manager has lost its state. A new volume would have their files removed. */
function requireMap ({ map, nextVolume }: ManagerState): void {
  const holders = map.nodes.filter(({ newestVolume = 0 }) => newestVolume > 0).map(({ id }) => id)
  if (nextVolume > 1 || holders.length === 0) return
  throw new AtollError('ATOLL_MAP_LOST', `the manager knows no volume, but there are files of volumes on ${holders.join(', ')}: its state is lost`, {
    hint: 'bring the volumes back: atoll partition restore BACKUP (on this machine: atoll up --restore BACKUP); if nothing of them is wanted, begin with an empty data directory'
  })
}

/** @throws AtollError ATOLL_NO_SUCH_VOLUME. */
export function removeVolume (state: ManagerState, name: string): MapChange {
  const volume = state.map.volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${String(name)}`, { hint: 'atoll volume list' })
  return { base: state.map.version, removedVolumes: [volume.id] }
}

function dataPartitions ({ map }: ManagerState, volume: VolumeInfo): PartitionRecord[] {
  const partitions = Array.from({ length: volume.dataPartitions }, (_, index) => ({ id: dataPartitionId(volume.id, index), replicas: volume.replicas }))
  return place(map, { placement: volume.placement, partitions }).assignments.map(({ partition, replicas }, index) => ({
    partition: {
      id: partition,
      volume: volume.id,
      index,
      epoch: 1,
      replicas: replicas.map((node) => ({ node, state: 'serving' })),
      primary: replicas[0]!
    },
    fences: [],
    doubtful: []
  }))
}

/** Those of the volume from the index `first` on: their groups begin with these members. */
export function metadataPartitions ({ map }: Pick<ManagerState, 'map'>, volume: VolumeInfo, first = 0): MetadataPartition[] {
  const ids = Array.from({ length: volume.metadataPartitions - first }, (_, at) => metadataPartitionId(volume.id, first + at))
  const wanted = volume.replicas > 3 ? 5 : 3
  return placeMetadata(map, ids, wanted).map((members, at) => ({ id: ids[at]!, volume: volume.id, index: first + at, members }))
}

function checkedVolume (request: CreateVolumeRequest, id: number, up: number): VolumeInfo {
  const { name, placement, replicas } = request
  if (typeof name !== 'string' || name.length > nameLengthMax || !namePattern.test(name)) {
    throw badArgument(`a volume's name has 1 to ${nameLengthMax} letters, digits, '.', '_', '-', and begins with a letter or digit`)
  }
  if (placement !== 'hawaii' && placement !== 'tivoli') throw badArgument('the placement is hawaii or tivoli')
  const chunkSizeBytes = request.chunkSizeBytes ?? chunkSizeBytesDefault
  if (!Number.isInteger(Math.log2(chunkSizeBytes))) throw badArgument('the chunk size is a power of two')
  return {
    id,
    name,
    placement,
    replicas: inRange('replicas', replicas, 1, replicasMax),
    chunkSizeBytes: inRange('the chunk size', chunkSizeBytes, chunkSizeBytesMin, chunkSizeBytesMax),
    inlineBytesMax: inRange('the inline size', request.inlineBytesMax ?? inlineBytesDefault, 0, inlineBytesMaxMax),
    dataPartitions: inRange('data partitions', request.dataPartitions ?? Math.max(dataPartitionsMin, dataPartitionsPerNode * up), 1, dataPartitionsMax),
    metadataPartitions: inRange('metadata partitions', request.metadataPartitions ?? (up >= 3 ? metadataPartitionsDefault : 1), 1, metadataPartitionsMax)
  }
}

function inRange (what: string, value: number, least: number, most: number): number {
  if (!Number.isInteger(value) || value < least || value > most) throw badArgument(`${what}: an integer from ${least} to ${most}, not ${String(value)}`)
  return value
}

function badArgument (message: string): AtollError {
  return new AtollError('ATOLL_BAD_ARGUMENT', message)
}
