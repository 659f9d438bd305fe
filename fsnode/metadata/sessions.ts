import { AtollError } from '../protocol/errors.ts'
import type { Timer } from '../protocol/ports.ts'
import { courtesyMs, courtesySessionsMax, leaseDurationMs, sessionScanMs } from './constants.ts'
import type { Leader } from './leader.ts'
import { LiveSession } from './live-session.ts'

/** The sessions of one leader: whose time is over, and who has not claimed yet. See docs/metadata.md, "Sessions and a change of leader". */
export class Sessions {
  private readonly leader: Leader
  private readonly live = new Map<string, LiveSession>()
  /** Those that this leader found and that have not said which leases they hold. */
  private readonly unclaimed = new Set<string>()
  private claimWaiters: Array<{ resolve: () => void, reject: (error: Error) => void }> = []
  /** When the leader began to serve. */
  private since = Infinity
  private scannedAt = 0
  private timer: Timer | null = null

  constructor (leader: Leader) { this.leader = leader }

  get size (): number { return this.live.size }

  get (id: string): LiveSession | undefined { return this.live.get(id) }

  values (): Iterable<LiveSession> { return this.live.values() }

  /** @throws AtollError ATOLL_SESSION_EXPIRED */
  require (id: string): LiveSession {
    const session = this.live.get(id)
    if (session === undefined) throw expired(id)
    this.requireLive(session)
    return session
  }

  /** Also after a wait: what a session that has ended held may be somebody else's. */
  requireLive (session: LiveSession): void {
    this.leader.requireLeading()
    if (session.ended) throw expired(session.id)
  }

  /** One that the replicated state has. @throws AtollError ATOLL_SESSION_EXPIRED, if it does not have it any more */
  add (id: string): LiveSession {
    this.leader.requireLeading()
    if (this.leader.store.sessions.get(id) === undefined) throw expired(id)
    const session = this.live.get(id) ?? new LiveSession(id, this.leader.components.clock.now())
    this.live.set(id, session)
    this.requireLive(session)
    return session
  }

  /**
   * Takes over those of the replicated state; each has `leaseDurationMs` to claim its leases. Those that were
   * overdue end: else everybody would wait for them.
   */
  begin (): void {
    this.since = this.scannedAt = this.leader.components.clock.now()
    for (const [id, { overdue }] of this.leader.store.sessions.all) {
      const session = this.add(id)
      this.unclaimed.add(id)
      if (overdue) void this.end(session, 'overdue under an earlier leader', 0)
    }
    this.scan()
  }

  /** The leader leads no more. */
  close (error: AtollError): void {
    const { components, init } = this.leader
    this.timer?.cancel()
    for (const session of this.live.values()) {
      session.peer?.notify('lease.reclaim', { partition: components.group.id, term: init.term })
      session.end()
    }
    for (const { reject } of this.claimWaiters.splice(0)) reject(error)
  }

  // How one ends

  /**
   * From now on the requests of the session are refused. What it held is nobody's once the end is committed, which this waits for: a
   * later leader that finds the session in the replicated state knows that nobody else was given any of it. Nor before
   * `trustedUntilMs`, as long as its client, who may not hear of the end, can believe that it holds it.
   */
  end (session: LiveSession, reason: string, trustedUntilMs = session.expiresAt): Promise<void> {
    if (session.ended) return session.over
    this.leader.components.log.info('session ends', { session: session.id, reason })
    session.over = this.endInLog(session, trustedUntilMs)
    session.end()
    return session.over
  }

  private async endInLog (session: LiveSession, trustedUntilMs: number): Promise<void> {
    const { id } = session
    const { leader } = this
    const { clock } = leader.components
    const trustedMs = trustedUntilMs - clock.now()
    if (trustedMs > 0) await new Promise<void>((resolve) => { clock.setTimer(resolve, trustedMs) })
    for (;;) {
      try {
        await leader.propose('end-session', { id })
        break
      } catch {
        // Who leads next finds the session.
        if (leader.hasEnded) return
        await new Promise<void>((resolve) => { clock.setTimer(resolve, sessionScanMs) })
      }
    }
    session.forgotten = true
    this.live.delete(id)
    leader.leases.dropSession(id)
    this.claimed(id)
  }

  // Overdue ones

  /** Its time is over: it is kept for as long as nobody wants what it holds. */
  private keepOverdue (session: LiveSession): void {
    if (session.recalls > 0 || this.live.size > courtesySessionsMax) {
      void this.end(session, 'not renewed in time')
      return
    }
    this.leader.components.log.info('session is overdue', { session: session.id })
    session.overdue = true
    // Where this fails the next leader waits for a claim of the session.
    this.leader.propose('overdue-session', { id: session.id }).catch(() => {})
  }

  /** An overdue session has sent something: before it is served, later leaders are to know that it is back. */
  returned (session: LiveSession): Promise<void> {
    session.returning ??= this.returnInLog(session).finally(() => { session.returning = null })
    return session.returning
  }

  private async returnInLog (session: LiveSession): Promise<void> {
    await this.leader.propose('open-session', { id: session.id, client: '', existing: true })
    this.requireLive(session)
    session.overdue = false
    this.leader.components.log.info('session is back', { session: session.id })
  }

  // Claims after a change of leader

  /** The session has said what it holds. */
  claimed (id: string): void {
    if (this.unclaimed.delete(id)) for (const { resolve } of this.claimWaiters.splice(0)) resolve()
  }

  isUnclaimed (id: string): boolean { return this.unclaimed.has(id) }

  /** null if no other session may hold leases that this leader does not know of; otherwise what to await. */
  admission (id: string): Promise<void> | null { return this.isAdmitted(id) ? null : this.waitForClaims(id) }

  private isAdmitted (id: string): boolean {
    const { unclaimed } = this
    return unclaimed.size === 0 || (unclaimed.size === 1 && unclaimed.has(id))
  }

  private async waitForClaims (id: string): Promise<void> {
    while (!this.isAdmitted(id)) {
      this.leader.requireLeading()
      await new Promise<void>((resolve, reject) => { this.claimWaiters.push({ resolve, reject }) })
    }
  }

  // Time

  private scan (): void {
    const { clock } = this.leader.components
    const now = clock.now()
    // While this process stood still it read nothing: what its sessions sent is waiting.
    const stalledMs = now - this.scannedAt - sessionScanMs
    const lenienceMs = stalledMs > sessionScanMs ? stalledMs : 0
    this.scannedAt = now
    this.since += lenienceMs
    const claimsAreDue = now >= this.since + leaseDurationMs
    for (const session of [...this.live.values()]) {
      // No further than if it was heard now: it may have been heard since the process went on.
      if (lenienceMs > 0) session.expiresAt = Math.min(session.expiresAt + lenienceMs, now + leaseDurationMs)
      if (claimsAreDue && this.unclaimed.has(session.id)) void this.end(session, 'did not claim its leases in time', 0)
      else if (session.expiresAt + courtesyMs <= now) void this.end(session, 'not renewed for long')
      else if (session.expiresAt <= now && !session.overdue && !session.ended) this.keepOverdue(session)
    }
    if (!this.leader.hasEnded) this.timer = clock.setTimer(() => { this.scan() }, sessionScanMs)
  }
}

function expired (id: string): AtollError {
  return new AtollError('ATOLL_SESSION_EXPIRED', `session ${id} is not known, or was not renewed in time`)
}
