import type { Clock } from '../protocol/ports.ts'

/** How often the rate is looked at, if there was enough to look at; else a window lasts up to the larger one. */
export const governorWindowMs = 250
export const governorWindowMsMax = 1_000
export const governorOperationsMin = 4
/** Copies slow down when clients wait longer than so many times what they wait without copies, and this. */
export const latencyGrowthMax = 1.3
export const latencyGrowthMsMin = 1
/** The same for those that wait longest: of each window the slowest operation counts. */
export const tailGrowthMax = 1.7
export const tailGrowthMsMin = 5
/** Bytes per second: the first rate beside clients, and what is never gone below, for what must not wait long and for the rest. */
export const copyRateStart = 8 * 1024 * 1024
export const copyRateMin = 2 * 1024 * 1024
export const endangeredRateMin = 32 * 1024 * 1024
export const copyRateMax = 2 * 1024 * 1024 * 1024
/** What clients wait without copies is measured anew this often, by a pause of the copies for some windows. */
export const baselineAgeMsMax = 10_000
export const baselineWindows = 2
/** Latency is counted per piece of this size: a large write takes longer for a good reason. */
const pieceBytes = 128 * 1024
const slower = 0.6
const faster = 1.4

interface Window { operations: number, latencyMs: number, worstMs: number, copied: number }

const emptyWindow = (): Window => ({ operations: 0, latencyMs: 0, worstMs: 0, copied: 0 })

/**
 * Paces the copies that a node sends and reads back, so that its clients hardly notice: as fast as it goes without
 * clients, else as fast as their latency stays near what it is without copies. One for all partitions of a node.
 */
export class CopyGovernor {
  private readonly clock: Clock
  private rate = copyRateStart
  private allowance = 0
  private countedMs: number
  private window = emptyWindow()
  private windowStartMs: number
  /** What clients wait per piece without copies; null: not known. */
  private baseline: { meanMs: number, worstMs: number } | null = null
  private baselineMs = -Infinity
  private isIdle = true
  /** Windows in which copies still wait, so that the baseline can be measured. */
  private quiet = 0
  /** Copies that wait for their turn: others of this node, or of others, are felt meanwhile. */
  private waiting = 0
  private wasWaiting = false
  private copiedMs = -Infinity

  constructor (clock: Clock) {
    this.clock = clock
    this.countedMs = clock.now()
    this.windowStartMs = this.countedMs
  }

  /** An operation of a client took so long. */
  served (latencyMs: number, bytes: number): void {
    this.window.operations++
    const perPieceMs = latencyMs / Math.max(1, bytes / pieceBytes)
    this.window.latencyMs += perPieceMs
    this.window.worstMs = Math.max(this.window.worstMs, perPieceMs)
  }

  /** Resolves when so many bytes may be copied. `endangered`: fewer replicas serve than should. */
  async take (bytes: number, endangered: boolean): Promise<void> {
    for (;;) {
      const waitMs = this.waitMs(endangered)
      if (waitMs <= 0) break
      this.waiting++
      this.wasWaiting = true
      await new Promise<void>((resolve) => { this.clock.setTimer(resolve, waitMs) })
      this.waiting--
    }
    this.copiedMs = this.clock.now()
    this.allowance -= bytes
    this.window.copied += bytes
  }

  /** Copies are under way, or were a moment ago. */
  get isCopying (): boolean { return this.waiting > 0 || this.clock.now() - this.copiedMs < governorWindowMsMax }

  /** Bytes per second that copies may take beside clients, now. */
  get bytesPerSecond (): number { return this.rate }

  private waitMs (endangered: boolean): number {
    const now = this.clock.now()
    this.look(now)
    if (this.quiet > 0 && !endangered) return governorWindowMs / 4
    const rate = endangered ? Math.max(this.rate, endangeredRateMin) : this.rate
    this.allowance = Math.min(rate * governorWindowMs / 1000, this.allowance + rate * (now - this.countedMs) / 1000)
    this.countedMs = now
    return this.allowance > 0 ? 0 : Math.min(governorWindowMs, 1 - this.allowance * 1000 / rate)
  }

  private look (now: number): void {
    const passedMs = now - this.windowStartMs
    const { operations, latencyMs, worstMs, copied } = this.window
    if (passedMs < governorWindowMs || (operations < governorOperationsMin && passedMs < governorWindowMsMax)) return
    const wasWaiting = this.wasWaiting
    this.wasWaiting = this.waiting > 0
    this.window = emptyWindow()
    this.windowStartMs = now
    // Nobody is here.
    if (operations === 0) {
      this.quiet = 0
      this.isIdle = true
      this.rate = Math.min(copyRateMax, this.rate * 8)
      return
    }
    const meanMs = latencyMs / operations
    if (this.isIdle) this.rate = copyRateStart
    this.isIdle = false
    if (copied === 0 && (this.quiet > 0 || !wasWaiting)) {
      const known = now - this.baselineMs > baselineAgeMsMax ? null : this.baseline
      this.baseline = known === null ? { meanMs, worstMs } : { meanMs: (known.meanMs + meanMs) / 2, worstMs: (known.worstMs + worstMs) / 2 }
      this.baselineMs = now
      this.quiet = Math.max(0, this.quiet - 1)
    } else if (this.baseline === null || now - this.baselineMs > baselineAgeMsMax) {
      this.quiet = baselineWindows
      this.rate = Math.min(this.rate, copyRateStart)
    } else {
      const isSlow = meanMs > this.baseline.meanMs * latencyGrowthMax + latencyGrowthMsMin || worstMs > this.baseline.worstMs * tailGrowthMax + tailGrowthMsMin
      this.rate = isSlow ? Math.max(copyRateMin, this.rate * slower) : Math.min(copyRateMax, this.rate * faster)
    }
  }
}
