import { inodesOf, type Change } from '../fsnode/protocol/changes.ts'
import { codeOf, messageOf, posixError } from '../fsnode/protocol/errors.ts'
import type { InodeAttr, RecallRequest, RecallResponse } from '../fsnode/protocol/metadata.ts'
import { isDirectory } from '../fsnode/protocol/posix.ts'
import { evictionScanInodes, invalidateMsMax, invalidationsInFlightMax, leasePatienceMs } from './bounds.ts'
import type { VolumeContext } from './context.ts'
import type { CachedInode, OngoingRecall } from './inode-cache.ts'
import { eachBounded } from './parallel.ts'
import type { MetadataSession, SessionOwner } from './session.ts'
import type { Invalidation } from './types.ts'

/** Pause before a lease that was recalled at once is asked for again, at most. */
const contendedPauseMsMax = 64
/** Promise turns between the arrival of an answer and its being noted here, generously. */
const answerTurns = 24
/** The same, where a grant may have been sent just after the recall that it precedes. */
const grantGraceMs = 2
const answerLeadMs = 1

/** Keeps the promises that leases are: takes them, gives them up when recalled, expired, or no longer worth their memory. */
export class Leases implements SessionOwner {
  private listener: ((invalidation: Invalidation) => Promise<void>) | null = null
  private heard = (): void => {}
  /** What an earlier process of the session has told is cached above, by whoever has not begun to listen: he is waited for. */
  private readonly listening: Promise<void> | null
  private readonly context: VolumeContext
  private readonly acquiring = new Map<number, Promise<void>>()
  /** Inodes whose leases are being given back. */
  private readonly releasing = new Map<number, Promise<void>>()
  private evicting: Promise<void> | null = null

  /** @param resumed An earlier process may have had leases under the same sessions. */
  constructor (context: VolumeContext, resumed = false) {
    this.context = context
    this.listening = resumed ? new Promise((resolve) => { this.heard = resolve }) : null
  }

  get onInvalidate (): ((invalidation: Invalidation) => Promise<void>) | null { return this.listener }

  set onInvalidate (listener: ((invalidation: Invalidation) => Promise<void>) | null) {
    this.listener = listener
    if (listener !== null) this.heard()
  }

  /** Waits until no recall and no release of the inode is under way. During a recall that still lets operations go on, gives what they go on with. */
  async settled (ino: number): Promise<InodeAttr | null> {
    for (;;) {
      const releasing = this.releasing.get(ino)
      const cached = this.context.cache.get(ino)
      const recall = cached?.recall
      if (recall != null) {
        if (recall.phase === 'open' && cached!.held?.attr != null && cached!.session.isValid) {
          recall.served = true
          return cached!.held.attr
        }
        await recall.done
      } else if (releasing !== undefined) {
        await releasing
      } else {
        return null
      }
    }
  }

  isReleasing (ino: number): boolean { return this.releasing.size > 0 && this.releasing.has(ino) }

  /** Makes the lease on an inode exclusive. Rejects when the inode is gone or nobody answers within `leasePatienceMs`. */
  exclusive (cached: CachedInode): Promise<void> {
    const under = this.acquiring.get(cached.ino)
    if (under !== undefined) return under
    const request = this.askExclusive(cached).finally(() => { this.acquiring.delete(cached.ino) })
    this.acquiring.set(cached.ino, request)
    return request
  }

  async recall (request: RecallRequest): Promise<RecallResponse> {
    // An answer that arrived before this recall is noted first, so that whoever waited for the lease gets its turn.
    for (let turn = 0; turn < answerTurns; turn++) await undefined
    if (this.acquiring.has(request.ino)) await new Promise<void>((resolve) => { this.context.clock.setTimer(resolve, grantGraceMs) })
    const { cache, sessions, inheritance } = this.context
    await inheritance.over(request.ino)
    sessions.find(request.partition)?.guard.disturb(request.ino)
    const cached = cache.get(request.ino)
    if (cached === undefined) {
      await sessions.find(request.partition)?.changes?.drained(request.ino)
      await this.invalidate(invalidationOf(request))
      return { open: false }
    }
    while (cached.recall !== null) await cached.recall.done
    await this.giveUp(cached, request)
    const open = cached.file !== null && cached.file.handles > 0
    if (open) cached.file!.mayBeOrphan = true
    return { open }
  }

  heldLeases (session: MetadataSession, withOpen: boolean): { shared: number[], exclusive: number[], inherited: number[] } {
    const held = { shared: [] as number[], exclusive: [] as number[], inherited: this.context.inheritance.of(session.index) }
    const changes = session.changes?.concerned()
    for (const cached of this.context.cache.values()) {
      // What its partition does not have yet cannot be held there.
      if (cached.session !== session || changes?.made.has(cached.ino) === true) continue
      changes?.held.delete(cached.ino)
      if (cached.lease !== 'none') held[cached.lease].push(cached.ino)
      // A leader must ask before it lets the content of an open file go; it would not know that this one is open.
      else if (withOpen && this.context.files.isOpen(cached.ino)) held.shared.push(cached.ino)
    }
    // Of changes that an earlier process decided.
    if (changes !== undefined) held.exclusive.push(...changes.held)
    return held
  }

