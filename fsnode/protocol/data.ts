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

/** The payload goes to `offset` within the chunk. Answered when all in-sync replicas have it in memory. */
export interface DataWriteRequest extends ChunkAddress { offset: number }
/** Answered with up to `length` bytes as payload; fewer (or none) where the chunk ends: the rest reads as zeros. */
export interface DataReadRequest extends ChunkAddress { offset: number, length: number }
/** Bytes of the chunk from `length` on are gone; 0 removes the chunk. */
export interface DataTruncateRequest extends ChunkAddress { length: number }
/** The bytes read as zeros afterwards. */
export interface DataZeroRequest extends ChunkAddress { offset: number, length: number }
/** What was acknowledged before is on stable storage of all in-sync replicas when this is answered. */
export interface DataSyncRequest extends ChunkAddress {}

/** One ordered mutation from the primary; the payload is that of the write, or the whole chunk for 'put'. */
export interface ReplicaApplyRequest extends ChunkAddress {
  kind: 'write' | 'truncate' | 'zero' | 'sync' | 'put'
  offset: number
  length: number
}

export interface ChunkDigest { ino: number, chunk: number, length: number, /** CRC-32 over the chunk's block checksums. */ digest: number }
/** Asks the primary for what its chunks are, in order of (ino, chunk), after the given one. `recent`: only those written since their checksums were last stored. */
export interface ReplicaDigestsRequest { partition: string, epoch: number, after: [ino: number, chunk: number] | null, limit: number, recent: boolean }
export interface ReplicaDigestsResponse { digests: ChunkDigest[], done: boolean }
/** Asks the primary to send chunks (as 'put', in order with its writes). Answered when they are applied here. */
export interface ReplicaPullRequest { partition: string, epoch: number, node: string, chunks: Array<[ino: number, chunk: number]> }

export interface DataMethods {
  'data.write': { request: DataWriteRequest, response: Empty }
  'data.read': { request: DataReadRequest, response: Empty }
  'data.truncate': { request: DataTruncateRequest, response: Empty }
  'data.zero': { request: DataZeroRequest, response: Empty }
  'data.sync': { request: DataSyncRequest, response: Empty }
  'replica.apply': { request: ReplicaApplyRequest, response: Empty }
  'replica.digests': { request: ReplicaDigestsRequest, response: ReplicaDigestsResponse }
  'replica.pull': { request: ReplicaPullRequest, response: Empty }
  /** Is this write committed? Asked by a replica that is read; answered once it is, or was dropped. */
  'replica.settled': { request: ChunkAddress, response: Empty }
}
