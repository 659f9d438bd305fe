import type { VolumeInfo } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Peer, Reply } from '../protocol/peer.ts'
import type { GroupStatus } from '../raft/types.ts'
import { openRetryMs, requestsMax } from './constants.ts'
import { GarbageCollector } from './garbage.ts'
import { Leader, type LeaderComponents } from './leader.ts'
import type { LiveSession } from './live-session.ts'
import { resumeTruncations } from './truncation.ts'
import { validate } from './validate.ts'

export type MetadataPartitionComponents = LeaderComponents

export interface MetadataPartitionInit {
  volume: VolumeInfo
  /** Among the volume's metadata partitions. */
  index: number
  /** Permission bits and owner of the root directory when the partition creates it. @default 0o755, 0, 0 */
  root?: { mode: number, uid: number, gid: number }
}

export interface SessionScoped { session: string }
export interface MutationScoped extends SessionScoped { op: number }

/** One replica of a metadata partition, as requests see it: it serves them while its group's leader is here. */
export class MetadataPartition {
  readonly components: MetadataPartitionComponents
  private readonly init: MetadataPartitionInit
  private readonly stopListening: () => void
  private leader: Leader | null = null
  private opening: Promise<void> = Promise.resolve()
  private isOpen = false
  private collector: GarbageCollector | null = null
  private requests = 0
  private closed = false

  constructor (components: MetadataPartitionComponents, init: MetadataPartitionInit) {
    this.components = components
    this.init = init
    this.stopListening = components.group.onStatus((status) => { this.follow(status) })
    this.follow(components.group.status)
  }

  get id (): string { return this.components.group.id }

  /** The volume may get more metadata partitions. */
  adopt (volume: VolumeInfo): void {
    this.init.volume = volume
    if (this.leader !== null) this.leader.init.volume = volume
  }

  /** Stops serving; group and state machine are closed by who made them. */
  close (): void {
    this.closed = true
    this.stopListening()
    this.step(null)
  }

  /** Runs a request about the session itself, which need not wait for anybody's claims. */
  async attend<M extends Reply<any>> (request: SessionScoped, peer: Peer, body: (leader: Leader, session: LiveSession) => Promise<M>): Promise<M> {
    const leader = await this.opened()
    const session = this.enter(leader, request, peer)
    if (session.overdue) await leader.sessions.returned(session)
    return body(leader, session)
  }

  /** Runs a request that reads; the session's lease time starts anew. */
  async read<M extends Reply<any>> (request: SessionScoped, peer: Peer, body: (leader: Leader, session: LiveSession) => M | Promise<M>): Promise<M> {
    const leader = this.isOpen ? this.leader! : await this.opened()
    this.requests++
    try {
      const session = this.enter(leader, request, peer)
      if (session.overdue) await leader.sessions.returned(session)
      const admission = leader.sessions.admission(session.id)
      if (admission !== null) await admission
      const barrier = leader.barrier()
      if (barrier !== null) await barrier
      leader.requireLeading()
      return await body(leader, session)
    } finally {
      this.requests--
    }
  }

  /**
   * Runs a request that changes something, once for each operation number. `writesBack`: the inode whose
   * holder may go ahead of sessions that have not claimed their leases yet.
   */
  async mutate<M extends Reply<any>> (
    request: MutationScoped, peer: Peer, body: (leader: Leader, session: LiveSession) => Promise<M>, writesBack?: number
  ): Promise<M> {
    const leader = this.isOpen ? this.leader! : await this.opened()
    const session = this.enter(leader, request, peer)
    const { inFlight } = session
    const known = inFlight.get(request.op)
    if (known !== undefined) return known as Promise<M>
    const running = this.admit(leader, session, body, writesBack)
    inFlight.set(request.op, running)
    this.requests++
    try {
      return await running
    } finally {
      inFlight.delete(request.op)
      this.requests--
    }
  }

  /** The leader's side, ready to serve. Rejects with ATOLL_NOT_LEADER. */
  async opened (): Promise<Leader> {
    const { leader } = this
    if (leader === null) throw this.notLeader()
    await this.opening
    leader.requireLeading()
    return leader
  }

  private enter (leader: Leader, request: SessionScoped, peer: Peer): LiveSession {
    validate(request)
    if (this.requests >= requestsMax) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${this.id} is overloaded`)
    const session = leader.sessions.require(request.session)
    session.touch(this.components.clock.now(), peer)
    return session
  }

  private async admit<M> (
    leader: Leader, session: LiveSession, body: (leader: Leader, session: LiveSession) => Promise<M>, writesBack?: number
  ): Promise<M> {
    if (session.overdue) await leader.sessions.returned(session)
    if (writesBack === undefined || leader.leases.of(session.id, writesBack) !== 'exclusive') {
      const admission = leader.sessions.admission(session.id)
      if (admission !== null) await admission
    }
    return body(leader, session)
  }

  private notLeader (): AtollError {
    const { leader } = this.components.group.status
    return new AtollError('ATOLL_NOT_LEADER', `this replica of ${this.id} does not lead`, { leader })
  }

  private follow ({ role, term }: GroupStatus): void {
    if (this.closed) return
    if (role !== 'leader') this.step(null)
    else if (this.leader?.init.term !== term) this.step(new Leader(this.components, { volume: this.init.volume, index: this.init.index, term }))
  }

  private step (next: Leader | null): void {
    this.isOpen = false
    this.collector?.stop()
    this.collector = null
    const former = this.leader
    this.leader = next
    former?.end(this.notLeader())
    if (next === null) return
    this.opening = this.open(next)
    this.opening.catch(() => {}) // whoever waits for it hears
  }

  /** Catches up with what earlier leaders committed and with what they left undone; tries again while this replica leads. */
  private async open (leader: Leader): Promise<void> {
    const { clock, log } = this.components
    while (!await this.prepared(leader)) await new Promise<void>((resolve) => { clock.setTimer(resolve, openRetryMs) })
    leader.coordinator.resume()
    leader.participant.resume()
    leader.sessions.begin()
    resumeTruncations(leader)
    this.collector = new GarbageCollector(leader)
    this.collector.start()
    this.isOpen = true
    log.info('leads', { partition: this.id, term: leader.init.term, sessions: leader.sessions.size })
  }

  private async prepared (leader: Leader): Promise<boolean> {
    const { group, log } = this.components
    const { index, root = { mode: 0o755, uid: 0, gid: 0 } } = this.init
    leader.requireLeading()
    try {
      await group.readBarrier()
      if (index === 0 && leader.store.counters.nextSequence === 1) await leader.propose('format', root)
      await leader.coordinator.abortUndecided()
      leader.requireLeading()
      return true
    } catch (error) {
      leader.requireLeading()
      log.debug('not ready to lead yet', { partition: this.id, error: messageOf(error) })
      return false
    }
  }
}
