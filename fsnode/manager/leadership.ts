import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { RaftGroup } from '../raft/types.ts'
import {
  changeAttemptsMax, changesQueuedMax, decideIntervalMs, decisionsPerTurnMax, decisionWaitersMax, moveTargetAwayMsMax, planIntervalMs
} from './bounds.ts'
import { decide, type Decided, type DecideInput } from './decide.ts'
import { LeaderFacts } from './leader-facts.ts'
import { encodeChange, type ChangeResult, type MapChange } from './map-change.ts'
import type { ManagerState } from './manager-state.ts'
import { Balancer, type BalanceInput } from './balancer.ts'
import { nextMembers } from './members.ts'
import { nextMetadataPartitions } from './metadata-growth.ts'
import { ActiveMoves } from './moves.ts'
import { relief } from './relief.ts'
import { advance, isOver, type PlanRecord, type PlanStanding } from './plans.ts'
import { nextSplits, type SplitRequests } from './splits.ts'
import type { ManagerStateMachine } from './state-machine.ts'

export interface LeadershipComponents { clock: Clock, log: Logger, group: RaftGroup, stateMachine: ManagerStateMachine }

interface QueuedChange {
  build: (state: ManagerState) => MapChange | null
  committed: () => void
  resolve: () => void
  reject: (error: unknown) => void
}
interface Waiter { condition: () => boolean, deadlineMs: number, resolve: () => void, reject: (error: AtollError) => void }

/**
 * One term in which this replica leads the manager. All changes of the map go through one queue, each
 * decided on the outcome of the one before.
 */
export class Leadership {
  readonly facts: LeaderFacts
  /** The latest process of each node that asked to be registered: the older ones get no more leases. */
  readonly newest = new Map<string, string>()
  /** Of primaries that hold changes back so that their partitions can be split. */
  readonly splits: SplitRequests = new Map()
  private readonly components: LeadershipComponents
  private readonly queue: QueuedChange[] = []
  private readonly waiters = new Set<Waiter>()
  private readonly balancer = new Balancer()
  /** Tivoli's: leads that leave busy disks. */
  private readonly leads = new Map<string, string>()
  private ready = false
  private ended: AtollError | null = null
  private timer: Timer | null = null
  private kicked = false
  private wake: (() => void) | null = null

  constructor (components: LeadershipComponents) {
    this.components = components
    this.facts = new LeaderFacts(components.clock.now())
  }

  get state (): ManagerState { return this.components.stateMachine.view }

  /** Runs until `end`. */
  async run (): Promise<void> {
    while (this.ended === null) {
      try {
        if (!this.ready) await this.components.group.readBarrier()
        this.ready = true
        await this.turn()
      } catch (error) {
        this.components.log.warn('the manager could not decide', { error: messageOf(error) })
      }
      await this.pause()
    }
  }

  /** Whoever waits must ask the next leader. */
  end (error: AtollError): void {
    this.ended = error
    for (const { reject } of this.queue.splice(0)) reject(error)
    for (const waiter of this.waiters) waiter.reject(error)
    this.waiters.clear()
    this.kick()
  }

  /** A later process of the node has come. */
  isOutdated (node: string, incarnation: string): boolean {
    const newest = this.newest.get(node)
    return newest !== undefined && newest !== incarnation
  }

  /** @throws AtollError when the term has ended or has not quite begun. */
  requireReady (): void {
    if (this.ended !== null) throw this.ended
    if (!this.ready) throw new AtollError('ATOLL_UNAVAILABLE', 'the manager is taking over')
  }

  /** What may move is looked at in the next turn. */
  planSoon (): void {
    this.facts.plannedAtMs = -Infinity
    this.kick()
  }

  kick (): void {
    this.kicked = true
    this.wake?.()
  }

