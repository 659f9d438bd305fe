import type { Clock } from '../protocol/ports.ts'

interface Grant { untilMs: number, mapVersion: number }

/** Grants that wait for their map. A newer one makes those with the same or a newer map and an earlier end useless. */
const grantsMax = 16

/**
 * A node's right to serve. A grant counts only once the node knows the map with which it was given:
 * so a node that was replaced as a primary cannot serve before it has learned that.
 */
export class ServingLease {
  private readonly clock: Clock
  private readonly mapVersion: () => number
  private untilMs = -Infinity
  private waiting: Grant[] = []

  constructor (clock: Clock, mapVersion: () => number) {
    this.clock = clock
    this.mapVersion = mapVersion
  }

  /** `sentAtMs`: when the heartbeat was sent, by the monotonic clock. */
  grant (sentAtMs: number, durationMs: number, mapVersion: number): void {
    const untilMs = sentAtMs + durationMs
    this.waiting = this.waiting.filter((grant) => grant.untilMs > untilMs || grant.mapVersion < mapVersion).slice(1 - grantsMax)
    this.waiting.push({ untilMs, mapVersion })
    this.collect()
  }

  isValid (): boolean {
    if (this.waiting.length > 0) this.collect()
    return this.clock.now() < this.untilMs
  }

  /** For good measure when the process stops or was replaced. */
  drop (): void {
    this.untilMs = -Infinity
    this.waiting = []
  }

  private collect (): void {
    const known = this.mapVersion()
    for (const { untilMs, mapVersion } of this.waiting) if (mapVersion <= known) this.untilMs = Math.max(this.untilMs, untilMs)
    this.waiting = this.waiting.filter(({ untilMs, mapVersion }) => mapVersion > known && untilMs > this.untilMs)
  }
}
