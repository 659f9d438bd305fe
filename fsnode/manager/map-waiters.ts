import type { ClusterMap } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { MapRequest, MapResponse } from '../protocol/manager.ts'
import type { Clock, Timer } from '../protocol/ports.ts'
import { mapWaitersMax, mapWaitMsMax } from './bounds.ts'

interface Waiter { after: number, resolve: (response: MapResponse) => void, reject: (error: AtollError) => void, timer: Timer }

/** Requests for a map that is newer than the one who asks knows. */
export class MapWaiters {
  private readonly clock: Clock
  private readonly waiters = new Set<Waiter>()

  constructor (clock: Clock) {
    this.clock = clock
  }

  get count (): number { return this.waiters.size }

  /** Answers at once if `current` is newer, otherwise when told of a newer one, or without a map after a while. */
  next (current: ClusterMap | null, { after, waitMs }: MapRequest): Promise<MapResponse> | MapResponse {
    if (!Number.isFinite(after) || !Number.isFinite(waitMs)) throw new AtollError('ATOLL_BAD_ARGUMENT', 'a map request needs `after` and `waitMs`')
    if (current !== null && current.version > after) return { map: current }
    if (!(waitMs > 0) || this.waiters.size >= mapWaitersMax) return {}
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimer(() => {
        this.waiters.delete(waiter)
        resolve({})
      }, Math.min(waitMs, mapWaitMsMax))
      const waiter: Waiter = { after, resolve, reject, timer }
      this.waiters.add(waiter)
    })
  }

  changed (map: ClusterMap): void {
    for (const waiter of this.waiters) if (map.version > waiter.after) this.settle(waiter, () => { waiter.resolve({ map }) })
  }

  /** Whoever waits must ask elsewhere. */
  fail (error: AtollError): void {
    for (const waiter of this.waiters) this.settle(waiter, () => { waiter.reject(error) })
  }

  private settle (waiter: Waiter, how: () => void): void {
    this.waiters.delete(waiter)
    waiter.timer.cancel()
    how()
  }
}
