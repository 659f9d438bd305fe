import { codeOf } from '../fsnode/protocol/errors.ts'
import { flushesInFlightMax } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import { FileState } from './file-state.ts'
import type { CachedInode } from './inode-cache.ts'
import { eachBounded } from './parallel.ts'

/** The files that are open here or have changes to commit. */
export class FileTable {
  /** Told of each file that fails behind the back of those who have it open. */
  onLost: ((ino: number) => void) | null = null
  private readonly context: VolumeContext
  private readonly files = new Map<number, FileState>()
  /** Unlinked inodes that an earlier process of this session had open. */
  private readonly inherited = new Set<number>()

  constructor (context: VolumeContext) {
    this.context = context
  }

  get size (): number { return this.files.size }

  isOpen (ino: number): boolean { return (this.files.get(ino)?.handles ?? 0) > 0 }

  /** Its partition keeps the inode for this client, whether it has a name or not. */
  holds (ino: number): boolean { return this.isOpen(ino) || this.inherited.has(ino) }

  /** One more handle on the inode. */
  open (cached: CachedInode): FileState {
    let file = this.files.get(cached.ino)
    if (file === undefined) {
      file = new FileState(this.context, cached)
      cached.file = file
      this.files.set(cached.ino, file)
    }
    file.handles++
    return file
  }

  /** One handle fewer. After the last, changes are still written back and an inode without a name is let go. */
  async release (file: FileState): Promise<void> {
    file.handles--
    if (file.handles > 0) return
    // Also of an orphan: another client may have it open. Nobody is left here to tell of a failure; what is lost is logged.
    if (file.isDirty) await file.flush().catch(() => {})
    if (file.handles === 0 && await this.isOrphan(file) && file.handles === 0) await this.letGo(file.cached.ino)
    this.idle(file)
  }

  idle (file: FileState): void {
    const { cached } = file
    if (!file.isIdle || this.files.get(cached.ino) !== file) return
    this.files.delete(cached.ino)
    cached.file = null
    file.reading.drop()
    if (cached.lease === 'none') this.context.cache.drop(cached)
  }

  /** Something that was accepted is lost. False: nobody has the file open. */
  failed (ino: number, error: unknown): boolean {
    const file = this.files.get(ino)
    file?.noteLate(error)
    return file !== undefined && file.handles > 0
  }

  inherit (inos: readonly number[]): void {
    for (const ino of inos) this.inherited.add(ino)
  }

  /** Nobody above uses the inode any more. */
  forget (ino: number): void {
    if (!this.inherited.has(ino) || this.isOpen(ino)) return
    void this.letGo(ino)
  }

  async flushAll (): Promise<void> {
    await eachBounded([...this.files.values()].filter((file) => file.isDirty), flushesInFlightMax, (file) => file.flush())
  }

  private async isOrphan (file: FileState): Promise<boolean> {
    const { ino, attr } = file.cached
    if (this.inherited.has(ino)) return true
    if (attr !== null && file.cached.session.isValid) return attr.nlink === 0
    if (!file.mayBeOrphan) return false
    try {
      return (await this.context.inodes.getattr(ino)).nlink === 0
    } catch {
      return false
    }
  }

  private async letGo (ino: number): Promise<void> {
    const { cache, sessions, operations, log, unsynced } = this.context
    const file = this.files.get(ino)
    // No write of this client may reach the inode after it was let go.
    await file?.discard()
    this.inherited.delete(ino)
    unsynced.forget(ino)
    try {
      await sessions.of(ino).call('meta.forget', { op: operations.next(), ino }, { mutation: true })
    } catch (error) {
      // The partition drops it with the session at the latest.
      log.debug('orphan not given up', { ino, code: codeOf(error) })
    }
    const cached = cache.get(ino)
    if (cached !== undefined) cache.drop(cached)
  }
}
