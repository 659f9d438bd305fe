import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import type { CommittedEntry, GroupStatus, RaftGroup, StateMachine } from '../../fsnode/raft/types.ts'
import type { NodeId } from '../../partitioning/types.ts'

const commitDelayMs = 2
const followDelayMs = 3

/** One log that is always right: what Raft promises, without Raft. A test says who leads. */
export class TrivialLog {
  readonly clock: Clock
  readonly entries: CommittedEntry[] = []
  readonly members = new Map<NodeId, TrivialGroup>()
  leader: NodeId | null = null
  term = 0

  constructor (clock: Clock) {
    this.clock = clock
  }

  elect (leader: NodeId | null): void {
    this.leader = leader
    this.term++
    for (const member of this.members.values()) member.statusChanged()
  }

  append (command: Uint8Array): CommittedEntry {
    const entry = { index: this.entries.length + 1, term: this.term, command: Buffer.from(command) }
    this.entries.push(entry)
    for (const member of this.members.values()) this.clock.setTimer(() => { member.catchUp() }, followDelayMs)
    return entry
  }
}

export class TrivialGroup implements RaftGroup {
  readonly id = 'manager'
  readonly canReadNow = false
  get memberId (): string { return this.self }
  get memberIds (): string[] { return this.status.members }
  private readonly log: TrivialLog
  private readonly self: NodeId
  private readonly stateMachine: StateMachine
  private readonly listeners = new Set<(status: GroupStatus) => void>()
  private readonly results = new Map<number, unknown>()
  private applied: number
  private closed = false

  constructor (log: TrivialLog, self: NodeId, stateMachine: StateMachine) {
    this.log = log
    this.self = self
    this.stateMachine = stateMachine
    this.applied = stateMachine.durableIndex
    log.members.set(self, this)
  }

  get status (): GroupStatus {
    const { leader, term, entries } = this.log
    const role = leader === this.self ? 'leader' : 'follower'
    return { role, term, leader, commitIndex: entries.length, appliedIndex: this.applied, members: [...this.log.members.keys()] }
  }

  async propose (command: Uint8Array): Promise<unknown> {
    this.requireLead()
    const { term } = this.log
    await this.pause(commitDelayMs)
    if (this.log.term !== term) throw new AtollError('ATOLL_UNAVAILABLE', 'leadership was lost')
    const { index } = this.log.append(command)
    this.catchUp()
    const result = this.results.get(index)
    this.results.delete(index)
    await this.pause(0)
    // Committed, but nobody is told: the outcome is unknown to the proposer.
    if (this.log.term !== term) throw new AtollError('ATOLL_UNAVAILABLE', 'leadership was lost')
    return result
  }

  async readBarrier (): Promise<void> {
    await this.pause(1)
    this.requireLead()
    this.catchUp()
  }

  onStatus (listener: (status: GroupStatus) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  statusChanged (): void {
    for (const listener of this.listeners) listener(this.status)
  }

  catchUp (): void {
    if (this.closed) return
    for (const entry of this.log.entries.slice(this.applied)) {
      const result = this.stateMachine.apply(entry)
      this.applied = entry.index
      if (this.log.leader === this.self) this.results.set(entry.index, result)
    }
  }

  async transferLeadership (to?: NodeId): Promise<void> { this.log.elect(to ?? null) }

  async changeMembers (): Promise<void> { throw new AtollError('ATOLL_UNAVAILABLE', 'fixed members') }

  async close (): Promise<void> {
    this.closed = true
    this.listeners.clear()
    if (this.log.members.get(this.self) === this) this.log.members.delete(this.self)
  }

  private requireLead (): void {
    if (this.closed || this.log.leader !== this.self) throw new AtollError('ATOLL_NOT_LEADER', 'not the leader', { leader: this.log.leader })
  }

  private pause (delayMs: number): Promise<void> {
    return new Promise((resolve) => { this.log.clock.setTimer(resolve, delayMs) })
  }
}
