import { readFileSync, readlinkSync } from 'node:fs'

let known: string | null | undefined

/**
 * The same for all processes that find the same file under the same path: what is the same on this machine since it started, and
 * in this process's view of its file systems. null: the system does not tell.
 */
export function machineId (): string | null {
  known ??= read()
  return known
}

function read (): string | null {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/mnt')}`
  } catch {
    return null
  }
}
