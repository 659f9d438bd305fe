import { masterStatus, type Acceptance } from './accept.ts'
import { executorOf, type Executor, type ExecutorInfo } from './executors.ts'
import { uuidText } from './frameworks.ts'
import { begin, infoProblem } from './launch.ts'
import { idProblem } from './names.ts'
import { textOf } from './resource-text.ts'
import { minus, normalList, plus, type Resources } from './resources.ts'
import type { LaunchedTaskInfo } from './state.ts'

/** LAUNCH_GROUP: all of its tasks, or none. */
export function launchGroup (acceptance: Acceptance, info: ExecutorInfo | undefined, tasks: LaunchedTaskInfo[], withOperationId: boolean): void {
  const { framework, agent, out, context } = acceptance
  const refuse = (state: 'TASK_ERROR' | 'TASK_DROPPED', reason: string, message: string): void => {
    for (const task of tasks) masterStatus(framework, task, state, reason, message, out, context)
  }
  if (agent.drain !== null) return refuse('TASK_DROPPED', 'REASON_AGENT_DRAINING', 'The agent is being drained')
  const running = info === undefined ? undefined : executorOf(acceptance.state, framework.id, agent.id, info.executor_id.value)
  const problem = withOperationId ? 'The `id` field cannot be set on LAUNCH_GROUP operations' : groupProblem(acceptance, info, running, tasks)
  if (problem !== undefined) return refuse('TASK_ERROR', 'REASON_TASK_GROUP_INVALID', problem)
  const executor = running ?? newExecutor(acceptance, info!)
  if (running === undefined) acceptance.pool = minus(acceptance.pool, executor.resources)!
  for (const task of tasks) begin(acceptance, task, normalList(task.resources), executor)
}

function newExecutor ({ framework, agent, role, context }: Acceptance, info: ExecutorInfo): Executor {
  return { id: info.executor_id.value, frameworkId: framework.id, agentId: agent.id, role, containerId: uuidText(context.uuid()), info, resources: normalList(info.resources) }
}

/** Why none of the group can be launched; undefined if all can. */
function groupProblem (acceptance: Acceptance, info: ExecutorInfo | undefined, running: Executor | undefined, tasks: LaunchedTaskInfo[]): string | undefined {
  const problem = executorProblem(info, running)
  if (problem !== undefined) return problem
  const ids = new Set<string>()
  for (const task of tasks) {
    const id = task.task_id.value
    const issue = ids.has(id) ? `Task has duplicate ID: ${id}` : infoProblem(acceptance, task, normalList(task.resources))
    if (issue !== undefined) return `Task '${id}' is invalid: ${issue}`
    ids.add(id)
  }
  const { pool, role } = acceptance
  const total = [running === undefined ? info!.resources : [], ...tasks.map(({ resources }) => resources)].reduce<Resources>((sum, resources) => plus(sum, normalList(resources)), [])
  return minus(pool, total) !== undefined ? undefined : `Total resources ${textOf(total, role)} required by task group and its executor are more than available ${textOf(pool, role)}`
}

function executorProblem (info: ExecutorInfo | undefined, running: Executor | undefined): string | undefined {
  if (info === undefined) return 'The executor of the task group is missing'
  if (info.type !== 'DEFAULT') return 'Task groups need an executor of type DEFAULT'
  if (info.command !== undefined || info.container !== undefined) return 'Executors with a command or a container are not supported by the embedded master'
  const problem = idProblem(info.executor_id.value)
  if (problem !== undefined) return problem
  return running === undefined || JSON.stringify(running.info) === JSON.stringify(info) ? undefined : `ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID '${running.id}'`
}
