import type { Clock } from '../fsnode/protocol/ports.ts'
import type { ClusterMap } from '../partitioning/types.ts'
import { plentyBytes, plentyShare, roomRefreshMs } from './bounds.ts'

export interface RoomComponents {
  clock: Clock
  router: { readonly map: ClusterMap, refresh (): Promise<void> }
}

/** How full the nodes are, as far as the cluster map tells: up to some seconds late. */
export class Room {
  private readonly components: RoomComponents
  private readonly plentyBytes: number
  /** The answer for this map. */
  private judged: ClusterMap | null = null
  private plenty = false
  private refreshAt = -Infinity

  constructor (components: RoomComponents, init: { plentyBytes?: number } = {}) {
    this.components = components
    this.plentyBytes = init.plentyBytes ?? plentyBytes
  }

  /** So much room on every node that what is sent behind somebody's back will find it, whatever others write meanwhile. */
  get isPlenty (): boolean {
    this.refreshSoon()
    const { map } = this.components.router
    if (map !== this.judged) {
      this.judged = map
      this.plenty = this.judge(map)
    }
    return this.plenty
  }

  private judge (map: ClusterMap): boolean {
    return map.nodes.every(({ state, capacityBytes, usedBytes }) => {
      return state !== 'up' || capacityBytes - usedBytes > Math.max(this.plentyBytes, capacityBytes * plentyShare)
    })
  }

  /** Asks for a newer map, behind, unless that was done a moment ago. */
  refreshSoon (): void {
    const { clock, router } = this.components
    if (clock.now() < this.refreshAt) return
    this.refreshAt = clock.now() + roomRefreshMs
    router.refresh().catch(() => {})
  }
}
