import { Option, type Command } from 'commander'
import type { ClusterMap, DataPartition, MetadataPartition } from '../../partitioning/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { LoadsResponse } from '../../fsnode/protocol/manager.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { inodeCounts } from './inode-counts.ts'
import { backupCommands } from './partition-backup.ts'
import { explainCommand } from './partition-explain.ts'
import { planCommands } from './partition-plans.ts'
import { topCommand } from './partition-top.ts'

interface ListOptions extends ClusterOptions { json?: boolean, state?: string, node?: string, volume?: string, kind?: string, sort: SortKey, reverse?: boolean }

interface Row {
  id: string
  kind: 'data' | 'metadata'
  volume: string
  state: string
  epoch: number | null
  primary: string | null
  replicas: string[]
  /** Of the fullest replica; null: not told yet, or metadata. */
  bytes: number | null
  /** Of a metadata partition; null: data, or its leader does not answer. */
  inodes: number | null
  /** Read and written, per second. */
  bytesPerSecond: number
}

const sortKeys = ['id', 'kind', 'volume', 'state', 'primary', 'bytes', 'inodes', 'load'] as const
type SortKey = typeof sortKeys[number]

export function partitionCommand (program: Command): void {
  const partition = program.command('partition').description('units of placement and replication')
  withClusterOptions(partition.command('list'))
    .description('all partitions with their replicas')
    .addOption(new Option('--state <state>', 'only these').choices(['healthy', 'degraded', 'unavailable', 'moving', 'splitting']))
    .addOption(new Option('--kind <kind>', 'only these').choices(['data', 'metadata']))
    .option('--node <id>', 'with a replica on this node')
    .option('--volume <name>', 'of this volume')
    .addOption(new Option('--sort <column>', 'bytes, inodes and load: the largest first').choices(sortKeys).default('id'))
    .option('--reverse', 'the other way round')
    .option('--json', 'for programs')
    .action(list)
  withClusterOptions(partition.command('show <id>'))
    .description('one partition')
    .option('--json', 'for programs')
    .action(async (id: string, options: ClusterOptions & { json?: boolean }) => {
      const row = await withCluster(options, async ({ map, router }) => {
        const inodes = await inodeCounts(router, map.metadata.map((one) => one.id).filter((one) => one === id))
        return rowsOf(map, { loads: [], stored: [] }, inodes).find((candidate) => candidate.id === id)
      })
      if (row === undefined) throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no partition ${id}`, { hint: 'those that exist: atoll partition list' })
      const { bytesPerSecond: _, bytes: __, ...shown } = row
      if (options.json === true) printJson(shown)
      else for (const [name, value] of Object.entries(shown)) print(`${name.padEnd(9)} ${Array.isArray(value) ? value.join(', ') : String(value)}`)
    })
  explainCommand(partition)
  topCommand(partition)
  planCommands(partition)
  backupCommands(partition)
}

async function list (options: ListOptions): Promise<void> {
  const rows = await withCluster(options, async ({ map, router }) => {
    // Without a leader of the manager nobody knows loads: the rest is shown.
    const loads = router.toManager('manager.loads', {}, { patienceMs: 1_000 }).then(({ body }) => body, () => ({ loads: [], stored: [] }))
    const inodes = inodeCounts(router, map.metadata.map(({ id }) => id))
    return rowsOf(map, await loads, await inodes)
  })
  const shown = rows.filter((row) => matches(row, options)).sort(orderBy(options.sort))
  if (options.reverse === true) shown.reverse()
  if (options.json === true) printJson(shown)
  else {
    printTable(['PARTITION', 'KIND', 'VOLUME', 'STATE', 'EPOCH', 'PRIMARY', 'BYTES', 'INODES', 'LOAD', 'REPLICAS'], shown.map((row) => [
      row.id, row.kind, row.volume, row.state, row.epoch ?? '-', row.primary ?? '-', row.bytes === null ? '-' : formatBytes(row.bytes), row.inodes ?? '-', `${formatBytes(row.bytesPerSecond)}/s`, row.replicas.join(' ')
    ]))
  }
}

function rowsOf (map: ClusterMap, { loads, stored }: LoadsResponse, inodes: ReadonlyMap<string, number>): Row[] {
  const names = new Map(map.volumes.map((volume) => [volume.id, volume]))
  const rates = new Map(loads.map((load) => [load.partition, load.readBytes + load.writeBytes]))
  const bytes = new Map(stored.map((one) => [one.partition, one.bytes]))
  const nameOf = (id: number): string => names.get(id)?.name ?? String(id)
  const dataRow = (partition: DataPartition): Row => ({
    id: partition.id,
    kind: 'data',
    volume: nameOf(partition.volume),
    state: dataState(partition, names.get(partition.volume)?.replicas ?? partition.replicas.length),
    epoch: partition.epoch,
    primary: partition.primary,
    replicas: partition.replicas.map((replica) => `${replica.node}:${replica.state}`),
    bytes: bytes.get(partition.id) ?? null,
    inodes: null,
    bytesPerSecond: rates.get(partition.id) ?? 0
  })
  return [...map.metadata.map((one) => metadataRow(one, nameOf(one.volume), map, inodes.get(one.id) ?? null)), ...map.data.map(dataRow)]
}

/** A partition that is being moved has all its replicas, and one more; one that is splitting waits for the moment at which nothing is under way. */
function dataState ({ primary, replicas, splitting }: DataPartition, wanted: number): string {
  if (primary === null) return 'unavailable'
  const serving = replicas.filter(({ state }) => state === 'serving').length
  if (serving < wanted) return 'degraded'
  return replicas.length > wanted ? 'moving' : splitting === true ? 'splitting' : 'healthy'
}

function metadataRow (partition: MetadataPartition, volume: string, map: ClusterMap, inodes: number | null): Row {
  const up = partition.members.filter((member) => map.nodes.some((node) => node.id === member && node.state !== 'down')).length
  const state = partition.change !== undefined && up * 2 > partition.members.length ? 'moving' : up === partition.members.length ? 'healthy' : up * 2 > partition.members.length ? 'degraded' : 'unavailable'
  return { id: partition.id, kind: 'metadata', volume, state, epoch: null, primary: null, replicas: partition.members, bytes: null, inodes, bytesPerSecond: 0 }
}

function matches (row: Row, options: ListOptions): boolean {
  return (options.state === undefined || row.state === options.state) &&
    (options.kind === undefined || row.kind === options.kind) &&
    (options.volume === undefined || row.volume === options.volume) &&
    (options.node === undefined || row.replicas.some((replica) => replica.split(':')[0] === options.node))
}

function orderBy (key: SortKey): (one: Row, other: Row) => number {
  const byId = (one: Row, other: Row): number => one.id.localeCompare(other.id, 'en', { numeric: true })
  if (key === 'bytes' || key === 'inodes') return (one, other) => (other[key] ?? -1) - (one[key] ?? -1) || byId(one, other)
  if (key === 'load') return (one, other) => other.bytesPerSecond - one.bytesPerSecond || byId(one, other)
  return (one, other) => String(one[key] ?? '').localeCompare(String(other[key] ?? ''), 'en', { numeric: true }) || byId(one, other)
}
