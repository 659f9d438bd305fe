import { readdirSync, readFileSync } from 'node:fs'

/** A process is a pid and its start time (clock ticks since boot): a pid that was reused is not ours. */
export interface ProcessId { pid: number, startTime: string }

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
