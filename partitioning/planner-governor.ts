import type { PlanBudget } from './planner-types.ts'

/** Copies give way when clients wait so many times as long as without them, and take more while it is less than that. */
export const slowdownMax = 1.5
export const slowdownCalm = 1.25
/** Part of the budget that is left however slow clients are: a plan must end. */
export const copyPartMin = 1 / 64
export const copyPartStep = 1 / 16
/** Weight of a new measurement in what clients are taken to wait without copies. */
export const calmWeight = 0.1

export interface GovernorState {
  /** Part of the budget that copies get, up to 1. */
  part: number
  /** What clients wait without copies, ms; null: not known yet. */
  calmMs: number | null
}

export const ungoverned: GovernorState = { part: 1, calmMs: null }

/**
 * Adapts copies to what clients feel, by halving when it is too much and adding a little while it is not. `latencyMs`: the p99 of
 * clients' requests since the last call, null where there were none. Call at even intervals. Pure.
 */
export function govern (state: GovernorState, { latencyMs, copying }: { latencyMs: number | null, copying: boolean }): GovernorState {
  if (latencyMs === null || !(latencyMs >= 0)) return copying ? { ...state, part: Math.min(1, state.part + copyPartStep) } : state
  if (!copying) return { ...state, calmMs: state.calmMs === null ? latencyMs : state.calmMs + calmWeight * (latencyMs - state.calmMs) }
  // Whatever is measured beside copies is at most what it would be without: a cluster that became quicker is noticed.
  const calmMs = state.calmMs === null ? latencyMs : latencyMs < state.calmMs ? state.calmMs + calmWeight * (latencyMs - state.calmMs) : state.calmMs
  if (latencyMs > slowdownMax * calmMs) return { part: Math.max(copyPartMin, state.part / 2), calmMs }
  return { part: latencyMs < slowdownCalm * calmMs ? Math.min(1, state.part + copyPartStep) : state.part, calmMs }
}

/** The part of a budget that the governor leaves. One copy at a time always may run. */
export function governedBudget (budget: PlanBudget, { part }: GovernorState): PlanBudget {
  return {
    ...budget,
    bytesPerSecond: budget.bytesPerSecond === null ? null : budget.bytesPerSecond * part,
    copiesMax: Math.min(budget.copiesMax, Math.max(1, Math.floor(budget.copiesMax * part))),
    copiesPerNode: Math.min(budget.copiesPerNode, Math.max(1, Math.ceil(budget.copiesPerNode * part)))
  }
}
