import { metadataIndexOf } from '../../../partitioning/routing.ts'
import { decode } from '../../protocol/frame.ts'
import type { DirectoryEntry, ReaddirRequest, ReaddirResponse } from '../../protocol/metadata.ts'
import type { Reply } from '../../protocol/peer.ts'
import { readdirEntriesMax, readdirInlineBytesMax, readdirInlineFileBytesMax } from '../constants.ts'
import { nameInKey } from '../keys.ts'
import type { Leader } from '../leader.ts'
import { attrOf } from '../records.ts'
import type { LiveSession } from '../live-session.ts'
import type { MetadataStore } from '../store.ts'
import type { Entry } from '../types.ts'
import { inlineOf } from './content.ts'
import { requireDirectory } from './reads.ts'

/**
 * A page of a directory in the order of its names' bytes. Nobody changes names while it is read; inodes that
 * somebody else writes come without attributes.
 */
export async function readdir (leader: Leader, session: LiveSession, request: ReaddirRequest): Promise<Reply<any> & { body: ReaddirResponse }> {
  const { dir } = request
  const { intents } = leader
  const ticket = intents.ticket()
  const hold = [{ key: dir, mode: 'read' as const }]
  for (;;) {
    const gate = leader.leases.of(session.id, dir) === 'exclusive' ? null : leader.readGate(session, dir, ticket)
    if (gate !== null) {
      await gate
      continue
    }
    const blocked = intents.tryTake(hold, ticket)
    if (blocked === null) break
    await blocked
  }
  try {
    const directory = requireDirectory(leader.store.inodes.get(dir), dir)
    const limit = Math.max(1, Math.min(request.limit, readdirEntriesMax))
    const { names, done } = await page(leader.store, dir, request.after, limit)
    leader.requireLeading()
    leader.grant(session, dir)
    return { body: { entries: describeAll(leader, session, names), done, parent: directory.parent } }
  } finally {
    intents.release(hold)
  }
}

type Names = Array<[name: string, entry: Entry]>

/** Names after `after`: what the Kv holds, corrected by what has not reached it. */
async function page (store: MetadataStore, dir: number, after: string, limit: number): Promise<{ names: Names, done: boolean }> {
  const changes = changesOf(store, dir, after)
  // A deleted name may hide one of the Kv's: ask for as many more.
  const wanted = limit + 1 + changes.size
  const found = new Map<string, Entry>()
  let last = ''
  for await (const [key, value] of store.kv.iterate({ ...store.keys.entriesAfter(dir, after), limit: wanted })) {
    const [ino, type] = decode(value) as [number, number]
    last = nameInKey(key)
    found.set(last, { ino, type })
  }
  const complete = found.size < wanted
  for (const [name, entry] of changes) {
    if (entry === null) found.delete(name)
    else if (complete || compareNames(name, last) <= 0) found.set(name, entry)
  }
  const names = changes.size === 0 ? [...found] : [...found].sort(([one], [other]) => compareNames(one, other))
  return { names: names.slice(0, limit), done: names.length <= limit }
}

function changesOf (store: MetadataStore, dir: number, after: string): Map<string, Entry | null> {
  const prefix = `${dir}/`
  const changes = new Map<string, Entry | null>()
  for (const [text, entry] of store.entries.pending()) {
    if (!text.startsWith(prefix)) continue
    const name = text.slice(prefix.length)
    if (after === '' || compareNames(name, after) > 0) changes.set(name, entry)
  }
  return changes
}

function compareNames (one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}

function describeAll (leader: Leader, session: LiveSession, names: Names): DirectoryEntry[] {
  const { store } = leader
  let inlineBytes = 0
  return names.map(([name, { ino, type }]) => {
    const described: DirectoryEntry = { name, ino, type }
    if (metadataIndexOf(ino) !== leader.init.index || !leader.isReadable(session, ino)) return described
    const inode = store.inodes.get(ino)!
    leader.grant(session, ino)
    described.attr = attrOf(inode)
    if (inode.size > readdirInlineFileBytesMax || inlineBytes + inode.size > readdirInlineBytesMax) return described
    const inline = inlineOf(store, inode)
    if (inline === undefined) return described
    inlineBytes += inline.length
    described.inline = inline
    return described
  })
}
