import { describeHoldings, holdingsOf } from './cluster-view.ts'
import { isPaused, stateOf } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { nextRestarts, outdatedNodes, updateDomain } from './rollout.ts'
import type { NodeRecord, Plan, PlanName, PlanPhase, PlanStep, StepStatus } from './types.ts'

export const planNames: PlanName[] = ['deploy', 'recovery', 'update', 'drain', 'uninstall']

/** Failures in a row from which a step is shown as an error: it is tried again all the same. */
const errorAttempts = 3

/** What is being done and what is left, as views of the state: nothing is kept of a plan but whether it is paused. */
export function plansOf (context: StepContext): Plan[] {
  return [deploy(context), recovery(context), update(context), drain(context), uninstall(context)]
}

function plan (context: StepContext, name: PlanName, phases: PlanPhase[]): Plan {
  const kept = phases.filter(({ steps }) => steps.length > 0)
  const status = sumOf(kept.map((phase) => phase.status))
  return { name, status: status !== 'complete' && isPaused(context.state, name) ? 'paused' : status, phases: kept }
}

const phase = (name: string, steps: PlanStep[]): PlanPhase => ({ name, status: sumOf(steps.map(({ status }) => status)), steps })

/** The worst of them, or what goes on. */
function sumOf (statuses: StepStatus[]): StepStatus {
  for (const status of ['error', 'working', 'waiting'] as const) if (statuses.includes(status)) return status
  if (!statuses.includes('pending')) return 'complete'
  return statuses.includes('complete') ? 'working' : 'pending'
}

function deploy (context: StepContext): Plan {
  const { state } = context
  const nodes = state.sortedNodes().filter(({ goal, placement }) => goal === 'run' && placement !== 'lost')
  const isManager = ({ id }: NodeRecord): boolean => state.framework.managers.includes(id)
  return plan(context, 'deploy', [
    phase('manager group', nodes.filter(isManager).map((node) => deployStep(context, node))),
    phase('nodes', nodes.filter((node) => !isManager(node)).map((node) => deployStep(context, node)))
  ])
}

/** A node that has ever run is deployed; what became of it since is the recovery's. */
function deployStep (context: StepContext, node: NodeRecord): PlanStep {
  const step = (status: StepStatus): PlanStep => ({ name: node.id, status, reason: node.reason })
  if (node.launches > 1 || node.task?.state === 'TASK_RUNNING') return { name: node.id, status: 'complete', reason: 'was launched' }
  if (node.attempts >= errorAttempts) return step('error')
  switch (stateOf(context, node)) {
    case 'wanted':
    case 'stopped': return step('pending')
    case 'placed':
    case 'backoff': return step('waiting')
    default: return step('working')
  }
}

function recovery (context: StepContext): Plan {
  const { state } = context
  const ran = state.sortedNodes().filter(({ goal, launches, restart, placement }) => goal === 'run' && launches > 0 && !restart && placement !== 'lost')
  const away = ran.filter((node) => stateOf(context, node) !== 'running' && !(node.launches === 1 && node.task?.state !== 'TASK_UNREACHABLE' && node.task !== null))
  return plan(context, 'recovery', [phase('nodes', away.map((node): PlanStep => {
    const name = stateOf(context, node)
    const status = node.attempts >= errorAttempts ? 'error' : name === 'launching' || name === 'killing' ? 'working' : 'waiting'
    return { name: node.id, status, reason: node.reason }
  }))])
}

function update (context: StepContext): Plan {
  const { state } = context
  const outdated = new Set(outdatedNodes(state))
  if (!state.framework.updating && outdated.size === 0) return plan(context, 'update', [])
  const domains = new Map<string, NodeRecord[]>()
  for (const node of state.activeNodes().filter(({ launches }) => launches > 0)) {
    const domain = updateDomain(state, node)
    domains.set(domain, [...domains.get(domain) ?? [], node])
  }
  const waits = state.framework.updating ? nextRestarts(context).waits : 'not begun: runs when it is asked for'
  return plan(context, 'update', [...domains].map(([domain, nodes]) => phase(domain, nodes.map((node): PlanStep => {
    if (node.restart || (node.incarnationBefore !== null)) return { name: node.id, status: 'working', reason: node.reason }
    if (!outdated.has(node)) return { name: node.id, status: 'complete', reason: 'has the configuration of today' }
    return { name: node.id, status: waits === null ? 'pending' : 'waiting', reason: waits ?? 'its turn comes' }
  }))))
}

function drain (context: StepContext): Plan {
  const leaving = context.state.sortedNodes().filter(({ goal, placement }) => goal !== 'run' || placement === 'lost')
  return plan(context, 'drain', leaving.map((node) => {
    const holdings = context.view === null ? 'unknown' : describeHoldings(holdingsOf(context.view.map, node.id))
    const isMoved = node.goal === 'remove' || node.emptied
    const steps: PlanStep[] = [{ name: 'move its data', status: isMoved ? 'complete' : context.view === null ? 'waiting' : 'working', reason: isMoved ? 'holds nothing' : `holds ${holdings}` }]
    if (node.placement !== 'lost') steps.push({ name: 'end it, destroy its volume, unreserve', status: isMoved ? 'working' : 'pending', reason: node.reason })
    return phase(node.id, steps)
  }))
}

function uninstall (context: StepContext): Plan {
  const { state } = context
  const { goal } = state.framework
  if (goal !== 'uninstalling' && goal !== 'uninstalled') return plan(context, 'uninstall', [])
  const nodes = state.sortedNodes()
  const done = goal === 'uninstalled'
  const step = (name: string, open: string[], reason: string): PlanStep =>
    ({ name, status: open.length === 0 ? 'complete' : 'working', reason: open.length === 0 ? 'done' : `${reason}: ${open.join(', ')}` })
  return plan(context, 'uninstall', [phase('uninstall', [
    step('end all tasks', nodes.flatMap(({ task }) => task === null ? [] : task.id), 'still there'),
    step('destroy volumes, unreserve', [...nodes.map(({ id }) => id), ...[...state.garbage.values()].map(({ resourceId, nodeId }) => `${nodeId} (${resourceId})`)], 'not yet freed'),
    { name: 'tear the framework down', status: done ? 'complete' : 'pending', reason: done ? 'done' : 'when nothing is left' }
  ])])
}
