import { totalmem } from 'node:os'
import { connect } from '../../client/index.ts'
import type { VolumeClient } from '../../client/types.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import type { VolumeContext } from './types.ts'

export interface ClusterVolumeOptions {
  volume: string
  /** Any nodes of the cluster. */
  nodes: Address[]
}

/** A share of the machine's memory, for files that are read here and there past the page cache (O_DIRECT). */
const blockMemoryShare = 1 / 32
const blockBytesMin = 64 * 2 ** 20
const blockBytesMax = 1024 * 2 ** 20

/** The factory module of a mount of a cluster's volume. Rejects with ATOLL_CLUSTER_UNREACHABLE, ATOLL_NO_SUCH_VOLUME. */
export async function createVolumeClient ({ volume, nodes }: ClusterVolumeOptions, { session, lost, journal }: VolumeContext): Promise<VolumeClient> {
  const log = createLogger('fuse-client')
  const cluster = await connect({ nodes }, { log })
  try {
    return await cluster.openVolume(volume, { session, lost, log, blockBytesMax: Math.min(blockBytesMax, Math.max(blockBytesMin, totalmem() * blockMemoryShare)), ...(journal === undefined ? {} : { journal }) })
  } finally {
    // The volume has connections of its own.
    cluster.router.close()
  }
}
