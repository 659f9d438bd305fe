import { codeOf, posixError } from '../fsnode/protocol/errors.ts'
import type { DirectoryEntry, InodeAttr, LookupResponse, ReaddirResponse } from '../fsnode/protocol/metadata.ts'
import { fileType, isLongName, mode as modes } from '../fsnode/protocol/posix.ts'
import { readdirPageEntries, unleasedRetriesMax } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import { CachedDirectory } from './directory-cache.ts'
import { nameKey } from './grant-guard.ts'
import type { CachedInode } from './inode-cache.ts'
import type { MetadataSession } from './session.ts'

export interface Extras { inline?: Buffer, symlink?: string }
export interface DirectoryPage { entries: DirectoryEntry[], done: boolean, parent: number }

/** Made once: absent names are asked for all the time. */
const noSuchName = posixError('ENOENT')

/** What is read of inodes and names: from the cache while a lease holds, otherwise from their partition. */
export class Inodes {
  private readonly context: VolumeContext
  private readonly attrRequests = new Map<number, Promise<InodeAttr>>()
  private readonly nameRequests = new Map<string, Promise<InodeAttr>>()
  private readonly pageRequests = new Map<string, Promise<DirectoryPage | null>>()

  constructor (context: VolumeContext) {
    this.context = context
  }

  getattr (ino: number): Promise<InodeAttr> {
    const cached = this.context.cache.get(ino)
    if (cached !== undefined && cached.attr !== null && cached.session.validUntil > this.context.clock.now() && !this.context.ownChanges.inode(ino)) {
      cached.used = true
      return Promise.resolve(cached.attr)
    }
    return this.fetchAttr(ino)
  }

  lookup (dir: number, name: string): Promise<InodeAttr> {
    const { cache, clock, ownChanges } = this.context
    const parent = cache.get(dir)
    const directory = parent?.directory
    if (directory !== undefined && directory !== null && parent!.session.validUntil > clock.now() && !ownChanges.name(dir, name)) {
      const known = directory.find(name)
      if (known !== undefined) {
        parent!.used = true
        return known.ino === 0 ? Promise.reject(noSuchName) : this.attrOfName(dir, name, known.ino)
      }
      if (directory.isComplete) return Promise.reject(noSuchName)
    }
    return this.fetchName(dir, name)
  }

  async readlink (ino: number): Promise<string> {
    for (let attempt = 0; attempt <= unleasedRetriesMax; attempt++) {
      const attr = await this.getattr(ino)
      if (fileType(attr.mode) !== modes.link) throw posixError('EINVAL', 'not a symbolic link')
      const known = this.context.cache.get(ino)?.symlink
      if (known !== undefined && known !== null) return known
      const { body } = await this.context.sessions.of(ino).call('meta.getattr', { ino })
      this.keep(ino, body.symlink)
      if (body.symlink !== undefined) return body.symlink
    }
    throw posixError('EIO', 'the target of the symbolic link is missing')
  }

  async readdir (dir: number, after: string, limit: number): Promise<DirectoryPage> {
    for (let attempt = 0; ; attempt++) {
      const page = this.cachedPage(dir, after, limit)
      if (page !== null) return page
      const last = attempt >= unleasedRetriesMax || this.context.ownChanges.anyName(dir)
      const fetched = await this.fetchPage(dir, after, last)
      if (fetched !== null) return { ...fetched, entries: fetched.entries.slice(0, limit), done: fetched.done && fetched.entries.length <= limit }
    }
  }

  /** The inode with the content in its record, from the partition; `inline` is undefined when it is in chunks. */
  async fetchContent (ino: number): Promise<{ attr: InodeAttr, inline: Buffer | undefined }> {
    const { sessions, leases } = this.context
    const session = sessions.of(ino)
    await leases.settled(ino)
    const since = session.guard.begin()
    try {
      const { body } = await session.call('meta.getattr', { ino })
      const inline = body.attr.isInline ? body.inline ?? Buffer.alloc(0) : undefined
      this.install(session, body.attr, since, { inline })
      return { attr: body.attr, inline }
    } finally {
      session.guard.end()
    }
  }

  /** The size of an inode was set: what is known of its content follows. */
  resized (cached: CachedInode, attr: InodeAttr): void {
    cached.file?.resized(attr)
    const { inline } = cached
    if (inline !== null) this.context.cache.setInline(cached, attr.isInline ? inline.subarray(0, attr.size) : null)
  }

