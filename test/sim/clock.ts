import type { Clock, Timer } from '../../fsnode/protocol/ports.ts'

interface Scheduled { at: number, order: number, callback: () => void, cancelled: boolean }

/** A nanosecond: less can vanish in a sum, and who waits for the rest of a time would wait in one moment for ever. */
const delayMsMin = 1e-6

/** 2026-01-01T00:00:00Z, so that time stamps in transcripts are stable. */
const wallOriginNs = 1_767_225_600_000_000_000n

/** Virtual time: it moves only in `advance`, which runs what is due and lets promises settle in between. */
export class SimClock implements Clock {
  private time = 0
  private order = 0
  /** A binary heap by (at, order). */
  private readonly heap: Scheduled[] = []

  now (): number { return this.time }

  wallNs (): bigint { return wallOriginNs + BigInt(Math.round(this.time * 1e6)) }

  setTimer (callback: () => void, delayMs: number): Timer {
    const scheduled: Scheduled = { at: this.time + (delayMs > 0 ? Math.max(delayMsMin, delayMs) : 0), order: this.order++, callback, cancelled: false }
    this.push(scheduled)
    return { cancel: () => { scheduled.cancelled = true } }
  }

  /** Moves time forward by `durationMs`. */
  async advance (durationMs: number): Promise<void> {
    const end = this.time + durationMs
    await settle()
    for (let next = this.peek(); next !== undefined && next.at <= end; next = this.peek()) {
      this.time = Math.max(this.time, next.at)
      this.pop()
      next.callback()
      await settle()
    }
    this.time = end
  }

  /** Advances in steps until the condition holds; throws when `limitMs` of virtual time pass without it. */
  async until (condition: () => boolean | Promise<boolean>, limitMs = 60_000, what = 'the condition'): Promise<void> {
    const end = this.time + limitMs
    await settle()
    while (!(await condition())) {
      const next = this.peek()
      if (next === undefined || next.at > end) throw new Error(`${what} did not hold within ${limitMs} ms of virtual time`)
      await this.advance(Math.max(0, next.at - this.time))
    }
  }

  /** Resolves a promise under virtual time. */
  async run<T> (promise: Promise<T>, limitMs = 60_000): Promise<T> {
    let done = false
    promise.then(() => { done = true }, () => { done = true })
    await this.until(() => done, limitMs, 'the promise')
    return promise
  }

  private peek (): Scheduled | undefined {
    while (this.heap.length > 0 && this.heap[0]!.cancelled) this.pop()
    return this.heap[0]
  }

  private push (item: Scheduled): void {
    const { heap } = this
    let index = heap.push(item) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!earlier(item, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = item
  }

  private pop (): void {
    const { heap } = this
    const item = heap.pop()!
    if (heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++
      if (!earlier(heap[child]!, item)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = item
  }
}

function earlier (one: Scheduled, other: Scheduled): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order)
}

/** Lets every promise that can settle do so: macrotask turns drain the microtask queue. */
export async function settle (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}
