import { AtollError, codeOf, posixError } from '../fsnode/protocol/errors.ts'
import { byteLengthOf } from '../fsnode/protocol/frame.ts'
import type { InodeAttr } from '../fsnode/protocol/metadata.ts'
import type { Timer } from '../fsnode/protocol/ports.ts'
import type { AcceptedWrite, LateErrors, WriteOptions } from './accepted-write.ts'
import { BaseVersion } from './base-version.ts'
import { journalCommitMs, sessionsPerRequestMax } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import { Extent } from './extent.ts'
import { FileReading } from './file-reading.ts'
import type { CachedInode } from './inode-cache.ts'
import { InlineContent, nothing } from './inline-content.ts'
import { JournaledWrites } from './journaled-writes.ts'
import { unlessStuck } from './stuck.ts'
import { lostError } from './unsynced-chunks.ts'
import { WriteAdmission, type Obstacle } from './write-admission.ts'
import { ChunkWriter } from './writer.ts'

/**
 * One inode that is open here, or has changes that are not committed. Writes are accepted in order
 * under the exclusive lease: size and time change at once, small content stays in memory, the rest goes to
 * chunks. `flush` commits. All handles of the inode share it.
 */
export class FileState {
  readonly cached: CachedInode
  handles = 0
  /** Somebody else changed the inode while it was open here: perhaps it has no name any more. */
  mayBeOrphan = false
  readonly lateErrors: LateErrors = { count: 0, last: null }
  readonly reading: FileReading
  private readonly context: VolumeContext
  private readonly writer: ChunkWriter
  private readonly extent: Extent
  /** Set while the content in memory is ahead of the inode record. */
  private content: InlineContent | null = null
  /** Size and time as changed here; null when all is committed. */
  private local: { size: number, mtime: bigint } | null = null
  private readonly base = new BaseVersion()
  private accepted = 0
  private placedUpTo = 0
  /** Writes up to here were given up. */
  private lostUpTo = 0
  private committed = 0
  /**
   * What the record held when the last write was accepted; null: the content was in chunks. Under the lease it stays so, although what is
   * cached of the inode may be given up before the write is placed: when this client changes its names, say.
   */
  private recorded: Buffer | null = null
  /** The write that moved the inline content to chunks: until it ends, the record must keep it. */
  private movedBy = 0
  /** That content, until the write has ended: if it fails, the file is as it was. */
  private moved: Buffer | null = null
  /** In order of acceptance, until their bytes are at the nodes. */
  private readonly underWay = new Set<AcceptedWrite>()
  private readonly uncommitted: JournaledWrites
  /** Writes that need preparation, and those behind them. */
  private order: Promise<void> | null = null
  private orderLength = 0
  private committing: Promise<void> | null = null
  private commitTimer: Timer | null = null
  /** The last handle was dropped and no name is left. */
  private gone = false
  private readonly admission: WriteAdmission
  private readonly wakers: Array<() => void> = []
  /** Of writes and commits. */
  private endings = 0
  private recovering: Promise<void> | null = null

  constructor (context: VolumeContext, cached: CachedInode) {
    const { ino } = cached
    this.context = context
    this.cached = cached
    this.extent = new Extent(context, cached)
    this.uncommitted = new JournaledWrites(context.journal)
    this.reading = new FileReading(context, cached)
    this.admission = new WriteAdmission({
      cached,
      obstacle: (granted) => this.obstacle(granted),
      hasLease: () => this.hasLease,
      takeLease: () => context.leases.exclusive(cached),
      until: (condition) => this.unlessStuck(this.until(condition)),
      wake: () => { this.wake() }
    })
    const hold = (): Promise<void> | null => this.recovering ?? (cached.session.isValid ? null : cached.session.readyToWriteBack())
    const holdMoved = (): Promise<void> | null => {
      if (this.moved === null) throw this.lateErrors.last ?? posixError('ESTALE')
      return hold()
    }
    this.writer = new ChunkWriter({
      send: (chunk, ranges, attempting) => chunk === 0 && this.moved !== null
        ? this.extent.guarded(0, (chunks, since) => chunks.write(ino, 0, ranges, since), holdMoved)
        : context.unsynced.change(ino, chunk, (chunks) => chunks.write(ino, chunk, ranges, undefined, attempting)),
      hold, isFree: () => this.recovering === null && cached.session.isValid
    }, context.volume.chunkSizeBytes)
    if (cached.attr !== null) this.localAttr(cached.attr)
    if (cached.lease === 'exclusive' && cached.attr !== null) this.extent.taken(cached.attr)
  }

