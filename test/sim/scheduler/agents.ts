import { nodeSpecVariable, parseNodeSpec, type NodeSpec } from '../../../fsnode/protocol/node-spec.ts'
import type { Clock } from '../../../fsnode/protocol/ports.ts'
import type { AgentDriver, AgentReport } from '../../../scheduler/local/agent/agent.ts'
import type { LaunchOrder, ProcessExit } from '../../../scheduler/local/core/effects.ts'
import type { ProcessIdentity } from '../../../scheduler/local/core/state.ts'
import type { AgentPresence, SimMachine } from './machine.ts'

interface Task { order: LaunchOrder, machine: SimMachine, identity: ProcessIdentity | null, killed: boolean }

export interface SimAgentsInit {
  machines: readonly SimMachine[]
  report: (report: AgentReport) => void
  hear: (agentId: string, presence: AgentPresence) => void
}

/** What the shell and the file system take to make a sandbox and a process. */
const spawnMs = 5

/**
 * The agents of all machines, in one process with their master, as scheduler/local has them: tasks outlive it. What concerns a
 * machine of which the master hears nothing waits until it does.
 */
export class SimAgents implements AgentDriver {
  private readonly clock: Clock
  private readonly machines: readonly SimMachine[]
  private readonly report: (report: AgentReport) => void
  private readonly hear: (agentId: string, presence: AgentPresence) => void
  private readonly tasks = new Map<string, Task>()
  private readonly waiting = new Map<SimMachine, Array<() => void>>()

  constructor (components: { clock: Clock }, init: SimAgentsInit) {
    this.clock = components.clock
    this.machines = init.machines
    this.report = init.report
    this.hear = init.hear
    for (const machine of this.machines) {
      machine.onExit = (identity, exit) => { this.exited(identity, exit) }
      machine.onPresence = () => { this.heard(machine) }
    }
  }

  async createVolume (): Promise<void> {}

  async destroyVolume (): Promise<void> {}

  launch (order: LaunchOrder): void {
    const task: Task = { order, machine: this.machineOf(order), identity: null, killed: false }
    this.tasks.set(order.containerId, task)
    this.clock.setTimer(() => { this.whenPresent(task.machine, () => { this.spawn(task) }) }, spawnMs)
  }

  adopt (order: LaunchOrder, identity: ProcessIdentity): void {
    const task: Task = { order, machine: this.machineOf(order), identity, killed: false }
    this.tasks.set(order.containerId, task)
    this.whenPresent(task.machine, () => { if (!task.machine.runs(identity)) this.ended(task, 'unknown') })
  }

  release (containerId: string): void {
    const task = this.tasks.get(containerId)
    if (task?.identity != null && !task.killed) task.machine.release(task.identity, specOf(task.order))
  }

  kill (containerId: string, graceMs: number): void {
    const task = this.tasks.get(containerId)
    if (task === undefined) return
    task.killed = true
    const { identity, machine } = task
    if (identity === null) return
    this.whenPresent(machine, () => {
      machine.terminate(identity)
      this.clock.setTimer(() => { machine.kill(identity) }, graceMs)
    })
  }

  async detach (): Promise<void> { this.crash() }

  /** The agents' process ends: tasks that run go on, those at their gates end. */
  crash (): void {
    for (const machine of this.machines) {
      machine.onExit = () => {}
      machine.onPresence = () => {}
    }
    for (const { machine, identity } of this.tasks.values()) if (identity !== null) machine.abandon(identity)
  }

  private spawn (task: Task): void {
    const { machine, order: { key, containerId, volumes } } = task
    if (task.killed) {
      this.tasks.delete(containerId)
      this.report({ type: 'task-launch-failed', key, containerId, message: 'killed' })
      return
    }
    task.identity = machine.spawn(volumes[0]!.id)
    this.report({ type: 'task-spawned', key, containerId, process: task.identity })
  }

  private exited (identity: ProcessIdentity, exit: ProcessExit): void {
    // One that is cut off tells later.
    for (const task of [...this.tasks.values()]) if (task.machine.presence === 'registered' && task.identity?.pid === identity.pid && task.identity.startTime === identity.startTime) this.ended(task, exit)
  }

  private ended (task: Task, exit: ProcessExit): void {
    const { key, containerId } = task.order
    if (this.tasks.delete(containerId)) this.report({ type: 'task-exited', key, containerId, exit })
  }

  private heard (machine: SimMachine): void {
    this.hear(machine.agentId, machine.presence)
    if (machine.presence !== 'registered') return
    for (const work of this.waiting.get(machine)?.splice(0) ?? []) work()
    for (const task of [...this.tasks.values()]) {
      if (task.machine === machine && task.identity !== null && !machine.runs(task.identity)) this.ended(task, 'unknown')
    }
  }

  private whenPresent (machine: SimMachine, work: () => void): void {
    if (machine.presence === 'registered') {
      work()
      return
    }
    const waiting = this.waiting.get(machine)
    if (waiting === undefined) this.waiting.set(machine, [work])
    else waiting.push(work)
  }

  private machineOf ({ info }: LaunchOrder): SimMachine { return this.machines.find(({ agentId }) => agentId === info.agent_id.value)! }
}

function specOf ({ info }: LaunchOrder): NodeSpec {
  return parseNodeSpec(info.command!.environment?.variables?.find(({ name }) => name === nodeSpecVariable)?.value)
}
