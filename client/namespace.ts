import type { Change } from '../fsnode/protocol/changes.ts'
import { AtollError, codeOf, posixError } from '../fsnode/protocol/errors.ts'
import type { CreateResponse, InodeAttr, RemoveResponse, RenameResponse, SetattrRequest } from '../fsnode/protocol/metadata.ts'
import type { Method, Methods } from '../fsnode/protocol/methods.ts'
import { fileType, isDirectory, isRegular, mode as modes } from '../fsnode/protocol/posix.ts'
import { createAttemptsMax } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import { CachedDirectory } from './directory-cache.ts'
import type { FileState } from './file-state.ts'
import type { CachedInode } from './inode-cache.ts'
import type { ChangedName } from './own-changes.ts'
import type { MetadataSession } from './session.ts'
import type { OperationContext, SetAttributes } from './types.ts'

const renameExchange = 2
/** Of an operation that creates, after as many tries as there may be. */
const holdStep = createAttemptsMax
/** Made once: it is asked for before every first write to a file. */
const noAttribute = posixError('ENODATA')

type CreateChange = Extract<Change, readonly ['create', ...unknown[]]>
type MutationBody<M extends Method> = Omit<Methods[M]['request'], 'partition' | 'session' | 'op'>

/** `ino`: 0 for a name that is gone, null for one of which nothing is known any more. */
interface NameChange { name: string, ino: number | null, type: number }

/** What a mutation changes. */
interface Subject { inos: readonly number[], names?: readonly ChangedName[] }

/** What changes names and inodes. The caches follow from the answers, without another message. */
export class Namespace {
  private readonly context: VolumeContext

  constructor (context: VolumeContext) {
    this.context = context
  }

  /**
   * Creates, or finds, a regular file and opens it. `file` is null when it must be opened by its number, or held when it was created and is gone.
   * `step`: which try this is, from 0.
   */
  async create (dir: number, name: string, mode: number, exclusive: boolean, by: OperationContext, step: number): Promise<{ attr: InodeAttr, created: boolean, file: FileState | null }> {
    const { held } = this.context
    const earlier = held.earlier(by)
    if (earlier?.[0] === 'create') return { attr: await this.madeEarlier(earlier), created: true, file: null }
    const made = held.create(dir, name, mode, by)
    if (made !== null) return { ...made, created: true }
    const request = { dir, name, mode: modes.regular | (mode & modes.permissions), caller: callerOf(by), exclusive, lease: 'exclusive' as const }
    return this.mutate(dir, 'meta.create', request, by, { inos: [dir], names: [[dir, name]] }, (session, body, since) => {
      const cached = this.noteCreated(session, dir, name, body, since)
      if (cached === null || !isRegular(body.attr.mode)) return { attr: body.attr, created: body.created, file: null }
      cached.lease = 'exclusive'
      cached.file?.leaseTaken(body.attr, false)
      const file = this.context.files.open(cached)
      return { attr: cached.attr ?? body.attr, created: body.created, file }
    }, step)
  }

  /** Opens what was created with these attributes and is gone: as a file without a name, which is there while it is open. */
  hold (dir: number, name: string, { ino, mode, uid, gid }: InodeAttr, by: OperationContext): Promise<{ attr: InodeAttr, file: FileState }> {
    const { cache, files, inodes, leases } = this.context
    leases.invalidateSoon({ ino: dir, what: 'entries', names: [name] })
    return this.mutate(ino, 'meta.hold', { ino, mode, caller: { uid, gid } }, by, { inos: [ino] }, (session, { attr, inline }, since) => {
      const granted = inodes.install(session, attr, since, { inline }) !== null
      const cached = cache.ensure(attr.ino, session)
      if (granted) cached.lease = 'exclusive'
      const file = files.open(cached)
      file.mayBeOrphan = true
      return { attr, file }
    }, holdStep)
  }

