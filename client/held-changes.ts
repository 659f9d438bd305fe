import { decodeChange, type Change } from '../fsnode/protocol/changes.ts'
import { codeOf, posixError } from '../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../fsnode/protocol/metadata.ts'
import { afterChangeOfOwner, fileType, inherit, isDevice, isDirectory, linksMax, mode as modes, nameFault, subdirectoriesMax, symlinkBytesMax } from '../fsnode/protocol/posix.ts'
import { metadataIndexOf, rootInode } from '../partitioning/routing.ts'
import { changesBeforeHolding, contendedDirectoriesMax, contendedDirectoryMs, heldListingNamesMax, readdirPageEntries } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import { CachedDirectory } from './directory-cache.ts'
import type { FileState } from './file-state.ts'
import type { CachedInode } from './inode-cache.ts'
import { InodeNumbers } from './inode-numbers.ts'
import { unlessStuck } from './stuck.ts'
import type { OperationContext, RecoveredChange, SetAttributes } from './types.ts'

const renameNoReplace = 1

/** A directory that this client holds exclusively and whose names it knows. */
interface HeldDirectory { cached: CachedInode, attr: InodeAttr, names: CachedDirectory }

/**
 * Changes of names and attributes that this client decides by itself, as it holds everything concerned exclusively and
 * knows it: nobody else can see the difference. They happen here at once and go to the partition behind
 * (`ChangeStream`); what takes room only while there is plenty of it, as nobody could be told that there is none. Every
 * method gives null, or false, when the partition has to be asked instead.
 */
export class HeldChanges {
  private readonly context: VolumeContext
  private readonly numbers: InodeNumbers
  /** Changes in a row of a directory that is not held. */
  private readonly changed = new Map<number, number>()
  /** Directories that somebody else wanted, and until when they are left alone. */
  private readonly contended = new Map<number, number>()
  private readonly taking = new Set<number>()
  /** Operations that an earlier process has told to have happened; null: they were given up with the session, and may have. */
  private readonly happened = new Map<number, Change | null>()

  constructor (context: VolumeContext) {
    this.context = context
    this.numbers = new InodeNumbers(context)
  }

  /** What an earlier process has told to have happened: whoever asks for it again is told so. */
  remember (changes: readonly RecoveredChange[]): void {
    for (const { operationId, bytes } of changes) if (operationId !== undefined && !this.happened.has(operationId)) this.happened.set(operationId, decodeChange(bytes))
  }

  /** Its changes were given up. */
  earlierFailed (operationId: number): void { if (this.happened.has(operationId)) this.happened.set(operationId, null) }

  /** What an earlier process has done for this very operation. @throws AtollError EIO when nobody knows whether it was done. */
  earlier ({ operationId }: OperationContext): Change | undefined {
    const change = operationId === undefined || this.happened.size === 0 ? undefined : this.happened.get(operationId)
    if (change === null) throw posixError('EIO', 'the session ended before the outcome was known')
    return change
  }

  create (dir: number, name: string, mode: number, by: OperationContext): { attr: InodeAttr, file: FileState } | null {
    const made = this.make(dir, name, modes.regular | (mode & modes.permissions), {}, by)
    if (made === null) return null
    const cached = this.context.cache.get(made.ino)!
    return { attr: made, file: this.context.files.open(cached) }
  }

