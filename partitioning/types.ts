/** What the manager decides: the cluster map, and the words it is made of. Pure data. */

/** Chosen by the framework, for the life of the node: 'node-1'. */
export type NodeId = string
/** '<volume id>.m.<index>' (metadata) or '<volume id>.d.<index>' (data). */
export type PartitionId = string
export type Placement = 'hawaii' | 'tivoli'

/** Moving averages of what a node measures of its own disk. Bandwidths in bytes/s, latencies in ms. */
export interface DiskMeasure {
  readBandwidth: number
  writeBandwidth: number
  readLatencyMs: number
  writeLatencyMs: number
  /** Share of time in which the disk was busy, 0 to 1. */
  utilization: number
}

export interface NodeInfo {
  id: NodeId
  /** Changes each time the node's process starts. */
  incarnation: string
  /** libp2p identity, for consensus traffic. */
  peerId: string
  host: string
  rpcPort: number
  raftPort: number
  /** Widest first: region, zone, rack, agent. */
  domain: string[]
  capacityBytes: number
  usedBytes: number
  disk: DiskMeasure | null
  /** 'down': no heartbeat within the lease. */
  state: 'up' | 'down' | 'draining'
  /** It is going to be away soon, and leads only what nobody else can; 'done': it does. Ends with its process. Left out: it stays. */
  yields?: 'asked' | 'done'
  /** The highest id of a volume of which it had files when its process started; left out: it had none. */
  newestVolume?: number
}

export interface VolumeInfo {
  id: number
  name: string
  placement: Placement
  replicas: number
  chunkSizeBytes: number
  /** Files up to this size live in their inode record. */
  inlineBytesMax: number
  /** While some are split already and some are not yet: how many there were before. */
  dataPartitions: number
  /** They are being split until there are so many. Left out: they are not. */
  dataPartitionsWanted?: number
  /** Over which new directories are spread. */
  metadataPartitions: number
  /** So many there are as soon as the groups of the new ones have a leader. Left out: none are new. */
  metadataPartitionsWanted?: number
}

/** See docs/replication.md for the state table. */
export type ReplicaState = 'serving' | 'syncing' | 'waiting' | 'offline' | 'last'

export interface Replica { node: NodeId, state: ReplicaState }

export interface DataPartition {
  id: PartitionId
  volume: number
  index: number
  /** Grows with each change of the replicas, their states or the primary. */
  epoch: number
  replicas: Replica[]
  /** null while no replica may serve. */
  primary: NodeId | null
  /** How often writes that no fsync covered may have been lost: every replica in sync had lost its power. Left out: never. */
  losses?: number
  /** By how many its chunks' places are divided to find it (see routing.ts): a multiple of what it was before the partition was split. Left out: the volume's `dataPartitions`. */
  span?: number
  /** Its primary shall bring it to a point at which it can be split. Changes no epoch. */
  splitting?: true
}

export interface MetadataPartition {
  id: PartitionId
  volume: number
  index: number
  /** Members of its Raft group, but for what `change` says. */
  members: NodeId[]
  /** Its members are being changed. */
  change?: MembersChange
}

/** From the present members of a Raft group to others. */
export interface MembersChange {
  /** Another one for each target. */
  revision: number
  target: NodeId[]
  /** All that may hold a replica meanwhile: the members before, the target, and those of a target that was given up. */
  hosts: NodeId[]
}

export interface ClusterMap {
  clusterId: string
  /** Grows with each change. */
  version: number
  nodes: NodeInfo[]
  /** Members of the manager's Raft group. */
  managers: NodeId[]
  managersChange?: MembersChange
  volumes: VolumeInfo[]
  data: DataPartition[]
  metadata: MetadataPartition[]
}
