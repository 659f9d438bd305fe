import type { ClusterMap, NodeId } from '../../partitioning/types.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { RaftGroup } from '../raft/types.ts'

/** How often a node that yields looks for groups that it leads. */
export const yieldRetryMs = 100

/** Members that are there, and stay. */
export function successors (map: ClusterMap, { status }: Pick<RaftGroup, 'status'>, self: NodeId): NodeId[] {
  const present = new Set(map.nodes.filter(({ state, yields }) => state !== 'down' && yields === undefined).map(({ id }) => id))
  return status.members.filter((member) => member !== self && present.has(member))
}

/** Hands over the Raft groups that this node leads while the cluster map says that it yields, those too that it comes to lead meanwhile. */
export class Leads {
  private readonly components: { clock: Clock, log: Logger }
  private readonly self: NodeId
  private readonly groups: () => RaftGroup[]
  private readonly onHandedOver: () => void
  private map: ClusterMap | null = null
  private running = false
  private closed = false

  /** `onHandedOver`: none is led any more that another could lead. */
  constructor (components: { clock: Clock, log: Logger }, init: { self: NodeId, groups: () => RaftGroup[], onHandedOver: () => void }) {
    this.components = components
    this.self = init.self
    this.groups = init.groups
    this.onHandedOver = init.onHandedOver
  }

  adopt (map: ClusterMap): void {
    this.map = map
    if (this.yields && !this.running) void this.run()
  }

  /** Groups that this node leads and another could; undefined: it is not to yield. */
  get count (): number | undefined { return this.yields ? this.led().length : undefined }

  close (): void { this.closed = true }

  private get yields (): boolean { return this.map?.nodes.find(({ id }) => id === this.self)?.yields !== undefined }

  private led (): RaftGroup[] {
    return this.groups().filter((group) => group.status.role === 'leader' && successors(this.map!, group, this.self).length > 0)
  }

  private async run (): Promise<void> {
    this.running = true
    this.components.log.info('yields: others lead what they can')
    for (let attempt = 0; this.yields && !this.closed; attempt++) {
      const led = this.led()
      // One that lags behind may not be able to: then the next one is asked.
      await Promise.all(led.map((group) => {
        const next = successors(this.map!, group, this.self)
        return group.transferLeadership(next[attempt % next.length]).catch(() => {})
      }))
      if ((attempt === 0 || led.length > 0) && this.count === 0) this.onHandedOver()
      await new Promise<void>((resolve) => { this.components.clock.setTimer(resolve, yieldRetryMs) })
    }
    this.running = false
  }
}