  /** Anything new in a directory; `mode` holds its type. */
  make (dir: number, name: string, mode: number, extra: { rdev?: number, symlink?: string }, by: OperationContext): InodeAttr | null {
    const held = this.directory(dir)
    if (held === null || this.inoOf(held, name) !== 0 || nameFault(name) !== null || !this.context.room.isPlenty) return null
    const type = fileType(mode)
    const makesDirectory = isDirectory(mode)
    const { symlink = null } = extra
    // Where a directory of the root lives is the partition's to say.
    if (makesDirectory && (dir === rootInode || held.attr.nlink >= subdirectoriesMax)) return null
    if (symlink !== null && (symlink === '' || Buffer.byteLength(symlink) > symlinkBytesMax)) return null
    const ino = this.numbers.take(held.cached.session)
    if (ino === null) return null
    const { gid, mode: given } = inherit(held.attr, { uid: by.uid, gid: by.gid, mode })
    const rdev = isDevice(mode) ? extra.rdev ?? 0 : 0
    const now = this.context.clock.wallNs()
    if (!this.send(held.cached, ['create', now, dir, name, ino, given, by.uid, gid, rdev, symlink], by)) return null
    const attr: InodeAttr = {
      ino, mode: given, nlink: makesDirectory ? 2 : 1, uid: by.uid, gid, rdev, size: symlink === null ? 0 : Buffer.byteLength(symlink), extent: 0,
      isInline: type === modes.regular, atime: now, mtime: now, ctime: now, version: 1
    }
    this.nameChanged(held, name, ino, type, now, makesDirectory ? 1 : 0)
    const { cache, inodes, leases } = this.context
    const cached = cache.ensure(ino, held.cached.session)
    cached.lease = 'exclusive'
    cached.attr = attr
    cached.symlink = symlink
    cached.hasNoXattrs = true
    if (makesDirectory) cache.setDirectory(cached, CachedDirectory.empty(inodes.count, dir))
    leases.evictIfOverfull()
    return attr
  }

  unlink (dir: number, name: string, by: OperationContext): boolean {
    const held = this.directory(dir)
    const child = held === null ? null : this.child(held, name)
    if (child === null || isDirectory(child.attr!.mode) || child.file !== null) return false
    const now = this.context.clock.wallNs()
    const change: Change = ['unlink', now, dir, name, child.ino]
    if (!this.send(held!.cached, change, by)) return false
    this.nameChanged(held!, name, 0, 0, now, 0)
    this.nameLost(child, now, change)
    return true
  }

  rmdir (dir: number, name: string, by: OperationContext): boolean {
    const held = this.directory(dir)
    const child = held === null ? null : this.child(held, name)
    if (child === null || !isDirectory(child.attr!.mode) || child.directory?.isComplete !== true || !child.directory.isEmpty) return false
    const now = this.context.clock.wallNs()
    if (!this.send(held!.cached, ['rmdir', now, dir, name, child.ino], by)) return false
    this.nameChanged(held!, name, 0, 0, now, -1)
    this.gone(child)
    return true
  }

  /** A file to a name in a directory of the same partition; a directory only within its own. */
  rename (dir: number, name: string, newDir: number, newName: string, flags: number, by: OperationContext): boolean {
    if ((flags & ~renameNoReplace) !== 0 || nameFault(newName) !== null) return false
    const from = this.directory(dir)
    const to = dir === newDir ? from : this.directory(newDir)
    if (from === null || to === null || from.cached.session !== to.cached.session) return false
    const child = this.child(from, name)
    const replaced = this.inoOf(to, newName)
    if (child === null || replaced === null || replaced === child.ino) return false
    if (isDirectory(child.attr!.mode) && dir !== newDir) return false
    if (replaced !== 0 && (flags & renameNoReplace) !== 0) return false
    const target = replaced === 0 ? null : this.child(to, newName)
    // Who replaces a file by a new one wants either, whatever happens: the new one's content goes first.
    if (target !== null && child.file?.isDirty === true) return false
    if (replaced !== 0 && (target === null || isDirectory(child.attr!.mode) || isDirectory(target.attr!.mode) || target.file !== null)) return false
    const now = this.context.clock.wallNs()
    const change: Change = ['rename', now, dir, name, newDir, newName, child.ino, replaced]
    if (!this.send(from.cached, change, by)) return false
    const type = fileType(child.attr!.mode)
    this.nameChanged(from, name, 0, 0, now, 0)
    this.nameChanged(dir === newDir ? { ...from, attr: from.cached.attr! } : to, newName, child.ino, type, now, 0)
    this.note(child, { ...child.attr!, ctime: now, version: child.attr!.version + 1 })
    if (target !== null) this.nameLost(target, now, change)
    return true
  }

