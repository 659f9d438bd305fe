import type { NodeId } from '../../../partitioning/types.ts'
import { appendEntry, becomeFollower, cutLog, postponeElection, resetLog, truncate } from './state.ts'
import type { AppendRequest, AppendResponse, Effects, LogMark, RaftState, SnapshotChunk } from './types.ts'

/** The follower's side of the log. */

export function onAppend (state: RaftState, effects: Effects, from: NodeId, request: AppendRequest): void {
  if (!acceptLeader(state, effects, from, request.term)) {
    refuse(state, effects, from, request, 0, 0)
    return
  }
  const { log } = state
  const prevTerm = log.termAt(request.prevIndex)
  // Below the mark everything is committed, and so equals what the leader has.
  if (request.prevIndex >= log.markIndex && prevTerm !== request.prevTerm) {
    const hintIndex = log.lastIndexOfTermAtMost(request.prevTerm, request.prevIndex)
    refuse(state, effects, from, request, hintIndex, log.termAt(hintIndex) ?? 0)
    return
  }
  if (request.round > state.leaderRound) state.leaderRound = request.round
  takeEntries(state, effects, request)
  const last = Math.max(request.prevIndex + request.entries.length, log.markIndex)
  const commitIndex = Math.min(request.commitIndex, last)
  if (commitIndex > state.commitIndex) state.commitIndex = commitIndex
  const durable = (effects.write?.entries.length ?? 0) > 0 ? last : Math.min(last, state.persistedIndex)
  respond(state, effects, from, request, true, durable, 0, 0)
}

/** Also stale leaders get an answer: the higher term in it makes them step down. */
function refuse (state: RaftState, effects: Effects, from: NodeId, request: AppendRequest, hintIndex: number, hintTerm: number): void {
  respond(state, effects, from, request, false, request.prevIndex, hintIndex, hintTerm)
}

function respond (state: RaftState, effects: Effects, to: NodeId, request: AppendRequest, success: boolean, index: number, hintIndex: number, hintTerm: number): void {
  const message: AppendResponse = {
    type: 'appended', term: state.term, success, index, hintIndex, hintTerm,
    stamp: request.stamp, round: request.round, wantSnapshot: state.needsSnapshot
  }
  ;(effects.write === null ? effects.messages : effects.afterWrite).push({ to, message })
}

function takeEntries (state: RaftState, effects: Effects, request: AppendRequest): void {
  const { log } = state
  let index = request.prevIndex
  for (const entry of request.entries) {
    index++
    if (entry.index !== index) throw new Error(`raft: append of entry ${entry.index} where ${index} belongs`)
    if (index <= log.markIndex || log.termAt(index) === entry.term) continue
    if (index <= log.lastIndex) truncate(state, effects, index)
    appendEntry(state, effects, entry)
  }
}

function acceptLeader (state: RaftState, effects: Effects, from: NodeId, term: number): boolean {
  if (term < state.term) return false
  if (term === state.term && state.role === 'leader') throw new Error(`raft: ${from} and ${state.self} both lead in term ${term}`)
  if (term > state.term || state.role !== 'follower' || state.leader !== from) becomeFollower(state, effects, term, from)
  state.heardAt = state.now
  postponeElection(state)
  return true
}

export function onSnapshotChunk (state: RaftState, effects: Effects, from: NodeId, chunk: SnapshotChunk): void {
  if (!acceptLeader(state, effects, from, chunk.term)) {
    effects.messages.push({ to: from, message: { type: 'received', term: state.term, stream: chunk.stream, known: false, next: 0 } })
    return
  }
  effects.chunk = { from, message: chunk }
}

/** The state machine stands at the mark now, and so does the log; entries beyond it stay if they fit. */
export function onRestored (state: RaftState, effects: Effects, mark: LogMark): void {
  const { log } = state
  // A leader that has just restarted may have sent less than our log once covered; then another must follow.
  state.needsSnapshot &&= mark.index < log.markIndex
  if (mark.index > log.markIndex) {
    if (log.termAt(mark.index) === mark.term) cutLog(state, effects, mark.index)
    else resetLog(state, effects, mark)
  }
  state.commitIndex = Math.max(state.commitIndex, mark.index)
  if (state.role !== 'follower' || state.leader === null) return
  const message: AppendResponse = {
    type: 'appended', term: state.term, success: true, index: effects.write === null ? Math.min(mark.index, state.persistedIndex) : mark.index,
    hintIndex: 0, hintTerm: 0, stamp: -1, round: -1, wantSnapshot: state.needsSnapshot
  }
  ;(effects.write === null ? effects.messages : effects.afterWrite).push({ to: state.leader, message })
}
