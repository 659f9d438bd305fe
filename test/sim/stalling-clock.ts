import type { Clock, Timer } from '../../fsnode/protocol/ports.ts'

/** The clock of a process that may be stopped, and goes on later: time passes, and what was due meanwhile happens then. */
export class StallingClock implements Clock {
  private readonly clock: Clock
  private due: Array<() => void> | null = null

  constructor (clock: Clock) { this.clock = clock }

  now (): number { return this.clock.now() }

  wallNs (): bigint { return this.clock.wallNs() }

  setTimer (callback: () => void, delayMs: number): Timer {
    let isCancelled = false
    const timer = this.clock.setTimer(() => {
      if (this.due === null) callback()
      else this.due.push(() => { if (!isCancelled) callback() })
    }, delayMs)
    return { cancel: () => { isCancelled = true; timer.cancel() } }
  }

  stop (): void { this.due ??= [] }

  goOn (): void {
    const due = this.due ?? []
    this.due = null
    for (const callback of due) callback()
  }
}
