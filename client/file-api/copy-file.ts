import { constants } from 'node:fs'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { OpenFile, OperationContext, VolumeClient } from '../types.ts'
import { transferBytesMax } from './file-handle.ts'
import type { FileOpener, OpenedFile } from './file-opener.ts'
import { parseFlags } from './flags.ts'
import { typeOf } from './paths.ts'

export interface CopyFileComponents {
  volume: VolumeClient
  opener: FileOpener
  /** Removes what was half copied. */
  unlink: (path: string) => Promise<void>
}

/** `copyFile`: content and mode, through this process. */
export class FileCopy {
  private readonly components: CopyFileComponents
  private readonly context: OperationContext

  constructor (components: CopyFileComponents, context: OperationContext) {
    this.components = components
    this.context = context
  }

  /** @param flags COPYFILE_EXCL; COPYFILE_FICLONE_FORCE is refused with ENOTSUP. */
  async run (from: string, to: string, flags: number): Promise<void> {
    const { opener, volume } = this.components
    if ((flags & constants.COPYFILE_FICLONE_FORCE) !== 0) throw posixError('ENOTSUP')
    const { file: source } = await opener.open(from, parseFlags('r'), 0)
    try {
      const { mode } = await volume.getattr(source.ino)
      const exclusive = (flags & constants.COPYFILE_EXCL) !== 0
      await this.fill(source, mode, await opener.open(to, { ...parseFlags('w'), truncate: false, exclusive }, mode), to)
    } finally {
      await source.release()
    }
  }

  private async fill (source: OpenFile, mode: number, { file: target, created }: OpenedFile, to: string): Promise<void> {
    let isTouched = created
    try {
      if (typeOf({ mode }) === constants.S_IFDIR) throw posixError('EISDIR')
      if (target.ino === source.ino) return
      isTouched = true
      await this.components.volume.setattr(target.ino, { size: 0, mode: mode & 0o7777 }, this.context)
      await this.transfer(source, target)
      await target.flush()
    } catch (error) {
      // As node:fs does: no half a copy is left.
      if (isTouched) await this.components.unlink(to).catch(() => {})
      throw error
    } finally {
      await target.release()
    }
  }

  /** Reads the next piece while the one before is written. */
  private async transfer (source: OpenFile, target: OpenFile): Promise<void> {
    let writing = Promise.resolve()
    for (let at = 0; ;) {
      const [parts] = await Promise.all([source.read(at, transferBytesMax), writing])
      if (parts.length === 0) return
      writing = target.write(at, parts, this.context)
      for (const part of parts) at += part.length
    }
  }
}