  get isDirty (): boolean { return this.local !== null || this.admission.admitted > 0 || this.underWay.size > 0 }

  get hasOwnContent (): boolean { return this.content !== null }

  get isIdle (): boolean { return this.handles === 0 && !this.isDirty && this.admission.isUnused && this.recovering === null }

  /** The server's attributes with what was changed here. */
  localAttr (attr: InodeAttr): InodeAttr {
    this.base.seen(attr.version)
    if (this.local === null) return attr
    const { size, mtime } = this.local
    return { ...attr, size, mtime, ctime: attr.ctime > mtime ? attr.ctime : mtime, isInline: attr.isInline && this.movedBy === 0 }
  }

  /** The exclusive lease was granted with these attributes; `asked`: to those who wait for it. */
  leaseTaken (attr: InodeAttr, asked: boolean): void {
    this.extent.taken(attr)
    if (asked) this.admission.leaseGranted()
    if (!this.base.isInDoubt) return
    const fault = this.base.settle(attr.version)
    if (fault !== null) this.lose(posixError('EIO', `what was written is lost: ${fault}`))
  }

  /** @param expired With the session: what is not committed may be lost. */
  leaseLost (expired: boolean): void {
    this.reading.drop()
    this.extent.lost()
    this.admission.leaseLost()
    this.wake()
    if (!expired) return
    this.mayBeOrphan = true
    if (!this.isDirty || this.base.isInDoubt) return
    this.base.doubt()
    this.recovering = this.recover().finally(() => {
      this.recovering = null
      this.writer.pump()
      this.wake()
    })
  }

  /**
   * Accepts a write. Resolves, with a journal, when it is recorded there; without one, or when that is
   * full, when every in-sync replica has the bytes (small content: when it is in memory, or, with a full
   * journal, committed). With `append` it goes to the end, wherever that was thought to be. Resolves with where it is.
   */
  async write (given: number, data: readonly Buffer[], { append = false, operationId }: WriteOptions = {}): Promise<number> {
    const length = byteLengthOf(data)
    if (length === 0) return given
    if (given < 0 || !Number.isSafeInteger(given) || given + length > this.extent.endMax) throw posixError('EFBIG')
    const entering = this.admission.enter(length)
    if (entering !== null) {
      try {
        await entering
      } finally {
        this.admission.arrived()
      }
    }
    const offset = append ? this.cached.knownAttr!.size : given // under the lease nobody else moves the end
    if (offset + length > this.extent.endMax) {
      this.admission.leave(length)
      this.wake()
      throw posixError('EFBIG')
    }
    let token: number | null = null
    let full = false
    const { journal } = this.context
    if (journal !== null) {
      try {
        token = journal.record(this.cached.ino, offset, data, this.cached.session.generation, operationId)
      } catch {
        full = true
      }
    }
    const done = this.accept(offset, data, length, token)
    if (token !== null) {
      done.catch(() => {})
      return offset
    }
    await done
    if (full) await this.flush()
    return offset
  }

  /** Whether it is worth asking `readInline`. */
  mayBeInline (attr: InodeAttr): boolean { return attr.isInline || this.content !== null || this.order !== null || this.moved !== null }

