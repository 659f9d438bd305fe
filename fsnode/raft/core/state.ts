import type { NodeId } from '../../../partitioning/types.ts'
import { decode, encode } from '../../protocol/frame.ts'
import type { RaftLimits, RaftTiming } from '../constants.ts'
import type { RaftLog } from './log.ts'
import { entryKind, type Effects, type Entry, type EntryKind, type HardState, type LogMark, type LogWrite, type RaftState } from './types.ts'

export interface RaftInit {
  self: NodeId
  timing: RaftTiming
  limits: RaftLimits
  random: () => number
  now: number
  hardState: HardState
  log: RaftLog
  /** What is known to be committed: the mark, or what the state machine holds. */
  commitIndex: number
  memberHistory: Array<{ index: number, members: NodeId[] }>
  needsSnapshot: boolean
  /** Nothing was on disk: this replica has promised nothing to anybody. */
  fresh: boolean
}

export function createState (init: RaftInit): RaftState {
  const { self, timing, limits, random, now, log } = init
  const members = init.memberHistory[init.memberHistory.length - 1]!.members
  const alone = members.length === 1 && members[0] === self
  // The first member of a new group does not wait for anybody; a member that is alone never has to.
  const eager = alone || (init.fresh && members[0] === self)
  const state: RaftState = {
    self, timing, limits, random, log,
    role: 'follower',
    preCandidate: false,
    term: init.hardState.term,
    vote: init.hardState.vote,
    leader: null,
    commitIndex: init.commitIndex,
    persistedIndex: log.lastIndex,
    persistedTerm: init.hardState.term,
    writes: [],
    nextSequence: 1,
    members,
    memberHistory: init.memberHistory,
    needsSnapshot: init.needsSnapshot,
    now,
    lastTickAt: now,
    electionDeadline: now,
    electionJitter: random(),
    // Before the restart we may have supported a leader that still trusts its lease.
    heardAt: init.fresh ? -Infinity : now,
    votes: new Map(),
    leaderRound: 0,
    progress: new Map(),
    termStartIndex: Infinity,
    quorumSince: now,
    forfeits: new Map(),
    round: 0,
    transfer: null,
    joining: null
  }
  if (!eager) postponeElection(state)
  return state
}

export function noEffects (): Effects {
  return { messages: [], write: null, afterWrite: [], reads: [], snapshots: [], chunk: null, received: null, statusChanged: false, change: null }
}

export function postponeElection (state: RaftState): void {
  const { electionTimeoutMsMin, electionTimeoutMsMax } = state.timing
  state.electionDeadline = state.now + electionTimeoutMsMin + state.electionJitter * (electionTimeoutMsMax - electionTimeoutMsMin)
}

export function writeOf (state: RaftState, effects: Effects): LogWrite {
  effects.write ??= { sequence: state.nextSequence++, hardState: null, mark: null, cutFrom: 0, truncateFrom: 0, truncateTo: -1, entries: [] }
  return effects.write
}

export function saveHardState (state: RaftState, effects: Effects): void {
  writeOf(state, effects).hardState = { term: state.term, vote: state.vote }
}

/** Appends an entry of the current term. */
export function appendNew (state: RaftState, effects: Effects, kind: EntryKind, data: Uint8Array): Entry {
  const entry: Entry = { index: state.log.lastIndex + 1, term: state.term, kind, data }
  appendEntry(state, effects, entry)
  return entry
}

export function appendEntry (state: RaftState, effects: Effects, entry: Entry): void {
  state.log.append(entry)
  writeOf(state, effects).entries.push(entry)
  if (entry.kind === entryKind.members) {
    state.memberHistory.push({ index: entry.index, members: decodeMembers(entry.data) })
    adoptMembers(state, effects)
  }
}

/** Removes our entries from `index` on, which the leader does not have. */
export function truncate (state: RaftState, effects: Effects, index: number): void {
  if (index <= state.commitIndex) throw new Error(`raft: entry ${index} is committed and cannot be replaced`)
  const write = writeOf(state, effects)
  write.truncateFrom = index
  write.truncateTo = state.log.lastIndex
  state.log.truncate(index)
  limitPersisted(state, index - 1)
  const { memberHistory } = state
  while (memberHistory.length > 1 && memberHistory[memberHistory.length - 1]!.index >= index) memberHistory.pop()
  adoptMembers(state, effects)
}

/** What is being written beyond `index` says nothing about the entries that replace it. */
function limitPersisted (state: RaftState, index: number): void {
  state.persistedIndex = Math.min(state.persistedIndex, index)
  for (const write of state.writes) write.lastIndex = Math.min(write.lastIndex, index)
}

/** Starts the log over at a snapshot. */
export function resetLog (state: RaftState, effects: Effects, mark: LogMark): void {
  const write = writeOf(state, effects)
  write.mark = mark
  write.cutFrom = state.log.markIndex + 1
  write.truncateFrom = state.log.markIndex + 1
  write.truncateTo = state.log.lastIndex
  state.log.reset(mark.index, mark.term)
  limitPersisted(state, 0)
  state.memberHistory = [{ index: mark.index, members: mark.members }]
  adoptMembers(state, effects)
}

export function cutLog (state: RaftState, effects: Effects, index: number): void {
  const members = membersAt(state, index)
  const write = writeOf(state, effects)
  write.cutFrom = state.log.markIndex + 1
  state.log.cut(index)
  write.mark = { index, term: state.log.markTerm, members }
  const { memberHistory } = state
  while (memberHistory.length > 1 && memberHistory[1]!.index <= index) memberHistory.shift()
}

export function membersAt (state: RaftState, index: number): NodeId[] {
  const { memberHistory } = state
  let position = memberHistory.length - 1
  while (position > 0 && memberHistory[position]!.index > index) position--
  return memberHistory[position]!.members
}

/** The newest members in the log count, committed or not. */
function adoptMembers (state: RaftState, effects: Effects): void {
  const newest = state.memberHistory[state.memberHistory.length - 1]!.members
  if (newest === state.members) return
  state.members = newest
  effects.statusChanged = true
}

export function encodeMembers (members: NodeId[]): Uint8Array { return encode(members) }

export function decodeMembers (data: Uint8Array): NodeId[] {
  const members = decode(data)
  if (!Array.isArray(members) || !members.every((member) => typeof member === 'string')) throw new Error('raft: an entry that should name members does not')
  return members
}

export function becomeFollower (state: RaftState, effects: Effects, term: number, leader: NodeId | null): void {
  if (term > state.term) {
    state.term = term
    state.vote = null
    saveHardState(state, effects)
    effects.statusChanged = true
  }
  if (state.role !== 'follower' || state.leader !== leader) effects.statusChanged = true
  if (state.role === 'leader') leaveLeadership(state, effects)
  if (state.leader !== leader) state.leaderRound = 0
  state.role = 'follower'
  state.leader = leader
}

function leaveLeadership (state: RaftState, effects: Effects): void {
  if (state.joining !== null) effects.change = 'refused'
  state.progress.clear()
  state.transfer = null
  state.joining = null
  state.forfeits.clear()
  state.termStartIndex = Infinity
  postponeElection(state)
}
