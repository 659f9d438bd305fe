import { resolve } from 'node:path'
import { Option, type Command } from 'commander'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import { startMount } from '../../fuse/mount/start.ts'
import type { DataDirectory, MountRecord } from '../data-directory.ts'
import { clusterAddresses, connectTo, dataDirectoryOf, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { print } from '../output.ts'
import { identify, isAlive, stopProcess } from '../processes.ts'

export type Driver = 'kernel' | 'fuse-native'

export function mountCommand (program: Command): void {
  withClusterOptions(program.command('mount <volume> <dir>'))
    .description('mount a file system on an empty directory')
    .addOption(new Option('--driver <driver>', 'kernel: speaks to /dev/fuse itself (root); fuse-native: through libfuse').choices(['kernel', 'fuse-native']).default('kernel'))
    .action(async (volume: string, dir: string, options: ClusterOptions & { driver: Driver }) => {
      const cluster = await connectTo(options)
      const known = cluster.map.volumes.some((candidate) => candidate.name === volume)
      await cluster.close()
      if (!known) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${volume}`, { hint: 'those that exist: atoll volume list' })
      const record = await mountVolume(dataDirectoryOf(options), { volume, path: resolve(dir), nodes: clusterAddresses(options), driver: options.driver })
      print(`volume ${volume} is mounted on ${record.path} (process ${record.holder.pid})`)
    })
}

export function umountCommand (program: Command): void {
  withClusterOptions(program.command('umount <dir>'))
    .description('unmount; what was written is on the nodes first')
    .action(async (dir: string, options: ClusterOptions) => {
      const directory = dataDirectoryOf(options)
      const path = resolve(dir)
      const record = directory.mounts().find((mount) => mount.path === path)
      if (record === undefined) {
        throw new AtollError('ATOLL_NOT_MOUNTED', `${path} was not mounted by this cluster`, { hint: 'mounts are listed by: atoll status' })
      }
      await unmount(directory, record)
      print(`${path} is unmounted`)
    })
}

export interface MountInit { volume: string, path: string, nodes: Address[], driver: Driver }

export async function mountVolume (directory: DataDirectory, { volume, path, nodes, driver }: MountInit): Promise<MountRecord> {
  const { holderPid } = await startMount({
    mountPoint: path,
    driver,
    factory: new URL('../../fuse/mount/cluster-volume.ts', import.meta.url).href,
    options: { volume, nodes },
    logFile: directory.log(`mount-${encodeURIComponent(path)}`)
  })
  const record: MountRecord = { volume, path, holder: identify(holderPid) ?? { pid: holderPid, startTime: '' } }
  directory.addMount(record)
  return record
}

export async function unmount (directory: DataDirectory, record: MountRecord): Promise<void> {
  if (isAlive(record.holder) && !(await stopProcess(record.holder))) {
    throw new AtollError('ATOLL_UNMOUNT_FAILED', `${record.path} could not be unmounted`, { hint: `see which programs use it: fuser -vm ${record.path}` })
  }
  directory.removeMount(record)
}
