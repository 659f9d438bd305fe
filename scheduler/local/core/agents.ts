import { isTerminal, type TaskState, type TaskStatus } from '../../mesos/types.ts'
import { allocate, removeOffers } from './allocate.ts'
import type { Context } from './effects.ts'
import { reregisterTimeoutMs } from '../constants.ts'
import { rescindInverseOffers } from './maintenance.ts'
import type { Outcome } from './outcome.ts'
import { newAgent, taskKey, type Agent, type Framework, type MasterState, type Task } from './state.ts'
import { beginKill, complete, endForGood, isInUse, killTask, sendPendingOf } from './tasks.ts'
import { tellAgentAdded, tellAgentRemoved, tellTaskUpdated } from './watchers.ts'

/**
 * Whether the master hears of an agent.
 * - registered: yes.
 * - hanging: it does not answer any more; nothing shows until the pings fail.
 * - away: its connection broke; its offers are rescinded, nothing else is said until the pings fail.
 * - unreachable: the pings failed. Its tasks may run.
 * - recovered: known from before a restart of the master, and not back yet. What it runs is not known.
 * - removed: it has unregistered, its machine is down, or another took its place. Its tasks are over, its volumes are not.
 * - gone: an operator said so. For good.
 */
export type AgentPresence = 'registered' | 'hanging' | 'away' | 'unreachable' | 'recovered' | 'removed' | 'gone'

export const isHeardOf = ({ presence }: Agent): boolean => presence === 'registered'
/** Whether the master believes that it can use it. */
export const isBelieved = ({ presence }: Agent): boolean => presence === 'registered' || presence === 'hanging'

/** What happens between an agent and the master. */
export function changePresence (state: MasterState, agent: Agent, presence: Exclude<AgentPresence, 'gone' | 'unreachable' | 'recovered'>, out: Outcome, context: Context): void {
  if (agent.presence === 'gone' || agent.presence === presence) return
  switch (presence) {
    case 'registered': return reregister(state, agent, out, context)
    case 'removed': return removeAgent(state, agent, 'the agent unregistered', out, context)
    case 'away':
      agent.presence = 'away'
      agent.silentSinceMs = context.nowMs
      rescindOffers(state, agent, out)
      return
    case 'hanging':
      agent.presence = 'hanging'
      agent.silentSinceMs = context.nowMs
  }
}

/** Pings that were not answered for long enough. */
export function checkPings (state: MasterState, out: Outcome, context: Context): void {
  for (const agent of state.agents.values()) {
    if (agent.presence === 'recovered' && context.nowMs >= agent.silentSinceMs + reregisterTimeoutMs) {
      Object.assign(agent, { presence: 'unreachable', unreachableMs: context.wallMs })
      out.agentChanged(agent)
    }
    if ((agent.presence !== 'hanging' && agent.presence !== 'away') || context.nowMs < agent.silentSinceMs + state.pingTimeoutMs) continue
    agent.presence = 'unreachable'
    agent.unreachableMs = context.wallMs
    out.agentChanged(agent)
    for (const task of tasksOn(state, agent)) {
      tell(state, task, agent, { state: 'TASK_UNREACHABLE', message: 'health check timed out', reason: 'REASON_AGENT_REMOVED', ...unreachableTime(agent) }, out, context)
    }
    withdraw(state, agent, out)
  }
}

export const unreachableTime = ({ unreachableMs }: Agent): Pick<TaskStatus, 'unreachable_time'> => ({ unreachable_time: { nanoseconds: Math.round(unreachableMs * 1e6) } })

/** Not in use any more by what the master thinks, but a launch that never arrived is one that the agent never heard of. */
function reregister (state: MasterState, agent: Agent, out: Outcome, context: Context): void {
  const before = agent.presence
  agent.presence = 'registered'
  if (before === 'unreachable' || before === 'recovered') agent.reregisteredMs = context.wallMs
  out.agentChanged(agent)
  if (before !== 'hanging' && before !== 'away') tellAgentAdded(state, agent, out)
  for (const task of tasksOn(state, agent)) {
    if (task.neverArrived === true) {
      state.tasks.delete(task.key)
      out.taskChanged(task)
    } else if (before === 'unreachable') {
      const last = [...task.statuses, ...task.updates.map(({ status }) => status)].findLast(({ container_status: container }) => container !== undefined)
      tell(state, task, agent, {
        state: task.state, message: 'Unreachable agent re-reregistered', reason: 'REASON_AGENT_REREGISTERED',
        ...(last?.container_status !== undefined && { container_status: last.container_status })
      }, out, context)
    }
  }
  for (const task of tasksOn(state, agent)) sendPendingOf(state, task, out, context)
  allocate(state, out, context)
}

