import { crc32 } from 'node:zlib'

/** A running checksum of everything that happens in a run: two runs of one seed have the same. */
export class Trace {
  private sum = 0
  events = 0

  note (time: number, what: string, bytes?: Uint8Array): void {
    this.events++
    this.sum = crc32(`${time} ${what}`, this.sum)
    if (bytes !== undefined) this.sum = crc32(bytes, this.sum)
  }

  get hash (): string { return `${this.events}-${this.sum.toString(16).padStart(8, '0')}` }
}
