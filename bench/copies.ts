import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { MountedVolume } from '../client/file-api/types.ts'
import { Latencies } from './latencies.ts'

const copyBytes = 8 * 1024 * 1024
const pieceBytes = 256 * 1024
/** A copy does a piece this often, or as often as it gets: so the machine has room for something else at all. */
const pieceIntervalMs = 10

/** Files that are written, read back from the nodes and compared by checksum, again and again. */
export class Copies {
  private readonly volume: MountedVolume
  private latencies = new Latencies()
  private goesOn = true
  private readonly running: Promise<void[]>

  constructor (volume: MountedVolume, count: number) {
    this.volume = volume
    this.running = Promise.all(Array.from({ length: count }, (_, number) => this.run(number)))
    this.running.catch(() => { this.goesOn = false })
  }

  /** What is measured from now on. */
  begin (): Latencies { return (this.latencies = new Latencies()) }

  async end (): Promise<void> {
    this.goesOn = false
    await this.running
  }

  private async run (number: number): Promise<void> {
    for (let round = 0; this.goesOn; round++) {
      const path = `/copy-${number}-${round % 4}`
      const written = createHash('sha1')
      await this.pieces(path, 'w', round, (piece) => { written.update(piece) })
      const found = createHash('sha1')
      await this.pieces(path, 'r', round, (piece) => { found.update(piece) })
      if (this.goesOn && written.digest('hex') !== found.digest('hex')) throw new Error(`${path}: another checksum`)
    }
  }

  private async pieces (path: string, flags: 'r' | 'w', round: number, seen: (piece: Buffer) => void): Promise<void> {
    const file = await this.volume.open(path, flags)
    for (let at = 0; at < copyBytes && this.goesOn; at += pieceBytes) {
      const began = performance.now()
      const piece = Buffer.alloc(pieceBytes, flags === 'w' ? (round * 31 + at / pieceBytes) % 256 : 0)
      if (flags === 'w') await this.latencies.measure(pieceBytes, () => file.write(piece, 0, pieceBytes, at))
      else await this.latencies.measure(pieceBytes, () => file.read(piece, 0, pieceBytes, at))
      seen(piece)
      const restMs = pieceIntervalMs - (performance.now() - began)
      if (restMs > 0) await delay(restMs)
    }
    if (flags === 'w') await this.latencies.measure(0, () => file.datasync())
    await file.close()
  }
}
