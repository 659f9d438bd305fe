import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { RegisterRequest } from '../protocol/manager.ts'

/** Changes when the machine starts: what was only in its memory is gone then. */
function bootId (): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

/**
 * Says which process used this directory before, and puts this one in its place. The caller holds the
 * directory's stores, so the process before has ended.
 */
export function succeed (directory: string, incarnation: string): RegisterRequest['previous'] {
  const path = join(directory, 'process.json')
  const before = read(path)
  const boot = bootId()
  const file = openSync(`${path}.new`, 'w')
  writeSync(file, JSON.stringify({ incarnation, boot }))
  fsyncSync(file)
  closeSync(file)
  renameSync(`${path}.new`, path)
  return before === null ? undefined : { incarnation: before.incarnation, intact: before.boot === boot }
}

function read (path: string): { incarnation: string, boot: string } | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null // the first start, or a record that nobody finished: the manager then waits for the lease's end
  }
}
