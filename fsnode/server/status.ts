import type { DiskMeasure } from '../../partitioning/types.ts'
import type { DataPartitionReplica } from '../data/replica.ts'
import type { NodeStatus } from '../protocol/manager.ts'
import type { RaftGroup } from '../raft/types.ts'

export interface StatusInit { nodeId: string, startedAt: number, now: number, groups: RaftGroup[], replicas: DataPartitionReplica[], usage: { readonly usedBytes: number, readonly capacityBytes: number }, disk: DiskMeasure | null }

export function nodeStatus ({ nodeId, startedAt, now, groups, replicas, usage, disk }: StatusInit): NodeStatus {
  return {
    nodeId,
    pid: process.pid,
    residentBytes: process.memoryUsage.rss(),
    usedBytes: usage.usedBytes,
    capacityBytes: usage.capacityBytes,
    utilization: disk?.utilization ?? null,
    uptimeMs: now - startedAt,
    groups: groups.map(({ id, status }) => ({
      id, role: status.role, term: status.term, leader: status.leader, commitIndex: status.commitIndex, appliedIndex: status.appliedIndex
    })),
    partitions: replicas.map(({ id, state, isPrimary, epoch, recovering }) => ({ id, state, primary: isPrimary, epoch, copied: recovering }))
  }
}
