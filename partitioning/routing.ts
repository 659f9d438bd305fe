import type { PartitionId } from './types.ts'

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

/** Consecutive chunks of a file fall on consecutive partitions, so that one file is striped over the nodes. */
export function dataIndexOfChunk (ino: number, chunkIndex: number, dataPartitions: number): number {
  return (hashInode(ino) + chunkIndex) % dataPartitions
}
