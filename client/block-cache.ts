import { giveBack } from '../fsnode/protocol/buffer-pool.ts'
import { cachedBlockBytesMax, blockFileBytesMax, readBlockBytes } from './bounds.ts'
import { sliceBuffers } from './ranges.ts'

interface Block {
  file: FileBlocks
  index: number
  length: number
  /** Once they are there. */
  bytes: Buffer[] | null
  loading: Promise<Buffer[]>
}

/** The blocks of all files of a volume client, bounded in bytes: the least recently used go first. */
export class BlockCache {
  private readonly bytesMax: number
  private readonly blocks = new Set<Block>()
  private bytes = 0

  constructor (bytesMax: number = cachedBlockBytesMax) {
    this.bytesMax = bytesMax
  }

  add (block: Block): void {
    this.blocks.add(block)
    this.bytes += block.length
    for (const oldest of this.blocks) {
      if (this.bytes <= this.bytesMax) return
      oldest.file.remove(oldest)
    }
  }

  touch (block: Block): void {
    this.blocks.delete(block)
    this.blocks.add(block)
  }

  remove (block: Block): void {
    if (this.blocks.delete(block)) this.bytes -= block.length
  }
}

export interface FileBlocksComponents {
  cache: BlockCache
  /** What is read now is current until `drop`. */
  mayKeep: () => boolean
}

/**
 * Blocks of one open file that were read whole because part of them was asked for out of sequence: a node
 * verifies more than it is asked for anyway, and its neighbours are likely to be asked for next. Good while the
 * lease is held and nobody here writes; `drop` forgets them.
 */
export class FileBlocks {
  private readonly components: FileBlocksComponents
  private readonly blocks = new Map<number, Block>()

  constructor (components: FileBlocksComponents) {
    this.components = components
  }

  /** Null when the range is better read as it is. `fetch` reads any range of the file. */
  read (offset: number, length: number, size: number, fetch: (offset: number, length: number) => Promise<Buffer[]>): Promise<Buffer[]> | null {
    if (length > readBlockBytes / 2 || size > blockFileBytesMax || !this.components.mayKeep()) return null
    const first = Math.floor(offset / readBlockBytes)
    if (offset + length > (first + 1) * readBlockBytes) return null
    const block = this.blocks.get(first)
    const start = offset - first * readBlockBytes
    // One that was shorter than the file is now is of no use beyond its end.
    if (block === undefined || start + length > block.length) return this.load(first, size, fetch).then((bytes) => sliceBuffers(bytes, start, length), () => fetch(offset, length))
    this.components.cache.touch(block)
    if (block.bytes !== null) return Promise.resolve(sliceBuffers(block.bytes, start, length))
    return block.loading.then((bytes) => sliceBuffers(bytes, start, length), () => fetch(offset, length))
  }

  drop (): void {
    if (this.blocks.size === 0) return
    for (const block of this.blocks.values()) this.components.cache.remove(block)
    this.blocks.clear()
  }

  remove (block: Block): void {
    this.components.cache.remove(block)
    if (this.blocks.get(block.index) === block) this.blocks.delete(block.index)
  }

  private load (index: number, size: number, fetch: (offset: number, length: number) => Promise<Buffer[]>): Promise<Buffer[]> {
    const before = this.blocks.get(index)
    if (before !== undefined) this.remove(before)
    const offset = index * readBlockBytes
    const length = Math.min(readBlockBytes, size - offset)
    const loading = fetch(offset, length)
    const block: Block = { file: this, index, length, bytes: null, loading }
    this.blocks.set(index, block)
    this.components.cache.add(block)
    // Slices of what was received would keep more than the block in memory.
    block.loading = loading.then((bytes) => {
      block.bytes = [Buffer.concat(bytes)]
      giveBack(bytes)
      return block.bytes
    }, (error: unknown) => {
      this.remove(block)
      throw error
    })
    return block.loading
  }
}
