import type { Clock, Timer } from '../../../fsnode/protocol/ports.ts'
import type { HealthCheck } from '../../mesos/types.ts'
import { boundedMs, connects, exitCodeOf, httpStatusOf } from './probe.ts'

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
    }, boundedMs(delaySeconds))
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

  private async ask (): Promise<boolean> {
    const { check } = this.init
    const timeoutMs = boundedMs(check.timeout_seconds ?? 20)
    switch (check.type) {
      case 'COMMAND': return await exitCodeOf(check.command!, this.init.directory, timeoutMs) === 0
      case 'TCP': return connects(check.tcp!.port, timeoutMs)
      case 'HTTP': {
        const status = await httpStatusOf(check.http!, timeoutMs)
        return status !== undefined && status >= 200 && status < 400
      }
    }
  }
}
