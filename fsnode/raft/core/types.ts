import type { NodeId } from '../../../partitioning/types.ts'
import type { RaftLimits, RaftTiming } from '../constants.ts'
import type { RaftLog } from './log.ts'

export const entryKind = { noop: 0, command: 1, members: 2 } as const
export type EntryKind = typeof entryKind[keyof typeof entryKind]

export interface Entry {
  index: number
  term: number
  kind: EntryKind
  /** A command, or the MessagePack of the members' ids. */
  data: Uint8Array
}

export interface VoteRequest {
  type: 'vote'
  /** The term the candidate wants to lead; with `pre` it has not entered it yet. */
  term: number
  pre: boolean
  /** The leader asked for this election: it overrides the loyalty to that leader. */
  transfer: boolean
  lastIndex: number
  lastTerm: number
}

export interface VoteResponse { type: 'voted', term: number, pre: boolean, granted: boolean }

export interface AppendRequest {
  type: 'append'
  term: number
  prevIndex: number
  prevTerm: number
  commitIndex: number
  /** The leader's clock when it sent this; comes back in the answer and carries its lease. */
  stamp: number
  /** Number of the newest read round; comes back in the answer. */
  round: number
  /** None: a heartbeat. */
  entries: Entry[]
}

export interface AppendResponse {
  type: 'appended'
  term: number
  success: boolean
  /** With success: the log equals the leader's up to here, on stable storage. Otherwise the prevIndex that was refused. */
  index: number
  /** After a refusal: the last entry that may be common. */
  hintIndex: number
  hintTerm: number
  stamp: number
  round: number
  /** The state machine cannot be brought up to date from any log. */
  wantSnapshot: boolean
}

export interface SnapshotChunk {
  type: 'snapshot'
  term: number
  /** Names one stream of chunks of this leader. */
  stream: number
  /** Counts from 0. */
  chunk: number
  last: boolean
  /** What the snapshot covers. */
  index: number
  indexTerm: number
  members: NodeId[]
  data: Uint8Array
}

export interface SnapshotResponse {
  type: 'received'
  term: number
  stream: number
  /** False: nothing is known of this stream, it cannot go on. */
  known: boolean
  /** The next chunk that is wanted; the one before it is taken. */
  next: number
}

export interface TimeoutNow {
  type: 'timeoutNow'
  term: number
  /** The leader's round when it sent this: who has seen a later one knows that the leader leads on. */
  round: number
}

export type RaftMessage =
  | VoteRequest | VoteResponse | AppendRequest | AppendResponse | SnapshotChunk | SnapshotResponse | TimeoutNow

export interface Envelope { to: NodeId, message: RaftMessage }

export interface HardState { term: number, vote: NodeId | null }

/** What the log begins after: the entry at `index` and all before are gone, their members are these. */
export interface LogMark { index: number, term: number, members: NodeId[] }

/** In this order: cut or reset the log, remove the conflicting end, append. */
export interface LogWrite {
  /** Counts from 1 within the group; writes reach stable storage in this order. */
  sequence: number
  hardState: HardState | null
  /** The log begins after this from now on; entries up to it go. */
  mark: LogMark | null
  /** With a mark: the first entry that it makes superfluous. */
  cutFrom: number
  /** Entries from here to `truncateTo` go. */
  truncateFrom: number
  truncateTo: number
  entries: Entry[]
}

export interface Effects {
  /** Leave at once. */
  messages: Envelope[]
  write: LogWrite | null
  /** Leave when `write` is on stable storage. Empty if there is none. */
  afterWrite: Envelope[]
  /** Entries to read from the store for a follower: answer with the input 'entries'. */
  reads: Array<{ to: NodeId, first: number, last: number }>
  /** Followers to stream a snapshot to. */
  snapshots: NodeId[]
  /** A chunk of a snapshot from the current leader. */
  chunk: { from: NodeId, message: SnapshotChunk } | null
  /** An answer to a chunk. */
  received: { from: NodeId, message: SnapshotResponse } | null
  /** Role, term, leader or members are not what they were. */
  statusChanged: boolean
  /** What happened to the change of members that was asked for; null: nothing yet. */
  change: 'appended' | 'timedOut' | 'refused' | null
}

