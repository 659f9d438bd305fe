import { chunkRequestsInFlightMax, unsyncedChunksMax } from './bounds.ts'
import type { ChunkStore } from './chunk-store.ts'
import { eachBounded } from './parallel.ts'

/** Chunks written through this client that are not known to be on stable storage, also those of closed files. */
export class UnsyncedChunks {
  private readonly chunks: ChunkStore
  private readonly byFile = new Map<number, Set<number>>()
  private count = 0

  constructor (chunks: ChunkStore) {
    this.chunks = chunks
  }

  get size (): number { return this.count }

  add (ino: number, chunk: number): void {
    let written = this.byFile.get(ino)
    if (written === undefined) {
      written = new Set()
      this.byFile.set(ino, written)
    }
    if (written.has(chunk)) return
    written.add(chunk)
    this.count++
  }

  forget (ino: number): void {
    this.count -= this.byFile.get(ino)?.size ?? 0
    this.byFile.delete(ino)
  }

  /** Rejects when a chunk could not be synced; it then stays noted. */
  async sync (ino: number): Promise<void> {
    const written = this.byFile.get(ino)
    if (written === undefined) return
    this.forget(ino)
    await eachBounded([...written], chunkRequestsInFlightMax, async (chunk) => {
      try {
        await this.chunks.sync(ino, chunk)
      } catch (error) {
        this.add(ino, chunk)
        throw error
      }
    })
  }

  async syncAll (): Promise<void> {
    const failures: unknown[] = []
    for (const ino of [...this.byFile.keys()]) await this.sync(ino).catch((error) => { failures.push(error) })
    if (failures.length > 0) throw failures[0]
  }

  /** Keeps what is remembered within its bound. */
  async trim (): Promise<void> {
    while (this.count > unsyncedChunksMax) await this.sync(this.byFile.keys().next().value!)
  }
}
