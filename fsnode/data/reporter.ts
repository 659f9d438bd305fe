import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import { codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { managerPatienceMs, recoveryRetryMsMin } from './constants.ts'

/** Tells the manager of replicas that fail, until the map has changed. */
export class Reporter {
  private readonly components: { clock: Clock, log: Logger, router: ClusterRouter }
  private readonly nodeId: NodeId
  private readonly partition: () => DataPartition
  private readonly mapChanged: () => void
  private readonly reporting = new Set<NodeId>()
  private closed = false

  constructor (components: { clock: Clock, log: Logger, router: ClusterRouter }, nodeId: NodeId, partition: () => DataPartition, mapChanged: () => void) {
    this.components = components
    this.nodeId = nodeId
    this.partition = partition
    this.mapChanged = mapChanged
  }

  /** One report at a time per node; a further failure reports again. */
  report (node: NodeId): void {
    if (this.closed || this.reporting.has(node)) return
    this.reporting.add(node)
    void this.send(node).finally(() => { this.reporting.delete(node) })
  }

  close (): void { this.closed = true }

  private async send (node: NodeId): Promise<void> {
    const { clock, log, router } = this.components
    const { id, epoch } = this.partition()
    try {
      log.warn('reporting a replica to the manager', { partition: id, epoch, node })
      const { body } = await router.toManager('manager.report-replica', { partition: id, epoch, node, reporter: this.nodeId }, { patienceMs: managerPatienceMs })
      if (body.map !== undefined) router.adopt(body.map)
      this.mapChanged()
    } catch (error) {
      log.warn('cannot report a replica', { partition: id, node, code: codeOf(error), cause: messageOf(error) })
    }
    // Whoever failed still fails if nothing changed, and will be reported again.
    await new Promise<void>((resolve) => { clock.setTimer(resolve, recoveryRetryMsMin) })
  }
}
