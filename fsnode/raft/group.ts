import type { NodeId } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger, Random } from '../protocol/ports.ts'
import { commandBytesMax, snapshotLogsMax, uncutLogsMax, type RaftLimits, type RaftTiming } from './constants.ts'
import { confirmedRound, leaseUntil } from './core/replication.ts'
import { createState, membersAt } from './core/state.ts'
import { step } from './core/step.ts'
import { entryKind, type Effects, type Entry, type Envelope, type Input, type LogMark, type RaftMessage, type RaftState, type SnapshotChunk } from './core/types.ts'
import type { LoadedGroup, LogStore } from './log-store.ts'
import { Proposals } from './proposals.ts'
import { SnapshotReceiver } from './snapshot-receiver.ts'
import { SnapshotSender } from './snapshot-sender.ts'
import { nodeOfMember, type MemberId } from './member-id.ts'
import type { GroupStatus, RaftGroup, StateMachine } from './types.ts'

export interface GroupComponents {
  clock: Clock
  random: Random
  log: Logger
  store: LogStore
  send: (to: MemberId, message: RaftMessage) => void
  stateMachine: StateMachine
}

export interface GroupInit {
  id: string
  self: MemberId
  timing: RaftTiming
  limits: RaftLimits
  loaded: LoadedGroup
  fresh: boolean
  onClose: () => void
}

interface ReadWaiter { round: number, index: number, resolve: () => void, reject: (error: Error) => void }

interface Change { index: number, resolve: () => void, reject: (error: Error) => void }

/** Carries out what the core decides for one group: disk, network, state machine, and those who wait. */
export class Group implements RaftGroup {
  readonly id: string
  private readonly components: GroupComponents
  private readonly init: GroupInit
  private readonly state: RaftState
  private readonly proposals = new Proposals()
  private readonly listeners = new Set<(status: GroupStatus) => void>()
  private readonly senders = new Map<NodeId, SnapshotSender>()
  private readonly receiver: SnapshotReceiver
  private appliedIndex: number
  /** An apply continues in a later turn. */
  private applying = false
  private restoring = false
  private submitScheduled = false
  private readScheduled = false
  private readWaiters: ReadWaiter[] = []
  private change: Change | null = null
  private transferWaiters: Array<{ deadline: number, resolve: () => void }> = []
  private cutting: Promise<void> | null = null
  private cutAgainLength = 0
  private nextStream = 1
  private stopped: Error | null = null

  constructor (components: GroupComponents, init: GroupInit) {
    const { clock, random, stateMachine } = components
    const { loaded: { hardState, log, memberHistory } } = init
    this.id = init.id
    this.components = components
    this.init = init
    this.appliedIndex = stateMachine.durableIndex
    this.state = createState({
      self: init.self,
      timing: init.timing,
      limits: init.limits,
      random: () => random.next(),
      now: clock.now(),
      hardState,
      log,
      // The state machine may be ahead of the log: it got entries that were committed without our help.
      commitIndex: Math.max(log.markIndex, Math.min(stateMachine.durableIndex, log.lastIndex)),
      memberHistory,
      needsSnapshot: stateMachine.durableIndex < log.markIndex,
      fresh: init.fresh
    })
    this.receiver = new SnapshotReceiver(components, {
      idleMs: init.timing.snapshotIdleMs,
      answer: (to, stream, known, next) => { this.send(to, { type: 'received', term: this.state.term, stream, known, next }) },
      onBegin: () => { this.beginRestore() },
      onRestored: (mark) => { this.restored(mark) },
      onFailed: () => { this.restoreFailed() }
    })
  }

  get status (): GroupStatus {
    const { term, commitIndex, members } = this.state
    const { role, leader } = this.stopped === null ? this.state : { role: 'follower' as const, leader: null }
    return { role, term, leader: leader === null ? null : nodeOfMember(leader), commitIndex, appliedIndex: this.appliedIndex, members: members.map(nodeOfMember) }
  }

  get memberId (): MemberId { return this.init.self }

  get memberIds (): MemberId[] { return this.state.members }

