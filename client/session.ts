import type { Change } from '../fsnode/protocol/changes.ts'
import { AtollError, codeOf, isRetryable, messageOf, posixError } from '../fsnode/protocol/errors.ts'
import type { SessionResponse } from '../fsnode/protocol/metadata.ts'
import type { Method, Methods } from '../fsnode/protocol/methods.ts'
import type { Answer, Peer } from '../fsnode/protocol/peer.ts'
import type { Clock, Logger, Timer } from '../fsnode/protocol/ports.ts'
import { outageMsMax, type ClusterRouter } from '../fsnode/protocol/router.ts'
import { attemptsPerLease, claimRetryMs, leaseMarginShare, mutationWindow, renewalsPerLease, sessionsPerRequestMax } from './bounds.ts'
import { ChangeStream } from './change-stream.ts'
import { GrantGuard } from './grant-guard.ts'
import type { ChangeJournal, LostSessions } from './types.ts'

/** How long a partition that the cluster map does not know is looked for: it may be new. */
export const unknownPartitionMsMax = 5_000

export interface SessionComponents {
  router: ClusterRouter
  clock: Clock
  log: Logger
  owner: SessionOwner
  /** Null: nothing is told to have happened before the partition has it. */
  journal: ChangeJournal | null
  lost: LostSessions | null
  /** See VolumeContext. */
  writeBackPatienceMs: number
}

/** Whoever holds leases under the session. */
export interface SessionOwner {
  /** Leases that are held now, for a leader that must learn of them; `withOpen`: inodes that are open without one count as shared. */
  heldLeases (session: MetadataSession, withOpen: boolean): { shared: number[], exclusive: number[], inherited: number[] }
  /** The lease time has passed without a renewal: what is cached above may no longer be used. */
  lapsed (session: MetadataSession): void
  /** The session and its leases are gone for good. */
  expired (session: MetadataSession): void
  /** A change that was told to have happened has. */
  changeHappened (change: Change): void
  /** A change that was told to have happened did not, or nobody knows. */
  changeFailed (change: Change, code: string, operationId?: number): void
}

export interface SessionInit {
  partition: string
  /** Of the partition in its volume. */
  index: number
  id: string
  /** For people: who this is. */
  client: string
  /** An earlier process may have had leases under the same id: a leader is told that they are gone. */
  resumed: boolean
  /** It has left changes under the session: they are void if that has ended, for others may have changed the same since. */
  inherits: boolean
  /** How many sessions it had lost before the one that goes on. */
  generation: number
}

export interface SessionCallOptions {
  payload?: readonly Buffer[]
  /** Depends on a lease of the session: fails with ATOLL_SESSION_EXPIRED instead of being sent in a new one. */
  leased?: boolean
  /** Changes something: not repeated in a new session when its outcome in the old one is unknown. */
  mutation?: boolean
}

/**
 * A client's session with one metadata partition. Opened on first use, renewed while it is open,
 * taken to each new leader together with the leases held. `validUntil` bounds every lease at once: it
 * is counted from when the request that extended it was sent.
 */
export class MetadataSession {
  readonly partition: string
  readonly guard = new GrantGuard()
  /** Null: every change is the partition's to decide. */
  readonly changes: ChangeStream | null
  /** Monotonic milliseconds: until then what is cached under leases is current. */
  validUntil = -Infinity
  /** Grows with each session that was lost. */
  generation: number
  /** Of the directories that are made in those of the partition, the share that it wants to be made in others. */
  shareElsewhere = 0
  private readonly components: SessionComponents
  private readonly init: SessionInit
  private id: string
  private state: 'new' | 'open' | 'closed' = 'new'
  private opening: Promise<void> | null = null
  private renewing: Promise<void> | null = null
  private term: number | null = null
  /** The last leader's term to whom a claim was sent, whether or not it arrived. */
  private claimedTerm: number | null = null
  private leader: string | undefined
  private watched: Peer | null = null
  private leaseDurationMs = 0
  private lapseKnown = true
  private timer: Timer | null = null
  /** Mutations that are not answered, by when they were started. */
  private readonly mutations = new Set<number>()
  private mutationsStarted = 0
  private windowWaiters: Array<() => void> = []