/** Its tasks are over as far as the frameworks are told; their processes are ended. */
export function removeAgent (state: MasterState, agent: Agent, why: string, out: Outcome, context: Context): void {
  for (const task of tasksOn(state, agent)) {
    if (!isEndTold(task)) tell(state, task, agent, { state: 'TASK_LOST', message: `Agent ${agent.hostname} removed: ${why}`, reason: 'REASON_AGENT_REMOVED' }, out, context)
    abandon(state, task, out)
  }
  agent.presence = 'removed'
  out.agentChanged(agent)
  withdraw(state, agent, out)
}

/** What an agent that is not heard of any more knew is not told by anybody. */
const isEndTold = ({ statuses }: Task): boolean => statuses.some(({ state }) => isTerminal(state))

/** Its id is of the past; what is reserved on the machine, and what still runs there, belongs to the new one. */
export function replaceAgent (state: MasterState, agent: Agent, out: Outcome, context: Context): void {
  if (agent.presence === 'gone') return
  const { id, deactivated: _, drain: __, ...machine } = agent
  const concerned = [...state.tasks.values()].filter(({ agentId }) => agentId === id)
  removeAgent(state, agent, 'a new agent registered at the same address', out, context)
  const next = newAgent({ ...machine, id: nextAgentId(state), registeredMs: context.wallMs, presence: 'registered' })
  Object.assign(agent, { base: [], total: [], machine: null })
  state.agents.set(next.id, next)
  for (const each of [agent, next]) out.agentChanged(each)
  tellAgentAdded(state, next, out)
  for (const task of concerned.filter(({ key }) => state.tasks.has(key))) {
    task.agentId = next.id
    out.taskChanged(task)
  }
  allocate(state, out, context)
}

function nextAgentId ({ masterId, agents }: MasterState): string {
  for (let number = agents.size; ; number++) if (!agents.has(`${masterId}-S${number}`)) return `${masterId}-S${number}`
}

export function markGone (state: MasterState, agent: Agent, out: Outcome, context: Context): void {
  if (agent.presence === 'gone') return
  for (const task of tasksOn(state, agent)) {
    if (!isEndTold(task)) tell(state, task, agent, { state: 'TASK_GONE_BY_OPERATOR', message: 'Agent has been marked gone', reason: 'REASON_AGENT_REMOVED_BY_OPERATOR' }, out, context)
    abandon(state, task, out)
  }
  agent.presence = 'gone'
  out.agentChanged(agent)
  withdraw(state, agent, out)
}

/** Nobody is told of it any more. */
function abandon (state: MasterState, task: Task, out: Outcome): void {
  task.updates = []
  if (!isInUse(task)) {
    complete(state, task, out)
    return
  }
  task.orphan = true
  out.taskChanged(task)
  beginKill(task, task.info.kill_policy, out)
}

/** The end of what the frameworks may expect of an agent. */
function withdraw (state: MasterState, agent: Agent, out: Outcome): void {
  const concerned = new Set([...state.frameworks.values()].filter(({ stream }) => stream !== null))
  rescindOffers(state, agent, out)
  rescindInverseOffers(state, out, agent.id)
  for (const framework of concerned) out.event(framework, { type: 'FAILURE', failure: { agent_id: { value: agent.id } } })
  tellAgentRemoved(agent, out)
}

export function rescindOffers (state: MasterState, agent: Agent, out: Outcome): void {
  const offers = [...state.offers.values()].filter(({ agentId }) => agentId === agent.id)
  removeOffers(state, offers)
  for (const { id, frameworkId } of offers) {
    const framework = state.frameworks.get(frameworkId)
    if (framework !== undefined) out.event(framework, { type: 'RESCIND', rescind: { offer_id: { value: id } } })
  }
}

