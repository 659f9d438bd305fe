import type { Cluster } from '../../client/connect.ts'
import { eachBounded } from '../../client/parallel.ts'
import type { PartitionId } from '../../partitioning/types.ts'

/** Partitions asked at once. */
const askedAtOnce = 64
/** One without a leader does not keep the others from being shown. */
const patienceMs = 1_000

/** How many inodes each of the metadata partitions holds, of those that answer. */
export async function inodeCounts (router: Cluster['router'], partitions: readonly PartitionId[]): Promise<Map<PartitionId, number>> {
  const counts = new Map<PartitionId, number>()
  await eachBounded(partitions, askedAtOnce, async (partition) => {
    const answer = await router.toMetadata(partition, 'meta.statfs', { partition }, { patienceMs, timeoutMs: patienceMs }).catch(() => null)
    if (answer !== null) counts.set(partition, answer.body.inodes)
  })
  return counts
}