  /** Any inode that is not opened at once: `mode` holds its type. */
  async make (dir: number, name: string, mode: number, extra: { rdev?: number, symlink?: string }, by: OperationContext): Promise<InodeAttr> {
    const { held } = this.context
    const earlier = held.earlier(by)
    if (earlier?.[0] === 'create') return this.madeEarlier(earlier)
    const elsewhere = isDirectory(mode) && this.isDrawnElsewhere(dir)
    const made = elsewhere ? null : held.make(dir, name, mode, extra, by)
    if (made !== null) return made
    // A new directory is about to be filled.
    const lease = isDirectory(mode) && this.context.sessions.of(dir).changes !== null ? 'exclusive' as const : 'shared' as const
    const request = { dir, name, mode, caller: callerOf(by), exclusive: true, lease, ...extra, ...(elsewhere && { elsewhere }) }
    const attr = await this.mutate(dir, 'meta.create', request, by, { inos: [dir], names: [[dir, name]] }, (session, body, since) => {
      const cached = this.noteCreated(session, dir, name, body, since)
      if (cached !== null && lease === 'exclusive') cached.lease = lease
      if (cached !== null && extra.symlink !== undefined) cached.symlink = extra.symlink
      if (cached !== null && isDirectory(mode) && cached.directory === null) {
        this.context.cache.setDirectory(cached, CachedDirectory.empty(this.context.inodes.count, dir))
      }
      return body.attr
    })
    if (attr.nlink === 0) this.context.leases.invalidateSoon({ ino: dir, what: 'entries', names: [name] })
    return this.context.inodes.leased(attr)
  }

  /** What an earlier process of this client has made for the same operation; others may have removed it since. */
  private async madeEarlier ([, at, , , ino, mode, uid, gid, rdev, symlink]: CreateChange): Promise<InodeAttr> {
    try {
      return await this.context.inodes.getattr(ino)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
      const size = symlink === null ? 0 : Buffer.byteLength(symlink)
      return { ino, mode, nlink: 0, uid, gid, rdev, size, extent: 0, isInline: isRegular(mode), atime: at, mtime: at, ctime: at, version: 1 }
    }
  }

  /** Whether a new directory is one of those that the partition of its parent wants to be made in others. */
  private isDrawnElsewhere (dir: number): boolean {
    const share = this.context.sessions.of(dir).shareElsewhere
    return share > 0 && this.context.random.next() < share
  }

  async link (ino: number, dir: number, name: string, by: OperationContext): Promise<InodeAttr> {
    const { held } = this.context
    if (held.earlier(by) !== undefined) return this.context.inodes.getattr(ino)
    const linked = held.link(ino, dir, name, by)
    if (linked !== null) return linked
    const attr = await this.mutate(dir, 'meta.link', { ino, dir, name }, by, { inos: [ino, dir], names: [[dir, name]] }, (session, body, since) => {
      this.noteInode(session, ino, body.attr, since)
      this.noteNames(session, dir, body.dirAttr, since, [{ name, ino, type: fileType(body.attr.mode) }])
      return body.attr
    })
    return this.context.inodes.leased(attr)
  }

  async unlink (dir: number, name: string, by: OperationContext): Promise<void> {
    const { held } = this.context
    if (held.earlier(by) !== undefined || held.unlink(dir, name, by)) return
    const ino = await this.inoOf(dir, name)
    await this.written(ino)
    await this.mutate(dir, 'meta.unlink', { dir, name, open: this.context.files.isOpen(ino) }, by, { inos: [dir, ino], names: [[dir, name]] }, (session, body, since) => { this.noteRemoved(session, dir, name, body, since) })
  }

  async rmdir (dir: number, name: string, by: OperationContext): Promise<void> {
    const { held } = this.context
    if (held.earlier(by) !== undefined || held.rmdir(dir, name, by)) return
    const ino = await this.inoOf(dir, name)
    await this.mutate(dir, 'meta.rmdir', { dir, name }, by, { inos: [dir, ino], names: [[dir, name]] }, (session, body, since) => { this.noteRemoved(session, dir, name, body, since) })
  }

