import { execFile } from 'node:child_process'
import { connect } from 'node:net'
import type { Clock, Timer } from '../../../fsnode/protocol/ports.ts'
import type { HealthCheck } from '../../mesos/types.ts'
import { healthIntervalMsMax, healthIntervalMsMin } from '../constants.ts'

export interface HealthCheckerInit {
  check: HealthCheck
  /** Where commands run. */
  directory: string
  /** `kill`: it has failed too often in a row. Called for each failure that counts, and for each change to the better. */
  onChange: (healthy: boolean, kill: boolean) => void
}

/** Asks a task again and again whether it is well, with Mesos's delays and counts. */
export class HealthChecker {
  private readonly clock: Clock
  private readonly init: HealthCheckerInit
  private readonly startedMs: number
  private timer: Timer | undefined
  private stopped = false
  private failures = 0
  private healthy: boolean | undefined

  constructor (components: { clock: Clock }, init: HealthCheckerInit) {
    this.clock = components.clock
    this.init = init
    this.startedMs = this.clock.now()
    this.next(init.check.delay_seconds ?? 15)
  }

  stop (): void {
    this.stopped = true
    this.timer?.cancel()
  }

  private next (delaySeconds: number): void {
    if (this.stopped) return
    this.timer = this.clock.setTimer(() => {
      this.ask().then((well) => { this.learn(well) }, () => { this.learn(false) })
    }, bounded(delaySeconds))
  }

  private learn (well: boolean): void {
    if (this.stopped) return
    const { grace_period_seconds: grace = 10, consecutive_failures: failuresMax = 3, interval_seconds: interval = 10 } = this.init.check
    if (well) {
      this.failures = 0
      if (this.healthy !== true) this.init.onChange(true, false)
      this.healthy = true
    } else if (this.healthy !== undefined || this.clock.now() >= this.startedMs + grace * 1000) {
      this.failures++
      this.healthy = false
      this.init.onChange(false, this.failures >= failuresMax)
    }
    this.next(interval)
  }

  private ask (): Promise<boolean> {
    const { check } = this.init
    const timeoutMs = bounded(check.timeout_seconds ?? 20)
    switch (check.type) {
      case 'COMMAND': return askCommand(check.command!, this.init.directory, timeoutMs)
      case 'TCP': return askTcp(check.tcp!.port, timeoutMs)
      case 'HTTP': return askHttp(check.http!, timeoutMs)
    }
  }
}

function bounded (seconds: number): number {
  return Math.min(Math.max(seconds * 1000, healthIntervalMsMin), healthIntervalMsMax)
}

function askCommand ({ shell, value = '', arguments: argv = [] }: NonNullable<HealthCheck['command']>, directory: string, timeoutMs: number): Promise<boolean> {
  const [file, words] = shell === false ? [value, argv.slice(1)] : ['/bin/sh', ['-c', value]]
  return new Promise((resolve) => {
    execFile(file, words, { cwd: directory, timeout: timeoutMs, killSignal: 'SIGKILL' }, (error) => { resolve(error === null) })
  })
}

function askTcp (port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: timeoutMs })
    const answer = (well: boolean): void => {
      socket.destroy()
      resolve(well)
    }
    socket.once('connect', () => { answer(true) }).once('timeout', () => { answer(false) }).once('error', () => { answer(false) })
  })
}

async function askHttp ({ scheme = 'http', port, path = '/' }: NonNullable<HealthCheck['http']>, timeoutMs: number): Promise<boolean> {
  const response = await fetch(`${scheme}://127.0.0.1:${port}${path}`, { redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
  await response.body?.cancel()
  return response.status >= 200 && response.status < 400
}