export type Role = 'leader' | 'follower' | 'candidate'

export interface Progress {
  /** probe: one append at a time until it is known where the logs meet. replicate: a window of them. */
  mode: 'probe' | 'replicate' | 'snapshot'
  match: number
  next: number
  /** The last index of each append under way, oldest first. */
  inFlight: number[]
  inFlightBytes: number[]
  bytesInFlight: number
  /** Our clock when the probe or the last message left. */
  probeSentAt: number
  sentAt: number
  /** Newest of ours that came back. */
  stamp: number
  round: number
  /** Entries are being read from the store for it. */
  reading: boolean
  /** A snapshot is on its way: not before it shows that it is there. */
  streaming: boolean
}

export interface RaftState {
  readonly self: NodeId
  readonly timing: RaftTiming
  readonly limits: RaftLimits
  /** Uniform in [0, 1): the election jitter. */
  readonly random: () => number
  readonly log: RaftLog
  role: Role
  /** A candidate that only asks whether it would win. */
  preCandidate: boolean
  term: number
  vote: NodeId | null
  leader: NodeId | null
  commitIndex: number
  /** Our entries up to here are on stable storage. */
  persistedIndex: number
  /** Our term and vote are on stable storage up to this term. */
  persistedTerm: number
  writes: Array<{ sequence: number, lastIndex: number, term: number }>
  nextSequence: number
  members: NodeId[]
  /** Members as of each entry that changed them, oldest first; the first is the mark's. */
  memberHistory: Array<{ index: number, members: NodeId[] }>
  needsSnapshot: boolean
  now: number
  lastTickAt: number
  electionDeadline: number
  /** Drawn anew for each campaign, in [0, 1). */
  electionJitter: number
  /** When a leader was last heard of. */
  heardAt: number
  votes: Map<NodeId, boolean>
  /** The newest round seen of the current leader. */
  leaderRound: number
  // Of leaders only:
  progress: Map<NodeId, Progress>
  /** The first entry of our term: from its commit on we know what is committed. */
  termStartIndex: number
  /** Majority support is expected from here on. */
  quorumSince: number
  /**
   * A successor that was told to take over may do so at any later time, whatever the lease says, until it has
   * seen this round.
   */
  forfeits: Map<NodeId, number>
  round: number
  transfer: { to: NodeId, deadline: number, sent: boolean } | null
  /** The change of members that waits for the newcomer to catch up. */
  joining: { node: NodeId, members: NodeId[], deadline: number } | null
}

export type Input =
  | { type: 'tick', now: number }
  | { type: 'message', now: number, from: NodeId, message: RaftMessage }
  /** Leaders only: appends the commands in order. */
  | { type: 'propose', now: number, commands: Uint8Array[] }
  /** Every write up to this sequence is on stable storage. */
  | { type: 'persisted', now: number, sequence: number }
  | { type: 'entries', now: number, to: NodeId, entries: Entry[] }
  /** Leaders only: starts a round of heartbeats that proves leadership as of now. */
  | { type: 'read', now: number }
  | { type: 'transfer', now: number, to: NodeId | undefined }
  | { type: 'members', now: number, members: NodeId[] }
  /** The state machine holds the snapshot. */
  | { type: 'restored', now: number, mark: LogMark }
  /** Whether the state machine lacks what the log no longer has. */
  | { type: 'needSnapshot', now: number, needed: boolean }
  /** The follower has the snapshot, or the stream failed and is to begin anew. */
  | { type: 'snapshotEnded', now: number, to: NodeId }
  | { type: 'cut', now: number, index: number }
