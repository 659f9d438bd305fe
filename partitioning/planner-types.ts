import type { NodeId, PartitionId } from './types.ts'

/** The words of a plan of moves. Everything here is plain data that survives JSON. */

export interface PlanReplica {
  node: NodeId
  /** Has every acknowledged write. */
  serving: boolean
}

export interface PlanPartition {
  id: PartitionId
  replicas: readonly PlanReplica[]
  primary: NodeId | null
  /** What one replica holds: what a copy costs. */
  bytes: number
}

export interface PlanNode {
  id: NodeId
  /** Widest first. */
  domain: readonly string[]
  /** 'leaving': serves, but is being emptied. 'gone': what it holds is not to be counted on. */
  state: 'up' | 'leaving' | 'gone'
}

export interface PlanSnapshot {
  nodes: readonly PlanNode[]
  partitions: readonly PlanPartition[]
}

export interface PartitionTarget {
  id: PartitionId
  /** The primary first. */
  replicas: readonly NodeId[]
}

/** Partitions that are not named stay as they are. */
export interface PlanTarget { partitions: readonly PartitionTarget[] }

/**
 * A replica goes from one node to another: copied, verified, then the lead handed over if need be, and only then
 * dropped at its source. Without `from` a replica is added, without `to` one is dropped.
 */
export interface ReplicaMove {
  kind: 'replica'
  partition: PartitionId
  from: NodeId | null
  to: NodeId | null
  /** Who takes the lead after the copy and before the drop; null: the lead stays where it is. */
  lead: NodeId | null
  /** Who leads while it is copied, and so is read from; null where nobody is known to. */
  source: NodeId | null
  bytes: number
  /** Lower goes first. Below `urgencyOfBalance`: the partition lacks safe replicas, or has two in one domain. */
  urgency: number
  /** Index of the move of the same partition that must be settled before; -1: none. */
  after: number
}

/** The lead goes to another replica that is there. Costs no copy. */
export interface LeadMove {
  kind: 'lead'
  partition: PartitionId
  from: NodeId | null
  to: NodeId
  urgency: number
  after: number
}

export type Move = ReplicaMove | LeadMove

/** Moves in the order in which they should begin. */
export interface Plan { moves: readonly Move[] }

/** What is to be done next for a move that has begun; `undo`: the unfinished copy is to be dropped. */
export type MoveStage = 'copy' | 'verify' | 'lead' | 'drop' | 'undo'

export interface ActiveMove {
  /** Index into the plan's moves. */
  move: number
  stage: MoveStage
}

export type PlanPhase = 'running' | 'paused' | 'aborting' | 'ended' | 'aborted'

/** Where a plan stands. */
export interface PlanState {
  phase: PlanPhase
  active: readonly ActiveMove[]
  /** Moves that need nothing more, as ascending ranges [from, to) of indices. */
  settled: ReadonlyArray<readonly [number, number]>
  /** For moves that failed: how often, and when last. */
  failures: Readonly<Record<number, { count: number, atMs: number }>>
  /** Moves given up, because they failed too often or follow one that did. */
  givenUp: readonly number[]
  /** Moves completed, and what they copied. */
  movesDone: number
  bytesDone: number
  /** Bytes that may be begun, below zero after a large one; and when that was counted. */
  allowance: { bytes: number, atMs: number } | null
}

/** An event that does not fit the state (said twice, said of a move that is not active) changes nothing. */
export type PlanEvent =
  /** What `nextMoves` answered begins, within the budget that it was asked with. */
  | { kind: 'begun', moves: readonly number[], nowMs: number, bytesPerSecond: number | null }
  /** `to` serves. */
  | { kind: 'copied', move: number }
  /** Its checksums are those of the primary. */
  | { kind: 'verified', move: number }
  | { kind: 'led', move: number }
  | { kind: 'dropped', move: number }
  /** Not possible now: what was copied is to be dropped, and the move is tried again later. */
  | { kind: 'failed', move: number, nowMs: number }
  /** The partitions are no more. */
  | { kind: 'vanished', partitions: readonly PartitionId[] }
  /** Moves that have begun are finished, no other begins. */
  | { kind: 'pause' }
  | { kind: 'resume' }
  /** Copies under way are dropped; moves that are past their copy are finished. */
  | { kind: 'abort' }

export interface PlanBudget {
  nowMs: number
  /** Bytes of copies begun, on average over time; null: no bound. */
  bytesPerSecond: number | null
  /** Copies from one node, and to one node, at once. */
  copiesPerNode: number
  /** Copies at once in the cluster. */
  copiesMax: number
  /** Hand-overs of leads at once. */
  leadsMax: number
  /** Whether the move may begin now: its nodes are up, the target has room. Left out: always. */
  mayBegin? (move: Move): boolean
}
