import type { ClusterMap } from '../../partitioning/types.ts'
import type { Address } from '../../fsnode/protocol/ports.ts'
import type { ClusterRequest } from './drains.ts'

/** The framework's line to the storage cluster that it runs. */
export interface ClusterLink {
  /** Where nodes are known to run; asked before anything is known of the cluster. */
  useSeeds (seeds: Address[]): void
  /** Failures are logged: what was asked for is asked again while it is not so. */
  request (request: ClusterRequest): void
  close (): void
}

export interface ClusterLinkInit {
  clusterId: string
  /** What the manager's leader has just said, changed or not. */
  onMap: (map: ClusterMap) => void
}

export type ClusterLinkFactory = (init: ClusterLinkInit) => ClusterLink
