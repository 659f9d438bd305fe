import type { ChunkName, ChunkStore } from '../../fsnode/data/chunk-store.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { SimRandom } from '../sim/random.ts'

export const silentLog: Logger = process.env.LOUD ? { debug: () => {}, info: (...a) => console.log(...a), warn: (...a) => console.log(...a), error: (...a) => console.log(...a), child: () => silentLog } : { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silentLog }

/** What a chunk should be, in the simplest way. */
export class NaiveChunk {
  private bytes = Buffer.alloc(0)

  get length (): number { return this.bytes.length }

  write (offset: number, payload: Buffer): void {
    if (payload.length === 0) return
    const grown = Buffer.alloc(Math.max(this.bytes.length, offset + payload.length))
    this.bytes.copy(grown)
    payload.copy(grown, offset)
    this.bytes = grown
  }

  truncate (length: number): void { this.bytes = Buffer.from(this.bytes.subarray(0, length)) }

  zero (offset: number, length: number): void { if (offset < this.bytes.length) this.bytes.fill(0, offset, Math.min(offset + length, this.bytes.length)) }

  read (offset: number, length: number): Buffer { return this.bytes.subarray(Math.min(offset, this.bytes.length), offset + length) }
}

/** Cuts bytes into slices as a socket would. */
export function slices (random: SimRandom, bytes: Buffer): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const length = random.chance(0.5) ? bytes.length - at : 1 + random.below(bytes.length - at)
    parts.push(bytes.subarray(at, at + length))
    at += length
  }
  return parts
}

/** One random change, in the naive twin and in the store. */
async function scatteredChange (random: SimRandom, span: number, naive: NaiveChunk, store: ChunkStore, name: ChunkName): Promise<void> {
  const slots = 16
  const ranges = Array.from({ length: slots }, (_, slot) => slot).filter(() => random.chance(0.4)).map((slot) => {
    const offset = Math.floor(slot * span / slots) + random.below(50)
    const bytes = Buffer.alloc(1 + random.below(Math.floor(span / slots) - 50), random.bytes(7))
    naive.write(offset, bytes)
    return { offset, length: bytes.length, data: slices(random, bytes) }
  })
  if (ranges.length > 0) await store.writeRanges(name, ranges)
}

export async function randomChange (random: SimRandom, span: number, naive: NaiveChunk, store: ChunkStore, name: ChunkName): Promise<void> {
  const offset = random.chance(0.3) ? random.below(span / 4096) * 4096 : random.below(span)
  const length = 1 + random.below(random.pick([100, 5000, span / 2]))
  const kind = random.below(12)
  if (kind >= 10) {
    await scatteredChange(random, span, naive, store, name)
  } else if (kind < 7) {
    const payload = random.bytes(1 + random.below(30))
    const bytes = Buffer.alloc(length, payload)
    naive.write(offset, bytes)
    await store.write(name, offset, slices(random, bytes))
  } else if (kind < 8) {
    naive.truncate(offset)
    await store.truncate(name, offset)
  } else if (kind < 9) {
    naive.zero(offset, length)
    await store.zero(name, offset, length)
  } else {
    const end = naive.length
    naive.write(end, Buffer.from('appended'))
    await store.write(name, end, [Buffer.from('appended')])
  }
}
