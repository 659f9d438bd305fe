import { isAbsolute, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import type { VolumeClient } from '../../client/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import { isRegular } from '../../fsnode/protocol/posix.ts'
import { explain, place, type ReplicaReason } from '../../partitioning/placement.ts'
import { dataPartitionOfChunk, metadataIndexOf, metadataPartitionId } from '../../partitioning/routing.ts'
import type { DataPartition, VolumeInfo } from '../../partitioning/types.ts'
import { dataDirectoryOf, isEmbedded, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { explainGroup, groupPattern, showGroup } from './partition-explain-group.ts'

interface ExplainOptions extends ClusterOptions { json?: boolean, volume?: string }

interface PartitionReport {
  partition: string
  kind: 'data'
  volume: string
  placement: string
  epoch: number
  primary: string | null
  replicas: DataPartition['replicas']
  /** Of the policy, for each node: why, or why not. */
  nodes: ReplicaReason[]
  /** What the policy would choose if all were placed now. */
  wanted: string[]
}

interface ChunkPlace { chunk: number, offset: number, length: number, partition: string, primary: string | null, replicas: string[] }

interface FileReport {
  path: string
  volume: string
  ino: number
  size: number
  metadata: { partition: string, members: string[] }
  /** The content is in the inode record: there are no chunks. */
  inline: boolean
  chunks: ChunkPlace[]
}

const partitionPattern = /^\d+\.d\.\d+$/

export function explainCommand (partition: Command): void {
  withClusterOptions(partition.command('explain <path|partition>'))
    .description('which chunk of a file is where; or why a partition, or the manager, is where it is')
    .option('--volume <name>', 'the path is within this volume (default: of a mount)')
    .option('--json', 'for programs')
    .action(async (what: string, options: ExplainOptions) => {
      await withCluster(options, async (cluster) => {
        if (partitionPattern.test(what)) showPartition(explainPartition(cluster, what), options)
        else if (groupPattern.test(what)) showGroup(await explainGroup(cluster, what), options)
        else showFile(await explainFile(cluster, what, options), options)
      })
    })
}

function explainPartition ({ map }: Cluster, id: string): PartitionReport {
  const partition = map.data.find((candidate) => candidate.id === id)
  const volume = map.volumes.find((candidate) => candidate.id === Number(id.split('.')[0]))
  if (partition === undefined || volume === undefined) {
    throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no partition ${id}`, { hint: 'those that exist: atoll partition list' })
  }
  const partitions = map.data.filter((one) => one.volume === volume.id)
  const outcome = place(map, {
    placement: volume.placement,
    partitions: partitions.map(({ id, replicas, primary }) => ({ id, replicas: volume.replicas, current: replicas.map(({ node }) => node), primary: replicas[0]?.node ?? primary }))
  })
  return {
    partition: id,
    kind: 'data',
    volume: volume.name,
    placement: volume.placement,
    epoch: partition.epoch,
    primary: partition.primary,
    replicas: partition.replicas,
    nodes: explain(outcome, id),
    wanted: outcome.assignments.find((one) => one.partition === id)?.replicas ?? []
  }
}

function showPartition (report: PartitionReport, { json }: ExplainOptions): void {
  if (json === true) {
    printJson(report)
    return
  }
  print(`partition ${report.partition} of volume ${report.volume}: ${report.placement}, epoch ${report.epoch}, led by ${report.primary ?? 'nobody'}`)
  print(`replicas: ${report.replicas.map(({ node, state }) => `${node} (${state})`).join(', ')}`)
  const held = report.replicas.map(({ node }) => node)
  const same = held.length === report.wanted.length && report.wanted.every((node) => held.includes(node))
  print(same ? 'the policy would choose the same nodes now' : `the policy would choose now: ${report.wanted.join(', ')}`)
  print()
  printTable(['NODE', 'ROLE', 'WEIGHT', 'REPLICAS', 'SHARE', 'WHY'], report.nodes.map((node) => [node.node, node.role, node.weight.toFixed(2), node.replicas, node.replicaShare.toFixed(2), node.why]))
}

async function explainFile (cluster: Cluster, path: string, options: ExplainOptions): Promise<FileReport> {
  const { volume, names } = placeOf(cluster, path, options)
  const client = await cluster.openVolume(volume.name)
  try {
    const attr = await walk(client, names)
    const id = metadataPartitionId(volume.id, metadataIndexOf(attr.ino))
    const isFile = isRegular(attr.mode)
    return {
      path,
      volume: volume.name,
      ino: attr.ino,
      size: attr.size,
      metadata: { partition: id, members: cluster.map.metadata.find((one) => one.id === id)?.members ?? [] },
      inline: isFile && attr.isInline,
      chunks: isFile && !attr.isInline ? chunksOf(cluster, volume, attr) : []
    }
  } finally {
    await client.close()
  }
}

/** In which volume the path is, and the names that lead to it. */
function placeOf ({ map }: Cluster, path: string, options: ExplainOptions): { volume: VolumeInfo, names: string[] } {
  const namesOf = (text: string): string[] => text.split('/').filter((name) => name !== '' && name !== '.')
  if (options.volume !== undefined) return { volume: volumeNamed(map.volumes, options.volume), names: namesOf(path) }
  const absolute = resolve(path)
  for (const mount of isEmbedded(options) ? dataDirectoryOf(options).mounts() : []) {
    const within = relative(mount.path, absolute)
    if (!within.startsWith('..') && !isAbsolute(within)) return { volume: volumeNamed(map.volumes, mount.volume), names: namesOf(within) }
  }
  throw new AtollError('ATOLL_USAGE', `${path} is neither a partition nor within a mount of this cluster`, { hint: 'name its volume: atoll partition explain PATH --volume NAME' })
}

function volumeNamed (volumes: VolumeInfo[], name: string): VolumeInfo {
  const volume = volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${name}`, { hint: 'those that exist: atoll volume list' })
  return volume
}

async function walk (client: VolumeClient, names: string[]): Promise<InodeAttr> {
  let attr = await client.getattr(client.root)
  for (const name of names) attr = await client.lookup(attr.ino, name)
  return attr
}

function chunksOf ({ map }: Cluster, volume: VolumeInfo, { ino, size }: InodeAttr): ChunkPlace[] {
  const partitions = new Map(map.data.map((one) => [one.id, one]))
  return Array.from({ length: Math.ceil(size / volume.chunkSizeBytes) }, (_, chunk) => {
    const id = dataPartitionOfChunk(volume, ino, chunk, (partition) => partitions.get(partition)?.span)
    const offset = chunk * volume.chunkSizeBytes
    const partition = partitions.get(id)
    return { chunk, offset, length: Math.min(volume.chunkSizeBytes, size - offset), partition: id, primary: partition?.primary ?? null, replicas: partition?.replicas.map(({ node }) => node) ?? [] }
  })
}

function showFile (report: FileReport, { json }: ExplainOptions): void {
  if (json === true) {
    printJson(report)
    return
  }
  const { ino, size, volume, metadata, inline, chunks } = report
  print(`inode ${ino} of volume ${volume}, ${formatBytes(size)}; its record is in metadata partition ${metadata.partition} on ${metadata.members.join(', ')}`)
  if (inline) print('the content is in the inode record')
  if (chunks.length === 0) return
  print()
  printTable(['CHUNK', 'OFFSET', 'BYTES', 'PARTITION', 'PRIMARY', 'REPLICAS'], chunks.map((one) => [one.chunk, one.offset, one.length, one.partition, one.primary ?? '-', one.replicas.join(' ')]))
}
