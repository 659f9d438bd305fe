import { constants } from 'node:fs'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { OpenFile, OperationContext, VolumeClient } from '../types.ts'
import { hasCode } from './errors.ts'
import { openDirectory } from './file-handle.ts'
import type { OpenFlags } from './flags.ts'
import { typeOf, walk } from './paths.ts'

/** How often a file is looked for anew when others make or remove its name meanwhile. */
export const openAttemptsMax = 8

export interface OpenedFile {
  file: OpenFile
  /** It was not there before. */
  created: boolean
}

/** open(2): what the flags ask for, on what is there. */
export class FileOpener {
  private readonly volume: VolumeClient
  private readonly context: OperationContext

  constructor (components: { volume: VolumeClient }, context: OperationContext) {
    this.volume = components.volume
    this.context = context
  }

  /** @param mode Of a new file, as it is to be. */
  async open (path: string, flags: OpenFlags, mode: number): Promise<OpenedFile> {
    const lastLink = flags.exclusive || (flags.create && path.endsWith('/')) ? 'name' : flags.noFollow ? 'stay' : 'follow'
    for (let attempt = 1; ; attempt++) {
      const { dir, name, attr, hasSlash } = await walk(this.volume, path, lastLink)
      if (flags.create && hasSlash && name !== '') throw posixError('EISDIR')
      try {
        if (attr !== null) return { file: await this.existing(attr, flags, hasSlash), created: false }
        if (!flags.create) throw posixError('ENOENT')
        return await this.create(dir, name, flags, mode)
      } catch (error) {
        // Between the look and the call, others made the name (something else than a file) or removed it.
        const changed = attr === null ? !flags.exclusive && hasCode(error, 'EEXIST') : flags.create && hasCode(error, 'ENOENT')
        if (!changed || attempt >= openAttemptsMax) throw error
      }
    }
  }

  private async create (dir: number, name: string, { exclusive, truncate }: OpenFlags, mode: number): Promise<OpenedFile> {
    const { file, created } = await this.volume.create(dir, name, { mode, exclusive }, this.context)
    if (!created && truncate) await this.truncate(file)
    return { file, created }
  }

  private async existing (attr: InodeAttr, flags: OpenFlags, hasSlash: boolean): Promise<OpenFile> {
    const type = typeOf(attr)
    const isDirectory = type === constants.S_IFDIR
    if (flags.exclusive) throw posixError('EEXIST')
    if ((flags.directory || hasSlash) && !isDirectory) throw posixError('ENOTDIR')
    if (isDirectory && (flags.write || flags.create || flags.truncate)) throw posixError('EISDIR')
    if (isDirectory) return openDirectory(attr.ino)
    if (type === constants.S_IFLNK) throw posixError('ELOOP')
    if (type !== constants.S_IFREG) throw posixError('ENXIO')
    const file = await this.volume.open(attr.ino, { write: flags.write || flags.truncate })
    if (flags.truncate) await this.truncate(file)
    return file
  }

  private async truncate (file: OpenFile): Promise<void> {
    try {
      await this.volume.setattr(file.ino, { size: 0 }, this.context)
    } catch (error) {
      await file.release()
      throw error
    }
  }
}