  link (ino: number, dir: number, name: string, by: OperationContext): InodeAttr | null {
    const held = this.directory(dir)
    const cached = this.inode(ino)
    if (held === null || cached === null || cached.session !== held.cached.session || nameFault(name) !== null || !this.context.room.isPlenty) return null
    const attr = cached.attr!
    if (this.inoOf(held, name) !== 0 || isDirectory(attr.mode) || attr.nlink === 0 || attr.nlink >= linksMax) return null
    const now = this.context.clock.wallNs()
    if (!this.send(held.cached, ['link', now, dir, name, ino], by)) return null
    this.nameChanged(held, name, ino, fileType(attr.mode), now, 0)
    this.note(cached, { ...attr, nlink: attr.nlink + 1, ctime: now, version: attr.version + 1 })
    return cached.attr
  }

  setattr (ino: number, changes: SetAttributes, by: OperationContext): InodeAttr | null {
    const cached = this.inode(ino)
    if (cached === null || changes.size !== undefined) return null
    const now = this.context.clock.wallNs()
    const attr = cached.attr!
    const { mode, uid, gid } = changes
    const atime = changes.atime === 'now' ? now : changes.atime
    const mtime = changes.mtime === 'now' ? now : changes.mtime
    if (!this.send(cached, ['setattr', now, ino, mode ?? null, uid ?? null, gid ?? null, atime ?? null, mtime ?? null], by)) return null
    if (mtime !== undefined) cached.file?.setModified(mtime)
    const owned = uid === undefined && gid === undefined ? attr.mode : afterChangeOfOwner(attr.mode)
    this.note(cached, {
      ...attr,
      uid: uid ?? attr.uid,
      gid: gid ?? attr.gid,
      mode: mode === undefined ? owned : fileType(attr.mode) | (mode & modes.permissions),
      atime: atime ?? attr.atime,
      mtime: mtime ?? attr.mtime,
      ctime: now,
      version: attr.version + 1
    })
    return cached.attr
  }

  /** Chunks of an open file may be written below `extent` as soon as the partition has this. */
  extent (cached: CachedInode, extent: number): InodeAttr | null {
    if (this.inode(cached.ino) !== cached) return null
    const attr = cached.attr!
    if (!this.send(cached, ['extent', this.context.clock.wallNs(), cached.ino, extent])) return null
    this.note(cached, { ...attr, extent: Math.max(attr.extent, extent), version: attr.version + 1 })
    return cached.attr
  }

  /** What was written to an open file. `data` null: it is in chunks, which have it. Gives the record as it is now. */
  commit (cached: CachedInode, size: number, mtime: bigint, data: Buffer | null): InodeAttr | null {
    if (this.inode(cached.ino) !== cached || (data !== null && data.length > 0 && !this.context.room.isPlenty)) return null
    const attr = cached.attr!
    const now = this.context.clock.wallNs()
    if (!this.send(cached, ['commit', now, cached.ino, size, mtime, data])) return null
    return { ...attr, size: data === null ? Math.max(attr.size, size) : size, mtime, ctime: now, isInline: data !== null, version: attr.version + 1 }
  }

  /** The partition has changed a name for this client: a directory that goes on being changed is worth being held. */
  changedElsewhere (dir: number): void {
    const { cache, clock } = this.context
    const cached = cache.get(dir)
    if (cached === undefined || cached.lease === 'exclusive' || cached.recall !== null || cached.session.changes === null || this.taking.has(dir)) return
    if ((this.contended.get(dir) ?? 0) > clock.now()) return
    const times = (this.changed.get(dir) ?? 0) + 1
    this.changed.delete(dir)
    if (times < changesBeforeHolding) this.changed.set(dir, times)
    else void this.hold(cached)
    if (this.changed.size > contendedDirectoriesMax) this.changed.delete(this.changed.keys().next().value!)
  }

