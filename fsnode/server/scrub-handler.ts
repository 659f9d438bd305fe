import type { DataPartitionReplica } from '../data/replica.ts'
import { AtollError } from '../protocol/errors.ts'
import type { ScrubFailure } from '../protocol/data.ts'
import type { Handlers } from '../protocol/peer.ts'

/** Failures that one answer names; the counts are of all. */
export const scrubFailuresMax = 100

/** 'data.scrub': verifies a replica of this node, and from a primary the others with it. */
export function scrubHandlers (find: (partition: string) => DataPartitionReplica | undefined): Handlers {
  return {
    'data.scrub': async ({ partition, bytesPerSecond, dryRun }) => {
      const replica = find(partition)
      if (replica === undefined) throw new AtollError('ATOLL_STALE_EPOCH', `no replica of ${partition} is here`)
      const counts = { chunks: 0, bytes: 0, damaged: 0, differing: 0, repaired: 0 }
      const failures: ScrubFailure[] = []
      for await (const step of replica.scrub({ ...(bytesPerSecond !== undefined && { bytesPerSecond }), ...(dryRun !== undefined && { dryRun }) })) {
        const damaged = step.bad === 'header' || step.bad.length > 0
        const differing = step.differing.length > 0
        counts.chunks++
        counts.bytes += step.bytes
        if (damaged) counts.damaged++
        if (differing) counts.differing++
        if (!damaged && !differing && step.error === undefined) continue
        if (step.repaired) counts.repaired++
        else if (failures.length < scrubFailuresMax) failures.push({ ino: step.ino, chunk: step.chunk, error: step.error ?? 'not repaired' })
      }
      return { body: { ...counts, failures } }
    }
  }
}
