import { FileBlocks } from './block-cache.ts'
import type { VolumeContext } from './context.ts'
import type { CachedInode } from './inode-cache.ts'
import type { ChunkReader } from './reader.ts'

/** What was read of an open file beyond what was asked for, through all its handles. Current while the lease is held: `drop` forgets it. */
export class FileReading {
  readonly blocks: FileBlocks
  private readonly context: VolumeContext
  private readonly cached: CachedInode
  private readonly readers = new Set<ChunkReader>()
  /** Handles that may write. */
  private writers = 0

  constructor (context: VolumeContext, cached: CachedInode) {
    this.context = context
    this.cached = cached
    this.blocks = new FileBlocks({
      cache: context.blocks,
      mayKeep: () => this.writers === 0 && this.mayKeep,
      isOffered: () => context.offers.onOffer !== null,
      offer: (offset, data) => this.offer(offset, data)
    })
  }

  /** The lease is held, and no change of the inode is under way: what is read now is current until `drop`. */
  get mayKeep (): boolean {
    const { cached } = this
    return cached.lease !== 'none' && cached.session.isValid && !this.context.ownChanges.inode(cached.ino)
  }

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

  private async offer (offset: number, data: readonly Buffer[]): Promise<boolean> {
    const { ino, attr, recall } = this.cached
    // During a recall the attributes are held back: what arrives above from now on might not be dropped again.
    if (attr === null || recall !== null || this.writers > 0 || !this.mayKeep) return false
    return await this.context.offers.make({ ino, offset, data })
  }
}
