import { isTerminal, type KillPolicy, type TaskState, type TaskStatus } from '../../mesos/types.ts'
import { completedTasksMax, killGraceMsDefault, killGraceMsMax, statusesPerTaskMax, updateRetryMsMax, updateRetryMsMin, updatesPerTaskMax } from '../constants.ts'
import { allocate } from './allocate.ts'
import { checkDrains, isHeardOf } from './agents.ts'
import type { Context, LaunchOrder, ProcessExit } from './effects.ts'
import { membersOf, type Executor } from './executors.ts'
import { exitMessage, succeeded } from './exit-text.ts'
import type { Outcome } from './outcome.ts'
import { isVolume } from './resources.ts'
import { tasksOf, type CheckStatus, type Framework, type MasterState, type PendingOperation, type ProcessIdentity, type Task } from './state.ts'
import { placeOf } from './volumes.ts'
import { tellTaskUpdated } from './watchers.ts'

/** Whether its resources and volumes are taken. */
export function isInUse (task: Task): boolean { return !isTerminal(task.state) }

export function launchOrder (task: Task): LaunchOrder {
  const { key, containerId, directory, info, frameworkId } = task
  const volumes = info.resources.filter(isVolume).map((volume) => ({
    ...placeOf(volume),
    containerPath: volume.disk!.volume?.container_path ?? '',
    readOnly: volume.disk!.volume?.mode === 'RO'
  }))
  return { key, containerId, directory, info, frameworkId, volumes }
}

// What the agent reports. A report about an earlier launch of the same task id is ignored.

export function taskOf (state: MasterState, key: string, containerId: string): Task | undefined {
  const task = state.tasks.get(key)
  return task?.containerId === containerId && isInUse(task) ? task : undefined
}

export function spawned (state: MasterState, task: Task, process: ProcessIdentity, out: Outcome, context: Context): void {
  task.process = process
  task.startedMs = context.wallMs
  update(state, task, 'TASK_STARTING', {}, out, context)
  out.taskChanged(task)
  if (task.killing !== undefined) {
    out.push({ type: 'kill', containerId: task.containerId, graceMs: task.killing.graceMs })
    return
  }
  update(state, task, 'TASK_RUNNING', {}, out, context)
  out.push({ type: 'release', containerId: task.containerId })
}

export function launchFailed (state: MasterState, task: Task, message: string, out: Outcome, context: Context): void {
  const killed = task.killing !== undefined
  const fields: Partial<TaskStatus> = killed
    ? { message: 'Killed before it was launched', source: 'SOURCE_AGENT', reason: 'REASON_TASK_KILLED_DURING_LAUNCH' }
    : { message: `Failed to launch container: ${message}`, source: 'SOURCE_AGENT', reason: 'REASON_CONTAINER_LAUNCH_FAILED' }
  end(state, task, killed ? 'TASK_KILLED' : 'TASK_FAILED', fields, out, context)
}

export function exited (state: MasterState, task: Task, exit: ProcessExit, out: Outcome, context: Context): void {
  const { killing, healthy } = task
  const fields: Partial<TaskStatus> = { message: exitMessage(exit) }
  // Only an executor could have said more.
  if (exit === 'unknown') Object.assign(fields, { source: 'SOURCE_AGENT', reason: 'REASON_EXECUTOR_TERMINATED' })
  if (killing?.overdue === true) fields.reason = 'REASON_MAX_COMPLETION_TIME_REACHED'
  if (healthy === false) fields.healthy = false
  if (task.draining === true) fields.reason = 'REASON_AGENT_DRAINING'
  const outcome = killing !== undefined && !killing.overdue ? 'TASK_KILLED' : killing === undefined && succeeded(exit) ? 'TASK_FINISHED' : 'TASK_FAILED'
  end(state, task, outcome, fields, out, context)
}

