import { readdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { ChunkFile, ChunkFiles } from '../data/files.ts'
import { nodeFiles } from '../data/node-files.ts'
import { codeOf } from '../protocol/errors.ts'
import type { Kv } from '../protocol/ports.ts'
import type { UsageFiles } from './usage.ts'

/** Passes everything on, and tells after each change in which directory it was. */
export function watchedFiles (files: ChunkFiles, changed: (directory: string) => void): ChunkFiles {
  const open = new Map<string, WatchedFile>()
  const told = <T>(change: Promise<T>, ...directories: string[]): Promise<T> => change.finally(() => { for (const directory of directories) changed(directory) })
  return {
    outside: files.outside,
    async open (path, create) {
      const opened = await files.open(path, create)
      const file: WatchedFile = new WatchedFile(opened, path, changed, () => {
        if (open.get(file.path) === file) open.delete(file.path)
      })
      if (create) changed(file.directory)
      open.set(path, file)
      return file
    },
    unlink: (path) => told(files.unlink(path), dirname(path)),
    async rename (from, to) {
      await told(files.rename(from, to), dirname(from), dirname(to))
      const file = open.get(from)
      if (file === undefined) return
      open.delete(from)
      file.moved(to)
      open.set(to, file)
    },
    makeDirectory: (path) => files.makeDirectory(path),
    list: (path) => files.list(path),
    syncDirectory: (path) => files.syncDirectory(path),
    removeTree: (path) => told(files.removeTree(path), path),
    space: (path) => files.space(path)
  }
}

class WatchedFile implements ChunkFile {
  path: string
  /** Where it is. */
  directory: string
  private readonly file: ChunkFile
  private readonly changed: (directory: string) => void
  private readonly closed: () => void

  constructor (file: ChunkFile, path: string, changed: (directory: string) => void, closed: () => void) {
    this.file = file
    this.path = path
    this.directory = dirname(path)
    this.changed = changed
    this.closed = closed
  }

  moved (to: string): void {
    this.path = to
    this.directory = dirname(to)
  }

  read (into: Buffer, position: number): Promise<number> { return this.file.read(into, position) }

  write (buffers: readonly Buffer[], position: number): Promise<void> { return this.telling(this.file.write(buffers, position)) }

  truncate (length: number): Promise<void> { return this.telling(this.file.truncate(length)) }

  datasync (): Promise<void> { return this.file.datasync() }

  size (): Promise<number> { return this.file.size() }

  close (): Promise<void> {
    this.closed()
    return this.file.close()
  }

  private async telling (change: Promise<void>): Promise<void> {
    try {
      await change
    } finally {
      this.changed(this.directory)
    }
  }
}

/** Passes everything on, and tells of each change. */
export function watchedKv (kv: Kv, changed: () => void): Kv {
  return {
    get: (key) => kv.get(key),
    batch: (operations, options) => {
      changed()
      return kv.batch(operations, options)
    },
    iterate: (range) => kv.iterate(range),
    close: () => kv.close()
  }
}

const blockBytes = 512

export const nodeUsageFiles: UsageFiles = {
  async entries (directory) {
    try {
      return (await readdir(directory, { withFileTypes: true })).map((entry) => ({ name: entry.name, isDirectory: entry.isDirectory() }))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null
      throw error
    }
  },
  allocatedBytes: (path) => stat(path).then(({ blocks }) => blocks * blockBytes, () => 0),
  space: (directory) => nodeFiles.space(directory)
}
