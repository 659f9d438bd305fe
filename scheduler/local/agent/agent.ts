import { spawn, type ChildProcess } from 'node:child_process'
import { userInfo } from 'node:os'
import { messageOf } from '../../../fsnode/protocol/errors.ts'
import type { Clock, Logger, Timer } from '../../../fsnode/protocol/ports.ts'
import { adoptedPollMs, groupGoneMsMax, groupPollMs, outputCheckIntervalMs } from '../constants.ts'
import type { Input, LaunchOrder, ProcessExit, VolumePlace } from '../core/effects.ts'
import type { ProcessIdentity } from '../core/state.ts'
import { beginCheck } from './check.ts'
import { fetchUris } from './fetch-uris.ts'
import { beginHealthCheck } from './health.ts'
import { isGroupAlive, signalGroup, startTimeOf } from './process-table.ts'
import type { Sandboxes } from './sandbox.ts'

export type AgentReport = Extract<Input, { containerId: string }>

/** The machine's side of the embedded master. What comes of an order is reported later. */
export interface AgentDriver {
  createVolume (volume: VolumePlace): Promise<void>
  destroyVolume (volume: VolumePlace): Promise<void>
  launch (order: LaunchOrder): void
  /** Takes over a task that an earlier master launched. */
  adopt (order: LaunchOrder, process: ProcessIdentity): void
  release (containerId: string): void
  /** SIGTERM, and SIGKILL if the task is still there after `graceMs`. */
  kill (containerId: string, graceMs: number): void
  /** Lets go of all tasks: they run on, nothing is reported any more. */
  detach (): Promise<void>
}

export interface ProcessAgentComponents { clock: Clock, log: Logger, sandboxes: Sandboxes }

export interface ProcessAgentInit {
  /** Where the master listens, for the tasks' environment. */
  endpoint: string
  report: (report: AgentReport) => void
}

interface RunningTask {
  order: LaunchOrder
  process?: ProcessIdentity
  child?: ChildProcess
  /** Aborts the preparation of the sandbox. */
  preparing?: AbortController
  /** When SIGKILL follows. */
  killMs?: number
  graceTimer?: Timer
  pollTimer?: Timer
  /** Those that ask it something again and again. */
  checkers: Array<{ stop: () => void }>
}

/**
 * A task begins as a shell that waits for a line on its standard input and then becomes the command (same process, same
 * start time). So its identity is on stable storage before the command runs: if the master dies in between, the
 * shell finds its input closed and ends, and nothing ever runs that the next master does not know of.
 */
const gate = 'read -r go || exit 125; command -v "$1" >/dev/null || { echo "Failed to execute $1: not found" >&2; exit 1; }; exec "$@" </dev/null'

/** Runs tasks as processes, each the leader of its own session and process group, that outlive this process. */
export class ProcessAgent implements AgentDriver {
  readonly clock: Clock
  private readonly log: Logger
  private readonly init: ProcessAgentInit
  private readonly sandboxes: Sandboxes
  private readonly tasks = new Map<string, RunningTask>()
  private outputTimer: Timer | undefined
  private detached = false

  constructor (components: ProcessAgentComponents, init: ProcessAgentInit) {
    this.clock = components.clock
    this.log = components.log
    this.init = init
    this.sandboxes = components.sandboxes
    this.watchOutput()
  }

  createVolume (volume: VolumePlace): Promise<void> { return this.sandboxes.createVolume(volume) }
  destroyVolume (volume: VolumePlace): Promise<void> { return this.sandboxes.destroyVolume(volume) }

  launch (order: LaunchOrder): void {
    const task: RunningTask = { order, preparing: new AbortController(), checkers: [] }
    this.tasks.set(order.containerId, task)
    this.start(task).catch((error: unknown) => {
      this.forget(task)
      this.report({ type: 'task-launch-failed', key: order.key, containerId: order.containerId, message: messageOf(error) })
    })
  }

  adopt (order: LaunchOrder, process: ProcessIdentity): void {
    const task: RunningTask = { order, process, checkers: [] }
    this.tasks.set(order.containerId, task)
    this.beginChecks(task)
    this.poll(task)
  }

  release (containerId: string): void {
    const task = this.tasks.get(containerId)
    if (task?.child === undefined || task.killMs !== undefined) return
    task.child.stdin!.end('go\n')
    this.beginChecks(task)
  }

  kill (containerId: string, graceMs: number): void {
    const task = this.tasks.get(containerId)
    if (task === undefined) return
    task.killMs = this.clock.now() + graceMs
    for (const checker of task.checkers) checker.stop()
    task.preparing?.abort(new Error('killed'))
    if (task.process === undefined) return
    void this.signal(task, 'SIGTERM')
    task.graceTimer?.cancel()
    task.graceTimer = this.clock.setTimer(() => { void this.signal(task, 'SIGKILL') }, graceMs)
  }

  async detach (): Promise<void> {
    this.detached = true
    this.outputTimer?.cancel()
    for (const task of this.tasks.values()) {
      task.preparing?.abort(new Error('the embedded master stops'))
      task.child?.stdin?.destroy()
      task.child?.unref()
      this.forget(task)
    }
    await this.sandboxes.settled()
  }

