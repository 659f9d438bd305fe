import { allocationIntervalMs, heartbeatIntervalMs } from '../constants.ts'
import { principalProblem } from '../wire/authentication.ts'
import type { SchedulerCall } from '../wire/scheduler-calls.ts'
import { accept } from './accept.ts'
import { changePresence, checkPings, isUnreachableTask, replaceAgent } from './agents.ts'
import { allocate, refuse, removeOffers } from './allocate.ts'
import type { Context, Input, StepResult } from './effects.ts'
import { awaitReturn, disconnect, remove, subscribe, updateFramework } from './frameworks.ts'
import { answerInverse, askFrameworks } from './maintenance.ts'
import { operate } from './operator.ts'
import { Outcome } from './outcome.ts'
import { reconcile, reconcileOne, reconcileOperations } from './reconcile.ts'
import { taskKey, type Framework, type MasterState } from './state.ts'
import { acknowledge, acknowledgeOperation, checkChanged, exited, healthChanged, isInUse, killOverdue, killTask, launchFailed, launchOrder, retryUpdates, spawned, taskOf } from './tasks.ts'
import { beat } from './watchers.ts'

/** The embedded master: what one input does to its state and to the world. */
export function step (state: MasterState, input: Input, context: Context): StepResult {
  const out = new Outcome(state)
  switch (input.type) {
    case 'tick':
      tick(state, out, context)
      break
    case 'call':
      answerCall(state, input, out, context)
      break
    case 'operator-call':
      operate(state, input.request, input.call, out, context)
      break
    case 'stream-closed': {
      const framework = [...state.frameworks.values()].find(({ stream }) => stream === input.stream)
      if (framework !== undefined) disconnect(state, framework, out, context)
      state.watchers.delete(input.stream)
      break
    }
    case 'recovered':
      recover(state, out, context)
      break
    case 'agent-presence': {
      const agent = state.agents.get(input.agentId)
      if (agent !== undefined) changePresence(state, agent, input.presence, out, context)
      break
    }
    case 'agent-replaced': {
      const agent = state.agents.get(input.agentId)
      if (agent !== undefined) replaceAgent(state, agent, out, context)
      break
    }
    case 'stop-tasks':
      stop(state, out, context)
      break
    default:
      report(state, input, out, context)
  }
  return out.finish()
}

function report (state: MasterState, input: Extract<Input, { containerId: string }>, out: Outcome, context: Context): void {
  const task = taskOf(state, input.key, input.containerId)
  if (task === undefined) return
  switch (input.type) {
    case 'task-spawned': return spawned(state, task, input.process, out, context)
    case 'task-launch-failed': return launchFailed(state, task, input.message, out, context)
    case 'task-exited': return exited(state, task, input.exit, out, context)
    case 'task-check': return checkChanged(state, task, input.status, out, context)
    case 'task-health': return healthChanged(state, task, input.healthy, input.kill, out, context)
  }
}

function tick (state: MasterState, out: Outcome, context: Context): void {
  const { nowMs } = context
  for (const framework of [...state.frameworks.values()]) {
    if (framework.stream === null) {
      if (framework.removalMs <= nowMs) remove(state, framework, out, context)
    } else if (framework.nextHeartbeatMs <= nowMs) {
      framework.nextHeartbeatMs = nowMs + heartbeatIntervalMs
      out.event(framework, { type: 'HEARTBEAT' })
    }
  }
  beat(state, out, context)
  checkPings(state, out, context)
  retryUpdates(state, out, context)
  killOverdue(state, out, context)
  if (state.nextAllocationMs > nowMs) return
  state.nextAllocationMs = nowMs + allocationIntervalMs
  allocate(state, out, context)
  askFrameworks(state, out, context)
}

function stop (state: MasterState, out: Outcome, context: Context): void {
  state.stopping = true
  for (const { id, frameworkId } of [...state.offers.values()]) {
    state.offers.delete(id)
    out.event(state.frameworks.get(frameworkId)!, { type: 'RESCIND', rescind: { offer_id: { value: id } } })
  }
  for (const task of state.tasks.values()) killTask(state, task, undefined, out, context)
}

/** Nobody is subscribed after a restart; processes are looked for, and launches that never began begin. */
function recover (state: MasterState, out: Outcome, context: Context): void {
  out.metaChanged()
  for (const agent of state.agents.values()) {
    agent.silentSinceMs = context.nowMs
    out.agentChanged(agent)
  }
  for (const framework of state.frameworks.values()) awaitReturn(framework, context)
  for (const task of state.tasks.values()) {
    if (!isInUse(task)) continue
    const order = launchOrder(task)
    if (task.process !== undefined) out.push({ type: 'adopt', order, process: task.process })
    else if (task.killing === undefined) out.push({ type: 'launch', order })
    else launchFailed(state, task, '', out, context)
    if (task.process !== undefined && task.killing !== undefined) out.push({ type: 'kill', containerId: task.containerId, graceMs: task.killing.graceMs })
  }
}

