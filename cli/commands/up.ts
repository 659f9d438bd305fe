import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { connect, type Cluster } from '../../client/connect.ts'
import type { Placement } from '../../partitioning/types.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { DataDirectory, type ClusterFile, type ClusterSettings } from '../data-directory.ts'
import { dataDirectoryDefault } from '../find-cluster.ts'
import { print, startProgress, type Progress } from '../output.ts'
import { identify, isAlive, spawnDetached, startTimeOf, type ProcessId } from '../processes.ts'
import { lastError } from '../log-tail.ts'
import { takeDown } from './down.ts'
import { mountVolume, type Driver } from './mount.ts'
import { reportStatus } from './status.ts'
import { placementOption, wholeNumber } from './volume.ts'

export const mainVolume = 'main'
export const mountDefault = './mnt'
export const startLimitMs = 60_000
export const nodesDefault = 3
export const replicasDefault = 3
const pollMs = 50

interface UpOptions { data: string, mount: string | false, nodes?: number, replicas?: number, placement?: Placement, detach?: boolean }

export function upCommand (program: Command): void {
  program.command('up')
    .description('start a cluster on this machine, with a volume "main" mounted')
    .option('--nodes <n>', `storage nodes (default: ${nodesDefault})`, wholeNumber)
    .option('--replicas <n>', `copies of everything (default: ${replicasDefault}, or the number of nodes if that is less)`, wholeNumber)
    .addOption(placementOption())
    .option('--data <dir>', 'where everything is kept', dataDirectoryDefault)
    .option('--mount <dir>', 'where the volume is mounted', mountDefault)
    .option('--no-mount', 'do not mount')
    .option('--detach', 'return when everything is up; stop it with: atoll down')
    .action(up)
}

async function up (options: UpOptions): Promise<void> {
  const directory = new DataDirectory(resolve(options.data))
  const mountPoint = options.mount === false ? null : resolve(options.mount)
  const interrupted = new AbortController()
  const interrupt = (): void => { interrupted.abort(new AtollError('ATOLL_INTERRUPTED', 'interrupted')) }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  const progress = startProgress()
  let scheduler: ProcessId | null = null
  let began = false
  try {
    preflight(directory, mountPoint)
    const settings = settle(directory, options)
    began = true
    scheduler = await ensureScheduler(directory, settings, progress, interrupted.signal)
    await bringUp(directory, settings, mountPoint, progress, interrupted.signal)
  } catch (error) {
    progress.fail()
    const wasInterrupted = codeOf(error) === 'ATOLL_INTERRUPTED'
    // Nothing half started stays behind.
    if (began) await takeDown(directory, { scheduler, quiet: !wasInterrupted })
    if (!wasInterrupted) throw error
    return
  }
  if (options.detach === true) return
  print('Ctrl-C stops it; the data stays.')
  await new Promise<void>((resolve) => {
    if (interrupted.signal.aborted) resolve()
    else interrupted.signal.addEventListener('abort', () => { resolve() })
  })
  await takeDown(directory, { scheduler, quiet: false })
}

/** What would fail later is said now, before anything is started. */
function preflight (directory: DataDirectory, mountPoint: string | null): void {
  if (mountPoint !== null) {
    if (process.getuid?.() !== 0) {
      throw new AtollError('ATOLL_NOT_ROOT', 'mounting needs root', { hint: 'run it as root, or without a mount: atoll up --no-mount' })
    }
    if (!existsSync('/dev/fuse')) {
      throw new AtollError('ATOLL_NO_FUSE_DEVICE', '/dev/fuse does not exist', { hint: 'load the module (modprobe fuse), or run without a mount: atoll up --no-mount' })
    }
  }
  directory.prepare()
  directory.readCluster()
  if (mountPoint !== null && !directory.liveMounts().some((mount) => mount.path === mountPoint)) prepareMountPoint(mountPoint)
}

function prepareMountPoint (path: string): void {
  let entry
  try {
    entry = statSync(path)
  } catch (error) {
    if (codeOf(error) === 'ENOTCONN') return // a dead mount: the holder clears it away
    if (codeOf(error) !== 'ENOENT') throw new AtollError('ATOLL_MOUNT_POINT_UNUSABLE', `cannot use ${path}: ${codeOf(error)}`, { hint: 'choose another: atoll up --mount DIR' })
    try {
      mkdirSync(path)
      return
    } catch {
      throw new AtollError('ATOLL_MOUNT_POINT_MISSING', `${path} does not exist and cannot be made`, { hint: `make it: mkdir -p ${path}` })
    }
  }
  if (!entry.isDirectory()) throw new AtollError('ATOLL_MOUNT_POINT_NOT_DIRECTORY', `${path} is not a directory`, { hint: 'choose another: atoll up --mount DIR' })
  if (readdirSync(path).length > 0) throw new AtollError('ATOLL_MOUNT_POINT_BUSY', `${path} is not empty: a mount would hide what is in it`, { hint: 'choose another: atoll up --mount DIR' })
}

