import { metadataIndexOf, rootInode } from '../../../partitioning/routing.ts'
import type {
  CreateRequest, CreateResponse, InodeAttr, LeaseMode, LeaseResponse, LinkRequest, LinkResponse, RemoveResponse, RenameRequest, RenameResponse, RmdirRequest, UnlinkRequest
} from '../../protocol/metadata.ts'
import { codeOf, posixError } from '../../protocol/errors.ts'
import type { Reply } from '../../protocol/peer.ts'
import { inherit } from '../../protocol/posix.ts'
import { depthMax } from '../constants.ts'
import type { Claim, Leader } from '../leader.ts'
import { blankInode } from '../operations/inodes.ts'
import { attrOf } from '../records.ts'
import type { LiveSession } from '../live-session.ts'
import { describe } from './content.ts'
import { acquire } from './inodes.ts'
import { readInode } from './reads.ts'
import { remoteAttr } from '../transactions/queries.ts'

export interface Answer<T> extends Reply<any> { body: T }

/** Requests on the names of a directory where everything lives in this partition: each is one entry of its log. */

export async function createHere (leader: Leader, session: LiveSession, request: CreateRequest): Promise<Answer<CreateResponse>> {
  const { op, dir, name, mode, caller, rdev, symlink, exclusive, lease } = request
  const claims: Claim[] = [{ kind: 'name', dir, name }]
  const { ino, body } = await leader.change(session, () => claims, async () => {
    const outcome = await leader.proposeFor(session.id, op, 'create', { dir, name, mode, uid: caller.uid, gid: caller.gid, rdev, symlink, exclusive })
    const ino = outcome.ino!
    const inode = leader.store.inodes.get(ino)
    // Only a replay, or a file that was there, can be known to others.
    const isFresh = outcome.created === true && inode !== undefined && leader.leases.holders(ino).length === 0
    if (!isFresh) return { ino, body: undefined }
    leader.grant(session, ino, lease)
    return { ino, body: withDirectory(leader, session, dir, { ...describe(leader.store, inode), created: true }) }
  })
  return { body: body ?? await findCreated(leader, session, ino, request) }
}

/** What was there before, or was made by an earlier attempt. Rejects with ESTALE when what was there has been removed since. */
export async function findCreated (leader: Leader, session: LiveSession, ino: number, request: CreateRequest): Promise<CreateResponse> {
  const created = leader.store.sessions.get(session.id)?.results.get(request.op)?.outcome.created === true
  try {
    const found = await findInode(leader, session, ino, request.lease)
    if (created || found.attr.nlink > 0) return { ...found, created }
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    if (created) return { attr: asMade(leader, ino, request), created }
  }
  throw posixError('ESTALE', 'removed again')
}

export async function findInode (leader: Leader, session: LiveSession, ino: number, lease: LeaseMode): Promise<LeaseResponse> {
  if (metadataIndexOf(ino) !== leader.init.index) return remoteAttr(leader, ino)
  if (lease === 'exclusive') return acquire(leader, session, ino, 'exclusive')
  return readInode(leader, session, ino, (inode) => describe(leader.store, inode))
}

/** What an earlier attempt made and others have removed since. */
function asMade (leader: Leader, ino: number, { dir, mode, caller }: CreateRequest): InodeAttr {
  const made = { ...caller, mode }
  const parent = leader.store.inodes.get(dir)
  return { ...attrOf(blankInode(leader.components.clock.wallNs(), ino, parent === undefined ? made : inherit(parent, made), dir)), nlink: 0 }
}

export async function unlinkHere (leader: Leader, session: LiveSession, { op, dir, name, open }: UnlinkRequest): Promise<Answer<RemoveResponse>> {
  return leader.change(session, () => [{ kind: 'name', dir, name }, ...inodeClaim(leader, dir, name)], async (opens) => {
    const outcome = await leader.proposeFor(session.id, op, 'unlink', { dir, name, holders: withSelf(opens, session, open) })
    return { body: removed(leader, session, dir, outcome.ino!) }
  })
}

export async function rmdirHere (leader: Leader, session: LiveSession, { op, dir, name }: RmdirRequest): Promise<Answer<RemoveResponse>> {
  return leader.change(session, () => [{ kind: 'name', dir, name }, ...inodeClaim(leader, dir, name)], async () => {
    const outcome = await leader.proposeFor(session.id, op, 'rmdir', { dir, name })
    return { body: removed(leader, session, dir, outcome.ino!) }
  })
}

