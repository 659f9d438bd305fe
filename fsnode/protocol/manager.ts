import type { Move, MoveStage, PlanPhase } from '../../partitioning/planner-types.ts'
import type { ClusterMap, DiskMeasure, NodeId, NodeInfo, PartitionId, Placement, VolumeInfo } from '../../partitioning/types.ts'
import type { Empty } from './metadata.ts'

/** Messages to the manager's leader ('manager.*') and to any node ('node.*'). */

/** Answered at once if the map is newer than `after`, otherwise when it changes or after `waitMs` (then without a map). */
export interface MapRequest { after: number, waitMs: number }
export interface MapResponse { map?: ClusterMap }
export interface RegisterRequest {
  clusterId: string
  node: Omit<NodeInfo, 'state'>
  /**
   * What the node's store says of the process before this one: it has ended, for this one holds the store.
   * `intact`: nothing it acknowledged is lost (the machine has not restarted since). Without, the manager
   * waits until the lease of the old process has run out.
   */
  previous?: { incarnation: string, intact: boolean }
}
export interface RegisterResponse { map: ClusterMap }
export interface HeartbeatRequest {
  node: NodeId
  incarnation: string
  usedBytes: number
  capacityBytes: number
  disk: DiskMeasure | null
  mapVersion: number
  /** Load of the partitions the node holds, since the last heartbeat. */
  load?: Array<{ partition: string, readBytes: number, writeBytes: number, reads: number, writes: number }>
  /** Bytes on disk of each data partition's replica here; sent now and then. */
  stored?: Array<[partition: string, bytes: number]>
  /** Of a node that yields: Raft groups that it leads and another member could. */
  leads?: number
}
export interface HeartbeatResponse {
  /** Counted from when the request was sent: until then the node may serve. */
  leaseDurationMs: number
  mapVersion: number
}
export interface CreateVolumeRequest {
  name: string
  placement: Placement
  replicas: number
  chunkSizeBytes?: number
  inlineBytesMax?: number
  dataPartitions?: number
  metadataPartitions?: number
  /** Any unique string: a retry with the same one finds the volume that the first attempt made. */
  token?: string
}
export interface CreateVolumeResponse { volume: VolumeInfo, mapVersion: number }
export interface RemoveVolumeRequest { name: string }
/** A primary could not reach a replica, in this epoch. Answered with the map in which it no longer counts. */
export interface ReportReplicaRequest { partition: string, epoch: number, node: NodeId, reporter: NodeId }
/** A syncing replica has caught up. */
export interface ReplicaSyncedRequest { partition: string, epoch: number, node: NodeId }
/**
 * The primary of a partition that is to be split holds changes back, in this epoch. Answered with the map in which it is split; with the present
 * one when it cannot be now.
 */
export interface SplitPartitionRequest { partition: PartitionId, epoch: number, node: NodeId }
/** The leader of a Raft group says that its members are those that the map wants. */
export interface MembersChangedRequest { group: string, revision: number, members: NodeId[] }
/** The name under which the node's replica of a Raft group is, or wants to become, a member; null: it has none open. */
export interface RaftMemberRequest { group: string }
export interface RaftMemberResponse { member: string | null }
export interface DrainNodeRequest { node: NodeId, drain: boolean }
/** The node is going to be away soon, or is not after all. `incarnation`: only that process of it; it means nothing to the next one. */
export interface YieldNodeRequest { node: NodeId, yields: boolean, incarnation?: string }
/** Whether it leads nothing any more that another could lead. */
export interface YieldNodeResponse { done: boolean }

/** Who asked for a plan: an operator for one move or for an even spread, or the manager itself. */
export type PlanKind = 'move' | 'rebalance' | 'automatic'
export interface PlanSummary {
  id: number
  kind: PlanKind
  /** For people. */
  why: string
  /** 'replaced': a later plan took over what was left. */
  phase: PlanPhase | 'replaced'
  /** Wall-clock milliseconds. */
  createdMs: number
  endedMs: number | null
  moves: number
  movesDone: number
  movesActive: number
  movesGivenUp: number
  /** To be copied in all, and copied. */
  bytes: number
  bytesDone: number
}
export interface PlannedMove { move: Move, stage: MoveStage | 'waiting' | 'done' | 'given up' }
export interface BalanceSettings {
  /** Whether nodes fill up and volumes even out by themselves. What is endangered is copied in any case. */
  automatic: boolean
  /** Bytes of copies for moves that are begun, on average; null: no bound. */
  bytesPerSecond: number | null
  /** Copies from one node, and to one node, at once. */
  copiesPerNode: number
}
/** With a token, a retry finds the plan that the first attempt made. */
export interface MovePartitionRequest { partition: PartitionId, from: NodeId, to: NodeId, token?: string }
/** null: the partition holds metadata; its map entry shows how far it is. */
export interface MovePartitionResponse { plan: PlanSummary | null }
export interface RebalanceRequest { dryRun?: boolean, volume?: string, token?: string }
/** `plan` is null on a dry run, and where everything is even. */
export interface RebalanceResponse { plan: PlanSummary | null, moves: Move[] }
/** With the name of a volume, it is told whether its replicas are to be looked at yet. */
export interface PlansRequest { volume?: string }
export interface PlansResponse {
  /** The newest first; ended ones are kept for a while. */
  plans: PlanSummary[]
  settings: BalanceSettings
  /** Of the volume that was asked for: it, or the nodes, changed, and whether a plan follows is not decided yet. */
  undecided?: boolean
  /** Of the same volume: metadata partitions that shall get other members and do not have them yet. */
  membersPending?: number
}
export interface PlanRequest { plan: number }
export interface PlanResponse { plan: PlanSummary, moves: PlannedMove[] }
/** Without a plan: all of them, and `automatic` is switched, too. */
export interface ControlPlanRequest { plan?: number, action: 'pause' | 'resume' | 'cancel' }
/**
 * `dataPartitions`: what it is now times a power of two; partitions are split while the volume serves. `metadataPartitions`: not fewer than now; new
 * directories are spread over all of them.
 */
