import type { NodeId } from '../../../partitioning/types.ts'
import { checkJoining, committed } from './membership.ts'
import { reachedByMajority } from './quorum.ts'
import { becomeFollower } from './state.ts'
import type { AppendResponse, Effects, Entry, Progress, RaftState } from './types.ts'

/** The leader's side of the log: what goes to whom, what is committed, how long the lease holds. */

export function beginReplication (state: RaftState, effects: Effects): void {
  state.progress.clear()
  for (const member of state.members) if (member !== state.self) state.progress.set(member, newProgress(state))
  for (const [member, progress] of state.progress) replicate(state, effects, member, progress)
}

export function newProgress (state: RaftState): Progress {
  return {
    mode: 'probe', match: 0, next: Math.max(1, state.log.lastIndex), inFlight: [], inFlightBytes: [], bytesInFlight: 0,
    probeSentAt: -Infinity, sentAt: -Infinity, stamp: -Infinity, round: -1, reading: false, streaming: false
  }
}

export function replicateAll (state: RaftState, effects: Effects): void {
  for (const [member, progress] of state.progress) replicate(state, effects, member, progress)
}

/** Sends a follower what its window has room for. */
export function replicate (state: RaftState, effects: Effects, to: NodeId, progress: Progress): void {
  if (progress.reading) return
  if (progress.mode === 'probe') {
    if (state.now - progress.probeSentAt >= state.timing.resendMs) sendEntries(state, effects, to, progress)
    return
  }
  while (progress.mode === 'replicate' && !progress.reading && progress.next <= state.log.lastIndex && hasRoom(state, progress)) {
    sendEntries(state, effects, to, progress)
  }
}

function hasRoom (state: RaftState, progress: Progress): boolean {
  return progress.inFlight.length < state.limits.appendsInFlightMax && progress.bytesInFlight < state.limits.bytesInFlightMax
}

function sendEntries (state: RaftState, effects: Effects, to: NodeId, progress: Progress): void {
  if (state.log.termAt(progress.next - 1) === undefined) {
    beginSnapshot(state, effects, to, progress)
    return
  }
  const { appendEntriesMax, appendBytesMax } = state.limits
  const entries = state.log.slice(progress.next, appendEntriesMax, appendBytesMax)
  if (entries !== null) {
    sendAppend(state, effects, to, progress, entries)
    return
  }
  progress.reading = true
  effects.reads.push({ to, first: progress.next, last: Math.min(state.persistedIndex, progress.next + appendEntriesMax - 1) })
}

export function onEntriesRead (state: RaftState, effects: Effects, to: NodeId, entries: Entry[]): void {
  const progress = state.progress.get(to)
  if (progress === undefined) return
  progress.reading = false
  const first = entries[0]
  const wanted = first !== undefined && first.index === progress.next && entries.every(({ index, term }) => state.log.termAt(index) === term)
  if (wanted && progress.mode !== 'snapshot' && state.log.termAt(first.index - 1) !== undefined) {
    sendAppend(state, effects, to, progress, entries)
  }
  replicate(state, effects, to, progress)
}

function sendAppend (state: RaftState, effects: Effects, to: NodeId, progress: Progress, entries: Entry[]): void {
  pushAppend(state, effects, to, progress, progress.next - 1, entries)
  if (progress.mode === 'probe') {
    progress.probeSentAt = state.now
    return
  }
  const last = entries[entries.length - 1]
  if (last === undefined) return
  let bytes = 0
  for (const entry of entries) bytes += entry.data.length
  progress.next = last.index + 1
  progress.inFlight.push(last.index)
  progress.inFlightBytes.push(bytes)
  progress.bytesInFlight += bytes
}

function pushAppend (state: RaftState, effects: Effects, to: NodeId, progress: Progress, prevIndex: number, entries: Entry[]): void {
  progress.sentAt = state.now
  effects.messages.push({
    to,
    message: {
      type: 'append',
      term: state.term,
      prevIndex,
      prevTerm: state.log.termAt(prevIndex) ?? 0,
      commitIndex: state.commitIndex,
      stamp: state.now,
      round: state.round,
      entries
    }
  })
}

