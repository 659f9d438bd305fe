import type { Clock, Timer } from '../../../fsnode/protocol/ports.ts'
import { boundedMs } from './probe.ts'

export interface RepeatedInit<T> {
  delaySeconds: number
  /** From one answer to the next question. */
  intervalSeconds: number
  ask: () => Promise<T>
  /** undefined: it could not be asked. Not called any more after a stop. */
  learn: (answer: T | undefined) => void
}

/** A question that is asked again and again until it is stopped. */
export class Repeated<T> {
  private readonly clock: Clock
  private readonly init: RepeatedInit<T>
  private timer: Timer | undefined
  private stopped = false

  constructor (components: { clock: Clock }, init: RepeatedInit<T>) {
    this.clock = components.clock
    this.init = init
    this.next(init.delaySeconds)
  }

  stop (): void {
    this.stopped = true
    this.timer?.cancel()
  }

  private next (seconds: number): void {
    this.timer = this.clock.setTimer(() => {
      void this.init.ask().catch(() => undefined).then((answer) => { this.answered(answer) })
    }, boundedMs(seconds))
  }

  private answered (answer: T | undefined): void {
    if (this.stopped) return
    this.init.learn(answer)
    this.next(this.init.intervalSeconds)
  }
}
