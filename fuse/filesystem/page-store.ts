import type { Offer, VolumeClient } from '../../client/types.ts'
import { sliceBuffers } from '../../client/ranges.ts'
import { byteLengthOf } from '../../fsnode/protocol/frame.ts'
import { storeHead } from '../protocol/notify.ts'
import { nodeidOf } from './context.ts'
import type { PageActivity } from './page-activity.ts'

const pageBytes = 4096

export interface PageStoreComponents {
  client: VolumeClient
  activity: PageActivity
  /** Resolves when the kernel has taken it or has refused it. Never blocks the caller. */
  store: (pieces: readonly Buffer[]) => Promise<void>
}

/**
 * Gives the kernel pages that it has not asked for. To fill a page it takes its lock, as a READ that is being answered does:
 * so what is in use by one is not given.
 */
export class PageStore {
  private readonly components: PageStoreComponents

  constructor (components: PageStoreComponents) {
    this.components = components
  }

  /** Resolves when the kernel has them; with false when they are in use. */
  async take ({ ino, offset, data }: Offer): Promise<boolean> {
    const { client, activity, store } = this.components
    // Behind the answers that this turn of the event loop still sends.
    await new Promise<void>((resolve) => { setImmediate(resolve) })
    const start = Math.ceil(offset / pageBytes) * pageBytes
    const end = Math.floor((offset + byteLengthOf(data)) / pageBytes) * pageBytes
    if (end <= start) return true
    if (activity.overlaps(ino, start, end)) return false
    await store([storeHead(nodeidOf(client, ino), start, end - start), ...sliceBuffers(data, start - offset, end - start)])
    return true
  }
}
