import type { Random } from '../../fsnode/protocol/ports.ts'
import { garbageSearchMs, relaunchBackoffMaxMs, relaunchBackoffMinMs } from './constants.ts'
import type { Slot } from './resources.ts'
import { uuid } from './state.ts'
import type { FrameworkState } from './state.ts'
import type { FrameworkSettings, NodeRecord, NodeState } from './types.ts'

/** What the transitions of a step work on. */
export interface StepContext {
  state: FrameworkState
  settings: FrameworkSettings
  random: Random
  nowMs: number
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
export function choosePlace (context: StepContext, node: NodeRecord, slot: Slot, where: { agentId: string, hostname: string, domain: string[] }): void {
  const { state, random, nowMs } = context
  node.placement = 'reserving'
  node.resourceId = uuid(random)
  node.persistenceId = `${node.id}.${node.resourceId}`
  node.agentId = where.agentId
  node.host = where.hostname
  node.domain = where.domain
  node.rpcPort = slot.rpcPort
  node.raftPort = slot.raftPort
  node.resources = slot.resources
  node.reason = `reserves resources on ${where.hostname}`
  const runtime = state.runtime(node)
  runtime.retryAtMs = null
  runtime.placingSinceMs = nowMs
  state.saveNode(node)
}

export function provePlace (context: StepContext, node: NodeRecord, reason: string): void {
  if (node.placement !== 'reserving' && node.placement !== 'creating') return
  node.placement = 'placed'
  node.attempts = 0
  node.reason = reason
  context.state.saveNode(node)
}

/** Only while nothing was ever launched there: what is reserved after all is freed where it shows up. */
export function giveUpPlace (context: StepContext, node: NodeRecord, reason: string): void {
  discardPlace(context, node)
  node.attempts++
  node.reason = reason
  waits(context, node)
  context.state.saveNode(node)
}

function discardPlace ({ state, nowMs }: StepContext, node: NodeRecord): void {
  if (node.resourceId !== null) {
    state.addGarbage({ resourceId: node.resourceId, nodeId: node.id }, nowMs + garbageSearchMs)
  }
  node.placement = 'none'
  node.resourceId = null
  node.persistenceId = null
  node.agentId = null
  node.host = null
  node.domain = []
  node.rpcPort = null
  node.raftPort = null
  node.resources = null
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
  runtime.runningSinceMs = null
  runtime.killSentAtMs = null
  node.reason = end.reason
  if (node.goal === 'remove') {
    removeNode(context, node)
    return
  }
  if (end.planned === true) {
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
  discardPlace(context, node)
  context.state.deleteNode(node)
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

/** The one word for a node's state. */
export function stateOf (context: StepContext, node: NodeRecord): NodeState {
  const { state } = context
  const { task, placement } = node
  if (placement === 'lost') return 'lost'
  if (task !== null) {
    if (state.framework.goal === 'stopped' || node.goal === 'remove' || task.state === 'TASK_KILLING') return 'killing'
    switch (task.state) {
      case 'TASK_RUNNING': return node.goal === 'drain' ? 'draining' : 'running'
      case 'TASK_UNREACHABLE':
      case 'TASK_UNKNOWN': return 'unreachable'
      default: return 'launching'
    }
  }
  if (state.framework.goal === 'stopped') return 'stopped'
  if (!isDue(context, node)) return 'backoff'
  return placement === 'none' ? 'wanted' : placement
}
