import type { CopyOptions, Stats } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path/posix'
import { boolean, coded, integer, invalidType } from './arguments.ts'
import { hasCode, treeError } from './errors.ts'
import type { MountedVolume } from './types.ts'

export const copyModeMax = 7

/** `cp`, on the calls of a mounted volume: the rules and errors are those of node:fs. */
export class TreeCopy {
  private readonly fs: MountedVolume
  private readonly options: CopyOptions

  constructor (fs: MountedVolume, options: CopyOptions = {}) {
    if (typeof options !== 'object' || options === null) throw invalidType('options', 'of type object', options)
    for (const name of ['dereference', 'errorOnExist', 'force', 'preserveTimestamps', 'recursive', 'verbatimSymlinks'] as const) {
      if (options[name] !== undefined) boolean(options[name], `options.${name}`)
    }
    if (options.mode !== undefined) integer(options.mode, 'mode', 0, copyModeMax)
    if (options.filter !== undefined && typeof options.filter !== 'function') throw invalidType('options.filter', 'of type function', options.filter)
    if (options.dereference === true && options.verbatimSymlinks === true) {
      throw coded(new TypeError('Option "dereference" cannot be used in combination with option "verbatimSymlinks"'), 'ERR_INCOMPATIBLE_OPTION_PAIR')
    }
    this.fs = fs
    this.options = options
  }

  async run (from: string, to: string): Promise<void> {
    const checked = await this.check(from, to)
    if (checked === null) return
    await this.refuseInside(checked.source, from, to)
    await this.fs.mkdir(dirname(to), { recursive: true })
    await this.copy(from, to, checked.source, checked.target)
  }

  /** Null when the filter leaves it out. */
  private async check (from: string, to: string): Promise<{ source: Stats, target: Stats | null } | null> {
    if (this.options.filter !== undefined && !(await this.options.filter(from, to))) return null
    const source = await this.stat(from)
    const target = await this.stat(to).catch((error) => {
      if (hasCode(error, 'ENOENT')) return null
      throw error
    })
    if (target !== null) {
      if (source.ino === target.ino) throw treeError('ERR_FS_CP_EINVAL', 'EINVAL', 'cp', to, 'src and dest cannot be the same')
      if (source.isDirectory() && !target.isDirectory()) {
        throw treeError('ERR_FS_CP_DIR_TO_NON_DIR', 'EISDIR', 'cp', to, `cannot overwrite non-directory ${to} with directory ${from}`)
      }
      if (!source.isDirectory() && target.isDirectory()) {
        throw treeError('ERR_FS_CP_NON_DIR_TO_DIR', 'ENOTDIR', 'cp', to, `cannot overwrite directory ${to} with non-directory ${from}`)
      }
    }
    if (source.isDirectory() && isWithin(from, to)) throw intoItself(from, to)
    return { source, target }
  }

  /** Walks up from the target: links may hide that it is inside the source. */
  private async refuseInside (source: Stats, from: string, to: string): Promise<void> {
    for (let parent = dirname(resolve('/', to)); parent !== '/' && parent !== dirname(resolve('/', from)); parent = dirname(parent)) {
      const stats = await this.fs.stat(parent, { throwIfNoEntry: false })
      if (stats === undefined) return
      if (stats.ino === source.ino) throw intoItself(from, to)
    }
  }

  private async copy (from: string, to: string, source: Stats, target: Stats | null): Promise<void> {
    if (source.isDirectory()) await this.directory(from, to, source, target)
    else if (source.isSymbolicLink()) await this.link(from, to, target)
    else if (source.isSocket()) throw treeError('ERR_FS_CP_SOCKET', 'EINVAL', 'cp', to, `cannot copy a socket file: ${to}`)
    else if (source.isFIFO()) throw treeError('ERR_FS_CP_FIFO_PIPE', 'EINVAL', 'cp', to, `cannot copy a FIFO pipe: ${to}`)
    else await this.file(from, to, source, target)
  }

  private async directory (from: string, to: string, source: Stats, target: Stats | null): Promise<void> {
    const { recursive = false, errorOnExist = false, force = true } = this.options
    if (!recursive) throw treeError('ERR_FS_EISDIR', 'EISDIR', 'cp', from, `${from} is a directory (not copied)`)
    if (target === null) await this.fs.mkdir(to)
    else if (errorOnExist && !force) throw exists(to)
    for await (const { name } of await this.fs.opendir(from)) {
      const [fromBelow, toBelow] = [join(from, name), join(to, name)]
      const checked = await this.check(fromBelow, toBelow)
      if (checked !== null) await this.copy(fromBelow, toBelow, checked.source, checked.target)
    }
    if (target === null) await this.fs.chmod(to, source.mode & 0o7777)
  }

  private async file (from: string, to: string, source: Stats, target: Stats | null): Promise<void> {
    const { errorOnExist = false, force = true, mode, preserveTimestamps = false } = this.options
    if (target !== null) {
      if (!force && errorOnExist) throw exists(to)
      if (!force) return
      await this.fs.unlink(to)
    }
    await this.fs.copyFile(from, to, mode)
    if (preserveTimestamps) await this.fs.utimes(to, source.atime, source.mtime)
    await this.fs.chmod(to, source.mode & 0o7777)
  }

  private async link (from: string, to: string, target: Stats | null): Promise<void> {
    const read = await this.fs.readlink(from)
    const leads = this.options.verbatimSymlinks === true || isAbsolute(read) ? read : resolve('/', dirname(from), read)
    if (target?.isSymbolicLink() === true) {
      const led = resolve('/', dirname(to), await this.fs.readlink(to))
      const isDirectory = (await this.fs.stat(from)).isDirectory()
      if (isDirectory && isWithin(leads, led)) throw intoItself(leads, led, to)
      if (isDirectory && isWithin(led, leads)) throw treeError('ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY', 'EINVAL', 'cp', to, `cannot overwrite ${led} with ${leads}`)
      await this.fs.unlink(to)
    }
    await this.fs.symlink(leads, to)
  }

  private stat (path: string): Promise<Stats> { return this.options.dereference === true ? this.fs.stat(path) : this.fs.lstat(path) }
}

/** Judged by the paths alone. */
function isWithin (outer: string, inner: string): boolean {
  return `${resolve('/', inner)}/`.startsWith(`${resolve('/', outer)}/`.replace(/^\/\/$/, '/'))
}

function intoItself (from: string, to: string, path = to): Error {
  return treeError('ERR_FS_CP_EINVAL', 'EINVAL', 'cp', path, `cannot copy ${from} to a subdirectory of self ${to}`)
}

function exists (path: string): Error { return treeError('ERR_FS_CP_EEXIST', 'EEXIST', 'cp', path, `${path} already exists`) }
