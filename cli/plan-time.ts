import type { BalanceSettings } from '../fsnode/protocol/manager.ts'
import type { Move } from '../partitioning/planner-types.ts'
import type { NodeId, NodeInfo } from '../partitioning/types.ts'

/** What a node copies at best, beside its other work. */
export const copyBytesPerSecondMax = 200e6
/** From the beginning of a move to its end, without the bytes. */
export const moveOverheadMs = 600

/** How long the moves take, about: the node that has most to copy decides, or the budget. */
export function copySeconds (moves: readonly Move[], nodes: readonly NodeInfo[], { bytesPerSecond, copiesPerNode }: BalanceSettings): number {
  const load = new Map<NodeId, { bytes: number, moves: number }>()
  let total = 0
  for (const move of moves) {
    if (move.kind !== 'replica' || move.to === null) continue
    total += move.bytes
    for (const node of [move.from, move.to]) {
      if (node === null) continue
      const known = load.get(node) ?? { bytes: 0, moves: 0 }
      load.set(node, { bytes: known.bytes + move.bytes, moves: known.moves + 1 })
    }
  }
  const slowest = Math.max(0, ...[...load].map(([id, { bytes, moves }]) => bytes / rateOf(nodes.find((node) => node.id === id)) + moves / copiesPerNode * moveOverheadMs / 1000))
  return Math.max(slowest, bytesPerSecond === null ? 0 : total / bytesPerSecond)
}

function rateOf (node: NodeInfo | undefined): number {
  const measured = node?.disk?.writeBandwidth ?? 0
  return measured > 0 ? Math.min(measured, copyBytesPerSecondMax) : copyBytesPerSecondMax
}

export function formatSeconds (seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}
