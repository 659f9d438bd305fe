import type { Random } from '../../fsnode/protocol/ports.ts'

/** A seeded generator (mulberry32): the same seed gives the same run. */
export class SimRandom implements Random {
  private state: number

  constructor (seed: number) {
    this.state = seed >>> 0
  }

  next (): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  bytes (length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }

  /** Integer in [0, bound). */
  below (bound: number): number { return Math.floor(this.next() * bound) }

  chance (probability: number): boolean { return this.next() < probability }

  pick<T> (items: readonly T[]): T { return items[this.below(items.length)]! }

  /** An independent generator, so that one part's draws do not shift another's. */
  fork (): SimRandom { return new SimRandom(Math.floor(this.next() * 2 ** 32)) }
}
