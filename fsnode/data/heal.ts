import type { DataPartition } from '../../partitioning/types.ts'
import { AtollError, codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import type { ChunkName, ChunkStore } from './chunk-store.ts'
import { applyTimeoutMs, healAttemptsMax, healPollMs, pieceBytesMax } from './constants.ts'
import type { ReplicaLink } from './link.ts'

interface HealComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

/**
 * Replaces the primary's damaged copy of a chunk by a serving replica's that has acknowledged every
 * mutation of it. No new one may start meanwhile. ATOLL_BAD_CHECKSUM: no replica has a good copy.
 */
export async function heal (components: HealComponents, partition: DataPartition, name: ChunkName, links: () => ReplicaLink[]): Promise<void> {
  const { log } = components
  for (let attempt = 0; attempt < healAttemptsMax; attempt++) {
    for (const link of links()) {
      try {
        await caughtUp(components.clock, link, name)
        const bytes = await fetchChunk(components, partition, name, link.node)
        await components.store.put(name, bytes.reduce((sum, part) => sum + part.length, 0), 0, bytes)
        log.warn('repaired a damaged chunk', { ...name, from: link.node })
        return
      } catch (error) {
        log.warn('cannot repair a damaged chunk from a replica', { ...name, from: link.node, code: codeOf(error), cause: messageOf(error) })
      }
    }
  }
  throw new AtollError('ATOLL_BAD_CHECKSUM', `chunk ${name.ino}.${name.chunk} of partition ${name.partition} is damaged and no replica has a good copy`)
}

async function caughtUp (clock: Clock, link: ReplicaLink, { ino, chunk }: ChunkName): Promise<void> {
  const deadline = clock.now() + applyTimeoutMs
  while (!link.up || link.awaits(ino, chunk)) {
    if (clock.now() > deadline) throw new AtollError('ATOLL_TIMEOUT', `${link.node} does not catch up`)
    await new Promise<void>((resolve) => { clock.setTimer(resolve, healPollMs) })
  }
}

async function fetchChunk ({ router }: HealComponents, { id, epoch }: DataPartition, { ino, chunk }: ChunkName, node: string): Promise<Buffer[]> {
  const bytes: Buffer[] = []
  for (let offset = 0; ; offset += pieceBytesMax) {
    const { payload } = await router.toNode(node, 'replica.read', { partition: id, epoch, ino, chunk, offset, length: pieceBytesMax })
    bytes.push(...payload)
    if (payload.reduce((sum, part) => sum + part.length, 0) < pieceBytesMax) return bytes
  }
}
