/** Cached pages lie in folios of at most this many bytes, each locked as a whole, and aligned to their size. */
export const folioBytesMax = 2 * 1024 * 1024

export interface PageRange { from: number, to: number }

/**
 * The READs and WRITEs that are being answered, by inode. For each of them the kernel holds locks of
 * pages: it cannot drop these before the answer, and the answer may wait for them to be dropped.
 */
export class PageActivity {
  private readonly byIno = new Map<number, Set<PageRange>>()
  /** Called when one begins. */
  onBegin: (ino: number) => void = () => {}

  begin (ino: number, offset: number, length: number): PageRange {
    const range = { from: offset, to: offset + length }
    const others = this.byIno.get(ino)
    if (others === undefined) this.byIno.set(ino, new Set([range]))
    else others.add(range)
    this.onBegin(ino)
    return range
  }

  end (ino: number, range: PageRange): void {
    const ranges = this.byIno.get(ino)
    ranges?.delete(range)
    if (ranges?.size === 0) this.byIno.delete(ino)
  }

  /** Whether one of them touches the range. */
  overlaps (ino: number, from: number, to: number): boolean {
    for (const range of this.byIno.get(ino) ?? []) if (range.from < to && from < range.to) return true
    return false
  }

  /** Ranges whose pages may be locked: in ascending order, apart from each other, whole folios. */
  lockedRanges (ino: number): PageRange[] {
    const aligned = [...this.byIno.get(ino) ?? []]
      .map(({ from, to }) => ({ from: Math.floor(from / folioBytesMax) * folioBytesMax, to: Math.ceil(to / folioBytesMax) * folioBytesMax }))
      .sort((one, other) => one.from - other.from)
    const merged: PageRange[] = []
    for (const range of aligned) {
      const last = merged.at(-1)
      if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to)
      else merged.push(range)
    }
    return merged
  }
}

/** What lies between ascending ranges, from 0 to infinity. */
export function gapsBetween (ranges: readonly PageRange[]): PageRange[] {
  const gaps: PageRange[] = []
  let from = 0
  for (const range of ranges) {
    if (from < range.from) gaps.push({ from, to: range.from })
    from = range.to
  }
  return [...gaps, { from, to: Infinity }]
}
