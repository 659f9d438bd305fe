import type { Resource } from '../../mesos/types.ts'
import { tasksMax } from '../constants.ts'
import { masterStatus, type Acceptance } from './accept.ts'
import { isHeardOf, isUnreachableTask } from './agents.ts'
import type { Executor } from './executors.ts'
import { uuidText } from './frameworks.ts'
import { idProblem } from './names.ts'
import { textOf } from './resource-text.ts'
import { isVolume, minus, normalList, type Resources } from './resources.ts'
import { taskKey, type LaunchedTaskInfo, type MasterState, type Task } from './state.ts'
import { isInUse, launchOrder } from './tasks.ts'
import { containerPathProblem } from './volumes.ts'
import { tellTaskAdded } from './watchers.ts'

/** LAUNCH: each task on its own. */
export function launch (acceptance: Acceptance, infos: LaunchedTaskInfo[], withOperationId: boolean): void {
  const { framework, out, context } = acceptance
  for (const info of infos) {
    const resources = normalList(info.resources)
    if (acceptance.agent.drain !== null) {
      masterStatus(framework, info, 'TASK_DROPPED', 'REASON_AGENT_DRAINING', 'The agent is being drained', out, context)
      continue
    }
    const problem = withOperationId ? 'The `id` field cannot be set on LAUNCH operations' : taskProblem(acceptance, info, resources)
    if (problem !== undefined) {
      masterStatus(framework, info, 'TASK_ERROR', 'REASON_TASK_INVALID', problem, out, context)
      continue
    }
    begin(acceptance, info, resources)
  }
}

/** A task that was found to be possible. */
export function begin (acceptance: Acceptance, info: LaunchedTaskInfo, resources: Resources, executor?: Executor): void {
  const { state, agent, out } = acceptance
  acceptance.pool = minus(acceptance.pool, resources)!
  const task = { ...createTask(acceptance, info, resources), ...(executor !== undefined && { executor }) }
  state.tasks.set(task.key, task)
  out.taskChanged(task)
  tellTaskAdded(task, out)
  if (!isHeardOf(agent)) task.neverArrived = true
  else out.push({ type: 'launch', order: launchOrder(task) })
}

function createTask ({ state, framework, agent, role, context }: Acceptance, info: LaunchedTaskInfo, resources: Resources): Task {
  const containerId = uuidText(context.uuid())
  const allocated = info.resources.map((resource: Resource) => ({ ...resource, allocation_info: { role } }))
  return {
    key: taskKey(framework.id, info.task_id.value),
    frameworkId: framework.id,
    info: { ...info, resources: allocated },
    agentId: agent.id,
    role,
    resources,
    containerId,
    directory: directoryFor(state, info.task_id.value, containerId),
    state: 'TASK_STAGING',
    orphan: false,
    updates: [],
    statuses: []
  }
}

/** The task id, unless a task of another framework lives there. */
function directoryFor (state: MasterState, taskId: string, containerId: string): string {
  const taken = [...state.tasks.values()].some((task) => task.directory === taskId && isInUse(task))
  return taken ? `${taskId.slice(0, 200)}.${containerId}` : taskId
}

/** Why a task cannot be launched; undefined if it can. */
function taskProblem (acceptance: Acceptance, info: LaunchedTaskInfo, resources: Resources): string | undefined {
  const { pool, role } = acceptance
  const problem = infoProblem(acceptance, info, resources)
  if (problem !== undefined || minus(pool, resources) !== undefined) return problem
  return `Total resources ${textOf(resources, role)} required by task and its executor is more than available ${textOf(pool, role)}`
}

/** The same, whatever is offered. */
export function infoProblem ({ state, framework, agent }: Acceptance, info: LaunchedTaskInfo, resources: Resources): string | undefined {
  const id = info.task_id.value
  const idIssue = idProblem(id)
  if (idIssue !== undefined) return idIssue
  if (isUnreachableTask(state, framework.id, id)) return `Task reuses the ID of an unreachable task: ${id}`
  if (state.tasks.has(taskKey(framework.id, id))) return `Task has duplicate ID: ${id}`
  if (state.tasks.size >= tasksMax) return `More than ${tasksMax} tasks`
  if (info.agent_id.value !== agent.id) return `Task uses invalid agent ${info.agent_id.value} while agent ${agent.id} is expected`
  const commandIssue = commandProblem(info)
  if (commandIssue !== undefined) return commandIssue
  if (resources.length === 0) return 'Task uses no resources'
  for (const resource of resources.filter(isVolume)) {
    const pathIssue = containerPathProblem(resource.disk?.volume?.container_path ?? '')
    if (pathIssue !== undefined) return pathIssue
  }
  return undefined
}

function commandProblem ({ command, executor, container, check, health_check: health }: LaunchedTaskInfo): string | undefined {
  if ((command === undefined) === (executor === undefined)) return 'Task should have at least one (but not both) of CommandInfo or ExecutorInfo present'
  const unsupported = executor !== undefined ? 'custom executors' : container !== undefined ? 'containers' : undefined
  if (unsupported !== undefined) return `Tasks with ${unsupported} are not supported by the embedded master`
  if (command!.value === undefined || command!.value === '') return 'The command of the task has no value'
  if ([command!.value, ...command!.arguments ?? []].some((word) => word.includes('\0'))) return 'The command of the task contains a zero byte'
  for (const { name, type, value } of command!.environment?.variables ?? []) {
    if (type === 'SECRET') return `Environment variable '${name}' is a secret: secrets are not supported by the embedded master`
    if (name === '' || /[=\0]/.test(name) || (value ?? '').includes('\0')) return `Environment variable '${name}' is invalid`
  }
  for (const [what, given] of [['health check', health], ['check', check]] as const) {
    if (given !== undefined && (given.type === undefined || given[given.type.toLowerCase() as 'tcp'] === undefined)) return `The ${what} of the task names no type, or has no member of its type`
  }
  return undefined
}
