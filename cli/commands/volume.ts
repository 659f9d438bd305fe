import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import type { DataPartition, Placement, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { SetVolumeRequest } from '../../fsnode/protocol/manager.ts'
import { clusterOptionText, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { newestPlan, untilMoved } from './volume-moves.ts'
import { metadataText, partitionsText, untilGrown } from './volume-split.ts'

interface Json { json?: boolean }
interface CreateOptions extends ClusterOptions, Json { placement: Placement, replicas?: number, chunkSize?: number, metadataPartitions?: number, dataPartitions?: number }

export const replicasDefault = 3

export function placementOption (): Option {
  return new Option('--placement <policy>', 'hawaii: even; tivoli: by measured disk speed, reads and writes apart').choices(['hawaii', 'tivoli'])
}

export function volumeCommand (program: Command): void {
  const volume = program.command('volume').description('file systems of the cluster')
  withClusterOptions(volume.command('create <name>'))
    .description('make a file system')
    .addOption(placementOption().default('hawaii'))
    .option('--replicas <n>', `copies of each partition (default: ${replicasDefault}, or the number of nodes if that is less)`, wholeNumber)
    .option('--chunk-size <size>', 'bytes, or with KiB or MiB (default: 4MiB)', byteSize)
    .option('--metadata-partitions <n>', 'groups that the name space is spread over', wholeNumber)
    .option('--data-partitions <n>', 'units of placement that chunks are spread over', wholeNumber)
    .option('--json', 'for programs')
    .action(create)
  withClusterOptions(volume.command('list')).description('all file systems').option('--json', 'for programs').action(list)
  withClusterOptions(volume.command('show <name>')).description('one file system').option('--json', 'for programs').action(show)
  withClusterOptions(volume.command('set <name> <setting=value...>'))
    .description('change a file system while it serves: placement=hawaii|tivoli, replicas=N; what must move for it is a plan; data-partitions=N: as many as now times a power of two, each is split into two; metadata-partitions=N: new directories are spread over so many')
    .option('--wait', 'until what moves for it has moved, all data partitions are split, and the new metadata partitions serve')
    .option('--json', 'for programs')
    .action(set)
  withClusterOptions(volume.command('remove <name>'))
    .description('remove a file system and everything in it')
    .option('--yes', 'confirm: what is in it cannot be had back')
    .action(remove)
}

async function remove (name: string, options: ClusterOptions & { yes?: boolean }): Promise<void> {
  await withCluster(options, async (cluster) => {
    if (options.yes !== true) throw new AtollError('ATOLL_USAGE', await lossOf(cluster, name), { hint: `if that is meant: atoll volume remove ${name} --yes${clusterOptionText(options)}` })
    await cluster.removeVolume(name)
  })
  print(`volume ${name} is removed`)
}

/** What goes with a volume, for who is to confirm it. Rejects with ATOLL_NO_SUCH_VOLUME. */
async function lossOf ({ map, router }: Cluster, name: string): Promise<string> {
  const volume = map.volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume '${name}'`, { hint: 'atoll volume list' })
  const own = new Set(map.data.filter((partition) => partition.volume === volume.id).map(({ id }) => id))
  const { stored } = (await router.toManager('manager.loads', {})).body
  const bytes = stored.filter(({ partition }) => own.has(partition)).reduce((sum, one) => sum + one.bytes, 0)
  return `removing volume ${name} destroys every file in it for good (${formatBytes(bytes)}, and small files), on all its replicas, and breaks its mounts`
}

async function create (name: string, options: CreateOptions): Promise<void> {
  const volume = await withCluster(options, (cluster) => cluster.createVolume({
    name,
    placement: options.placement,
    replicas: options.replicas ?? Math.min(replicasDefault, cluster.map.nodes.length),
    ...(options.chunkSize !== undefined && { chunkSizeBytes: options.chunkSize }),
    ...(options.metadataPartitions !== undefined && { metadataPartitions: options.metadataPartitions }),
    ...(options.dataPartitions !== undefined && { dataPartitions: options.dataPartitions })
  }))
  if (options.json === true) printJson(volume)
  else print(`volume ${volume.name}: ${volume.placement}, ${volume.replicas} replicas; mount it: atoll mount ${volume.name} DIR`)
}

async function list (options: ClusterOptions & Json): Promise<void> {
  const { volumes, data } = await withCluster(options, async (cluster) => cluster.map)
  if (options.json === true) printJson(volumes)
  else printTable(['VOLUME', 'PLACEMENT', 'REPLICAS', 'CHUNK', 'DATA', 'METADATA'], volumes.map((volume) => row(volume, data)))
}

async function show (name: string, options: ClusterOptions & Json): Promise<void> {
  const shown = await withCluster(options, async ({ map }) => {
    const volume = map.volumes.find((candidate) => candidate.name === name)
    if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${name}`, { hint: 'those that exist: atoll volume list' })
    return { ...volume, data: map.data.filter((one) => one.volume === volume.id), metadata: map.metadata.filter((one) => one.volume === volume.id) }
  })
  if (options.json === true) {
    printJson(shown)
    return
  }
  printTable(['VOLUME', 'PLACEMENT', 'REPLICAS', 'CHUNK', 'DATA', 'METADATA'], [row(shown, shown.data)])
}

