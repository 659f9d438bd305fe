import type { VolumeInfo } from '../../partitioning/types.ts'
import { AtollError, posixError } from '../protocol/errors.ts'
import type { InodeAttr, LeaseMode } from '../protocol/metadata.ts'
import type { Clock, Logger, Random, Timer } from '../protocol/ports.ts'
import type { RaftGroup } from '../raft/types.ts'
import { encodeCommand, type ArgsOf, type CommandName } from './command.ts'
import { leaseDurationMs, leaseEvictionBatch, leasesMax, sessionScanMs } from './constants.ts'
import { Fillings } from './fillings.ts'
import { Intents, type Intent, type IntentKey } from './intents.ts'
import { LeaseTable } from './leases.ts'
import { attrOf } from './records.ts'
import { Recalls } from './recalls.ts'
import { LiveSession } from './sessions.ts'
import type { MetadataStateMachine } from './state-machine.ts'
import type { MetadataStore } from './store.ts'
import { Coordinator } from './transactions/coordinator.ts'
import { Participant } from './transactions/participant.ts'
import { Pledges } from './transactions/pledges.ts'
import type { ChunkStore, Outcome, PartitionRouter } from './types.ts'

export interface LeaderComponents {
  clock: Clock
  random: Random
  log: Logger
  group: RaftGroup
  machine: MetadataStateMachine
  data: ChunkStore
  router: PartitionRouter
  /** The disk is so full that only what frees room may go on. @default never */
  isExhausted?: () => boolean
  /** From so many inodes on new directories may be made in other partitions. @default as in partitioning/directory-homes.ts */
  spreadInodesMin?: number
}

export interface LeaderInit { volume: VolumeInfo, index: number, term: number }

/** What an operation changes: for the intents it takes and the leases it recalls. */
export type Claim =
  | { kind: 'name', dir: number, name: string }
  /** `opens`: also ask who has it open without a lease. */
  | { kind: 'inode', ino: number, opens?: boolean }
  /** The volume's one right to move directories between parents. */
  | { kind: 'tree' }

/** What `acquire` took. */
export interface Taken { intents: Intent[], /** Sessions that have a claimed inode open, sorted. */ open: string[] }

/**
 * One replica's time as the leader: sessions, leases and the operations under way, none of which
 * outlives it. Operations go: intents, recalls, proposal, answer, release.
 */
export class Leader {
  readonly components: LeaderComponents
  readonly init: LeaderInit
  readonly intents = new Intents()
  readonly leases = new LeaseTable()
  readonly sessions = new Map<string, LiveSession>()
  readonly recalls: Recalls
  /** Cuts of chunks under way: nobody else may touch the file until they are done. */
  readonly truncations = new Map<number, Promise<void>>()
  readonly pledges = new Pledges()
  readonly coordinator = new Coordinator(this)
  readonly participant = new Participant(this)
  readonly fillings = new Fillings(this)
  /** Sessions that this leader found and that have not said which leases they hold. */
  private readonly unclaimed = new Set<string>()
  private claimWaiters: Array<{ resolve: () => void, reject: (error: Error) => void }> = []
  /** When it began to serve. */
  private since = Infinity
  private scannedAt = 0
  private timer: Timer | null = null
  private ended: AtollError | null = null
  private evicting = false

  constructor (components: LeaderComponents, init: LeaderInit) {
    this.components = components
    this.init = init
    this.recalls = new Recalls({
      clock: components.clock,
      log: components.log,
      leases: this.leases,
      sessions: this.sessions,
      expire: (session, reason) => { void this.endSession(session, reason) }
    }, components.group.id)
  }

  get store (): MetadataStore { return this.components.machine.store }

  get hasEnded (): boolean { return this.ended !== null }

  /** Takes over the sessions of the replicated state; each has `leaseDurationMs` to claim its leases. */
  begin (): void {
    this.since = this.scannedAt = this.components.clock.now()
    for (const id of this.store.sessions.all.keys()) {
      this.sessions.set(id, new LiveSession(id, this.since))
      this.unclaimed.add(id)
    }
    this.scan()
  }

  end (error: AtollError): void {
    this.ended = error
    this.timer?.cancel()
    this.participant.stop()
    this.intents.close(error)
    this.pledges.close(error)
    for (const session of this.sessions.values()) {
      session.peer?.notify('lease.reclaim', { partition: this.components.group.id, term: this.init.term })
      session.end()
    }
    for (const { reject } of this.claimWaiters.splice(0)) reject(error)
  }

