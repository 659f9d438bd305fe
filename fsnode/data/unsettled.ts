import type { ChunkAddress } from '../protocol/data.ts'

export type ChunkKey = string

export function keyOf ({ ino, chunk }: Pick<ChunkAddress, 'ino' | 'chunk'>): ChunkKey {
  return `${ino}.${chunk}`
}

export function chunkOf (key: ChunkKey): [ino: number, chunk: number] {
  const dot = key.indexOf('.')
  return [Number(key.slice(0, dot)), Number(key.slice(dot + 1))]
}

/**
 * The chunks on which replicas may differ, as this replica knows them.
 *
 * `open`: applied here, order > committed. `inherited`: were open when the primary changed, here or at a
 * primary since; they stay until all serving replicas have compared them with one primary. Invariant:
 * a chunk in which two serving replicas differ is in the union of the two at one of the replicas at least.
 */
export class Unsettled {
  readonly inherited = new Set<ChunkKey>()
  private readonly open = new Map<ChunkKey, number>()
  private committed = 0

  /** In the order of their last mutation. */
  applied (key: ChunkKey, order: number): void {
    if (order <= this.committed) return
    this.open.delete(key)
    this.open.set(key, order)
  }

  settle (committed: number): void {
    if (committed <= this.committed) return
    this.committed = committed
    for (const [key, order] of this.open) {
      if (order > committed) return
      this.open.delete(key)
    }
  }

  isOpen (key: ChunkKey): boolean { return this.open.has(key) }

  get empty (): boolean { return this.open.size === 0 && this.inherited.size === 0 }

  /** Gives up the chunks that belong to others from now on, and tells which. */
  release (holds: (ino: number, chunk: number) => boolean): ChunkKey[] {
    this.inherit()
    const released = [...this.inherited].filter((key) => !holds(...chunkOf(key)))
    for (const key of released) this.inherited.delete(key)
    return released
  }

  /** Another primary counts anew and knows nothing of what is open. */
  inherit (): void {
    for (const key of this.open.keys()) this.inherited.add(key)
    this.open.clear()
    this.committed = 0
  }
}
