import type { DirectoryEntry } from '../fsnode/protocol/metadata.ts'
import { cachedListingNamesMax } from './bounds.ts'

export interface CachedName {
  /** 0: the name does not exist. */
  ino: number
  /** S_IFMT bits; 0 when only looked up. */
  type: number
  /** Version of the directory when this was so; for answers that come in another order. */
  version: number
}

/**
 * Names of a directory: looked-up ones, absent ones, and, after reading from the start, all of them.
 * The listing is kept sorted and may hold names that are gone meanwhile; they are skipped.
 */
export class CachedDirectory {
  parent = 0
  private readonly names = new Map<string, CachedName>()
  /** Names up to `listedTo`, bytewise ascending; may contain removed ones. */
  private sorted: string[] = []
  private readonly added = new Set<string>()
  /** Every name up to this one is known; null: nothing was listed. */
  private listedTo: string | null = null
  private complete = false
  private readonly count: (change: number) => void

  /** @param count Is told how many names more, or fewer, are held. */
  constructor (count: (change: number) => void) {
    this.count = count
  }

  /** A directory that was just made. */
  static empty (count: (change: number) => void, parent: number): CachedDirectory {
    const directory = new CachedDirectory(count)
    directory.parent = parent
    directory.complete = true
    return directory
  }

  get size (): number { return this.names.size }

  /** No name exists but those that are known. */
  get isComplete (): boolean { return this.complete }

  /** No name that is known exists. */
  get isEmpty (): boolean {
    for (const { ino } of this.names.values()) if (ino !== 0) return false
    return true
  }

  find (name: string): CachedName | undefined { return this.names.get(name) }

  /** Notes that a name stands for `ino`, or, with 0, that it does not exist. */
  set (name: string, ino: number, type: number, version: number): void {
    const known = this.names.get(name)
    if (known !== undefined) {
      if (known.version > version) return
      if (ino !== 0 && known.ino === 0) this.list(name)
      known.type = type !== 0 || known.ino !== ino ? type : known.type
      known.ino = ino
      known.version = version
      return
    }
    if (this.names.size >= cachedListingNamesMax) this.clear()
    this.names.set(name, { ino, type, version })
    this.count(1)
    if (ino !== 0) this.list(name)
  }

  /** Nothing is known of the name any more, so neither of the whole. */
  forget (name: string): void {
    if (this.names.delete(name)) this.count(-1)
    this.unlist()
  }

  private clear (): void {
    this.count(-this.names.size)
    this.names.clear()
    this.unlist()
  }

  unlist (): void {
    this.sorted = []
    this.added.clear()
    this.listedTo = null
    this.complete = false
  }

  /** Where reading from the server should go on for somebody who wants the names after `after`; null when it can be no part of the listing. */
  resumesAt (after: string): string | null {
    if (this.listedTo === null) return after === '' && !this.complete ? '' : null
    return compareNames(after, this.listedTo) <= 0 ? this.listedTo : null
  }

  /** Takes a page that was read from the server at `resumesAt`. False: the directory is too large to be listed from here. */
  addPage (after: string, entries: readonly DirectoryEntry[], done: boolean, version: number): boolean {
    if ((this.listedTo ?? '') !== after) return true
    if (this.names.size + entries.length > cachedListingNamesMax) {
      this.unlist()
      return false
    }
    this.listedTo = after
    for (const entry of entries) {
      this.listedTo = entry.name
      this.set(entry.name, entry.ino, entry.type, version)
      this.sorted.push(entry.name)
      this.added.delete(entry.name)
    }
    this.complete = done
    return true
  }

  /** Names after `after` from the listing; null when it does not reach there. */
  page (after: string, limit: number): { entries: Array<{ name: string, known: CachedName }>, done: boolean } | null {
    if (!this.complete && (this.listedTo === null || compareNames(after, this.listedTo) >= 0)) return null
    this.merge()
    const { sorted } = this
    const entries: Array<{ name: string, known: CachedName }> = []
    let index = after === '' ? 0 : positionAfter(sorted, after)
    for (; index < sorted.length && entries.length < limit; index++) {
      const known = this.names.get(sorted[index]!)
      if (known !== undefined && known.ino !== 0) entries.push({ name: sorted[index]!, known })
    }
    const done = index >= sorted.length
    if (done && !this.complete && entries.length === 0) return null
    return { entries, done: done && this.complete }
  }

  /** A name appeared: it takes its place in the listing if that reaches so far. */
  private list (name: string): void {
    if (!this.complete && (this.listedTo === null || compareNames(name, this.listedTo) > 0)) return
    this.added.add(name)
  }

  private merge (): void {
    if (this.added.size === 0) return
    const fresh = [...this.added].sort(compareNames)
    this.added.clear()
    const merged: string[] = []
    let index = 0
    for (const name of fresh) {
      while (index < this.sorted.length && compareNames(this.sorted[index]!, name) < 0) this.keep(merged, this.sorted[index++]!)
      if (this.sorted[index] === name) index++
      merged.push(name)
    }
    while (index < this.sorted.length) this.keep(merged, this.sorted[index++]!)
    this.sorted = merged
  }

  private keep (merged: string[], name: string): void {
    const known = this.names.get(name)
    if (known !== undefined && known.ino !== 0) merged.push(name)
  }
}

/** The order of the names' UTF-8 bytes, which is that of their code points: unlike `<`, which compares UTF-16 units. */
export function compareNames (one: string, other: string): number {
  const length = Math.min(one.length, other.length)
  for (let index = 0; index < length; index++) {
    const left = one.charCodeAt(index)
    const right = other.charCodeAt(index)
    if (left !== right) return rankOf(left) - rankOf(right)
  }
  return one.length - other.length
}

/** Surrogates stand for code points above all other units. */
function rankOf (unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}

function positionAfter (sorted: readonly string[], name: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareNames(sorted[middle]!, name) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