  /**
   * @throws AtollError ENOSPC, for what makes names or contents: what is left is for what removes them. Not for what has
   * been done already and is asked for again.
   */
  requireRoom (session: LiveSession, op: number): void {
    if (this.components.isExhausted?.() === true && this.store.sessions.get(session.id)?.results.has(op) !== true) throw posixError('ENOSPC', 'the disk of the metadata is full')
  }

  requireLeading (): void {
    if (this.ended !== null) throw this.ended
  }

  // Sessions

  /** @throws AtollError ATOLL_SESSION_EXPIRED */
  session (id: string): LiveSession {
    const session = this.sessions.get(id)
    if (session === undefined || session.ended) throw new AtollError('ATOLL_SESSION_EXPIRED', `session ${id} is not known, or was not renewed in time`)
    return session
  }

  addSession (id: string): LiveSession {
    let session = this.sessions.get(id)
    if (session === undefined) {
      session = new LiveSession(id, this.components.clock.now())
      this.sessions.set(id, session)
    }
    return session
  }

  /**
   * From now on the requests of the session are refused. What it held is nobody's once the end is committed, which this waits for: a
   * later leader that finds the session in the replicated state knows that nobody else was given any of it.
   */
  endSession (session: LiveSession, reason: string): Promise<void> {
    if (session.ended) return session.over
    this.components.log.info('session ends', { session: session.id, reason })
    session.over = this.endInLog(session)
    session.end()
    return session.over
  }

  private async endInLog (session: LiveSession): Promise<void> {
    const { clock } = this.components
    const { id } = session
    for (;;) {
      try {
        await this.propose('end-session', { id })
        break
      } catch {
        // Who leads next finds the session.
        if (this.hasEnded) return
        await new Promise<void>((resolve) => { clock.setTimer(resolve, sessionScanMs) })
      }
    }
    this.sessions.delete(id)
    this.leases.dropSession(id)
    this.claimed(id)
  }

  // Claims after a change of leader

  /** The session has said what it holds. */
  claimed (id: string): void {
    if (this.unclaimed.delete(id)) for (const { resolve } of this.claimWaiters.splice(0)) resolve()
  }

  get isGraceOver (): boolean { return this.unclaimed.size === 0 }

  isUnclaimed (id: string): boolean { return this.unclaimed.has(id) }

  /** null if no other session may hold leases that this leader does not know of; otherwise what to await. */
  admission (id: string): Promise<void> | null {
    const { unclaimed } = this
    if (unclaimed.size === 0 || (unclaimed.size === 1 && unclaimed.has(id))) return null
    return this.waitForClaims(id)
  }

  private async waitForClaims (id: string): Promise<void> {
    const { unclaimed } = this
    while (unclaimed.size > 1 || (unclaimed.size === 1 && !unclaimed.has(id))) {
      this.requireLeading()
      await new Promise<void>((resolve, reject) => { this.claimWaiters.push({ resolve, reject }) })
    }
  }

  // Reads

  /** Resolves when this replica's state holds everything acknowledged before; null: it does now. */
  barrier (): Promise<void> | null {
    return this.components.group.canReadNow ? null : this.components.group.readBarrier()
  }

  /** null if the inode's attributes may be read and leased by the session now; otherwise what to await before asking again. */
  readGate (session: LiveSession, ino: number, ticket: number): Promise<unknown> | null {
    const { leases } = this
    if (leases.of(session.id, ino) === 'exclusive') return this.pledges.of(session.id, ino)
    const gate = this.truncations.get(ino) ?? this.intents.blocked(ino, 'read', ticket)
    if (gate !== null) return gate
    return leases.conflicts(session.id, ino, 'shared') ? this.recallWriter(session.id, ino) : null
  }

  /** Whether an inode may go along with an answer about something else. */
  isReadable (session: LiveSession, ino: number): boolean {
    const { leases, intents } = this
    if (leases.of(session.id, ino) === 'exclusive') return this.pledges.of(session.id, ino) === null
    return !leases.conflicts(session.id, ino, 'shared') && !intents.isTaken(ino, 'write') && !intents.isTaken(ino, 'change') && !this.truncations.has(ino)
  }

  grant (session: LiveSession, ino: number, mode: LeaseMode = 'shared'): void {
    if (session.ended) return
    this.leases.grant(session.id, ino, mode)
    if (this.leases.size > leasesMax) this.evict()
  }

