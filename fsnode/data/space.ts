import type { Clock } from '../protocol/ports.ts'
import type { ChunkFiles } from './files.ts'

/** Kept free, so that removals, headers and the rest of the node always have room. */
export const reserveBytesMax = 1024 * 1024 * 1024
export const reserveShare = 0.01
/** On a small disk, which several nodes may share: what logs and stores of metadata write meanwhile counts there; but not more than a share of it. */
export const reserveBytesMin = 64 * 1024 * 1024
export const reserveShareMax = 0.1
export const spaceAgeMsMax = 1_000

/** Knows without asking, to within a part of the reserve, how much room the disk has. */
export class Space {
  capacityBytes = 0
  private readonly files: ChunkFiles
  private readonly clock: Clock
  private readonly directory: string
  private readonly fixedReserve: number | undefined
  private freeAtLook = 0
  private grownSince = 0
  private lookedAt = -Infinity
  private looking: Promise<void> | null = null

  /** `reserveBytes`: default 1 % of the disk, 64 MiB at least (or a tenth of the disk, if that is less), 1 GiB at most. */
  constructor (files: ChunkFiles, clock: Clock, directory: string, reserveBytes?: number) {
    this.files = files
    this.clock = clock
    this.directory = directory
    this.fixedReserve = reserveBytes
  }

  get reserveBytes (): number { return this.fixedReserve ?? reserveOf(this.capacityBytes) }

  get freeBytes (): number { return Math.max(0, this.freeAtLook - this.grownSince) }

  /** There is no room for new writes. */
  get full (): boolean {
    this.lookAgain()
    return this.freeBytes < this.reserveBytes
  }

  /** There is not even room for writes that another replica let in when it believed that there was. */
  get exhausted (): boolean {
    this.lookAgain()
    return this.freeBytes < this.reserveBytes / 2
  }

  grew (bytes: number): void { this.grownSince += bytes }

  /** Room was freed, or there was less than believed. */
  invalidate (): void { this.lookedAt = -Infinity }

  async look (): Promise<void> {
    this.lookedAt = this.clock.now()
    const { freeBytes, capacityBytes } = await this.files.space(this.directory)
    this.freeAtLook = freeBytes
    this.capacityBytes = capacityBytes
    this.grownSince = 0
  }

  private lookAgain (): void {
    const stale = this.clock.now() - this.lookedAt > spaceAgeMsMax || this.grownSince > this.reserveBytes / 4
    // When the look fails, the last one stands; the write itself will tell.
    if (stale) this.looking ??= this.look().catch(() => {}).finally(() => { this.looking = null })
  }
}

function reserveOf (capacityBytes: number): number {
  const least = Math.min(reserveBytesMin, capacityBytes * reserveShareMax)
  return Math.min(reserveBytesMax, Math.max(least, capacityBytes * reserveShare))
}
