import { isViewFresh } from './drains.ts'
import type { ClusterRequest } from './drains.ts'
import { yieldEndMs, yieldPatienceMs, yieldRepeatMs } from './constants.ts'
import { leavingAgents } from './maintenance.ts'
import type { StepContext } from './nodes.ts'
import type { NodeRecord } from './types.ts'

/** Why a node is going to be away soon, so that others are to lead what it leads; null: it is not. */
export function goesBecause (context: StepContext, node: NodeRecord): string | null {
  if (node.task === null) return null
  if (node.restart) return 'it is going to be restarted'
  if (node.task.state === 'TASK_KILLING') return 'it is being ended'
  return node.agentId !== null && leavingAgents(context).includes(node.agentId) ? 'its machine is going to be taken out of service' : null
}

/** Has the cluster lead without nodes that are going to be away, and with those that stay after all. */
export function settleYields (context: StepContext): ClusterRequest[] {
  const { state, view, nowMs } = context
  const isHeard = state.framework.goal === 'running' && isViewFresh(context)
  return state.sortedNodes().flatMap((node): ClusterRequest[] => {
    const runtime = state.runtime(node)
    const goes = goesBecause(context, node) !== null
    runtime.yieldSinceMs = goes ? runtime.yieldSinceMs ?? nowMs : null
    const known = isHeard ? view!.map.nodes.find(({ id }) => id === node.id) : undefined
    if (known === undefined || known.state === 'down') return []
    const isSo = known.yields !== undefined
    runtime.staysSinceMs = isSo && !goes ? runtime.staysSinceMs ?? nowMs : null
    // A process that was asked to end, which we hear of later, has said it of itself.
    if (isSo === goes || (!goes && nowMs < runtime.staysSinceMs! + yieldEndMs)) return []
    if (runtime.yieldAskedAtMs !== null && nowMs < runtime.yieldAskedAtMs + yieldRepeatMs) return []
    runtime.yieldAskedAtMs = nowMs
    return [{ type: 'yield', node: node.id, yields: goes }]
  })
}

/** A node that is going to be away leads nothing that another could, as far as the cluster says; or it has had its time. */
export function isHandedOver (context: StepContext, node: NodeRecord): boolean {
  const { state, view, nowMs } = context
  const { yieldSinceMs } = state.runtime(node)
  if (yieldSinceMs !== null && nowMs >= yieldSinceMs + yieldPatienceMs) return true
  if (!isViewFresh(context)) return false
  const known = view!.map.nodes.find(({ id }) => id === node.id)
  return known === undefined || known.state === 'down' || known.yields === 'done'
}

/** It is to be restarted, and others are still to lead what it leads. */
export function handsOver (context: StepContext, node: NodeRecord): boolean {
  const isOnlyRestarted = node.restart && node.goal !== 'remove' && !node.emptied && context.state.framework.goal === 'running'
  return isOnlyRestarted && node.task?.state === 'TASK_RUNNING' && !isHandedOver(context, node)
}

/** Monotonic time at which a node is not waited for any longer. */
export function handOverDeadlineMs ({ state, nowMs }: StepContext, node: NodeRecord): number {
  return (state.runtime(node).yieldSinceMs ?? nowMs) + yieldPatienceMs
}