  /** Content and size of a file when it is in memory or in the inode's record; null when it is in chunks. */
  async readInline (): Promise<{ bytes: Buffer, size: number } | null> {
    for (;;) {
      if (this.order !== null) await this.unlessStuck(this.order)
      if (this.moved !== null) await this.unlessStuck(this.ended(this.movedBy))
      const attr = this.cached.knownAttr
      if (this.content !== null) return { bytes: this.content.snapshot(), size: this.local!.size }
      if (attr !== null && !this.isRecordInline) return null
      if (attr !== null && this.cached.inline !== null) return { bytes: this.cached.inline, size: attr.size }
      if (attr?.size === 0) return { bytes: nothing, size: 0 }
      const fetched = await this.context.inodes.fetchContent(this.cached.ino)
      // With changes of its own under way the client knows better; they are committed or in memory by the next look.
      if (this.isDirty) continue
      return fetched.inline === undefined ? null : { bytes: fetched.inline, size: fetched.attr.size }
    }
  }

  /** Null when no write to the range is under way; otherwise resolves when those that are have ended. */
  settled (offset: number, length: number): Promise<void> | null {
    const ended = this.order === null ? this.writer.settled(offset, length) : this.order.then(() => this.writer.settled(offset, length) ?? undefined)
    return ended === null ? null : this.unlessStuck(ended)
  }

  /** For close(2): what is in the journal may follow, if the nodes surely have room; otherwise the caller must hear of a full cluster. */
  async flushBehind (): Promise<void> {
    const { journal, room } = this.context
    if (journal?.changes === undefined || !this.isDirty || this.admission.arriving > 0 || [...this.underWay].some(({ token }) => token === null) || !room.isPlenty) return await this.flush()
    this.flushAccepted().catch((error) => { this.noteLate(error) })
  }

  /** The time of the last change was set: what is still to be committed says so, too. */
  setModified (mtime: bigint): void { if (this.local !== null) this.local.mtime = mtime }

  /** What was accepted before is at the nodes and committed. Late errors are the handles' to report. See `unlessStuck`. */
  flush (): Promise<void> { return this.unlessStuck(this.flushAccepted()) }

  private async flushAccepted (): Promise<void> {
    const upTo = this.accepted
    const size = this.local?.size ?? 0
    await this.ended(upTo)
    for (let attempt = 1; ; attempt++) {
      while (this.recovering !== null) await this.recovering
      try {
        await this.commit(upTo, size)
        return
      } catch (error) {
        // What becomes of the changes is decided under the next session.
        if (codeOf(error) !== 'ATOLL_SESSION_EXPIRED') throw error
        if (attempt >= sessionsPerRequestMax) throw posixError('EIO', 'the session ended while the file was committed')
      }
    }
  }

  /**
   * For a recall: commits what was accepted. With the door shut nothing is left to write afterwards,
   * and whoever was granted the lease has used it. Without a session there is nothing to give up.
   */
  async writeBack (shut: boolean): Promise<void> {
    for (;;) {
      const upTo = this.accepted
      await this.until(() => this.base.isInDoubt || (shut ? this.admission.isSettled : this.hasEnded(upTo)))
      if (this.local === null || this.base.isInDoubt) return
      try {
        await this.commit(shut ? this.accepted : upTo, this.local.size)
      } catch (error) {
        if (!this.base.isInDoubt) this.lose(error)
      }
      if (!shut) return
    }
  }

  /** Runs `work` while no write is accepted and all accepted ones are committed; the lease may go meanwhile. */
  alone<T> (work: () => Promise<T>): Promise<T> {
    return this.admission.alone(async () => {
      await this.flush()
      return await work()
    })
  }

  /** The size was set by the server, which cut what is beyond. */
  resized (attr: InodeAttr): void {
    this.reading.drop()
    this.extent.cut(attr)
  }

  /** Until no door is shut, there is room in the queue, the exclusive lease is held and the inline content at hand. */
  private obstacle (granted: boolean): Obstacle {
    const { cached } = this
    if (this.gone) throw posixError('ESTALE', 'the file is gone')
    if (this.admission.isClosed) return this.unlessStuck(this.until(() => !this.admission.isClosed))
    if (this.recovering !== null) return this.recovering
    if (cached.recall?.phase === 'shut' && !(granted && this.hasLease)) return cached.recall.done
    if (!this.hasLease || !cached.session.isValid) return 'lease'
    return this.lacksInline(cached.knownAttr!) ? this.context.inodes.fetchContent(cached.ino) : null
  }

