import { constants } from 'node:fs'
import type { OpenFile, VolumeClient } from '../../client/types.ts'
import { messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { BufferPool } from '../device/buffers.ts'
import { O_ACCMODE } from '../protocol/constants.ts'

/** Request buffers that one open file may hold before it is flushed in the background to get them back. */
export const lentBuffersPerFileMax = 16
/** Handles count from `generation * 2^32`: those of an earlier worker are never mistaken for ours. */
const handlesPerGeneration = 2 ** 32
/** Inodes whose cached pages are known to be of this worker's time, in a worker that is not the first. */
export const knownContentsMax = 100_000

/** `lent`: how many buffers of requests the client may still refer to. */
type Flush = (file: OpenFile, lent: number) => Promise<void>

/** An open file as the kernel knows it by `fh`. */
export class FileHandle {
  readonly fh: number
  readonly ino: number
  readonly file: OpenFile
  /** Something was written since the last flush began. */
  dirty = false
  /** The file was found to have no security.capability attribute, and none was set here since. */
  hasNoCapabilities = false
  /** Request buffers whose data the client may still refer to: until flush. */
  private lent: Buffer[] = []
  private flushing: Promise<void> | null = null
  /** What a background flush failed with: the next flush or sync reports it, once. */
  private failure: unknown = null
  private readonly pool: BufferPool
  private readonly log: Logger

  constructor (components: { pool: BufferPool, log: Logger }, init: { fh: number, ino: number, file: OpenFile }) {
    this.pool = components.pool
    this.log = components.log
    this.fh = init.fh
    this.ino = init.ino
    this.file = init.file
  }

  /** The client was given data in this buffer: it comes back after the next flush. */
  lend (buffer: Buffer): void {
    this.lent.push(buffer)
    if (this.lent.length < lentBuffersPerFileMax || this.flushing !== null) return
    this.flushLent((file) => file.flush()).catch((error: unknown) => {
      this.failure ??= error
      this.log.warn('a flush in the background failed', { ino: this.ino, error: messageOf(error) })
    })
  }

  async flush (): Promise<void> {
    // What another flush covers is no longer dirty, and not yet flushed either.
    while (this.flushing !== null) await this.flushing.catch(() => {})
    // The client may go on with data of its own behind, but not with what lies in buffers that the next request needs.
    // Also with nothing new: what was flushed into the journal may be lost since.
    await this.flushLent((file, lent) => lent === 0 && file.flushBehind !== undefined ? file.flushBehind() : file.flush())
    this.throwFailure()
  }

  async sync (): Promise<void> {
    while (this.flushing !== null) await this.flushing.catch(() => {})
    await this.flushLent((file) => file.sync())
    this.throwFailure()
  }

  /** Flushes what is left; the outcome has nobody to be told to. */
  async release (): Promise<void> {
    try {
      await this.flush()
    } catch (error) {
      this.log.error('written data was lost when a file was closed', { ino: this.ino, error: messageOf(error) })
    }
    await this.file.release()
  }

  private flushLent (flush: Flush): Promise<void> {
    const flushing = this.flushCovered(flush).finally(() => {
      if (this.flushing === flushing) this.flushing = null
    })
    this.flushing = flushing
    return flushing
  }

  private async flushCovered (flush: Flush): Promise<void> {
    const covered = this.lent
    this.lent = []
    this.dirty = false
    try {
      await flush(this.file, covered.length)
      this.pool.give(covered)
    } catch (error) {
      this.dirty = true
      this.pool.abandon(covered.length)
      throw error
    }
  }

  private throwFailure (): void {
    const { failure } = this
    this.failure = null
    if (failure !== null) throw failure
  }
}

/** Acknowledged writes of a file that were lost before a worker of this generation served. */
export interface LostWrites { failure: unknown, generation: number }

export interface FileHandlesComponents { client: VolumeClient, pool: BufferPool, log: Logger }

/** Open files. A handle that this process does not know was opened by its predecessor: the inode is opened anew. */
export class FileHandles {
  private readonly components: FileHandlesComponents
  private readonly generation: number
  private readonly handles = new Map<number, FileHandle>()
  private readonly byIno = new Map<number, Set<FileHandle>>()
  private readonly reopening = new Map<number, Promise<FileHandle>>()
  private readonly knownContents = new Set<number>()
  private readonly lostWrites: ReadonlyMap<number, LostWrites>
  /** Handles that have been told of them. */
  private readonly told = new Set<number>()
  private nextFh: number

  /** `generation` counts the workers of the mount from 0; `lostWrites`: see DispatcherInit. */
  constructor (components: FileHandlesComponents, init: { generation: number, lostWrites?: ReadonlyMap<number, LostWrites> }) {
    this.components = components
    this.lostWrites = init.lostWrites ?? new Map()
    this.generation = init.generation
    this.nextFh = init.generation * handlesPerGeneration + 1
  }

  takeNumber (): number { return this.nextFh++ }

  add (ino: number, file: OpenFile, fh = this.takeNumber()): FileHandle {
    const handle = new FileHandle(this.components, { fh, ino, file })
    this.handles.set(fh, handle)
    const siblings = this.byIno.get(ino)
    if (siblings === undefined) this.byIno.set(ino, new Set([handle]))
    else siblings.add(handle)
    return handle
  }

  /** The handle if this process knows it. */
  known (fh: number, ino: number): FileHandle | undefined {
    const handle = this.handles.get(fh)
    return handle?.ino === ino ? handle : undefined
  }

  /** `flags`: O_* that it was opened with. */
  get (fh: number, ino: number, flags: number): FileHandle | Promise<FileHandle> {
    return this.known(fh, ino) ?? this.reopen(fh, ino, (flags & O_ACCMODE) !== constants.O_RDONLY)
  }

  /** Once for each handle that was there then: throws what writes of an earlier worker failed with. */
  throwLost (fh: number, ino: number): void {
    const lost = this.lostWrites.get(ino)
    if (lost === undefined || fh > lost.generation * handlesPerGeneration || this.told.has(fh)) return
    this.told.add(fh)
    throw lost.failure
  }

  isOpen (ino: number): boolean { return this.byIno.has(ino) }

  capabilitiesMayBeSet (ino: number): void {
    for (const handle of this.byIno.get(ino) ?? []) handle.hasNoCapabilities = false
  }

  /** What was written through any handle of the inode is flushed. */
  async flushInode (ino: number): Promise<void> {
    for (const handle of this.byIno.get(ino) ?? []) if (handle.dirty) await handle.flush()
  }

  async release (fh: number, ino: number): Promise<void> {
    this.told.delete(fh)
    const handle = this.known(fh, ino) ?? await this.reopening.get(fh)
    if (handle === undefined) return
    this.handles.delete(fh)
    const siblings = this.byIno.get(ino)
    siblings?.delete(handle)
    if (siblings?.size === 0) this.byIno.delete(ino)
    await handle.release()
  }

  async releaseAll (): Promise<void> {
    await Promise.allSettled([...this.handles.values()].map((handle) => this.release(handle.fh, handle.ino)))
  }

  /**
   * Whether pages that the kernel has of this inode may stay when it is opened. In the mount's first
   * worker, always: what changes elsewhere is invalidated. A later one does not know what was missed
   * while no worker ran, so it has each inode's pages dropped once.
   */
  mayKeepPages (ino: number): boolean {
    if (this.generation === 0 || this.knownContents.has(ino)) return true
    if (this.knownContents.size >= knownContentsMax) this.knownContents.delete(this.knownContents.values().next().value!)
    this.knownContents.add(ino)
    return false
  }

  forget (ino: number): void { this.knownContents.delete(ino) }

  private reopen (fh: number, ino: number, write: boolean): Promise<FileHandle> {
    let pending = this.reopening.get(fh)
    if (pending === undefined) {
      pending = this.components.client.open(ino, { write })
        .then((file) => this.add(ino, file, fh))
        .finally(() => { this.reopening.delete(fh) })
      this.reopening.set(fh, pending)
    }
    return pending
  }
}