  constructor (components: SessionComponents, init: SessionInit) {
    this.components = components
    this.init = init
    this.partition = init.partition
    this.generation = init.generation
    this.id = this.currentId
    const { clock, log, journal, owner } = components
    this.changes = journal === null ? null : new ChangeStream({
      clock, log, journal,
      send: async (first, packed) => (await this.send('meta.changes', { first }, { payload: [packed], leased: true })).body,
      happened: (change) => { owner.changeHappened(change) },
      failed: (change, code, operationId) => { owner.changeFailed(change, code, operationId) },
      broken: () => { this.lose(this.generation) }
    }, init)
  }

  /** Of the metadata partition. */
  get index (): number { return this.init.index }

  /** It is the one that an earlier process left changes under. */
  get isInherited (): boolean { return this.init.inherits && this.generation === this.init.generation }

  get isValid (): boolean { return this.validUntil > this.components.clock.now() }

  /** Sends a request of the session, to whoever leads; opens or renews the session first where needed. */
  async call<M extends Method> (
    method: M, body: Omit<Methods[M]['request'], 'partition' | 'session'>, options: SessionCallOptions = {}
  ): Promise<Answer<M>> {
    const { generation } = this
    // The partition must know what it is asked about.
    if (this.changes?.isEmpty === false) {
      if (!this.isReady) await this.ready()
      await this.changes.drained()
    }
    if (options.leased === true && generation !== this.generation) throw expiredError(this.partition)
    if (options.mutation !== true) return this.send(method, body, options)
    // What a lease obliges to write back goes ahead: others may wait for it.
    while (options.leased !== true && this.mutationsStarted - this.oldestMutation() >= mutationWindow) {
      await new Promise<void>((resolve) => { this.windowWaiters.push(resolve) })
    }
    const started = ++this.mutationsStarted
    this.mutations.add(started)
    try {
      return await this.send(method, body, options)
    } finally {
      this.mutations.delete(started)
      for (const waiter of this.windowWaiters.splice(0)) waiter()
    }
  }

  private async send<M extends Method> (
    method: M, body: Omit<Methods[M]['request'], 'partition' | 'session'>, options: SessionCallOptions
  ): Promise<Answer<M>> {
    for (let attempt = 1; ; attempt++) {
      const { generation } = this
      if (!this.isReady) await (options.leased === true ? this.readyToWriteBack() : this.ready())
      if (options.leased === true && generation !== this.generation) throw expiredError(this.partition)
      const sentIn = this.generation
      let outcomeUnknown = false
      try {
        const request = { partition: this.partition, session: this.id, ...body } as Methods[M]['request']
        const answer = await this.components.router.toMetadata(this.partition, method, request, {
          payload: options.payload,
          ...(options.leased === true && { patienceMs: this.components.writeBackPatienceMs }),
          onRetry: (error) => { outcomeUnknown ||= leavesOutcomeUnknown(error) }
        })
        this.noticeLeader()
        return answer
      } catch (error) {
        // Refused without a look at whether an earlier attempt is under way.
        if (options.mutation === true && outcomeUnknown && codeOf(error) === 'ENOSPC') throw unknownOutcome(`${method}: there is no room now, and the outcome before is not known`)
        if (codeOf(error) !== 'ATOLL_SESSION_EXPIRED') throw error
        this.lose(sentIn)
        if (options.leased === true || attempt >= sessionsPerRequestMax) throw error
        if (options.mutation === true && outcomeUnknown) throw unknownOutcome(`${method}: the session ended before the outcome was known`)
      }
    }
  }

  /** As `ready`, as patiently as what is written back is. */
  async readyToWriteBack (): Promise<void> {
    for (;;) {
      try {
        return await this.ready()
      } catch (error) {
        if (this.components.writeBackPatienceMs !== Infinity || !isRetryable(error) || this.state === 'closed') throw error
      }
    }
  }

  /** Resolves when the session is open and its leases are valid. */
  async ready (): Promise<void> {
    while (!this.isReady) {
      if (this.state === 'closed') throw new AtollError('ATOLL_UNAVAILABLE', 'the volume is closed')
      if (this.state === 'new' || this.opening !== null) await this.open()
      else await this.renew(true)
    }
  }

