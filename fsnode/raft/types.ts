import type { NodeId } from '../../partitioning/types.ts'

import type { MemberId } from './member-id.ts'

/** What the rest of a node sees of Raft. */

export interface CommittedEntry { index: number, term: number, command: Uint8Array }

/**
 * Driven by its group. `apply` is synchronous and deterministic: times, identifiers and random
 * choices are in the command.
 */
export interface StateMachine {
  /** Applies the next entry and returns its result, which the proposer gets. Never throws for a command that was proposed. */
  apply (entry: CommittedEntry): unknown
  /** Every entry up to this index is on stable storage: the log may forget them once a snapshot covers them. */
  readonly durableIndex: number
  /** Makes everything applied so far durable; called rarely, before the log is cut. */
  flush (): Promise<void>
  /** The state at the last applied entry, as chunks for a replica that is too far behind. */
  snapshot (): Promise<{ index: number, term: number, chunks: AsyncIterable<Uint8Array> }>
  /** Replaces the whole state. */
  restore (snapshot: { index: number, term: number, chunks: AsyncIterable<Uint8Array> }): Promise<void>
}

export type Role = 'leader' | 'follower' | 'candidate'

export interface GroupStatus { role: Role, term: number, leader: NodeId | null, commitIndex: number, appliedIndex: number, members: NodeId[] }

export interface RaftGroup {
  readonly id: string
  readonly status: GroupStatus
  /**
   * Resolves with the state machine's result once committed and applied here.
   * Rejects with ATOLL_NOT_LEADER (details.leader), or ATOLL_UNAVAILABLE when the outcome is unknown
   * (leadership lost meanwhile).
   */
  propose (command: Uint8Array): Promise<unknown>
  /** Resolves when reads of the local state machine see every operation acknowledged before the call. Rejects like propose. */
  readBarrier (): Promise<void>
  /** True while the leader's lease holds: readBarrier() resolves without a message. */
  readonly canReadNow: boolean
  onStatus (listener: (status: GroupStatus) => void): () => void
  /** Hands leadership over; resolves when another leads or after an election timeout. */
  transferLeadership (to?: NodeId): Promise<void>
  /** This replica's name in the group, and all of them: a node that was removed and is added again is another member (member-id.ts). */
  readonly memberId: MemberId
  readonly memberIds: MemberId[]
  /** Adds or removes one member through the log. */
  changeMembers (members: MemberId[]): Promise<void>
  close (): Promise<void>
}