function beginSnapshot (state: RaftState, effects: Effects, to: NodeId, progress: Progress): void {
  progress.mode = 'snapshot'
  clearInFlight(progress)
  streamSnapshot(state, effects, to, progress)
}

/** Not to a follower that is away: a snapshot that nobody takes would keep the log from being cut. */
function streamSnapshot (state: RaftState, effects: Effects, to: NodeId, progress: Progress): void {
  if (progress.streaming || !isRecent(state, progress)) return
  progress.streaming = true
  effects.snapshots.push(to)
}

function isRecent (state: RaftState, progress: Progress): boolean {
  return state.now - progress.stamp < state.timing.electionTimeoutMsMin
}

/** The stream to this follower is over, well or not: find out where its log stands. */
export function onSnapshotEnded (state: RaftState, effects: Effects, to: NodeId): void {
  const progress = state.progress.get(to)
  if (progress === undefined) return
  progress.streaming = false
  if (progress.mode !== 'snapshot') return
  beginProbe(progress, Math.max(progress.match + 1, state.log.markIndex + 1))
  replicate(state, effects, to, progress)
}

function beginProbe (progress: Progress, next: number): void {
  progress.mode = 'probe'
  progress.next = next
  progress.probeSentAt = -Infinity
  clearInFlight(progress)
}

function clearInFlight (progress: Progress): void {
  progress.inFlight.length = 0
  progress.inFlightBytes.length = 0
  progress.bytesInFlight = 0
}

/**
 * A heartbeat is an empty append at the end of what was sent, so that a follower that lost a message
 * says so at once.
 */
export function heartbeat (state: RaftState, effects: Effects, force: boolean): void {
  for (const [member, progress] of state.progress) {
    replicate(state, effects, member, progress)
    if (!force && !isHeartbeatDue(state, progress.sentAt)) continue
    const prevIndex = progress.mode === 'snapshot' ? 0 : progress.next - 1
    if (prevIndex > 0 && state.log.termAt(prevIndex) === undefined) beginSnapshot(state, effects, member, progress)
    pushAppend(state, effects, member, progress, progress.mode === 'snapshot' ? 0 : prevIndex, [])
  }
}

/**
 * All groups of a node see the same clock, and send theirs in the same ticks, the first of each interval of it: so those to one node
 * travel together. Half a tick early is better than one and a half late.
 */
function isHeartbeatDue ({ now, timing: { heartbeatMs, tickMs } }: RaftState, sentAt: number): boolean {
  const inNextInterval = Math.floor(now / heartbeatMs) > Math.floor(sentAt / heartbeatMs)
  return sentAt <= now - (inNextInterval ? tickMs / 2 : heartbeatMs - tickMs / 2)
}

export function onAppendResponse (state: RaftState, effects: Effects, from: NodeId, response: AppendResponse): void {
  const progress = state.progress.get(from)
  if (progress === undefined || state.role !== 'leader') return
  progress.stamp = Math.max(progress.stamp, response.stamp)
  progress.round = Math.max(progress.round, response.round)
  if (progress.mode === 'snapshot') streamSnapshot(state, effects, from, progress)
  if (response.success) accepted(state, effects, from, progress, response)
  else refused(state, progress, response)
  if (state.role === 'leader') replicate(state, effects, from, progress)
}

function accepted (state: RaftState, effects: Effects, from: NodeId, progress: Progress, response: AppendResponse): void {
  if (response.index > state.log.lastIndex) throw new Error(`raft: ${from} acknowledged entry ${response.index}, the last one is ${state.log.lastIndex}`)
  const advanced = response.index > progress.match
  if (advanced) progress.match = response.index
  freeWindow(progress)
  if (response.wantSnapshot) {
    if (progress.mode !== 'snapshot') beginSnapshot(state, effects, from, progress)
  } else if (progress.mode === 'snapshot' ? progress.match >= state.log.markIndex && response.index >= state.log.markIndex : progress.mode === 'probe') {
    clearInFlight(progress)
    progress.next = progress.mode === 'snapshot' ? progress.match + 1 : Math.max(progress.next, progress.match + 1)
    progress.mode = 'replicate'
  } else if (progress.next <= progress.match) {
    progress.next = progress.match + 1
  }
  if (!advanced) return
  if (state.members.includes(from)) advanceCommit(state, effects)
  if (state.role !== 'leader') return
  checkTransfer(state, effects)
  checkJoining(state, effects)
}