export interface SetVolumeRequest { name: string, placement?: Placement, replicas?: number, dataPartitions?: number, metadataPartitions?: number }
export interface SetVolumeResponse { volume: VolumeInfo }
/** Moving averages over some seconds, per second. */
export interface PartitionLoadRate { partition: PartitionId, readBytes: number, writeBytes: number, reads: number, writes: number }
export interface LoadsResponse { loads: PartitionLoadRate[], stored: Array<{ partition: PartitionId, bytes: number }> }

/** The node is down and holds nothing. */
export interface RemoveNodeRequest { node: NodeId }
/** What the manager knows, as JSON: see fsnode/manager/map-backup.ts. */
export interface BackupResponse { backup: MapBackup }
export interface MapBackup {
  format: 1
  /** Wall-clock milliseconds. */
  takenMs: number
  map: ClusterMap
  nextVolume: number
  tokens: Array<[volume: number, token: string]>
  balance: BalanceSettings
}
export interface RestoreRequest { backup: MapBackup, dryRun?: boolean }
/** For each partition that comes back: who leads it at first, and who has files of it. */
export interface RestoreResponse {
  volumes: string[]
  partitions: Array<{ partition: PartitionId, leads: NodeId | null, compare: NodeId[], bytes: number }>
}

export interface NodeHello {
  clusterId: string
  nodeId: NodeId
  incarnation: string
  peerId: string
  host: string
  rpcPort: number
  raftPort: number
}
export interface NodeStatus {
  nodeId: NodeId
  pid: number
  /** Resident set, bytes. */
  residentBytes: number
  /** Of the node's volume, now; the map follows only in steps. Of nodes of an earlier version undefined. */
  usedBytes?: number
  capacityBytes?: number
  /** Share of time in which the disk is busy; null: nothing was measured. */
  utilization?: number | null
  uptimeMs: number
  groups: Array<{ id: string, role: string, term: number, leader: NodeId | null, commitIndex: number, appliedIndex: number }>
  /** `copied`: chunks that the recovery under way has copied so far; null when none is. */
  partitions: Array<{ id: string, state: string, primary: boolean, epoch: number, copied: number | null }>
}

export interface ManagerMethods {
  'manager.register': { request: RegisterRequest, response: RegisterResponse }
  'manager.heartbeat': { request: HeartbeatRequest, response: HeartbeatResponse }
  'manager.create-volume': { request: CreateVolumeRequest, response: CreateVolumeResponse }
  'manager.remove-volume': { request: RemoveVolumeRequest, response: Empty }
  'manager.report-replica': { request: ReportReplicaRequest, response: MapResponse }
  'manager.replica-synced': { request: ReplicaSyncedRequest, response: MapResponse }
  'manager.split-partition': { request: SplitPartitionRequest, response: MapResponse }
  'manager.drain-node': { request: DrainNodeRequest, response: Empty }
  'manager.yield-node': { request: YieldNodeRequest, response: YieldNodeResponse }
  'manager.members-changed': { request: MembersChangedRequest, response: MapResponse }
  'manager.move-partition': { request: MovePartitionRequest, response: MovePartitionResponse }
  'manager.rebalance': { request: RebalanceRequest, response: RebalanceResponse }
  'manager.plans': { request: PlansRequest, response: PlansResponse }
  'manager.plan': { request: PlanRequest, response: PlanResponse }
  'manager.control-plan': { request: ControlPlanRequest, response: PlansResponse }
  'manager.remove-node': { request: RemoveNodeRequest, response: Empty }
  'manager.backup': { request: Empty, response: BackupResponse }
  'manager.restore': { request: RestoreRequest, response: RestoreResponse }
  'manager.set-balance': { request: Partial<BalanceSettings>, response: PlansResponse }
  'manager.set-volume': { request: SetVolumeRequest, response: SetVolumeResponse }
  'manager.loads': { request: Empty, response: LoadsResponse }
  /** The committed map, from the manager's leader. */
  'manager.map': { request: MapRequest, response: MapResponse }
  /** The map as this node knows it: any node answers. */
  'node.map': { request: MapRequest, response: MapResponse }
  'node.hello': { request: Empty, response: NodeHello }
  /** Who leads a Raft group, as its member on this node knows; `leader` null: nobody, or there is none here. */
  'node.leader': { request: { group: string }, response: { leader: NodeId | null, term: number } }
  'node.raft-member': { request: RaftMemberRequest, response: RaftMemberResponse }
  'node.status': { request: Empty, response: NodeStatus }
}
