import type { ChunkDigest, ReplicaDigestsResponse } from '../protocol/data.ts'
import { codeOf } from '../protocol/errors.ts'
import type { Clock } from '../protocol/ports.ts'
import { byName, inParallel, type ChunkName, type ChunkStore } from './chunk-store.ts'
import { digestPageMax, digestParallel, listingAgeMsMax } from './constants.ts'

type Chunk = [ino: number, chunk: number]

/** Answers what a partition's chunks are, page by page. */
export class DigestLister {
  private readonly components: { clock: Clock, store: ChunkStore }
  private readonly partition: string
  private readonly heal: (name: ChunkName) => Promise<void>
  private listing: { chunks: Chunk[], at: number } | null = null

  constructor (components: { clock: Clock, store: ChunkStore }, partition: string, heal: (name: ChunkName) => Promise<void>) {
    this.components = components
    this.partition = partition
    this.heal = heal
  }

  async page (after: Chunk | null, limit: number): Promise<ReplicaDigestsResponse> {
    const chunks = await this.chunks(after === null)
    const start = after === null ? 0 : firstAfter(chunks, after)
    const end = Math.min(chunks.length, start + Math.max(1, Math.min(limit, digestPageMax)))
    const done = end === chunks.length
    if (done) this.listing = null
    return { digests: await digestsOf(this.components.store, this.partition, chunks.slice(start, end), this.heal), done, complete: true }
  }

  async of (chunks: Chunk[]): Promise<ReplicaDigestsResponse> {
    return { digests: await digestsOf(this.components.store, this.partition, chunks, this.heal), done: true, complete: false }
  }

  /** Chunks made after the listing reach a replica that catches up as mutations. */
  private async chunks (fresh: boolean): Promise<Chunk[]> {
    const now = this.components.clock.now()
    if (fresh || this.listing === null || now - this.listing.at > listingAgeMsMax) {
      this.listing = { chunks: await this.components.store.list(this.partition), at: now }
    }
    return this.listing.chunks
  }
}

/** In order; chunks that do not exist are left out. A damaged one is healed or fails the whole. */
export async function digestsOf (store: ChunkStore, partition: string, chunks: Chunk[], heal: (name: ChunkName) => Promise<void>): Promise<ChunkDigest[]> {
  const found: ChunkDigest[] = []
  await inParallel(digestParallel, chunks, async ([ino, chunk]) => {
    const name = { partition, ino, chunk }
    const digest = await store.digest(name).catch(async (error) => {
      if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM') throw error
      await heal(name)
      return store.digest(name)
    })
    if (digest !== null) found.push({ ino, chunk, ...digest })
  })
  return found.sort((one, other) => byName([one.ino, one.chunk], [other.ino, other.chunk]))
}

/** Index of the first chunk beyond `after`. */
export function firstAfter (chunks: Chunk[], after: Chunk): number {
  let low = 0
  let high = chunks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (byName(chunks[middle]!, after) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
