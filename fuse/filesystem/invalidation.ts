import type { Invalidation, VolumeClient } from '../../client/types.ts'
import type { Clock, Logger } from '../../fsnode/protocol/ports.ts'
import { hasEpochs, type Negotiated } from '../protocol/init.ts'
import { incrementEpoch, invalidateAttributes, invalidateContent, invalidateEntry } from '../protocol/notify.ts'
import { nodeidOf } from './context.ts'

/**
 * How long a recall waits for the kernel, in milliseconds. The kernel takes page locks, and whoever
 * holds one may itself wait for the recall: then the recall goes on without.
 */
export const invalidationWaitMs = 2000

export interface InvalidatorComponents {
  client: VolumeClient
  clock: Clock
  log: Logger
  /** Resolves when the kernel has done it. Never blocks the caller. */
  notify: (message: Buffer) => Promise<void>
}

/** Tells the kernel to drop what the client must no longer vouch for. */
export class Invalidator {
  private readonly components: InvalidatorComponents
  /** Known after INIT. Before, the kernel caches nothing. */
  negotiated: Negotiated | null = null
  /** An epoch that is queued and not yet written serves everybody who comes meanwhile. */
  private epoch: Promise<void> | null = null

  constructor (components: InvalidatorComponents) {
    this.components = components
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
    if (what === 'content') return await notify(invalidateContent(nodeid))
    const attributes = notify(invalidateAttributes(nodeid))
    if (what === 'entries') {
      if (hasEpochs(this.negotiated!)) await this.nextEpoch()
      else await Promise.all((names ?? []).map((name) => notify(invalidateEntry(nodeid, name))))
    }
    await attributes
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