  get hasLease (): boolean { return this.cached.lease === 'exclusive' && this.cached.knownAttr !== null && this.extent.isKnown }

  private lacksInline (attr: InodeAttr): boolean {
    return this.content === null && attr.isInline && attr.size > 0 && this.cached.inline === null
  }

  private accept (offset: number, data: readonly Buffer[], length: number, token: number | null): Promise<void> {
    const { cached } = this
    const attr = cached.knownAttr!
    const end = offset + length
    this.local = { size: Math.max(attr.size, end), mtime: this.context.clock.wallNs() }
    this.recorded = attr.isInline ? cached.inline ?? nothing : null
    cached.setAttr(this.localAttr(attr))
    this.reading.drop()
    return new Promise((resolve, reject) => {
      const write: AcceptedWrite = {
        sequence: ++this.accepted,
        piecesLeft: 1, // itself, until it is placed
        failure: null,
        ended: (record) => { this.writeEnded(record as AcceptedWrite) },
        offset, end, data, sizeBefore: attr.size, token, resolve, reject
      }
      this.underWay.add(write)
      if (this.order === null && this.canPlace(write)) {
        this.place(write)
      } else {
        this.orderLength++
        this.order = (this.order ?? Promise.resolve()).then(() => this.prepareAndPlace(write)).finally(() => {
          if (--this.orderLength === 0) this.order = null
        })
      }
    })
  }

  private canPlace (write: AcceptedWrite): boolean {
    if (this.moved !== null) return false
    if (this.staysInline(write)) return true
    return this.content === null && !this.isRecordInline && this.extent.covers(write.sizeBefore, write.offset, write.end)
  }

  /** The content is in the inode record, and not yet moved. */
  private get isRecordInline (): boolean { return (this.cached.knownAttr?.isInline ?? this.recorded !== null) && this.movedBy === 0 }

  private staysInline (write: AcceptedWrite): boolean {
    if (write.end > this.context.volume.inlineBytesMax) return false
    if (this.content !== null) return true
    // A record that once had chunks takes no content again until they are cut away.
    return this.isRecordInline && write.sizeBefore <= this.context.volume.inlineBytesMax
  }