  /** The leader of that term leads no more: others wait until the next one knows what is held here. */
  reclaim (term: number): void {
    if (this.opening !== null) void this.opening.then(() => { this.reclaim(term) }, () => {})
    else if (this.term === term) this.reopen()
  }

  /** Gives the session and all leases back. */
  async close (): Promise<void> {
    const wasOpen = this.state === 'open'
    this.state = 'closed'
    this.changes?.close()
    this.timer?.cancel()
    this.validUntil = -Infinity
    if (!wasOpen) return
    const request = { partition: this.partition, session: this.id }
    await this.components.router.toMetadata(this.partition, 'meta.close-session', request, { patienceMs: 1_000, timeoutMs: 1_000 }).catch(() => {})
  }

  private get currentId (): string { return this.generation === 0 ? this.init.id : `${this.init.id}.${this.generation}` }

  private oldestMutation (): number {
    for (const oldest of this.mutations) return oldest
    return this.mutationsStarted
  }

  /** undefined: how long a lease lasts is not known before the first. */
  private get attemptMs (): number | undefined { return this.leaseDurationMs === 0 ? undefined : this.leaseDurationMs / attemptsPerLease }

  private get isReady (): boolean { return this.state === 'open' && this.opening === null && this.isValid }

  /** As far as the cluster map says, which may be behind: partitions are added, too. */
  private get mayExist (): boolean {
    const { router } = this.components
    if (router.mapVersion === 0) return true
    const { metadata, volumes } = router.map
    return metadata.some(({ id }) => id === this.partition) || !volumes.some(({ id }) => this.partition.startsWith(`${id}.`))
  }

  private open (): Promise<void> {
    this.opening ??= this.establish().finally(() => { this.opening = null })
    return this.opening
  }

  private async establish (): Promise<void> {
    const { router, clock } = this.components
    const deadline = clock.now() + outageMsMax
    while (this.state !== 'closed') {
      const { generation } = this
      let sentAt = clock.now()
      let body: SessionResponse
      try {
        const request = { partition: this.partition, session: this.id, client: this.init.client, ...((this.state === 'open' || this.isInherited) && { existing: true }) };
        ({ body } = await router.toMetadata(this.partition, 'meta.session', request, {
          ...(!this.mayExist && { patienceMs: unknownPartitionMsMax }), timeoutMs: this.attemptMs, onRetry: () => { sentAt = clock.now() }
        }))
      } catch (error) {
        if (!this.mayExist) throw posixError('ENOENT', 'no such inode')
        if (codeOf(error) !== 'ATOLL_SESSION_EXPIRED') throw error
        this.lose(generation)
        continue
      }
      if (generation !== this.generation) continue
      // What it has is no longer under way: else what was made would not be claimed.
      this.changes?.opened(body.streamed, body.failed)
      await this.watch()
      if (await this.claimed(body.term, deadline)) {
        this.term = body.term
        this.state = 'open'
        this.extend(sentAt, body)
        return
      }
    }
  }

  /** Tells a new leader what is held. False: it could not be told; the session is to be opened again, perhaps elsewhere. */
  private async claimed (term: number, deadline: number): Promise<boolean> {
    const { router, clock, owner } = this.components
    const { generation } = this
    const mayBeAwaited = this.term !== null || (this.init.resumed && generation === this.init.generation)
    if (term === this.term || !mayBeAwaited) return true
    this.guard.disturbAll()
    // Even with nothing held: the new leader waits for the claims of all sessions. Each attempt says what is held by then.
    const isFirst = this.claimedTerm !== term
    this.claimedTerm = term
    const held = owner.heldLeases(this, isFirst)
    try {
      await router.toMetadata(this.partition, 'meta.claim', { partition: this.partition, session: this.id, ...held }, { patienceMs: 0 })
      return generation === this.generation
    } catch (error) {
      if (codeOf(error) === 'ATOLL_SESSION_EXPIRED') this.lose(generation)
      else if (!isRetryable(error) || clock.now() >= deadline) throw error
      await new Promise<void>((resolve) => { clock.setTimer(resolve, claimRetryMs) })
      return false
    }
  }

