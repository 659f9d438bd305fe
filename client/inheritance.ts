import { metadataIndexOf } from '../partitioning/routing.ts'
import type { WriteJournal } from './types.ts'

/**
 * What an earlier process of the same session has left in the journal. The files that it wrote to are held for it, as
 * if they were in the cache, until their bytes are with the nodes: nobody may change them in between.
 */
export class Inheritance {
  private readonly files = new Map<number, { done: Promise<void>, finish: () => void }>()
  /** By index: which session with it was the last. */
  private readonly generations = new Map<number, number>()

  constructor (journal: WriteJournal | null) {
    const oldest = new Map<number, number>()
    for (const { ino, generation = 0 } of journal?.recover?.() ?? []) {
      this.note(metadataIndexOf(ino), generation)
      oldest.set(ino, Math.min(generation, oldest.get(ino) ?? Infinity))
    }
    for (const { partition, generation } of journal?.changes?.recoverChanges() ?? []) this.note(partition, generation)
    for (const [ino, generation] of oldest) {
      // Written before a session was lost: others may have had the file since.
      if (generation < this.generation(metadataIndexOf(ino))!) continue
      let finish = (): void => {}
      this.files.set(ino, { done: new Promise((resolve) => { finish = resolve }), finish })
    }
  }

  /** In which session with the metadata partition with this index what is left was made, not the one that the process began with; null: nothing is left. */
  generation (index: number): number | null { return this.generations.get(index) ?? null }

  /** Files of the partition that are held still. */
  of (index: number): number[] { return [...this.files.keys()].filter((ino) => metadataIndexOf(ino) === index) }

  /** Resolves when the file need not be held any more. */
  async over (ino: number): Promise<void> { await this.files.get(ino)?.done }

  /** The bytes are with the nodes, or lost. */
  settle (ino: number): void {
    this.files.get(ino)?.finish()
    this.files.delete(ino)
  }

  private note (index: number, generation: number): void { this.generations.set(index, Math.max(generation, this.generations.get(index) ?? 0)) }
}
