import type { Command } from 'commander'
import type { ClusterMap, DataPartition } from '../../partitioning/types.ts'
import type { Cluster } from '../../client/connect.ts'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { NodeStatus } from '../../fsnode/protocol/manager.ts'
import { isAlive } from '../../fsnode/protocol/processes.ts'
import { mountedAt } from '../../fuse/device/mounts.ts'
import { clusterOptionText, dataDirectoryOf, isEmbedded, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { childrenOf, residentBytesOf } from '../processes.ts'

const askTimeoutMs = 2_000

export interface Problem { code: string, cause: string, affects: string, command: string }

export interface StatusReport {
  health: 'healthy' | 'degraded' | 'unavailable'
  problems: Problem[]
  clusterId: string
  nodes: Array<{ id: string, state: string, address: string, pid?: number, residentBytes?: number, usedBytes: number, capacityBytes: number, utilization: number | null }>
  volumes: Array<{ id: number, name: string, placement: string, replicas: number }>
  partitions: { total: number, healthy: number, degraded: number, unavailable: number }
  mounts: Array<{ volume: string, path: string, pid: number, state: 'mounted' | 'dead', workerResidentBytes?: number }>
}

export function statusCommand (program: Command): void {
  withClusterOptions(program.command('status'))
    .description('health of the cluster: what is wrong, what it affects, which command helps')
    .option('--json', 'for programs')
    .action(async (options: ClusterOptions & { json?: boolean }) => {
      const report = await withCluster(options, (cluster) => reportStatus(cluster, options))
      if (options.json === true) printJson(report)
      else printReport(report)
    })
}

export async function reportStatus (cluster: Cluster, options: ClusterOptions): Promise<StatusReport> {
  const { map } = cluster
  const answers = new Map(await Promise.all(map.nodes.map(async ({ id }) => [id, await askNode(cluster, id)] as const)))
  const groups = metadataHealth(map, answers)
  const partitions = countPartitions(map.data.map((partition) => dataHealth(partition, answers)), groups)
  const mounts = mountsOf(options)
  const problems = [
    ...schedulerProblems(options), ...nodeProblems(map, answers, options), ...partitionProblems(partitions, options), ...mountProblems(mounts, options)
  ]
  const health = partitions.unavailable > 0 ? 'unavailable' : problems.length > 0 || partitions.degraded > 0 ? 'degraded' : 'healthy'
  return {
    health,
    problems,
    clusterId: map.clusterId,
    nodes: [...map.nodes].sort((one, other) => one.id.localeCompare(other.id, 'en', { numeric: true })).map((node) => {
      const status = answers.get(node.id)
      return {
        id: node.id,
        state: status === undefined && node.state === 'up' ? 'unreachable' : node.state,
        address: `${node.host}:${node.rpcPort}`,
        ...(status !== undefined && { pid: status.pid, residentBytes: status.residentBytes }),
        usedBytes: status?.usedBytes ?? node.usedBytes,
        capacityBytes: status?.capacityBytes ?? node.capacityBytes,
        utilization: status?.utilization ?? node.disk?.utilization ?? null
      }
    }),
    volumes: map.volumes.map(({ id, name, placement, replicas }) => ({ id, name, placement, replicas })),
    partitions,
    mounts
  }
}

async function askNode (cluster: Cluster, id: string): Promise<NodeStatus | undefined> {
  try {
    return (await cluster.router.toNode(id, 'node.status', {}, { timeoutMs: askTimeoutMs })).body
  } catch (error) {
    if (codeOf(error) === 'ATOLL_INTERNAL') throw new Error(messageOf(error))
    return undefined
  }
}

type Health = 'healthy' | 'degraded' | 'unavailable'

/** A metadata partition is healthy when each member that is up follows or leads, unavailable without a leader. */
function metadataHealth (map: ClusterMap, answers: Map<string, NodeStatus | undefined>): Health[] {
  return map.metadata.map((partition) => {
    const members = partition.members.map((member) => answers.get(member)?.groups.find((group) => group.id === partition.id))
    const present = members.filter((member) => member !== undefined)
    if (present.length * 2 <= members.length || !present.some((member) => member.role === 'leader')) return 'unavailable'
    return present.length < members.length ? 'degraded' : 'healthy'
  })
}

/** The map is some seconds behind a node that has just died. */
function dataHealth ({ primary, replicas }: DataPartition, answers: Map<string, NodeStatus | undefined>): Health {
  if (primary === null || answers.get(primary) === undefined) return 'unavailable'
  return replicas.every(({ node, state }) => state === 'serving' && answers.get(node) !== undefined) ? 'healthy' : 'degraded'
}

function countPartitions (data: Health[], metadata: Health[]): StatusReport['partitions'] {
  const all = [...data, ...metadata]
  const count = (health: Health): number => all.filter((one) => one === health).length
  return { total: all.length, healthy: count('healthy'), degraded: count('degraded'), unavailable: count('unavailable') }
}

function mountsOf (options: ClusterOptions): StatusReport['mounts'] {
  if (!isEmbedded(options)) return []
  const directory = dataDirectoryOf(options)
  const alive = new Set(directory.liveMounts().map((mount) => mount.path))
  // What was unmounted by hand is over, although nobody has taken its record away.
  const there = directory.mounts().filter(({ path }) => alive.has(path) || mountedAt(path) !== null)
  return there.map(({ volume, path, holder }) => {
    // The holder's only child is the worker that answers the kernel.
    const workerResidentBytes = childrenOf(holder.pid).map(residentBytesOf).find((bytes) => bytes !== null)
    return { volume, path, pid: holder.pid, state: alive.has(path) ? 'mounted' as const : 'dead' as const, ...(workerResidentBytes != null && { workerResidentBytes }) }
  })
}

function schedulerProblems (options: ClusterOptions): Problem[] {
  if (!isEmbedded(options)) return []
  const directory = dataDirectoryOf(options)
  const scheduler = directory.readScheduler()?.process
  if (scheduler === undefined || isAlive(scheduler)) return []
  return [{
    code: 'ATOLL_SCHEDULER_DOWN',
    cause: `the scheduler (process ${scheduler.pid}) is gone`,
    affects: 'nothing yet; a node that dies is not launched again',
    command: `atoll up --detach --data ${directory.path}`
  }]
}

function nodeProblems (map: ClusterMap, answers: Map<string, NodeStatus | undefined>, options: ClusterOptions): Problem[] {
  return map.nodes.filter((node) => node.state === 'down' || answers.get(node.id) === undefined).map((node) => {
    const log = isEmbedded(options) ? dataDirectoryOf(options).nodeLog(node.id) : null
    return {
      code: 'ATOLL_NODE_DOWN',
      cause: `node ${node.id} at ${node.host}:${node.rpcPort} does not answer`,
      affects: 'its replicas: the others serve, with less redundancy',
      command: `the scheduler launches it again by itself; see why it died: ${log === null ? `the task of ${node.id} in the scheduler` : `tail ${log}`}`
    }
  })
}

function partitionProblems ({ degraded, unavailable }: StatusReport['partitions'], options: ClusterOptions): Problem[] {
  const list = (state: string): string => `atoll partition list --state ${state}${clusterOptionText(options)}`
  const problems: Problem[] = []
  if (unavailable > 0) {
    problems.push({ code: 'ATOLL_PARTITION_UNAVAILABLE', cause: `no majority or replica serves of ${unavailable} ${unavailable === 1 ? 'partition' : 'partitions'}`, affects: 'files in them wait until a node is back', command: list('unavailable') })
  }
  if (degraded > 0) {
    problems.push({ code: 'ATOLL_PARTITION_DEGRADED', cause: `${degraded} partitions have replicas that are away or catching up`, affects: 'nothing is lost; fewer further failures are survived', command: list('degraded') })
  }
  return problems
}

function mountProblems (mounts: StatusReport['mounts'], options: ClusterOptions): Problem[] {
  const cluster = clusterOptionText(options)
  return mounts.filter((mount) => mount.state === 'dead').map((mount) => ({
    code: 'ATOLL_MOUNT_DEAD',
    cause: `the process that held the mount on ${mount.path} is gone`,
    affects: `programs that use ${mount.path} get errors as soon as its worker ends, too`,
    command: `atoll umount ${mount.path}${cluster} && atoll mount ${mount.volume} ${mount.path}${cluster}`
  }))
}

function printReport (report: StatusReport): void {
  const { partitions } = report
  print(`cluster ${report.clusterId}: ${report.health}`)
  for (const problem of report.problems) {
    print(`  ${problem.code}: ${problem.cause}`)
    print(`    affects: ${problem.affects}`)
    print(`    helps:   ${problem.command}`)
  }
  print()
  printTable(['NODE', 'STATE', 'ADDRESS', 'PID', 'MEMORY', 'USED', 'CAPACITY'], report.nodes.map((node) => [
    node.id, node.state, node.address, node.pid ?? '-', node.residentBytes === undefined ? '-' : formatBytes(node.residentBytes),
    formatBytes(node.usedBytes), formatBytes(node.capacityBytes)
  ]))
  print()
  printTable(['VOLUME', 'PLACEMENT', 'REPLICAS'], report.volumes.map((volume) => [volume.name, volume.placement, volume.replicas]))
  print()
  print(`partitions: ${partitions.total} total, ${partitions.healthy} healthy, ${partitions.degraded} degraded, ${partitions.unavailable} unavailable`)
  if (report.mounts.length > 0) {
    print()
    printTable(['MOUNT', 'VOLUME', 'PID', 'STATE'], report.mounts.map((mount) => [mount.path, mount.volume, mount.pid, mount.state]))
  }
}

