import type { NodeId } from '../../../partitioning/types.ts'
import { majorityOf } from './quorum.ts'
import { beginReplication } from './replication.ts'
import { appendNew, becomeFollower, postponeElection, saveHardState } from './state.ts'
import { entryKind, type Effects, type RaftState, type TimeoutNow, type VoteRequest, type VoteResponse } from './types.ts'

/** Only a member that could serve as a leader asks for votes. */
function canLead (state: RaftState): boolean {
  return !state.needsSnapshot && state.members.includes(state.self)
}

export function tickElection (state: RaftState, effects: Effects): void {
  if (state.now < state.electionDeadline) return
  if (canLead(state)) campaign(state, effects, true, false)
  else postponeElection(state)
}

/**
 * With `pre` it only asks whether it would win, which disturbs nobody: a member that was cut off does
 * not come back with a higher term and depose a leader that works.
 */
function campaign (state: RaftState, effects: Effects, pre: boolean, transfer: boolean): void {
  state.role = 'candidate'
  state.electionJitter = state.random()
  state.leader = null
  state.preCandidate = pre
  state.votes.clear()
  effects.statusChanged = true
  if (pre) {
    state.votes.set(state.self, true)
    // Asking again soon is harmless.
    state.electionDeadline = state.now + state.timing.heartbeatMs * (1 + state.electionJitter)
  } else {
    state.term++
    state.vote = state.self
    saveHardState(state, effects)
    postponeElection(state)
  }
  const request: VoteRequest = {
    type: 'vote',
    term: pre ? state.term + 1 : state.term,
    pre,
    transfer,
    lastIndex: state.log.lastIndex,
    lastTerm: state.log.lastTerm
  }
  for (const member of state.members) {
    if (member !== state.self) (pre ? effects.messages : effects.afterWrite).push({ to: member, message: request })
  }
  countVotes(state, effects)
}

/** Our own vote counts from when it is on stable storage. */
export function ownVotePersisted (state: RaftState, effects: Effects): void {
  if (state.role !== 'candidate' || state.preCandidate || state.persistedTerm < state.term) return
  state.votes.set(state.self, true)
  countVotes(state, effects)
}

function countVotes (state: RaftState, effects: Effects): void {
  let granted = 0
  for (const member of state.members) if (state.votes.get(member) === true) granted++
  if (granted < majorityOf(state.members.length)) return
  if (state.preCandidate) campaign(state, effects, false, false)
  else becomeLeader(state, effects)
}

function becomeLeader (state: RaftState, effects: Effects): void {
  state.role = 'leader'
  state.leader = state.self
  state.quorumSince = state.now
  state.votes.clear()
  effects.statusChanged = true
  // Entries of earlier terms are committed only together with one of ours.
  state.termStartIndex = appendNew(state, effects, entryKind.noop, nothing).index
  beginReplication(state, effects)
}

const nothing = new Uint8Array(0)

export function onVoteRequest (state: RaftState, effects: Effects, from: NodeId, request: VoteRequest): void {
  const answer = (term: number, granted: boolean): VoteResponse => ({ type: 'voted', term, pre: request.pre, granted })
  if (request.term < state.term) {
    effects.messages.push({ to: from, message: answer(state.term, false) })
    return
  }
  if (!request.transfer && isLoyal(state)) return
  const upToDate = state.log.isUpToDate(request.lastIndex, request.lastTerm)
  if (request.pre) {
    const granted = upToDate && request.term > state.term
    effects.messages.push({ to: from, message: answer(granted ? request.term : state.term, granted) })
    return
  }
  if (request.term > state.term) becomeFollower(state, effects, request.term, null)
  const granted = upToDate && state.leader === null && (state.vote === null || state.vote === from)
  if (granted) {
    // We may have been asking for pre-votes ourselves.
    becomeFollower(state, effects, request.term, null)
    state.vote = from
    postponeElection(state)
    // Also when it was granted before: that write may still be under way.
    saveHardState(state, effects)
    effects.afterWrite.push({ to: from, message: answer(state.term, true) })
  } else {
    effects.messages.push({ to: from, message: answer(state.term, false) })
  }
}

/** The lease of a leader rests on this: whoever acknowledged it supports no other for a while. */
function isLoyal (state: RaftState): boolean {
  return state.role === 'leader' || state.now - state.heardAt < state.timing.electionTimeoutMsMin
}

export function onVoteResponse (state: RaftState, effects: Effects, from: NodeId, response: VoteResponse): void {
  const promised = response.pre && response.granted
  if (!promised && response.term > state.term) {
    becomeFollower(state, effects, response.term, null)
    return
  }
  if (state.role !== 'candidate' || state.preCandidate !== response.pre) return
  if (response.term !== (promised ? state.term + 1 : state.term)) return
  state.votes.set(from, response.granted)
  countVotes(state, effects)
}

export function onTimeoutNow (state: RaftState, effects: Effects, from: NodeId, request: TimeoutNow): void {
  if (request.term !== state.term || state.role !== 'follower' || state.leader !== from) return
  if (request.round < state.leaderRound) return // the leader has given the hand-over up
  if (canLead(state)) campaign(state, effects, false, true)
}
