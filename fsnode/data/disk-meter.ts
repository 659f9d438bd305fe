import type { DiskMeasure } from '../../partitioning/types.ts'
import type { Clock } from '../protocol/ports.ts'

/** Time over which a measurement loses about two thirds of its weight. */
export const measureWindowMs = 10_000
/** Transfers below this say more about latency than about bandwidth. */
export const bandwidthBytesMin = 128 * 1024
export const latencyBytesMax = 64 * 1024
/** Bandwidth is taken over so many bytes: a single transfer may have been lucky, or the process busy with something else. */
export const bandwidthSampleBytes = 4 * 1024 * 1024
/** Weight of a sample that is lower than what is known. A higher one counts at once: a disk cannot do more than it can. */
const lowerWeight = 0.1

type Direction = 'read' | 'write'

/** An average in which a value counts less the older it is. */
class MovingAverage {
  value: number | null = null
  private at = 0

  add (value: number, now: number): void {
    // Many values within one window share its weight; a lone one after a pause counts nearly fully.
    const share = this.value === null ? 1 : Math.max(0.05, 1 - Math.exp(-(now - this.at) / measureWindowMs))
    this.value = this.value === null ? value : this.value + share * (value - this.value)
    this.at = now
  }
}

/** What a disk can move: what was seen of it at best, unless that has not been seen again for long. */
class Bandwidth {
  value: number | null = null
  private bytes = 0
  private elapsedMs = 0

  add (bytes: number, elapsedMs: number): void {
    this.bytes += bytes
    this.elapsedMs += elapsedMs
    if (this.bytes < bandwidthSampleBytes || this.elapsedMs === 0) return
    const sample = this.bytes / this.elapsedMs * 1000
    this.value = this.value === null || sample > this.value ? sample : this.value + lowerWeight * (sample - this.value)
    this.bytes = 0
    this.elapsedMs = 0
  }
}

/**
 * Watches the real reads and syncs of the chunk store; costs two clock readings per call. What a write costs the
 * disk shows when it is synced: before that it only went to the kernel's memory.
 */
export class DiskMeter {
  private readonly clock: Clock
  private readonly latency = { read: new MovingAverage(), write: new MovingAverage() }
  private readonly bandwidth = { read: new Bandwidth(), write: new Bandwidth() }
  private readonly utilization = new MovingAverage()
  private active = 0
  private busySince = 0
  private busyMs = 0
  private windowStart: number

  constructor (clock: Clock) {
    this.clock = clock
    this.windowStart = clock.now()
  }

  /** `direction` null: only keeps the disk busy. */
  async measure<T> (direction: Direction | null, bytes: number, work: () => Promise<T>): Promise<T> {
    const start = this.clock.now()
    const alone = this.active === 0
    if (this.active++ === 0) this.busySince = start
    try {
      return await work()
    } finally {
      const end = this.clock.now()
      if (--this.active === 0) this.busyMs += end - this.busySince
      if (direction !== null) this.record(direction, bytes, end - start, end, alone)
    }
  }

  /** null before anything was measured. */
  get current (): DiskMeasure | null {
    const { latency, bandwidth } = this
    if (bandwidth.read.value === null && bandwidth.write.value === null && latency.read.value === null && latency.write.value === null) return null
    this.closeWindow(this.clock.now())
    return {
      readBandwidth: bandwidth.read.value ?? 0,
      writeBandwidth: bandwidth.write.value ?? 0,
      readLatencyMs: latency.read.value ?? 0,
      writeLatencyMs: latency.write.value ?? 0,
      utilization: this.utilization.value ?? 0
    }
  }

  private record (direction: Direction, bytes: number, elapsedMs: number, now: number, alone: boolean): void {
    if (bytes <= latencyBytesMax) this.latency[direction].add(elapsedMs, now)
    // Calls that overlap share the disk: only those that started alone tell its bandwidth.
    if (bytes >= bandwidthBytesMin && alone) this.bandwidth[direction].add(bytes, elapsedMs)
  }

  private closeWindow (now: number): void {
    const elapsedMs = now - this.windowStart
    if (elapsedMs < 1000) return
    if (this.active > 0) {
      this.busyMs += now - this.busySince
      this.busySince = now
    }
    this.utilization.add(Math.min(1, this.busyMs / elapsedMs), now)
    this.busyMs = 0
    this.windowStart = now
  }
}
