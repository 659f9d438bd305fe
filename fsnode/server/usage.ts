import { opendir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock, Timer } from '../protocol/ports.ts'

export const usageIntervalMsMin = 5_000
/** Measuring may take at most this share of the time. */
export const usageShareMax = 0.05
const blockBytes = 512

/** How much of its volume a node uses: measured in the background, since chunk files are sparse. */
export class Usage {
  usedBytes = 0
  capacityBytes: number
  /** By data partition, what its replica here takes on the disk. */
  private stored: Array<[partition: string, bytes: number]> = []
  private storedChanged = false
  private readonly clock: Clock
  private readonly directory: string
  private readonly chunks: string
  private readonly reservedBytes: number
  private timer: Timer | null = null
  private closed = false

  /** `chunks`: the directory below that has one of each data partition. */
  constructor (clock: Clock, directory: string, chunks: string, reservedBytes: number) {
    this.clock = clock
    this.directory = directory
    this.chunks = chunks
    this.reservedBytes = reservedBytes
    this.capacityBytes = reservedBytes
  }

  async start (): Promise<void> {
    const began = this.clock.now()
    await this.measure().catch(() => {}) // what was measured before stands
    if (this.closed) return
    const tookMs = this.clock.now() - began
    this.timer = this.clock.setTimer(() => { void this.start() }, Math.max(usageIntervalMsMin, tookMs / usageShareMax))
  }

  close (): void {
    this.closed = true
    this.timer?.cancel()
  }

  /** What partitions take, once after each time that it was measured. */
  takeStored (): Array<[partition: string, bytes: number]> | undefined {
    if (!this.storedChanged) return undefined
    this.storedChanged = false
    return this.stored
  }

  private async measure (): Promise<void> {
    const stored: Array<[string, number]> = []
    const usedBytes = await this.bytesBelow(this.directory, stored)
    if (this.closed) return
    this.usedBytes = usedBytes
    this.stored = stored
    this.storedChanged = true
    const { bavail, bsize } = await statfs(this.directory)
    // The reservation, unless others have taken the disk meanwhile.
    this.capacityBytes = Math.min(this.reservedBytes, this.usedBytes + bavail * bsize)
  }

  private async bytesBelow (directory: string, stored: Array<[string, number]>): Promise<number> {
    let bytes = 0
    for await (const entry of await opendir(directory)) {
      if (this.closed) break
      const path = join(directory, entry.name)
      if (entry.isDirectory()) {
        const below = await this.bytesBelow(path, stored).catch(() => 0)
        if (directory === this.chunks) stored.push([entry.name, below])
        bytes += below
      } else bytes += await stat(path).then((found) => found.blocks * blockBytes, () => 0)
    }
    return bytes
  }
}
