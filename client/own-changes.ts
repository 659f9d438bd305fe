import { nameKey } from './grant-guard.ts'

export type ChangedName = readonly [dir: number, name: string]

/**
 * Inodes and names that this client's own mutations under way are about to change. The partition may have made the
 * change already, and others may have seen it, before the answer is here; nobody recalls a lease from whoever
 * makes the change. So what is cached of these, even of an inode that is held exclusively and whose name others saw vanish, is
 * not current: it is asked for.
 */
export class OwnChanges {
  /** How many mutations, by inode, name and (the name '') listing. */
  private readonly counts = new Map<number | string, number>()

  /** Each needs its `end` with the same arguments. */
  begin (inos: readonly number[], names: readonly ChangedName[]): void {
    for (const key of keysOf(inos, names)) this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
  }

  end (inos: readonly number[], names: readonly ChangedName[]): void {
    for (const key of keysOf(inos, names)) {
      const left = this.counts.get(key)! - 1
      if (left === 0) this.counts.delete(key)
      else this.counts.set(key, left)
    }
  }

  inode (ino: number): boolean { return this.counts.size > 0 && this.counts.has(ino) }

  name (dir: number, name: string): boolean { return this.counts.size > 0 && this.counts.has(nameKey(dir, name)) }

  anyName (dir: number): boolean { return this.counts.size > 0 && this.counts.has(nameKey(dir, '')) }
}

function keysOf (inos: readonly number[], names: readonly ChangedName[]): Array<number | string> {
  return [...inos, ...names.flatMap(([dir, name]) => [nameKey(dir, name), nameKey(dir, '')])]
}
