import { isTerminal } from '../../../scheduler/mesos/types.ts'
import type { TaskState } from '../../../scheduler/mesos/types.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { SimRandom } from '../../sim/random.ts'
import type { Chaos, Mishap } from './model-chaos.ts'
import type { ModelAgent, ModelTask } from './model-resources.ts'

/** What faults do to a master and its agents. */
export interface FaultyMaster {
  readonly chaos: Chaos
  readonly agents: ModelAgent[]
  readonly tasks: Map<string, ModelTask>
  happens (mishap: Mishap): boolean
  liveTasks (): ModelTask[]
  isKnown (agent: ModelAgent): boolean
  addAgent (): ModelAgent
  endTask (id: string, state?: TaskState): void
  /** News of a task that nobody repeats. */
  tellTask (task: ModelTask, state: TaskState, reason?: string): void
  /** The agent's next update is sent again. */
  deliver (task: ModelTask): void
  /** Takes offers back, each if `which` says so of its agent. */
  rescind (which: (agent: ModelAgent) => boolean): void
  disconnect (): void
  removeFramework (): void
  /** Another master comes to lead. */
  elect (): void
}

/** From the start of a new master until its last agent has registered. */
const restartMsMax = 30_000

/** What goes wrong with a master, its agents and their tasks, as a test says or by chance. */
export class ModelFaults {
  readonly #master: FaultyMaster
  readonly #clock: SimClock
  readonly #random: SimRandom
  /** By chance, to be healed by chance. */
  readonly #partitioned = new Set<ModelAgent>()

  constructor (master: FaultyMaster, { clock, random }: { clock: SimClock, random: SimRandom }) {
    this.#master = master
    this.#clock = clock
    this.#random = random
  }

  partition (agent: ModelAgent): void {
    const master = this.#master
    agent.reachable = false
    master.rescind((each) => each === agent)
    for (const task of this.#liveTasksOf(agent)) master.tellTask(task, 'TASK_UNREACHABLE')
  }

  heal (agent: ModelAgent): void {
    agent.reachable = true
    this.#partitioned.delete(agent)
    this.#registered(agent)
  }

  /** MARK_AGENT_GONE. */
  markGone (agent: ModelAgent): void {
    const tasks = this.#liveTasksOf(agent)
    agent.isGone = true
    agent.reachable = false
    agent.returnsAtMs = null
    this.#master.rescind((each) => each === agent)
    for (const task of tasks) this.#lost(task, 'TASK_GONE_BY_OPERATOR', 'REASON_AGENT_REMOVED_BY_OPERATOR')
  }

  /** The master removes the agent. */
  takeDown (agent: ModelAgent): void {
    this.#partitioned.delete(agent)
    agent.reachable = false
    this.#master.rescind((each) => each === agent)
    for (const task of this.#liveTasksOf(agent)) {
      for (const item of agent.items) if (item.task === task.info.task_id.value) item.task = null
      this.#lost(task, 'TASK_LOST', 'REASON_AGENT_REMOVED')
    }
  }

  /** Starts the master anew: agents come back one after another. */
  restart (): void {
    const master = this.#master
    for (const agent of master.agents) if (!agent.isGone) agent.returnsAtMs = this.#clock.now() + this.#random.below(restartMsMax)
    master.disconnect()
  }

  /** As after a failover timeout: the id is burnt, tasks are killed where they are reached, what is reserved stays. */
  forget (): void {
    const master = this.#master
    master.removeFramework()
    for (const task of master.tasks.values()) {
      task.isOrphan = true
      task.updates = []
    }
    for (const agent of master.agents) this.#endOrphans(agent)
  }

  /** What chance brings, and what is over by now. */
  strike (): void {
    const master = this.#master
    for (const task of master.liveTasks()) if (master.happens('failTask')) master.endTask(task.info.task_id.value)
    master.rescind(() => master.happens('rescind'))
    for (const agent of master.agents) if (!agent.isGone) this.#strikeAgent(agent)
    if (master.happens('disconnect')) master.disconnect()
    if (master.happens('restart')) this.restart()
    if (master.happens('forget')) this.forget()
    if (master.happens('election')) {
      this.restart()
      master.elect()
    }
    const alive = master.agents.filter(({ isGone }) => !isGone)
    if (alive.length > 1 && master.happens('gone')) {
      this.markGone(this.#random.pick(alive))
      master.addAgent()
    }
  }

  #strikeAgent (agent: ModelAgent): void {
    const { chaos } = this.#master
    if (agent.returnsAtMs !== null && agent.returnsAtMs <= this.#clock.now()) {
      agent.returnsAtMs = null
      this.#registered(agent)
    }
    if (!agent.reachable) {
      // Half a minute on average, so some last longer than the framework waits for a proof.
      if (this.#partitioned.has(agent) && (chaos.partition === 0 || this.#random.chance(0.015))) this.heal(agent)
    } else if (this.#master.happens('partition')) {
      this.#partitioned.add(agent)
      this.partition(agent)
    }
  }

  /** It registers with the master, which learns of its tasks. */
  #registered (agent: ModelAgent): void {
    const master = this.#master
    this.#endOrphans(agent)
    for (const task of master.tasks.values()) {
      if (task.agent !== agent || task.isOrphan || !agent.reachable) continue
      if (!isTerminal(task.state)) master.tellTask(task, task.state, 'REASON_AGENT_REREGISTERED')
      master.deliver(task)
    }
  }

  #endOrphans (agent: ModelAgent): void {
    const master = this.#master
    if (!master.isKnown(agent)) return
    for (const task of this.#liveTasksOf(agent)) if (task.isOrphan) master.endTask(task.info.task_id.value, 'TASK_KILLED')
  }

  #liveTasksOf (agent: ModelAgent): ModelTask[] { return this.#master.liveTasks().filter((task) => task.agent === agent) }

  #lost (task: ModelTask, state: TaskState, reason: string): void {
    task.state = state
    task.updates = []
    this.#master.tellTask(task, state, reason)
  }
}
