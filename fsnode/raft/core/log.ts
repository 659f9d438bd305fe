import type { Entry } from './types.ts'

/**
 * The log as the core sees it: which terms it has from where to where, and the newest entries.
 * Older entries are on disk only; their terms are kept, as runs, for the whole log.
 */
export class RaftLog {
  /** The entry before the first one. */
  markIndex: number
  markTerm: number
  lastIndex: number
  /** Bytes of all entries, on disk or not. An estimate after a cut of entries that are not in memory. */
  bytes = 0
  private readonly cacheBytesMax: number
  /** Where each term begins, ascending in both. */
  private readonly runs: Array<{ first: number, term: number }> = []
  /** Entries cacheFirst .. lastIndex. */
  private cache: Entry[] = []
  private cacheFirst: number
  private cacheBytes = 0

  constructor (mark: { index: number, term: number }, cacheBytesMax: number) {
    this.markIndex = mark.index
    this.markTerm = mark.term
    this.lastIndex = mark.index
    this.cacheFirst = mark.index + 1
    this.cacheBytesMax = cacheBytesMax
  }

  get lastTerm (): number {
    return this.runs.length === 0 ? this.markTerm : this.runs[this.runs.length - 1]!.term
  }

  get length (): number { return this.lastIndex - this.markIndex }

  /** undefined: not in this log, or before its mark. */
  termAt (index: number): number | undefined {
    if (index === this.markIndex) return this.markTerm
    if (index < this.markIndex || index > this.lastIndex) return undefined
    let run = this.runs.length - 1
    while (this.runs[run]!.first > index) run--
    return this.runs[run]!.term
  }

  /** The last index, at most `index`, whose term is at most `term`; the mark's if there is none. */
  lastIndexOfTermAtMost (term: number, index: number): number {
    let end = Math.min(index, this.lastIndex)
    for (let run = this.runs.length - 1; run >= 0; run--) {
      const { first, term: runTerm } = this.runs[run]!
      if (first > end) continue
      if (runTerm <= term) return end
      end = first - 1
    }
    return Math.min(end, this.markIndex)
  }

  /** True if a log that ends like this holds every entry that this one may have committed. */
  isUpToDate (lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex)
  }

  append (entry: Entry): void {
    if (entry.index !== this.lastIndex + 1 || entry.term < this.lastTerm) {
      throw new Error(`raft log: entry ${entry.index} of term ${entry.term} cannot follow entry ${this.lastIndex} of term ${this.lastTerm}`)
    }
    if (this.runs.length === 0 || this.lastTerm !== entry.term) this.runs.push({ first: entry.index, term: entry.term })
    this.lastIndex = entry.index
    this.bytes += entry.data.length
    this.cache.push(entry)
    this.cacheBytes += entry.data.length + entryOverheadBytes
  }

  /** Removes the entries from `index` on. */
  truncate (index: number): void {
    while (this.runs.length > 0 && this.runs[this.runs.length - 1]!.first >= index) this.runs.pop()
    while (this.cache.length > 0 && this.lastIndex >= index) this.forget(this.cache.pop()!)
    this.lastIndex = Math.min(this.lastIndex, index - 1)
    this.cacheFirst = Math.min(this.cacheFirst, this.lastIndex + 1)
  }

  /** Forgets the entries up to `index`, which becomes the mark. */
  cut (index: number): void {
    const term = this.termAt(index)
    if (term === undefined) throw new Error(`raft log: cannot cut at ${index}, outside ${this.markIndex} to ${this.lastIndex}`)
    const share = this.length === 0 ? 1 : (index - this.markIndex) / this.length
    const bytesLeft = Math.max(0, Math.round(this.bytes * (1 - share)))
    this.dropCached(index)
    while (this.runs.length > 1 && this.runs[1]!.first <= index + 1) this.runs.shift()
    if (index === this.lastIndex) this.runs.length = 0
    else this.runs[0]!.first = Math.max(this.runs[0]!.first, index + 1)
    this.markIndex = index
    this.markTerm = term
    this.bytes = bytesLeft
  }

  /** Starts over after a snapshot. */
  reset (index: number, term: number): void {
    this.markIndex = index
    this.markTerm = term
    this.lastIndex = index
    this.runs.length = 0
    this.cache = []
    this.cacheFirst = index + 1
    this.cacheBytes = 0
    this.bytes = 0
  }

  /** Undefined if it is not in memory. */
  get (index: number): Entry | undefined {
    return this.cache[index - this.cacheFirst]
  }

  /** Entries from `first`, as many as the bounds allow, at least one; null if they are not in memory. */
  slice (first: number, entriesMax: number, bytesMax: number): Entry[] | null {
    if (first < this.cacheFirst) return null
    const start = first - this.cacheFirst
    let end = start
    let bytes = 0
    while (end < this.cache.length && end - start < entriesMax) {
      bytes += this.cache[end]!.data.length
      if (bytes > bytesMax && end > start) break
      end++
    }
    return this.cache.slice(start, end)
  }

  /** Keeps the memory within its bound. Entries after `persistedIndex` cannot be read from disk yet, so they stay. */
  evict (persistedIndex: number): void {
    if (this.cacheBytes <= this.cacheBytesMax) return
    // Down to three quarters, so that the array is not shifted for each entry.
    const target = this.cacheBytesMax * 0.75
    let bytes = this.cacheBytes
    let index = this.cacheFirst
    while (bytes > target && index <= persistedIndex && index <= this.lastIndex) {
      bytes -= this.cache[index - this.cacheFirst]!.data.length + entryOverheadBytes
      index++
    }
    this.dropCached(index - 1)
  }

  get cachedBytes (): number { return this.cacheBytes }

  private dropCached (index: number): void {
    const count = Math.min(index - this.cacheFirst + 1, this.cache.length)
    if (count > 0) {
      for (let position = 0; position < count; position++) this.cacheBytes -= this.cache[position]!.data.length + entryOverheadBytes
      this.cache.splice(0, count)
    }
    this.cacheFirst = Math.max(this.cacheFirst, Math.min(index, this.lastIndex) + 1)
  }

  private forget (entry: Entry): void {
    this.lastIndex--
    this.bytes -= entry.data.length
    this.cacheBytes -= entry.data.length + entryOverheadBytes
  }
}

/** Rough cost of an entry in memory beside its data. */
const entryOverheadBytes = 96
