import { AtollError } from '../protocol/errors.ts'
import type { Handlers } from '../protocol/peer.ts'
import type { MetadataPartition } from './partition.ts'
import * as changes from './requests/changes.ts'
import * as inodes from './requests/inodes.ts'
import * as names from './requests/names.ts'
import * as reads from './requests/reads.ts'
import { readdir } from './requests/readdir.ts'
import * as sessions from './requests/sessions.ts'
import { serveTransaction } from './transactions/serve.ts'

/** Answers 'meta.*' for the metadata partitions of this node. */
export function metadataHandlers (find: (partitionId: string) => MetadataPartition | undefined): Handlers {
  const at = ({ partition }: { partition: string }): MetadataPartition => {
    const found = find(partition)
    if (found === undefined) throw new AtollError('ATOLL_NOT_LEADER', `no replica of partition ${partition} here`, { leader: null })
    return found
  }
  return {
    'meta.session': async (request, _, { peer }) => sessions.open(await at(request).opened(), request, peer),
    'meta.renew': (request, _, { peer }) => at(request).attend(request, peer, (leader, session) => sessions.renew(leader, session, peer)),
    'meta.claim': (request, _, { peer }) => at(request).attend(request, peer, (leader, session) => sessions.claim(leader, session, request, peer)),
    'meta.close-session': (request, _, { peer }) => at(request).attend(request, peer, (leader, session) => sessions.close(leader, session)),
    'meta.release': (request, _, { peer }) => at(request).attend(request, peer, async (leader, session) => sessions.release(leader, session, request)),

    'meta.lookup': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => reads.lookup(leader, session, request)),
    'meta.getattr': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => reads.getattr(leader, session, request)),
    'meta.readdir': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => readdir(leader, session, request)),
    'meta.getxattr': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => reads.getxattr(leader, session, request)),
    'meta.listxattr': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => reads.listxattr(leader, session, request)),
    'meta.orphans': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => reads.orphans(leader, session)),
    'meta.lease': (request, _, { peer }) => at(request).read(request, peer, (leader, session) => inodes.lease(leader, session, request)),
    'meta.statfs': async (request) => ({ body: { inodes: (await at(request).opened()).store.counters.inodes } }),

    'meta.create': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => names.create(leader, session, request)),
    'meta.unlink': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => names.unlink(leader, session, request)),
    'meta.rmdir': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => names.rmdir(leader, session, request)),
    'meta.rename': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => names.rename(leader, session, request)),
    'meta.link': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => names.link(leader, session, request)),
    'meta.setattr': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => inodes.setattr(leader, session, request)),
    'meta.commit': (request, payload, { peer }) =>
      at(request).mutate(request, peer, (leader, session) => inodes.commit(leader, session, request, payload), request.ino),
    'meta.extent': (request, _, { peer }) =>
      at(request).mutate(request, peer, (leader, session) => inodes.extent(leader, session, request), request.ino),
    'meta.setxattr': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => inodes.setxattr(leader, session, request)),
    'meta.removexattr': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => inodes.removexattr(leader, session, request)),
    'meta.hold': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => inodes.hold(leader, session, request)),
    'meta.forget': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => inodes.forget(leader, session, request)),
    'meta.changes': (request, payload, { peer }) =>
      at(request).attend(request, peer, (leader, session) => changes.changes(leader, session, request, payload)),
    'meta.inodes': (request, _, { peer }) => at(request).mutate(request, peer, (leader, session) => changes.inodes(leader, session, request)),

    'meta.transaction': async (request) => ({ body: await serveTransaction(await at(request).opened(), request) })
  }
}
