import { metadataIndexOf, metadataPartitionId, rootInode } from '../../../partitioning/routing.ts'
import { codeOf, posixError } from '../../protocol/errors.ts'
import type { TransactionResponse } from '../../protocol/metadata.ts'
import { isDirectory } from '../../protocol/posix.ts'
import { depthMax, prepareTimeoutMs, prepareWaitMs } from '../constants.ts'
import type { Leader } from '../leader.ts'
import { describe } from '../requests/content.ts'
import { requireDirectory } from '../requests/reads.ts'
import { callPartition, refusal } from './call.ts'
import type { AttrAnswer, EntryAnswer, FillingAnswer, ParentAnswer, QueryBody } from './messages.ts'

/** What one leader reads in another's partition, without leases. */

export async function answerQuery (leader: Leader, query: QueryBody): Promise<TransactionResponse> {
  try {
    return { outcome: 'prepared', body: await read(leader, query) }
  } catch (error) {
    leader.requireLeading()
    return { outcome: 'refused', code: codeOf(error) }
  }
}

async function read (leader: Leader, query: QueryBody): Promise<EntryAnswer | AttrAnswer | ParentAnswer | FillingAnswer | null> {
  const { store } = leader
  switch (query.kind) {
    case 'entry':
      await leader.sessions.admission(query.session)
      return entryHere(leader, query.session, query.dir, query.name, prepareWaitMs)
    case 'attr': {
      await leader.free(query.ino)
      leader.requireLeading()
      const inode = store.inodes.get(query.ino)
      if (inode === undefined) throw posixError('ENOENT', `inode ${query.ino}`)
      return describe(store, inode)
    }
    case 'parent':
      return { parent: await parentHere(leader, query.ino) }
    case 'filling':
      return { inodes: store.counters.inodes }
  }
}

/** Waits while the directory is being moved: only what is decided counts. */
async function parentHere (leader: Leader, ino: number): Promise<number> {
  await leader.free(ino, prepareWaitMs)
  const inode = leader.store.inodes.get(ino)
  if (inode === undefined || !isDirectory(inode.mode)) throw posixError('ENOENT', `inode ${ino}`)
  return inode.parent
}

/** What the name stands for, with everything that others were told. @param self The session that asks. */
export async function entryAnywhere (leader: Leader, self: string, dir: number, name: string): Promise<EntryAnswer | null> {
  if (isHere(leader, dir)) return entryHere(leader, self, dir, name)
  return await ask(leader, dir, { kind: 'entry', dir, name, session: self }) as EntryAnswer | null
}

async function entryHere (leader: Leader, self: string, dir: number, name: string, waitMs = Infinity): Promise<EntryAnswer | null> {
  await leader.decided(self, dir, name, waitMs)
  leader.requireLeading()
  requireDirectory(leader.store.inodes.get(dir), dir)
  return leader.store.entry(dir, name) ?? null
}

/** An inode of another partition, as it is now. */
export async function remoteAttr (leader: Leader, ino: number): Promise<AttrAnswer> {
  return await ask(leader, ino, { kind: 'attr', ino }) as AttrAnswer
}

/** EINVAL when `ino` is `directory` or above it. Holds only under the right to move directories. */
export async function loopFault (leader: Leader, ino: number, directory: number): Promise<string | null> {
  let at = directory
  for (let depth = 0; depth < depthMax; depth++) {
    if (at === ino) return 'EINVAL'
    if (at === rootInode) return null
    at = isHere(leader, at) ? await parentHere(leader, at) : (await ask(leader, at, { kind: 'parent', ino: at }) as ParentAnswer).parent
  }
  return 'ELOOP'
}

export function isHere (leader: Leader, ino: number): boolean { return metadataIndexOf(ino) === leader.init.index }

export function partitionOf (leader: Leader, ino: number): string { return metadataPartitionId(leader.init.volume.id, metadataIndexOf(ino)) }

async function ask (leader: Leader, ino: number, query: QueryBody): Promise<unknown> {
  const partition = partitionOf(leader, ino)
  const answer = await callPartition(leader, partition, { step: 'query', body: query }, { patienceMs: prepareTimeoutMs })
  leader.requireLeading()
  if (answer.outcome === 'prepared') return answer.body
  throw refusal(partition, answer, 'ATOLL_UNAVAILABLE')
}