  async rename (dir: number, name: string, newDir: number, newName: string, flags: number, by: OperationContext): Promise<void> {
    const { held } = this.context
    if (held.earlier(by) !== undefined || held.rename(dir, name, newDir, newName, flags, by)) return
    const exchange = (flags & renameExchange) !== 0
    const moved = await this.inoOf(dir, name)
    // The answer to an exchange does not tell what else has moved.
    const exchanged = exchange ? (await this.context.inodes.lookup(newDir, newName)).ino : null
    const replaced = exchanged ?? await this.inoOf(newDir, newName)
    await this.written(moved)
    await this.written(replaced)
    const open = !exchange && this.context.files.isOpen(replaced)
    const subject: Subject = { inos: [dir, newDir, moved, replaced], names: [[dir, name], [newDir, newName]] }
    await this.mutate(dir, 'meta.rename', { dir, name, newDir, newName, flags, open }, by, subject, (session, body, since) => {
      this.noteRenamed(session, { dir, name, newDir, newName, exchanged }, body, since)
    })
  }

  async setattr (ino: number, changes: SetAttributes, by: OperationContext): Promise<InodeAttr> {
    const set = this.context.held.setattr(ino, changes, by)
    if (set !== null) return set
    const file = this.context.cache.get(ino)?.file
    const send = (): Promise<InodeAttr> => this.mutate(ino, 'meta.setattr', { ino, ...definedOf(changes) }, by, { inos: [ino] }, (session, { attr }, since) => {
      this.noteInode(session, ino, attr, since)
      const cached = this.context.cache.get(ino)
      if (cached !== undefined && changes.size !== undefined) this.context.inodes.resized(cached, attr)
      return attr
    })
    const work = file != null && (file.isDirty || changes.size !== undefined) ? () => file.alone(send) : send
    const attr = changes.size === undefined ? await work() : await this.context.offers.without(ino, work)
    return this.context.inodes.leased(attr)
  }

  async getxattr (ino: number, name: string): Promise<Buffer> {
    const { cache, sessions, ownChanges } = this.context
    await this.context.inodes.getattr(ino)
    const inode = ownChanges.inode(ino) ? undefined : cache.get(ino)
    if (inode?.hasNoXattrs === true) throw noAttribute
    const known = inode?.xattrs?.get(name)
    if (known !== undefined) {
      if (known === null) throw posixError('ENODATA', name)
      return known
    }
    const session = sessions.of(ino)
    const since = session.guard.begin()
    const note = (value: Buffer | null): void => {
      const cached = cache.get(ino)
      if (cached?.attr != null && this.context.inodes.mayKeep(session, ino, since) && session.guard.nameUnchanged(ino, name, since)) cached.noteXattr(name, value)
    }
    try {
      const { body } = await session.call('meta.getxattr', { ino, name })
      note(body.value)
      return body.value
    } catch (error) {
      if (codeOf(error) === 'ENODATA') note(null)
      throw error
    } finally {
      session.guard.end()
    }
  }

  async listxattr (ino: number): Promise<string[]> {
    if (!this.context.ownChanges.inode(ino) && this.context.cache.get(ino)?.hasNoXattrs === true) return []
    return (await this.context.sessions.of(ino).call('meta.listxattr', { ino })).body.names
  }

  async setxattr (ino: number, name: string, value: Buffer, flags: number, by: OperationContext): Promise<void> {
    await this.mutate(ino, 'meta.setxattr', { ino, name, value, flags }, by, { inos: [ino] }, (session, { attr }, since) => { this.noteXattrChange(session, ino, name, attr, since) })
  }

  async removexattr (ino: number, name: string, by: OperationContext): Promise<void> {
    await this.mutate(ino, 'meta.removexattr', { ino, name }, by, { inos: [ino] }, (session, { attr }, since) => { this.noteXattrChange(session, ino, name, attr, since) })
  }