  /** Re-opens the session as soon as the connection on which recalls would come is gone. */
  private async watch (): Promise<void> {
    const { router } = this.components
    const leader = router.leaderOf(this.partition)
    this.leader = leader
    if (leader === undefined) return
    const peer = await router.peer(leader)
    if (peer === this.watched) return
    this.watched = peer
    peer.onClose(() => { if (this.watched === peer) this.reopen() })
  }

  private noticeLeader (): void {
    if (this.components.router.leaderOf(this.partition) !== this.leader && this.opening === null) this.reopen()
  }

  private reopen (): void {
    if (this.state !== 'open') return
    this.watched = null
    this.open().catch((error) => { this.failed('session could not be opened again', error) })
  }

  private extend (sentAt: number, { leaseDurationMs, elsewhere = 0 }: SessionResponse): void {
    this.shareElsewhere = elsewhere
    this.leaseDurationMs = leaseDurationMs
    this.validUntil = Math.max(this.validUntil, sentAt + leaseDurationMs * (1 - leaseMarginShare))
    this.lapseKnown = !this.isValid
    this.schedule()
  }

  /** One timer a session: the next renewal, or the end of the lease when renewals fail. */
  private schedule (): void {
    this.timer?.cancel()
    if (this.state !== 'open') return
    const { clock } = this.components
    const untilLapse = this.validUntil - clock.now()
    const delayMs = this.leaseDurationMs / renewalsPerLease
    this.timer = clock.setTimer(() => { this.tick() }, untilLapse > 0 ? Math.min(delayMs, untilLapse) : delayMs)
  }

  private tick (): void {
    if (this.state !== 'open') return
    if (!this.isValid && !this.lapseKnown) {
      this.lapseKnown = true
      this.components.owner.lapsed(this)
    }
    this.schedule()
    if (this.opening === null) this.renew(false).catch(() => {})
  }

  /** @param urgent Somebody waits for it: patient, and fails as the request would. */
  private renew (urgent: boolean): Promise<void> {
    this.renewing ??= this.sendRenewal(urgent).finally(() => { this.renewing = null })
    return this.renewing
  }

  private async sendRenewal (urgent: boolean): Promise<void> {
    const { router, clock } = this.components
    const { generation } = this
    let sentAt = clock.now()
    const timeoutMs = this.attemptMs
    try {
      const { body } = await router.toMetadata(this.partition, 'meta.renew', { partition: this.partition, session: this.id }, {
        ...(!urgent && { patienceMs: timeoutMs }), timeoutMs, onRetry: () => { sentAt = clock.now() }
      })
      if (generation !== this.generation || this.state !== 'open') return
      if (body.term !== this.term) await this.open()
      else this.extend(sentAt, body)
    } catch (error) {
      if (codeOf(error) === 'ATOLL_SESSION_EXPIRED') this.lose(generation)
      else if (urgent) throw error
      else this.failed('lease not renewed', error)
    }
  }

  /** The server does not know the session any more. Its name is not used again, so that late requests of it cannot count. */
  private lose (generation: number): void {
    if (generation !== this.generation || this.state === 'closed') return
    this.generation++
    this.components.lost?.note(this.index, this.generation)
    this.id = this.currentId
    this.state = 'new'
    this.term = null
    this.validUntil = -Infinity
    this.timer?.cancel()
    this.guard.disturbAll()
    this.components.log.warn('session expired: everything cached under it is dropped', { partition: this.partition })
    this.components.owner.expired(this)
    this.changes?.lost()
  }

  private failed (what: string, error: unknown): void {
    this.components.log.warn(what, { partition: this.partition, code: codeOf(error), message: messageOf(error) })
  }
}

function leavesOutcomeUnknown (error: AtollError): boolean {
  return error.code === 'ATOLL_CONNECTION_LOST' || error.code === 'ATOLL_TIMEOUT'
}

/** EIO to whoever is told; `doubtful` to the caches. */
function unknownOutcome (what: string): AtollError { return new AtollError('EIO', `EIO: ${what}`, { doubtful: true }) }

function expiredError (partition: string): AtollError {
  return new AtollError('ATOLL_SESSION_EXPIRED', `the session with ${partition} has expired`)
}
