import { inodesOf, removedBy, unpackChanges, type Change } from '../../protocol/changes.ts'
import { AtollError } from '../../protocol/errors.ts'
import type { ChangesRequest, ChangesResponse, InodesRequest, InodesResponse } from '../../protocol/metadata.ts'
import type { Reply } from '../../protocol/peer.ts'
import { streamOperation } from '../command.ts'
import { inodesPerRequestMax } from '../constants.ts'
import type { Leader } from '../leader.ts'
import type { LiveSession } from '../live-session.ts'

interface Answer<T> extends Reply<any> { body: T }

/** Numbers for what the session will make by itself. */
export async function inodes (leader: Leader, session: LiveSession, { op, count }: InodesRequest): Promise<Answer<InodesResponse>> {
  if (!(count >= 1 && count <= inodesPerRequestMax)) throw new AtollError('ATOLL_BAD_MESSAGE', `from 1 to ${inodesPerRequestMax} inode numbers`)
  const { ino } = await leader.proposeFor(session.id, op, 'allocate-inodes', { count })
  return { body: { first: ino!, count } }
}

/**
 * What the session has decided under its exclusive leases. It goes ahead of whoever waits for it to give them up, as it must
 * be done first; one request of a session after the other.
 */
export function changes (leader: Leader, session: LiveSession, request: ChangesRequest, payload: Buffer[]): Promise<Answer<ChangesResponse>> {
  const packed = payload.length === 1 ? payload[0]! : Buffer.concat(payload)
  const list = unpackChanges(packed)
  const running = session.stream.then(() => perform(leader, session, request.first, list, packed))
  session.stream = running.catch(() => {})
  return running
}

async function perform (leader: Leader, session: LiveSession, first: number, list: Change[], packed: Buffer): Promise<Answer<ChangesResponse>> {
  leader.requireLeading()
  requireOpen(session)
  // A request that comes again changes nothing, and grants nothing: what it made may have been given up since.
  const fresh = list.slice(Math.max(0, (leader.store.sessions.get(session.id)?.streamed ?? 0) + 1 - first))
  const held = heldBy(fresh)
  requireLeases(leader, session, held)
  for (const ino of held) leader.intents.force(ino)
  try {
    for (const ino of held) for (let under = leader.pledges.of(session.id, ino); under !== null; under = leader.pledges.of(session.id, ino)) await under
    for (const ino of held) for (let cut = leader.truncations.get(ino); cut !== undefined; cut = leader.truncations.get(ino)) await cut
    if (!leader.store.writer.hasRoom) await leader.store.writer.room()
    const holders = await openElsewhere(leader, session, fresh)
    leader.requireLeading()
    requireOpen(session)
    const outcome = await leader.proposeFor(session.id, streamOperation, 'changes', { first, changes: packed, holders })
    for (const change of fresh) settle(leader, session, change)
    return { body: { failed: outcome.failed ?? [] } }
  } finally {
    leader.intents.release([...held].map((key) => ({ key, mode: 'write' as const })))
  }
}

/** Inodes that existed before these changes and that they touch. */
function heldBy (list: readonly Change[]): Set<number> {
  const held = new Set<number>()
  const made = new Set<number>()
  for (const change of list) {
    const inodes = inodesOf(change)
    for (const ino of inodes.held) if (!made.has(ino)) held.add(ino)
    if (inodes.made !== 0) made.add(inodes.made)
  }
  return held
}

/** Until a session has claimed what it holds from before this leader, nobody else gets anything. */
function requireLeases (leader: Leader, session: LiveSession, held: Iterable<number>): void {
  if (leader.sessions.isUnclaimed(session.id)) return
  for (const ino of held) {
    if (leader.leases.of(session.id, ino) === 'exclusive') continue
    void leader.sessions.end(session, 'changes of what it does not hold')
    throw new AtollError('ATOLL_SESSION_EXPIRED', `session ${session.id} does not hold inode ${ino}`)
  }
}

function requireOpen (session: LiveSession): void {
  if (session.ended) throw new AtollError('ATOLL_SESSION_EXPIRED', `session ${session.id} has ended`)
}

/** Other sessions that have an inode open, without a lease, which loses a name. */
async function openElsewhere (leader: Leader, session: LiveSession, list: readonly Change[]): Promise<Array<[number, string[]]>> {
  const found: Array<[number, string[]]> = []
  for (const change of list) {
    const ino = removedBy(change)
    const others = ino === 0 ? [] : leader.leases.holders(ino).filter((lease) => lease.session !== session.id)
    if (others.length === 0) continue
    const open: string[] = []
    await Promise.all(others.map(async (lease) => { if (await leader.recalls.recall(lease.session, ino, 'none')) open.push(lease.session) }))
    if (open.length > 0) found.push([ino, open.sort()])
  }
  return found
}

function settle (leader: Leader, session: LiveSession, change: Change): void {
  const { made } = inodesOf(change)
  if (made !== 0 && leader.store.inodes.get(made) !== undefined) leader.grant(session, made, 'exclusive')
  const removed = removedBy(change)
  if (removed !== 0) leader.dropLeasesIfGone(removed)
}
