import type { ChunkPosition } from '../fsnode/protocol/data.ts'
import { AtollError, codeOf } from '../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../fsnode/protocol/metadata.ts'
import { chunkRequestsInFlightMax, extentStepBytesMax, extentStepBytesMin } from './bounds.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { VolumeContext } from './context.ts'
import type { CachedInode } from './inode-cache.ts'
import { eachBounded } from './parallel.ts'

/**
 * How far the chunks of a file may reach. The extent is raised in growing steps, ahead of the
 * writes. What a client that vanished left between the size and the extent is cut away before a gap would
 * show it.
 */
export class Extent {
  /** Bytes of content that the inode's record held when the lease was granted, or has since it was last committed. */
  inRecord = 0
  private readonly context: VolumeContext
  private readonly cached: CachedInode
  private reached = 0
  /** Chunks from the size on up to here may hold bytes that nobody committed. */
  private staleEnd = 0
  private stepBytes = extentStepBytesMin
  private raising: Promise<void> | null = null
  private known = false
  /** How often the lease was granted. */
  private takes = 0

  constructor (context: VolumeContext, cached: CachedInode) {
    this.context = context
    this.cached = cached
  }

  /** No file reaches beyond: the end of the last whole chunk that a size can say. */
  get endMax (): number { return Number.MAX_SAFE_INTEGER - Number.MAX_SAFE_INTEGER % this.context.volume.chunkSizeBytes }

  /** It is that of the lease which is held now. */
  get isKnown (): boolean { return this.known }

  /** The exclusive lease was granted. */
  taken (attr: InodeAttr): void {
    this.known = true
    this.takes++
    this.inRecord = attr.isInline ? attr.size : 0
    this.reached = attr.extent
    this.staleEnd = attr.extent
  }

  lost (): void {
    this.known = false
    this.reached = 0
    this.staleEnd = 0
  }

  /** The server cut the file at its size; of content in the record it cuts no chunks. */
  cut (attr: InodeAttr): void {
    this.inRecord = attr.isInline ? attr.size : 0
    this.reached = attr.extent
    this.staleEnd = attr.isInline ? attr.extent : Math.min(this.staleEnd, attr.size)
  }

  /** Content that was to leave the record stays there: what has got to the chunks meanwhile does not count. */
  stays (): void { this.staleEnd = this.reached }

  /** Bytes up to `end` may be written now, at `offset`, to a file of size `size`. */
  covers (size: number, offset: number, end: number): boolean {
    if (end > this.reached || (offset > size && this.staleEnd > size)) return false
    if (end + this.stepBytes / 2 > this.reached) this.raiseAhead()
    return true
  }

  /** Resolves when they may. `anew`: nothing in the chunks counts, the content comes from elsewhere. */
  async prepare (size: number, offset: number, end: number, anew: boolean): Promise<void> {
    while (end > this.reached) await this.raise(end)
    if (anew) await this.cutStale(0, this.staleEnd)
    else if (offset > size) await this.cutStale(size, Math.min(offset, this.staleEnd))
  }

  /**
   * Changes what is no part of the caller's own write, and so may not come late: refused after others, under a later lease, have
   * changed the chunk. Rejects with ATOLL_SESSION_EXPIRED when the lease is gone.
   */
  async guarded (chunk: number, change: (chunks: ChunkStore, since: ChunkPosition) => Promise<number>, hold: () => Promise<void> | null): Promise<void> {
    const { context, cached: { ino } } = this
    for (;;) {
      await hold()
      const since = await context.chunks.position(ino, chunk)
      const held = hold()
      if (held !== null) {
        await held
        continue
      }
      // Held now, so nobody else has changed the chunk before that position.
      if (!this.known) throw new AtollError('ATOLL_SESSION_EXPIRED', 'the lease is gone')
      try {
        await context.unsynced.change(ino, chunk, (chunks) => change(chunks, since))
        return
      } catch (error) {
        if (codeOf(error) !== 'ATOLL_CHANGED') throw error
      }
    }
  }

  private raiseAhead (): void {
    if (this.raising === null && this.reached < this.endMax) this.raise(this.reached + 1).catch(() => {})
  }

  private raise (end: number): Promise<void> {
    this.raising ??= this.sendRaise(end).finally(() => { this.raising = null })
    return this.raising
  }

  private async sendRaise (end: number): Promise<void> {
    const { cached, context } = this
    const chunkSize = context.volume.chunkSizeBytes
    const wanted = Math.max(end, this.reached + this.stepBytes)
    const extent = Math.min(this.endMax, Math.ceil(wanted / chunkSize) * chunkSize)
    const decided = context.held.extent(cached, extent)
    if (decided !== null) {
      const { takes } = this
      await cached.session.changes!.drained()
      if (takes !== this.takes || !this.known) throw new AtollError('ATOLL_SESSION_EXPIRED', 'the file is not held any more')
      this.raised(decided.extent)
      return
    }
    const since = cached.session.guard.begin()
    cached.asked++
    try {
      const { body } = await cached.session.call('meta.extent', { op: context.operations.next(), ino: cached.ino, extent }, { leased: true, mutation: true })
      this.raised(body.attr.extent)
      context.inodes.install(cached.session, body.attr, since)
    } finally {
      cached.asked--
      cached.session.guard.end()
    }
  }

  private raised (extent: number): void {
    this.reached = Math.max(this.reached, extent)
    this.stepBytes = Math.min(extentStepBytesMax, this.stepBytes * 2)
  }

  /** Afterwards [from, to) reads as zeros, and so does what is left of the last chunk. */
  private async cutStale (from: number, to: number): Promise<void> {
    if (to <= from) return
    const { context, cached } = this
    const { ino } = cached
    const chunkSize = context.volume.chunkSizeBytes
    const first = Math.floor(from / chunkSize)
    const chunks: number[] = []
    for (let chunk = first; chunk * chunkSize < to; chunk++) chunks.push(chunk)
    await eachBounded(chunks, chunkRequestsInFlightMax, (chunk) => {
      const length = chunk === first ? from - first * chunkSize : 0
      return this.guarded(chunk, (chunks, since) => chunks.truncate(ino, chunk, length, since), () => cached.session.isValid ? null : cached.session.readyToWriteBack())
    })
    if (to >= this.staleEnd) this.staleEnd = 0
  }
}
