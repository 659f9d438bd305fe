import { resolve } from 'node:path'
import type { Command } from 'commander'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { silentLog } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { isAlive, type ProcessId } from '../../fsnode/protocol/processes.ts'
import { clearDeadJournals } from '../../fuse/mount/journal-owner.ts'
import { DataDirectory } from '../data-directory.ts'
import { dataDirectoryDefault } from '../find-cluster.ts'
import { print } from '../output.ts'
import { stopProcess } from '../processes.ts'
import { unmount } from './mount.ts'

/** The scheduler stops its nodes before it goes. */
export const shutdownLimitMs = 60_000

/** A process that lost its directory or its scheduler may have nothing to write to, and so not end in order. */
export const strayGraceMs = 3_000

export function downCommand (program: Command): void {
  program.command('down')
    .description('stop all that "up" started, and unmount; the data stays')
    .option('--data <dir>', 'directory of the cluster', dataDirectoryDefault)
    .action(async (options: { data: string }) => {
      const directory = new DataDirectory(resolve(options.data))
      if (directory.readScheduler() === null && directory.mounts().length === 0) {
        throw new AtollError('ATOLL_NO_CLUSTER', `no cluster was started in ${directory.path}`, { hint: 'name its directory: atoll down --data DIR' })
      }
      if (!(await takeDown(directory, { scheduler: null, quiet: false }))) print('nothing was running')
    })
}

interface TakeDownInit {
  /** A scheduler that may not have said yet that it is there. */
  scheduler: ProcessId | null
  quiet: boolean
}

/**
 * Unmounts, stops the nodes, then the scheduler. Goes on after a failure and reports the first one at the end. Joins in when another
 * process is stopping the same. False when nothing was running.
 */
export async function takeDown (directory: DataDirectory, init: TakeDownInit): Promise<boolean> {
  directory.addStopper()
  try {
    return await stopAll(directory, init)
  } finally {
    directory.removeStopper()
  }
}

async function stopAll (directory: DataDirectory, { scheduler, quiet }: TakeDownInit): Promise<boolean> {
  const say = (line: string): void => { if (!quiet) print(line) }
  const mounts = directory.mounts()
  let failure: unknown = null
  for (const record of mounts) {
    try {
      await unmount(directory, record)
      say(`unmounted ${record.path}`)
    } catch (error) {
      failure ??= error
    }
  }
  clearDeadJournals()
  // SIGTERM makes a scheduler end its tasks, wait for them, and exit.
  const known = [scheduler, directory.readScheduler()?.process].filter((id) => id != null && isAlive(id)) as ProcessId[]
  const strays = directory.schedulerProcesses().filter(({ pid }) => !known.some((id) => id.pid === pid))
  for (const id of known) if (!(await stopProcess(id, shutdownLimitMs))) failure ??= stopFailed(id)
  for (const id of strays) if (!(await stopProcess(id, strayGraceMs))) failure ??= stopFailed(id)
  const stoppedNodes = await stopNodes(directory)
  const stopped = known.length + strays.length > 0 || stoppedNodes
  if (stopped) say('stopped the nodes and the scheduler')
  if (failure !== null) throw failure
  return stopped || mounts.length > 0
}

/** Nodes outlive a scheduler that was killed. False when there were none. */
async function stopNodes (directory: DataDirectory): Promise<boolean> {
  const nodes = directory.nodeProcesses()
  if (nodes.length === 0) return false
  const { stopEmbeddedTasks } = await import('../../scheduler/embedded.ts')
  await stopEmbeddedTasks({ clock: systemClock, random: systemRandom, log: silentLog }, directory.schedulerDirectory).catch(() => {})
  // With a store that cannot be read or written there is nobody who knows them.
  await Promise.all(directory.nodeProcesses().map(async (node) => {
    if (!(await stopProcess(node, strayGraceMs))) throw stopFailed(node)
  }))
  return true
}

function stopFailed ({ pid }: ProcessId): AtollError {
  return new AtollError('ATOLL_STOP_FAILED', `process ${pid} does not end`, { hint: `look at it: ps -fp ${pid}` })
}
