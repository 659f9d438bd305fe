import type { Command } from 'commander'
import type { ClusterMap, DataPartition, MetadataPartition } from '../../partitioning/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { print, printJson, printTable } from '../output.ts'

interface ListOptions extends ClusterOptions { json?: boolean, state?: string, node?: string, volume?: string }

interface Row { id: string, kind: 'data' | 'metadata', volume: string, state: string, epoch: number | null, primary: string | null, replicas: string[] }

export function partitionCommand (program: Command): void {
  const partition = program.command('partition').description('units of placement and replication')
  withClusterOptions(partition.command('list'))
    .description('all partitions with their replicas')
    .option('--state <state>', 'healthy, degraded or unavailable')
    .option('--node <id>', 'with a replica on this node')
    .option('--volume <name>', 'of this volume')
    .option('--json', 'for programs')
    .action(async (options: ListOptions) => {
      const rows = (await withCluster(options, async ({ map }) => rowsOf(map))).filter((row) => matches(row, options))
      if (options.json === true) printJson(rows)
      else printTable(['PARTITION', 'KIND', 'VOLUME', 'STATE', 'EPOCH', 'PRIMARY', 'REPLICAS'], rows.map((row) => [row.id, row.kind, row.volume, row.state, row.epoch ?? '-', row.primary ?? '-', row.replicas.join(' ')]))
    })
  withClusterOptions(partition.command('show <id>'))
    .description('one partition')
    .option('--json', 'for programs')
    .action(async (id: string, options: ClusterOptions & { json?: boolean }) => {
      const row = (await withCluster(options, async ({ map }) => rowsOf(map))).find((candidate) => candidate.id === id)
      if (row === undefined) throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no partition ${id}`, { hint: 'those that exist: atoll partition list' })
      if (options.json === true) printJson(row)
      else for (const [name, value] of Object.entries(row)) print(`${name.padEnd(9)} ${Array.isArray(value) ? value.join(', ') : String(value)}`)
    })
}

function rowsOf (map: ClusterMap): Row[] {
  const names = new Map(map.volumes.map((volume) => [volume.id, volume.name]))
  const nameOf = (id: number): string => names.get(id) ?? String(id)
  return [...map.metadata.map((one) => metadataRow(one, nameOf(one.volume), map)), ...map.data.map((one) => dataRow(one, nameOf(one.volume)))]
}

function dataRow (partition: DataPartition, volume: string): Row {
  const state = partition.primary === null ? 'unavailable' : partition.replicas.every((replica) => replica.state === 'serving') ? 'healthy' : 'degraded'
  return { id: partition.id, kind: 'data', volume, state, epoch: partition.epoch, primary: partition.primary, replicas: partition.replicas.map((replica) => `${replica.node}:${replica.state}`) }
}

function metadataRow (partition: MetadataPartition, volume: string, map: ClusterMap): Row {
  const up = partition.members.filter((member) => map.nodes.some((node) => node.id === member && node.state !== 'down')).length
  const state = up === partition.members.length ? 'healthy' : up * 2 > partition.members.length ? 'degraded' : 'unavailable'
  return { id: partition.id, kind: 'metadata', volume, state, epoch: null, primary: null, replicas: partition.members }
}

function matches (row: Row, options: ListOptions): boolean {
  return (options.state === undefined || row.state === options.state) &&
    (options.volume === undefined || row.volume === options.volume) &&
    (options.node === undefined || row.replicas.some((replica) => replica.split(':')[0] === options.node))
}
