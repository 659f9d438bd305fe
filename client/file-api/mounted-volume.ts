import { randomBytes } from 'node:crypto'
import { constants, createReadStream, createWriteStream, type CopyOptions, type PathLike, type ReadStream, type RmOptions, type WriteStream } from 'node:fs'
import type { DisposableTempDir } from 'node:fs/promises'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { OperationContext, SetAttributes, VolumeClient } from '../types.ts'
import { boolean, checkAborted, encoded, integer, invalidValue, modeBits, optionsOf, owner, pathText, type CommonOptions } from './arguments.ts'
import { FileCopy } from './copy-file.ts'
import { copyModeMax, TreeCopy } from './copy-tree.ts'
import { Dir, type DirOptions } from './dir.ts'
import { Directories } from './directories.ts'
import { hasCode, inSyscall, treeError } from './errors.ts'
import { VolumeFileHandle, writable } from './file-handle.ts'
import { FileOpener } from './file-opener.ts'
import { parseFlags } from './flags.ts'
import { directoryAt, list, type ListingOptions } from './listing.ts'
import { isDirectory, pathBytesMax, typeOf, walk, walkTo, walkToNewName } from './paths.ts'
import { TreeRemoval } from './remove-tree.ts'
import { statFsOf, statsOf, timeNs, type BigintOption } from './stats.ts'
import { readStreamBytes, streamOperations, writeStreamBytes } from './streams.ts'
import { Turns } from './turns.ts'
import type { FileData, MountedVolume, ReadStreamOptions, WriteStreamOptions } from './types.ts'

export const fileModeDefault = 0o666
export const directoryModeDefault = 0o777
export const temporaryNameAttemptsMax = 16

const permissionBits = 0o7777
const executeBits = 0o111
const symlinkTypes: unknown[] = ['dir', 'file', 'junction', null, undefined]
const temporaryLetters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

export interface MountedVolumeInit {
  /** Number of the volume, shown as `dev`. */
  dev: number
  /** Owner of what is created; default: this process's. */
  uid?: number
  gid?: number
  /** Default: this process's, at the time of each call. */
  umask?: number
}

type ReadFileOptions = CommonOptions & { flag?: string | number | null }
type WriteFileOptions = ReadFileOptions & { mode?: number | string, flush?: boolean | null }

/** A volume with the methods and semantics of node:fs/promises. It acts as root does: modes and owners are kept, not enforced. */
export class VolumeFileSystem implements MountedVolume {
  readonly constants = constants
  private readonly volume: VolumeClient
  private readonly init: MountedVolumeInit
  private readonly context: OperationContext
  private readonly opener: FileOpener
  private readonly directories: Directories
  private readonly turns = new Turns()
  private nextFd = 3

  constructor ({ volume }: { volume: VolumeClient }, init: MountedVolumeInit) {
    this.volume = volume
    this.init = init
    this.context = { uid: init.uid ?? process.getuid?.() ?? 0, gid: init.gid ?? process.getgid?.() ?? 0 }
    this.opener = new FileOpener({ volume }, this.context)
    this.directories = new Directories({ volume }, this.context)
    bindMethods(this)
  }

  async open (path: PathLike, flags?: string | number | null, mode?: number | string | null): Promise<VolumeFileHandle> {
    const text = pathText(path)
    const parsed = parseFlags(flags)
    const bits = modeBits(mode, fileModeDefault)
    const { file } = await inSyscall('open', text, () => this.opener.open(text, parsed, this.masked(bits)))
    return new VolumeFileHandle({ volume: this.volume, file, turns: this.turns }, { flags: parsed, fd: this.nextFd++, dev: this.init.dev, context: this.context })
  }

  async readFile (file: unknown, options?: any): Promise<any> {
    const given = optionsOf<ReadFileOptions>(options)
    if (file instanceof VolumeFileHandle) return file.readFile(given)
    checkAborted(given.signal)
    return closing(await this.open(file as PathLike, given.flag || 'r'), (handle) => handle.readFile(given))
  }

