import type { Random } from '../../fsnode/protocol/ports.ts'
import { garbageSearchMs, relaunchBackoffMaxMs, relaunchBackoffMinMs } from './constants.ts'
import type { AgentOffer } from './agent-offer.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Slot } from './slots.ts'
import { isResized } from './sizes.ts'
import { uuid } from './state.ts'
import type { FrameworkState } from './state.ts'
import type { FrameworkSettings, NodeRecord, NodeState, PlanName } from './types.ts'

/** What the transitions of a step work on. */
export interface StepContext {
  state: FrameworkState
  settings: FrameworkSettings
  random: Random
  nowMs: number
  /** Milliseconds since the epoch: for what must outlive this process. */
  wallMs: number
  /** What the storage cluster says of itself; null while it says nothing. */
  view: ClusterView | null
  /** Agents that were told that they may go for maintenance: they may be gone at any moment. */
  consented: string[]
}

/** The first failure is followed by an immediate attempt, the later ones by doubling delays with jitter. */
export function backoffMs (attempts: number, random: Random): number {
  if (attempts <= 1) return 0
  const delayMs = Math.min(relaunchBackoffMaxMs, relaunchBackoffMinMs * 2 ** Math.min(attempts - 2, 20))
  return Math.round(delayMs * (0.5 + random.next() / 2))
}

/** Attempts from which the back-off is at its maximum. */
export const attemptsAtMaximum = 2 + Math.ceil(Math.log2(relaunchBackoffMaxMs / relaunchBackoffMinMs))

const waits = (context: StepContext, node: NodeRecord): void => {
  const delayMs = backoffMs(node.attempts, context.random)
  context.state.runtime(node).retryAtMs = delayMs === 0 ? null : context.nowMs + delayMs
}

/** Chooses a place: written down before RESERVE is sent. */
export function choosePlace (context: StepContext, node: NodeRecord, slot: Slot, where: AgentOffer): void {
  const { state, random, nowMs } = context
  node.placement = 'reserving'
  node.resourceId = uuid(random)
  node.persistenceId = `${node.id}.${node.resourceId}`
  node.agentId = where.agentId
  node.host = where.hostname
  node.domain = where.domain
  node.attributes = where.attributes
  node.rpcPort = slot.rpcPort
  node.raftPort = slot.raftPort
  node.resources = slot.resources
  node.disk = { type: slot.disk.type, source: slot.disk.source, base: slot.bases.disk }
  node.reason = `reserves resources on ${where.hostname}`
  const runtime = state.runtime(node)
  runtime.retryAtMs = null
  runtime.placingSinceMs = nowMs
  state.saveNode(node)
}

export function provePlace (context: StepContext, node: NodeRecord, reason: string): void {
  if (node.placement !== 'reserving' && node.placement !== 'creating') return
  node.placement = 'placed'
  node.operations = []
  node.attempts = 0
  node.reason = reason
  context.state.saveNode(node)
}

/** The place of a node that the records lack: what is not known of it yet is learned when its volume is offered. */
export function adoptPlace (context: StepContext, node: NodeRecord, place: { resourceId: string, agentId: string }): void {
  node.placement = 'placed'
  node.resourceId = place.resourceId
  node.persistenceId = `${node.id}.${place.resourceId}`
  node.agentId = place.agentId
  node.resources = context.settings.resources
  node.reason = 'its reservation was found'
  context.state.saveNode(node)
}

/** It runs, or its volume was offered: whatever stood in for it is surplus now. */
export function comeBack ({ state }: StepContext, node: NodeRecord): void {
  if (node.awaySinceMs === null && !node.missing) return
  node.awaySinceMs = null
  node.missing = false
  state.saveNode(node)
}

/** Only while nothing was ever launched there: what is reserved after all is freed where it shows up. */
export function giveUpPlace (context: StepContext, node: NodeRecord, reason: string): void {
  discardPlace(context, node)
  node.attempts++
  node.reason = reason
  waits(context, node)
  context.state.saveNode(node)
}

/** Lets go of a place that nothing was launched on. */
export function discardPlace ({ state, nowMs }: StepContext, node: NodeRecord): void {
  if (node.resourceId !== null) {
    state.addGarbage({ resourceId: node.resourceId, nodeId: node.id, agentId: node.agentId }, nowMs + garbageSearchMs)
  }
  Object.assign(node, {
    placement: 'none', resourceId: null, persistenceId: null, operations: [], agentId: null, host: null, domain: [], attributes: [],
    rpcPort: null, raftPort: null, resources: null, spare: null, spareSought: false, growthRefused: null, disk: null, awaySinceMs: null, missing: false, drainAsked: false, emptied: false
  } satisfies Partial<NodeRecord>)
}

export interface TaskEnd {
  reason: string
  /** An operator or we ourselves wanted it: not a failure. */
  planned?: boolean
  /** Another attempt will hardly do better. */
  lasting?: boolean
}