  /**
   * Commits what `build` makes of the state; null changes nothing. `committed` runs before anything
   * else is decided. Rejects with what `build` throws, or like `propose`.
   */
  change (build: QueuedChange['build'], committed: () => void = () => {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.ended !== null) reject(this.ended)
      else if (this.queue.length >= changesQueuedMax) reject(new AtollError('ATOLL_UNAVAILABLE', 'too many changes are waiting'))
      else {
        this.queue.push({ build, committed, resolve, reject })
        this.kick()
      }
    })
  }

  /** Resolves when the condition holds after a change or a turn. Rejects with ATOLL_UNAVAILABLE after `patienceMs`. */
  until (condition: () => boolean, patienceMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.ended !== null) reject(this.ended)
      else if (condition()) resolve()
      else if (this.waiters.size >= decisionWaitersMax) reject(new AtollError('ATOLL_UNAVAILABLE', 'too many requests wait for a decision'))
      else {
        this.waiters.add({ condition, deadlineMs: this.components.clock.now() + patienceMs, resolve, reject })
        this.kick()
      }
    })
  }

  private async turn (): Promise<void> {
    for (let item = this.queue.shift(); item !== undefined; item = this.queue.shift()) await this.settle(item)
    for (let count = 0; count < decisionsPerTurnMax && this.ended === null; count++) {
      const changed = await this.decideOnce()
      this.checkWaiters()
      if (!changed) break
    }
  }

  private async settle ({ build, committed, resolve, reject }: QueuedChange): Promise<void> {
    try {
      for (let attempt = 0; ; attempt++) {
        const change = build(this.state)
        if (change === null || await this.propose(change)) break
        if (attempt >= changeAttemptsMax) throw new AtollError('ATOLL_UNAVAILABLE', 'the cluster map changes too fast')
      }
      committed()
      resolve()
    } catch (error) {
      reject(error)
    }
    this.checkWaiters()
  }

  private async decideOnce (): Promise<boolean> {
    const { clock } = this.components
    const nowMs = clock.now()
    this.facts.observe(this.state, nowMs)
    const grown = nextSplits(this.state) ?? nextMetadataPartitions(this.state.map)
    if (grown !== null) return this.propose({ base: this.state.map.version, ...grown })
    if (await this.plan(nowMs)) return true
    const plans = this.state.plans.unfinished.map((record) => ({ record, state: this.standingOf(record, nowMs) }))
    const standings = plans.filter(({ record, state }) => state !== record.state).map(({ record, state }): PlanStanding => {
      return { id: record.id, state, endedMs: isOver({ state, endedMs: null }) ? this.wallMs : null }
    })
    const moves = new ActiveMoves(plans.map(({ record, state }) => ({ moves: record.moves, state })), this.leads)
    const notices = this.facts.takeNotices()
    const decided = decide({ state: this.state, facts: this.facts, nowMs, notices, moves, standings })
    this.facts.decided(decided, nowMs)
    if (decided.change === null) return false
    this.logDecision(decided.change)
    return this.propose(decided.change)
  }

  /** What placement decides from, now. */
  get balanceInput (): BalanceInput {
    return { state: this.state, facts: this.facts, nowMs: this.components.clock.now(), wallMs: this.wallMs }
  }

  private get wallMs (): number { return Number(this.components.clock.wallNs() / 1_000_000n) }

  private standingOf (record: PlanRecord, nowMs: number): PlanRecord['state'] {
    const nodeOf = (id: string | null) => id === null ? undefined : this.state.node(id)
    return advance(record, {
      partitionOf: (id) => this.state.record(id)?.partition,
      nowMs: this.wallMs,
      settings: this.state.settings,
      mayBegin: ({ to }) => to === null || nodeOf(to)?.state === 'up',
      yields: (id) => nodeOf(id)?.yields !== undefined,
      hasFailed: ({ to }) => {
        const node = nodeOf(to)
        if (to === null || node?.state === 'up') return false
        return node === undefined || node.state === 'draining' || this.facts.downForMs(to, nowMs) > moveTargetAwayMsMax
      }
    })
  }

  /** Returns whether a plan was made. */
  private async plan (nowMs: number): Promise<boolean> {
    if (nowMs - this.facts.plannedAtMs < planIntervalMs) return false
    this.facts.plannedAtMs = nowMs
    for (const [id, lead] of this.leads) {
      const partition = this.state.record(id)?.partition
      if (partition === undefined || partition.primary === lead || !partition.replicas.some(({ node, state }) => node === lead && state === 'serving')) this.leads.delete(id)
    }
    const input = this.balanceInput
    const next = this.balancer.next(input) ?? nextMembers(input) ?? relief(input, this.leads)
    if (next !== null) {
      for (const { id, change } of next.metadata ?? []) this.components.log.info('members are to change', { group: id, target: change?.target })
      for (const { id, why, moves } of next.plans ?? []) this.components.log.info('a plan of moves', { plan: id, why, moves: moves.length })
      return this.propose({ base: this.state.map.version, ...next })
    }
    return false
  }

  /** Decides what follows from a node's new process, as part of its registration. */
  decideFor (started: NonNullable<DecideInput['started']>): Decided {
    const nowMs = this.components.clock.now()
    this.facts.observe(this.state, nowMs)
    return decide({ state: this.state, facts: this.facts, nowMs, started })
  }

  /** Returns whether the change was applied. */
  private async propose (change: MapChange): Promise<boolean> {
    const result = await this.components.group.propose(encodeChange(change)) as ChangeResult
    return result.applied
  }

  private logDecision ({ nodes = [], records = [] }: MapChange): void {
    for (const node of nodes) {
      const before = this.state.node(node.id)?.state
      if (before !== node.state) this.components.log.warn('a node changed its state', { node: node.id, before, state: node.state })
    }
    for (const { partition } of records) this.components.log.debug('a partition changes', { partition: partition.id, epoch: partition.epoch, primary: partition.primary })
  }

  private checkWaiters (): void {
    const nowMs = this.components.clock.now()
    for (const waiter of this.waiters) {
      if (waiter.condition()) waiter.resolve()
      else if (nowMs >= waiter.deadlineMs) waiter.reject(new AtollError('ATOLL_UNAVAILABLE', 'the manager could not decide in time'))
      else continue
      this.waiters.delete(waiter)
    }
  }

  private async pause (): Promise<void> {
    if (!this.kicked && this.ended === null) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
        this.timer = this.components.clock.setTimer(resolve, decideIntervalMs)
      })
      this.timer?.cancel()
      this.wake = null
    }
    this.kicked = false
  }
}
