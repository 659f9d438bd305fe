import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'

/** A process is a pid and its start time (clock ticks since boot): a pid that was reused is not ours. */
export interface ProcessId { pid: number, startTime: string }

export const stopGraceMs = 20_000
const pollMs = 20

/** Start time of a running process, or null when there is none (or only its zombie). */
export function startTimeOf (pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : fields[19] ?? null
  } catch {
    return null
  }
}

export function identify (pid: number): ProcessId | null {
  const startTime = startTimeOf(pid)
  return startTime === null ? null : { pid, startTime }
}

export function isAlive ({ pid, startTime }: ProcessId): boolean {
  return startTimeOf(pid) === startTime
}

/** Resident set of a process in bytes, or null when it is gone. */
export function residentBytesOf (pid: number): number | null {
  try {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line === null ? null : Number(line[1]) * 1024
  } catch {
    return null
  }
}

/** Processes of this user that were started with an environment variable whose value is as asked for. */
export function findByEnvironment (name: string, matches: (value: string) => boolean): ProcessId[] {
  return find((pid) => {
    const value = stringsOf(pid, 'environ').find((text) => text.startsWith(`${name}=`))
    return value !== undefined && matches(value.slice(name.length + 1))
  })
}

/** Processes that were started with these arguments, one after the other. */
export function findByArguments (words: string[]): ProcessId[] {
  return find((pid) => `\0${stringsOf(pid, 'cmdline').join('\0')}\0`.includes(`\0${words.join('\0')}\0`))
}

function find (matches: (pid: number) => boolean): ProcessId[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry)).map(Number)
  return pids.filter(matches).map(identify).filter((id) => id !== null)
}

function stringsOf (pid: number, file: 'environ' | 'cmdline'): string[] {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0')
  } catch {
    return [] // gone, or somebody else's
  }
}

/** The children of a process. */
export function childrenOf (pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter((text) => text !== '').map(Number)
  } catch {
    return []
  }
}

/** Starts a process that outlives this one, in a session of its own, with its output in a file. */
export function spawnDetached (argv: string[], logFile: string, environment: Record<string, string> = {}): ChildProcess {
  const log = openSync(logFile, 'a')
  try {
    const child = spawn(argv[0]!, argv.slice(1), {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...environment }
    })
    child.unref()
    return child
  } finally {
    closeSync(log)
  }
}

/** SIGTERM, then SIGKILL after the grace. True when the process is gone. */
export async function stopProcess (id: ProcessId, graceMs = stopGraceMs): Promise<boolean> {
  signal(id, 'SIGTERM')
  if (await waitGone(id, graceMs)) return true
  signal(id, 'SIGKILL')
  return waitGone(id, graceMs)
}

export async function waitGone (id: ProcessId, limitMs: number): Promise<boolean> {
  for (const end = performance.now() + limitMs; performance.now() < end;) {
    if (!isAlive(id)) return true
    await new Promise((resolve) => { setTimeout(resolve, pollMs) })
  }
  return !isAlive(id)
}

function signal (id: ProcessId, name: NodeJS.Signals): void {
  try {
    if (isAlive(id)) process.kill(id.pid, name)
  } catch {
    // Gone between the look and the signal.
  }
}
