import { metadataIndexOf } from '../../../partitioning/routing.ts'
import { posixError } from '../../protocol/errors.ts'
import { isDirectory, nameFault } from '../../protocol/posix.ts'
import type {
  GetattrRequest, GetattrResponse, GetxattrRequest, GetxattrResponse, ListxattrRequest, ListxattrResponse, LookupRequest,
  LookupResponse, OrphansResponse
} from '../../protocol/metadata.ts'
import type { Reply } from '../../protocol/peer.ts'
import type { Leader } from '../leader.ts'
import { xattrsOf } from '../operations/xattrs.ts'
import type { LiveSession } from '../live-session.ts'
import type { Inode } from '../types.ts'
import { describe, symlinkOf } from './content.ts'

interface Answer<T> extends Reply<any> { body: T }

/** Made once: absent names are looked up all the time, and a stack trace costs more than the rest. */
const noSuchName = posixError('ENOENT')

/** The name in the directory; an ENOENT too may be cached, as the directory is leased. */
export async function lookup (leader: Leader, session: LiveSession, { dir, name }: LookupRequest): Promise<Answer<LookupResponse>> {
  const { store } = leader
  const fault = nameFault(name)
  if (fault !== null) throw posixError(fault, name)
  const ticket = leader.intents.ticket()
  for (;;) {
    const gate = lookupGate(leader, session, dir, name, ticket)
    if (gate !== null) {
      await gate
      continue
    }
    requireDirectory(store.inodes.get(dir), dir)
    const entry = store.entry(dir, name)
    if (entry === undefined || metadataIndexOf(entry.ino) !== leader.init.index) {
      leader.grant(session, dir)
      if (entry === undefined) throw noSuchName
      return { body: { ino: entry.ino } }
    }
    const inodeGate = leader.readGate(session, entry.ino, ticket)
    if (inodeGate !== null) {
      await inodeGate
      continue
    }
    leader.grant(session, dir)
    leader.grant(session, entry.ino)
    return { body: { ino: entry.ino, ...describe(store, store.inodes.get(entry.ino)!) } }
  }
}

function lookupGate (leader: Leader, session: LiveSession, dir: number, name: string, ticket: number): Promise<unknown> | null {
  const { intents, leases } = leader
  const gate = intents.blocked(dir, 'look', ticket) ?? intents.blocked(`${dir}/${name}`, 'read', ticket)
  if (gate !== null) return gate
  return leases.conflicts(session.id, dir, 'shared') ? leader.readGate(session, dir, ticket) : null
}

/** Waits until the inode may be read by the session, then reads and leases it in one turn. */
export async function readInode<T> (leader: Leader, session: LiveSession, ino: number, read: (inode: Inode) => T): Promise<T> {
  const ticket = leader.intents.ticket()
  for (let gate = leader.readGate(session, ino, ticket); gate !== null; gate = leader.readGate(session, ino, ticket)) await gate
  const inode = leader.store.inodes.get(ino)
  if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
  leader.grant(session, ino)
  return read(inode)
}

export async function getattr (leader: Leader, session: LiveSession, { ino }: GetattrRequest): Promise<Answer<GetattrResponse>> {
  const body = await readInode(leader, session, ino, (inode): GetattrResponse => {
    const symlink = symlinkOf(leader.store, inode)
    return symlink === undefined ? describe(leader.store, inode) : { ...describe(leader.store, inode), symlink }
  })
  return { body }
}

export async function getxattr (leader: Leader, session: LiveSession, { ino, name }: GetxattrRequest): Promise<Answer<GetxattrResponse>> {
  const xattrs = await readInode(leader, session, ino, (inode) => xattrsOf(leader, inode))
  const found = xattrs.find(([other]) => other === name)
  if (found === undefined) throw posixError('ENODATA', name)
  return { body: { value: found[1] } }
}

export async function listxattr (leader: Leader, session: LiveSession, { ino }: ListxattrRequest): Promise<Answer<ListxattrResponse>> {
  const xattrs = await readInode(leader, session, ino, (inode) => xattrsOf(leader, inode))
  return { body: { names: xattrs.map(([name]) => name) } }
}

export function orphans (leader: Leader, session: LiveSession): Answer<OrphansResponse> {
  const inos = [...leader.store.orphans.all].filter(([, holders]) => holders.includes(session.id)).map(([ino]) => ino)
  return { body: { inos } }
}

export function requireDirectory (inode: Inode | undefined, ino: number): Inode {
  if (inode === undefined) throw posixError('ENOENT', `inode ${ino}`)
  if (!isDirectory(inode.mode)) throw posixError('ENOTDIR', `inode ${ino}`)
  return inode
}