  get canReadNow (): boolean {
    return this.stopped === null && this.appliedIndex >= this.state.commitIndex && this.components.clock.now() < leaseUntil(this.state)
  }

  propose (command: Uint8Array): Promise<unknown> {
    const refusal = this.refusal(command)
    if (refusal !== null) return Promise.reject(refusal)
    return new Promise((resolve, reject) => {
      this.proposals.enqueue({ command, resolve, reject })
      this.scheduleSubmit()
    })
  }

  readBarrier (): Promise<void> {
    if (this.canReadNow) return resolved
    const refusal = this.notLeading()
    if (refusal !== null) return Promise.reject(refusal)
    if (this.readWaiters.length >= this.init.limits.proposalsMax) return Promise.reject(busy())
    return new Promise((resolve, reject) => {
      const { state } = this
      // The next round begins after this call.
      this.readWaiters.push({ round: state.round + 1, index: Math.max(state.commitIndex, state.termStartIndex), resolve, reject })
      if (this.readScheduled) return
      this.readScheduled = true
      queueMicrotask(() => {
        this.readScheduled = false
        this.run({ type: 'read', now: this.components.clock.now() })
      })
    })
  }

  onStatus (listener: (status: GroupStatus) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  transferLeadership (to?: NodeId): Promise<void> {
    if (this.stopped !== null || this.state.role !== 'leader') return resolved
    return new Promise((resolve) => {
      const now = this.components.clock.now()
      this.transferWaiters.push({ deadline: now + this.init.timing.electionTimeoutMsMax, resolve })
      this.run({ type: 'transfer', now, to: to === undefined ? undefined : this.state.members.find((member) => nodeOfMember(member) === to) ?? to })
    })
  }

  changeMembers (members: MemberId[]): Promise<void> {
    const refusal = this.notLeading()
    if (refusal !== null) return Promise.reject(refusal)
    const current = this.state.members
    if (members.length === current.length && members.every((member) => current.includes(member))) return resolved
    if (this.change !== null) return Promise.reject(changeRefused())
    return new Promise((resolve, reject) => {
      this.change = { index: Infinity, resolve, reject }
      this.run({ type: 'members', now: this.components.clock.now(), members: [...members] })
    })
  }

  async close (): Promise<void> {
    if (this.stopped === null) this.stop(new AtollError('ATOLL_UNAVAILABLE', `the group ${this.id} is closed`))
    await this.receiver.close()
    await this.cutting
  }

  /** For the host: a message from another replica. */
  receive (from: NodeId, message: RaftMessage): void {
    this.run({ type: 'message', now: this.components.clock.now(), from, message })
  }

  /** For the host: time passed. */
  tick (now: number): void {
    this.run({ type: 'tick', now })
    this.receiver.tick(now)
    if (this.transferWaiters.length > 0) this.settleTransfers(now)
  }

  /** For the host: the disk failed, or an invariant is broken. Nothing is done any more. */
  fail (error: Error): void {
    if (this.stopped !== null) return
    this.components.log.error('the Raft group stops', { group: this.id, error: messageOf(error), stack: error.stack })
    this.stop(new AtollError('ATOLL_UNAVAILABLE', `the replica of ${this.id} has stopped: ${messageOf(error)}`))
  }

  private notLeading (): Error | null {
    if (this.stopped !== null) return this.stopped
    const { role, leader } = this.state
    return role === 'leader' ? null : new AtollError('ATOLL_NOT_LEADER', `this replica does not lead ${this.id}`, { leader: leader === null ? null : nodeOfMember(leader) })
  }

  private refusal (command: Uint8Array): Error | null {
    const { limits } = this.init
    const notLeading = this.notLeading()
    if (notLeading !== null) return notLeading
    if (command.length > commandBytesMax) return new AtollError('ATOLL_TOO_LARGE', `a command has at most ${commandBytesMax} bytes, this one ${command.length}`)
    if (this.state.transfer !== null) return new AtollError('ATOLL_UNAVAILABLE', `leadership of ${this.id} is being handed over`)
    if (this.proposals.count >= limits.proposalsMax || this.proposals.bytes + command.length > limits.proposalBytesMax) return busy()
    // The state machine fails to become durable, so the log cannot be cut.
    if (this.state.log.bytes > uncutLogsMax * limits.logBytesMax) return busy()
    return null
  }

  private scheduleSubmit (): void {
    if (this.submitScheduled) return
    this.submitScheduled = true
    queueMicrotask(() => {
      this.submitScheduled = false
      this.submit()
    })
  }

  private submit (): void {
    const refusal = this.notLeading()
    if (refusal !== null) {
      this.proposals.rejectQueued(refusal)
      return
    }
    const { queued } = this.proposals
    this.proposals.queued = []
    this.proposals.submitted(queued, this.state.log.lastIndex + 1, this.state.term)
    this.run({ type: 'propose', now: this.components.clock.now(), commands: queued.map(({ command }) => command) })
  }

  private run (input: Input): void {
    if (this.stopped !== null) return
    try {
      const { role, term } = this.state
      const effects = step(this.state, input)
      this.perform(effects)
      if (role === 'leader' && (this.state.role !== 'leader' || this.state.term !== term)) this.leadershipLost()
      if (effects.statusChanged) this.tellStatus()
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  private perform (effects: Effects): void {
    const { messages, write, afterWrite } = effects
    for (const { to, message } of messages) this.send(to, message)
    if (write !== null) {
      this.components.store.write(this.id, write, () => { this.written(write.sequence, afterWrite) })
    }
    if (effects.reads.length > 0) for (const { to, first, last } of effects.reads) void this.readEntries(to, first, last)
    for (const to of effects.snapshots) this.sendSnapshot(to)
    if (effects.chunk !== null) this.receiveChunk(effects.chunk.from, effects.chunk.message)
    if (effects.received !== null) this.senders.get(effects.received.from)?.received(effects.received.message)
    if (effects.change !== null) this.changeProceeds(effects.change)
    if (this.appliedIndex < this.state.commitIndex) this.applyCommitted()
    if (this.senders.size > 0) this.dropSenders()
    if (this.readWaiters.length > 0) this.settleReads()
  }

  private written (sequence: number, messages: Envelope[]): void {
    if (this.stopped !== null) return
    for (const { to, message } of messages) this.send(to, message)
    this.run({ type: 'persisted', now: this.components.clock.now(), sequence })
  }

  private send (to: NodeId, message: RaftMessage): void {
    if (this.stopped === null) this.components.send(to, message)
  }

  private async readEntries (to: NodeId, first: number, last: number): Promise<void> {
    const entries = await this.readFromStore(first, last)
    this.run({ type: 'entries', now: this.components.clock.now(), to, entries })
  }

  private async readFromStore (first: number, last: number): Promise<Entry[]> {
    try {
      return await this.components.store.read(this.id, first, last, this.init.limits.appendBytesMax)
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
      return []
    }
  }

  private applyCommitted (): void {
    if (this.applying || this.restoring || this.state.needsSnapshot) return
    let budget = this.init.limits.applyEntriesMax
    while (this.appliedIndex < this.state.commitIndex && this.stopped === null) {
      const entry = this.state.log.get(this.appliedIndex + 1)
      if (entry === undefined) {
        this.applying = true
        void this.applyFromStore()
        return
      }
      if (budget-- === 0) {
        this.applying = true
        this.components.clock.setTimer(() => { this.resumeApply() }, 0)
        return
      }
      this.apply(entry)
    }
    this.considerCut()
  }

  private async applyFromStore (): Promise<void> {
    const first = this.appliedIndex + 1
    // Beyond persistedIndex the disk may still hold what was replaced; those entries are in memory.
    const { commitIndex, persistedIndex, log } = this.state
    const entries = await this.readFromStore(first, Math.min(commitIndex, persistedIndex, first + this.init.limits.applyEntriesMax - 1))
    if (this.stopped !== null) return
    try {
      // A restore may have begun meanwhile.
      for (const entry of entries) {
        if (this.restoring || entry.index !== this.appliedIndex + 1) break
        if (entry.index > log.markIndex && log.termAt(entry.index) !== entry.term) throw new Error(`raft: the entry ${entry.index} on disk is not the committed one`)
        this.apply(entry)
      }
      if (entries.length === 0) throw new Error(`raft: the committed entry ${first} is not in the log`)
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
    this.resumeApply()
  }

  private resumeApply (): void {
    this.applying = false
    if (this.stopped !== null) return
    try {
      this.applyCommitted()
      this.settleReads()
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  private apply (entry: Entry): void {
    const { index, term } = entry
    const result = entry.kind === entryKind.command ? this.components.stateMachine.apply({ index, term, command: entry.data }) : undefined
    this.appliedIndex = index
    if (entry.kind === entryKind.command) this.proposals.applied(index, term, result)
    if (this.change !== null && index >= this.change.index) {
      this.change.resolve()
      this.change = null
    }
  }

  private settleReads (): void {
    const round = confirmedRound(this.state)
    const { appliedIndex } = this
    // Later waiters want later rounds.
    let settled = 0
    for (const waiter of this.readWaiters) {
      if (waiter.round > round || waiter.index > appliedIndex) break
      waiter.resolve()
      settled++
    }
    if (settled > 0) this.readWaiters = this.readWaiters.slice(settled)
  }

  private leadershipLost (): void {
    this.proposals.rejectSubmitted()
    this.rejectReads(this.notLeading() ?? busy())
    this.rejectChange()
    for (const sender of this.senders.values()) sender.cancel()
  }

  private rejectReads (error: Error): void {
    const waiters = this.readWaiters
    this.readWaiters = []
    for (const { reject } of waiters) reject(error)
  }

  private rejectChange (): void {
    this.change?.reject(new AtollError('ATOLL_UNAVAILABLE', `leadership of ${this.id} was lost before the change of members was known to be committed`))
    this.change = null
  }

  private changeProceeds (outcome: 'appended' | 'timedOut' | 'refused'): void {
    const { change, state } = this
    if (change === null) return
    if (outcome === 'appended') {
      change.index = state.memberHistory[state.memberHistory.length - 1]!.index
      return
    }
    this.change = null
    change.reject(outcome === 'refused' ? changeRefused() : new AtollError('ATOLL_UNAVAILABLE', `the new member of ${this.id} did not catch up in time`))
  }

  private settleTransfers (now: number): void {
    const leader = this.stopped === null ? this.state.leader : null
    const done = (deadline: number): boolean => now >= deadline || (leader !== null && leader !== this.init.self)
    for (const { deadline, resolve } of this.transferWaiters) if (done(deadline)) resolve()
    this.transferWaiters = this.transferWaiters.filter(({ deadline }) => !done(deadline))
  }

  private tellStatus (): void {
    this.settleTransfers(this.components.clock.now())
    const { status } = this
    for (const listener of this.listeners) {
      try {
        listener(status)
      } catch (error) {
        this.components.log.error('a listener failed', { group: this.id, error: messageOf(error) })
      }
    }
  }

  private stop (reason: Error): void {
    this.stopped = reason
    this.proposals.rejectQueued(reason)
    this.proposals.rejectSubmitted()
    this.rejectReads(reason)
    this.rejectChange()
    for (const { resolve } of this.transferWaiters) resolve()
    this.transferWaiters = []
    for (const sender of this.senders.values()) sender.cancel()
    this.tellStatus()
    this.init.onClose()
  }

  private sendSnapshot (to: NodeId): void {
    if (this.senders.has(to)) return
    const { state, components, init: { timing, limits } } = this
    const sender: SnapshotSender = new SnapshotSender(components, {
      to,
      term: state.term,
      stream: this.nextStream++,
      chunkBytesMax: limits.snapshotChunkBytesMax,
      resendMs: timing.resendMs,
      idleMs: timing.snapshotIdleMs,
      markOf: ({ index, term }) => ({ index, term: state.log.termAt(index) ?? term, members: membersAt(state, index) }),
      send: (message) => { this.send(to, message) },
      onEnd: () => {
        if (this.senders.get(to) === sender) this.senders.delete(to)
        this.run({ type: 'snapshotEnded', now: components.clock.now(), to })
      }
    })
    this.senders.set(to, sender)
    void sender.run()
  }

  /** A follower that left the snapshot mode has what it needs. */
  private dropSenders (): void {
    for (const [to, sender] of this.senders) {
      if (this.state.progress.get(to)?.mode === 'snapshot') continue
      this.senders.delete(to)
      sender.cancel()
    }
  }

  private receiveChunk (from: NodeId, chunk: SnapshotChunk): void {
    const useless = chunk.index <= this.appliedIndex && !this.state.needsSnapshot && !this.restoring
    if (!useless) {
      this.receiver.receive(from, chunk)
    } else if (chunk.index <= this.state.log.markIndex) {
      this.send(from, { type: 'received', term: this.state.term, stream: chunk.stream, known: false, next: 0 })
    } else if (chunk.index <= this.components.stateMachine.durableIndex) {
      const mark = { index: chunk.index, term: chunk.indexTerm, members: chunk.members }
      this.run({ type: 'restored', now: this.components.clock.now(), mark })
    } else {
      // The log may start at the mark only when the state up to there is durable; the sender asks again.
      void this.flush()
    }
  }

  private beginRestore (): void {
    this.restoring = true
    this.run({ type: 'needSnapshot', now: this.components.clock.now(), needed: true })
  }

  private restored (mark: LogMark): void {
    this.restoring = false
    if (this.stopped !== null) return
    this.appliedIndex = mark.index
    this.run({ type: 'restored', now: this.components.clock.now(), mark })
  }

  private restoreFailed (): void {
    this.restoring = false
    this.appliedIndex = this.components.stateMachine.durableIndex
    this.run({ type: 'needSnapshot', now: this.components.clock.now(), needed: this.appliedIndex < this.state.log.markIndex })
  }

  private considerCut (): void {
    const { log } = this.state
    const { logEntriesMax, logBytesMax } = this.init.limits
    if (this.cutting !== null || log.length < this.cutAgainLength) return
    if (log.length <= logEntriesMax && log.bytes <= logBytesMax) return
    this.cutting = this.cut()
  }

  private async cut (): Promise<void> {
    const { state, init: { limits } } = this
    const { log } = state
    if (await this.flush() && this.stopped === null) {
      let index = Math.min(this.components.stateMachine.durableIndex, this.appliedIndex, state.persistedIndex, state.commitIndex)
      // What follows a snapshot that is on its way is kept, within reason: else it would come too late.
      const pinned = log.length <= snapshotLogsMax * limits.logEntriesMax && log.bytes <= snapshotLogsMax * limits.logBytesMax
      if (pinned) for (const sender of this.senders.values()) index = Math.min(index, sender.index)
      const entryBytes = Math.max(1, log.bytes / Math.max(1, log.length))
      const tail = Math.min(limits.logTailEntries, Math.floor(limits.logTailBytes / entryBytes))
      index = Math.min(index, log.lastIndex - tail)
      if (index > log.markIndex) this.run({ type: 'cut', now: this.components.clock.now(), index })
    }
    // If it is still long, it is not worth another flush at once.
    this.cutAgainLength = log.length + Math.ceil(limits.logEntriesMax / 8)
    this.cutting = null
  }

  private async flush (): Promise<boolean> {
    try {
      await this.components.stateMachine.flush()
      return true
    } catch (error) {
      this.components.log.error('the state machine cannot be made durable', { group: this.id, error: messageOf(error) })
      return false
    }
  }
}

const resolved: Promise<void> = Promise.resolve()

function busy (): AtollError {
  return new AtollError('ATOLL_UNAVAILABLE', 'too much is waiting for this group already')
}

function changeRefused (): AtollError {
  return new AtollError('ATOLL_UNAVAILABLE', 'the members change one at a time, once the change before and an entry of the term are committed')
}
