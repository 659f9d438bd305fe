import type { Empty } from './metadata.ts'

/** Messages about chunks: from clients to replicas ('data.*') and between replicas ('replica.*'). */

export interface ChunkAddress {
  partition: string
  /** Of the partition, as the sender knows it: any other than the replica's own is refused (ATOLL_STALE_EPOCH). */
  epoch: number
  ino: number
  /** Index of the chunk in the file. */
  chunk: number
}

/**
 * A change of a chunk. `order` counts up with every attempt that `writer` (a client, any unique name)
 * sends, retries too: an attempt that the network delivers after a later one is refused, so that it cannot
 * undo what came after it. Without the two, a retry over a new connection has no such protection.
 *
 * `since`: the mutation is for the chunk as it was at that position, asked for with 'data.position' by who had the right to change
 * it. When others have changed it since, or that cannot be told, it is refused with ATOLL_CHANGED: it comes late.
 */
export interface ChunkMutation extends ChunkAddress { writer?: string, order?: number, since?: ChunkPosition }

/** A place in the order of a partition's mutations. */
export interface ChunkPosition {
  /** The primary's term of office. */
  origin: string
  order: number
}
export interface DataPositionRequest { partition: string, epoch: number }

/** The payload goes to `offset` within the chunk. Answered when all in-sync replicas have it in memory. */
export interface DataWriteRequest extends ChunkMutation {
  offset: number
  /**
   * Instead of one range, several that do not overlap: offset and length of each in turn, whose bytes the
   * payload holds one after another. `offset` is then the lowest.
   */
  extents?: number[]
}
export const extentsMax = 256
/**
 * Answered with up to `length` bytes as payload; fewer (or none) where the chunk ends: the rest reads as zeros. `machine`: the reader's (see
 * machine.ts); where it is the node's, too, the answer may say where the bytes are, in place of them.
 */
export interface DataReadRequest extends ChunkAddress { offset: number, length: number, machine?: string }
export interface DataReadResponse { file?: FileRange }

/** Bytes in a file of the node's, for a short-circuit read: with their checksums, by which a reader knows that it has what the node meant. */
export interface FileRange {
  path: string
  /** Where in the file the blocks begin that hold the bytes, and how long they are together. */
  position: number
  length: number
  blockBytes: number
  /** CRC-32 of each block, u32 little endian. */
  sums: Uint8Array
  /** Where in the blocks the bytes begin, and how many there are. */
  skip: number
  count: number
}
/** Bytes of the chunk from `length` on are gone; 0 removes the chunk. Never makes it longer. */
export interface DataTruncateRequest extends ChunkMutation { length: number }
/** The bytes read as zeros afterwards; the chunk keeps its length. */
export interface DataZeroRequest extends ChunkMutation { offset: number, length: number }
/** What was acknowledged before of these chunks of a file is on stable storage of all in-sync replicas when this is answered. */
export interface DataSyncRequest { partition: string, epoch: number, ino: number, chunks: readonly number[] }
export const syncChunksMax = 16

/**
 * One ordered mutation from the primary; the payload is that of the write, or a piece of the whole chunk of
 * `length` bytes for 'put'. 'settle' changes nothing: it opens a session (sequence 0) or tells what is committed.
 * See docs/replication.md for sessions, sequences and orders.
 */
export interface ReplicaApplyRequest extends ChunkAddress {
  kind: 'write' | 'truncate' | 'zero' | 'sync' | 'put' | 'settle'
  offset: number
  length: number
  /** The primary's process and term of office: another one may not know what this one had under way. */
  origin: string
  /** Of the link from this primary to this replica; a message of an older one is refused. */
  session: number
  /** Counts the mutations of the session, from 1, without gaps. */
  sequence: number
  /** Number of the mutation among all of this origin. */
  order: number
  /** All mutations up to this order are committed. */
  committed: number
  /** All serving replicas have compared what earlier primaries had left open. */
  reconciled: boolean
  /** With 'write': CRC-32 of each whole checksum block of the payload, u32 little endian; bytes that changed on the way are found when they are read. */
  sums?: Uint8Array
  /** With 'write': as in DataWriteRequest. */
  extents?: number[]
  /** With 'sync': of which chunks of the file, the one of the address among them; left out: of that one. */
  chunks?: readonly number[]
  /** With the last piece of a 'put': digest of the whole chunk (see ChunkDigest); a copy that changed on the way is refused. */
  digest?: number
}
export interface ReplicaApplyResponse {
  /** There is no room for growth here. */
  full?: boolean
  /** This replica has compared what earlier primaries had left open. */
  reconciled?: boolean
}