  /** The inode's attributes; @throws AtollError ENOENT. */
  attr (ino: number): InodeAttr {
    const inode = this.store.inodes.get(ino)
    if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
    return attrOf(inode)
  }

  /** The inode was removed: nobody need be told. */
  dropLeasesIfGone (ino: number): void {
    if (this.store.inodes.get(ino) !== undefined) return
    for (const { session } of [...this.leases.holders(ino)]) this.leases.release(session, ino)
  }

  /**
   * Resolves when nobody is changing the name and nobody else decides by itself what is in the directory: until then the
   * store may lack what others were told. Holds nothing meanwhile. Rejects with ATOLL_BUSY when the name is being changed for `waitMs`.
   */
  async decided (self: string, dir: number, name: string, waitMs = Infinity): Promise<void> {
    do {
      while (this.leases.conflicts(self, dir, 'shared')) await this.recallWriter(self, dir)
      await this.free(`${dir}/${name}`, waitMs)
    } while (this.leases.conflicts(self, dir, 'shared'))
  }

  private async recallWriter (self: string, ino: number): Promise<void> {
    const writers = this.leases.holders(ino).filter((lease) => lease.session !== self && lease.held === 'exclusive')
    await Promise.all(writers.map((lease) => this.recalls.recall(lease.session, ino, 'shared')))
    this.requireLeading()
  }

  // Changes

  /** Runs `body` under the intents of `acquire`, with the sessions that have a claimed inode open. */
  async change<T> (session: LiveSession | null, claims: () => Claim[], body: (open: string[]) => Promise<T>): Promise<T> {
    const { intents, open } = await this.acquire(session?.id ?? '', claims)
    try {
      return await body(open)
    } finally {
      this.intents.release(intents)
    }
  }

  /**
   * Takes intents on what `claims` names (asked again after each wait) and recalls conflicting leases. Rejects with
   * ATOLL_BUSY when an intent is not to be had within `waitMs`. The caller releases.
   */
  async acquire (self: string, claims: () => Claim[], waitMs = Infinity): Promise<Taken> {
    const ticket = this.intents.ticket()
    let wanted = claims()
    let intents = intentsOf(wanted)
    const deadline = this.components.clock.now() + waitMs
    for (let wait = this.intents.tryTake(intents, ticket, self); wait !== null; wait = this.intents.tryTake(intents, ticket, self)) {
      await (waitMs === Infinity ? wait : this.within(wait, ticket, deadline))
      wanted = claims()
      intents = intentsOf(wanted)
    }
    try {
      if (!this.store.writer.hasRoom) await this.store.writer.room()
      const open = await this.clear(self, wanted)
      // Who gave up a directory has sent what it changed there: a name may stand for another inode than before.
      if (sameIntents(intentsOf(claims()), intents)) return { intents, open }
    } catch (error) {
      this.intents.release(intents)
      throw error
    }
    this.intents.release(intents)
    return this.acquire(self, claims, deadline - this.components.clock.now())
  }

  /** Resolves when nobody is changing the inode or name. Rejects with ATOLL_BUSY after `waitMs`. */
  async free (key: IntentKey, waitMs = Infinity): Promise<void> {
    const ticket = this.intents.ticket()
    const deadline = this.components.clock.now() + waitMs
    for (let wait = this.intents.blocked(key, 'look', ticket); wait !== null; wait = this.intents.blocked(key, 'look', ticket)) {
      await (waitMs === Infinity ? wait : this.within(wait, ticket, deadline))
    }
  }