  async writeFile (file: unknown, data: FileData, options?: any): Promise<void> {
    const given = optionsOf<WriteFileOptions>(options)
    const flush = boolean(given.flush ?? false, 'options.flush')
    const content = writable(data, given.encoding)
    if (file instanceof VolumeFileHandle) return file.writeFile(content, given)
    checkAborted(given.signal)
    await closing(await this.open(file as PathLike, given.flag || 'w', given.mode), async (handle) => {
      await handle.writeFile(content, given)
      if (flush) await handle.sync()
    })
  }

  async appendFile (file: unknown, data: FileData, options?: any): Promise<void> {
    const given = optionsOf<WriteFileOptions>(options)
    return this.writeFile(file, data, { ...given, flag: given.flag || 'a' })
  }

  async mkdir (path: PathLike, options?: any): Promise<any> {
    const isMode = typeof options === 'number' || typeof options === 'string'
    const { recursive = false, mode }: { recursive?: boolean, mode?: number | string } = isMode ? { mode: options } : options ?? {}
    const text = pathText(path)
    boolean(recursive, 'options.recursive')
    const bits = modeBits(mode, directoryModeDefault)
    if (recursive) return this.directories.makeAll(text, this.masked(bits))
    await inSyscall('mkdir', text, () => this.directories.make(text, this.masked(bits)))
  }

  async mkdtemp (prefix: PathLike, options?: any): Promise<any> {
    const given = optionsOf<CommonOptions>(options)
    const text = pathText(prefix, 'prefix')
    for (let attempt = 1; ; attempt++) {
      const path = text + Array.from(randomBytes(6), (byte) => temporaryLetters[byte % temporaryLetters.length]).join('')
      try {
        await inSyscall('mkdtemp', path, () => this.directories.make(path, this.masked(0o700)))
        return encoded(path, given)
      } catch (error) {
        if (!hasCode(error, 'EEXIST') || attempt >= temporaryNameAttemptsMax) throw error
      }
    }
  }

  async mkdtempDisposable (prefix: PathLike, options?: any): Promise<DisposableTempDir> {
    const path = await this.mkdtemp(prefix, options)
    const remove = (): Promise<void> => this.rm(path, { recursive: true, force: true })
    return { path, remove, [Symbol.asyncDispose]: remove }
  }

  async readdir (path: PathLike, options?: any): Promise<any> {
    const given = optionsOf<ListingOptions>(options)
    return list(this.volume, pathText(path), given)
  }

  async opendir (path: PathLike, options?: any): Promise<Dir> {
    const given = optionsOf<DirOptions>(options)
    const text = pathText(path)
    return new Dir(this.volume, await inSyscall('opendir', text, () => directoryAt(this.volume, text)), text, given)
  }

