import { extentsMax, syncChunksMax, type ChunkAddress, type DataSyncRequest } from '../protocol/data.ts'
import { AtollError, posixError } from '../protocol/errors.ts'
import { bulkBuffers, giveBack } from '../protocol/buffer-pool.ts'
import { byteLengthOf, payloadBytesMax } from '../protocol/frame.ts'
import type { Handlers } from '../protocol/peer.ts'
import { chunkBytesMax } from './chunk-header.ts'
import { digestPageMax } from './constants.ts'
import { areSound, endOf } from './ranges.ts'
import type { DataPartitionReplica } from './replica.ts'

const chunkIndexMax = 0xffffffff

/** Answers 'data.*' and 'replica.*' with the replicas of this node. `machine`: whose processes may read the chunk files, too. */
export function dataHandlers (find: (partitionId: string) => DataPartitionReplica | undefined, machine: string | null): Handlers {
  const replicaOf = (partition: string): DataPartitionReplica => {
    const replica = find(partition)
    if (replica === undefined) throw new AtollError('ATOLL_STALE_EPOCH', `partition ${partition} has no replica here`)
    return replica
  }
  const chunkReplicaOf = (request: ChunkAddress): DataPartitionReplica => {
    requireCount(request.ino, Number.MAX_SAFE_INTEGER, 'ino')
    requireCount(request.chunk, chunkIndexMax, 'chunk')
    const replica = replicaOf(request.partition)
    replica.requireChunk(request.ino, request.chunk)
    return replica
  }
  const chunksReplicaOf = (request: DataSyncRequest): DataPartitionReplica => {
    const { partition, ino, chunks } = request
    if (!Array.isArray(chunks) || chunks.length === 0 || chunks.length > syncChunksMax) throw new AtollError('EINVAL', `chunks must be 1 to ${syncChunksMax}`)
    for (const chunk of chunks) chunkReplicaOf({ partition, epoch: request.epoch, ino, chunk })
    return replicaOf(partition)
  }
  return {
    'data.write': async (request, payload) => {
      requireCount(request.offset, Number.MAX_SAFE_INTEGER, 'offset')
      // No replica could apply it: it must not be ordered.
      if (request.extents !== undefined) requireExtents(request.extents, byteLengthOf(payload))
      if (endOf(request, byteLengthOf(payload)) > chunkBytesMax) throw posixError('EFBIG', `a chunk holds at most ${chunkBytesMax} bytes`)
      await chunkReplicaOf(request).write(request, payload)
      // Written, and nobody refers to it. After an error that is not certain: it is left to the collector.
      giveBack(payload)
      return { body: {} }
    },
    'data.read': async (request) => {
      requireRead(request)
      const replica = chunkReplicaOf(request)
      const file = request.machine !== undefined && request.machine === machine ? await replica.locate(request) : null
      if (file !== null) return { body: { file } }
      const bytes = await replica.read(request)
      return { body: {}, payload: [bytes], release: () => { bulkBuffers.give(bytes) } }
    },
    'data.truncate': async (request) => {
      requireCount(request.length, Number.MAX_SAFE_INTEGER, 'length')
      await chunkReplicaOf(request).truncate(request)
      return { body: {} }
    },
    'data.zero': async (request) => {
      requireRange(request)
      await chunkReplicaOf(request).zero(request)
      return { body: {} }
    },
    'data.sync': async (request) => {
      await chunksReplicaOf(request).sync(request)
      return { body: {} }
    },
    'data.position': (request) => ({ body: replicaOf(request.partition).position(request) }),
    'replica.apply': async (request, payload) => {
      // One that changes nothing names no chunk.
      const replica = request.kind === 'settle' ? replicaOf(request.partition) : request.chunks !== undefined ? chunksReplicaOf({ ...request, chunks: request.chunks }) : chunkReplicaOf(request)
      const body = await replica.apply(request, payload)
      // Pieces of a whole chunk are collected.
      if (request.kind === 'write') giveBack(payload)
      return { body }
    },
    'replica.digests': async (request) => {
      requireCount(request.limit, digestPageMax, 'limit')
      if (request.chunks !== undefined) requireChunks(request.chunks)
      if (request.after !== null) requireChunks([request.after])
      return { body: await replicaOf(request.partition).digests(request) }
    },
    'replica.pull': async (request) => {
      requireChunks(request.chunks)
      await replicaOf(request.partition).pull(request)
      return { body: {} }
    },
    'replica.read': async (request) => {
      requireRead(request)
      return { body: {}, payload: [await chunkReplicaOf(request).readOwn(request)] }
    },
    'replica.settled': async (request) => {
      await chunkReplicaOf(request).settle(request)
      return { body: {} }
    },
    'replica.joined': async (request) => {
      await replicaOf(request.partition).join(request)
      return { body: {} }
    },
    'replica.lease': (request) => {
      replicaOf(request.partition).grantLease(request)
      return { body: {} }
    }
  }
}

function requireExtents (extents: unknown, bytes: number): void {
  const sound = Array.isArray(extents) && extents.length >= 2 && extents.length % 2 === 0 && extents.length <= 2 * extentsMax && areSound(extents, bytes)
  if (!sound) throw new AtollError('EINVAL', `extents must be up to ${extentsMax} ranges that hold the payload and do not overlap`)
}

function requireChunks (chunks: unknown): void {
  if (!Array.isArray(chunks) || chunks.length > digestPageMax) throw new AtollError('EINVAL', `chunks must be a list of at most ${digestPageMax}`)
  for (const pair of chunks) {
    requireCount(pair?.[0], Number.MAX_SAFE_INTEGER, 'ino')
    requireCount(pair?.[1], chunkIndexMax, 'chunk')
  }
}

function requireRead (range: { offset: number, length: number }): void {
  requireRange(range)
  requireCount(range.length, payloadBytesMax, 'length')
}

function requireRange ({ offset, length }: { offset: number, length: number }): void {
  requireCount(offset, chunkBytesMax, 'offset')
  requireCount(length, Number.MAX_SAFE_INTEGER, 'length')
}

function requireCount (value: unknown, max: number, what: string): void {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > max) throw new AtollError('EINVAL', `${what} must be an integer from 0 to ${max}`)
}
