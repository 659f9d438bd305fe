import { updateAttemptsMax } from './constants.ts'
import { dangersWithout } from './cluster-view.ts'
import { isViewFresh } from './drains.ts'
import { nodesOn } from './maintenance.ts'
import { isOutdated, isPaused } from './nodes.ts'
import { wantsMore } from './resize.ts'
import { describeSizes, isResized, lackOf } from './sizes.ts'
import type { StepContext } from './nodes.ts'
import type { FrameworkState } from './state.ts'
import type { NodeRecord } from './types.ts'

/** Nodes that an update is to restart. */
export function outdatedNodes (state: FrameworkState): NodeRecord[] {
  return state.sortedNodes().filter((node) => node.placement === 'placed' && node.goal !== 'remove' && !node.emptied && isOutdated(state, node))
}

/** The narrowest part of the name of a domain by which the nodes differ least: zones if there are several, else racks, else hosts. */
export function updateDomain (state: FrameworkState, node: NodeRecord): string {
  const placed = [...state.nodes.values()].filter(({ domain }) => domain.length > 0)
  for (const depth of [1, 2, 3]) {
    const names = new Set(placed.map(({ domain }) => domain.slice(0, depth).join('/')))
    if (names.size > 1) return node.domain.slice(0, depth).join('/')
  }
  return node.domain.join('/')
}

export interface Rollout {
  /** To be restarted now. */
  next: NodeRecord[]
  /** Why nothing is restarted now. */
  waits: string | null
}

/**
 * The next step of an update: one fault domain at a time, all of its nodes together if the cluster can do without them,
 * else one of them; never while any node is away, nor while the cluster would lose something.
 */
export function nextRestarts (context: StepContext): Rollout {
  const { state, view } = context
  const wait = (waits: string): Rollout => ({ next: [], waits })
  const outdated = outdatedNodes(state)
  const busy = state.activeNodes().filter((node) => node.restart || node.incarnationBefore !== null || (node.launches > 0 && node.task?.state !== 'TASK_RUNNING'))
  const stuck = busy.find((node) => !isOutdated(state, node) && node.attempts >= updateAttemptsMax)
  if (stuck !== undefined) return wait(`${stuck.id} does not come up: ${stuck.reason}`)
  // Outdated nodes that do not run get the new configuration when they are launched.
  if (busy.length > 0) return wait(`${busy.map(({ id }) => id).join(', ')} ${busy.length === 1 ? 'is' : 'are'} not back yet`)
  const all = outdated.filter(({ task }) => task?.state === 'TASK_RUNNING')
  // What they are to have more is reserved for them first: they are not ended for what may not be there.
  const running = all.filter((node) => !wantsMore(context, node))
  const [first] = running
  if (first === undefined && all.length > 0) return wait(all.map((node) => `${node.id} needs ${describeSizes(lackOf(state, node))} more on ${node.host}`).join('; '))
  if (first === undefined) return { next: [], waits: outdated.length === 0 ? null : 'the rest is away' }
  if (state.framework.updateForced) return { next: [first], waits: null }
  if (!isViewFresh(context)) return wait('the storage cluster does not say how it is')
  const domain = updateDomain(state, first)
  const together = running.filter((node) => updateDomain(state, node) === domain)
  const leaving = nodesOn(context, context.consented)
  for (const next of [together, [first]]) {
    const dangers = dangersWithout(view!.map, [...new Set([...next, ...leaving])].map(({ id }) => id))
    if (dangers.length === 0) return { next, waits: null }
    if (next.length === 1) return wait(`without ${[first, ...leaving.filter((node) => node !== first)].map(({ id }) => id).join(', ')}${leaving.length > 0 ? ' (maintenance)' : ''}: ${dangers.join('; ')}`)
  }
  return wait('')
}

/** Nodes that were restarted are back when the cluster knows their new process. */
function noteReturns ({ state, view }: StepContext): void {
  for (const node of state.nodes.values()) {
    if (node.incarnationBefore === null || node.restart) continue
    const known = view?.map.nodes.find(({ id }) => id === node.id)
    if (known === undefined || known.incarnation === node.incarnationBefore || known.state === 'down') continue
    node.incarnationBefore = null
    state.saveNode(node)
  }
}

/** Nodes that came to be there since an update has asked for other sizes: their places are older, or they were to go. */
function resumeSizes (state: FrameworkState): void {
  const { framework } = state
  if (framework.updating || framework.sizesAsked === null || !state.activeNodes().some((node) => node.launches > 0 && isResized(state, node))) return
  framework.updating = true
  framework.updateForced = framework.sizesAsked === 'forced'
  state.saveFramework()
}

/** Restarts what is to be restarted; an update without outdated nodes is over. */
export function settleRollout (context: StepContext): void {
  const { state, view } = context
  noteReturns(context)
  resumeSizes(state)
  if (!state.framework.updating || state.framework.goal !== 'running' || isPaused(state, 'update')) return
  if (outdatedNodes(state).length === 0) {
    state.framework.updating = false
    state.framework.updateForced = false
    state.saveFramework()
    return
  }
  for (const node of nextRestarts(context).next) {
    node.restart = true
    node.incarnationBefore = view?.map.nodes.find(({ id }) => id === node.id)?.incarnation ?? null
    node.reason = 'lets others lead, then restarts with the new configuration'
    state.saveNode(node)
  }
}
