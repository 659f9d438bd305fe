import { resolve } from 'node:path'
import type { Command } from 'commander'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { silentLog } from '../../fsnode/protocol/pino-log.ts'
import { systemClock, systemRandom } from '../../fsnode/protocol/system.ts'
import { stopEmbeddedTasks } from '../../scheduler/embedded.ts'
import { DataDirectory } from '../data-directory.ts'
import { dataDirectoryDefault } from '../find-cluster.ts'
import { print } from '../output.ts'
import { isAlive, stopProcess, type ProcessId } from '../processes.ts'
import { unmount } from './mount.ts'

/** The scheduler stops its nodes before it goes. */
export const shutdownLimitMs = 60_000

export function downCommand (program: Command): void {
  program.command('down')
    .description('stop all that "up" started, and unmount; the data stays')
    .option('--data <dir>', 'directory of the cluster', dataDirectoryDefault)
    .action(async (options: { data: string }) => {
      const directory = new DataDirectory(resolve(options.data))
      const cluster = directory.readCluster()
      if (cluster === null && directory.mounts().length === 0) {
        throw new AtollError('ATOLL_NO_CLUSTER', `no cluster was started in ${directory.path}`, { hint: 'name its directory: atoll down --data DIR' })
      }
      await takeDown(directory, { scheduler: null, quiet: false })
    })
}

interface TakeDownInit {
  /** A scheduler that may not have written the cluster file yet. */
  scheduler: ProcessId | null
  quiet: boolean
}

/** Unmounts, stops the nodes, then the scheduler. Goes on after a failure and reports the first one at the end. */
export async function takeDown (directory: DataDirectory, { scheduler, quiet }: TakeDownInit): Promise<void> {
  const say = (line: string): void => { if (!quiet) print(line) }
  let failure: unknown = null
  for (const record of directory.mounts()) {
    try {
      await unmount(directory, record)
      say(`unmounted ${record.path}`)
    } catch (error) {
      failure ??= error
    }
  }
  const written = directory.readCluster()?.scheduler ?? null
  const running = [scheduler, written].find((id) => id !== null && isAlive(id)) ?? null
  if (running !== null) await stopScheduler(running)
  else await stopEmbeddedTasks({ clock: systemClock, random: systemRandom, log: silentLog }, directory.schedulerDirectory)
  say('stopped the nodes and the scheduler')
  if (failure !== null) throw failure
}

/** SIGTERM makes it terminate its tasks, wait for them, and exit. */
async function stopScheduler (id: ProcessId): Promise<void> {
  if (!(await stopProcess(id, shutdownLimitMs))) {
    throw new AtollError('ATOLL_STOP_FAILED', `the scheduler (process ${id.pid}) does not end`, { hint: `look at it: ps -fp ${id.pid}` })
  }
}
