import { metadataPartitionId } from '../../../partitioning/routing.ts'
import { AtollError, codeOf } from '../../protocol/errors.ts'
import { fileType, inherit, mode as modes, nameFault } from '../../protocol/posix.ts'
import type {
  CreateRequest, CreateResponse, InodeAttr, LinkRequest, LinkResponse, RemoveResponse, RenameRequest, RenameResponse, RmdirRequest, UnlinkRequest
} from '../../protocol/metadata.ts'
import { transactionRetriesMax, transactionRetryMs } from '../constants.ts'
import type { Leader } from '../leader.ts'
import { renameFault } from '../operations/rename.ts'
import type { LiveSession } from '../live-session.ts'
import { planRename } from '../transactions/plan-rename.ts'
import { entryAnywhere, isHere, partitionOf } from '../transactions/queries.ts'
import type { Decided, Plan } from '../transactions/coordinator.ts'
import type { Outcome } from '../types.ts'
import { directoryAttr, findCreated, findInode, leased, withDirectory, type Answer } from './names-here.ts'
import { requireDirectory } from './reads.ts'

/** Requests on the names of a directory that involve inodes or directories of other partitions: two-phase. */

export function mkdirAcross (leader: Leader, session: LiveSession, request: CreateRequest, home: number): Promise<Answer<CreateResponse>> {
  const { op, dir, name, caller } = request
  return attempt(leader, session, op, async () => {
    const fault = nameFault(name) ?? (await entryAnywhere(leader, session.id, dir, name) === null ? null : 'EEXIST')
    if (fault !== null) return fault
    const parent = requireDirectory(leader.store.inodes.get(dir), dir)
    const owned = inherit(parent, { ...caller, mode: request.mode })
    return {
      own: [{ kind: 'insert', dir, name, ino: 0, type: modes.directory, expect: null, links: 1 }],
      shares: [{ partition: metadataPartitionId(leader.init.volume.id, home), parts: [{ kind: 'create', ino: 0, parent: dir, ...owned }] }],
      open: false,
      complete: (own, [results]) => own.map((part) => ({ ...part, ino: results![0]!.attr!.ino })),
      outcome: ([results]) => ({ ino: results![0]!.attr!.ino, created: true })
    }
  }, async (outcome, decided) => {
    if (decided === null) return { body: await findCreated(leader, session, outcome.ino!, request) }
    return { body: withDirectory(leader, session, dir, { attr: decided.shares[0]![0]!.attr!, created: true }) }
  })
}

/** unlink(2) and rmdir(2) of a name whose inode lives elsewhere. */
export function removeAcross (leader: Leader, session: LiveSession, request: UnlinkRequest | RmdirRequest, isDirectory: boolean): Promise<Answer<RemoveResponse>> {
  const { op, dir, name } = request
  return attempt(leader, session, op, async () => {
    const entry = await entryAnywhere(leader, session.id, dir, name)
    if (entry === null) return 'ENOENT'
    if ((entry.type === modes.directory) !== isDirectory) return isDirectory ? 'ENOTDIR' : 'EISDIR'
    if (isHere(leader, entry.ino)) throw new AtollError('ATOLL_ALL_HERE', 'everything lives in this partition')
    return {
      own: [{ kind: 'remove', dir, name, expect: entry.ino, links: isDirectory ? -1 : 0 }],
      shares: [{
        partition: partitionOf(leader, entry.ino),
        parts: [isDirectory ? { kind: 'remove-directory', ino: entry.ino } : { kind: 'links', ino: entry.ino, change: -1, holders: [] }]
      }],
      open: 'open' in request && request.open,
      outcome: () => ({ ino: entry.ino })
    }
  }, (outcome, decided) => {
    const attr = decided?.shares[0]![0]!.attr ?? undefined
    return { body: withDirectory(leader, session, dir, attr === undefined ? { ino: outcome.ino! } : { ino: outcome.ino!, attr }) }
  })
}

export function linkAcross (leader: Leader, session: LiveSession, { op, ino, dir, name }: LinkRequest): Promise<Answer<LinkResponse>> {
  return attempt(leader, session, op, async () => {
    const fault = nameFault(name) ?? (await entryAnywhere(leader, session.id, dir, name) === null ? null : 'EEXIST')
    if (fault !== null) return fault
    return {
      own: [{ kind: 'insert', dir, name, ino, type: 0, expect: null, links: 0 }],
      shares: [{ partition: partitionOf(leader, ino), parts: [{ kind: 'links', ino, change: 1, holders: [] }] }],
      open: false,
      complete: (own, [results]) => own.map((part) => ({ ...part, type: fileType(results![0]!.attr!.mode) })),
      outcome: () => ({ ino })
    }
  }, async (_, decided) => {
    const attr = decided?.shares[0]![0]!.attr ?? (await findInode(leader, session, ino, 'shared')).attr
    return { body: withDirectory(leader, session, dir, { attr }) }
  })
}

