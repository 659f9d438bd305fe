import type { OperationContext } from '../../client/types.ts'
import { systemClock } from '../../fsnode/protocol/system.ts'
import { MemoryVolume } from './memory-volume.ts'

/**
 * A volume that somebody else changes too: setting user.elsewhere on the root makes another mount act
 * ("write NAME TEXT", "chmod NAME MODE", "rename NAME NAME", "create NAME", "crash"), and the caches above
 * are told before, as when a lease is recalled. "silently " in front: they are not told.
 */
class SharedVolume extends MemoryVolume {
  override async setxattr (ino: number, name: string, value: Buffer, flags: number, context: OperationContext): Promise<void> {
    if (name !== 'user.elsewhere') return await super.setxattr(ino, name, value, flags, context)
    const words = value.toString().split(' ')
    const silently = words[0] === 'silently'
    await this.act(silently ? words.slice(1) : words, silently)
  }

  private async act ([verb, name = '', argument = '']: string[], silently: boolean): Promise<void> {
    const other = { uid: 0, gid: 0 }
    if (verb === 'crash') {
      setImmediate(() => { throw new Error('thrown on purpose') })
      return
    }
    const tell = async (ino: number, what: 'content' | 'attributes' | 'entries'): Promise<void> => { if (!silently) await this.onInvalidate!({ ino, what }) }
    if (verb === 'rename' || verb === 'create') {
      await tell(this.root, 'entries')
      if (verb === 'rename') await this.rename(this.root, name, this.root, argument, 0, other)
      else await this.mknod(this.root, name, 0o100644, 0, other)
      return
    }
    const { ino } = await this.lookup(this.root, name)
    if (verb === 'chmod') {
      await tell(ino, 'attributes')
      await this.setattr(ino, { mode: parseInt(argument, 8) }, other)
    } else {
      await tell(ino, 'content')
      await this.setattr(ino, { size: 0 }, other)
      this.writeAt(ino, 0, [Buffer.from(argument)])
    }
  }
}

export async function createVolumeClient (): Promise<SharedVolume> {
  return new SharedVolume({ clock: systemClock })
}
