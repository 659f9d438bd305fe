import type { Kv, KvOperation } from '../protocol/ports.ts'
import type { Codec } from './records.ts'

export interface TableInit<K, V> extends Codec<K, V> {
  keyOf (key: K): Uint8Array
  /** Clean records kept decoded: between one and two times this many. */
  cacheMax: number
}

/**
 * One kind of record, decoded, over a Kv. Changes stay in memory until the store's next batch is
 * written: `dirty` ones are in no batch, `flying` ones in the batch under way. null: deleted.
 */
export class Table<K, V> {
  private readonly kv: Kv
  private readonly init: TableInit<K, V>
  private dirty = new Map<K, V | null>()
  private flying = new Map<K, V | null>()
  /** Two generations of clean records: what was used since the last turn survives the next. */
  private young = new Map<K, V>()
  private old = new Map<K, V>()

  constructor (kv: Kv, init: TableInit<K, V>) {
    this.kv = kv
    this.init = init
  }

  get dirtyKeys (): number { return this.dirty.size }

  get pendingKeys (): number { return this.dirty.size + this.flying.size }

  get (key: K): V | undefined {
    let value = this.dirty.get(key)
    if (value === undefined) value = this.flying.get(key)
    if (value !== undefined) return value ?? undefined
    value = this.young.get(key)
    if (value !== undefined) return value ?? undefined
    return this.fetch(key)
  }

  /** Also after a change in place of what `get` returned. */
  put (key: K, value: V): void { this.dirty.set(key, value) }

  delete (key: K): void {
    this.dirty.set(key, null)
    this.young.delete(key)
    this.old.delete(key)
  }

  /** What is not in the store yet; null: deleted. */
  * pending (): Iterable<[K, V | null]> {
    for (const pair of this.flying) if (!this.dirty.has(pair[0])) yield pair
    yield * this.dirty
  }

  /** Adds the changes to a batch that is about to be written. */
  take (operations: KvOperation[]): void {
    for (const [key, value] of this.dirty) {
      operations.push(value === null
        ? { type: 'del', key: this.init.keyOf(key) }
        : { type: 'put', key: this.init.keyOf(key), value: this.init.encode(value) })
    }
    const empty = this.flying
    this.flying = this.dirty
    this.dirty = empty
  }

  /** The batch is in the store. */
  landed (): void {
    for (const [key, value] of this.flying) if (value !== null) this.remember(key, value)
    this.flying.clear()
  }

  /** The batch was not written: its changes go into the next one. */
  failed (): void {
    for (const [key, value] of this.flying) if (!this.dirty.has(key)) this.dirty.set(key, value)
    this.flying.clear()
  }

  private fetch (key: K): V | undefined {
    let value = this.old.get(key)
    if (value === undefined) {
      const bytes = this.kv.get(this.init.keyOf(key))
      if (bytes === undefined) return undefined
      value = this.init.decode(bytes, key)
    }
    this.remember(key, value)
    return value
  }

  private remember (key: K, value: V): void {
    // Deleted meanwhile: only `dirty` may answer.
    if (this.dirty.get(key) === null) return
    this.young.set(key, value)
    if (this.young.size <= this.init.cacheMax) return
    this.old = this.young
    this.young = new Map()
  }
}

export interface ResidentInit<K, V> extends Codec<K, V> { keyOf (key: K): Uint8Array }

/** A kind of record of which there are few: all are in memory, whether written or not. */
export class ResidentTable<K, V> {
  readonly all = new Map<K, V>()
  private readonly init: ResidentInit<K, V>
  private dirty = new Set<K>()
  private flying = new Set<K>()

  constructor (init: ResidentInit<K, V>) {
    this.init = init
  }

  get dirtyKeys (): number { return this.dirty.size }

  get pendingKeys (): number { return this.dirty.size + this.flying.size }

  get (key: K): V | undefined { return this.all.get(key) }

  put (key: K, value: V): void {
    this.all.set(key, value)
    this.dirty.add(key)
  }

  delete (key: K): void {
    if (this.all.delete(key)) this.dirty.add(key)
  }

  load (key: K, bytes: Uint8Array): void { this.all.set(key, this.init.decode(bytes, key)) }

  take (operations: KvOperation[]): void {
    for (const key of this.dirty) {
      const value = this.all.get(key)
      operations.push(value === undefined
        ? { type: 'del', key: this.init.keyOf(key) }
        : { type: 'put', key: this.init.keyOf(key), value: this.init.encode(value) })
    }
    const empty = this.flying
    this.flying = this.dirty
    this.dirty = empty
  }

  landed (): void { this.flying.clear() }

  failed (): void {
    for (const key of this.flying) this.dirty.add(key)
    this.flying.clear()
  }
}