/** The cluster keeps the settings it was made with; asking for others is an error, not a silent no. */
function settle (directory: DataDirectory, options: UpOptions): ClusterSettings {
  const existing = directory.readCluster()?.settings
  const nodes = options.nodes ?? existing?.nodes ?? nodesDefault
  const settings = {
    nodes,
    replicas: options.replicas ?? existing?.replicas ?? Math.min(replicasDefault, nodes),
    placement: options.placement ?? existing?.placement ?? 'hawaii' as const
  }
  if (settings.replicas > nodes) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `${settings.replicas} replicas need as many nodes, not ${nodes}`, { hint: `atoll up --nodes ${settings.replicas} --replicas ${settings.replicas}` })
  }
  if (existing !== undefined) {
    for (const name of ['nodes', 'replicas', 'placement'] as const) {
      if (settings[name] !== existing[name]) {
        throw new AtollError('ATOLL_SETTINGS_DIFFER', `the cluster in ${directory.path} was made with ${name} ${existing[name]}, not ${settings[name]}`, { hint: `start it as it is: atoll up --data ${directory.path}; or make another: atoll up --data OTHER` })
      }
    }
  }
  return settings
}

/** The running scheduler, or a new one that takes over what still runs. */
async function ensureScheduler (directory: DataDirectory, settings: ClusterSettings, progress: Progress, signal: AbortSignal): Promise<ProcessId> {
  const running = directory.readCluster()?.scheduler
  if (running !== undefined && isAlive(running)) {
    progress.step('the scheduler is already running')
    return running
  }
  progress.step('starting the scheduler')
  const entry = fileURLToPath(new URL('../atoll.ts', import.meta.url))
  const logFile = directory.log('scheduler')
  const child = spawnDetached([
    process.execPath, entry, 'scheduler', '--embedded', '--data', directory.path,
    '--nodes', String(settings.nodes), '--replicas', String(settings.replicas), '--placement', settings.placement
  ], logFile)
  const started = identify(child.pid!)
  await waitFor(() => directory.readCluster()?.scheduler.pid === child.pid, signal, () => {
    if (child.exitCode !== null || child.signalCode !== null) throw lastError(logFile, 'the scheduler')
  })
  return started ?? { pid: child.pid!, startTime: startTimeOf(child.pid!) ?? '' }
}

async function bringUp (directory: DataDirectory, settings: ClusterSettings, mountPoint: string | null, progress: Progress, signal: AbortSignal): Promise<void> {
  progress.step(`launching ${settings.nodes} storage ${settings.nodes === 1 ? 'node' : 'nodes'}`)
  const schedulerDied = (): void => {
    const { scheduler } = directory.readCluster()!
    if (!isAlive(scheduler)) throw lastError(directory.log('scheduler'), 'the scheduler')
  }
  await waitFor(() => directory.readCluster()!.nodes.length === settings.nodes, signal, schedulerDied)
  const file = directory.readCluster()!
  progress.step('waiting for the nodes to agree')
  const cluster = await abortable(connect({ nodes: file.nodes, patienceMs: startLimitMs }), signal)
  try {
    await waitFor(() => cluster.map.nodes.filter((node) => node.state === 'up').length === settings.nodes, signal, schedulerDied)
    await ensureVolume(cluster, settings, progress, signal)
    await ensureMount(directory, file, mountPoint, progress, signal)
    const { partitions } = await reportStatus(cluster, { data: directory.path })
    progress.done(`${settings.nodes} nodes, volume "${mainVolume}" with ${settings.replicas} replicas under ${settings.placement}, ${partitions.healthy} of ${partitions.total} partitions healthy${mountPoint === null ? '' : `, mounted on ${mountPoint}`}`)
  } finally {
    await cluster.close()
  }
}

async function ensureVolume (cluster: Cluster, settings: ClusterSettings, progress: Progress, signal: AbortSignal): Promise<void> {
  if (!cluster.map.volumes.some((volume) => volume.name === mainVolume)) {
    progress.step(`creating volume "${mainVolume}"`)
    await abortable(cluster.createVolume({ name: mainVolume, placement: settings.placement, replicas: settings.replicas }), signal)
  }
  progress.step('waiting for the partitions to serve')
  const volume = await abortable(cluster.openVolume(mainVolume), signal)
  try {
    await abortable(volume.getattr(volume.root), signal)
  } finally {
    await volume.close()
  }
  await waitFor(() => cluster.map.data.every((partition) => partition.primary !== null), signal)
}

async function ensureMount (directory: DataDirectory, file: ClusterFile, path: string | null, progress: Progress, signal: AbortSignal): Promise<void> {
  if (path === null || directory.liveMounts().some((mount) => mount.path === path)) return
  progress.step(`mounting on ${path}`)
  const driver: Driver = 'kernel'
  await abortable(mountVolume(directory, { volume: mainVolume, path, nodes: file.nodes, driver }), signal)
}

async function waitFor (condition: () => boolean, signal: AbortSignal, check: () => void = () => {}): Promise<void> {
  for (const end = performance.now() + startLimitMs; ;) {
    signal.throwIfAborted()
    if (condition()) return
    check()
    if (performance.now() > end) {
      throw new AtollError('ATOLL_START_TIMEOUT', `the cluster did not come up within ${startLimitMs / 1000} s`, { hint: 'what it is waiting for: the logs in the data directory, and atoll status' })
    }
    await new Promise((resolve) => { setTimeout(resolve, pollMs) })
  }
}

function abortable<T> (promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => { reject(signal.reason) }
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => { signal.removeEventListener('abort', abort) })
  })
}
