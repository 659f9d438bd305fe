import { holdsChunk } from '../../partitioning/routing.ts'
import type { PartitionId } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { ChunkName } from './chunk-store.ts'

/** A partition that has been split, as the cluster map has it. */
export interface Division {
  partition: PartitionId
  index: number
  span: number
  /** Partitions of which it may have been split off, the nearest first. */
  ancestors: PartitionId[]
  /** Which partition of the volume holds a chunk now. */
  ownerOf: (ino: number, chunk: number) => PartitionId
}

interface Known extends Division { swept: boolean }

/**
 * Which partitions of this store have been split, and in whose directories files of others may still lie: a split takes
 * effect at once, and files are moved afterwards, one by one.
 */
export class Divisions {
  private readonly known = new Map<PartitionId, Known>()

  /** Returns whether that is new. */
  set (division: Division): boolean {
    if (this.known.get(division.partition)?.span === division.span) return false
    this.known.set(division.partition, { ...division, swept: false })
    return true
  }

  forget (partition: PartitionId): void { this.known.delete(partition) }

  get (partition: PartitionId): Division | undefined { return this.known.get(partition) }

  /** No file of another partition lies in the directory. */
  isSwept (partition: PartitionId): boolean { return this.known.get(partition)?.swept !== false }

  swept (division: Division): void {
    const known = this.known.get(division.partition)
    if (known?.span === division.span) known.swept = true
  }

  /** Partitions in whose directories files of this one may lie. */
  sources (partition: PartitionId): PartitionId[] {
    return this.known.get(partition)?.ancestors.filter((ancestor) => !this.isSwept(ancestor)) ?? []
  }

  holds ({ partition, ino, chunk }: ChunkName): boolean {
    const known = this.known.get(partition)
    return known === undefined || holdsChunk(known, ino, chunk)
  }

  /** @throws AtollError ATOLL_STALE_EPOCH: whoever asks does not know of a split. */
  require (name: ChunkName): void {
    if (!this.holds(name)) throw new AtollError('ATOLL_STALE_EPOCH', `chunk ${name.ino}.${name.chunk} is not in partition ${name.partition} any more`)
  }
}
