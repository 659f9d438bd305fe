import { homeOfRootChild } from '../../../partitioning/directory-homes.ts'
import { rootInode } from '../../../partitioning/routing.ts'
import { codeOf, isRetryable } from '../../protocol/errors.ts'
import { isDirectory } from '../../protocol/posix.ts'
import type {
  CreateRequest, CreateResponse, LinkRequest, LinkResponse, RemoveResponse, RenameRequest, RenameResponse, RmdirRequest, UnlinkRequest
} from '../../protocol/metadata.ts'
import type { Leader } from '../leader.ts'
import type { LiveSession } from '../live-session.ts'
import { isHere } from '../transactions/queries.ts'
import * as across from './names-across.ts'
import * as here from './names-here.ts'

type Answer<T> = Promise<here.Answer<T>>

/** Requests on names: within this partition if everything lives here, otherwise across. */

export async function create (leader: Leader, session: LiveSession, request: CreateRequest): Answer<CreateResponse> {
  leader.requireRoom(session, request.op)
  const home = isDirectory(request.mode) ? homeOfDirectory(leader, request) : leader.init.index
  if (home === leader.init.index) return here.createHere(leader, session, request)
  try {
    return await across.mkdirAcross(leader, session, request, home)
  } catch (error) {
    if (!isRetryable(error)) throw error
    // The other partition is away: that must not keep anybody from making directories. If it was made after all, that is remembered.
    leader.requireLeading()
    return here.createHere(leader, session, request)
  }
}

function homeOfDirectory (leader: Leader, { dir, name, elsewhere }: CreateRequest): number {
  const { volume, index } = leader.init
  if (volume.metadataPartitions < 2) return index
  if (dir === rootInode) return homeOfRootChild(name, volume.metadataPartitions)
  return elsewhere === true ? leader.fillings.homeElsewhere() ?? index : index
}

export function unlink (leader: Leader, session: LiveSession, request: UnlinkRequest): Answer<RemoveResponse> {
  return eitherWay(leader, () => here.unlinkHere(leader, session, request), () => across.removeAcross(leader, session, request, false), refersElsewhere(leader, request))
}

export function rmdir (leader: Leader, session: LiveSession, request: RmdirRequest): Answer<RemoveResponse> {
  return eitherWay(leader, () => here.rmdirHere(leader, session, request), () => across.removeAcross(leader, session, request, true), refersElsewhere(leader, request))
}

export async function link (leader: Leader, session: LiveSession, request: LinkRequest): Answer<LinkResponse> {
  leader.requireRoom(session, request.op)
  return isHere(leader, request.ino) ? here.linkHere(leader, session, request) : across.linkAcross(leader, session, request)
}

export function rename (leader: Leader, session: LiveSession, request: RenameRequest): Answer<RenameResponse> {
  const { newDir, newName } = request
  const elsewhere = !isHere(leader, newDir) || refersElsewhere(leader, request) || refersElsewhere(leader, { dir: newDir, name: newName })
  return eitherWay(leader, () => here.renameHere(leader, session, request), () => across.renameAcross(leader, session, request), elsewhere)
}

function refersElsewhere (leader: Leader, { dir, name }: { dir: number, name: string }): boolean {
  const entry = leader.store.entry(dir, name)
  return entry !== undefined && !isHere(leader, entry.ino)
}

/** What was found out without holding anything may change: then it goes the other way. */
async function eitherWay<T> (leader: Leader, local: () => Promise<T>, remote: () => Promise<T>, elsewhere: boolean): Promise<T> {
  for (let goesAcross = elsewhere; ; goesAcross = !goesAcross) {
    try {
      return await (goesAcross ? remote() : local())
    } catch (error) {
      const code = codeOf(error)
      if (code !== (goesAcross ? 'ATOLL_ALL_HERE' : 'ATOLL_OTHER_PARTITION')) throw error
      leader.requireLeading()
    }
  }
}
