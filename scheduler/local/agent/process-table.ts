import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { codeOf } from '../../../fsnode/protocol/errors.ts'

const run = promisify(execFile)

/** One line of the process table. */
interface ProcessEntry { pid: number, state: string, group: number, startTime: string }

let boot: Promise<string> | undefined

/**
 * When a living process started, in a form that only compares; undefined when there is none (a zombie is none).
 * A process id together with it names a process for good: start times count from the boot, whose id is a part of it.
 */
export async function startTimeOf (pid: number): Promise<string | undefined> {
  const entry = process.platform === 'linux' ? await readStat(pid) : await readPs(pid)
  if (entry === undefined || isDead(entry)) return undefined
  boot ??= bootId()
  return `${entry.startTime} ${await boot}`.trim()
}

/**
 * Whether anything of the process group that `pid` began to lead at `startTime` is alive. As long as it is, the
 * kernel gives its number to no other process, so that another process of that number means that it is not.
 */
export async function isGroupAlive (pid: number, startTime: string): Promise<boolean> {
  const leader = await startTimeOf(pid)
  if (leader !== undefined) return leader === startTime
  if (!signalGroup(pid, 0)) return false
  if (process.platform !== 'linux') return true
  // Zombies that nobody has waited for take signals too.
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const entry = await readStat(Number(name))
    if (entry !== undefined && entry.group === pid && !isDead(entry)) return true
  }
  return false
}

/** False when there is no such group. Signal 0 only asks. */
export function signalGroup (pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal)
  } catch (error) {
    if (codeOf(error) === 'EPERM') return true
    return false
  }
}

function isDead ({ state }: ProcessEntry): boolean { return /^[ZXx]/.test(state) }

async function readStat (pid: number): Promise<ProcessEntry | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'latin1')
    // The name, in parentheses, may hold anything; fields 3 (state), 5 (process group) and 22 (start time) follow it.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { pid, state: fields[0] ?? 'X', group: Number(fields[2]), startTime: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

async function readPs (pid: number): Promise<ProcessEntry | undefined> {
  try {
    const { stdout } = await run('ps', ['-o', 'stat=,pgid=,lstart=', '-p', String(pid)])
    const [, state, group, startTime] = /^\s*(\S+)\s+(\d+)\s+(.*?)\s*$/.exec(stdout) ?? []
    return state === undefined ? undefined : { pid, state, group: Number(group), startTime: startTime ?? '' }
  } catch {
    return undefined
  }
}

/** Changes with each boot of the machine. */
async function bootId (): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim()
  } catch {
    return ''
  }
}