  /**
   * Caches what an answer granted. Null when the lease was given up meanwhile, or is another
   * partition's: the attributes are then true for this moment only.
   */
  install (session: MetadataSession, attr: InodeAttr, since: number, extras: Extras = {}): CachedInode | null {
    const { cache, sessions } = this.context
    if (sessions.of(attr.ino) !== session || !this.mayKeep(session, attr.ino, since)) return null
    const cached = cache.ensure(attr.ino, session)
    if (cached.lease === 'none') cached.lease = 'shared'
    if (cached.attr === null || attr.version >= cached.attr.version) {
      cached.attr = cached.file === null ? attr : cached.file.localAttr(attr)
      if (extras.inline !== undefined && cached.file?.hasOwnContent !== true) cache.setInline(cached, extras.inline)
    }
    if (extras.symlink !== undefined) cached.symlink = extras.symlink
    return cached
  }

  /** Attributes under a lease: those given if they were cached, else asked for anew. */
  async leased (attr: InodeAttr): Promise<InodeAttr> {
    const cached = this.context.cache.get(attr.ino)
    if (cached?.attr != null && cached.attr.version >= attr.version) return cached.attr
    try {
      return await this.getattr(attr.ino)
    } catch (error) {
      // Removed by somebody else since: what was answered was true.
      if (codeOf(error) === 'ENOENT') return attr
      throw error
    }
  }

  directoryOf (cached: CachedInode): CachedDirectory {
    if (cached.directory === null) this.context.cache.setDirectory(cached, new CachedDirectory(this.count))
    return cached.directory!
  }

  readonly count = (change: number): void => { this.context.cache.countNames(change) }

  mayKeep (session: MetadataSession, ino: number, since: number): boolean {
    return session.guard.mayKeep(ino, since) && !this.context.leases.isReleasing(ino) && this.context.cache.get(ino)?.recall == null
  }

  private attrOfName (dir: number, name: string, ino: number): Promise<InodeAttr> {
    const cached = this.context.cache.get(ino)
    if (cached !== undefined && cached.attr !== null && cached.session.validUntil > this.context.clock.now() && !this.context.ownChanges.inode(ino)) {
      cached.used = true
      return Promise.resolve(cached.attr)
    }
    return this.fetchAttr(ino).catch((error) => {
      if (codeOf(error) !== 'ENOENT') throw error
      // The name was cached, its inode is gone: the name is stale or about to be recalled.
      this.context.cache.get(dir)?.directory?.forget(name)
      return this.fetchName(dir, name)
    })
  }

  private fetchAttr (ino: number): Promise<InodeAttr> {
    // Another's answer may be older than a change that has been seen since.
    if (this.context.ownChanges.inode(ino)) return this.askAttr(ino)
    const under = this.attrRequests.get(ino)
    if (under !== undefined) return under
    const request = this.askAttr(ino).finally(() => { this.attrRequests.delete(ino) })
    this.attrRequests.set(ino, request)
    return request
  }

  private async askAttr (ino: number): Promise<InodeAttr> {
    const session = this.context.sessions.of(ino)
    for (let attempt = 0; ; attempt++) {
      const known = await this.context.leases.settled(ino)
      if (known !== null) return known
      const since = session.guard.begin()
      try {
        const { body } = await session.call('meta.getattr', { ino })
        const cached = this.install(session, body.attr, since, body)
        if (cached !== null) {
          this.context.leases.evictIfOverfull()
          return cached.attr!
        }
        if (attempt >= unleasedRetriesMax) return this.unleased(body.attr)
      } finally {
        session.guard.end()
      }
    }
  }

  private fetchName (dir: number, name: string): Promise<InodeAttr> {
    if (isLongName(name)) return Promise.reject(posixError('ENAMETOOLONG', name))
    if (this.context.ownChanges.name(dir, name)) return this.askName(dir, name)
    const key = nameKey(dir, name)
    const under = this.nameRequests.get(key)
    if (under !== undefined) return under
    const request = this.askName(dir, name).finally(() => { this.nameRequests.delete(key) })
    this.nameRequests.set(key, request)
    return request
  }

  private async askName (dir: number, name: string): Promise<InodeAttr> {
    const session = this.context.sessions.of(dir)
    for (let attempt = 0; ; attempt++) {
      await this.context.leases.settled(dir)
      const last = attempt >= unleasedRetriesMax
      const since = session.guard.begin()
      try {
        const { body } = await session.call('meta.lookup', { dir, name })
        const named = this.installName(session, dir, name, body.ino, fileType(body.attr?.mode ?? 0), since)
        const attr = await this.attrOfLookup(session, body, since)
        if (named || last) return named ? attr : this.unleased(attr, dir, name)
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error
        if (this.installName(session, dir, name, 0, 0, since) || last) throw error
      } finally {
        session.guard.end()
      }
    }
  }

