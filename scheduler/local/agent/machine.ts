import { statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import type { Resource } from '../../mesos/types.ts'
import { cpusUndetected, diskUndetectedMb, memUndetectedMb, portsDefault } from '../constants.ts'

const mb = 1024 * 1024
const memSpareMb = 1024
const diskSpareMb = 5 * 1024

/** Overrides of what the machine has. `memMb` and `diskMb` in MB of 1024 * 1024 bytes; ports inclusive at both ends. */
export interface MachineResources {
  cpus?: number
  memMb?: number
  diskMb?: number
  ports?: Array<{ begin: number, end: number }>
}

/**
 * What is offered: cpus and memory of the machine, disk that is free in `workDir`, less what the rest of the machine
 * needs (as Mesos reckons: 1 GB of memory, 5 GB of disk, or half of small ones).
 */
export async function detectResources (workDir: string, given: MachineResources): Promise<Resource[]> {
  const cpus = given.cpus ?? (availableParallelism() || cpusUndetected)
  const memMb = given.memMb ?? spared(memoryMb(), memSpareMb, memUndetectedMb)
  const diskMb = given.diskMb ?? spared(await freeDiskMb(workDir), diskSpareMb, diskUndetectedMb)
  const range = (given.ports ?? [portsDefault]).map(({ begin, end }) => ({ begin, end }))
  return [
    { name: 'cpus', type: 'SCALAR', scalar: { value: cpus } },
    { name: 'mem', type: 'SCALAR', scalar: { value: memMb } },
    { name: 'disk', type: 'SCALAR', scalar: { value: diskMb } },
    { name: 'ports', type: 'RANGES', ranges: { range } }
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

function spared (whole: number, spare: number, undetected: number): number {
  if (!(whole > 0)) return undetected
  return whole >= 2 * spare ? whole - spare : Math.floor(whole / 2)
}
