import { notedRecallsMax } from './bounds.ts'

/**
 * Tells whether what an answer grants may still be kept. A recall can overtake the answer to a
 * request that was sent before it, so every request takes a mark (`begin`), and what was recalled,
 * or changed by this client itself, after the mark is not cached from that answer.
 */
export class GrantGuard {
  private sequence = 0
  private inFlight = 0
  private allAt = 0
  private readonly recalled = new Map<number, number>()
  private readonly changed = new Map<number | string, number>()

  /** The mark of a request that is about to be sent. Each needs its `end`. */
  begin (): number {
    this.inFlight++
    return this.sequence
  }

  end (): void {
    if (--this.inFlight > 0) return
    this.recalled.clear()
    this.changed.clear()
  }

  /** The lease on an inode is given up. */
  disturb (ino: number): void { this.note(this.recalled, ino) }

  /** All leases are given up, or must be claimed anew. */
  disturbAll (): void {
    this.allAt = ++this.sequence
    this.recalled.clear()
    this.changed.clear()
  }

  /** This client has changed a name: answers of look-ups that are under way may be older. */
  change (dir: number, name: string): void {
    this.note(this.changed, dir)
    this.note(this.changed, nameKey(dir, name))
  }

  mayKeep (ino: number, since: number): boolean {
    return since >= this.allAt && (this.recalled.size === 0 || (this.recalled.get(ino) ?? 0) <= since)
  }

  listingUnchanged (dir: number, since: number): boolean {
    return this.changed.size === 0 || (this.changed.get(dir) ?? 0) <= since
  }

  nameUnchanged (dir: number, name: string, since: number): boolean {
    return this.changed.size === 0 || (this.changed.get(nameKey(dir, name)) ?? 0) <= since
  }

  private note (map: Map<number | string, number>, key: number | string): void {
    this.sequence++
    if (this.inFlight === 0) return
    if (map.size >= notedRecallsMax) this.disturbAll()
    else map.set(key, this.sequence)
  }
}

export function nameKey (dir: number, name: string): string { return `${dir}/${name}` }
