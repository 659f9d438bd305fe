import { mayLaunch } from './offers.ts'
import { ensureCount, isPaused, removeNode } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import type { FrameworkState } from './state.ts'
import type { NodeRecord } from './types.ts'

/**
 * What becomes of nodes that are away: after the time of the policy another one stands in for them. Nothing of theirs is
 * destroyed; when they come back, there is one node too many, and the newest goes.
 */
export function settleAway (context: StepContext): void {
  const { state } = context
  if (state.framework.goal !== 'running') return
  for (const node of state.sortedNodes()) settleNode(context, node)
  ensureCount(state)
  trimSurplus(context)
}

function settleNode (context: StepContext, node: NodeRecord): void {
  const { state, settings, wallMs } = context
  if (node.awaySinceMs === null && mayLaunch(context, node)) {
    node.awaySinceMs = wallMs
    state.saveNode(node)
  }
  if (!isReplaceable(state, node) || wallMs < node.awaySinceMs! + settings.replaceAfterMs) return
  if (node.launches === 0 && !state.framework.managers.includes(node.id)) {
    // Nothing was ever written there: what is reserved is freed when it turns up.
    removeNode(context, node)
    return
  }
  node.missing = true
  node.reason = `away for ${Math.round((wallMs - node.awaySinceMs!) / 1000)} s: another node stands in for it; ${node.reason}`
  state.saveNode(node)
}

function isReplaceable (state: FrameworkState, node: NodeRecord): boolean {
  return node.awaySinceMs !== null && !node.missing && node.goal === 'run' && node.placement === 'placed' && !isPaused(state, 'recovery')
}

/** Milliseconds since the epoch at which the next node is to be replaced. */
export function replaceDeadlineMs ({ state, settings }: StepContext): number {
  if (state.framework.goal !== 'running') return Infinity
  return Math.min(Infinity, ...[...state.nodes.values()].flatMap((node) => isReplaceable(state, node) ? node.awaySinceMs! + settings.replaceAfterMs : []))
}

/** Drains nodes beyond the wanted number: first those that never ran, then the newest, never one of the first manager group. */
export function trimSurplus (context: StepContext): void {
  const { state } = context
  const active = state.activeNodes()
  const surplus = active.length - state.framework.nodes
  if (surplus <= 0) return
  const candidates = active.filter(({ id }) => !state.framework.managers.includes(id)).reverse()
  const fresh = candidates.filter(({ launches }) => launches === 0)
  const worn = candidates.filter(({ launches }) => launches > 0)
  for (const node of [...fresh, ...worn].slice(0, surplus)) drain(context, node)
}

/** A node that never ran holds no data: it can go at once. */
export function drain (context: StepContext, node: NodeRecord): void {
  if (node.launches === 0) {
    removeNode(context, node)
    return
  }
  node.goal = 'drain'
  node.reason = 'surplus: runs on until its data is elsewhere'
  context.state.saveNode(node)
}
