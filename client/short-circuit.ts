import { crc32 } from '@node-rs/crc32'
import { bulkBuffers } from '../fsnode/protocol/buffer-pool.ts'
import type { FileRange } from '../fsnode/protocol/data.ts'
import type { Clock } from '../fsnode/protocol/ports.ts'
import { shortCircuitPauseMs } from './bounds.ts'

/** Files of this machine, as a process that may read them sees them. */
export interface LocalFiles {
  /** See machine.ts; null: not known. */
  readonly machine: string | null
  /** Fills `into` from `position`; answers how many bytes there were. Rejects with POSIX codes. */
  read (path: string, into: Buffer, position: number): Promise<number>
}

/**
 * Short-circuit reads: of a node on this machine the client asks only where the bytes are, and reads them from the node's file. The
 * checksums that the node sends along say whether they are still what the node meant; if not, or if the file cannot be read, it is
 * asked for the bytes.
 */
export class ShortCircuit {
  private readonly files: LocalFiles
  private readonly clock: Clock
  private pausedUntilMs = -Infinity

  constructor (files: LocalFiles, clock: Clock) {
    this.files = files
    this.clock = clock
  }

  /** To be told to nodes that may answer with a place; undefined: none may. */
  get machine (): string | undefined {
    return this.files.machine === null || this.clock.now() < this.pausedUntilMs ? undefined : this.files.machine
  }

  /** null: the node must be asked for the bytes. Else the buffer may be given back to `bulkBuffers`. */
  async read ({ path, position, length, blockBytes, sums, skip, count }: FileRange): Promise<Buffer[] | null> {
    const bytes = bulkBuffers.take(length)
    try {
      const found = await this.files.read(path, bytes, position)
      if (found === length && areRight(bytes, blockBytes, sums)) return [bytes.subarray(skip, skip + count)]
    } catch {
      // Perhaps this process may not read it, or has too many files open; or the chunk has just been moved.
      this.pausedUntilMs = this.clock.now() + shortCircuitPauseMs
    }
    bulkBuffers.give(bytes)
    return null
  }
}

function areRight (bytes: Buffer, blockBytes: number, sums: Uint8Array): boolean {
  const { buffer, byteOffset, byteLength } = sums
  const table = Buffer.from(buffer, byteOffset, byteLength)
  if (table.length !== Math.ceil(bytes.length / blockBytes) * 4) return false
  for (let at = 0, entry = 0; at < bytes.length; at += blockBytes, entry += 4) {
    if (crc32(bytes.subarray(at, at + blockBytes)) !== table.readUInt32LE(entry)) return false
  }
  return true
}