  private async start (task: RunningTask): Promise<void> {
    const { order } = task
    const signal = task.preparing!.signal
    const { command } = order.info
    requireOwnUser(command!.user)
    const sandbox = await this.sandboxes.create(order.directory, order.volumes)
    await fetchUris(command!.uris ?? [], sandbox, signal)
    const [stdout, stderr] = [await this.sandboxes.openOutput(order.directory, 'stdout'), await this.sandboxes.openOutput(order.directory, 'stderr')]
    try {
      signal.throwIfAborted()
      const words = command!.shell === false ? argumentsOf(order) : ['/bin/sh', '-c', command!.value!]
      const child = spawn('/bin/sh', ['-c', gate, 'sh', ...words], { cwd: sandbox, env: this.environment(order, sandbox), stdio: ['pipe', stdout.fd, stderr.fd], detached: true })
      await this.follow(task, child)
    } finally {
      await Promise.all([stdout.close(), stderr.close()])
    }
  }

  private async follow (task: RunningTask, child: ChildProcess): Promise<void> {
    const { order: { key, containerId } } = task
    // The gate may be killed before it has read.
    child.stdin!.on('error', () => {})
    const ended = new Promise<ProcessExit>((resolve) => {
      child.once('exit', (status, signal) => { resolve(signal === null ? { status: status ?? 0 } : { signal }) })
    })
    await new Promise<void>((resolve, reject) => { child.once('spawn', resolve).once('error', reject) })
    const pid = child.pid!
    const startTime = await startTimeOf(pid)
    if (startTime === undefined) throw new Error('the process ended before it was known')
    if (this.detached) {
      child.stdin!.destroy()
      return
    }
    task.child = child
    task.process = { pid, startTime }
    task.preparing = undefined
    this.report({ type: 'task-spawned', key, containerId, process: task.process })
    void ended.then((exit) => this.ended(task, exit))
  }

  /** What the task has left behind goes too, so that nobody uses its volume any more; after a KILL it has the rest of the grace. */
  private async ended (task: RunningTask, exit: ProcessExit): Promise<void> {
    for (const checker of task.checkers) checker.stop()
    const { order: { key, containerId }, process: identity } = task
    const { pid, startTime } = identity!
    const killMs = task.killMs ?? this.clock.now()
    while (await isGroupAlive(pid, startTime)) {
      if (this.clock.now() >= killMs) signalGroup(pid, 'SIGKILL')
      if (this.clock.now() > killMs + groupGoneMsMax) {
        this.log.warn('processes of an ended task do not go away', { task: key, group: pid })
        break
      }
      await new Promise<void>((resolve) => { this.clock.setTimer(resolve, groupPollMs) })
    }
    if (this.detached) return
    this.forget(task)
    this.report({ type: 'task-exited', key, containerId, exit })
    await this.prune()
  }

  /** Whose parent this process is not cannot be waited for. */
  private poll (task: RunningTask): void {
    const { pid, startTime } = task.process!
    startTimeOf(pid).then((found) => {
      if (this.detached) return
      if (found === startTime) task.pollTimer = this.clock.setTimer(() => { this.poll(task) }, adoptedPollMs)
      else void this.ended(task, 'unknown')
    }, () => {})
  }

  private async signal (task: RunningTask, signal: NodeJS.Signals): Promise<void> {
    const { pid, startTime } = task.process!
    if (await isGroupAlive(pid, startTime)) signalGroup(pid, signal)
  }

  private beginChecks (task: RunningTask): void {
    const { order: { key, containerId, info: { health_check: health, check }, directory: name } } = task
    const directory = this.sandboxes.path(name)
    if (health !== undefined) {
      task.checkers.push(beginHealthCheck(this, { check: health, directory, onChange: (healthy, kill) => { this.report({ type: 'task-health', key, containerId, healthy, kill }) } }))
    }
    if (check !== undefined) task.checkers.push(beginCheck(this, { check, directory, onChange: (status) => { this.report({ type: 'task-check', key, containerId, status }) } }))
  }

  private environment ({ info, frameworkId }: LaunchOrder, sandbox: string): NodeJS.ProcessEnv {
    const given = (info.command!.environment?.variables ?? []).map(({ name, value = '' }) => [name, value])
    return {
      ...process.env,
      MESOS_SANDBOX: sandbox,
      MESOS_DIRECTORY: sandbox,
      MESOS_TASK_ID: info.task_id.value,
      MESOS_FRAMEWORK_ID: frameworkId,
      MESOS_AGENT_ENDPOINT: this.init.endpoint,
      ...Object.fromEntries(given)
    }
  }

  private report (report: AgentReport): void {
    if (!this.detached) this.init.report(report)
  }

  private forget (task: RunningTask): void {
    task.graceTimer?.cancel()
    task.pollTimer?.cancel()
    for (const checker of task.checkers) checker.stop()
    if (this.tasks.get(task.order.containerId) === task) this.tasks.delete(task.order.containerId)
  }

  private async prune (): Promise<void> {
    try {
      await this.sandboxes.prune(new Set([...this.tasks.values()].map(({ order }) => order.directory)))
    } catch (error) {
      this.log.warn('old sandboxes were not removed', { error: messageOf(error) })
    }
  }

  private watchOutput (): void {
    this.outputTimer = this.clock.setTimer(() => {
      Promise.all([...this.tasks.values()].map(({ order }) => this.sandboxes.limitOutput(order.directory)))
        .then(() => { if (!this.detached) this.watchOutput() }, () => {})
    }, outputCheckIntervalMs)
  }
}

/** Tasks run as the user of this process: Mesos with --no-switch_user does the same, but ignores the wish. */
function requireOwnUser (user: string | undefined): void {
  if (user !== undefined && user !== '' && user !== userInfo().username) throw new Error(`cannot run as user '${user}': the embedded agent runs tasks as ${userInfo().username}`)
}

/** With `shell` false, `arguments` is all of argv; the program itself is `value`. */
function argumentsOf ({ info }: LaunchOrder): string[] {
  const { value, arguments: argv = [] } = info.command!
  return [value!, ...argv.slice(1)]
}