function freeWindow (progress: Progress): void {
  let freed = 0
  while (freed < progress.inFlight.length && progress.inFlight[freed]! <= progress.match) {
    progress.bytesInFlight -= progress.inFlightBytes[freed]!
    freed++
  }
  if (freed === 0) return
  progress.inFlight.splice(0, freed)
  progress.inFlightBytes.splice(0, freed)
}

function refused (state: RaftState, progress: Progress, response: AppendResponse): void {
  if (progress.mode === 'snapshot' || response.index <= progress.match) return
  if (progress.mode === 'probe' && response.index !== progress.next - 1) return // an answer to an older probe
  const common = state.log.lastIndexOfTermAtMost(response.hintTerm, Math.min(response.hintIndex, response.index - 1))
  beginProbe(progress, Math.max(progress.match, common) + 1)
}

/** An entry of our own term is committed when a majority holds it, and all before with it. */
export function advanceCommit (state: RaftState, effects: Effects): void {
  const index = reachedByMajority(state.members.map((member) => member === state.self ? state.persistedIndex : state.progress.get(member)?.match ?? 0))
  if (index <= state.commitIndex || state.log.termAt(index) !== state.term) return
  state.commitIndex = index
  committed(state, effects)
}

/** Our clock at the newest moment as of which a majority is known to have supported us. */
export function supportedAt (state: RaftState): number {
  return reachedByMajority(state.members.map((member) => member === state.self ? state.now : state.progress.get(member)?.stamp ?? -Infinity))
}

/** The newest read round that proved leadership. */
export function confirmedRound (state: RaftState): number {
  return reachedByMajority(state.members.map((member) => member === state.self ? state.round : state.progress.get(member)?.round ?? -1))
}

/** No other leader can exist before this moment of our clock. */
export function leaseUntil (state: RaftState): number {
  if (state.role !== 'leader' || state.commitIndex < state.termStartIndex) return -Infinity
  for (const [member, round] of state.forfeits) {
    if ((state.progress.get(member)?.round ?? -1) < round) return -Infinity
  }
  return supportedAt(state) + state.timing.electionTimeoutMsMin - state.timing.leaseMarginMs
}

export function tickLeader (state: RaftState, effects: Effects): void {
  if (state.now - Math.max(supportedAt(state), state.quorumSince) > state.timing.electionTimeoutMsMax) {
    becomeFollower(state, effects, state.term, null)
    return
  }
  if (state.transfer !== null && state.now >= state.transfer.deadline) abandonTransfer(state, state.transfer.to)
  heartbeat(state, effects, false)
}

export function beginTransfer (state: RaftState, effects: Effects, to: NodeId | undefined): void {
  const target = to ?? mostAdvanced(state)
  if (target === undefined || target === state.self || !state.members.includes(target)) return
  state.transfer = { to: target, deadline: state.now + state.timing.electionTimeoutMsMin, sent: false }
  checkTransfer(state, effects)
}

/** We lead on; the lease counts again once the successor knows. */
function abandonTransfer (state: RaftState, to: NodeId): void {
  state.transfer = null
  state.round++
  if (state.forfeits.has(to)) state.forfeits.set(to, state.round)
}

/** The successor must hold our whole log. */
function checkTransfer (state: RaftState, effects: Effects): void {
  const { transfer } = state
  if (transfer === null || transfer.sent || state.progress.get(transfer.to)?.match !== state.log.lastIndex) return
  transfer.sent = true
  state.forfeits.set(transfer.to, Infinity)
  effects.messages.push({ to: transfer.to, message: { type: 'timeoutNow', term: state.term, round: state.round } })
}

export function mostAdvanced (state: RaftState): NodeId | undefined {
  let best: NodeId | undefined
  const rank = (member: NodeId): number => state.progress.get(member)?.match ?? -1
  for (const member of state.members) {
    const progress = state.progress.get(member)
    if (progress === undefined || !isRecent(state, progress)) continue
    if (best === undefined || rank(member) > rank(best)) best = member
  }
  return best
}
