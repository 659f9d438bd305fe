import type { ChunkAddress } from '../protocol/data.ts'
import { AtollError } from '../protocol/errors.ts'
import type { Handlers } from '../protocol/peer.ts'
import { chunkBytesMax } from './chunk-header.ts'
import type { DataPartitionReplica } from './replica.ts'

const chunkIndexMax = 0xffffffff

/** Answers 'data.*' and 'replica.*' with the replicas of this node. */
export function dataHandlers (find: (partitionId: string) => DataPartitionReplica | undefined): Handlers {
  const replicaOf = (partition: string): DataPartitionReplica => {
    const replica = find(partition)
    if (replica === undefined) throw new AtollError('ATOLL_STALE_EPOCH', `partition ${partition} has no replica here`)
    return replica
  }
  const chunkReplicaOf = (request: ChunkAddress): DataPartitionReplica => {
    requireCount(request.ino, Number.MAX_SAFE_INTEGER, 'ino')
    requireCount(request.chunk, chunkIndexMax, 'chunk')
    return replicaOf(request.partition)
  }
  return {
    'data.write': async (request, payload) => {
      requireCount(request.offset, chunkBytesMax, 'offset')
      await chunkReplicaOf(request).write(request, payload)
      return { body: {} }
    },
    'data.read': async (request) => {
      requireRange(request)
      return { body: {}, payload: [await chunkReplicaOf(request).read(request)] }
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
      await chunkReplicaOf(request).sync(request)
      return { body: {} }
    },
    'replica.apply': async (request, payload) => ({ body: await chunkReplicaOf(request).apply(request, payload) }),
    'replica.digests': async (request) => ({ body: await replicaOf(request.partition).digests(request) }),
    'replica.pull': async (request) => {
      await replicaOf(request.partition).pull(request)
      return { body: {} }
    },
    'replica.read': async (request) => {
      requireRange(request)
      return { body: {}, payload: [await chunkReplicaOf(request).readOwn(request)] }
    },
    'replica.settled': async (request) => {
      await chunkReplicaOf(request).settle(request)
      return { body: {} }
    },
    'replica.lease': (request) => {
      replicaOf(request.partition).grantLease(request)
      return { body: {} }
    }
  }
}

function requireRange ({ offset, length }: { offset: number, length: number }): void {
  requireCount(offset, chunkBytesMax, 'offset')
  requireCount(length, Number.MAX_SAFE_INTEGER, 'length')
}

function requireCount (value: unknown, max: number, what: string): void {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > max) throw new AtollError('EINVAL', `${what} must be an integer from 0 to ${max}`)
}
