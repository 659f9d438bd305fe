import { metadataIndexOf } from '../partitioning/routing.ts'
import type { WriteJournal } from './types.ts'

/**
 * What an earlier process of the same session has left in the journal. The files that it wrote to are held for it, as
 * if they were in the cache, until their bytes are with the nodes: nobody may change them in between.
 */
export class Inheritance {
  private readonly files = new Map<number, { done: Promise<void>, finish: () => void }>()
  private readonly partitions = new Set<number>()

  constructor (journal: WriteJournal | null) {
    for (const { ino } of journal?.recover?.() ?? []) {
      this.partitions.add(metadataIndexOf(ino))
      if (this.files.has(ino)) continue
      let finish = (): void => {}
      this.files.set(ino, { done: new Promise((resolve) => { finish = resolve }), finish })
    }
    for (const { partition } of journal?.changes?.recoverChanges() ?? []) this.partitions.add(partition)
  }

  /** Whether something is left of the metadata partition with this index. */
  concerns (index: number): boolean { return this.partitions.has(index) }

  /** Files of the partition that are held still. */
  of (index: number): number[] { return [...this.files.keys()].filter((ino) => metadataIndexOf(ino) === index) }

  /** Resolves when the file need not be held any more. */
  async over (ino: number): Promise<void> { await this.files.get(ino)?.done }

  /** The bytes are with the nodes, or lost. */
  settle (ino: number): void {
    this.files.get(ino)?.finish()
    this.files.delete(ino)
  }
}
