/**
 * Where a new directory lives. What is in it lives with it, so this alone spreads a volume over its metadata
 * partitions; nothing that exists moves. Children of the root are spread by their names. Deeper ones stay with their
 * parents, which costs one log entry, unless the partition of the parent holds notably more than its share: then as large a part of
 * them as of its inodes is too much is made elsewhere, by a transaction.
 */

/** How many inodes a metadata partition holds. */
export interface Filling { index: number, inodes: number }

/** What a partition with fewer inodes makes stays there: small volumes, and trees that are copied, are one partition's. */
export const spreadInodesMin = 250_000
/** Beyond so many times its share a partition holds notably more than it. */
export const spreadFactor = 1.25

/** Of a directory in the root. */
export function homeOfRootChild (name: string, partitions: number): number { return hashName(name) % partitions }

/**
 * Which share of the directories that are made below a partition's should be made elsewhere: that of its inodes which is beyond the
 * mean. From 0 up to, never, 1. Its neighbours get nothing from one that is no fuller than they are.
 *
 * @param others Of those of the volume's other partitions of which it is known.
 */
export function shareElsewhere (inodes: number, others: readonly Filling[], inodesMin: number = spreadInodesMin): number {
  if (inodes < inodesMin || others.length === 0) return 0
  const mean = meanOf(inodes, others)
  return inodes > mean * spreadFactor ? 1 - mean / inodes : 0
}

/**
 * The emptier one of two partitions drawn from those that hold less than their share; null: the directory stays with its parent. Two are
 * enough to even things out, and keep those who know the same from all choosing the same.
 *
 * @param random Two numbers, from 0 up to 1.
 */
export function homeElsewhere (inodes: number, others: readonly Filling[], random: readonly [number, number]): number | null {
  const mean = meanOf(inodes, others)
  const emptier = others.filter((other) => other.inodes < mean)
  if (emptier.length === 0) return null
  const one = Math.floor(random[0] * emptier.length)
  // Another one, where there is one.
  const other = (one + 1 + Math.floor(random[1] * (emptier.length - 1))) % emptier.length
  return emptier[emptier[other]!.inodes < emptier[one]!.inodes ? other : one]!.index
}

function meanOf (inodes: number, others: readonly Filling[]): number {
  return others.reduce((sum, other) => sum + other.inodes, inodes) / (others.length + 1)
}

/** FNV-1a over the name's UTF-16 units, finished as in Murmur3 so that similar names spread. */
function hashName (name: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
