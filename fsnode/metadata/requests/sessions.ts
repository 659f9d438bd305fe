import { AtollError } from '../../protocol/errors.ts'
import type { ClaimRequest, Empty, ReleaseRequest, SessionRequest, SessionResponse } from '../../protocol/metadata.ts'
import type { Peer, Reply } from '../../protocol/peer.ts'
import { clientNameBytesMax, leaseDurationMs, sessionIdBytesMax } from '../constants.ts'
import type { Leader } from '../leader.ts'
import type { Held } from '../leases.ts'
import type { LiveSession } from '../live-session.ts'

interface Answer<T> extends Reply<any> { body: T }

/** Opens a session, or finds it; this connection takes its recalls. */
export async function open (leader: Leader, { session: id, client, existing }: SessionRequest, peer: Peer): Promise<Answer<SessionResponse>> {
  if (typeof id !== 'string' || id === '' || Buffer.byteLength(id) > sessionIdBytesMax || id.includes('/')) {
    throw new AtollError('ATOLL_BAD_MESSAGE', `not a session id: up to ${sessionIdBytesMax} bytes without '/'`)
  }
  const known = leader.sessions.get(id)
  await known?.over
  known?.touch(leader.components.clock.now(), peer)
  await leader.propose('open-session', { id, client: String(client).slice(0, clientNameBytesMax), ...(existing === true && { existing }) })
  const session = leader.sessions.add(id)
  session.touch(leader.components.clock.now(), peer)
  session.attach(peer)
  // It may have become so after this was proposed: the last word is to be that it is not.
  if (session.overdue) await leader.sessions.returned(session)
  // For its client it is new, whether or not an earlier leader has opened it already: nothing is held under it.
  if (existing !== true) leader.sessions.claimed(id)
  return { body: term(leader, session) }
}

/** The barrier makes sure that no other leader has counted this session's time from earlier on. */
export async function renew (leader: Leader, session: LiveSession, peer: Peer): Promise<Answer<SessionResponse>> {
  session.attach(peer)
  await leader.barrier()
  leader.sessions.requireLive(session)
  return { body: term(leader, session) }
}

/**
 * What the session still holds from before this leader. When the session is a new one of an old name, or has claimed before, others may
 * have changed what is claimed: then the session ends.
 */
export async function claim (leader: Leader, session: LiveSession, { shared, exclusive, inherited = [] }: ClaimRequest, peer: Peer): Promise<Answer<Empty>> {
  session.attach(peer)
  await leader.barrier()
  leader.sessions.requireLive(session)
  const { id } = session
  if (!leader.sessions.isUnclaimed(id)) {
    const { leases } = leader
    const held = shared.every((ino) => isReadLease(leases.of(id, ino))) && exclusive.every((ino) => leases.of(id, ino) === 'exclusive')
    if (held) return { body: {} }
    void leader.sessions.end(session, 'claimed leases that it does not hold')
    throw new AtollError('ATOLL_SESSION_EXPIRED', `session ${id} claimed leases that it does not hold any more`)
  }
  for (const ino of shared) leader.grant(session, ino, 'shared')
  for (const ino of [...exclusive, ...inherited]) leader.grant(session, ino, 'exclusive')
  leader.sessions.claimed(id)
  return { body: {} }
}

function isReadLease (held: Held | undefined): boolean { return held === 'shared' || held === 'exclusive' }

export function release (leader: Leader, session: LiveSession, { inos }: ReleaseRequest): Answer<Empty> {
  for (const ino of inos) leader.leases.release(session.id, ino)
  return { body: {} }
}

export async function close (leader: Leader, session: LiveSession): Promise<Answer<Empty>> {
  await leader.sessions.end(session, 'closed', 0)
  leader.requireLeading()
  return { body: {} }
}

function term (leader: Leader, session: LiveSession): SessionResponse {
  const { streamed = 0, failed = [] } = leader.store.sessions.get(session.id) ?? {}
  const elsewhere = leader.fillings.shareElsewhere
  return { leaseDurationMs, term: leader.init.term, streamed, failed, ...(elsewhere > 0 && { elsewhere }) }
}