  private async prepareAndPlace (write: AcceptedWrite): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        while (this.recovering !== null) await this.recovering
        if (this.gone) throw posixError('ESTALE')
        if (write.sequence <= this.lostUpTo) throw this.lateErrors.last
        await this.prepare(write)
        // What it was prepared for may be another file by now.
        if (this.recovering !== null || write.sequence <= this.lostUpTo) continue
        this.place(write)
        return
      } catch (error) {
        if (codeOf(error) === 'ATOLL_SESSION_EXPIRED' && attempt < sessionsPerRequestMax) continue
        write.failure ??= error
        this.pieceDone(write)
        return
      }
    }
  }

  private async prepare (write: AcceptedWrite): Promise<void> {
    if (this.moved !== null) await this.ended(this.movedBy)
    if (this.staysInline(write)) return
    if (this.content !== null || this.isRecordInline) await this.extent.prepare(0, 0, write.end, true)
    else await this.extent.prepare(write.sizeBefore, write.offset, write.end, false)
  }

  private place (write: AcceptedWrite): void {
    if (this.staysInline(write)) {
      this.content ??= new InlineContent(this.inlineUpTo(write.sizeBefore))
      this.content.write(write.offset, write.data, write.end - write.offset)
    } else {
      if (this.content !== null || this.isRecordInline) this.moveOut(write)
      this.writer.add(write, write.offset, write.data)
      this.writer.pump()
    }
    this.pieceDone(write)
  }

  /** The record's content as long as the file is: it may have been cut or extended since it was read. */
  private inlineUpTo (size: number): Buffer { return Buffer.concat([this.cached.inline ?? this.recorded ?? nothing], size) }

  /** The inline bytes that this write leaves go to chunk 0, together with it. */
  private moveOut (write: AcceptedWrite): void {
    const bytes = this.content?.snapshot() ?? this.inlineUpTo(write.sizeBefore)
    this.movedBy = write.sequence
    if (bytes.length > 0) this.moved = bytes
    this.content = null
    this.context.cache.setInline(this.cached, null)
    const attr = this.cached.knownAttr
    if (attr !== null) this.cached.setAttr({ ...attr, isInline: false })
    const head = Math.min(bytes.length, write.offset)
    if (head > 0) this.writer.add(write, 0, [bytes.subarray(0, head)])
    if (write.end < bytes.length) this.writer.add(write, write.end, [bytes.subarray(write.end)])
  }

  private pieceDone (write: AcceptedWrite): void {
    this.placedUpTo = write.sequence
    if (--write.piecesLeft === 0) write.ended(write)
  }

  private writeEnded (write: AcceptedWrite): void {
    this.endings++
    this.underWay.delete(write)
    this.admission.leave(write.end - write.offset)
    if (write.sequence === this.movedBy) this.moveEnded(write.failure === null)
    if (write.failure !== null) {
      if (write.token !== null) {
        this.context.log.error('a write that was acknowledged is lost', { ino: this.cached.ino, code: codeOf(write.failure) })
        this.noteLate(write.failure)
        this.context.journal!.settle(write.token)
      }
      write.reject(write.failure)
    } else {
      if (write.token !== null) this.awaitCommit(write.sequence, write.token, write.end - write.offset)
      write.resolve()
    }
    this.wake()
  }

  private moveEnded (well: boolean): void {
    const { moved, cached } = this
    this.moved = null
    if (well || moved === null) return
    // No room for chunks, say. The record has its content still; what was changed of it since is kept here.
    this.movedBy = 0
    this.extent.stays()
    this.content = new InlineContent(moved)
    const ends = [...this.underWay].map(({ end }) => end)
    this.local = { ...this.local!, size: Math.max(moved.length, ...ends) }
    const attr = cached.knownAttr
    if (attr !== null) cached.setAttr({ ...this.localAttr(attr), isInline: true })
  }

  private awaitCommit (sequence: number, token: number, bytes: number): void {
    this.uncommitted.add(sequence, token, bytes)
    if (this.uncommitted.isMuch && this.committing === null) this.flushAccepted().catch((error) => { this.noteLate(error) })
    else this.commitTimer ??= this.context.clock.setTimer(() => { this.commitInTime() }, journalCommitMs)
  }

  /** Else who writes little, and never closes, would lose all of it with the machine. What fails is tried again, or told by whoever gives it up. */
  private commitInTime (): void {
    this.commitTimer = null
    if (this.isDirty) this.flushAccepted().catch(() => {})
  }

  private async commit (upTo: number, size: number): Promise<void> {
    while (this.committing !== null) await this.committing.catch(() => {})
    // The one before may have failed with the session: under the next one nothing is held yet.
    if (this.base.isInDoubt) throw new AtollError('ATOLL_SESSION_EXPIRED', 'whether the changes stand is to be seen')
    if (this.committed >= upTo || this.local === null) return
    this.committing = this.sendCommit(upTo, size)
    try {
      await this.committing
    } finally {
      this.committing = null
      this.wake()
    }
  }

  private async sendCommit (upTo: number, size: number): Promise<void> {
    const { cached, context } = this
    // Bytes that left the record must be in chunks before the record lets go of them.
    if (this.content === null && this.movedBy > upTo) await this.ended(this.movedBy)
    const inline = this.content?.snapshot() ?? null
    // As durable as they were there.
    if (inline === null && this.movedBy !== 0 && this.extent.inRecord > 0 && await context.unsynced.syncChunk(cached.ino, 0)) throw this.lose(lostError(cached.ino))
    const sequence = inline === null ? upTo : this.placedUpTo
    const { mtime } = this.local!
    const decided = context.held.commit(cached, inline?.length ?? size, mtime, inline)
    if (decided !== null) {
      this.committedUpTo(sequence, inline)
      cached.attr = this.localAttr(decided)
      return
    }
    const since = cached.session.guard.begin()
    cached.asked++
    try {
      const { body } = await cached.session.call('meta.commit', {
        op: context.operations.next(), ino: cached.ino, size: inline?.length ?? size, mtime, inline: inline !== null
      }, { leased: true, mutation: true, payload: inline === null ? undefined : [inline] })
      this.committedUpTo(sequence, inline)
      if (context.inodes.install(cached.session, body.attr, since) === null) cached.setAttr(this.localAttr(body.attr))
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT' || code === 'ESTALE') this.lose(error)
      throw error
    } finally {
      cached.asked--
      cached.session.guard.end()
    }
  }

  private committedUpTo (sequence: number, inline: Buffer | null): void {
    this.endings++
    this.committed = Math.max(this.committed, sequence)
    this.extent.inRecord = inline?.length ?? 0
    if (this.committed === this.accepted) {
      this.commitTimer?.cancel()
      this.commitTimer = null
      this.local = null
      this.content = null
      this.recorded = null
      if (inline === null) this.movedBy = 0
      else this.context.cache.setInline(this.cached, inline)
    }
    this.uncommitted.settle(sequence)
  }

  /** Under a new session: the changes stand if nobody else changed the inode meanwhile. */
  private async recover (): Promise<void> {
    try {
      await this.context.leases.exclusive(this.cached)
    } catch (error) {
      this.base.settleUnseen()
      this.lose(posixError('EIO', `changes could not be written back after the session expired (${codeOf(error)})`))
    }
  }

  /** Gives up what is not committed, loudly. */
  private lose (error: unknown): unknown {
    const code = codeOf(error)
    // Removed by whoever may: nothing was lost that anybody could miss.
    this.context.log[code === 'ENOENT' || code === 'ESTALE' ? 'debug' : 'error']('changes of a file are lost', { ino: this.cached.ino, code })
    this.noteLate(error)
    this.writer.abandon(error)
    this.lostUpTo = this.accepted
    this.committed = this.accepted
    this.local = null
    this.content = null
    this.recorded = null
    this.movedBy = 0
    this.moved = null
    this.uncommitted.settle(Infinity)
    this.context.cache.setInline(this.cached, null)
    this.cached.attr = null
    return error
  }

  /** Nobody here uses the inode any more. Resolves when nothing of it is under way. */
  async discard (): Promise<void> {
    this.gone = true
    this.lostUpTo = this.accepted
    this.writer.abandon(posixError('ESTALE'))
    this.wake()
    await this.until(() => this.admission.admitted === 0 && this.committing === null)
    this.committed = this.accepted
    this.local = null
    this.content = null
    this.uncommitted.settle(Infinity)
  }

  /** A change of it that was decided here did not happen, or nobody knows. */
  changeLost (error: unknown): void {
    this.noteLate(error)
    this.base.changeLost()
  }

  /** Each handle tells it once. */
  noteLate (error: unknown): void {
    this.lateErrors.count++
    this.lateErrors.last = error
    if (!['ENOENT', 'ESTALE'].includes(codeOf(error))) this.context.files.onLost?.(this.cached.ino)
  }

  private ended (upTo: number): Promise<void> { return this.until(() => this.hasEnded(upTo)) }

  private hasEnded (upTo: number): boolean {
    for (const first of this.underWay) return first.sequence > upTo
    return true
  }

  private async until (condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => { this.wakers.push(resolve) })
  }

  /** What was accepted may be sent for ever: who waits for it need not. */
  private unlessStuck<T> (work: Promise<T>): Promise<T> {
    const { clock, writeBackPatienceMs } = this.context
    return writeBackPatienceMs === Infinity ? unlessStuck(clock, work, () => this.endings) : work
  }

  private wake (): void {
    if (this.wakers.length > 0) for (const waker of this.wakers.splice(0)) waker()
    if (this.handles === 0 && this.isIdle) this.context.files.idle(this)
  }
}
