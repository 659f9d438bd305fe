import { urgencyOfDomains, type Plan } from './planner.ts'
import type { NodeId } from './types.ts'

export interface PlanEstimate {
  replicaMoves: number
  leadMoves: number
  /** To be copied. */
  bytes: number
  /** How long it takes at least: until the busiest node, or the whole budget, is through. */
  seconds: number
  /** What that is: the node that is filled or read from longest, or null for the budget. */
  slowest: NodeId | null
  /** Partitions that lack safe replicas until their moves are done, and their fewest safe replicas. */
  endangered: number
  safeReplicasMin: number | null
}

export interface EstimateLimits {
  /** Bytes/s that copies may read from, and write to, a node. */
  readOf (node: NodeId): number
  writeOf (node: NodeId): number
  /** null: no bound. */
  bytesPerSecond: number | null
}

/** What a plan costs, before it begins. */
export function estimatePlan (plan: Plan, limits: EstimateLimits): PlanEstimate {
  const read = new Map<NodeId, number>()
  const written = new Map<NodeId, number>()
  const endangered = new Map<string, number>()
  let bytes = 0
  let leadMoves = 0
  const add = (counts: Map<NodeId, number>, node: NodeId | null, amount: number): void => {
    if (node !== null) counts.set(node, (counts.get(node) ?? 0) + amount)
  }
  for (const move of plan.moves) {
    if (move.kind === 'lead') {
      leadMoves++
      continue
    }
    if (move.urgency < urgencyOfDomains) endangered.set(move.partition, Math.min(move.urgency, endangered.get(move.partition) ?? Infinity))
    if (move.to === null) continue
    bytes += move.bytes
    add(read, move.source, move.bytes)
    add(written, move.to, move.bytes)
  }
  let seconds = limits.bytesPerSecond === null ? 0 : bytes / limits.bytesPerSecond
  let slowest: NodeId | null = null
  for (const [counts, rateOf] of [[read, limits.readOf], [written, limits.writeOf]] as const) {
    for (const [node, amount] of counts) {
      const taken = amount / rateOf(node)
      if (taken <= seconds) continue
      seconds = taken
      slowest = node
    }
  }
  const safest = [...endangered.values()]
  return {
    replicaMoves: plan.moves.length - leadMoves,
    leadMoves,
    bytes,
    seconds,
    slowest,
    endangered: endangered.size,
    safeReplicasMin: safest.length === 0 ? null : safest.reduce((least, safe) => Math.min(least, safe))
  }
}
