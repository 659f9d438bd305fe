import { posixError } from '../../protocol/errors.ts'
import { isRegular } from '../../protocol/posix.ts'
import type {
  AttrResponse, CommitRequest, Empty, ExtentRequest, ForgetRequest, HoldRequest, InodeAttr, LeaseMode, LeaseRequest, LeaseResponse, RemovexattrRequest,
  SetattrRequest, SetxattrRequest
} from '../../protocol/metadata.ts'
import type { Reply } from '../../protocol/peer.ts'
import type { Leader } from '../leader.ts'
import type { SetattrArgs } from '../operations/attributes.ts'
import { attrOf } from '../records.ts'
import type { LiveSession } from '../live-session.ts'
import { confirmLeading, finishTruncation, trim } from '../truncation.ts'
import { describe } from './content.ts'
import { readInode } from './reads.ts'

interface Answer<T> extends Reply<any> { body: T }

/** Requests on one inode of this partition. */

export async function setattr (leader: Leader, session: LiveSession, request: SetattrRequest): Promise<Answer<AttrResponse>> {
  const { op, ino, mode, uid, gid, size } = request
  const now = leader.components.clock.wallNs()
  const args: SetattrArgs = { ino, mode, uid, gid, size, atime: timeOf(request.atime, now), mtime: timeOf(request.mtime, now) }
  return leader.changeInode(session, ino, async () => {
    if (size !== undefined) await prepareResize(leader, args, size)
    await leader.proposeFor(session.id, op, 'setattr', args)
    if (size !== undefined) await finishTruncation(leader, ino)
    return { body: { attr: changed(leader, session, ino) } }
  })
}

function timeOf (time: bigint | 'now' | undefined, now: bigint): bigint | undefined {
  return time === 'now' ? now : time
}

/**
 * Before a file grows: what a vanished writer may have left beyond its end must go, and content that no
 * longer fits into the inode record must be in a chunk before it leaves the record.
 */
async function prepareResize (leader: Leader, args: SetattrArgs, size: number): Promise<void> {
  const { store } = leader
  const inode = store.inodes.get(args.ino)
  if (inode === undefined || !isRegular(inode.mode) || !Number.isSafeInteger(size) || size <= inode.size) return
  const { id, inlineBytesMax } = leader.init.volume
  const leavesRecord = inode.isInline && size > inlineBytesMax
  if (inode.isInline && !leavesRecord) return
  if (inode.extent > (inode.isInline ? 0 : inode.size)) await trim(leader, args.ino)
  if (!leavesRecord || inode.size === 0) return
  await leader.propose('extent', { ino: args.ino, extent: inode.size })
  await leader.components.data.writeChunk(id, args.ino, 0, 0, store.content.get(args.ino)!, () => confirmLeading(leader))
  args.moved = true
}

export async function commit (leader: Leader, session: LiveSession, { op, ino, size, mtime, inline }: CommitRequest, payload: Buffer[]): Promise<Answer<AttrResponse>> {
  const data = inline ? joined(payload) : undefined
  if (data !== undefined && data.length > 0) leader.requireRoom(session, op)
  return leader.changeInode(session, ino, async () => {
    await leader.proposeFor(session.id, op, 'commit', data === undefined ? { ino, size, mtime } : { ino, size, mtime, data })
    return { body: { attr: changed(leader, session, ino) } }
  })
}

function joined (payload: Buffer[]): Buffer {
  return payload.length === 1 ? payload[0]! : Buffer.concat(payload)
}

export async function extent (leader: Leader, session: LiveSession, { op, ino, extent }: ExtentRequest): Promise<Answer<AttrResponse>> {
  return leader.changeInode(session, ino, async () => {
    await leader.proposeFor(session.id, op, 'extent', { ino, extent })
    return { body: { attr: changed(leader, session, ino) } }
  })
}

export async function setxattr (leader: Leader, session: LiveSession, { op, ino, name, value, flags }: SetxattrRequest): Promise<Answer<AttrResponse>> {
  leader.requireRoom(session, op)
  return leader.changeInode(session, ino, async () => {
    await leader.proposeFor(session.id, op, 'setxattr', { ino, name, value, flags })
    return { body: { attr: changed(leader, session, ino) } }
  })
}

export async function removexattr (leader: Leader, session: LiveSession, { op, ino, name }: RemovexattrRequest): Promise<Answer<AttrResponse>> {
  return leader.changeInode(session, ino, async () => {
    await leader.proposeFor(session.id, op, 'removexattr', { ino, name })
    return { body: { attr: changed(leader, session, ino) } }
  })
}

export async function hold (leader: Leader, session: LiveSession, { op, ino, mode, caller }: HoldRequest): Promise<Answer<LeaseResponse>> {
  leader.requireRoom(session, op)
  const outcome = await leader.change(session, () => [{ kind: 'inode', ino }], () => leader.proposeFor(session.id, op, 'hold', { ino, mode, ...caller }))
  return { body: await acquire(leader, session, outcome.ino!, 'exclusive') }
}

export async function forget (leader: Leader, session: LiveSession, { op, ino }: ForgetRequest): Promise<Answer<Empty>> {
  await leader.proposeFor(session.id, op, 'forget', { ino })
  leader.leases.release(session.id, ino)
  return { body: {} }
}

export async function lease (leader: Leader, session: LiveSession, { ino, mode }: LeaseRequest): Promise<Answer<LeaseResponse>> {
  return { body: await acquire(leader, session, ino, mode) }
}

/** Grants the lease once nobody's stands against it. */
export async function acquire (leader: Leader, session: LiveSession, ino: number, mode: LeaseMode): Promise<LeaseResponse> {
  if (mode === 'shared') return readInode(leader, session, ino, (inode) => describe(leader.store, inode))
  for (;;) {
    for (let under = leader.pledges.of(session.id, ino); under !== null; under = leader.pledges.of(session.id, ino)) await under
    const held = leader.leases.of(session.id, ino) === 'exclusive'
    const answer = await leader.changeInode(session, ino, async () => {
      await trimAfterVanishedWriter(leader, ino)
      // It went ahead of those who wait because it held the lease; recalled meanwhile, it takes its turn behind them.
      if (held && leader.leases.of(session.id, ino) !== 'exclusive') return null
      const inode = leader.store.inodes.get(ino)
      if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
      leader.grant(session, ino, 'exclusive')
      return describe(leader.store, inode)
    })
    if (answer !== null) return answer
  }
}

/** A writer that ended without saying how far it got may have written chunks beyond the size: the next one must not grow the file over them. */
async function trimAfterVanishedWriter (leader: Leader, ino: number): Promise<void> {
  const inode = leader.store.inodes.get(ino)
  if (inode === undefined || inode.writer === '' || leader.sessions.get(inode.writer) !== undefined) return
  if (inode.extent > (inode.isInline ? 0 : inode.size)) await trim(leader, ino)
}

/** After a change: the session keeps what it had, or may read unless others wait for it to be done with the inode. */
function changed (leader: Leader, session: LiveSession, ino: number): InodeAttr {
  const inode = leader.store.inodes.get(ino)
  if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
  if (leader.intents.count(ino, 'write') === 1 && !leader.leases.conflicts(session.id, ino, 'shared')) leader.grant(session, ino)
  return attrOf(inode)
}

