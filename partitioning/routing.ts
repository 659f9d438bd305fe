import type { DataPartition, PartitionId, VolumeInfo } from './types.ts'

/** An inode number is <metadata partition index, 12 bits><sequence, 41 bits>: a safe integer that routes without a look-up. */
export const inodeSequenceBits = 41
export const metadataPartitionsMax = 4096
export const rootInode = 1
const sequenceSpan = 2 ** inodeSequenceBits

export function metadataIndexOf (ino: number): number {
  return Math.floor(ino / sequenceSpan)
}

export function inodeNumber (metadataIndex: number, sequence: number): number {
  return metadataIndex * sequenceSpan + sequence
}

export function metadataPartitionId (volume: number, index: number): PartitionId {
  return `${volume}.m.${index}`
}

export function dataPartitionId (volume: number, index: number): PartitionId {
  return `${volume}.d.${index}`
}

/** Murmur3's 32-bit finaliser over both halves of a safe integer: spreads consecutive inode numbers. */
export function hashInode (ino: number): number {
  let hash = (ino % 0x100000000) ^ Math.imul(Math.floor(ino / 0x100000000), 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * Where a chunk is among all places of its volume; the remainder by the number of partitions is the index of its own. Consecutive
 * chunks of a file fall on consecutive partitions, so that one file is striped over the nodes.
 */
export function placeOfChunk (ino: number, chunkIndex: number): number { return hashInode(ino) + chunkIndex }

/**
 * The index of the partition that holds a chunk. `spanOf`: the span of those partitions that have been split (`DataPartition.span`). A
 * partition of span S that is split gets the span 2S and keeps half of its chunks; the others go to the one whose index is larger by S.
 */
export function dataIndexOfChunk (ino: number, chunkIndex: number, dataPartitions: number, spanOf?: (index: number) => number | undefined): number {
  const place = placeOfChunk(ino, chunkIndex)
  let span = dataPartitions
  let index = place % span
  while (spanOf !== undefined && (spanOf(index) ?? 0) > span) {
    span *= 2
    index = place % span
  }
  return index
}

/** The same by the partitions of a cluster map. */
export function dataPartitionOfChunk ({ id, dataPartitions }: Pick<VolumeInfo, 'id' | 'dataPartitions'>, ino: number, chunkIndex: number, spanOf: (partition: PartitionId) => number | undefined): PartitionId {
  return dataPartitionId(id, dataIndexOfChunk(ino, chunkIndex, dataPartitions, (index) => spanOf(dataPartitionId(id, index))))
}

/** Whether a partition that has been split still holds the chunk. Of one that never was, every chunk that is asked of it is its own. */
export function holdsChunk ({ index, span }: Pick<DataPartition, 'index' | 'span'>, ino: number, chunkIndex: number): boolean {
  return span === undefined || placeOfChunk(ino, chunkIndex) % span === index
}
