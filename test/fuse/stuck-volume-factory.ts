import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../fsnode/protocol/system.ts'
import type { OpenFile } from '../../client/types.ts'
import { MemoryVolume } from './memory-volume.ts'
import { existsSync, writeFileSync } from 'node:fs'

/**
 * The first read of the first worker is never answered, and while it waits the file's content is recalled: a thread of the
 * worker then waits in the kernel for the read's pages, and cannot be killed. Later workers answer.
 */
export async function createVolumeClient ({ marker }: { marker: string }): Promise<MemoryVolume> {
  const volume = new MemoryVolume({ clock: systemClock })
  const { file } = await volume.create(volume.root, 'file', { mode: 0o644, exclusive: true }, { uid: 0, gid: 0 })
  await file.write(0, [Buffer.alloc(65_536, 'x')])
  await file.flush()
  await file.release()
  const isFirst = !existsSync(marker)
  const open = volume.open.bind(volume)
  volume.open = async (ino, options): Promise<OpenFile> => {
    const opened = await open(ino, options)
    if (!isFirst) return opened
    opened.read = async () => {
      void volume.onInvalidate?.({ ino, what: 'content' })
      await delay(200)
      writeFileSync(marker, '')
      return await new Promise<never>(() => {})
    }
    return opened
  }
  return volume
}
