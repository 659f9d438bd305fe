import type { Invalidation, Offer, OpenFile, OperationContext, SetAttributes, StatFs, VolumeClient } from '../../client/types.ts'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { DirectoryEntry, InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'

const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const S_IFREG = 0o100000
const S_IFLNK = 0o120000
const RENAME_NOREPLACE = 1
const RENAME_EXCHANGE = 2
const XATTR_CREATE = 1
const XATTR_REPLACE = 2
/** Content grows by doubling from here. */
const firstBytes = 4096
/** Outcomes of operations that are remembered, oldest dropped first. */
const outcomesMax = 100_000

interface Inode {
  attr: InodeAttr
  content: Buffer
  target: string
  /** Of a directory. */
  names: Map<string, number>
  parent: number
  xattrs: Map<string, Buffer>
}

/**
 * A whole volume in this process's memory, written for plainness: the same rules as a real one, with
 * nothing cached and nothing distributed. An unlinked inode stays until it is forgotten.
 */
export class MemoryVolume implements VolumeClient {
  readonly root = 1
  readonly chunkSizeBytes = 4 << 20
  onInvalidate: ((invalidation: Invalidation) => Promise<void>) | null = null
  onOffer: ((offer: Offer) => Promise<boolean>) | null = null
  /** Inodes in use, orphans included. */
  readonly inodes = new Map<number, Inode>()
  private readonly clock: Clock
  private readonly outcomes = new Map<number, Promise<unknown>>()
  private nextIno = 2

  constructor (components: { clock: Clock }) {
    this.clock = components.clock
    this.inodes.set(this.root, this.newInode(this.root, S_IFDIR | 0o755, { uid: 0, gid: 0 }, this.root))
  }

  async lookup (dir: number, name: string): Promise<InodeAttr> { return this.attrOf(this.child(dir, name)) }

  async getattr (ino: number): Promise<InodeAttr> { return this.attrOf(ino) }

  setattr (ino: number, changes: SetAttributes, context: OperationContext): Promise<InodeAttr> {
    return this.once(context, () => {
      const inode = this.inode(ino)
      const now = this.clock.wallNs()
      const { mode, size, atime, mtime } = changes
      if (mode !== undefined) inode.attr.mode = (inode.attr.mode & S_IFMT) | (mode & 0o7777)
      if (changes.uid !== undefined) inode.attr.uid = changes.uid
      if (changes.gid !== undefined) inode.attr.gid = changes.gid
      if (size !== undefined) {
        if ((inode.attr.mode & S_IFMT) !== S_IFREG) throw posixError('EINVAL')
        this.resize(inode, size)
        inode.attr.mtime = now
      }
      if (atime !== undefined) inode.attr.atime = atime === 'now' ? now : atime
      if (mtime !== undefined) inode.attr.mtime = mtime === 'now' ? now : mtime
      this.changed(inode)
      return this.attrOf(ino)
    })
  }

  async readlink (ino: number): Promise<string> {
    const inode = this.inode(ino)
    if ((inode.attr.mode & S_IFMT) !== S_IFLNK) throw posixError('EINVAL')
    return inode.target
  }

  async readdir (dir: number, after: string, limit: number): Promise<{ entries: DirectoryEntry[], done: boolean, parent: number }> {
    const inode = this.directory(dir)
    const names = [...inode.names.keys()].filter((name) => name > after).sort()
    const entries = names.slice(0, limit).map((name) => {
      const ino = inode.names.get(name)!
      const attr = this.attrOf(ino)
      const isDirectory = (attr.mode & S_IFMT) === S_IFDIR
      // As in a real volume, a directory's attributes may live in another partition.
      return { name, ino, type: attr.mode & S_IFMT, ...(isDirectory ? {} : { attr }) }
    })
    return { entries, done: entries.length === names.length, parent: inode.parent }
  }

  async open (ino: number, _options: { write: boolean }): Promise<OpenFile> {
    if ((this.inode(ino).attr.mode & S_IFMT) === S_IFDIR) throw posixError('EISDIR')
    return new MemoryFile(this, ino)
  }

  create (dir: number, name: string, { mode, exclusive }: { mode: number, exclusive: boolean }, context: OperationContext): ReturnType<VolumeClient['create']> {
    return this.once(context, () => {
      const existing = this.directory(dir).names.get(name)
      if (existing !== undefined && exclusive) throw posixError('EEXIST')
      const ino = existing ?? this.make(dir, name, S_IFREG | (mode & 0o7777), context).attr.ino
      if ((this.inode(ino).attr.mode & S_IFMT) !== S_IFREG) throw posixError('EEXIST')
      return { attr: this.attrOf(ino), file: new MemoryFile(this, ino), created: existing === undefined }
    })
  }

  mknod (dir: number, name: string, mode: number, rdev: number, context: OperationContext): Promise<InodeAttr> {
    return this.once(context, () => {
      const inode = this.make(dir, name, (mode & S_IFMT) === 0 ? mode | S_IFREG : mode, context)
      inode.attr.rdev = rdev
      return { ...inode.attr }
    })
  }

  mkdir (dir: number, name: string, mode: number, context: OperationContext): Promise<InodeAttr> {
    return this.once(context, () => {
      const { attr } = this.make(dir, name, S_IFDIR | (mode & 0o7777), context)
      this.inode(dir).attr.nlink++
      return { ...attr }
    })
  }

  symlink (dir: number, name: string, target: string, context: OperationContext): Promise<InodeAttr> {
    return this.once(context, () => {
      const inode = this.make(dir, name, S_IFLNK | 0o777, context)
      inode.target = target
      inode.attr.size = Buffer.byteLength(target)
      return { ...inode.attr }
    })
  }

  link (ino: number, dir: number, name: string, context: OperationContext): Promise<InodeAttr> {
    return this.once(context, () => {
      const inode = this.inode(ino)
      if ((inode.attr.mode & S_IFMT) === S_IFDIR) throw posixError('EPERM')
      if (this.directory(dir).names.has(name)) throw posixError('EEXIST')
      this.directory(dir).names.set(name, ino)
      inode.attr.nlink++
      this.changed(inode)
      this.namesChanged(dir)
      return this.attrOf(ino)
    })
  }

  unlink (dir: number, name: string, context: OperationContext): Promise<void> {
    return this.once(context, () => {
      const inode = this.inode(this.child(dir, name))
      if ((inode.attr.mode & S_IFMT) === S_IFDIR) throw posixError('EISDIR')
      this.drop(dir, name, inode)
    })
  }

  rmdir (dir: number, name: string, context: OperationContext): Promise<void> {
    return this.once(context, () => {
      const inode = this.inode(this.child(dir, name))
      if ((inode.attr.mode & S_IFMT) !== S_IFDIR) throw posixError('ENOTDIR')
      if (inode.names.size > 0) throw posixError('ENOTEMPTY')
      this.drop(dir, name, inode)
    })
  }

  rename (dir: number, name: string, newDir: number, newName: string, flags: number, context: OperationContext): Promise<void> {
    return this.once(context, () => {
      const source = this.inode(this.child(dir, name))
      const targetIno = this.directory(newDir).names.get(newName)
      const target = targetIno === undefined ? null : this.inode(targetIno)
      this.checkRename(source, target, newDir, flags)
      if (source === target) return
      if (flags === RENAME_EXCHANGE) this.place(dir, name, target!, newDir)
      else {
        if (target !== null) this.drop(newDir, newName, target)
        this.directory(dir).names.delete(name)
      }
      this.place(newDir, newName, source, dir)
      this.changed(source)
      this.namesChanged(dir)
      this.namesChanged(newDir)
    })
  }

  async getxattr (ino: number, name: string): Promise<Buffer> {
    const value = this.inode(ino).xattrs.get(name)
    if (value === undefined) throw posixError('ENODATA')
    return value
  }

  setxattr (ino: number, name: string, value: Buffer, flags: number, context: OperationContext): Promise<void> {
    return this.once(context, () => {
      const inode = this.inode(ino)
      if (flags === XATTR_CREATE && inode.xattrs.has(name)) throw posixError('EEXIST')
      if (flags === XATTR_REPLACE && !inode.xattrs.has(name)) throw posixError('ENODATA')
      inode.xattrs.set(name, value)
      this.changed(inode)
    })
  }

  async listxattr (ino: number): Promise<string[]> { return [...this.inode(ino).xattrs.keys()] }

  removexattr (ino: number, name: string, context: OperationContext): Promise<void> {
    return this.once(context, () => {
      const inode = this.inode(ino)
      if (!inode.xattrs.delete(name)) throw posixError('ENODATA')
      this.changed(inode)
    })
  }

  forget (ino: number): void {
    if (this.inodes.get(ino)?.attr.nlink === 0) this.inodes.delete(ino)
  }

  async syncNames (): Promise<void> {}

  async statfs (): Promise<StatFs> {
    return { blocks: 1 << 20, blocksFree: 1 << 19, blocksAvailable: 1 << 19, files: 1 << 20, filesFree: (1 << 20) - this.inodes.size, blockSize: 4096, nameLengthMax: 255 }
  }

  async sync (): Promise<void> {}
  async close (): Promise<void> {}

  /** Bytes of a file; for MemoryFile and its like. */
  readAt (ino: number, offset: number, length: number): Buffer {
    const { content, attr: { size } } = this.inode(ino)
    return Buffer.from(content.subarray(Math.min(offset, size), Math.min(offset + length, size)))
  }

  writeAt (ino: number, offset: number, data: readonly Buffer[]): void {
    const inode = this.inode(ino)
    let at = offset
    for (const piece of data) {
      if (at + piece.length > inode.attr.size) this.resize(inode, at + piece.length)
      piece.copy(inode.content, at)
      at += piece.length
    }
    inode.attr.mtime = this.clock.wallNs()
    this.changed(inode)
  }

  private newInode (ino: number, mode: number, { uid, gid }: { uid: number, gid: number }, parent: number): Inode {
    const now = this.clock.wallNs()
    const nlink = (mode & S_IFMT) === S_IFDIR ? 2 : 1
    const attr = { ino, mode, nlink, uid, gid, rdev: 0, size: 0, extent: 0, isInline: false, atime: now, mtime: now, ctime: now, version: 1 }
    return { attr, content: Buffer.alloc(0), target: '', names: new Map(), parent, xattrs: new Map() }
  }

  private make (dir: number, name: string, mode: number, context: OperationContext): Inode {
    const directory = this.directory(dir)
    if (directory.names.has(name)) throw posixError('EEXIST')
    const inode = this.newInode(this.nextIno++, mode, context, dir)
    this.inodes.set(inode.attr.ino, inode)
    directory.names.set(name, inode.attr.ino)
    this.namesChanged(dir)
    return inode
  }

  private drop (dir: number, name: string, inode: Inode): void {
    this.directory(dir).names.delete(name)
    if ((inode.attr.mode & S_IFMT) === S_IFDIR) {
      this.inode(dir).attr.nlink--
      inode.attr.nlink = 0
    } else {
      inode.attr.nlink--
    }
    this.changed(inode)
    this.namesChanged(dir)
  }

  private place (dir: number, name: string, inode: Inode, from: number): void {
    this.directory(dir).names.set(name, inode.attr.ino)
    if ((inode.attr.mode & S_IFMT) !== S_IFDIR || dir === from) return
    inode.parent = dir
    this.inode(from).attr.nlink--
    this.inode(dir).attr.nlink++
  }

  private checkRename (source: Inode, target: Inode | null, newDir: number, flags: number): void {
    if (flags === RENAME_NOREPLACE && target !== null) throw posixError('EEXIST')
    if (flags === RENAME_EXCHANGE && target === null) throw posixError('ENOENT')
    const isDirectory = (source.attr.mode & S_IFMT) === S_IFDIR
    if (isDirectory) {
      for (let at = newDir; at !== this.root; at = this.inode(at).parent) if (at === source.attr.ino) throw posixError('EINVAL')
    }
    if (target === null || flags === RENAME_EXCHANGE || source === target) return
    const overDirectory = (target.attr.mode & S_IFMT) === S_IFDIR
    if (isDirectory && !overDirectory) throw posixError('ENOTDIR')
    if (!isDirectory && overDirectory) throw posixError('EISDIR')
    if (target.names.size > 0) throw posixError('ENOTEMPTY')
  }

  /** The first outcome of an operation is its only one. */
  private once<T> ({ operationId }: OperationContext, perform: () => T): Promise<T> {
    const known = operationId === undefined ? undefined : this.outcomes.get(operationId)
    if (known !== undefined) return known as Promise<T>
    const outcome = new Promise<T>((resolve) => { resolve(perform()) })
    outcome.catch(() => {})
    if (operationId !== undefined) {
      this.outcomes.set(operationId, outcome)
      if (this.outcomes.size > outcomesMax) this.outcomes.delete(this.outcomes.keys().next().value!)
    }
    return outcome
  }

  private resize (inode: Inode, size: number): void {
    if (size > inode.content.length) {
      const grown = Buffer.alloc(Math.max(size, inode.content.length * 2, firstBytes))
      inode.content.copy(grown, 0, 0, inode.attr.size)
      inode.content = grown
    }
    if (size < inode.attr.size) inode.content.fill(0, size, inode.attr.size)
    inode.attr.size = size
  }

  private changed (inode: Inode): void {
    inode.attr.ctime = this.clock.wallNs()
    inode.attr.version++
  }

  private namesChanged (dir: number): void {
    const inode = this.inode(dir)
    inode.attr.mtime = this.clock.wallNs()
    this.changed(inode)
  }

  private inode (ino: number): Inode {
    const inode = this.inodes.get(ino)
    if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
    return inode
  }

  private attrOf (ino: number): InodeAttr { return { ...this.inode(ino).attr } }

  private directory (ino: number): Inode {
    const inode = this.inode(ino)
    if ((inode.attr.mode & S_IFMT) !== S_IFDIR) throw posixError('ENOTDIR')
    return inode
  }

  private child (dir: number, name: string): number {
    const ino = this.directory(dir).names.get(name)
    if (ino === undefined) throw posixError('ENOENT', name)
    return ino
  }
}

class MemoryFile implements OpenFile {
  readonly ino: number
  private readonly volume: MemoryVolume

  constructor (volume: MemoryVolume, ino: number) {
    this.volume = volume
    this.ino = ino
  }

  async read (offset: number, length: number): Promise<Buffer[]> {
    const data = this.volume.readAt(this.ino, offset, length)
    return data.length === 0 ? [] : [data]
  }

  async write (offset: number, data: readonly Buffer[]): Promise<void> { this.volume.writeAt(this.ino, offset, data) }
  async flush (): Promise<void> {}
  async sync (): Promise<void> {}
  async release (): Promise<void> {}
}