export function healthChanged (state: MasterState, task: Task, healthy: boolean, kill: boolean, out: Outcome, context: Context): void {
  task.healthy = healthy
  const tooMany = task.updates.length >= updatesPerTaskMax
  if (task.state === 'TASK_RUNNING' && !tooMany) update(state, task, 'TASK_RUNNING', { reason: 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED', healthy }, out, context)
  if (kill) killTask(state, task, task.info.kill_policy, out, context)
}

export function checkChanged (state: MasterState, task: Task, status: CheckStatus, out: Outcome, context: Context): void {
  task.checked = status
  if (task.state === 'TASK_RUNNING' && task.updates.length < updatesPerTaskMax) update(state, task, 'TASK_RUNNING', { reason: 'REASON_TASK_CHECK_STATUS_UPDATED' }, out, context)
}

function end (state: MasterState, task: Task, outcome: TaskState, fields: Partial<TaskStatus>, out: Outcome, context: Context): void {
  update(state, task, outcome, fields, out, context)
  // A group lives and dies together, unless its tasks end well.
  if (outcome !== 'TASK_FINISHED') for (const other of membersOf(state, task)) if (other.killing === undefined) killTask(state, other, undefined, out, context)
  if (task.orphan) complete(state, task, out)
  out.taskChanged(task)
  allocate(state, out, context)
  checkDrains(state, out, context)
}

/** Its agent is being drained and will never be heard of again. */
export function endForGood (state: MasterState, task: Task, out: Outcome, context: Context): void {
  update(state, task, 'TASK_GONE_BY_OPERATOR', { reason: 'REASON_AGENT_DRAINING' }, out, context)
}

/** Nothing is left to tell about it. */
export function complete (state: MasterState, task: Task, out: Outcome): void {
  state.tasks.delete(task.key)
  state.completedTasks.push(task)
  if (state.completedTasks.length > completedTasksMax) state.completedTasks.shift()
  out.taskChanged(task)
}

// Kill

/** For a framework, an operator, or a failed health check: tells the framework if it wants to know. */
export function killTask (state: MasterState, task: Task, policy: KillPolicy | undefined, out: Outcome, context: Context): void {
  // It has ended, only nobody has acknowledged that yet: an agent ignores the KILL, and no end is taken back.
  if (!isInUse(task)) return
  const repeated = task.killing !== undefined
  beginKill(task, policy ?? task.info.kill_policy, out)
  const framework = state.frameworks.get(task.frameworkId)
  if (repeated || task.process === undefined || framework?.capabilities.has('TASK_KILLING_STATE') !== true) return
  update(state, task, 'TASK_KILLING', task.draining !== true ? {} : { reason: 'REASON_AGENT_DRAINING' }, out, context)
}

export function beginKill (task: Task, policy: KillPolicy | undefined, out: Outcome, overdue = false): void {
  if (!isInUse(task)) return
  const graceNs = policy?.grace_period?.nanoseconds
  const graceMs = graceNs === undefined ? killGraceMsDefault : Math.min(Math.max(0, graceNs / 1e6), killGraceMsMax)
  task.killing = { graceMs, overdue: task.killing?.overdue ?? overdue }
  out.taskChanged(task)
  out.push({ type: 'kill', containerId: task.containerId, graceMs })
}

/** Kills what has run for longer than its `max_completion_time`. */
export function killOverdue (state: MasterState, out: Outcome, context: Context): void {
  for (const task of state.tasks.values()) {
    const limitNs = task.info.max_completion_time?.nanoseconds
    if (limitNs === undefined || task.startedMs === undefined || task.killing !== undefined || !isInUse(task)) continue
    if (context.wallMs >= task.startedMs + limitNs / 1e6) beginKill(task, task.info.kill_policy, out, true)
  }
}

// Updates: at least once, in order, one in flight per task

function update (state: MasterState, task: Task, next: TaskState, fields: Partial<TaskStatus>, out: Outcome, context: Context): void {
  task.state = next
  out.taskChanged(task)
  if (task.orphan) return
  const status: TaskStatus = {
    task_id: task.info.task_id,
    state: next,
    source: 'SOURCE_EXECUTOR',
    agent_id: { value: task.agentId },
    executor_id: task.executor === undefined ? task.info.task_id : { value: task.executor.id },
    timestamp: context.wallMs / 1000,
    uuid: context.uuid().toString('base64'),
    ...fields
  }
  const { check } = task.info
  if (check !== undefined && status.source === 'SOURCE_EXECUTOR') {
    status.check_status = task.checked === undefined || isTerminal(next) ? { type: check.type, [check.type.toLowerCase()]: {} } : task.checked
  }
  if (status.source === 'SOURCE_EXECUTOR') status.container_status = containerStatus(task)
  task.updates.push({ status, retryMs: context.nowMs, delayMs: updateRetryMsMin, sent: false })
  sendFirst(state, task, out, context)
}

function containerStatus ({ containerId, executor, state, process }: Task): unknown {
  // Of a container within another one nothing more is known before it runs and after it has ended.
  if (executor !== undefined && (state === 'TASK_STARTING' || isTerminal(state))) return { container_id: { value: containerId, parent: { value: executor.containerId } } }
  return {
    container_id: { value: containerId, ...(executor !== undefined && { parent: { value: executor.containerId } }) },
    network_infos: [{ ip_addresses: [{ protocol: 'IPv4', ip_address: '127.0.0.1' }] }],
    executor_pid: process?.pid ?? 0
  }
}

/** Sends the oldest update of a task unless it is in flight. */
function sendFirst (state: MasterState, task: Task, out: Outcome, context: Context, again = false): void {
  const first = task.updates[0]
  const framework = state.frameworks.get(task.frameworkId)
  if (first === undefined || framework === undefined || framework.stream === null || (first.sent && !again)) return
  const agent = state.agents.get(task.agentId)
  if (agent !== undefined && !isHeardOf(agent)) return
  const isNew = !first.sent
  if (isNew) task.statuses = [...task.statuses, first.status].slice(-statusesPerTaskMax)
  first.sent = true
  sent(first, context)
  out.event(framework, { type: 'UPDATE', update: { status: first.status } })
  if (isNew) tellTaskUpdated(task, first.status, out)
}

/** To a new subscription: all that is in delivery goes out at once. */
export function sendPending (state: MasterState, framework: Framework, out: Outcome, context: Context): void {
  for (const task of tasksOf(state, framework.id)) {
    const first = task.updates[0]
    if (first !== undefined) first.delayMs = updateRetryMsMin
    sendFirst(state, task, out, context, true)
  }
  for (const operation of state.operations.values()) {
    if (operation.frameworkId !== framework.id) continue
    operation.delayMs = updateRetryMsMin
    sendOperation(framework, operation, out, context)
  }
}

/** An agent that has returned tells again what is not acknowledged. */
export function sendPendingOf (state: MasterState, task: Task, out: Outcome, context: Context): void {
  const first = task.updates[0]
  if (first !== undefined) first.delayMs = updateRetryMsMin
  sendFirst(state, task, out, context, true)
}

/** Repeats what has been in flight for too long. */
export function retryUpdates (state: MasterState, out: Outcome, context: Context): void {
  for (const task of state.tasks.values()) {
    const first = task.updates[0]
    if (first !== undefined && first.retryMs <= context.nowMs) sendFirst(state, task, out, context, true)
  }
  for (const operation of state.operations.values()) {
    const framework = state.frameworks.get(operation.frameworkId)
    if (framework !== undefined && framework.stream !== null && operation.retryMs <= context.nowMs) sendOperation(framework, operation, out, context)
  }
}

/** Each silence is twice as long as the one before. */
function sent (pending: { retryMs: number, delayMs: number }, context: Context): void {
  pending.retryMs = context.nowMs + pending.delayMs
  pending.delayMs = Math.min(pending.delayMs * 2, updateRetryMsMax)
}

export function sendOperation (framework: Framework, operation: PendingOperation, out: Outcome, context: Context): void {
  sent(operation, context)
  const { operationId, state, uuid, agentId } = operation
  out.event(framework, { type: 'UPDATE_OPERATION_STATUS', update_operation_status: {
    status: { operation_id: { value: operationId }, state, uuid: { value: uuid }, agent_id: { value: agentId } }
  } })
}

/** Only the update in flight can be acknowledged; others are ignored, as are repeated acknowledgements. */
export function acknowledge (state: MasterState, task: Task | undefined, uuid: string, out: Outcome, context: Context): void {
  const first = task?.updates[0]
  if (task === undefined || first === undefined || !first.sent || !sameBytes(first.status.uuid ?? '', uuid)) return
  task.updates.shift()
  out.taskChanged(task)
  if (task.updates.length > 0 || isInUse(task)) return sendFirst(state, task, out, context)
  complete(state, task, out)
  if (task.executor !== undefined && membersOf(state, task).length === 0) executorEnded(state, task.executor, out, context)
}

/** Told as a failure, but with status 0: it ended because its tasks have. */
function executorEnded (state: MasterState, { id, agentId, frameworkId }: Executor, out: Outcome, context: Context): void {
  const framework = state.frameworks.get(frameworkId)
  if (framework !== undefined) out.event(framework, { type: 'FAILURE', failure: { agent_id: { value: agentId }, executor_id: { value: id }, status: 0 } })
  allocate(state, out, context)
}

export function acknowledgeOperation (state: MasterState, framework: Framework, uuid: string, out: Outcome): void {
  const operation = state.operations.get(Buffer.from(uuid, 'base64').toString('base64'))
  if (operation?.frameworkId !== framework.id) return
  state.operations.delete(operation.uuid)
  out.operationChanged(operation)
}

function sameBytes (one: string, other: string): boolean {
  return Buffer.from(one, 'base64').equals(Buffer.from(other, 'base64'))
}
