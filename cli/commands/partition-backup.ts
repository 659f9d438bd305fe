import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import type { Command } from 'commander'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { MapBackup, RestoreResponse } from '../../fsnode/protocol/manager.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'

interface Json { json?: boolean }

export function backupCommands (partition: Command): void {
  withClusterOptions(partition.command('backup <file>'))
    .description('write down which partitions there are and where: the map, not the data')
    .option('--json', 'for programs')
    .action(backup)
  withClusterOptions(partition.command('restore <file>'))
    .description('bring back volumes that the manager has forgotten; of each partition one replica leads, the others are compared with it')
    .option('--dry-run', 'only say what would come back, and who would lead')
    .option('--yes', 'confirm: what only the other replicas hold is lost')
    .option('--json', 'for programs')
    .action(restore)
}

async function backup (file: string, options: ClusterOptions & Json): Promise<void> {
  const { backup } = (await withCluster(options, ({ router }) => router.toManager('manager.backup', {}))).body
  write(file, `${JSON.stringify(backup, null, 1)}\n`)
  const { map } = backup
  const counts = { file, version: map.version, volumes: map.volumes.length, dataPartitions: map.data.length, metadataPartitions: map.metadata.length, nodes: map.nodes.length }
  if (options.json === true) printJson(counts)
  else print(`${file}: version ${map.version} of the map, with ${counts.volumes} volumes, ${counts.dataPartitions} data and ${counts.metadataPartitions} metadata partitions on ${counts.nodes} nodes`)
}

async function restore (file: string, options: ClusterOptions & Json & { dryRun?: boolean, yes?: boolean }): Promise<void> {
  const dryRun = options.dryRun === true
  if (!dryRun && options.yes !== true) throw new AtollError('ATOLL_USAGE', 'a restore must be confirmed', { hint: `see what it does: atoll partition restore ${file} --dry-run; then: --yes` })
  const backup = readBackup(file)
  const report = (await withCluster(options, ({ router }) => router.toManager('manager.restore', { backup, dryRun }))).body
  if (options.json === true) printJson(report)
  else show(report, dryRun)
}

function show ({ volumes, partitions }: RestoreResponse, dryRun: boolean): void {
  print(`${dryRun ? 'would bring back' : 'brought back'} ${volumes.join(', ')}: ${partitions.length} data partitions`)
  print()
  printTable(['PARTITION', 'LEADS', 'HOLDS', 'COMPARED WITH IT'], partitions.map(({ partition, leads, bytes, compare }) => [partition, leads ?? '-', formatBytes(bytes), compare.join(' ')]))
}

function write (path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`
  try {
    const descriptor = openSync(temporary, 'w', 0o600)
    try {
      writeSync(descriptor, text)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    renameSync(temporary, path)
  } catch (error) {
    throw new AtollError('ATOLL_BACKUP_FAILED', `cannot write ${path}: ${messageOf(error)}`)
  }
}

/** @throws AtollError ATOLL_BACKUP_UNREADABLE */
export function readBackup (path: string): MapBackup {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as MapBackup
  } catch (error) {
    throw new AtollError('ATOLL_BACKUP_UNREADABLE', codeOf(error) === 'ENOENT' ? `there is no file ${path}` : `${path} cannot be understood: ${messageOf(error)}`)
  }
}