  /** Sends a mutation of `subject` to where `ino` lives and hands its answer to `note` while it may still be cached. */
  private async mutate<M extends Method, T> (
    ino: number, method: M, request: MutationBody<M>, by: OperationContext, subject: Subject,
    note: (session: MetadataSession, body: Methods[M]['response'], since: number) => T, step = 0
  ): Promise<T> {
    const { sessions, operations, leases, ownChanges, held } = this.context
    const { inos, names = [] } = subject
    const session = sessions.of(ino)
    // From here on nothing of what it changes is decided here. Other partitions may take part: they must have what was.
    ownChanges.begin(inos, names)
    await held.settled()
    const since = session.guard.begin()
    try {
      const body = { ...request, op: operations.next(by, step) } as unknown as Omit<Methods[M]['request'], 'partition' | 'session'>
      const answer = await session.call(method, body, { mutation: true })
      const result = note(session, answer.body, since)
      leases.evictIfOverfull()
      for (const [dir] of names) held.changedElsewhere(dir)
      return result
    } catch (error) {
      if (codeOf(error).startsWith('ATOLL_') || (error instanceof AtollError && error.details.doubtful === true)) this.doubt(subject)
      throw error
    } finally {
      ownChanges.end(inos, names)
      session.guard.end()
    }
  }

  /** Nobody knows whether the mutation has happened: what is known of its subject, here and above, may be from before. */
  private doubt ({ inos, names = [] }: Subject): void {
    const { cache, sessions, leases } = this.context
    for (const [dir, name] of names) {
      sessions.of(dir).guard.change(dir, name)
      cache.get(dir)?.directory?.forget(name)
      leases.invalidateSoon({ ino: dir, what: 'entries', names: [name] })
    }
    for (const ino of new Set(inos)) {
      if (ino === 0) continue
      sessions.of(ino).guard.disturb(ino)
      leases.invalidateSoon({ ino, what: 'content' })
      const cached = cache.get(ino)
      if (cached !== undefined) this.forget(cached)
    }
  }

  private forget (cached: CachedInode): void {
    const { ownChanges, inodes } = this.context
    cached.xattrs = null
    cached.hasNoXattrs = false
    // With its listing goes the parent.
    cached.directory?.unlist()
    if (cached.file?.isDirty !== true) {
      cached.forgetAttr()
      return
    }
    // Writes go on with the attributes; others are not told of them before they are known again.
    ownChanges.begin([cached.ino], [])
    void inodes.fetchContent(cached.ino).catch(() => {}).finally(() => { ownChanges.end([cached.ino], []) })
  }

  private noteCreated (session: MetadataSession, dir: number, name: string, body: CreateResponse, since: number): CachedInode | null {
    const { attr, inline } = body
    const isGone = attr.nlink === 0
    this.noteNames(session, dir, body.dirAttr, since, [{ name, ino: isGone ? null : attr.ino, type: fileType(attr.mode) }])
    return isGone ? null : this.context.inodes.install(session, attr, since, { inline })
  }

  private noteRemoved (session: MetadataSession, dir: number, name: string, body: RemoveResponse, since: number): void {
    this.noteNames(session, dir, body.dirAttr, since, [{ name, ino: 0, type: 0 }])
    this.noteInode(session, body.ino, body.attr, since)
  }

  private noteRenamed (
    session: MetadataSession, what: { dir: number, name: string, newDir: number, newName: string, exchanged: number | null }, body: RenameResponse, since: number
  ): void {
    const { cache } = this.context
    const { dir, name, newDir, newName, exchanged } = what
    const type = fileType((body.attr ?? cache.get(body.ino)?.attr)?.mode ?? 0)
    // Two names of one file stay as they are (rename(2)).
    const unsure = exchanged !== null || (type !== modes.directory && (body.replaced?.ino === body.ino || (body.attr?.nlink ?? 2) > 1))
    const gone: NameChange = { name, ino: unsure ? null : 0, type: 0 }
    const come: NameChange = exchanged === null ? { name: newName, ino: body.ino, type } : { name: newName, ino: null, type: 0 }
    if (dir === newDir) {
      this.noteNames(session, dir, body.dirAttr ?? body.newDirAttr, since, name === newName ? [come] : [gone, come])
    } else {
      this.noteNames(session, dir, body.dirAttr, since, [gone])
      this.noteNames(session, newDir, body.newDirAttr, since, [come])
    }
    this.noteMoved(session, body.ino, body.attr, newDir, since)
    if (exchanged !== null) this.noteMoved(session, exchanged, undefined, dir, since)
    else if (body.replaced !== undefined && body.replaced.ino !== body.ino) this.noteInode(session, body.replaced.ino, body.replaced.attr, since)
  }

