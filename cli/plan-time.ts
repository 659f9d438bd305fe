import type { BalanceSettings } from '../fsnode/protocol/manager.ts'
import { estimatePlan, type PlanEstimate } from '../partitioning/planner-estimate.ts'
import type { Move } from '../partitioning/planner-types.ts'
import type { DiskMeasure, NodeId, NodeInfo } from '../partitioning/types.ts'

/** What a node copies at best, beside its other work. */
export const copyBytesPerSecondMax = 200e6
/** From the beginning of a move to its end, without the bytes. */
export const moveOverheadMs = 600

/** What the moves cost, about: the node that has most to copy decides how long it takes, or the budget. */
export function planCost (moves: readonly Move[], nodes: readonly NodeInfo[], { bytesPerSecond, copiesPerNode }: BalanceSettings): PlanEstimate {
  const rateOf = (id: NodeId, of: (disk: DiskMeasure) => number): number => {
    const disk = nodes.find((node) => node.id === id)?.disk
    return disk == null || of(disk) <= 0 ? copyBytesPerSecondMax : Math.min(of(disk), copyBytesPerSecondMax)
  }
  const estimate = estimatePlan({ moves }, {
    readOf: (node) => rateOf(node, ({ readBandwidth }) => readBandwidth), writeOf: (node) => rateOf(node, ({ writeBandwidth }) => writeBandwidth), bytesPerSecond
  })
  const copies = Map.groupBy(moves.filter((move) => move.kind === 'replica' && move.to !== null), ({ to }) => to)
  const most = Math.max(0, ...[...copies.values()].map(({ length }) => length))
  return { ...estimate, seconds: estimate.seconds + most / copiesPerNode * moveOverheadMs / 1000 }
}

export function formatSeconds (seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}
