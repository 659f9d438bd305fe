import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { connect, type Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { MapBackup } from '../../fsnode/protocol/manager.ts'
import { identify, isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import { mountVolume } from '../commands/mount.ts'
import { reportStatus } from '../commands/status.ts'
import type { ClusterFile, ClusterSettings, DataDirectory } from '../data-directory.ts'
import type { Progress } from '../output.ts'
import { spawnDetached } from '../processes.ts'
import { requireNoStopper } from './stopping.ts'
import { StartWatch } from './watch.ts'

export const mainVolume = 'main'
export const startLimitMs = 60_000
/** How long replicas may catch up before the start is called done anyway. */
export const healthLimitMs = 10_000
const healthPollMs = 100
/** For a scheduler to end without its nodes. */
export const leaveLimitMs = 10_000

export interface BringUpInit {
  settings: ClusterSettings
  mountPoint: string | null
  /** Of the map that the cluster has lost; its volumes come back before any is made. */
  backup: MapBackup | null
  progress: Progress
  signal: AbortSignal
  /** As soon as it runs: whoever interrupts the start stops it. */
  onScheduler: (id: ProcessId) => void
}

/** Makes everything run that does not, in the order in which it depends on each other. Rejects with ATOLL_CLUSTER_STOPPING when somebody stops it meanwhile. */
export async function bringUp (directory: DataDirectory, init: BringUpInit): Promise<void> {
  try {
    await bringAllUp(directory, init)
  } catch (error) {
    // Whatever failed then failed for that, such as a mount whose processes were ended.
    if (!init.signal.aborted) requireNoStopper(directory)
    throw error
  }
}

async function bringAllUp (directory: DataDirectory, init: BringUpInit): Promise<void> {
  const { settings, mountPoint, progress, signal } = init
  await leaveForMoreNodes(directory, init)
  const watch = ensureScheduler(directory, init)
  await watch.until('waiting for the scheduler', () => watch.file !== null)
  if (watch.file!.nodes.length < settings.nodes) progress.step(`launching ${nodesText(settings.nodes)}`)
  await watch.until('launching nodes', () => watch.file!.nodes.length >= settings.nodes)
  const file = watch.file!
  progress.step('waiting for the nodes to agree')
  const cluster = await watch.race('waiting for a node that answers', connect({ nodes: file.nodes, patienceMs: startLimitMs }))
  try {
    await watch.until('waiting for the nodes to register', () => cluster.map.nodes.filter((node) => node.state !== 'down').length >= settings.nodes)
    if (init.backup !== null) await restoreVolumes(cluster, init.backup, watch, progress)
    await ensureVolume(cluster, settings, watch, progress)
    await serveAndMount(cluster, directory, file, watch, init)
    const { partitions } = await healthy(cluster, directory, signal)
    progress.done(`${nodesText(settings.nodes)}, volume "${mainVolume}" with ${settings.replicas} ${settings.replicas === 1 ? 'replica' : 'replicas'} under ${settings.placement}, ${partitions.healthy} of ${partitions.total} partitions healthy${mountPoint === null ? '' : `, mounted on ${mountPoint}`}`)
  } finally {
    await cluster.close()
  }
}

function nodesText (nodes: number): string { return nodes === 1 ? '1 storage node' : `${nodes} storage nodes` }

/** A scheduler that runs with fewer nodes leaves them to the next one. */
async function leaveForMoreNodes (directory: DataDirectory, { settings, progress }: BringUpInit): Promise<void> {
  const running = directory.readScheduler()
  if (running === null || !isAlive(running.process) || running.settings.nodes >= settings.nodes) return
  progress.step(`adding ${nodesText(settings.nodes - running.settings.nodes)}`)
  process.kill(running.process.pid, 'SIGUSR2')
  const endMs = performance.now() + leaveLimitMs
  while (isAlive(running.process)) {
    if (performance.now() > endMs) throw new AtollError('ATOLL_STOP_FAILED', `the scheduler (process ${running.process.pid}) does not make way for another one`, { hint: `look at its log: tail ${directory.log('scheduler')}` })
    await new Promise((resolve) => { setTimeout(resolve, healthPollMs) })
  }
}

/** The running scheduler, or a new one that takes over what still runs. */
function ensureScheduler (directory: DataDirectory, { settings, progress, signal, onScheduler }: BringUpInit): StartWatch {
  const logFile = directory.log('scheduler')
  const logOffsetBytes = sizeOf(logFile)
  const running = directory.readScheduler()?.process
  if (running !== undefined && isAlive(running)) {
    progress.step('the scheduler is already running')
    if (directory.readCluster() === null) process.kill(running.pid, 'SIGHUP')
    return new StartWatch(directory, { scheduler: running, logOffsetBytes, limitMs: startLimitMs, signal })
  }
  progress.step('starting the scheduler')
  const entry = fileURLToPath(new URL('../atoll.ts', import.meta.url))
  const child = spawnDetached([
    process.execPath, entry, ...directory.schedulerWords,
    '--nodes', String(settings.nodes), '--replicas', String(settings.replicas), '--placement', settings.placement
  ], logFile)
  const scheduler = identify(child.pid!) ?? { pid: child.pid!, startTime: '' }
  onScheduler(scheduler)
  return new StartWatch(directory, { scheduler, logOffsetBytes, limitMs: startLimitMs, signal })
}

/** Waits until all nodes have told what they hold. Rejects with ATOLL_VOLUME_EXISTS, ATOLL_WRONG_CLUSTER, ATOLL_BAD_ARGUMENT. */
async function restoreVolumes ({ router }: Cluster, backup: MapBackup, watch: StartWatch, progress: Progress): Promise<void> {
  progress.step('waiting for the nodes to tell what they hold')
  const { body } = await watch.race('restoring volumes', router.toManager('manager.restore', { backup }))
  progress.step(`brought back ${body.volumes.join(', ')}`)
  await watch.race('restoring volumes', router.refresh())
}

async function ensureVolume (cluster: Cluster, { placement, replicas }: ClusterSettings, watch: StartWatch, progress: Progress): Promise<void> {
  if (cluster.map.volumes.some((volume) => volume.name === mainVolume)) return
  progress.step(`creating volume "${mainVolume}"`)
  await watch.race('creating the volume', cluster.createVolume({ name: mainVolume, placement, replicas }))
}

/** The mount's processes start while the partitions elect their leaders. */
async function serveAndMount (cluster: Cluster, directory: DataDirectory, file: ClusterFile, watch: StartWatch, { mountPoint, progress, signal }: BringUpInit): Promise<void> {
  const failed = new AbortController()
  const mounting = ensureMount(directory, file, mountPoint, progress, AbortSignal.any([signal, failed.signal]))
  try {
    await Promise.all([watch.race('mounting', mounting), ensureServing(cluster, watch)])
  } catch (error) {
    failed.abort(error)
    await mounting.catch(() => {})
    throw error
  }
}

async function ensureServing (cluster: Cluster, watch: StartWatch): Promise<void> {
  const volume = await watch.race('opening the volume', cluster.openVolume(mainVolume))
  try {
    await watch.race('waiting for the metadata partitions', volume.getattr(volume.root))
  } finally {
    await volume.close()
  }
  await watch.until('waiting for the data partitions', () => cluster.map.data.every((partition) => partition.primary !== null))
}

async function ensureMount (directory: DataDirectory, file: ClusterFile, path: string | null, progress: Progress, signal: AbortSignal): Promise<void> {
  if (path === null || directory.liveMounts().some((mount) => mount.path === path)) return
  progress.step(`mounting on ${path}`)
  await mountVolume(directory, { volume: mainVolume, path, nodes: file.nodes, driver: 'kernel' }, signal)
}

/** Replicas that were apart when the cluster was stopped catch up first; a start does not fail for it. */
async function healthy (cluster: Cluster, directory: DataDirectory, signal: AbortSignal): ReturnType<typeof reportStatus> {
  for (const endMs = performance.now() + healthLimitMs; ;) {
    const report = await reportStatus(cluster, { data: directory.path })
    requireNoStopper(directory)
    if (report.partitions.healthy === report.partitions.total || performance.now() > endMs) return report
    signal.throwIfAborted()
    await new Promise((resolve) => { setTimeout(resolve, healthPollMs) })
  }
}

function sizeOf (path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
