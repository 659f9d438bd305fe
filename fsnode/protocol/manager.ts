import type { ClusterMap, DiskMeasure, NodeId, NodeInfo, Placement, VolumeInfo } from '../../partitioning/types.ts'
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
export interface DrainNodeRequest { node: NodeId, drain: boolean }

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
  'manager.drain-node': { request: DrainNodeRequest, response: Empty }
  /** The committed map, from the manager's leader. */
  'manager.map': { request: MapRequest, response: MapResponse }
  /** The map as this node knows it: any node answers. */
  'node.map': { request: MapRequest, response: MapResponse }
  'node.hello': { request: Empty, response: NodeHello }
  'node.status': { request: Empty, response: NodeStatus }
}
