// shell: reads files of this machine.
import fs from 'node:fs'
import { machineId } from '../fsnode/protocol/machine.ts'
import { readFully } from '../fsnode/protocol/read-fully.ts'
import { localFileIdleMs, localFilesMax } from './bounds.ts'
import type { LocalFiles } from './short-circuit.ts'

interface OpenFile { descriptor: Promise<number>, users: number, usedAtMs: number }

/** The machine's own files. Those that were read last stay open for a moment: a chunk is read in several pieces. */
class SystemFiles implements LocalFiles {
  /** Least recently used first. */
  private readonly files = new Map<string, OpenFile>()
  private timer: NodeJS.Timeout | null = null

  get machine (): string | null { return machineId() }

  async read (path: string, into: Buffer, position: number): Promise<number> {
    const file = this.use(path)
    try {
      return await readFully(await file.descriptor, into, position)
    } catch (error) {
      // Another reader may have opened it anew.
      if (this.files.get(path) === file) this.files.delete(path)
      throw error
    } finally {
      file.users--
      file.usedAtMs = performance.now()
      if (this.files.get(path) !== file && file.users === 0) close(file)
      this.timer ??= setTimeout(() => { this.closeIdle() }, localFileIdleMs).unref()
    }
  }

  private use (path: string): OpenFile {
    const file = this.files.get(path) ?? { descriptor: open(path), users: 0, usedAtMs: 0 }
    file.users++
    this.files.delete(path)
    this.files.set(path, file)
    for (const [other, { users }] of this.files) {
      if (this.files.size <= localFilesMax) break
      if (users === 0) this.forget(other)
    }
    return file
  }

  private closeIdle (): void {
    this.timer = null
    const before = performance.now() - localFileIdleMs
    for (const [path, { users, usedAtMs }] of this.files) if (users === 0 && usedAtMs <= before) this.forget(path)
    if (this.files.size > 0) this.timer = setTimeout(() => { this.closeIdle() }, localFileIdleMs).unref()
  }

  private forget (path: string): void {
    const file = this.files.get(path)!
    this.files.delete(path)
    close(file)
  }
}

function open (path: string): Promise<number> {
  return new Promise((resolve, reject) => { fs.open(path, 'r', (error, descriptor) => { if (error === null) resolve(descriptor); else reject(error) }) })
}

function close ({ descriptor }: OpenFile): void {
  descriptor.then((fd) => { fs.close(fd, () => {}) }, () => {})
}

export const systemFiles: LocalFiles = new SystemFiles()