/** The task is over, its volume is not. */
export function endTask (context: StepContext, node: NodeRecord, end: TaskEnd): void {
  const { state } = context
  const runtime = state.runtime(node)
  node.task = null
  // From now on its volume is waited for.
  node.awaySinceMs = state.framework.goal === 'running' ? node.awaySinceMs ?? context.wallMs : null
  runtime.runningSinceMs = null
  runtime.killSentAtMs = null
  runtime.endedAtMs = context.nowMs
  node.reason = end.reason
  if (node.goal === 'remove') {
    removeNode(context, node)
    return
  }
  const planned = end.planned === true || node.restart || node.emptied
  node.restart = false
  if (planned) {
    runtime.retryAtMs = null
  } else {
    node.attempts = end.lasting === true ? Math.max(node.attempts + 1, attemptsAtMaximum) : node.attempts + 1
    waits(context, node)
  }
  state.saveNode(node)
}

/** The operator has declared the agent gone for good, and with it the volume: another node, with another id, takes the place. */
export function loseVolume (context: StepContext, node: NodeRecord, reason: string): void {
  node.task = null
  context.state.runtime(node).runningSinceMs = null
  if (node.goal === 'remove') {
    removeNode(context, node)
  } else {
    node.placement = 'lost'
    node.reason = reason
    context.state.saveNode(node)
  }
  ensureCount(context.state)
}

/** Its reservation and volume become garbage, its record goes. Only for a node without a task. */
export function removeNode (context: StepContext, node: NodeRecord): void {
  // What is lost with its agent will never be offered.
  if (node.placement !== 'lost') discardPlace(context, node)
  context.state.deleteNode(node)
  if (node.launches === 0) replaceManager(context.state, node.id)
}

/** Before any node ran there is no cluster: another one takes the place in the first manager group of one that goes. */
function replaceManager (state: FrameworkState, gone: string): void {
  const { managers } = state.framework
  const others = managers.filter((id) => id !== gone)
  if (others.length === managers.length || others.some((id) => !state.nodes.has(id)) || [...state.nodes.values()].some(({ launches }) => launches > 0)) return
  const next = state.activeNodes().find(({ id }) => !managers.includes(id)) ?? state.addNode()
  state.replaceManager(gone, next)
}

/** Makes new nodes until as many as wanted are active. */
export function ensureCount (state: FrameworkState): void {
  for (let missing = state.framework.nodes - state.activeNodes().length; missing > 0; missing--) state.addNode()
}

export const isDue = ({ state, nowMs }: StepContext, node: NodeRecord): boolean => {
  const { retryAtMs } = state.runtime(node)
  return retryAtMs === null || retryAtMs <= nowMs
}

/**
 * Whether a node may be launched as far as the first manager group is concerned: its members' addresses are told to
 * every node, so each member must have a proven place before a node runs for the first time. A node that ran before
 * knows the group; it must not wait for a member that lost its place before it ever ran.
 */
export function isGroupReadyFor (state: FrameworkState, node: NodeRecord): boolean {
  const { managers } = state.framework
  if (!managers.every((id) => state.managerAddresses.has(id))) return false
  if (node.launches > 0) return true
  return managers.every((id) => {
    const member = state.nodes.get(id)
    return member === undefined || member.launches > 0 || member.placement === 'placed' || member.placement === 'lost'
  })
}

export function isPaused (state: FrameworkState, plan: PlanName): boolean { return state.framework.paused.includes(plan) }

/** Whether its task is to end, now or as soon as the master can do it. */
export function isToEnd (state: FrameworkState, node: NodeRecord): boolean {
  return node.task !== null && (state.framework.goal !== 'running' || node.goal === 'remove' || node.emptied || node.restart)
}

/** Runs, or will run when it comes back, with another configuration or other sizes than those of today. */
export const isOutdated = (state: FrameworkState, node: NodeRecord): boolean => node.launches > 0 && (node.version !== state.version || isResized(state, node))

/** The one word for a node's state. */
export function stateOf (context: StepContext, node: NodeRecord): NodeState {
  const { state } = context
  const { task, placement } = node
  if (placement === 'lost') return 'gone'
  if (task !== null) {
    const unreachable = task.state === 'TASK_UNREACHABLE' || task.state === 'TASK_UNKNOWN'
    if (isToEnd(state, node) || task.state === 'TASK_KILLING') return unreachable ? 'unreachable' : 'killing'
    if (unreachable) return 'unreachable'
    if (task.state === 'TASK_RUNNING') return node.goal === 'drain' ? 'draining' : 'running'
    return 'launching'
  }
  if (state.framework.goal !== 'running') return 'stopped'
  if (node.missing) return 'unreachable'
  if (!isDue(context, node)) return 'backoff'
  return placement === 'none' ? 'wanted' : placement
}
