import { constants } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path/posix'
import type { Readable, Writable } from 'node:stream'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { DirectoryEntry, InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { OpenFile, OperationContext, SetAttributes, VolumeClient } from '../types.ts'
import { Dir } from './dir.ts'
import { inSyscall } from './errors.ts'
import { FileHandle, type FileData, type StreamOptions } from './file-handle.ts'
import { parseFlags, type OpenFlags } from './flags.ts'
import { isDirectory, pathText, walk, walkTo, walkToName, type PathLike } from './paths.ts'
import { Dirent, Stats, toNs } from './stats.ts'
import { lazyReadable, lazyWritable } from './streams.ts'

export const directoryPageEntries = 1000
export const removalsInFlightMax = 16
export const fileModeDefault = 0o666
export const directoryModeDefault = 0o777

export interface MountedVolumeInit {
  volume: VolumeClient
  /** Number of the volume, shown as `dev`. */
  dev: number
  /** Owner of what is created; default: this process's. */
  uid?: number
  gid?: number
  umask?: number
}

type Encoding = BufferEncoding | 'buffer' | null
interface EncodingOption { encoding?: Encoding }
type Time = number | string | Date

/**
 * A volume, with the methods and semantics of node:fs/promises. Paths are within the volume; errors
 * carry `code`, `errno`, `syscall` and `path` as Node's do. It acts with the rights of this process's
 * cluster access: file modes are kept, not enforced.
 */
export class MountedVolume {
  readonly constants = constants
  private readonly init: MountedVolumeInit
  private readonly context: OperationContext
  private nextFd = 3

  constructor (init: MountedVolumeInit) {
    this.init = init
    this.context = { uid: init.uid ?? process.getuid?.() ?? 0, gid: init.gid ?? process.getgid?.() ?? 0 }
  }

  private get volume (): VolumeClient { return this.init.volume }

  async open (path: PathLike, flags: string | number = 'r', mode = fileModeDefault): Promise<FileHandle> {
    const text = pathText(path)
    const parsed = parseFlags(flags)
    const file = await inSyscall('open', text, () => this.openFile(text, parsed, mode))
    const fd = this.nextFd++
    return new FileHandle({ volume: this.volume, file, flags: parsed, path: text, fd, dev: this.init.dev, context: this.context, onClose: () => {} })
  }

  async readFile (path: PathLike, options?: (EncodingOption & { flag?: string }) | BufferEncoding | null): Promise<any> {
    const { encoding, flag = 'r' } = typeof options === 'string' ? { encoding: options } as EncodingOption & { flag?: string } : options ?? {}
    await using handle = await this.open(path, flag)
    return await handle.readFile({ encoding: encoding === 'buffer' ? null : encoding ?? null })
  }

  async writeFile (path: PathLike, data: FileData, options?: { encoding?: BufferEncoding | null, mode?: number, flag?: string, flush?: boolean } | BufferEncoding | null): Promise<void> {
    const { encoding, mode, flag = 'w', flush = false } = typeof options === 'string' ? { encoding: options, mode: undefined } : options ?? {}
    const handle = await this.open(path, flag, mode)
    try {
      await handle.writeFile(data, { encoding: encoding ?? 'utf8' })
      if (flush) await handle.sync()
    } finally {
      await handle.close()
    }
  }

  appendFile (path: PathLike, data: FileData, options?: { encoding?: BufferEncoding | null, mode?: number } | BufferEncoding | null): Promise<void> {
    const given = typeof options === 'string' ? { encoding: options } : options ?? {}
    return this.writeFile(path, data, { ...given, flag: 'a' })
  }

  async mkdir (path: PathLike, options?: { recursive?: boolean, mode?: number } | number): Promise<string | undefined> {
    const { recursive = false, mode = directoryModeDefault } = typeof options === 'number' ? { mode: options } : options ?? {}
    const text = pathText(path)
    return inSyscall('mkdir', text, async () => {
      if (recursive) return this.mkdirs(text, mode)
      const { dir, name } = await walkToName(this.volume, text, 'EEXIST')
      await this.volume.mkdir(dir, name, this.masked(mode), this.context)
      return undefined
    })
  }

  async mkdtemp (prefix: string): Promise<string> {
    const path = prefix + randomBytes(4).toString('base64url').slice(0, 6)
    await this.mkdir(path, 0o700)
    return path
  }

  readdir (path: PathLike, options: { withFileTypes: true, recursive?: boolean }): Promise<Dirent[]>
  readdir (path: PathLike, options?: { withFileTypes?: false, recursive?: boolean, encoding?: BufferEncoding } | BufferEncoding | null): Promise<string[]>
  async readdir (path: PathLike, options?: { withFileTypes?: boolean, recursive?: boolean } | BufferEncoding | null): Promise<Array<string | Dirent>> {
    const { withFileTypes = false, recursive = false } = typeof options === 'object' && options !== null ? options : {}
    const text = pathText(path)
    const found: Array<string | Dirent> = []
    await inSyscall('scandir', text, async () => {
      const { ino } = await this.directory(text)
      await this.list(ino, '', recursive, (name, below, type) => {
        found.push(withFileTypes ? new Dirent(name, join(text, below), type) : join(below, name))
      })
    })
    return found
  }

  async opendir (path: PathLike): Promise<Dir> {
    const text = pathText(path)
    const { ino } = await inSyscall('opendir', text, () => this.directory(text))
    return new Dir(text, this.entries(ino))
  }

  async stat (path: PathLike): Promise<Stats> { return this.attributes('stat', path, true) }
  async lstat (path: PathLike): Promise<Stats> { return this.attributes('lstat', path, false) }

  /** Whether the path exists; modes are not enforced here. */
  async access (path: PathLike, _mode?: number): Promise<void> {
    const text = pathText(path)
    await inSyscall('access', text, () => walkTo(this.volume, text))
  }

  async rename (oldPath: PathLike, newPath: PathLike): Promise<void> {
    const from = pathText(oldPath)
    const to = pathText(newPath)
    await inSyscall('rename', from, async () => {
      const source = await walkToName(this.volume, from, 'EBUSY')
      const target = await walkToName(this.volume, to, 'EBUSY')
      await this.volume.rename(source.dir, source.name, target.dir, target.name, 0, this.context)
    }, to)
  }

  async link (existingPath: PathLike, newPath: PathLike): Promise<void> {
    const from = pathText(existingPath)
    const to = pathText(newPath)
    await inSyscall('link', from, async () => {
      const { ino } = await walkTo(this.volume, from, false)
      const { dir, name } = await walkToName(this.volume, to, 'EEXIST')
      await this.volume.link(ino, dir, name, this.context)
    }, to)
  }

  async symlink (target: PathLike, path: PathLike): Promise<void> {
    const text = pathText(path)
    await inSyscall('symlink', pathText(target), async () => {
      const { dir, name } = await walkToName(this.volume, text, 'EEXIST')
      await this.volume.symlink(dir, name, pathText(target), this.context)
    }, text)
  }

  async readlink (path: PathLike): Promise<string> {
    const text = pathText(path)
    return inSyscall('readlink', text, async () => this.volume.readlink((await walkTo(this.volume, text, false)).ino))
  }

  /** The path without symbolic links. */
  async realpath (path: PathLike): Promise<string> {
    const text = pathText(path)
    return inSyscall('realpath', text, async () => {
      const { attr, path } = await walk(this.volume, text, true)
      if (attr === null) throw posixError('ENOENT')
      return path
    })
  }

  async unlink (path: PathLike): Promise<void> {
    const text = pathText(path)
    await inSyscall('unlink', text, async () => {
      const { dir, name } = await walkToName(this.volume, text, 'EISDIR')
      await this.volume.unlink(dir, name, this.context)
    })
  }

  async rmdir (path: PathLike): Promise<void> {
    const text = pathText(path)
    await inSyscall('rmdir', text, async () => {
      const { dir, name } = await walkToName(this.volume, text, 'EBUSY')
      await this.volume.rmdir(dir, name, this.context)
    })
  }

  async rm (path: PathLike, options: { recursive?: boolean, force?: boolean } = {}): Promise<void> {
    const text = pathText(path)
    await inSyscall('rm', text, async () => {
      try {
        const { dir, name, attr } = await walkToName(this.volume, text, 'EBUSY')
        if (attr === null) throw posixError('ENOENT')
        if (!isDirectory(attr)) await this.volume.unlink(dir, name, this.context)
        else if (options.recursive === true) await this.removeTree(dir, name, attr.ino)
        else throw posixError('EISDIR')
      } catch (error) {
        if (options.force !== true || (error as { code?: string }).code !== 'ENOENT') throw error
      }
    })
  }

  async copyFile (from: PathLike, to: PathLike, mode = 0): Promise<void> {
    await using source = await this.open(from)
    const { mode: bits } = await source.stat()
    await using target = await this.open(to, (mode & constants.COPYFILE_EXCL) === 0 ? 'w' : 'wx', bits & 0o7777)
    await target.writeFile(source.createReadStream({ autoClose: false }))
  }

  chmod (path: PathLike, mode: number): Promise<void> { return this.set('chmod', path, true, { mode }) }
  chown (path: PathLike, uid: number, gid: number): Promise<void> { return this.set('chown', path, true, { uid, gid }) }
  lchown (path: PathLike, uid: number, gid: number): Promise<void> { return this.set('lchown', path, false, { uid, gid }) }
  utimes (path: PathLike, atime: Time, mtime: Time): Promise<void> { return this.set('utime', path, true, { atime: toNs(atime), mtime: toNs(mtime) }) }
  lutimes (path: PathLike, atime: Time, mtime: Time): Promise<void> { return this.set('lutime', path, false, { atime: toNs(atime), mtime: toNs(mtime) }) }
  truncate (path: PathLike, length = 0): Promise<void> { return this.set('truncate', path, true, { size: Math.max(0, length) }) }

  async statfs (path: PathLike = '/'): Promise<{ type: number, bsize: number, blocks: number, bfree: number, bavail: number, files: number, ffree: number }> {
    const text = pathText(path)
    return inSyscall('statfs', text, async () => {
      await walkTo(this.volume, text)
      const { blockSize, blocks, blocksFree, blocksAvailable, files, filesFree } = await this.volume.statfs()
      return { type: 0, bsize: blockSize, blocks, bfree: blocksFree, bavail: blocksAvailable, files, ffree: filesFree }
    })
  }

  createReadStream (path: PathLike, options: StreamOptions & { flags?: string } = {}): Readable {
    return lazyReadable(async () => (await this.open(path, options.flags ?? 'r')).createReadStream({ start: 0, ...options }), options)
  }

  createWriteStream (path: PathLike, options: StreamOptions & { flags?: string, mode?: number } = {}): Writable {
    return lazyWritable(async () => (await this.open(path, options.flags ?? 'w', options.mode)).createWriteStream(options))
  }

  /** Everything written is on stable storage of every in-sync replica. */
  sync (): Promise<void> { return inSyscall('sync', undefined, () => this.volume.sync()) }

  async close (): Promise<void> { await this.volume.close() }

  private masked (mode: number): number { return mode & 0o7777 & ~(this.init.umask ?? process.umask()) }

  private async openFile (path: string, flags: OpenFlags, mode: number): Promise<OpenFile> {
    const { dir, name, attr } = await walk(this.volume, path, !flags.noFollow && !(flags.create && flags.exclusive))
    if (attr === null) {
      if (!flags.create) throw posixError('ENOENT')
      if (name === '') throw posixError('EISDIR')
      const { file, created } = await this.volume.create(dir, name, { mode: this.masked(mode), exclusive: flags.exclusive }, this.context)
      if (!created && flags.truncate) await this.volume.setattr(file.ino, { size: 0 }, this.context)
      return file
    }
    return this.openExisting(attr, flags)
  }

  private async openExisting (attr: InodeAttr, flags: OpenFlags): Promise<OpenFile> {
    const type = attr.mode & constants.S_IFMT
    if (flags.create && flags.exclusive) throw posixError('EEXIST')
    if (flags.directory && type !== constants.S_IFDIR) throw posixError('ENOTDIR')
    if (type === constants.S_IFDIR) throw posixError('EISDIR')
    if (type === constants.S_IFLNK) throw posixError('ELOOP')
    if (type !== constants.S_IFREG) throw posixError('ENXIO')
    if (flags.truncate && flags.write) await this.volume.setattr(attr.ino, { size: 0 }, this.context)
    return this.volume.open(attr.ino, { write: flags.write })
  }

  private async directory (path: string): Promise<InodeAttr> {
    const attr = await walkTo(this.volume, path)
    if (!isDirectory(attr)) throw posixError('ENOTDIR')
    return attr
  }

  private async attributes (syscall: string, path: PathLike, follow: boolean): Promise<Stats> {
    const text = pathText(path)
    return inSyscall(syscall, text, async () => new Stats(await walkTo(this.volume, text, follow), this.init.dev))
  }

  private async set (syscall: string, path: PathLike, follow: boolean, changes: SetAttributes): Promise<void> {
    const text = pathText(path)
    await inSyscall(syscall, text, async () => {
      const { ino, mode } = await walkTo(this.volume, text, follow)
      if (changes.size !== undefined && (mode & constants.S_IFMT) === constants.S_IFDIR) throw posixError('EISDIR')
      await this.volume.setattr(ino, changes, this.context)
    })
  }

  /** The first directory that had to be made, as node:fs returns it. */
  private async mkdirs (path: string, mode: number): Promise<string | undefined> {
    let first: string | undefined
    const make = async (target: string): Promise<void> => {
      const walked = await walk(this.volume, target, true).catch(async (error: { code?: string }) => {
        if (error.code !== 'ENOENT' || dirname(target) === target) throw error
        await make(dirname(target))
        return walk(this.volume, target, true)
      })
      if (walked.attr !== null) {
        if (!isDirectory(walked.attr)) throw posixError(target === path ? 'EEXIST' : 'ENOTDIR')
        return
      }
      try {
        await this.volume.mkdir(walked.dir, walked.name, this.masked(mode), this.context)
        first ??= target
      } catch (error) {
        if ((error as { code?: string }).code !== 'EEXIST') throw error // somebody else was faster
      }
    }
    await make(path)
    return first
  }

  private async * entries (dir: number): AsyncGenerator<DirectoryEntry> {
    for (let after = '', done = false; !done;) {
      const page = await this.volume.readdir(dir, after, directoryPageEntries)
      yield * page.entries
      after = page.entries.at(-1)?.name ?? after
      done = page.done
    }
  }

  private async list (dir: number, below: string, recursive: boolean, visit: (name: string, below: string, type: number) => void): Promise<void> {
    for await (const { name, ino, type } of this.entries(dir)) {
      visit(name, below, type)
      if (recursive && type === constants.S_IFDIR) await this.list(ino, join(below, name), recursive, visit)
    }
  }

  private async removeTree (dir: number, name: string, ino: number): Promise<void> {
    const removing = new Set<Promise<void>>()
    for await (const entry of this.entries(ino)) {
      if (removing.size >= removalsInFlightMax) await Promise.race(removing)
      const removal = entry.type === constants.S_IFDIR
        ? this.removeTree(ino, entry.name, entry.ino)
        : this.volume.unlink(ino, entry.name, this.context)
      const tracked = removal.catch((error: { code?: string }) => { if (error.code !== 'ENOENT') throw error }).finally(() => removing.delete(tracked))
      removing.add(tracked)
    }
    await Promise.all(removing)
    await this.volume.rmdir(dir, name, this.context)
  }
}
