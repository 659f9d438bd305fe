import type { InodeAttr, LeaseMode } from '../fsnode/protocol/metadata.ts'
import { cachedInlineBytesMax, cachedInodesMax, cachedNamesMax, evictionBatchInodes, xattrsCachedPerInodeMax } from './bounds.ts'
import type { CachedDirectory } from './directory-cache.ts'
import type { FileState } from './file-state.ts'
import type { MetadataSession } from './session.ts'

/** A recall that is being carried out. */
export interface OngoingRecall {
  done: Promise<void>
  /** The lease still holds and operations go on; or they wait until the recall is answered. */
  phase: 'open' | 'shut'
  /** Something was handed upwards since the last invalidation. */
  served: boolean
}

/**
 * What is known of one inode under its lease. While `attr` is set and the session is valid, it is
 * current: nothing else needs to be checked. During a recall everything moves to `held`, so that
 * the fast paths miss.
 */
export class CachedInode {
  readonly ino: number
  readonly session: MetadataSession
  lease: 'none' | LeaseMode = 'none'
  attr: InodeAttr | null = null
  directory: CachedDirectory | null = null
  /** The content, when it is in the inode record. Shorter than the size: the rest reads as zeros. */
  inline: Buffer | null = null
  symlink: string | null = null
  /** Values of extended attributes; null for those that do not exist. */
  xattrs: Map<string, Buffer | null> | null = null
  /** It has none: it was made here. */
  hasNoXattrs = false
  held: { attr: InodeAttr | null, directory: CachedDirectory | null } | null = null
  recall: OngoingRecall | null = null
  /** Set while the file is open or has changes to commit: the inode then stays in the cache. */
  file: FileState | null = null
  /** Requests under way whose answers bring attributes: until then nothing is decided here. */
  asked = 0
  /** Since the last pass of the eviction. */
  used = true

  constructor (ino: number, session: MetadataSession) {
    this.ino = ino
    this.session = session
  }

  /** Also while a recall goes on. */
  get knownAttr (): InodeAttr | null { return this.attr ?? this.held?.attr ?? null }

  setAttr (attr: InodeAttr): void {
    if (this.held === null) this.attr = attr
    else this.held.attr = attr
  }

  forgetAttr (): void {
    this.attr = null
    if (this.held !== null) this.held.attr = null
  }

  hide (): void {
    this.held ??= { attr: this.attr, directory: this.directory }
    this.attr = null
    this.directory = null
  }

  noteXattr (name: string, value: Buffer | null): void {
    this.xattrs ??= new Map()
    if (this.xattrs.size >= xattrsCachedPerInodeMax) this.xattrs.clear()
    this.xattrs.set(name, value)
  }
}

export interface InodeCacheInit {
  inodesMax?: number
  namesMax?: number
  inlineBytesMax?: number
}

/**
 * The inodes that leases are held on. Bounded in inodes, names and bytes; who is to go is found by
 * a second-chance scan in order of arrival, so that a hit costs one flag.
 */
export class InodeCache {
  private readonly inodes = new Map<number, CachedInode>()
  private readonly inodesMax: number
  private readonly namesMax: number
  private readonly inlineBytesMax: number
  private names = 0
  private inlineBytes = 0

  constructor (init: InodeCacheInit = {}) {
    this.inodesMax = init.inodesMax ?? cachedInodesMax
    this.namesMax = init.namesMax ?? cachedNamesMax
    this.inlineBytesMax = init.inlineBytesMax ?? cachedInlineBytesMax
  }

  get size (): number { return this.inodes.size }

  get (ino: number): CachedInode | undefined { return this.inodes.get(ino) }

  ensure (ino: number, session: MetadataSession): CachedInode {
    let found = this.inodes.get(ino)
    if (found === undefined) {
      found = new CachedInode(ino, session)
      this.inodes.set(ino, found)
    }
    found.used = true
    return found
  }

  values (): IterableIterator<CachedInode> { return this.inodes.values() }

  countNames (change: number): void { this.names += change }

  setInline (cached: CachedInode, content: Buffer | null): void {
    this.inlineBytes += (content?.length ?? 0) - (cached.inline?.length ?? 0)
    cached.inline = content === null ? null : ownCopy(content)
  }

  /** Forgets everything; an open file keeps its place, without a lease. */
  drop (cached: CachedInode): void {
    this.setDirectory(cached, null)
    this.setInline(cached, null)
    cached.held = null
    cached.attr = null
    cached.symlink = null
    cached.xattrs = null
    cached.hasNoXattrs = false
    cached.lease = 'none'
    if (cached.file === null && cached.recall === null && this.inodes.get(cached.ino) === cached) this.inodes.delete(cached.ino)
  }

  setDirectory (cached: CachedInode, directory: CachedDirectory | null): void {
    const known = cached.directory ?? cached.held?.directory ?? null
    if (known !== null && known !== directory) this.names -= known.size
    if (cached.held !== null) cached.held.directory = directory
    else cached.directory = directory
  }

  get isOverfull (): boolean {
    return this.inodes.size > this.inodesMax || this.names > this.namesMax || this.inlineBytes > this.inlineBytesMax
  }

  /** Those to give up next: a batch of the least recently used that are neither open nor being recalled. */
  candidates (scanMax: number): CachedInode[] {
    const found: CachedInode[] = []
    let scanned = 0
    const limit = Math.min(this.inodes.size, scanMax)
    for (const cached of this.inodes.values()) {
      if (++scanned > limit || found.length >= evictionBatchInodes) break
      if (cached.used || cached.file !== null || cached.recall !== null) {
        cached.used = false
        this.inodes.delete(cached.ino)
        this.inodes.set(cached.ino, cached)
      } else {
        found.push(cached)
      }
    }
    return found
  }
}

/** A small slice of a large network buffer would keep all of it in memory. */
function ownCopy (content: Buffer): Buffer {
  return content.buffer.byteLength > 2 * content.length ? Buffer.from(content) : content
}
