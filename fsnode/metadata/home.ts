import { rootInode } from '../../partitioning/routing.ts'

/**
 * Where a new directory lives: children of the root spread over the volume's partitions, deeper ones
 * stay with their parents, so that a tree below the first level is one partition's.
 */
export function homeOfDirectory (parent: number, parentIndex: number, name: string, partitions: number): number {
  return parent === rootInode ? hashName(name) % partitions : parentIndex
}

/** FNV-1a over the name's UTF-16 units, finished as in Murmur3 so that similar names spread. */
export function hashName (name: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
