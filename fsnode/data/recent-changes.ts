import { recentChangesMax } from './constants.ts'
import type { ChunkKey } from './unsettled.ts'

/** Who changed a chunk last, and when somebody else did. */
interface Change { writer: string | undefined, order: number, othersOrder: number }

/**
 * Which chunks were changed in this term of office, and by whom: so that a mutation which depends on what the chunk was when it
 * was sent can be refused when it comes late. Bounded: what was forgotten counts as changed when the last forgotten one was.
 */
export class RecentChanges {
  private young = new Map<ChunkKey, Change>()
  private old = new Map<ChunkKey, Change>()
  private forgotten = 0
  private newest = 0
  /** The newest when the young ones began to be gathered. */
  private boundary = 0

  note (key: ChunkKey, writer: string | undefined, order: number): void {
    this.newest = order
    const known = this.young.get(key)
    if (known === undefined) this.add(key, { writer, order, othersOrder: this.othersOrder(key, writer) })
    else if (known.writer !== undefined && known.writer === writer) known.order = order
    else Object.assign(known, { writer, order, othersOrder: known.order })
  }

  /** Order of the last change by anybody else than the writer, or a later one. */
  othersOrder (key: ChunkKey, writer: string | undefined): number {
    const known = this.young.get(key) ?? this.old.get(key)
    if (known === undefined) return this.forgotten
    return known.writer !== undefined && known.writer === writer ? known.othersOrder : known.order
  }

  private add (key: ChunkKey, change: Change): void {
    if (this.young.size >= recentChangesMax) {
      // Whatever is forgotten now was changed before the young ones began to be gathered.
      this.forgotten = this.boundary
      this.boundary = this.newest
      this.old = this.young
      this.young = new Map()
    }
    this.young.set(key, change)
  }
}