export interface ChunkDigest { ino: number, chunk: number, length: number, /** CRC-32 over the chunk's block checksums. */ digest: number }
/**
 * Asks the primary for what its chunks are, in order of (ino, chunk), after the given one. `recent`: only those
 * with writes that earlier primaries may have left open. `chunks`: only these.
 */
export interface ReplicaDigestsRequest {
  partition: string
  epoch: number
  after: [ino: number, chunk: number] | null
  limit: number
  recent: boolean
  chunks?: Array<[ino: number, chunk: number]>
}
/** `complete`: of all chunks, also if only recent ones were asked for (the primary cannot tell which they are). */
export interface ReplicaDigestsResponse { digests: ChunkDigest[], done: boolean, complete: boolean }
/** Asks the primary to send chunks (as 'put', in order with its writes). Answered when they are applied here. */
export interface ReplicaPullRequest {
  partition: string
  epoch: number
  node: string
  chunks: Array<[ino: number, chunk: number]>
  /** Nobody waits for it: clients go first. */
  background?: boolean
}
export interface ReplicaSettledRequest extends ChunkAddress { origin: string }
/** A replica that serves reads (Tivoli) asks the primary to commit nothing without it for `readLeaseMs`, counted from when it asked. */
export interface ReplicaLeaseRequest { partition: string, epoch: number, node: string }

/**
 * Has the receiver learned of the epoch, so that it serves no reads of an earlier one? Otherwise ATOLL_STALE_EPOCH. `ledIn`: the receiver
 * led in this epoch; it then tells to whom it granted leases that may not have run out.
 */
export interface ReplicaPassedRequest { partition: string, epoch: number, ledIn?: number }
/** null: it cannot tell. */
export interface ReplicaPassedResponse { granted: string[] | null }

export interface ReplicaJoinedRequest { partition: string, epoch: number, node: string }

/** Verifies every block of the receiver's replica; from the primary also compares the others. Takes as long as it takes. */
export interface DataScrubRequest { partition: string, bytesPerSecond?: number, dryRun?: boolean }
export interface ScrubFailure { ino: number, chunk: number, error: string }
/** Counts of chunks. */
export interface DataScrubResponse { chunks: number, bytes: number, damaged: number, differing: number, repaired: number, failures: ScrubFailure[] }

export interface DataMethods {
  'data.scrub': { request: DataScrubRequest, response: DataScrubResponse }
  'data.write': { request: DataWriteRequest, response: Empty }
  'data.read': { request: DataReadRequest, response: DataReadResponse }
  'data.truncate': { request: DataTruncateRequest, response: Empty }
  'data.zero': { request: DataZeroRequest, response: Empty }
  'data.sync': { request: DataSyncRequest, response: Empty }
  /** Where the partition's order of mutations is now. */
  'data.position': { request: DataPositionRequest, response: ChunkPosition }
  'replica.apply': { request: ReplicaApplyRequest, response: ReplicaApplyResponse }
  'replica.digests': { request: ReplicaDigestsRequest, response: ReplicaDigestsResponse }
  'replica.pull': { request: ReplicaPullRequest, response: Empty }
  /** Bytes as this replica has them, verified: to repair another one. */
  'replica.read': { request: DataReadRequest, response: Empty }
  /** Is this write committed? Asked by a replica that is read; answered once it is, or was dropped. */
  'replica.settled': { request: ReplicaSettledRequest, response: Empty }
  'replica.passed': { request: ReplicaPassedRequest, response: ReplicaPassedResponse }
  'replica.lease': { request: ReplicaLeaseRequest, response: Empty }
  /**
   * A syncing replica has caught up. From now on the primary acknowledges nothing without it; answered when the replica has
   * all that was acknowledged before. Only then may the manager be told.
   */
  'replica.joined': { request: ReplicaJoinedRequest, response: Empty }
}