async function set (name: string, assignments: string[], options: ClusterOptions & Json & { wait?: boolean }): Promise<void> {
  const changes = settingsOf(assignments)
  await withCluster(options, async (cluster) => {
    const [wait, quiet] = [options.wait === true, options.json === true]
    const before = cluster.map.volumes.find((volume) => volume.name === name)
    const planBefore = wait ? await newestPlan(cluster) : 0
    const { volume } = (await cluster.router.toManager('manager.set-volume', { name, ...changes })).body
    const last = wait ? await untilGrown(cluster, name, quiet) : volume
    const mayMove = changes.replicas !== undefined || changes.placement !== undefined
    if (wait && mayMove) await untilMoved(cluster, name, { planBefore, isOtherPolicy: volume.placement !== before?.placement, quiet })
    if (quiet) {
      printJson(last)
      return
    }
    print(`volume ${last.name}: ${last.placement}, ${last.replicas} replicas${wait ? '' : `; what moves for it: atoll partition plans${clusterOptionText(options)}`}`)
    if (last.dataPartitionsWanted !== undefined) print(`its data partitions are split until there are ${last.dataPartitionsWanted}; how far: atoll volume show ${last.name}${clusterOptionText(options)}`)
    if (last.metadataPartitionsWanted !== undefined) print(`it has ${last.metadataPartitionsWanted} metadata partitions as soon as the new ones serve`)
  })
}

type Settings = Omit<SetVolumeRequest, 'name'>

function settingsOf (assignments: string[]): Settings {
  const changes: Settings = {}
  for (const assignment of assignments) {
    const [setting, value] = assignment.split('=', 2)
    if (setting === 'placement' && (value === 'hawaii' || value === 'tivoli')) changes.placement = value
    else if (setting === 'replicas' && value !== undefined) changes.replicas = countOf(assignment, value)
    else if (setting === 'data-partitions' && value !== undefined) changes.dataPartitions = countOf(assignment, value)
    else if (setting === 'metadata-partitions' && value !== undefined) changes.metadataPartitions = countOf(assignment, value)
    else throw new AtollError('ATOLL_USAGE', `'${assignment}' cannot be set`, { hint: 'placement=hawaii, placement=tivoli, replicas=N, data-partitions=N, metadata-partitions=N' })
  }
  return changes
}

function countOf (assignment: string, value: string): number {
  const count = Number(value)
  if (value.trim() === '' || !Number.isSafeInteger(count) || count < 1) throw new AtollError('ATOLL_USAGE', `'${assignment}': a whole number from 1 is needed`)
  return count
}

function row (volume: VolumeInfo, data: readonly DataPartition[]): Array<string | number> {
  return [volume.name, volume.placement, volume.replicas, formatBytes(volume.chunkSizeBytes), partitionsText(volume, data), metadataText(volume)]
}

export function wholeNumber (text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 is needed')
  return value
}

const factors: Record<string, number> = { '': 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 }

export function byteSize (text: string): number {
  const match = /^(\d+)\s*(|KiB|MiB|GiB)$/i.exec(text.trim())
  if (match === null) throw new InvalidArgumentError('a size such as 4MiB is needed')
  return Number(match[1]) * factors[match[2]!.toLowerCase()]!
}
