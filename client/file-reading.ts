import { FileBlocks, type BlockCache } from './block-cache.ts'
import type { CachedInode } from './inode-cache.ts'
import type { ChunkReader } from './reader.ts'

/** What was read of an open file beyond what was asked for, through all its handles. Current while the lease is held: `drop` forgets it. */
export class FileReading {
  readonly blocks: FileBlocks
  private readonly cached: CachedInode
  private readonly readers = new Set<ChunkReader>()
  /** Handles that may write. */
  private writers = 0

  constructor (cache: BlockCache, cached: CachedInode) {
    this.cached = cached
    this.blocks = new FileBlocks({ cache, mayKeep: () => this.writers === 0 && this.mayKeep })
  }

  /** The lease is held: what is read now is current until `drop`. */
  get mayKeep (): boolean { return this.cached.lease !== 'none' && this.cached.session.isValid }

  /** For a handle; `writes`: it may write. */
  add (reader: ChunkReader, writes: boolean): void {
    this.readers.add(reader)
    if (writes) this.writers++
  }

  remove (reader: ChunkReader, writes: boolean): void {
    reader.drop()
    this.readers.delete(reader)
    if (writes) this.writers--
  }

  drop (): void {
    for (const reader of this.readers) reader.drop()
    this.blocks.drop()
  }
}
