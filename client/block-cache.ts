import { giveBack } from '../fsnode/protocol/buffer-pool.ts'
import type { Clock, Timer } from '../fsnode/protocol/ports.ts'
import { blockIdleMs, cachedBlockBytesMax, offeredFileBytesMax, readBlockBytes } from './bounds.ts'
import { sliceBuffers } from './ranges.ts'

interface Block {
  file: FileBlocks
  index: number
  length: number
  /** Once they are there. */
  bytes: Buffer[] | null
  loading: Promise<Buffer[]>
  /** It is, or will be, offered to whoever caches above. */
  offered: boolean
  usedAt: number
}

/** The blocks of all files of a volume client, bounded in bytes: the least recently used go first, and those that were not used for long. */
export class BlockCache {
  readonly bytesMax: number
  private readonly clock: Clock
  private readonly blocks = new Set<Block>()
  private bytes = 0
  private timer: Timer | null = null

  constructor (components: { clock: Clock }, init: { bytesMax?: number } = {}) {
    this.clock = components.clock
    this.bytesMax = init.bytesMax ?? cachedBlockBytesMax
  }

  add (block: Block): void {
    block.usedAt = this.clock.now()
    this.blocks.add(block)
    this.bytes += block.length
    this.timer ??= this.clock.setTimer(() => { this.dropIdle() }, blockIdleMs)
    for (const oldest of this.blocks) {
      if (this.bytes <= this.bytesMax) return
      oldest.file.remove(oldest)
    }
  }

  touch (block: Block): void {
    block.usedAt = this.clock.now()
    this.blocks.delete(block)
    this.blocks.add(block)
  }

  remove (block: Block): void {
    if (this.blocks.delete(block)) this.bytes -= block.length
  }

  close (): void {
    this.timer?.cancel()
    for (const block of this.blocks) block.file.remove(block)
  }

  private dropIdle (): void {
    const horizon = this.clock.now() - blockIdleMs
    for (const block of this.blocks) {
      if (block.usedAt > horizon) break
      block.file.remove(block)
    }
    this.timer = this.blocks.size === 0 ? null : this.clock.setTimer(() => { this.dropIdle() }, blockIdleMs)
  }
}

export interface FileBlocksComponents {
  cache: BlockCache
  /** What is read now is current until `drop`. */
  mayKeep: () => boolean
  /** Somebody above caches what is offered. */
  isOffered: () => boolean
  /** Hands a range on that is current; resolves when it has arrived, or with false when it is not wanted now. */
  offer: (offset: number, data: readonly Buffer[]) => Promise<boolean>
}

export type ReadRange = (offset: number, length: number) => Promise<Buffer[]>

/**
 * Blocks of one open file that were read whole because part of them was asked for out of sequence: a node
 * verifies more than it is asked for anyway, and its neighbours are likely to be asked for next. Good while the
 * lease is held and nobody here writes; `drop` forgets them. Each is offered to whoever caches above, and is then kept there.
 */
export class FileBlocks {
  private readonly components: FileBlocksComponents
  private readonly blocks = new Map<number, Block>()

  constructor (components: FileBlocksComponents) {
    this.components = components
  }

  /** Null when the range is better read as it is. `fetch` reads any range of the file; `direct`: the reader bypasses who caches above. */
  read (offset: number, length: number, size: number, fetch: ReadRange, direct: boolean): Promise<Buffer[]> | null {
    const offers = !direct && this.components.isOffered()
    if (length > readBlockBytes / 2 || size > this.fileBytesMax(offers) || !this.components.mayKeep()) return null
    const index = Math.floor(offset / readBlockBytes)
    const start = offset - index * readBlockBytes
    if (start + length > readBlockBytes) return null
    const block = this.block(index, start + length, size, fetch)
    const bytes = block.bytes !== null
      ? Promise.resolve(sliceBuffers(block.bytes, start, length))
      : block.loading.then((bytes) => sliceBuffers(bytes, start, length), () => fetch(offset, length))
    if (offers && !block.offered) this.offer(block)
    return bytes
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

  private fileBytesMax (offers: boolean): number {
    const { bytesMax } = this.components.cache
    return offers ? Math.max(bytesMax, offeredFileBytesMax) : bytesMax
  }

  /** One that is known and reaches to `end`, or that is being read from now on. */
  private block (index: number, end: number, size: number, fetch: ReadRange): Block {
    const known = this.blocks.get(index)
    if (known !== undefined && end <= known.length) {
      this.components.cache.touch(known)
      return known
    }
    // It was shorter than the file is now.
    if (known !== undefined) this.remove(known)
    return this.load(index, Math.min(readBlockBytes, size - index * readBlockBytes), fetch)
  }

  private load (index: number, length: number, fetch: ReadRange): Block {
    const loading = fetch(index * readBlockBytes, length)
    const block: Block = { file: this, index, length, bytes: null, loading, offered: false, usedAt: 0 }
    this.blocks.set(index, block)
    this.components.cache.add(block)
    block.loading = loading.then((bytes) => {
      // Slices of what was received would keep more than the block in memory.
      block.bytes = [Buffer.concat(bytes)]
      giveBack(bytes)
      return block.bytes
    }, (error: unknown) => {
      this.remove(block)
      throw error
    })
    return block
  }

  private offer (block: Block): void {
    block.offered = true
    block.loading.then(async (bytes) => {
      if (this.blocks.get(block.index) !== block) return
      const hasArrived = await this.components.offer(block.index * readBlockBytes, bytes)
      if (hasArrived) this.remove(block)
      else block.offered = false
    }).catch(() => {})
  }
}
