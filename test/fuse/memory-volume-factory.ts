import { systemClock } from '../../fsnode/protocol/system.ts'
import { MemoryVolume } from './memory-volume.ts'

/** For mounts whose volume lives and dies with the worker. */
export async function createVolumeClient (): Promise<MemoryVolume> {
  return new MemoryVolume({ clock: systemClock })
}
