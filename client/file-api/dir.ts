import { constants, type Dirent } from 'node:fs'
import { join } from 'node:path/posix'
import type { VolumeClient } from '../types.ts'
import { coded, encoded, type CommonOptions } from './arguments.ts'
import { direntOf } from './stats.ts'
import { entriesOf } from './listing.ts'

export interface DirOptions extends CommonOptions { recursive?: boolean }

/** An open directory, as node:fs's Dir without the calls that take callbacks or wait synchronously. */
export class Dir implements AsyncIterable<Dirent>, AsyncDisposable {
  readonly path: string
  private readonly found: AsyncGenerator<Dirent>
  private closed = false

  constructor (volume: VolumeClient, ino: number, path: string, options: DirOptions) {
    this.path = path
    this.found = direntsOf(volume, ino, path, options)
  }

  /** The next entry; null after the last. */
  async read (): Promise<Dirent | null> {
    this.needsOpen()
    const { value, done } = await this.found.next()
    return done === true ? null : value
  }

  async close (): Promise<void> {
    this.needsOpen()
    this.closed = true
    await this.found.return(undefined)
  }

  /** Closes the directory at the end, however it ends. */
  async * entries (): AsyncGenerator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry
    } finally {
      await this.close()
    }
  }

  [Symbol.asyncIterator] (): AsyncGenerator<Dirent> { return this.entries() }

  async [Symbol.asyncDispose] (): Promise<void> { if (!this.closed) await this.close() }

  private needsOpen (): void {
    if (this.closed) throw coded(new Error('Directory handle was closed'), 'ERR_DIR_CLOSED')
  }
}

async function * direntsOf (volume: VolumeClient, ino: number, path: string, options: DirOptions): AsyncGenerator<Dirent> {
  const waiting = [{ ino, path }]
  for (let dir = waiting.pop(); dir !== undefined; dir = waiting.pop()) {
    for await (const entry of entriesOf(volume, dir.ino, dir.path)) {
      yield direntOf(encoded(entry.name, options), dir.path, entry.type)
      if (options.recursive === true && entry.type === constants.S_IFDIR) waiting.push({ ino: entry.ino, path: join(dir.path, entry.name) })
    }
  }
}
