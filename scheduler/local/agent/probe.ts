import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import type { CommandInfo } from '../../mesos/types.ts'
import { healthIntervalMsMax, healthIntervalMsMin } from '../constants.ts'

/** What a check asks, once, on 127.0.0.1. Without an answer in time, or with one that cannot be had: undefined. */
export async function exitCodeOf ({ shell, value = '', arguments: argv = [] }: CommandInfo, directory: string, timeoutMs: number): Promise<number | undefined> {
  const [file, words] = shell === false ? [value, argv.slice(1)] : ['/bin/sh', ['-c', value]]
  return new Promise((resolve) => {
    execFile(file, words, { cwd: directory, timeout: timeoutMs, killSignal: 'SIGKILL' }, (error) => {
      const code = error === null ? 0 : error.code
      resolve(typeof code === 'number' ? code : undefined)
    })
  })
}

export function connects (port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: timeoutMs })
    const answer = (well: boolean): void => {
      socket.destroy()
      resolve(well)
    }
    socket.once('connect', () => { answer(true) }).once('timeout', () => { answer(false) }).once('error', () => { answer(false) })
  })
}

export async function httpStatusOf ({ scheme = 'http', port, path = '/' }: { scheme?: string, port: number, path?: string }, timeoutMs: number): Promise<number | undefined> {
  try {
    const response = await fetch(`${scheme}://127.0.0.1:${port}${path}`, { redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
    await response.body?.cancel()
    return response.status
  } catch {
    return undefined
  }
}

/** Seconds as somebody wrote them, in what a timer can wait. */
export function boundedMs (seconds: number): number {
  return Math.min(Math.max(seconds * 1000, healthIntervalMsMin), healthIntervalMsMax)
}
