import type { DirectoryEntry } from '../../fsnode/protocol/metadata.ts'
import { inSyscall } from './errors.ts'
import { Dirent } from './stats.ts'

/** An open directory, as node:fs.Dir: read one entry at a time, or iterate. */
export class Dir implements AsyncIterable<Dirent> {
  readonly path: string
  private readonly entries: AsyncGenerator<DirectoryEntry>

  constructor (path: string, entries: AsyncGenerator<DirectoryEntry>) {
    this.path = path
    this.entries = entries
  }

  async read (): Promise<Dirent | null> {
    const { value, done } = await inSyscall('scandir', this.path, () => this.entries.next())
    return done === true ? null : new Dirent(value.name, this.path, value.type)
  }

  async close (): Promise<void> { await this.entries.return(undefined) }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Dirent> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry
    } finally {
      await this.close()
    }
  }

  async [Symbol.asyncDispose] (): Promise<void> { await this.close() }
}
