import { resolve } from 'node:path'
import type { Command } from 'commander'
import { connect, type Cluster } from '../client/connect.ts'
import { AtollError, codeOf } from '../fsnode/protocol/errors.ts'
import type { Address } from '../fsnode/protocol/ports.ts'
import { isAlive } from '../fsnode/protocol/processes.ts'
import { DataDirectory } from './data-directory.ts'
import { unlessStopped } from './start/stopping.ts'

export const clusterVariable = 'ATOLL_CLUSTER'
export const dataDirectoryDefault = './data'
export const commandPatienceMs = 5_000
/** Without a scheduler the nodes still serve, if they run; they do not need to be waited for. */
export const withoutSchedulerPatienceMs = 2_000

export interface ClusterOptions { data?: string, cluster?: string }

/** The options by which a command finds its cluster. */
export function withClusterOptions (command: Command): Command {
  return command
    .option('--data <dir>', `directory of an embedded cluster (default: ${dataDirectoryDefault})`)
    .option('--cluster <host:port,...>', `addresses of storage nodes (default: $${clusterVariable})`)
}

export function dataDirectoryOf (options: ClusterOptions): DataDirectory {
  return new DataDirectory(resolve(options.data ?? dataDirectoryDefault))
}

/** What a command has to be given to find the same cluster, as text to put behind it. */
export function clusterOptionText ({ data, cluster }: ClusterOptions): string {
  return `${cluster === undefined ? '' : ` --cluster ${cluster}`}${data === undefined || data === dataDirectoryDefault ? '' : ` --data ${data}`}`
}

/** Addresses of nodes to start from. Throws ATOLL_NO_CLUSTER, ATOLL_BAD_ARGUMENT or ATOLL_CLUSTER_FILE_CORRUPT. */
export function clusterAddresses (options: ClusterOptions): Address[] {
  const named = options.cluster ?? (options.data === undefined ? process.env[clusterVariable] : undefined)
  if (named !== undefined && named !== '') return named.split(',').map(parseAddress)
  const directory = dataDirectoryOf(options)
  const file = directory.readCluster()
  if (file === null || file.nodes.length === 0) {
    throw new AtollError('ATOLL_NO_CLUSTER', `no cluster was started in ${directory.path}`, {
      hint: `start one: atoll up --data ${directory.path}; or name one: --cluster HOST:PORT`
    })
  }
  return file.nodes
}

/** Rejects with ATOLL_CLUSTER_UNREACHABLE, saying what helps, and as `clusterAddresses` throws. */
async function connectTo (options: ClusterOptions): Promise<Cluster> {
  const nodes = clusterAddresses(options)
  const scheduler = isEmbedded(options) ? dataDirectoryOf(options).readScheduler()?.process : undefined
  const isDown = scheduler !== undefined && !isAlive(scheduler)
  try {
    return await connect({ nodes, patienceMs: isDown ? withoutSchedulerPatienceMs : commandPatienceMs })
  } catch (error) {
    if (codeOf(error) !== 'ATOLL_CLUSTER_UNREACHABLE' || scheduler === undefined) throw error
    const { path } = dataDirectoryOf(options)
    throw new AtollError('ATOLL_CLUSTER_UNREACHABLE', isDown ? `the cluster in ${path} does not run` : `no node of the cluster in ${path} answers`, {
      hint: isDown ? `start it: atoll up --detach --data ${path}` : `see what the nodes say: tail ${dataDirectoryOf(options).schedulerDirectory}/master/tasks/*/stderr`
    })
  }
}

/** Whether the cluster is found by its directory. */
export function isEmbedded ({ cluster, data }: ClusterOptions): boolean {
  return cluster === undefined && (data !== undefined || (process.env[clusterVariable] ?? '') === '')
}

/** Connects, does the work, and disconnects whatever comes of it. Rejects with ATOLL_CLUSTER_STOPPING as soon as somebody stops the cluster. */
export function withCluster<T> (options: ClusterOptions, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  if (!isEmbedded(options)) return connected(options, work)
  return unlessStopped(dataDirectoryOf(options), (signal) => Promise.race([connected(options, work), rejectedAt(signal)]))
}

async function connected<T> (options: ClusterOptions, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await connectTo(options)
  try {
    return await work(cluster)
  } finally {
    await cluster.close()
  }
}

function rejectedAt (signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => { signal.addEventListener('abort', () => { reject(signal.reason) }) })
}

export function parseAddress (text: string): Address {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text.trim())
  const port = Number(match?.[3])
  if (match === null || port < 1 || port > 65_535) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `'${text}' is not HOST:PORT`)
  }
  return { host: (match[1] ?? match[2])!, port }
}
