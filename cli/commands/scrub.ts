import type { Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import type { DataScrubResponse } from '../../fsnode/protocol/data.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import type { NodeId, PartitionId } from '../../partitioning/types.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable, startProgress, type Progress } from '../output.ts'
import { wholeNumber } from './volume.ts'

const scrubTimeoutMs = 24 * 3600_000
/** Of one replica; with the router's back-off some 40 seconds. */
const retriesMax = 100

interface ScrubOptions extends ClusterOptions { json?: boolean, dryRun?: boolean, rate: number, volume?: string }
interface Row extends DataScrubResponse { partition: string, node: string }

export function scrubCommand (program: Command): void {
  withClusterOptions(program.command('scrub'))
    .description('verify every block of every replica, compare the replicas, repair what differs')
    .option('--volume <name>', 'only this volume')
    .option('--dry-run', 'only look')
    .option('--rate <MB>', 'megabytes a second and replica', wholeNumber, 200)
    .option('--json', 'for programs')
    .action(async (options: ScrubOptions) => {
      const progress = startProgress(options.json)
      const rows = await withCluster(options, (cluster) => scrub(cluster, options, progress))
      const failed = rows.filter((row) => row.failures.length > 0)
      progress.done(`${rows.length} replicas verified`)
      if (options.json === true) printJson(rows)
      else report(rows)
      if (failed.length > 0) {
        throw new AtollError('ATOLL_DAMAGED', `${failed.length} replicas hold chunks that could not be made whole`, { hint: options.dryRun === true ? 'repair them: atoll scrub' : 'see which replicas are away: atoll partition list --state degraded' })
      }
    })
}

/** One replica after the other: a scrub must not be noticed. */
async function scrub (cluster: Cluster, options: ScrubOptions, progress: Progress): Promise<Row[]> {
  const rows: Row[] = []
  const volume = cluster.map.volumes.find((candidate) => candidate.name === options.volume)
  if (options.volume !== undefined && volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${options.volume}`, { hint: 'those that exist: atoll volume list' })
  const ids = cluster.map.data.filter((one) => volume === undefined || one.volume === volume.id).map(({ id }) => id)
  for (const id of ids) {
    const partition = cluster.map.data.find((one) => one.id === id)
    for (const { node, state } of partition?.replicas ?? []) {
      if (state !== 'serving') continue
      progress.step(`partition ${id} on ${node}`)
      const found = await scrubReplica(cluster, id, node, options)
      if (found !== null) rows.push({ partition: id, node, ...found })
    }
  }
  return rows
}

/** Begins anew when the replica's role changes meanwhile; null once it serves no more: it has moved, and another is verified in its place. */
async function scrubReplica ({ router }: Cluster, partition: PartitionId, node: NodeId, options: ScrubOptions): Promise<DataScrubResponse | null> {
  const request = { partition, bytesPerSecond: options.rate * 1e6, dryRun: options.dryRun === true }
  const onRetry = (error: AtollError, attempt: number): void => { if (attempt > retriesMax) throw error }
  try {
    const answer = await router.toReplica(partition, node, 'data.scrub', request, { timeoutMs: scrubTimeoutMs, patienceMs: scrubTimeoutMs, onRetry })
    return answer?.body ?? null
  } catch (error) {
    return { chunks: 0, bytes: 0, damaged: 0, differing: 0, repaired: 0, failures: [{ ino: 0, chunk: 0, error: codeOf(error) }] }
  }
}

function report (rows: Row[]): void {
  const sum = (field: 'chunks' | 'bytes' | 'damaged' | 'differing' | 'repaired'): number => rows.reduce((total, row) => total + row[field], 0)
  print(`${sum('chunks')} chunks, ${formatBytes(sum('bytes'))}: ${sum('damaged')} damaged, ${sum('differing')} different from their replicas, ${sum('repaired')} repaired`)
  const failures = rows.flatMap((row) => row.failures.map((failure) => [row.partition, row.node, failure.ino, failure.chunk, failure.error]))
  if (failures.length > 0) printTable(['PARTITION', 'NODE', 'INODE', 'CHUNK', 'ERROR'], failures)
}
