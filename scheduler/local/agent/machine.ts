import { statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import type { Resource } from '../../mesos/types.ts'
import { cpusUndetected, diskUndetectedMb, memUndetectedMb, portsDefault } from '../constants.ts'

const mb = 1024 * 1024
/** Memory that is left to the rest of the machine, or half of a small one: as Mesos reckons. */
const memSpareMb = 1024

/** Overrides of what the machine has. `memMb` and `diskMb` in MB of 1024 * 1024 bytes. */
export interface MachineResources {
  cpus?: number
  memMb?: number
  diskMb?: number
  /** For tasks; default 31000 to 32000. What is reserved already stays as it is. */
  ports?: PortRange[]
  /** Besides the root disk. */
  disks?: MachineDisk[]
}

/** PATH: a directory that volumes share. MOUNT: one that a volume has for itself, as a whole. */
export interface MachineDisk { type: 'PATH' | 'MOUNT', root: string, diskMb: number }

/** Inclusive at both ends. */
export interface PortRange { begin: number, end: number }

/** What is offered: cpus and memory of the machine, and the disk that is free in `workDir`. */
export async function detectResources (workDir: string, given: MachineResources): Promise<Resource[]> {
  const ports = given.ports ?? [portsDefault]
  const cpus = given.cpus ?? (availableParallelism() || cpusUndetected)
  const memMb = given.memMb ?? spared(memoryMb())
  const diskMb = given.diskMb ?? (await freeDiskMb(workDir) || diskUndetectedMb)
  return [
    { name: 'cpus', type: 'SCALAR', scalar: { value: cpus } },
    { name: 'mem', type: 'SCALAR', scalar: { value: memMb } },
    { name: 'disk', type: 'SCALAR', scalar: { value: diskMb } },
    { name: 'ports', type: 'RANGES', ranges: { range: ports.map(({ begin, end }) => ({ begin, end })) } },
    ...(given.disks ?? []).map(({ type, root, diskMb: mb }): Resource => ({
      name: 'disk', type: 'SCALAR', scalar: { value: mb }, disk: { source: type === 'PATH' ? { type, path: { root } } : { type, mount: { root } } }
    }))
  ]
}

function memoryMb (): number {
  const limit = process.constrainedMemory()
  return Math.floor((limit > 0 ? Math.min(limit, totalmem()) : totalmem()) / mb)
}

async function freeDiskMb (directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return Math.floor(bavail * bsize / mb)
}

function spared (wholeMb: number): number {
  if (!(wholeMb > 0)) return memUndetectedMb
  return wholeMb >= 2 * memSpareMb ? wholeMb - memSpareMb : Math.floor(wholeMb / 2)
}