  /** Somebody else wants the directory. */
  wanted (dir: number): void {
    this.contended.delete(dir)
    this.contended.set(dir, this.context.clock.now() + contendedDirectoryMs)
    if (this.contended.size > contendedDirectoriesMax) this.contended.delete(this.contended.keys().next().value!)
  }

  /** Every change up to now is with its partition: of an inode's, or with all. See `unlessStuck`. */
  async settled (ino?: number): Promise<void> {
    const { clock, sessions, journal } = this.context
    if (journal?.changes === undefined) return
    const streams = (ino === undefined ? sessions.opened() : [sessions.of(ino)]).map(({ changes }) => changes!)
    const drained = streams.map((stream) => stream.drained()).filter((wait) => wait !== null)
    if (drained.length === 0) return
    await unlessStuck(clock, Promise.all(drained), () => streams.reduce((sum, { answered }) => sum + answered, 0))
  }

  private async hold (cached: CachedInode): Promise<void> {
    const { leases, inodes, log } = this.context
    const { ino } = cached
    this.taking.add(ino)
    try {
      await leases.exclusive(cached)
      for (let names = 0, after = ''; names < heldListingNamesMax && this.directory(ino)?.names.isComplete === false;) {
        const { entries, done } = await inodes.readdir(ino, after, readdirPageEntries)
        if (done || entries.length === 0) break
        names += entries.length
        after = entries.at(-1)!.name
      }
    } catch (error) {
      log.debug('a directory is not held', { ino, code: codeOf(error) })
    } finally {
      this.taking.delete(ino)
    }
  }

  private directory (ino: number): HeldDirectory | null {
    const cached = this.inode(ino)
    return cached === null || cached.directory === null ? null : { cached, attr: cached.attr!, names: cached.directory }
  }

  /** The inode if it is this client's alone, now, and nothing that was asked of its partition is on the way. */
  private inode (ino: number): CachedInode | null {
    const { cache, leases, ownChanges } = this.context
    const cached = cache.get(ino)
    if (cached === undefined || ownChanges.inode(ino) || cached.lease !== 'exclusive' || cached.attr === null || cached.recall !== null || cached.asked > 0) return null
    const { session } = cached
    return session.changes !== null && session.isValid && session.changes.hasRoom && !leases.isReleasing(ino) ? cached : null
  }

  /** What the name stands for: 0, nothing; null, not known. */
  private inoOf ({ names }: HeldDirectory, name: string): number | null {
    return names.find(name)?.ino ?? (names.isComplete ? 0 : null)
  }

  private child (held: HeldDirectory, name: string): CachedInode | null {
    const ino = this.inoOf(held, name)
    const cached = ino === null || ino === 0 ? null : this.inode(ino)
    return cached?.session === held.cached.session && metadataIndexOf(cached.ino) === metadataIndexOf(held.cached.ino) ? cached : null
  }

  private send ({ session }: CachedInode, change: Change, by?: OperationContext): boolean {
    return session.changes!.add(change, by?.operationId)
  }

  private nameChanged ({ cached, attr, names }: HeldDirectory, name: string, ino: number, type: number, now: bigint, links: number): void {
    const version = attr.version + 1
    cached.session.guard.change(cached.ino, name)
    names.set(name, ino, type, version)
    cached.used = true
    this.note(cached, { ...attr, nlink: attr.nlink + links, mtime: now, ctime: now, version })
  }

  private nameLost (cached: CachedInode, now: bigint, change: Change): void {
    const attr = cached.attr!
    if (attr.nlink > 1) {
      this.note(cached, { ...attr, nlink: attr.nlink - 1, ctime: now, version: attr.version + 1 })
      return
    }
    this.context.unsynced.removing(change, cached.ino)
    this.gone(cached)
  }

  /** Answers on their way may still know it. */
  private gone (cached: CachedInode): void {
    cached.session.guard.disturb(cached.ino)
    this.context.cache.drop(cached)
  }

  private note (cached: CachedInode, attr: InodeAttr): void {
    cached.attr = cached.file === null ? attr : cached.file.localAttr(attr)
  }
}
