import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import { codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import type { ChunkStore } from './chunk-store.ts'
import { splitDecisionMsMax, splitDrainMsMax, splitRetryMsMax, splitRetryMsMin } from './constants.ts'
import type { Primary } from './primary.ts'

export interface SplitterComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

export interface SplitterInit {
  nodeId: NodeId
  primary: Primary
  /** As it is now; null: this primary's term has ended. */
  partition: () => DataPartition | null
}

/**
 * Brings a partition to a point at which nothing is under way, and has the manager split it there: so no write is in doubt because
 * of the split. Whatever fails is tried again, ever less often, for as long as the manager wants the partition split.
 */
export async function bringToSplit (components: SplitterComponents, init: SplitterInit): Promise<void> {
  const { clock, log, router } = components
  let delayMs = splitRetryMsMin
  for (;;) {
    const partition = init.partition()
    if (partition === null || !isWanted(router, partition.id)) return
    if (!isReady(components, init.primary, partition)) delayMs = splitRetryMsMin
    else {
      await attempt(components, init, partition).catch((error) => {
        log.info('a partition is not split yet', { partition: partition.id, code: codeOf(error), cause: messageOf(error) })
      })
      if (init.partition() === null) return
      delayMs = Math.min(splitRetryMsMax, delayMs * 2)
    }
    await new Promise<void>((resolve) => { clock.setTimer(resolve, delayMs) })
  }
}

function isWanted (router: ClusterRouter, id: string): boolean {
  try {
    return router.dataPartition(id).splitting === true
  } catch {
    return false
  }
}

/** Files of an earlier split have been moved here, and no replica lacks anything. */
function isReady ({ store }: SplitterComponents, primary: Primary, { id, replicas }: DataPartition): boolean {
  return store.isSwept(id) && primary.isReconciled && replicas.every(({ state }) => state === 'serving')
}

async function attempt ({ router }: SplitterComponents, { nodeId, primary }: SplitterInit, { id, epoch }: DataPartition): Promise<void> {
  const release = await primary.hold(splitDrainMsMax)
  try {
    const { body } = await router.toManager('manager.split-partition', { partition: id, epoch, node: nodeId }, { patienceMs: splitDecisionMsMax, timeoutMs: splitDecisionMsMax })
    if (body.map !== undefined) router.adopt(body.map)
  } finally {
    release()
  }
}
