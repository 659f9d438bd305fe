import type { Clock, Timer } from '../../../fsnode/protocol/ports.ts'
import type { CheckInfo, CheckStatus } from '../core/state.ts'
import { boundedMs, connects, exitCodeOf, httpStatusOf } from './probe.ts'

export interface CheckerInit {
  check: CheckInfo
  /** Where commands run. */
  directory: string
  onChange: (status: CheckStatus) => void
}

/** Asks a task again and again, and tells each answer that is another than the one before. Nothing follows from it. */
export class Checker {
  private readonly clock: Clock
  private readonly init: CheckerInit
  private timer: Timer | undefined
  private stopped = false
  private told = ''

  constructor (components: { clock: Clock }, init: CheckerInit) {
    this.clock = components.clock
    this.init = init
    this.next(init.check.delay_seconds ?? 15)
  }

  stop (): void {
    this.stopped = true
    this.timer?.cancel()
  }

  private next (delaySeconds: number): void {
    if (this.stopped) return
    this.timer = this.clock.setTimer(() => {
      void this.ask().then((status) => { this.learn(status) })
    }, boundedMs(delaySeconds))
  }

  private learn (status: CheckStatus): void {
    if (this.stopped) return
    const text = JSON.stringify(status)
    if (text !== this.told) this.init.onChange(status)
    this.told = text
    this.next(this.init.check.interval_seconds ?? 10)
  }

  private async ask (): Promise<CheckStatus> {
    const { check: { type, command, tcp, http, timeout_seconds: timeout = 20 }, directory } = this.init
    const timeoutMs = boundedMs(timeout)
    switch (type) {
      case 'COMMAND': {
        const code = await exitCodeOf(command!.command, directory, timeoutMs)
        return { type, command: code === undefined ? {} : { exit_code: code } }
      }
      case 'TCP': return { type, tcp: { succeeded: await connects(tcp!.port, timeoutMs) } }
      case 'HTTP': {
        const status = await httpStatusOf(http!, timeoutMs)
        return { type, http: status === undefined ? {} : { status_code: status } }
      }
    }
  }
}