export const tasksOn = (state: MasterState, agent: Agent): Task[] => [...state.tasks.values()].filter(({ agentId, orphan }) => agentId === agent.id && !orphan)

function tell (state: MasterState, task: Task, agent: Agent, what: Partial<TaskStatus>, out: Outcome, context: Context): void {
  const framework = state.frameworks.get(task.frameworkId)
  if (framework === undefined) return
  const status = { task_id: task.info.task_id, source: 'SOURCE_MASTER', agent_id: { value: agent.id }, timestamp: context.wallMs / 1000, ...what, state: stateFor(framework, what.state!) } as TaskStatus
  out.event(framework, { type: 'UPDATE', update: { status } })
  tellTaskUpdated(task, status, out)
}

/** Frameworks that do not know of partitions are told that the task is lost. */
function stateFor ({ capabilities }: Framework, state: TaskState): TaskState {
  return !capabilities.has('PARTITION_AWARE') && (state === 'TASK_UNREACHABLE' || state === 'TASK_GONE_BY_OPERATOR') ? 'TASK_LOST' : state
}

// Drain

/** Undefined: begun. Else why not. */
export function drain (state: MasterState, agent: Agent, request: { maxGraceMs: number | null, markGone: boolean }, out: Outcome, context: Context): void {
  agent.drain = { state: 'DRAINING', ...request, startedMs: context.wallMs }
  agent.deactivated = true
  out.agentChanged(agent)
  rescindOffers(state, agent, out)
  for (const task of tasksOn(state, agent)) if (isInUse(task)) drainTask(state, task, request, out, context)
  checkDrains(state, out, context)
}

function drainTask (state: MasterState, task: Task, { maxGraceMs, markGone }: { maxGraceMs: number | null, markGone: boolean }, out: Outcome, context: Context): void {
  const ownNs = task.info.kill_policy?.grace_period?.nanoseconds
  const graceNs = maxGraceMs === null ? ownNs : Math.min(ownNs ?? Infinity, maxGraceMs * 1e6)
  const policy = graceNs === undefined ? undefined : { grace_period: { nanoseconds: graceNs } }
  if (markGone) {
    // Its end is told in advance: nobody will ever hear of it again.
    beginKill(task, policy, out)
    endForGood(state, task, out, context)
  } else {
    task.draining = true
    killTask(state, task, policy, out, context)
  }
}

/** An agent is drained when its last task has ended and is acknowledged. */
export function checkDrains (state: MasterState, out: Outcome, context: Context): void {
  for (const agent of state.agents.values()) {
    if (agent.drain?.state !== 'DRAINING' || tasksOn(state, agent).some(isInUse)) continue
    const { markGone: gone } = agent.drain
    if (!gone) agent.drain.state = 'DRAINED'
    out.agentChanged(agent)
    // Its id keeps the state DRAINING: a gone agent is never drained.
    if (gone) markGone(state, agent, out, context)
  }
}

export function reactivate (state: MasterState, agent: Agent, out: Outcome, context: Context): string | undefined {
  if (agent.drain?.state === 'DRAINING') return 'Agent is still in the DRAINING state'
  agent.drain = null
  agent.deactivated = false
  out.agentChanged(agent)
  allocate(state, out, context)
  return undefined
}

export function deactivate (state: MasterState, agent: Agent, out: Outcome): void {
  agent.deactivated = true
  out.agentChanged(agent)
  rescindOffers(state, agent, out)
}

/** Whether the master knows nothing of what the agent runs: of its tasks what is asked is answered as if there were none. */
export function isOutOfReach (state: MasterState, agentId: string): boolean {
  const presence = state.agents.get(agentId)?.presence
  return presence === 'unreachable' || presence === 'recovered'
}

/** Whether a task of this id of the framework is on an agent that cannot be reached. */
export function isUnreachableTask (state: MasterState, frameworkId: string, taskId: string): boolean {
  const task = state.tasks.get(taskKey(frameworkId, taskId))
  return task !== undefined && isOutOfReach(state, task.agentId)
}
