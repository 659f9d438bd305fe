import { resolve } from 'node:path'
import { Option, type Command } from 'commander'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import { findByEnvironment, identify, isAlive } from '../../fsnode/protocol/processes.ts'
import { mountedAt, unmountKernel, fileSystemType } from '../../fuse/device/mounts.ts'
import { clearDeadJournals } from '../../fuse/mount/journal-owner.ts'
import { startMount } from '../../fuse/mount/start.ts'
import { workerEnvironment } from '../../fuse/mount/types.ts'
import type { DataDirectory, MountRecord } from '../data-directory.ts'
import { clusterAddresses, clusterOptionText, dataDirectoryOf, isEmbedded, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { print } from '../output.ts'
import { stopProcess, waitGone } from '../processes.ts'
import { requireEmpty } from '../start/preflight.ts'
import { unlessStopped } from '../start/stopping.ts'

export type Driver = 'kernel' | 'fuse-native'

/** What a worker whose holder is gone may take to flush and end after the unmount. */
export const orphanEndMsMax = 15_000

export function mountCommand (program: Command): void {
  withClusterOptions(program.command('mount <volume> <dir>'))
    .description('mount a file system on an empty directory')
    .addOption(new Option('--driver <driver>', 'kernel: speaks to /dev/fuse itself (root); fuse-native: through libfuse').choices(['kernel', 'fuse-native']).default('kernel'))
    .action(async (volume: string, dir: string, options: ClusterOptions & { driver: Driver }) => {
      const known = await withCluster(options, async ({ map }) => map.volumes.some((candidate) => candidate.name === volume))
      if (!known) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${volume}`, { hint: `those that exist: atoll volume list${clusterOptionText(options)}` })
      const interrupted = new AbortController()
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => { interrupted.abort(new AtollError('ATOLL_INTERRUPTED', 'interrupted: nothing is mounted')) })
      const directory = dataDirectoryOf(options)
      requireEmpty(resolve(dir))
      const init: MountInit = { volume, path: resolve(dir), nodes: clusterAddresses(options), driver: options.driver }
      const mount = (stopped: AbortSignal): Promise<MountRecord> => mountVolume(directory, init, AbortSignal.any([interrupted.signal, stopped]))
      const record = await (isEmbedded(options) ? unlessStopped(directory, mount) : mount(interrupted.signal))
      print(`volume ${volume} is mounted on ${record.path} (process ${record.holder.pid})`)
    })
}

export function umountCommand (program: Command): void {
  withClusterOptions(program.command('umount <dir>'))
    .description('unmount; what was written is on the nodes first; programs that still use it have 3 s, then their calls fail')
    .action(async (dir: string, options: ClusterOptions) => {
      const directory = dataDirectoryOf(options)
      const path = resolve(dir)
      const record = directory.mounts().find((mount) => mount.path === path)
      if (record === undefined) {
        throw new AtollError('ATOLL_NOT_MOUNTED', `${path} was not mounted by this cluster`, { hint: `mounts are listed by: atoll status${clusterOptionText(options)}` })
      }
      await unmount(directory, record)
      print(`${path} is unmounted`)
    })
}

export interface MountInit { volume: string, path: string, nodes: Address[], driver: Driver }

/** The record is there before the mount is, so that a mount is always known to `down`. */
export async function mountVolume (directory: DataDirectory, { volume, path, nodes, driver }: MountInit, signal: AbortSignal): Promise<MountRecord> {
  let record: MountRecord | null = null
  const known = (pid: number): void => {
    record = { volume, path, holder: identify(pid) ?? { pid, startTime: '' } }
    directory.addMount(record)
  }
  try {
    await startMount({
      mountPoint: path,
      driver,
      factory: new URL('../../fuse/mount/cluster-volume.ts', import.meta.url).href,
      options: { volume, nodes },
      logFile: directory.mountLog(path)
    }, { signal, onHolder: known })
  } catch (error) {
    if (record !== null) directory.removeMount(record)
    throw error
  }
  return record!
}

/** Also when the process that holds the mount is gone: then nobody else unmounts it. */
export async function unmount (directory: DataDirectory, record: MountRecord): Promise<void> {
  if (isAlive(record.holder)) {
    if (!(await stopProcess(record.holder))) throw unmountFailed(record)
  } else {
    await unmountOrphan(record)
  }
  directory.removeMount(record)
}

/** The worker of a holder that was killed still serves; when the mount is gone, it flushes and ends. */
async function unmountOrphan (record: MountRecord): Promise<void> {
  const { path } = record
  if (mountedAt(path)?.type === fileSystemType) {
    if (!(await unmountKernel(path, { lazy: false })) && !(await unmountKernel(path, { lazy: true }))) throw unmountFailed(record)
  }
  const workers = findByEnvironment(workerEnvironment, (text) => isWorkerOf(text, path))
  for (const worker of workers) {
    if (!(await waitGone(worker, orphanEndMsMax))) await stopProcess(worker, 1000)
  }
  clearDeadJournals()
}

function isWorkerOf (text: string, path: string): boolean {
  try {
    return JSON.parse(text).mountPoint === path
  } catch {
    return false
  }
}

function unmountFailed ({ path }: MountRecord): AtollError {
  return new AtollError('ATOLL_UNMOUNT_FAILED', `${path} could not be unmounted`, { hint: `see which programs use it: fuser -vm ${path}` })
}
