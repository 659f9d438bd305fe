import type { NodeId } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { Clock, Kv, Logger, Random, Timer } from '../protocol/ports.ts'
import { defaultLimits, defaultTiming, type RaftLimits, type RaftTiming } from './constants.ts'
import { RaftLog } from './core/log.ts'
import { Group } from './group.ts'
import { groupNameBytesMax, LogStore, type LoadedGroup } from './log-store.ts'
import { addressOf, nodeOfMember, parseAddress, type MemberId } from './member-id.ts'
import type { RaftTransport } from './transport.ts'
import type { RaftGroup, StateMachine } from './types.ts'

export interface RaftHostComponents {
  clock: Clock
  random: Random
  log: Logger
  /** The log database: nothing else may be in it. */
  kv: Kv
  transport: RaftTransport
}

export interface RaftHostInit {
  self: NodeId
  timing?: Partial<RaftTiming>
  limits?: Partial<RaftLimits>
  /** The log can no longer be written: every group here has stopped. */
  onFailure?: (error: Error) => void
}

export interface OpenGroup {
  groupId: string
  /**
   * The first members of a new group: the same list on each of them. A replica that joins a group that
   * exists passes none, and learns them from its leader. Ignored when there is a log on disk.
   */
  members: NodeId[]
  /** Of a replica that joins: its own, if the node may have been a member before (member-id.ts). Ignored when there is a log on disk. */
  memberId?: MemberId
  stateMachine: StateMachine
}

/** All replicas of one node: they share its log database, its connections and one timer. */
export class RaftHost {
  private readonly components: RaftHostComponents
  private readonly init: RaftHostInit
  private readonly timing: RaftTiming
  private readonly limits: RaftLimits
  private readonly store: LogStore
  private readonly groups = new Map<string, Group>()
  private readonly opening = new Set<string>()
  private timer: Timer | null = null
  private failure: Error | null = null
  private closed = false

  constructor (components: RaftHostComponents, init: RaftHostInit) {
    this.components = components
    this.init = init
    this.timing = { ...defaultTiming, ...init.timing }
    this.limits = { ...defaultLimits, ...init.limits }
    this.store = new LogStore(components, { onFailure: (error) => { this.fail(error) } })
    components.transport.onMessage((from, groupId, message) => {
      // A group that is not open here: the message is as good as lost.
      const address = parseAddress(groupId, from, init.self)
      const group = this.groups.get(address.group)
      // It may be for a replica that was here before.
      if (group?.memberId === address.to) group.receive(address.from, message)
    })
  }

  /** Groups that have a log on this node, open or not. */
  groupsOnDisk (): Promise<string[]> { return this.store.groups() }

  /**
   * Continues from disk, or begins a new group.
   * Rejects with ATOLL_STORE_UNUSABLE when log and state machine cannot belong together or the log is damaged.
   */
  async open (open: OpenGroup): Promise<RaftGroup> {
    const { groupId, members, memberId, stateMachine } = open
    if (this.closed || this.failure !== null) throw this.failure ?? new AtollError('ATOLL_UNAVAILABLE', 'this node is closing')
    if (this.groups.has(groupId) || this.opening.has(groupId)) throw new AtollError('ATOLL_UNAVAILABLE', `the group ${groupId} is open already`)
    if (Buffer.byteLength(groupId) > groupNameBytesMax) throw new AtollError('ATOLL_BAD_MESSAGE', `a group's name has at most ${groupNameBytesMax} bytes: ${groupId}`)
    this.opening.add(groupId)
    try {
      const found = await this.store.load(groupId, this.limits.cacheBytesMax)
      const loaded = found ?? await this.bootstrap(groupId, members, memberId ?? null, stateMachine)
      this.requireMatch(groupId, loaded, stateMachine)
      const self = loaded.memberId ?? this.init.self
      const { transport } = this.components
      const group = new Group({
        ...this.components,
        send: (to, message) => { transport.send(nodeOfMember(to), addressOf(groupId, self, to), message) },
        store: this.store,
        stateMachine
      }, {
        id: groupId,
        self,
        timing: this.timing,
        limits: this.limits,
        loaded,
        fresh: found === null,
        onClose: () => { this.groups.delete(groupId) }
      })
      if (this.closed) throw new AtollError('ATOLL_UNAVAILABLE', 'this node is closing')
      this.groups.set(groupId, group)
      // A group without companions, or the first of a new one, begins at once.
      group.tick(this.components.clock.now())
      this.schedule()
      return group
    } finally {
      this.opening.delete(groupId)
    }
  }

  /** Removes the log of a group that is not open. */
  async remove (groupId: string): Promise<void> {
    if (this.groups.has(groupId)) throw new AtollError('ATOLL_UNAVAILABLE', `the group ${groupId} is open`)
    await this.store.remove(groupId)
  }

  /** Stops all groups. Kv and transport belong to whoever made them. */
  async close (): Promise<void> {
    this.closed = true
    this.timer?.cancel()
    this.timer = null
    await Promise.all([...this.groups.values()].map((group) => group.close()))
    await this.store.close()
  }

  private async bootstrap (groupId: string, members: NodeId[], memberId: MemberId | null, stateMachine: StateMachine): Promise<LoadedGroup> {
    if (stateMachine.durableIndex > 0) {
      throw new AtollError('ATOLL_STORE_UNUSABLE', `the state of ${groupId} is here, its Raft log is not`, {
        hint: 'this replica may have forgotten a vote: remove it from its group and add it again, empty'
      })
    }
    await this.store.create(groupId, members, memberId)
    return {
      memberId,
      hardState: { term: 0, vote: null },
      log: new RaftLog({ index: 0, term: 0 }, this.limits.cacheBytesMax),
      memberHistory: [{ index: 0, members }]
    }
  }

  private requireMatch (groupId: string, { log, memberHistory, memberId }: LoadedGroup, stateMachine: StateMachine): void {
    const { members } = memberHistory[memberHistory.length - 1]!
    const alone = members.length === 1 && members[0] === (memberId ?? this.init.self)
    if (!alone || stateMachine.durableIndex >= log.markIndex) return
    throw new AtollError('ATOLL_STORE_UNUSABLE', `the state of ${groupId} ends at entry ${stateMachine.durableIndex}, its log begins after ${log.markIndex}, and there is no other replica`)
  }

  private schedule (): void {
    if (this.timer !== null || this.closed) return
    this.timer = this.components.clock.setTimer(() => { this.tick() }, this.timing.tickMs)
  }

  private tick (): void {
    this.timer = null
    const now = this.components.clock.now()
    for (const group of this.groups.values()) group.tick(now)
    if (this.groups.size > 0) this.schedule()
  }

  private fail (error: Error): void {
    this.failure = new AtollError('ATOLL_STORE_UNUSABLE', `the Raft log cannot be written: ${error.message}`)
    for (const group of [...this.groups.values()]) group.fail(error)
    this.init.onFailure?.(error)
  }
}
