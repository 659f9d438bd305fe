import { posixError } from '../fsnode/protocol/errors.ts'
import { lostFilesMax, unsyncedChunksMax } from './bounds.ts'
import type { ChunkStore } from './chunk-store.ts'

export interface UnsyncedChunksComponents {
  chunks: ChunkStore
  /** Bytes of the file that were acknowledged may be gone. Returns whether somebody will be told of it. */
  onLost: (ino: number, error: Error) => boolean
}

/**
 * Chunks changed through this client that are not known to be on stable storage, also those of closed files. For each, how often its
 * partition had lost what was not (`DataPartition.losses`) when the oldest such change was acknowledged: if it
 * has more losses when it is synced, the change may be gone, and the sync fails with EIO.
 */
export class UnsyncedChunks {
  private readonly components: UnsyncedChunksComponents
  /** null: nothing was acknowledged yet. */
  private readonly byFile = new Map<number, Map<number, number | null>>()
  /** Files of which something is lost that nobody was told of: the next sync does. */
  private readonly lost = new Set<number>()
  /** Of files whose removal was decided here and is on its way to their partition: it may be given up. By the change. */
  private readonly removals = new Map<object, { ino: number, written: Map<number, number | null> | undefined, lost: boolean }>()
  private count = 0
  /** By file: the sync that was asked for last, until it has ended. */
  private readonly syncing = new Map<number, Promise<unknown>>()

  constructor (components: UnsyncedChunksComponents) {
    this.components = components
  }

  get size (): number { return this.count }

  /** Changes the chunk, which is unsynced from now on. */
  async change (ino: number, chunk: number, change: (chunks: ChunkStore) => Promise<number>): Promise<void> {
    this.note(ino, chunk, null)
    this.note(ino, chunk, await change(this.components.chunks))
  }

  forget (ino: number): void {
    this.count -= this.byFile.get(ino)?.size ?? 0
    this.byFile.delete(ino)
    this.lost.delete(ino)
  }

  /** Forgets the file for as long as the change, which removes it, may happen. */
  removing (change: object, ino: number): void {
    const [written, lost] = [this.byFile.get(ino), this.lost.has(ino)]
    if (written !== undefined || lost) this.removals.set(change, { ino, written, lost })
    this.forget(ino)
  }

  /** It is removed. */
  removed (change: object): void { this.removals.delete(change) }

  /** It is there still. */
  kept (change: object): void {
    const removal = this.removals.get(change)
    if (removal === undefined) return
    this.removals.delete(change)
    const { ino, written, lost } = removal
    for (const [chunk, losses] of written ?? []) this.note(ino, chunk, losses)
    if (lost) this.lost.add(ino)
  }

  /** Rejects when a chunk could not be synced, which then stays noted; with EIO when bytes may be lost. */
  async sync (ino: number): Promise<void> {
    if (await this.syncFile(ino)) throw lostError(ino)
  }

  async syncAll (): Promise<void> {
    const failures: unknown[] = []
    for (const ino of new Set([...this.byFile.keys(), ...this.lost])) await this.sync(ino).catch((error) => { failures.push(error) })
    if (failures.length > 0) throw failures[0]
  }

  /** Keeps what is remembered within its bound. */
  async trim (): Promise<void> {
    while (this.count > unsyncedChunksMax) await this.syncFile(this.byFile.keys().next().value!)
  }

  /** @returns whether bytes may be lost. */
  syncChunk (ino: number, chunk: number): Promise<boolean> { return this.inTurn(ino, () => this.syncChunks(ino, [chunk])) }

  private syncFile (ino: number): Promise<boolean> {
    return this.inTurn(ino, async () => {
      const wasLost = this.lost.delete(ino)
      return await this.syncChunks(ino, [...this.byFile.get(ino)?.keys() ?? []]) || wasLost
    })
  }

  /** What is being synced is not noted: who asks meanwhile waits until it is, or is noted again. */
  private async inTurn<T> (ino: number, sync: () => Promise<T>): Promise<T> {
    const own = (this.syncing.get(ino) ?? Promise.resolve()).then(sync, sync)
    this.syncing.set(ino, own)
    try {
      return await own
    } finally {
      if (this.syncing.get(ino) === own) this.syncing.delete(ino)
    }
  }

  private async syncChunks (ino: number, chunks: readonly number[]): Promise<boolean> {
    const noted = new Map(chunks.map((chunk) => [chunk, this.take(ino, chunk)]))
    let lost = false
    try {
      await this.components.chunks.sync(ino, chunks, (synced, losses) => {
        for (const chunk of synced) {
          const before = noted.get(chunk) ?? null
          noted.delete(chunk)
          if (before !== null && losses > before) lost = true
        }
      })
    } finally {
      for (const [chunk, losses] of noted) this.note(ino, chunk, losses)
      if (lost && !this.components.onLost(ino, lostError(ino))) this.noteLost(ino)
    }
    return lost
  }

  private noteLost (ino: number): void {
    this.lost.add(ino)
    if (this.lost.size > lostFilesMax) this.lost.delete(this.lost.values().next().value!)
  }

  /** What is noted of the chunk, which no longer is. */
  private take (ino: number, chunk: number): number | null {
    const written = this.byFile.get(ino)
    const noted = written?.get(chunk) ?? null
    if (written?.delete(chunk) === true) this.count--
    if (written?.size === 0) this.byFile.delete(ino)
    return noted
  }

  private note (ino: number, chunk: number, losses: number | null): void {
    let written = this.byFile.get(ino)
    if (written === undefined) {
      written = new Map()
      this.byFile.set(ino, written)
    }
    const noted = written.get(chunk)
    if (noted === undefined) this.count++
    written.set(chunk, noted == null ? losses : losses === null ? noted : Math.min(noted, losses))
  }
}

export function lostError (ino: number): Error {
  return posixError('EIO', `all replicas lost their power before what was written to inode ${ino} was on stable storage`)
}