export async function renameHere (leader: Leader, session: LiveSession, request: RenameRequest): Promise<Answer<RenameResponse>> {
  const { dir, name, newDir, newName } = request
  const claims = (): Claim[] => [
    { kind: 'name', dir, name }, { kind: 'name', dir: newDir, name: newName },
    ...inodeClaim(leader, dir, name), ...inodeClaim(leader, newDir, newName)
  ]
  for (;;) {
    // Whether or not there are other partitions: this leader may not have heard of the first one yet.
    const moving = dir !== newDir
    const done = await leader.change(session, claims, async (opens) => {
      // Nothing may be awaited between this look and the proposal.
      if (moving && ancestorsInMotion(leader, dir, newDir, claims()).length > 0) return null
      return proposeRename(leader, session, request, opens)
    })
    if (done !== null) return done
    for (const ino of ancestorsInMotion(leader, dir, newDir, claims())) await leader.free(ino)
  }
}

/**
 * Directories above the two that somebody is about to move. A move across partitions looks for loops while it
 * holds what it moves; one within a partition must not slip in between.
 */
function ancestorsInMotion (leader: Leader, dir: number, newDir: number, claims: Claim[]): number[] {
  const own = new Set(claims.flatMap((claim) => claim.kind === 'inode' ? [claim.ino] : []))
  const found: number[] = []
  for (const start of [dir, newDir]) {
    let at = start
    for (let depth = 0; depth < depthMax && at !== rootInode && metadataIndexOf(at) === leader.init.index; depth++) {
      if (!own.has(at) && leader.intents.isTaken(at, 'write')) found.push(at)
      at = leader.store.inodes.get(at)?.parent ?? rootInode
    }
  }
  return found
}

async function proposeRename (leader: Leader, session: LiveSession, request: RenameRequest, opens: string[]): Promise<Answer<RenameResponse>> {
  const { op, dir, name, newDir, newName, flags, open } = request
  const outcome = await leader.proposeFor(session.id, op, 'rename', { dir, name, newDir, newName, flags, holders: withSelf(opens, session, open) })
  const body: RenameResponse = { ino: outcome.ino! }
  const attr = leased(leader, session, outcome.ino!)
  if (attr !== undefined) body.attr = attr
  if (outcome.replaced !== undefined) {
    const left = leased(leader, session, outcome.replaced)
    body.replaced = left === undefined ? { ino: outcome.replaced } : { ino: outcome.replaced, attr: left }
  }
  const dirAttr = directoryAttr(leader, session, dir)
  const newDirAttr = directoryAttr(leader, session, newDir)
  if (dirAttr !== undefined) body.dirAttr = dirAttr
  if (newDirAttr !== undefined) body.newDirAttr = newDirAttr
  return { body }
}

export async function linkHere (leader: Leader, session: LiveSession, { op, ino, dir, name }: LinkRequest): Promise<Answer<LinkResponse>> {
  const body = await leader.change(session, () => [{ kind: 'name', dir, name }, { kind: 'inode', ino }], async () => {
    await leader.proposeFor(session.id, op, 'link', { ino, dir, name })
    const attr = leased(leader, session, ino)
    return attr === undefined ? undefined : withDirectory(leader, session, dir, { attr })
  })
  return { body: body ?? { attr: await readInode(leader, session, ino, attrOf) } }
}

/** The inode that a name refers to now, if it lives here. */
export function inodeClaim (leader: Leader, dir: number, name: string): Claim[] {
  const entry = leader.store.entry(dir, name)
  return entry === undefined || metadataIndexOf(entry.ino) !== leader.init.index ? [] : [{ kind: 'inode', ino: entry.ino, opens: true }]
}

export function withSelf (opens: string[], session: LiveSession, open: boolean): string[] {
  return open ? [...opens, session.id] : opens
}

function removed (leader: Leader, session: LiveSession, dir: number, ino: number): RemoveResponse {
  const attr = leased(leader, session, ino)
  return withDirectory(leader, session, dir, attr === undefined ? { ino } : { ino, attr })
}

/** The attributes of an inode that this operation changed; undefined when it is gone, or when a replay finds it in others' hands. */
export function leased (leader: Leader, session: LiveSession, ino: number): InodeAttr | undefined {
  const inode = leader.store.inodes.get(ino)
  if (inode === undefined) {
    leader.leases.release(session.id, ino)
    return undefined
  }
  if (leader.leases.conflicts(session.id, ino, 'shared')) return undefined
  leader.grant(session, ino)
  return attrOf(inode)
}

/** Left out while somebody else is changing names there: the attributes would be old before they arrive. */
export function directoryAttr (leader: Leader, session: LiveSession, dir: number): InodeAttr | undefined {
  if (!leader.intents.isOnlyChanger(dir, session.id) || leader.pledges.of(session.id, dir) !== null || leader.leases.conflicts(session.id, dir, 'shared')) return undefined
  const inode = leader.store.inodes.get(dir)
  if (inode === undefined) return undefined
  leader.grant(session, dir)
  return attrOf(inode)
}

export function withDirectory<T extends object> (leader: Leader, session: LiveSession, dir: number, body: T): T & { dirAttr?: InodeAttr } {
  const dirAttr = directoryAttr(leader, session, dir)
  return dirAttr === undefined ? body : Object.assign(body, { dirAttr })
}