  private within (wait: Promise<void>, ticket: number, deadline: number): Promise<void> {
    const { clock } = this.components
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(() => {
        this.intents.abandon(ticket)
        reject(new AtollError('ATOLL_BUSY', 'another operation is under way'))
      }, deadline - clock.now())
      wait.then(resolve, reject).finally(() => { timer.cancel() })
    })
  }

  /**
   * A change of one inode's attributes or content. Whoever holds it exclusively goes ahead of those who
   * wait for it to give it up, as it must write back first.
   */
  async changeInode<T> (session: LiveSession, ino: number, body: () => Promise<T>): Promise<T> {
    if (this.leases.of(session.id, ino) !== 'exclusive') return this.change(session, () => [{ kind: 'inode', ino }], body)
    this.intents.force(ino)
    try {
      for (let cut = this.truncations.get(ino); cut !== undefined; cut = this.truncations.get(ino)) await cut
      if (!this.store.writer.hasRoom) await this.store.writer.room()
      return await body()
    } finally {
      this.intents.release([{ key: ino, mode: 'write' }])
    }
  }

  /** Nobody but the session has leases on what is claimed, nor cuts its chunks. */
  private async clear (self: string, claims: readonly Claim[]): Promise<string[]> {
    const open: string[] = []
    const answers: Array<Promise<unknown>> = []
    for (const claim of claims) {
      if (claim.kind === 'name') {
        for (const lease of this.leases.holders(claim.dir)) {
          if (lease.session !== self && lease.held !== 'open') answers.push(this.recalls.recallNames(lease.session, claim.dir, [claim.name]))
        }
        continue
      }
      if (claim.kind === 'tree') continue
      for (const lease of this.leases.holders(claim.ino)) {
        if (lease.session === self || (lease.held === 'open' && claim.opens !== true)) continue
        answers.push(this.recalls.recall(lease.session, claim.ino, 'none').then((isOpen) => { if (isOpen) open.push(lease.session) }))
      }
    }
    if (answers.length > 0) await Promise.all(answers)
    for (const claim of claims) {
      if (claim.kind !== 'inode') continue
      for (let wait = this.busy(claim.ino); wait !== null; wait = this.busy(claim.ino)) await wait
    }
    this.requireLeading()
    return open.sort()
  }

  /** What a former holder of the inode still has under way. */
  private busy (ino: number): Promise<void> | null {
    return this.truncations.get(ino) ?? this.intents.others(ino)
  }

  /** One command of the leader's own. */
  propose<N extends CommandName> (name: N, args: ArgsOf<N>): Promise<Outcome> {
    return this.proposeFor('', 0, name, args)
  }

  /** One command of a session's operation; rejects with the outcome's code. */
  async proposeFor<N extends CommandName> (session: string, op: number, name: N, args: ArgsOf<N>): Promise<Outcome> {
    const { clock, group } = this.components
    const outcome = await group.propose(encodeCommand(name, clock.wallNs(), session, op, args)) as Outcome
    if (outcome.code !== undefined) throw new AtollError(outcome.code, `${name}: ${outcome.code}`)
    return outcome
  }

  // Time

  private scan (): void {
    const { clock } = this.components
    const now = clock.now()
    // While this process stood still it read nothing: what its sessions sent is waiting.
    const stalledMs = now - this.scannedAt - sessionScanMs
    const lenienceMs = stalledMs > sessionScanMs ? stalledMs : 0
    this.scannedAt = now
    this.since += lenienceMs
    for (const session of [...this.sessions.values()]) {
      session.expiresAt += lenienceMs
      if (session.expiresAt <= now) void this.endSession(session, 'not renewed in time')
      else if (now >= this.since + leaseDurationMs && this.unclaimed.has(session.id)) void this.endSession(session, 'did not claim its leases in time')
    }
    if (!this.hasEnded) this.timer = clock.setTimer(() => { this.scan() }, sessionScanMs)
  }

  private evict (): void {
    if (this.evicting) return
    this.evicting = true
    const recalls = this.leases.oldest(leaseEvictionBatch).map(({ session, ino }) => this.recalls.recall(session, ino, 'none'))
    void Promise.all(recalls).finally(() => {
      this.evicting = false
      if (this.leases.size > leasesMax && recalls.length > 0 && !this.hasEnded) this.evict()
    })
  }
}

function sameIntents (one: readonly Intent[], other: readonly Intent[]): boolean {
  return one.length === other.length && one.every(({ key, mode }, index) => key === other[index]!.key && mode === other[index]!.mode)
}

export function intentsOf (claims: readonly Claim[]): Intent[] {
  const intents: Intent[] = []
  for (const claim of claims) {
    // Once only: whoever finds more than its own write waits for the others.
    if (claim.kind === 'inode') {
      if (!intents.some(({ key }) => key === claim.ino)) intents.push({ key: claim.ino, mode: 'write' })
    } else if (claim.kind === 'tree') {
      intents.push({ key: 'tree', mode: 'write' })
    } else {
      intents.push({ key: claim.dir, mode: 'change' }, { key: `${claim.dir}/${claim.name}`, mode: 'write' })
    }
  }
  return intents
}
