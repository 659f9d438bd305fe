/**
 * A bounded pool of request buffers. A WRITE's data is handed to the client in the buffer that the
 * kernel filled; the reader goes on with another one from here, and the first comes back when the
 * client is done with it.
 */
export class BufferPool {
  private readonly bufferBytes: number
  private readonly buffersMax: number
  private readonly free: Buffer[] = []
  private made = 0

  constructor (init: { bufferBytes: number, buffersMax: number }) {
    this.bufferBytes = init.bufferBytes
    this.buffersMax = init.buffersMax
  }

  /** Null when as many as allowed are in use. */
  take (): Buffer | null {
    const buffer = this.free.pop()
    if (buffer !== undefined) return buffer
    if (this.made >= this.buffersMax) return null
    this.made++
    // Touched now: a kill in the middle of a page fault would make the kernel fail the request it was copying.
    return Buffer.allocUnsafeSlow(this.bufferBytes).fill(0)
  }

  give (buffers: readonly Buffer[]): void {
    for (const buffer of buffers) this.free.push(buffer)
  }

  /** These stay with whoever has them (a failed flush may still refer to them); others are made in their place. */
  abandon (count: number): void {
    this.made -= count
  }
}
