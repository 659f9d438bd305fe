import { connect } from '../../client/connect.ts'
import type { VolumeClient } from '../../client/types.ts'
import { createLogger } from '../../fsnode/protocol/pino-log.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import type { VolumeContext } from './types.ts'

interface ClusterVolumeOptions { volume: string, nodes: Address[] }

/** The factory of production mounts: a volume of a cluster. */
export async function createVolumeClient (options: unknown, { session, journal }: VolumeContext): Promise<VolumeClient> {
  const { volume, nodes } = options as ClusterVolumeOptions
  const log = createLogger('mount')
  const cluster = await connect({ nodes, client: `mount of ${volume}, process ${process.pid}` }, { log })
  // The worker ends after its volume is closed; the cluster's connections end with the process.
  return await cluster.openVolume(volume, { session, log, ...(journal !== undefined && { journal }) })
}
