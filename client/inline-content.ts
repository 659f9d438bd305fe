/** Of an empty file. */
export const nothing = Buffer.alloc(0)

/** The whole content of a small file, in memory while it is being changed. */
export class InlineContent {
  private bytes: Buffer
  private used: number

  constructor (content: Buffer) {
    this.bytes = Buffer.from(content)
    this.used = content.length
  }

  get length (): number { return this.used }

  write (offset: number, data: readonly Buffer[], length: number): void {
    this.reserve(offset + length)
    if (offset > this.used) this.bytes.fill(0, this.used, offset)
    let at = offset
    for (const part of data) {
      part.copy(this.bytes, at)
      at += part.length
    }
    this.used = Math.max(this.used, at)
  }

  /** A copy: the content may change while it is on its way. */
  snapshot (): Buffer { return Buffer.from(this.bytes.subarray(0, this.used)) }

  private reserve (length: number): void {
    if (length <= this.bytes.length) return
    const larger = Buffer.alloc(Math.max(length, 2 * this.bytes.length))
    this.bytes.copy(larger, 0, 0, this.used)
    this.bytes = larger
  }
}
