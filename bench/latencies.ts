/** Durations of one kind of operation. */
export class Latencies {
  private readonly ms: number[] = []
  bytes = 0

  async measure<T> (bytes: number, work: () => Promise<T>): Promise<T> {
    const began = performance.now()
    const result = await work()
    this.add(performance.now() - began, bytes)
    return result
  }

  add (ms: number, bytes: number): void {
    this.ms.push(ms)
    this.bytes += bytes
  }

  /** With those of another measurement. */
  include (other: Latencies): void {
    for (const ms of other.ms) this.ms.push(ms)
    this.bytes += other.bytes
  }

  get count (): number { return this.ms.length }

  /** Milliseconds; `part` of the operations took no longer. */
  percentile (part: number): number {
    const sorted = Float64Array.from(this.ms).sort()
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
  }
}
