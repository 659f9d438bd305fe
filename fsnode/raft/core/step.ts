import type { NodeId } from '../../../partitioning/types.ts'
import { onTimeoutNow, onVoteRequest, onVoteResponse, ownVotePersisted, tickElection } from './election.ts'
import { onAppend, onRestored, onSnapshotChunk } from './follower.ts'
import { beginChange, tickJoining } from './membership.ts'
import { advanceCommit, beginTransfer, heartbeat, onAppendResponse, onEntriesRead, onSnapshotEnded, replicateAll, tickLeader } from './replication.ts'
import { appendNew, becomeFollower, cutLog, noEffects, postponeElection } from './state.ts'
import { entryKind, type Effects, type Input, type RaftMessage, type RaftState } from './types.ts'

/**
 * Raft, one input at a time. Changes `state`, which nobody else may, and says what has to be done:
 * send `messages`, write `write` and then send `afterWrite`, and so on; see Effects.
 * Throws when an invariant is broken: the group must not go on.
 */
export function step (state: RaftState, input: Input): Effects {
  const effects = noEffects()
  state.now = Math.max(state.now, input.now)
  take(state, effects, input)
  if (effects.write !== null) {
    state.writes.push({ sequence: effects.write.sequence, lastIndex: state.log.lastIndex, term: state.term })
  }
  return effects
}

function take (state: RaftState, effects: Effects, input: Input): void {
  switch (input.type) {
    case 'message':
      receive(state, effects, input.from, input.message)
      break
    case 'propose':
      if (state.role !== 'leader') break
      for (const command of input.commands) appendNew(state, effects, entryKind.command, command)
      replicateAll(state, effects)
      break
    case 'persisted':
      persisted(state, effects, input.sequence)
      break
    case 'tick':
      tick(state, effects)
      break
    case 'entries':
      if (state.role === 'leader') onEntriesRead(state, effects, input.to, input.entries)
      break
    case 'read':
      if (state.role !== 'leader') break
      state.round++
      heartbeat(state, effects, true)
      break
    case 'transfer':
      if (state.role === 'leader') beginTransfer(state, effects, input.to)
      break
    case 'members':
      if (state.role === 'leader') beginChange(state, effects, input.members)
      break
    case 'restored':
      onRestored(state, effects, input.mark)
      break
    case 'needSnapshot':
      state.needsSnapshot = input.needed
      break
    case 'snapshotEnded':
      if (state.role === 'leader') onSnapshotEnded(state, effects, input.to)
      break
    case 'cut':
      if (input.index > state.log.markIndex) cutLog(state, effects, input.index)
      break
  }
}

function receive (state: RaftState, effects: Effects, from: NodeId, message: RaftMessage): void {
  switch (message.type) {
    case 'append':
      onAppend(state, effects, from, message)
      return
    case 'vote':
      onVoteRequest(state, effects, from, message)
      return
    case 'voted':
      onVoteResponse(state, effects, from, message)
      return
    case 'snapshot':
      onSnapshotChunk(state, effects, from, message)
      return
    case 'timeoutNow':
      onTimeoutNow(state, effects, from, message)
      return
    case 'appended':
    case 'received':
      if (message.term > state.term) becomeFollower(state, effects, message.term, null)
      if (message.term < state.term || state.role !== 'leader') return
      if (message.type === 'appended') onAppendResponse(state, effects, from, message)
      else effects.received = { from, message }
  }
}

function persisted (state: RaftState, effects: Effects, sequence: number): void {
  const { writes } = state
  while (writes.length > 0 && writes[0]!.sequence <= sequence) {
    const { lastIndex, term } = writes.shift()!
    if (lastIndex > state.persistedIndex) state.persistedIndex = lastIndex
    state.persistedTerm = term
  }
  state.log.evict(state.persistedIndex)
  if (state.role === 'leader') advanceCommit(state, effects)
  else ownVotePersisted(state, effects)
}

function tick (state: RaftState, effects: Effects): void {
  const { timing } = state
  const stalled = state.now - state.lastTickAt > timing.electionTimeoutMsMin / 2
  state.lastTickAt = state.now
  if (stalled) {
    // This process stood still: what others sent meanwhile is waiting to be read, so they are not silent.
    state.quorumSince = state.now
    if (state.role === 'follower') postponeElection(state)
  }
  if (state.role === 'leader') {
    tickLeader(state, effects)
    tickJoining(state, effects)
  } else {
    tickElection(state, effects)
  }
}
