import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { isAlive, type ProcessId } from '../fsnode/protocol/processes.ts'

export const stopGraceMs = 20_000
const pollMs = 20

/** Resident set of a process in bytes, or null when it is gone. */
export function residentBytesOf (pid: number): number | null {
  try {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line === null ? null : Number(line[1]) * 1024
  } catch {
    return null
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
