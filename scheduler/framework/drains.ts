import { drainRepeatMs, viewAgeMaxMs, viewLagMs } from './constants.ts'
import { describeHoldings, holdingsOf, isEmpty } from './cluster-view.ts'
import { isPaused, removeNode } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import type { NodeRecord } from './types.ts'

/** What the storage cluster is asked for. */
export type ClusterRequest =
  | { type: 'drain', node: string, drain: boolean }
  /** It was taken away, and is down and empty: the map need not list it. */
  | { type: 'forget', node: string }
  /** It is going to be away soon, or is not after all: others are to lead what it leads. */
  | { type: 'yield', node: string, yields: boolean }

/** Whether its data is to be moved to other nodes. */
const isLeaving = (node: NodeRecord): boolean => node.goal !== 'run' || node.placement === 'lost' || node.missing

export const isViewFresh = ({ view, nowMs }: StepContext): boolean => view !== null && nowMs - view.atMs <= viewAgeMaxMs

/** Moves data off nodes that leave, and ends them when the cluster's own map shows that nothing is left on them. */
export function settleDrains (context: StepContext): ClusterRequest[] {
  const { state } = context
  if (state.framework.goal !== 'running' || isPaused(state, 'drain') || !isViewFresh(context)) return []
  return [
    ...state.sortedNodes().flatMap((node) => {
      if (isLeaving(node)) return leave(context, node)
      return node.drainAsked ? ask(context, node, false) : []
    }),
    ...forget(context)
  ]
}

/** Nodes of ours that are no more. */
function forget ({ state, view, nowMs }: StepContext): ClusterRequest[] {
  const { map } = view!
  const former = map.nodes.filter(({ id, state: known }) => known === 'down' && !state.nodes.has(id) && state.wasMade(id) && isEmpty(holdingsOf(map, id)))
  return former.flatMap(({ id }): ClusterRequest[] => {
    const askedMs = state.forgetAskedMs.get(id)
    if (askedMs !== undefined && nowMs < askedMs + drainRepeatMs) return []
    state.forgetAskedMs.set(id, nowMs)
    return [{ type: 'forget', node: id }]
  })
}

function leave (context: StepContext, node: NodeRecord): ClusterRequest[] {
  const { state, view } = context
  const { map } = view!
  if (node.emptied && node.placement !== 'lost') return verifyEnd(context, node)
  const known = map.nodes.find(({ id }) => id === node.id)
  const holdings = holdingsOf(map, node.id)
  // What is being emptied gets nothing new: so nothing can come between this look and the end of the node.
  if (known?.state === 'draining' && !node.drainAsked) {
    // Whoever has asked for it: it is what we want.
    node.drainAsked = true
    state.saveNode(node)
  }
  const isEmptied = isEmpty(holdings) && (known === undefined || (node.drainAsked && known.state !== 'up'))
  if (!isEmptied) {
    // Not worth a write of its own.
    if (node.goal === 'drain') node.reason = `drains: ${describeHoldings(holdings)} to be moved`
    return known === undefined || known.state === 'draining' ? [] : ask(context, node, true)
  }
  if (node.placement === 'lost') {
    removeNode(context, node)
  } else if (node.goal === 'drain') {
    node.emptied = true
    node.reason = 'holds nothing any more: ends'
    state.saveNode(node)
  }
  return []
}

/** Something may have come to it between the look and its end, if only because the map was not of that moment: what is seen after the end counts. */
function verifyEnd (context: StepContext, node: NodeRecord): ClusterRequest[] {
  const { state, view, nowMs } = context
  if (node.task !== null) return []
  const runtime = state.runtime(node)
  runtime.endedAtMs ??= nowMs
  if (view!.atMs < runtime.endedAtMs + viewLagMs) return []
  const holdings = holdingsOf(view!.map, node.id)
  const known = view!.map.nodes.find(({ id }) => id === node.id)
  if (!isEmpty(holdings)) {
    node.emptied = false
    node.reason = `holds ${describeHoldings(holdings)} after all: goes on`
    state.saveNode(node)
    return []
  }
  if (known === undefined || known.state === 'down') {
    removeNode(context, node)
    return []
  }
  return known.state === 'up' ? ask(context, node, true) : []
}

function ask (context: StepContext, node: NodeRecord, drain: boolean): ClusterRequest[] {
  const { state, nowMs, view } = context
  const runtime = state.runtime(node)
  const known = view!.map.nodes.find(({ id }) => id === node.id)
  if (runtime.drainAskedAtMs !== null && nowMs < runtime.drainAskedAtMs + drainRepeatMs) return []
  // An earlier request of the other kind may still have been under way: only what is so a while after ours is believed.
  if (!drain && (known === undefined || (known.state === 'up' && runtime.undrainAsked))) {
    node.drainAsked = false
    runtime.undrainAsked = false
    state.saveNode(node)
    return []
  }
  runtime.undrainAsked = !drain
  runtime.drainAskedAtMs = nowMs
  if (drain && !node.drainAsked) {
    node.drainAsked = true
    state.saveNode(node)
  }
  return [{ type: 'drain', node: node.id, drain }]
}