function answerCall (state: MasterState, { request, streamId, principal, call }: Extract<Input, { type: 'call' }>, out: Outcome, context: Context): void {
  if (call.type === 'SUBSCRIBE') {
    subscribe(state, request, call.subscribe, out, context)
    return
  }
  const framework = state.frameworks.get(call.framework_id.value)
  const refusal = callRefusal(framework, streamId, principal)
  if (refusal !== undefined) {
    out.reply(request, ...refusal)
    return
  }
  if (call.type === 'UPDATE_FRAMEWORK') {
    const problem = updateFramework(state, framework!, call.update_framework, out, context)
    out.reply(request, problem === undefined ? 200 : 400, problem)
    return
  }
  perform(state, framework!, call, out, context)
  out.reply(request, 202)
}

function callRefusal (framework: Framework | undefined, streamId: string | undefined, principal: string | undefined): [number, string] | undefined {
  if (framework === undefined) return [400, 'Framework cannot be found']
  const problem = principalProblem(principal, framework.info.principal)
  if (problem !== undefined) return [400, problem]
  if (framework.stream === null) return [403, 'Framework is not subscribed']
  if (streamId === undefined) return [400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header"]
  return streamId === framework.streamId
    ? undefined
    : [400, `The stream ID '${streamId}' included in this request didn't match the stream ID currently associated with framework ID ${framework.id}`]
}

function perform (state: MasterState, framework: Framework, call: Exclude<SchedulerCall, { type: 'SUBSCRIBE' | 'UPDATE_FRAMEWORK' }>, out: Outcome, context: Context): void {
  switch (call.type) {
    case 'TEARDOWN': return remove(state, framework, out, context)
    case 'ACCEPT': return accept(state, framework, call.accept, out, context)
    case 'DECLINE':
      for (const { value } of call.decline.offer_ids) {
        const offer = state.offers.get(value)
        if (offer?.frameworkId !== framework.id) continue
        removeOffers(state, [offer])
        refuse(framework, offer, call.decline.filters, context.nowMs)
      }
      return
    case 'REVIVE': {
      const roles = named(framework, call.revive?.roles)
      for (const role of roles) framework.suppressed.delete(role)
      framework.filters = framework.filters.filter(({ role }) => !roles.includes(role))
      return allocate(state, out, context)
    }
    case 'SUPPRESS':
      for (const role of named(framework, call.suppress?.roles)) framework.suppressed.add(role)
      return
    case 'KILL': {
      const { task_id: taskId, agent_id: agentId, kill_policy: policy } = call.kill
      const task = state.tasks.get(taskKey(framework.id, taskId.value))
      if (task === undefined || task.orphan || isUnreachableTask(state, framework.id, taskId.value)) return reconcileOne(state, framework, taskId, agentId, out, context)
      if (agentId === undefined || agentId.value === task.agentId) killTask(state, task, policy, out, context)
      return
    }
    case 'ACKNOWLEDGE': {
      const { task_id: taskId, agent_id: agentId, uuid } = call.acknowledge
      const task = state.tasks.get(taskKey(framework.id, taskId.value))
      if (task?.agentId === agentId.value) acknowledge(state, task, uuid, out, context)
      return
    }
    case 'ACKNOWLEDGE_OPERATION_STATUS': return acknowledgeOperation(state, framework, call.acknowledge_operation_status.uuid, out)
    case 'RECONCILE': return reconcile(state, framework, call.reconcile.tasks, out, context)
    case 'RECONCILE_OPERATIONS': return reconcileOperations(state, framework, call.reconcile_operations.operations, out)
    // Nobody to pass them on to: there are no custom executors, and the allocator needs no requests.
    case 'SHUTDOWN':
    case 'MESSAGE':
    case 'REQUEST': return
    case 'ACCEPT_INVERSE_OFFERS': return answerInverse(state, framework, call.accept_inverse_offers.inverse_offer_ids, 'ACCEPT', call.accept_inverse_offers.filters, context)
    case 'DECLINE_INVERSE_OFFERS': return answerInverse(state, framework, call.decline_inverse_offers.inverse_offer_ids, 'DECLINE', call.decline_inverse_offers.filters, context)
  }
}

/** The framework's own among the named roles; all of them when none is named. */
function named (framework: Framework, roles: string[] = []): string[] {
  return roles.length === 0 ? framework.roles : framework.roles.filter((role) => roles.includes(role))
}
