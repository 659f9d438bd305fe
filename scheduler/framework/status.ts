import { evaluationsKeptMax } from './constants.ts'
import { isDue, isGroupReadyFor, isOutdated, stateOf } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { plansOf } from './plans.ts'
import { goesBecause } from './yields.ts'
import type { FrameworkStatus, MaintenanceAnswer, NodeRecord, NodeStatus } from './types.ts'

export interface StatusInit { master: string | null, problem: FrameworkStatus['problem'], maintenance: MaintenanceAnswer[], listed: string[] | null }

/** A copy: it may be kept and sent. */
export function statusOf (context: StepContext, { master, problem, maintenance, listed }: StatusInit): FrameworkStatus {
  const { state, nowMs } = context
  const { clusterId, frameworkId, goal, managers, nodes } = state.framework
  return structuredClone({
    frameworkId,
    clusterId,
    connected: master !== null,
    master,
    problem,
    goal,
    nodesWanted: nodes,
    managers,
    nodes: state.sortedNodes().map((node) => nodeStatus(context, node)),
    garbage: [...state.garbage.keys()],
    strays: [...state.strays],
    version: state.version,
    plans: plansOf(context),
    maintenance,
    listed,
    nowMs,
    evaluations: state.evaluations.slice(-evaluationsKeptMax)
  })
}

function nodeStatus (context: StepContext, node: NodeRecord): NodeStatus {
  const { id, agentId, attempts, awaySinceMs, disk, domain, host, launches, missing, persistenceId, raftPort, resourceId, resources, rpcPort, task } = node
  const { evaluation, retryAtMs } = context.state.runtime(node)
  return {
    id,
    state: stateOf(context, node),
    reason: reasonOf(context, node),
    task,
    agentId,
    host,
    rpcPort,
    raftPort,
    domain,
    disk: resources === null ? null : { type: disk?.type ?? 'root', sizeMb: resources.diskMb },
    resourceId,
    persistenceId,
    manager: context.state.framework.managers.includes(id),
    launches,
    attempts,
    outdated: isOutdated(context.state, node),
    missing,
    awaySinceMs,
    goesBecause: goesBecause(context, node),
    retryInMs: retryAtMs !== null && !isDue(context, node) ? retryAtMs - context.nowMs : null,
    lastEvaluation: evaluation
  }
}

/** The reason in the record, and what a node without a task waits for beyond it. */
function reasonOf (context: StepContext, node: NodeRecord): string {
  const { reason } = node
  if (node.growthRefused !== null && node.task !== null) return `${reason}; its volume did not become ${node.growthRefused.diskMb} MB: ${node.growthRefused.reason}`
  if (node.task !== null || node.placement !== 'placed' || context.state.framework.goal !== 'running') return reason
  if (node.emptied) return `${reason}; its volume goes when the cluster's map has shown that once more`
  if (isGroupReadyFor(context.state, node)) return `${reason}; waits for the offer that holds its volume`
  const { managers } = context.state.framework
  const missing = managers.filter((id) => {
    const member = context.state.nodes.get(id)
    return member?.placement !== 'placed' && member?.placement !== 'lost'
  })
  return `${reason}; waits until the whole manager group has a place (${missing.join(', ')} has none)`
}
