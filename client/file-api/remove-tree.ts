import { constants } from 'node:fs'
import type { OperationContext, VolumeClient } from '../types.ts'
import { hasCode } from './errors.ts'
import { entriesOf } from './listing.ts'

/** Removals that wait for the volume at the same time, over the whole tree. */
export const removalsInFlightMax = 16

/**
 * Removes directories with all that is in them. Where a place is free, an entry is removed beside the
 * others; where none is, by whoever found it: so the work in flight is bounded, however wide or deep the tree.
 */
export class TreeRemoval {
  private readonly volume: VolumeClient
  private readonly context: OperationContext
  private free = removalsInFlightMax - 1

  constructor (volume: VolumeClient, context: OperationContext) {
    this.volume = volume
    this.context = context
  }

  /** What others remove meanwhile is as good as removed. Rejects with ENOTEMPTY when others add to it. */
  async directory (dir: number, name: string, ino: number, path: string): Promise<void> {
    const beside = new Set<Promise<void>>()
    let failure: { error: unknown } | null = null
    for await (const entry of entriesOf(this.volume, ino, path)) {
      if (failure !== null) break
      const removal = this.gone(entry.type === constants.S_IFDIR
        ? () => this.directory(ino, entry.name, entry.ino, `${path}/${entry.name}`)
        : () => this.volume.unlink(ino, entry.name, this.context))
      if (this.free === 0) {
        await removal()
        continue
      }
      this.free--
      const tracked = removal().catch((error) => { failure ??= { error } }).finally(() => {
        this.free++
        beside.delete(tracked)
      })
      beside.add(tracked)
    }
    await Promise.all(beside)
    if (failure !== null) throw (failure as { error: unknown }).error
    await this.gone(() => this.volume.rmdir(dir, name, this.context))()
  }

  private gone (remove: () => Promise<void>): () => Promise<void> {
    return async () => {
      try {
        await remove()
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
      }
    }
  }
}
