import { diskScores, type DiskScore, type ScoreOptions } from '../../partitioning/tivoli.ts'
import type { NodeId, NodeInfo } from '../../partitioning/types.ts'
import { scoreSettleMs } from './bounds.ts'

/**
 * The scores of nodes' disks that a volume is placed by. They follow measurements only when those have been a whole step
 * away for `scoreSettleMs`: replicas must not be copied to and fro after what a disk did for some seconds.
 */
export class SteadyScores {
  private readonly agreed = new Map<NodeId, DiskScore>()
  /** Since when measurements have been away from what was agreed, or there was nothing agreed. */
  private readonly awaySince = new Map<NodeId, number>()

  /** To place by. `anew`: something else changed, so that nodes without an agreed score get what is measured now. */
  of (nodes: ReadonlyArray<Pick<NodeInfo, 'id' | 'disk'>>, busyOf: ScoreOptions['busyOf'], nowMs: number, anew: boolean): Map<NodeId, DiskScore> {
    const measured = diskScores(nodes, { busyOf, previous: this.agreed })
    for (const id of this.agreed.keys()) if (!measured.has(id)) this.agreed.delete(id)
    for (const id of this.awaySince.keys()) if (!measured.has(id)) this.awaySince.delete(id)
    return new Map([...measured].map(([id, score]) => [id, this.settle(id, score, nowMs, anew)]))
  }

  /** Every node has a score that replicas may be moved for. */
  get isSettled (): boolean { return [...this.awaySince.keys()].every((id) => this.agreed.has(id)) }

  /** Scores change if they are asked for. */
  isDue (nowMs: number): boolean {
    return [...this.awaySince.values()].some((sinceMs) => nowMs - sinceMs >= scoreSettleMs)
  }

  private settle (id: NodeId, measured: DiskScore, nowMs: number, anew: boolean): DiskScore {
    const agreed = this.agreed.get(id)
    if (agreed !== undefined && agreed.bandwidth === measured.bandwidth && agreed.freeWrite === measured.freeWrite) {
      this.awaySince.delete(id)
      return agreed
    }
    const sinceMs = this.awaySince.get(id) ?? nowMs
    if ((anew && agreed === undefined) || nowMs - sinceMs >= scoreSettleMs) {
      this.agreed.set(id, measured)
      this.awaySince.delete(id)
      return measured
    }
    this.awaySince.set(id, sinceMs)
    return agreed ?? measured
  }
}
