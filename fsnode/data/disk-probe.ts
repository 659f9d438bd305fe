import type { DiskMeter } from './disk-meter.ts'
import type { ChunkFiles } from './files.ts'

const pieceBytes = 1024 * 1024
const pieces = 4
const smallBytes = 4096
const smallWrites = 4

/** A first measurement, so that a new node is not unknown to the placement: a few MiB. A disk that cannot do even this is left unmeasured. */
export async function probeDisk (files: ChunkFiles, meter: DiskMeter, path: string): Promise<void> {
  try {
    await files.unlink(path).catch(() => {})
    const file = await files.open(path, true)
    try {
      const piece = Buffer.alloc(pieceBytes, 1)
      for (let index = 0; index < pieces; index++) {
        await file.write([piece], index * pieceBytes)
        await meter.measure('write', pieceBytes, () => file.datasync())
      }
      for (let index = 0; index < smallWrites; index++) {
        await file.write([piece.subarray(0, smallBytes)], index * pieceBytes)
        await meter.measure('write', smallBytes, () => file.datasync())
      }
      for (let index = 0; index < pieces; index++) {
        await meter.measure('read', pieceBytes, () => file.read(piece, index * pieceBytes))
        await meter.measure('read', smallBytes, () => file.read(piece.subarray(0, smallBytes), index * pieceBytes))
      }
    } finally {
      await file.close()
      await files.unlink(path)
    }
  } catch {
    // A full disk, say: the store works without.
  }
}