  lapsed (session: MetadataSession): void {
    void this.invalidateAll(this.knownOf(session))
  }

  expired (session: MetadataSession): void {
    const { inheritance } = this.context
    for (const ino of inheritance.of(session.index)) inheritance.settle(ino)
    const known = this.knownOf(session)
    for (const cached of [...this.context.cache.values()]) {
      if (cached.session !== session) continue
      this.context.cache.drop(cached)
      cached.file?.leaseLost(true)
    }
    void this.invalidateAll(known)
  }

  changeHappened (change: Change): void { this.context.unsynced.removed(change) }

  changeFailed (change: Change, code: string, operationId?: number): void {
    const { cache, held: decided, log, unsynced } = this.context
    unsynced.kept(change)
    if (operationId !== undefined) decided.earlierFailed(operationId)
    const { held, made } = inodesOf(change)
    log.error('a change that was acknowledged is lost', { change: change[0], inodes: [...held, made].filter((ino) => ino !== 0), code })
    for (const ino of made === 0 ? held : [...held, made]) {
      const cached = cache.get(ino)
      cached?.file?.changeLost(posixError(code.startsWith('ATOLL_') ? 'EIO' : code, 'a change of the file that was acknowledged is lost'))
      for (const invalidation of cached === undefined ? [{ ino, what: 'content' as const }] : allOf(cached)) this.invalidateSoon(invalidation)
      if (cached !== undefined) cache.drop(cached)
    }
  }

  evictIfOverfull (): void {
    if (this.evicting !== null || !this.context.cache.isOverfull) return
    this.evicting = this.evict().finally(() => { this.evicting = null })
  }

  /** Whoever caches above drops it, after the answer that is about to be given. */
  invalidateSoon (invalidation: Invalidation): void {
    this.context.clock.setTimer(() => { void this.invalidate(invalidation) }, 1)
  }

  private async askExclusive (cached: CachedInode): Promise<void> {
    const { clock, inodes, random } = this.context
    const { ino, session } = cached
    const deadline = clock.now() + leasePatienceMs
    for (let attempt = 1; ; attempt++) {
      while (cached.recall !== null || this.isReleasing(ino)) await (cached.recall?.done ?? this.releasing.get(ino))
      const since = session.guard.begin()
      try {
        const { body } = await session.call('meta.lease', { ino, mode: 'exclusive' })
        if (inodes.install(session, body.attr, since, body) !== null) {
          cached.lease = 'exclusive'
          cached.file?.leaseTaken(body.attr, true)
          return
        }
      } finally {
        session.guard.end()
      }
      if (clock.now() >= deadline) throw posixError('ETIMEDOUT', 'the file is written by others all the time')
      // What was granted may have been recalled before it arrived. A pause of its own length lets one of two contenders through.
      const pauseMs = random.next() * Math.min(contendedPauseMsMax, 2 ** attempt)
      await new Promise<void>((resolve) => { clock.setTimer(resolve, pauseMs) })
    }
  }

  private async giveUp (cached: CachedInode, request: RecallRequest): Promise<void> {
    let finish = (): void => {}
    const recall: OngoingRecall = { done: new Promise((resolve) => { finish = resolve }), phase: 'open', served: false }
    cached.recall = recall
    if (cached.lease === 'exclusive' && cached.directory !== null) this.context.held.wanted(cached.ino)
    try {
      // From here on everything of this inode is the partition's to decide; what was decided of it here before gets there first.
      // What was decided of others may be waiting for this very answer.
      await cached.session.changes?.drained(cached.ino)
      if (request.names !== undefined) await this.giveUpNames(cached, request.names)
      else if (request.to === 'shared') await this.giveUpWriting(cached, recall)
      else await this.giveUpAll(cached, recall)
    } catch (error) {
      this.context.log.warn('recall not carried out as it should be', { ino: cached.ino, code: codeOf(error), message: messageOf(error) })
      this.context.cache.drop(cached)
      cached.file?.reading.drop()
    } finally {
      cached.recall = null
      if (cached.file === null && cached.lease === 'none') this.context.cache.drop(cached)
      this.answered(cached, recall.done, finish)
    }
  }

