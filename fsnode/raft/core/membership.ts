import type { NodeId } from '../../../partitioning/types.ts'
import { advanceCommit, mostAdvanced, newProgress, replicate, replicateAll } from './replication.ts'
import { appendNew, becomeFollower, encodeMembers } from './state.ts'
import { entryKind, type Effects, type RaftState } from './types.ts'

/**
 * One member at a time, so that any majority before the change and any after it share a member. A newcomer
 * first gets the log without a vote: an empty one must not be needed for a majority.
 */
export function beginChange (state: RaftState, effects: Effects, members: NodeId[]): void {
  const added = members.filter((member) => !state.members.includes(member))
  const removed = state.members.filter((member) => !members.includes(member))
  if (!mayChange(state) || added.length + removed.length !== 1 || new Set(members).size !== members.length || members.length === 0) {
    effects.change = 'refused'
    return
  }
  if (removed.length === 1) {
    appendMembers(state, effects, members)
    return
  }
  const node = added[0]!
  state.joining = { node, members, deadline: state.now + state.timing.joinTimeoutMs }
  const progress = newProgress(state)
  state.progress.set(node, progress)
  replicate(state, effects, node, progress)
}

/** The change before must be committed, and our term must have committed something: else majorities could miss each other. */
function mayChange (state: RaftState): boolean {
  const newest = state.memberHistory[state.memberHistory.length - 1]!.index
  return state.commitIndex >= state.termStartIndex && newest <= state.commitIndex && state.joining === null && state.transfer === null
}

export function checkJoining (state: RaftState, effects: Effects): void {
  const { joining } = state
  if (joining === null || (state.progress.get(joining.node)?.match ?? 0) < state.commitIndex) return
  state.joining = null
  appendMembers(state, effects, joining.members)
}

export function tickJoining (state: RaftState, effects: Effects): void {
  if (state.joining === null || state.now < state.joining.deadline) return
  state.progress.delete(state.joining.node)
  state.joining = null
  effects.change = 'timedOut'
}

function appendMembers (state: RaftState, effects: Effects, members: NodeId[]): void {
  effects.change = 'appended'
  appendNew(state, effects, entryKind.members, encodeMembers(members))
  replicateAll(state, effects)
  // A smaller group may have its majority already.
  advanceCommit(state, effects)
}

/** Called when entries became committed. */
export function committed (state: RaftState, effects: Effects): void {
  const newest = state.memberHistory[state.memberHistory.length - 1]!
  if (newest.index > state.commitIndex) return
  for (const member of state.progress.keys()) {
    if (member !== state.joining?.node && !state.members.includes(member)) state.progress.delete(member)
  }
  // Who is out for good gets no majority: everyone whom it would need has its removal in the log, which it lacks.
  for (const member of state.forfeits.keys()) if (!state.progress.has(member)) state.forfeits.delete(member)
  if (state.members.includes(state.self)) return
  // We led the group through our own removal; a member takes over from here.
  const successor = mostAdvanced(state)
  if (successor !== undefined) effects.messages.push({ to: successor, message: { type: 'timeoutNow', term: state.term, round: state.round } })
  becomeFollower(state, effects, state.term, null)
}
