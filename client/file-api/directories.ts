import { posixError } from '../../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../../fsnode/protocol/metadata.ts'
import type { OperationContext, VolumeClient } from '../types.ts'
import { hasCode, inSyscall } from './errors.ts'
import { isDirectory, walk, walkTo, walkToNewName } from './paths.ts'

/** Makes directories, and finds those that are to be removed. Modes are as they are to be. */
export class Directories {
  private readonly volume: VolumeClient
  private readonly context: OperationContext

  constructor (components: { volume: VolumeClient }, context: OperationContext) {
    this.volume = components.volume
    this.context = context
  }

  async make (path: string, mode: number): Promise<void> {
    const { dir, name } = await walkToNewName(this.volume, path, { directory: true })
    await this.volume.mkdir(dir, name, mode, this.context)
  }

  /** With those above it. Resolves with the first that had to be made, as the path writes it; undefined when there was none. */
  async makeAll (path: string, mode: number): Promise<string | undefined> {
    const missing = [path]
    let first: string | undefined
    for (let next = missing.pop(); next !== undefined; next = missing.pop()) {
      const target = next
      await inSyscall('mkdir', target, async () => {
        try {
          await this.make(target, mode)
          first ??= target
        } catch (error) {
          const parent = target.slice(0, Math.max(0, target.lastIndexOf('/')))
          if (hasCode(error, 'ENOENT') && parent !== '') missing.push(target, parent)
          else if (hasCode(error, 'EEXIST')) await this.mustBeDirectory(target, missing.length > 0)
          else throw error
        }
      })
    }
    return first
  }

  /** A directory under the name that it can be removed by. */
  async removable (path: string): Promise<{ dir: number, name: string, attr: InodeAttr }> {
    const { dir, name, last, attr } = await walk(this.volume, path, 'name')
    if (name === '') throw posixError(last === '..' ? 'ENOTEMPTY' : last === '.' ? 'EINVAL' : 'EBUSY')
    if (attr === null) throw posixError('ENOENT')
    if (!isDirectory(attr)) throw posixError('ENOTDIR')
    return { dir, name, attr }
  }

  private async mustBeDirectory (path: string, isParent: boolean): Promise<void> {
    const found = await walkTo(this.volume, path).catch((error) => {
      if (!isParent) throw error
      return null
    })
    if (found === null || !isDirectory(found.attr)) throw posixError(isParent ? 'ENOTDIR' : 'EEXIST')
  }
}