  async stat (path: PathLike, options: any = {}): Promise<any> {
    const text = pathText(path)
    try {
      return statsOf(await this.attributes('stat', text, 'follow'), this.init.dev, options as BigintOption)
    } catch (error) {
      if (options.throwIfNoEntry === false && hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined
      throw error
    }
  }

  async lstat (path: PathLike, options?: any): Promise<any> {
    return statsOf(await this.attributes('lstat', pathText(path), 'stay'), this.init.dev, options as BigintOption)
  }

  async statfs (path: PathLike, options?: any): Promise<any> {
    const text = pathText(path)
    await this.attributes('statfs', text, 'follow')
    return statFsOf(await inSyscall('statfs', text, () => this.volume.statfs()), options as BigintOption)
  }

  /** As for root: everything that exists may be read and written; a file needs an x for anybody to be executable. */
  async access (path: PathLike, mode: number = constants.F_OK): Promise<void> {
    const text = pathText(path)
    await inSyscall('access', text, async () => {
      const { attr } = await walkTo(this.volume, text)
      if ((mode & constants.X_OK) !== 0 && !isDirectory(attr) && (attr.mode & executeBits) === 0) throw posixError('EACCES')
    })
  }

  async rename (oldPath: PathLike, newPath: PathLike): Promise<void> {
    const from = pathText(oldPath, 'oldPath')
    const to = pathText(newPath, 'newPath')
    await inSyscall('rename', from, async () => {
      const source = await walk(this.volume, from, 'name')
      const target = await walk(this.volume, to, 'name')
      if (source.name === '' || target.name === '') throw posixError('EBUSY')
      if (source.attr === null) throw posixError('ENOENT')
      if (!isDirectory(source.attr) && (source.hasSlash || target.hasSlash)) throw posixError('ENOTDIR')
      // Before the kinds are compared, which is what the volume would do first.
      if (target.path.startsWith(`${source.path}/`)) throw posixError('EINVAL')
      if (source.path.startsWith(`${target.path}/`)) throw posixError('ENOTEMPTY')
      await this.volume.rename(source.dir, source.name, target.dir, target.name, 0, this.context)
    }, to)
  }

  async link (existingPath: PathLike, newPath: PathLike): Promise<void> {
    const from = pathText(existingPath, 'existingPath')
    const to = pathText(newPath, 'newPath')
    await inSyscall('link', from, async () => {
      const { attr } = await walkTo(this.volume, from, 'stay')
      const { dir, name } = await walkToNewName(this.volume, to)
      if (isDirectory(attr)) throw posixError('EPERM')
      await this.volume.link(attr.ino, dir, name, this.context)
    }, to)
  }

  /** @param type Means something on Windows alone. */
  async symlink (target: PathLike, path: PathLike, type?: string | null): Promise<void> {
    if (!symlinkTypes.includes(type)) throw invalidValue('type', type, 'must be one of: dir, file, junction, null, undefined')
    const leadsTo = pathText(target, 'target')
    const text = pathText(path)
    await inSyscall('symlink', leadsTo, async () => {
      if (leadsTo === '') throw posixError('ENOENT')
      if (Buffer.byteLength(leadsTo) > pathBytesMax) throw posixError('ENAMETOOLONG')
      const { dir, name } = await walkToNewName(this.volume, text)
      await this.volume.symlink(dir, name, leadsTo, this.context)
    }, text)
  }

  async readlink (path: PathLike, options?: any): Promise<any> {
    const given = optionsOf<CommonOptions>(options)
    const text = pathText(path, 'oldPath')
    return inSyscall('readlink', text, async () => {
      const { attr } = await walkTo(this.volume, text, 'stay')
      if (typeOf(attr) !== constants.S_IFLNK) throw posixError('EINVAL')
      return encoded(await this.volume.readlink(attr.ino), given)
    })
  }

  async realpath (path: PathLike, options?: any): Promise<any> {
    const given = optionsOf<CommonOptions>(options)
    const text = pathText(path)
    return inSyscall('realpath', text, async () => encoded((await walkTo(this.volume, text)).path, given))
  }

  async unlink (path: PathLike): Promise<void> {
    const text = pathText(path)
    await inSyscall('unlink', text, async () => {
      const { dir, name, attr, hasSlash } = await walk(this.volume, text, 'name')
      if (attr === null) throw posixError('ENOENT')
      if (isDirectory(attr)) throw posixError('EISDIR')
      if (hasSlash) throw posixError('ENOTDIR')
      await this.volume.unlink(dir, name, this.context)
    })
  }

  async rmdir (path: PathLike): Promise<void> {
    const text = pathText(path)
    await inSyscall('rmdir', text, async () => {
      const { dir, name } = await this.directories.removable(text)
      await this.volume.rmdir(dir, name, this.context)
    })
  }

  async rm (path: PathLike, options: RmOptions = {}): Promise<void> {
    const text = pathText(path)
    const recursive = boolean(options.recursive ?? false, 'options.recursive')
    const force = boolean(options.force ?? false, 'options.force')
    try {
      const attr = await this.attributes('lstat', text, 'stay')
      if (!isDirectory(attr)) return await this.unlink(text)
      if (!recursive) throw treeError('ERR_FS_EISDIR', 'EISDIR', 'rm', text, 'is a directory')
      await inSyscall('rmdir', text, async () => {
        const { dir, name, attr } = await this.directories.removable(text)
        await new TreeRemoval(this.volume, this.context).directory(dir, name, attr.ino, text)
      })
    } catch (error) {
      if (!force || !hasCode(error, 'ENOENT')) throw error
    }
  }

  async copyFile (source: PathLike, destination: PathLike, mode?: number | null): Promise<void> {
    const from = pathText(source, 'src')
    const to = pathText(destination, 'dest')
    const flags = integer(mode ?? 0, 'mode', 0, copyModeMax)
    const copy = new FileCopy({ volume: this.volume, opener: this.opener, unlink: this.unlink }, this.context)
    await inSyscall('copyfile', from, () => copy.run(from, to, flags), to)
  }

  async cp (source: PathLike, destination: PathLike, options?: CopyOptions): Promise<void> {
    await new TreeCopy(this, options).run(pathText(source, 'src'), pathText(destination, 'dest'))
  }

  async truncate (path: PathLike, length?: number): Promise<void> {
    await closing(await this.open(path, 'r+'), (handle) => handle.truncate(length))
  }

  async chmod (path: PathLike, mode: unknown): Promise<void> {
    await this.set('chmod', path, 'follow', () => ({ mode: modeBits(mode) & permissionBits }))
  }

  async chown (path: PathLike, uid: number, gid: number): Promise<void> {
    await this.set('chown', path, 'follow', () => ({ uid: owner(uid, 'uid'), gid: owner(gid, 'gid') }))
  }

  async lchown (path: PathLike, uid: number, gid: number): Promise<void> {
    await this.set('lchown', path, 'stay', () => ({ uid: owner(uid, 'uid'), gid: owner(gid, 'gid') }))
  }

  async utimes (path: PathLike, atime: unknown, mtime: unknown): Promise<void> {
    await this.set('utime', path, 'follow', () => ({ atime: timeNs(atime), mtime: timeNs(mtime) }))
  }

  async lutimes (path: PathLike, atime: unknown, mtime: unknown): Promise<void> {
    await this.set('lutime', path, 'stay', () => ({ atime: timeNs(atime), mtime: timeNs(mtime) }))
  }

  createReadStream (path: PathLike, options?: ReadStreamOptions | BufferEncoding): ReadStream {
    return createReadStream(path, { highWaterMark: readStreamBytes, ...optionsOf<object>(options), fs: streamOperations(this.open) })
  }

  createWriteStream (path: PathLike, options?: WriteStreamOptions | BufferEncoding): WriteStream {
    return createWriteStream(path, { highWaterMark: writeStreamBytes, ...optionsOf<object>(options), fs: streamOperations(this.open) })
  }

  sync (): Promise<void> { return inSyscall('sync', undefined, () => this.volume.sync()) }

  close (): Promise<void> { return inSyscall('close', undefined, () => this.volume.close()) }

  async [Symbol.asyncDispose] (): Promise<void> { await this.close() }

  private masked (mode: number): number { return mode & permissionBits & ~(this.init.umask ?? process.umask()) }

  private attributes (syscall: string, path: string, lastLink: 'follow' | 'stay'): Promise<InodeAttr> {
    return inSyscall(syscall, path, async () => (await walkTo(this.volume, path, lastLink)).attr)
  }

  private async set (syscall: string, path: PathLike, lastLink: 'follow' | 'stay', changes: () => SetAttributes): Promise<void> {
    const text = pathText(path)
    const checked = changes()
    await inSyscall(syscall, text, async () => {
      const { attr } = await walkTo(this.volume, text, lastLink)
      await this.volume.setattr(attr.ino, checked, this.context)
    })
  }
}

/** Closes the handle, however the work ends; the first failure counts. */
async function closing<T> (handle: VolumeFileHandle, work: (handle: VolumeFileHandle) => Promise<T>): Promise<T> {
  let result: T
  try {
    result = await work(handle)
  } catch (error) {
    await handle.close().catch(() => {})
    throw error
  }
  await handle.close()
  return result
}

/** node:fs/promises is a bag of functions: its users take them out of it. */
function bindMethods (target: VolumeFileSystem): void {
  const { constructor, ...methods } = Object.getOwnPropertyDescriptors(VolumeFileSystem.prototype)
  for (const [name, { value }] of Object.entries(methods)) Object.defineProperty(target, name, { value: value.bind(target), configurable: true, writable: true })
}