export function renameAcross (leader: Leader, session: LiveSession, request: RenameRequest): Promise<Answer<RenameResponse>> {
  const { op, dir, name, newDir, newName, flags, open } = request
  return attempt(leader, session, op, async () => {
    const entry = await entryAnywhere(leader, session.id, dir, name)
    const target = await entryAnywhere(leader, session.id, newDir, newName)
    const fault = renameFault(entry ?? undefined, target ?? undefined, newName, flags)
    if (fault !== null) return fault
    if (entry!.ino === target?.ino) return { ino: entry!.ino, replaced: entry!.ino }
    return planRename(leader, { dir, name, newDir, newName, flags, open }, entry!, target)
  }, (outcome, decided) => ({ body: renamed(leader, session, request, outcome, decided) }))
}

function renamed (leader: Leader, session: LiveSession, { dir, newDir }: RenameRequest, { ino, replaced }: Outcome, decided: Decided | null): RenameResponse {
  const body: RenameResponse = { ino: ino! }
  const attr = attrIn(leader, session, ino!, decided)
  if (attr !== undefined) body.attr = attr
  if (replaced !== undefined) {
    const left = attrIn(leader, session, replaced, decided)
    body.replaced = left === undefined ? { ino: replaced } : { ino: replaced, attr: left }
  }
  const dirAttr = directoryAttr(leader, session, dir)
  if (dirAttr !== undefined) body.dirAttr = dirAttr
  const newDirAttr = isHere(leader, newDir) ? directoryAttr(leader, session, newDir) : undefined
  if (newDirAttr !== undefined) body.newDirAttr = newDirAttr
  return body
}

function attrIn (leader: Leader, session: LiveSession, ino: number, decided: Decided | null): InodeAttr | undefined {
  if (isHere(leader, ino)) return leased(leader, session, ino)
  for (const results of decided?.shares ?? []) {
    const found = results.find(({ attr }) => attr?.ino === ino)
    if (found !== undefined) return found.attr ?? undefined
  }
  return undefined
}

/**
 * Plans and runs until nobody else changed anything in between. `plan` gives a POSIX code or an outcome when
 * there is nothing to do. A remembered outcome of an earlier attempt is answered without `decided`.
 */
async function attempt<T> (
  leader: Leader, session: LiveSession, op: number, plan: () => Promise<Plan | Outcome | string>,
  answer: (outcome: Outcome, decided: Decided | null) => T | Promise<T>
): Promise<T> {
  for (let count = 0; ; count++) {
    const remembered = leader.store.sessions.get(session.id)?.results.get(op)?.outcome
    if (remembered !== undefined) return answer(well(remembered), null)
    try {
      const planned = await plan().catch(faultOf)
      if (typeof planned === 'string') return answer(await conclude(leader, session, op, { code: planned }), null)
      if (!('own' in planned)) return answer(await conclude(leader, session, op, planned), null)
      return await leader.coordinator.run(session, op, planned, (decided) => answer(decided.outcome, decided))
    } catch (error) {
      const code = codeOf(error)
      if ((code !== 'ATOLL_CHANGED' && code !== 'ATOLL_BUSY' && code !== 'ATOLL_ABORTED') || count >= transactionRetriesMax) throw retryable(error)
      leader.requireLeading()
    }
    await pause(leader, count)
  }
}

/** What a look-up during planning found is the operation's outcome; what kept it from looking is not. */
function faultOf (error: unknown): string {
  const code = codeOf(error)
  if (code.startsWith('ATOLL_')) throw error
  return code
}

async function conclude (leader: Leader, session: LiveSession, op: number, outcome: Outcome): Promise<Outcome> {
  if (outcome.code?.startsWith('ATOLL_') === true) throw new AtollError(outcome.code, outcome.code)
  return leader.proposeFor(session.id, op, 'conclude', { outcome })
}

function well (outcome: Outcome): Outcome {
  if (outcome.code !== undefined) throw new AtollError(outcome.code, outcome.code)
  return outcome
}

/** Others are in the way all the time: the client tries again. */
function retryable (error: unknown): unknown {
  const code = codeOf(error)
  return code === 'ATOLL_CHANGED' || code === 'ATOLL_BUSY' || code === 'ATOLL_ABORTED' ? new AtollError('ATOLL_UNAVAILABLE', 'other operations are in the way') : error
}

/** Random, so that two operations that got into each other's way do not meet again. */
function pause (leader: Leader, count: number): Promise<void> {
  const { clock, random } = leader.components
  const delayMs = transactionRetryMs * 2 ** Math.min(count, 5) * random.next()
  return new Promise((resolve) => { clock.setTimer(resolve, delayMs) })
}