  private noteMoved (session: MetadataSession, ino: number, attr: InodeAttr | undefined, parent: number, since: number): void {
    const cached = this.context.cache.get(ino)
    const known = attr === undefined ? null : this.context.inodes.install(session, attr, since)
    if (known === null) this.outdated(session, ino)
    if (known === null && cached !== undefined) cached.attr = null
    if (cached?.directory != null) cached.directory.parent = parent
  }

  /** @param attr Absent: the inode is gone, or in others' hands. */
  private noteInode (session: MetadataSession, ino: number, attr: InodeAttr | undefined, since: number): void {
    const { cache, inodes, files, sessions, unsynced } = this.context
    if (attr !== undefined && inodes.install(session, attr, since) !== null) return
    if (attr === undefined) sessions.of(ino).guard.disturb(ino)
    else this.outdated(session, ino)
    const cached = cache.get(ino)
    if (attr === undefined && !files.isOpen(ino)) unsynced.forget(ino)
    if (cached === undefined) return
    if (attr === undefined && cached.recall === null) cache.drop(cached)
    else if (attr === undefined) cached.attr = null
    // The lease is being given up, or was and is held again: what is known may be from before.
    else if (cached.attr !== null && (cached.session !== session || attr.version > cached.attr.version)) cached.attr = null
  }

  /** The answer is not of the inode's own partition, whose answers on their way may be older: none of them is kept. */
  private outdated (session: MetadataSession, ino: number): void {
    const owner = this.context.sessions.of(ino)
    if (owner !== session) owner.guard.disturb(ino)
  }

  private noteNames (session: MetadataSession, dir: number, dirAttr: InodeAttr | undefined, since: number, changes: NameChange[]): void {
    const { cache, inodes, sessions } = this.context
    const owner = sessions.of(dir)
    // Without the directory's version, only an own change of the same name could have come later.
    const isLast = owner === session && changes.every(({ name }) => owner.guard.nameUnchanged(dir, name, since))
    for (const { name } of changes) owner.guard.change(dir, name)
    this.outdated(session, dir)
    const cached = dirAttr !== undefined && owner === session ? inodes.install(session, dirAttr, since) : null
    if (cached !== null) {
      const directory = inodes.directoryOf(cached)
      for (const { name, ino, type } of changes) {
        if (ino === null) directory.forget(name)
        else directory.set(name, ino, type, dirAttr!.version)
      }
      return
    }
    const known = cache.get(dir)
    if (known === undefined) return
    known.attr = null
    const keep = isLast && dirAttr === undefined && inodes.mayKeep(session, dir, since)
    for (const { name, ino, type } of changes) {
      if (keep && ino !== null && known.directory !== null) known.directory.set(name, ino, type, known.directory.find(name)?.version ?? 0)
      else known.directory?.forget(name)
    }
  }

  private noteXattrChange (session: MetadataSession, ino: number, name: string, attr: InodeAttr, since: number): void {
    session.guard.change(ino, name)
    const cached = this.context.cache.get(ino)
    if (cached !== undefined) cached.hasNoXattrs = false
    cached?.xattrs?.delete(name)
    this.noteInode(session, ino, attr, since)
  }

  /** What is still on its way to a file that is closed here gets there first. */
  private async written (ino: number): Promise<void> {
    const file = this.context.cache.get(ino)?.file
    if (file != null && file.handles === 0 && file.isDirty) await file.flush().catch(() => {})
  }

  /** What the name stands for, 0 for nothing: an inode that is open here must outlive the name, and one that is cached is about to change. */
  private async inoOf (dir: number, name: string): Promise<number> {
    try {
      return (await this.context.inodes.lookup(dir, name)).ino
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return 0
      throw error
    }
  }
}

function callerOf ({ uid, gid }: OperationContext): { uid: number, gid: number } { return { uid, gid } }

function definedOf (changes: SetAttributes): Omit<SetattrRequest, 'partition' | 'session' | 'op' | 'ino'> {
  const defined: Record<string, unknown> = {}
  for (const key of ['mode', 'uid', 'gid', 'size', 'atime', 'mtime'] as const) if (changes[key] !== undefined) defined[key] = changes[key]
  return defined
}
