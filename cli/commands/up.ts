import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Placement } from '../../partitioning/types.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import { DataDirectory, type ClusterSettings } from '../data-directory.ts'
import { dataDirectoryDefault } from '../find-cluster.ts'
import { print, printError, startProgress } from '../output.ts'
import { bringUp } from '../start/bring-up.ts'
import { preflight, requireFreePorts } from '../start/preflight.ts'
import { untilStopped } from '../start/stopping.ts'
import { takeDown } from './down.ts'
import { readBackup } from './partition-backup.ts'
import { placementOption, wholeNumber } from './volume.ts'

export const mountDefault = './mnt'
export const nodesDefault = 3
export const replicasDefault = 3
/** How often a command in the foreground looks whether its scheduler is still there. */
const lookMs = 1000

interface UpOptions { data: string, mount: string | false, nodes?: number, replicas?: number, placement?: Placement, restore?: string, detach?: boolean }

export function upCommand (program: Command): void {
  program.command('up')
    .description('start a cluster on this machine, with a volume "main" mounted')
    .option('--nodes <n>', `storage nodes (default: ${nodesDefault}, or as many as there are; more than there are: they are added)`, wholeNumber)
    .option('--replicas <n>', `copies of everything (default: ${replicasDefault}, or the number of nodes if that is less)`, wholeNumber)
    .addOption(placementOption())
    .option('--data <dir>', 'where everything is kept', dataDirectoryDefault)
    .option('--mount <dir>', 'where the volume is mounted', mountDefault)
    .option('--no-mount', 'do not mount')
    .option('--restore <backup>', 'bring back the volumes of a backup (atoll partition backup), if the cluster has lost which there are')
    .option('--detach', 'return when everything is up; stop it with: atoll down')
    .action(up)
}

async function up (options: UpOptions): Promise<void> {
  const directory = new DataDirectory(resolve(options.data))
  const mountPoint = options.mount === false ? null : resolve(options.mount)
  const interrupted = new AbortController()
  const interrupt = (): void => { interrupted.abort(new AtollError('ATOLL_INTERRUPTED', 'interrupted before everything was up: it is stopped again')) }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
  await untilStopped(directory, interrupted.signal)
  const settings = settle(directory, options)
  preflight(directory, mountPoint)
  const backup = options.restore === undefined ? null : readBackup(options.restore)
  const wasRunning = isAnythingRunning(directory)
  if (!wasRunning) await requireFreePorts(directory)
  const progress = startProgress()
  let scheduler: ProcessId | null = null
  try {
    await bringUp(directory, { settings, mountPoint, backup, progress, signal: interrupted.signal, onScheduler: (id) => { scheduler = id } })
  } catch (error) {
    progress.fail()
    // Nothing half started stays behind; what others started and use stays, unless they, or others, asked to stop it.
    const isStop = codeOf(error) === 'ATOLL_CLUSTER_STOPPING' || (codeOf(error) === 'ATOLL_INTERRUPTED' && options.detach !== true)
    if (!wasRunning || isStop) await takeDown(directory, { scheduler, quiet: true })
    throw error
  }
  if (options.detach === true) return
  print('Ctrl-C stops it; the data stays.')
  if (await stopped(directory, interrupted.signal)) await takeDown(directory, { scheduler, quiet: false })
  else print('it was stopped by another command')
}

/** What runs from a directory that was removed meanwhile is nobody's any more. */
function isAnythingRunning (directory: DataDirectory): boolean {
  const scheduler = directory.readScheduler()?.process
  return scheduler !== undefined && (isAlive(scheduler) || directory.liveMounts().length > 0 || directory.nodeProcesses().length > 0)
}

/** The cluster keeps the settings it was made with, but for nodes that are added; asking for others is an error, not a silent no. */
function settle (directory: DataDirectory, options: UpOptions): ClusterSettings {
  const existing = directory.readScheduler()?.settings
  const nodes = options.nodes ?? existing?.nodes ?? nodesDefault
  const settings = {
    nodes,
    replicas: options.replicas ?? existing?.replicas ?? Math.min(replicasDefault, nodes),
    placement: options.placement ?? existing?.placement ?? 'hawaii' as const
  }
  for (const name of existing === undefined ? [] : ['nodes', 'replicas', 'placement'] as const) {
    if (settings[name] === existing![name] || (name === 'nodes' && settings.nodes > existing!.nodes)) continue
    if (name === 'nodes') {
      throw new AtollError('ATOLL_SETTINGS_DIFFER', `the cluster in ${directory.path} has ${existing!.nodes} nodes, not ${settings.nodes}`, { hint: `fewer: start it, then atoll scheduler scale ${settings.nodes} --data ${directory.path}; or, if nothing is in it yet, remove the directory` })
    }
    throw new AtollError('ATOLL_SETTINGS_DIFFER', `the cluster in ${directory.path} was made with ${name} ${existing![name]}, not ${settings[name]}`, { hint: `start it as it is: atoll up --data ${directory.path}; or make another: atoll up --data OTHER` })
  }
  if (settings.replicas > nodes) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `${settings.replicas} replicas need as many nodes, not ${nodes}`, { hint: `atoll up --nodes ${settings.replicas} --replicas ${settings.replicas}` })
  }
  return settings
}

/** True at the signal, false when others have stopped all there was. A scheduler that dies meanwhile is told of: files stay available without it. */
async function stopped (directory: DataDirectory, signal: AbortSignal): Promise<boolean> {
  const ended = Promise.withResolvers<boolean>()
  let told = 0
  const look = setInterval(() => {
    const scheduler = directory.readScheduler()?.process
    if (scheduler === undefined || isAlive(scheduler) || directory.stoppers().length > 0) return
    if (directory.mounts().length === 0 && !isAnythingRunning(directory)) {
      ended.resolve(false)
      return
    }
    if (scheduler.pid === told) return
    told = scheduler.pid
    printError(new AtollError('ATOLL_SCHEDULER_DOWN', `the scheduler (process ${scheduler.pid}) is gone; files stay available`, {
      hint: `start it again, in another terminal: atoll up --detach --data ${directory.path}`
    }))
  }, lookMs)
  if (signal.aborted) ended.resolve(true)
  else signal.addEventListener('abort', () => { ended.resolve(true) })
  const isAsked = await ended.promise
  clearInterval(look)
  return isAsked
}
