import type { VolumeInfo } from '../../partitioning/types.ts'
import { AtollError, posixError } from '../protocol/errors.ts'
import type { InodeAttr, LeaseMode } from '../protocol/metadata.ts'
import type { Clock, Logger, Random } from '../protocol/ports.ts'
import type { RaftGroup } from '../raft/types.ts'
import { encodeCommand, type ArgsOf, type CommandName } from './command.ts'
import { leaseEvictionBatch, leasesMax } from './constants.ts'
import { Fillings } from './fillings.ts'
import { Intents, type Intent, type IntentKey } from './intents.ts'
import { LeaseTable } from './leases.ts'
import type { LiveSession } from './live-session.ts'
import { attrOf } from './records.ts'
import { Recalls } from './recalls.ts'
import { Sessions } from './sessions.ts'
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
  readonly sessions = new Sessions(this)
  readonly recalls: Recalls
  /** Cuts of chunks under way: nobody else may touch the file until they are done. */
  readonly truncations = new Map<number, Promise<void>>()
  readonly pledges = new Pledges()
  readonly coordinator = new Coordinator(this)
  readonly participant = new Participant(this)
  readonly fillings = new Fillings(this)
  private ended: AtollError | null = null
  private evicting = false

  constructor (components: LeaderComponents, init: LeaderInit) {
    this.components = components
    this.init = init
    this.recalls = new Recalls({
      clock: components.clock,
      log: components.log,
      leases: this.leases,
      sessions: this.sessions
    }, components.group.id)
  }

  get store (): MetadataStore { return this.components.machine.store }

  get hasEnded (): boolean { return this.ended !== null }

  end (error: AtollError): void {
    this.ended = error
    this.participant.stop()
    this.intents.close(error)
    this.pledges.close(error)
    this.sessions.close(error)
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

  /** Also to a session that has ended, as long as its client may believe in what it is answered. */
  grant (session: LiveSession, ino: number, mode: LeaseMode = 'shared'): void {
    if (session.forgotten) return
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
