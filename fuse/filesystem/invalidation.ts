import type { Invalidation, VolumeClient } from '../../client/types.ts'
import type { Clock, Logger } from '../../fsnode/protocol/ports.ts'
import { hasEpochs, type Negotiated } from '../protocol/init.ts'
import { incrementEpoch, invalidateAttributes, invalidateContent, invalidateEntry } from '../protocol/notify.ts'
import { nodeidOf } from './context.ts'
import { gapsBetween, type PageActivity, type PageRange } from './page-activity.ts'

/** How long a recall waits for the kernel, in milliseconds; then it goes on without. */
export const invalidationWaitMs = 2000

export interface InvalidatorComponents {
  client: VolumeClient
  clock: Clock
  log: Logger
  /** Resolves when the kernel has done it. Never blocks the caller. */
  notify: (message: Buffer) => Promise<void>
  activity: PageActivity
}

/** Tells the kernel to drop what the client must no longer vouch for. */
export class Invalidator {
  private readonly components: InvalidatorComponents
  /** Known after INIT. Before, the kernel caches nothing. */
  negotiated: Negotiated | null = null
  /** An epoch that is queued and not yet written serves everybody who comes meanwhile. */
  private epoch: Promise<void> | null = null

  /** Recalls of content that wait for the kernel, by inode. */
  private readonly waiting = new Map<number, Set<() => void>>()

  constructor (components: InvalidatorComponents) {
    this.components = components
    components.activity.onBegin = (ino) => { for (const letGo of this.waiting.get(ino) ?? []) letGo() }
  }

  /** Resolves when the kernel has dropped it, or after a bounded wait. Never rejects. */
  async invalidate (invalidation: Invalidation): Promise<void> {
    if (this.negotiated === null) return
    await this.bounded(this.perform(invalidation), invalidation)
  }

  /** All names: each is looked up, and its attributes fetched, when next used. */
  async invalidateAllNames (): Promise<void> {
    if (this.negotiated !== null && hasEpochs(this.negotiated)) await this.nextEpoch()
  }

  private async perform ({ ino, what, names }: Invalidation): Promise<void> {
    const { client, notify } = this.components
    const nodeid = nodeidOf(client, ino)
    if (what === 'content') return await this.dropPages(ino, nodeid)
    const attributes = notify(invalidateAttributes(nodeid))
    if (what === 'entries') {
      if (hasEpochs(this.negotiated!)) await this.nextEpoch()
      else await Promise.all((names ?? []).map((name) => notify(invalidateEntry(nodeid, name))))
    }
    await attributes
  }

  /**
   * To drop a page the kernel takes its lock. A READ or WRITE that is being answered holds such locks,
   * and may itself wait until this recall is over: its pages are dropped when it has been answered,
   * and nobody waits for that. One that comes meanwhile ends the waiting.
   */
  private async dropPages (ino: number, nodeid: number): Promise<void> {
    const { notify, activity } = this.components
    const drop = ({ from, to }: PageRange): Promise<void> => notify(invalidateContent(nodeid, from, to === Infinity ? 0 : to - from))
    const locked = activity.lockedRanges(ino)
    const dropped = Promise.all(gapsBetween(locked).map(drop))
    for (const range of locked) void drop(range)
    await new Promise<void>((resolve) => {
      const waiters = this.waiting.get(ino) ?? new Set()
      this.waiting.set(ino, waiters.add(resolve))
      void dropped.then(() => { resolve() }).finally(() => {
        waiters.delete(resolve)
        if (waiters.size === 0) this.waiting.delete(ino)
      })
    })
  }

  private nextEpoch (): Promise<void> {
    if (this.epoch === null) {
      // Not yet written in this turn of the event loop: whoever comes until the microtasks run shares it.
      this.epoch = Promise.resolve().then(() => {
        this.epoch = null
        return this.components.notify(incrementEpoch())
      })
    }
    return this.epoch
  }

  private bounded (done: Promise<void>, { ino, what }: Invalidation): Promise<void> {
    const { clock, log } = this.components
    return new Promise((resolve) => {
      const timer = clock.setTimer(() => {
        log.warn('the kernel did not drop its cache in time', { ino, what, invalidationWaitMs })
        resolve()
      }, invalidationWaitMs)
      void done.finally(() => {
        timer.cancel()
        resolve()
      })
    })
  }
}