  /** The answer to the recall must reach the leader before a request that takes the lease again. */
  private answered ({ ino, session }: CachedInode, done: Promise<void>, finish: () => void): void {
    session.guard.disturb(ino)
    this.releasing.set(ino, done)
    this.context.clock.setTimer(() => {
      if (this.releasing.get(ino) === done) this.releasing.delete(ino)
      // What was answered in between may still be the old state.
      session.guard.disturb(ino)
      finish()
    }, answerLeadMs)
  }

  private async giveUpNames (cached: CachedInode, names: string[]): Promise<void> {
    for (const name of names) cached.directory?.forget(name)
    cached.attr = null
    if (cached.lease === 'exclusive') cached.lease = 'shared'
    await this.invalidate({ ino: cached.ino, what: 'entries', names })
  }

  private async giveUpWriting (cached: CachedInode, recall: OngoingRecall): Promise<void> {
    recall.phase = 'shut'
    await cached.file?.writeBack(true)
    if (cached.lease === 'exclusive') cached.lease = 'shared'
    cached.file?.leaseLost(false)
  }

  /**
   * First with operations still going on under the lease, which nobody else has yet: one that the
   * invalidation above waits for could otherwise wait for the invalidation. Then, if any went on, once
   * more with the door shut.
   */
  private async giveUpAll (cached: CachedInode, recall: OngoingRecall): Promise<void> {
    const known = allOf(cached)
    cached.hide()
    await cached.file?.writeBack(false)
    recall.served = false
    await this.invalidateAll(known)
    recall.phase = 'shut'
    await cached.file?.writeBack(true)
    if (recall.served) await this.invalidateAll(known)
    this.context.cache.drop(cached)
    cached.file?.leaseLost(false)
  }

  private async evict (): Promise<void> {
    const { cache } = this.context
    // Twice over everything: the first look only takes away the mark of recent use.
    for (let unscanned = 2 * cache.size; cache.isOverfull && unscanned > 0; unscanned -= evictionScanInodes) {
      const batch = cache.candidates(evictionScanInodes)
      if (batch.length === 0) continue
      await this.release(batch)
      unscanned = 2 * cache.size
    }
  }

  private async release (batch: CachedInode[]): Promise<void> {
    let finish = (): void => {}
    const done = new Promise<void>((resolve) => { finish = resolve })
    const bySession = new Map<MetadataSession, number[]>()
    const known = batch.flatMap(allOf)
    for (const cached of batch) {
      const inos = bySession.get(cached.session)
      if (inos === undefined) bySession.set(cached.session, [cached.ino])
      else inos.push(cached.ino)
      this.releasing.set(cached.ino, done)
      cached.session.guard.disturb(cached.ino)
      this.context.cache.drop(cached)
    }
    try {
      await this.invalidateAll(known)
      await Promise.all([...bySession].map(([session, inos]) => session.call('meta.release', { inos }).catch(() => {})))
    } finally {
      for (const { ino, session } of batch) {
        session.guard.disturb(ino)
        this.releasing.delete(ino)
      }
      finish()
    }
  }

  private knownOf (session: MetadataSession): Invalidation[] {
    const known: Invalidation[] = []
    for (const cached of this.context.cache.values()) if (cached.session === session) known.push(...allOf(cached))
    return known
  }

  private async invalidateAll (known: readonly Invalidation[]): Promise<void> {
    if (this.onInvalidate === null) return
    await eachBounded(known, invalidationsInFlightMax, (invalidation) => this.invalidate(invalidation))
  }

  /** What is on its way there comes first: it would outlive this. */
  private async dropAbove (invalidation: Invalidation): Promise<void> {
    if (this.listener === null) await this.listening
    const offers = invalidation.what === 'content' ? this.context.offers.settled(invalidation.ino) : null
    if (offers !== null) await offers
    await this.onInvalidate?.(invalidation)
  }

  /** Waits for whoever caches above, but not for ever: what blocks it may be waiting for this recall. */
  private async invalidate (invalidation: Invalidation): Promise<void> {
    if (this.onInvalidate === null && this.listening === null) return
    const { clock, log } = this.context
    const dropped = this.dropAbove(invalidation).catch((error) => {
      log.warn('not invalidated above', { ino: invalidation.ino, code: codeOf(error), message: messageOf(error) })
    })
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(resolve, invalidateMsMax)
      void dropped.then(() => {
        timer.cancel()
        resolve()
      })
    })
  }
}

/** What may be known above of the inode. */
function allOf ({ ino, directory, held, knownAttr }: CachedInode): Invalidation[] {
  const hasNames = directory !== null || held?.directory != null || (knownAttr !== null && isDirectory(knownAttr.mode))
  return hasNames ? [{ ino, what: 'content' }, { ino, what: 'entries' }] : [{ ino, what: 'content' }]
}

function invalidationOf (request: RecallRequest): Invalidation {
  return request.names === undefined
    ? { ino: request.ino, what: 'content' }
    : { ino: request.ino, what: 'entries', names: request.names }
}
