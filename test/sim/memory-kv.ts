import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, KvOperation, KvRange, Random } from '../../fsnode/protocol/ports.ts'

export interface MemoryKvComponents {
  /** With a clock, batches take the times below; without, they are done in the next microtask. */
  clock?: Clock
  /** Draws the time of each sync between the two bounds. */
  random?: Random
}

export interface MemoryKvInit {
  /** Time of a batch without sync. */
  writeDelayMs?: number
  syncDelayMsMin?: number
  syncDelayMsMax?: number
}

interface Batch {
  operations: KvOperation[]
  sync: boolean
  /** What the keys held before; null until the batch is applied. */
  undo: Array<[string, Uint8Array | undefined]> | null
}

/**
 * A Kv in memory that forgets what a real disk may forget. Like LevelDB's, a batch becomes
 * visible when its promise resolves, batches take effect in the order of the calls, and a sync covers
 * every batch before it.
 *
 * After `crash` or `kill` this object is dead, as is whatever still holds it: reads throw, batches
 * never settle. `reopen` gives the successor that holds what survived.
 */
export class MemoryKv implements Kv {
  /** While set, batches reject with it (a full disk, say) and change nothing. */
  failure: Error | null = null
  private readonly components: MemoryKvComponents
  private readonly init: MemoryKvInit
  private readonly values = new Map<string, Uint8Array>()
  /** Sorted. */
  private readonly keys: string[] = []
  /** Applied or under way, in order, and not known to be on stable storage. */
  private unsynced: Batch[] = []
  private lastDone: Promise<void> = Promise.resolve()
  private state: 'open' | 'closed' | 'dead' = 'open'

  constructor (components: MemoryKvComponents = {}, init: MemoryKvInit = {}) {
    this.components = components
    this.init = init
  }

  get size (): number { return this.keys.length }

  get (key: Uint8Array): Uint8Array | undefined {
    this.requireOpen()
    return this.values.get(nameOf(key))
  }

  batch (operations: KvOperation[], { sync = false }: { sync?: boolean } = {}): Promise<void> {
    if (this.state === 'dead') return new Promise(() => {})
    if (this.state === 'closed') return Promise.reject(unusable('is closed'))
    if (this.failure !== null) return Promise.reject(this.failure)
    const batch: Batch = { operations: operations.map(copyOf), sync, undo: null }
    this.unsynced.push(batch)
    const delayed = Promise.all([this.lastDone, this.delay(sync)])
    this.lastDone = delayed.then(() => this.finish(batch))
    return this.lastDone
  }

  iterate (range: KvRange): AsyncIterable<[Uint8Array, Uint8Array]> {
    return oneByOne(this.rangeOf(range))
  }

  /** The pairs of a range at once. */
  rangeOf (range: KvRange): Array<[Uint8Array, Uint8Array]> {
    this.requireOpen()
    const first = range.gte !== undefined ? this.position(nameOf(range.gte), false) : range.gt !== undefined ? this.position(nameOf(range.gt), true) : 0
    const end = range.lt !== undefined ? this.position(nameOf(range.lt), false) : range.lte !== undefined ? this.position(nameOf(range.lte), true) : this.keys.length
    const limit = range.limit === undefined || range.limit < 0 ? Infinity : range.limit
    const count = Math.max(0, Math.min(end - first, limit))
    const names = range.reverse === true ? this.keys.slice(Math.max(first, end - count), Math.max(first, end)).reverse() : this.keys.slice(first, first + count)
    return names.map((name) => [Buffer.from(name, 'latin1'), this.values.get(name)!])
  }

  async close (): Promise<void> {
    if (this.state !== 'open') return
    this.state = 'closed'
    await this.lastDone
  }

  /** The power fails: of what was not synced, a prefix of the batches survives, as long as `random` says; none without it. */
  crash (random?: Random): void {
    const kept = random === undefined ? 0 : Math.floor(random.next() * (this.unsynced.length + 1))
    this.state = 'dead'
    for (const batch of this.unsynced.slice(kept).reverse()) this.revert(batch)
    for (const batch of this.unsynced.slice(0, kept)) this.apply(batch)
    this.unsynced = []
  }

  /** The process ends: every batch that had resolved survives. */
  kill (): void {
    this.state = 'dead'
    this.unsynced = this.unsynced.filter((batch) => batch.undo !== null)
  }

  /** What the next process finds. */
  reopen (): MemoryKv {
    if (this.state === 'open') throw unusable('is still open')
    const successor = new MemoryKv(this.components, this.init)
    for (const [name, value] of this.values) successor.values.set(name, value)
    successor.keys.push(...this.keys)
    // A closed file may still lose what was never synced.
    successor.unsynced = this.unsynced
    return successor
  }

  private requireOpen (): void {
    if (this.state !== 'open') throw unusable(`is ${this.state}`)
  }

  private delay (sync: boolean): Promise<void> | undefined {
    const { clock, random } = this.components
    if (clock === undefined) return undefined
    const { writeDelayMs = 0, syncDelayMsMin = 0, syncDelayMsMax = syncDelayMsMin } = this.init
    const delayMs = sync ? syncDelayMsMin + (random?.next() ?? 1) * (syncDelayMsMax - syncDelayMsMin) : writeDelayMs
    return new Promise((resolve) => { clock.setTimer(resolve, delayMs) })
  }

  private finish (batch: Batch): Promise<void> {
    if (this.state === 'dead') return new Promise(() => {})
    this.apply(batch)
    if (batch.sync) this.unsynced.splice(0, this.unsynced.indexOf(batch) + 1)
    return Promise.resolve()
  }

  private apply (batch: Batch): void {
    if (batch.undo !== null) return
    batch.undo = []
    for (const operation of batch.operations) {
      const name = nameOf(operation.key)
      batch.undo.push([name, this.values.get(name)])
      this.set(name, operation.type === 'put' ? operation.value : undefined)
    }
  }

  private revert (batch: Batch): void {
    for (const [name, value] of (batch.undo ?? []).reverse()) this.set(name, value)
  }

  private set (name: string, value: Uint8Array | undefined): void {
    const known = this.values.has(name)
    if (value === undefined) {
      if (!known) return
      this.values.delete(name)
      this.keys.splice(this.position(name, false), 1)
      return
    }
    this.values.set(name, value)
    if (!known) this.keys.splice(this.position(name, false), 0, name)
  }

  /** Number of keys before `name`, itself included if `after`. */
  private position (name: string, after: boolean): number {
    let low = 0
    let high = this.keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const key = this.keys[middle]!
      if (key < name || (after && key === name)) low = middle + 1
      else high = middle
    }
    return low
  }
}

async function * oneByOne (pairs: Array<[Uint8Array, Uint8Array]>): AsyncIterable<[Uint8Array, Uint8Array]> {
  yield * pairs
}

/** Strings of latin1 compare as their bytes do. */
function nameOf (key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}

function copyOf (operation: KvOperation): KvOperation {
  const key = Uint8Array.from(operation.key)
  return operation.type === 'put' ? { type: 'put', key, value: Buffer.from(operation.value) } : { type: 'del', key }
}

function unusable (how: string): AtollError {
  return new AtollError('ATOLL_STORE_UNUSABLE', `the store ${how}`)
}