  private async attrOfLookup (session: MetadataSession, found: LookupResponse, since: number): Promise<InodeAttr> {
    const cached = found.attr === undefined ? null : this.install(session, found.attr, since, found)
    this.context.leases.evictIfOverfull()
    return cached?.attr ?? this.getattr(found.ino)
  }

  /** @returns whether the name may be relied on. */
  private installName (session: MetadataSession, dir: number, name: string, ino: number, type: number, since: number): boolean {
    const { cache } = this.context
    if (!this.mayKeep(session, dir, since) || !session.guard.nameUnchanged(dir, name, since)) return false
    const parent = cache.ensure(dir, session)
    if (parent.lease === 'none') parent.lease = 'shared'
    this.directoryOf(parent).set(name, ino, type, parent.attr?.version ?? 0)
    return true
  }

  private cachedPage (dir: number, after: string, limit: number): DirectoryPage | null {
    const { cache, clock } = this.context
    const parent = cache.get(dir)
    if (parent?.directory == null || parent.session.validUntil <= clock.now() || this.context.ownChanges.anyName(dir)) return null
    const page = parent.directory.page(after, limit)
    if (page === null) return null
    parent.used = true
    const entries: DirectoryEntry[] = []
    for (const { name, known: { ino, type } } of page.entries) {
      const child = cache.get(ino)
      const isKnown = child?.attr != null && child.session.validUntil > clock.now() && !this.context.ownChanges.inode(ino)
      if (isKnown) entries.push({ name, ino, type: fileType(child.attr!.mode), attr: child.attr! })
      else if (type !== 0) entries.push({ name, ino, type })
      else {
        // A name that was only looked up, in another partition, has no type here: the server knows it.
        parent.directory.unlist()
        return null
      }
    }
    return { entries, done: page.done, parent: parent.directory.parent }
  }

  /** Null when the cache can answer now; otherwise the page as the server gave it. */
  private fetchPage (dir: number, after: string, direct: boolean): Promise<DirectoryPage | null> {
    if (this.context.ownChanges.anyName(dir)) return this.askPage(dir, after, true)
    const listed = this.context.cache.get(dir)?.directory
    const resume = listed == null ? (after === '' ? '' : null) : listed.resumesAt(after)
    const from = direct ? after : resume ?? after
    const key = `${dir}/${direct || resume === null ? 'at' : 'on'}/${from}`
    const under = this.pageRequests.get(key)
    if (under !== undefined) return under
    const request = this.askPage(dir, from, direct || resume === null).finally(() => { this.pageRequests.delete(key) })
    this.pageRequests.set(key, request)
    return request
  }

  private async askPage (dir: number, from: string, direct: boolean): Promise<DirectoryPage | null> {
    const session = this.context.sessions.of(dir)
    await this.context.leases.settled(dir)
    const since = session.guard.begin()
    try {
      const { body } = await session.call('meta.readdir', { dir, after: from, limit: readdirPageEntries })
      for (const { attr, inline } of body.entries) {
        if (attr !== undefined) this.install(session, attr, since, { inline })
      }
      const listed = this.installPage(session, dir, from, body, since, direct)
      this.context.leases.evictIfOverfull()
      return listed ? null : body
    } finally {
      session.guard.end()
    }
  }

  /** @returns whether it is in the listing, or should be read again to get there. */
  private installPage (session: MetadataSession, dir: number, from: string, page: ReaddirResponse, since: number, direct: boolean): boolean {
    const { cache } = this.context
    // Not to be kept: another attempt reads it again, and the last one takes what comes.
    if (!this.mayKeep(session, dir, since) || !session.guard.listingUnchanged(dir, since)) return !direct
    const parent = cache.ensure(dir, session)
    if (parent.lease === 'none') parent.lease = 'shared'
    const directory = this.directoryOf(parent)
    const version = parent.attr?.version ?? 0
    directory.parent = page.parent
    if (!direct && directory.addPage(from, page.entries, page.done, version)) return true
    for (const { name, ino, type } of page.entries) directory.set(name, ino, type, version)
    return false
  }

  private keep (ino: number, symlink: string | undefined): void {
    const cached = this.context.cache.get(ino)
    if (cached?.attr != null && symlink !== undefined) cached.symlink = symlink
  }

  /** An answer that could not be kept: whoever caches above must not either. */
  private unleased (attr: InodeAttr, dir?: number, name?: string): InodeAttr {
    this.context.leases.invalidateSoon({ ino: attr.ino, what: 'content' })
    if (dir !== undefined && name !== undefined) this.context.leases.invalidateSoon({ ino: dir, what: 'entries', names: [name] })
    return attr
  }
}
