import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { Clock } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { readLeaseMs } from './constants.ts'

/**
 * While it lasts, the primary acknowledges no write that this replica does not have: so it may serve
 * reads alone. It counts from when it was asked for, the primary's waiting from when it dropped the
 * replica, which is later. Asked for only while there are reads.
 */
export class ReadLease {
  private readonly components: { clock: Clock, router: ClusterRouter }
  private readonly nodeId: NodeId
  private until = -Infinity
  private term = 0
  private renewing: Promise<void> | null = null

  constructor (components: { clock: Clock, router: ClusterRouter }, nodeId: NodeId) {
    this.components = components
    this.nodeId = nodeId
  }

  /** Rejects when the primary does not grant it. */
  async ensure (partition: DataPartition): Promise<void> {
    const left = this.until - this.components.clock.now()
    if (left > readLeaseMs / 2) return
    this.renewing ??= this.renew(partition).finally(() => { this.renewing = null })
    if (left > 0) this.renewing.catch(() => {})
    else await this.renewing
    if (this.until <= this.components.clock.now()) throw new AtollError('ATOLL_UNAVAILABLE', 'no lease to serve reads')
  }

  /** The replica's state, the primary or the epoch has changed. */
  end (): void {
    this.until = -Infinity
    this.term++
  }

  private async renew ({ id, epoch, primary }: DataPartition): Promise<void> {
    const { term } = this
    const askedAt = this.components.clock.now()
    if (primary === null) throw new AtollError('ATOLL_UNAVAILABLE', `partition ${id} has no primary`)
    await this.components.router.toNode(primary, 'replica.lease', { partition: id, epoch, node: this.nodeId }, { timeoutMs: readLeaseMs })
    if (term === this.term) this.until = askedAt + readLeaseMs
  }
}
