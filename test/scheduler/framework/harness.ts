import { startFramework } from '../../../scheduler/framework/index.ts'
import type { Framework, FrameworkInit, FrameworkStatus } from '../../../scheduler/framework/index.ts'
import type { Kv, KvOperation } from '../../../fsnode/protocol/ports.ts'
import { SimClock } from '../../sim/clock.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'
import { ModelCluster } from './model-cluster.ts'
import { errors, quietLog } from './logs.ts'
import { modelMasters } from './model-http.ts'
import { ModelMaster } from './model-master.ts'

export { errors, quietLog }

export const frameworkInit: FrameworkInit = {
  masters: modelMasters,
  role: 'atoll',
  principal: 'atoll',
  name: 'atoll',
  user: 'root',
  nodes: 3,
  resources: { cpus: 1, memMb: 512, diskMb: 1024 },
  nodeCommand: { value: 'exec node', environment: { LEVEL: 'info' } }
}

/** A framework process on the model master, which can be killed and started again on its store. */
export class Harness {
  readonly clock = new SimClock()
  readonly random: SimRandom
  readonly master: ModelMaster
  readonly cluster: ModelCluster
  kv = new MemoryKv()
  framework: Framework | undefined
  /** Called for each durable write; throwing away the process happens there. */
  onWrite: (when: 'before' | 'after') => void = () => {}
  /** Called before a process that has died is started again; its store may be another one then. */
  beforeStart: () => Promise<void> = async () => {}
  #life = 0

  constructor (seed = 1, agents = 3) {
    this.random = new SimRandom(seed)
    this.master = new ModelMaster({ clock: this.clock, random: this.random.fork() })
    this.cluster = new ModelCluster(this.clock, this.master)
    for (let index = 0; index < agents; index++) this.master.addAgent()
  }

  /** Starts a process; it may die (see `kill`) before it is up. */
  async start (init: Partial<FrameworkInit> = {}): Promise<void> {
    const life = ++this.#life
    const isAlive = (): boolean => life === this.#life
    this.#init = init
    const starting = startFramework({
      kv: this.#guard(this.kv, isAlive),
      clock: {
        now: () => this.clock.now(),
        wallNs: () => this.clock.wallNs(),
        setTimer: (callback, delayMs) => this.clock.setTimer(() => { if (isAlive()) callback() }, delayMs)
      },
      random: this.random.fork(),
      log: quietLog,
      masterClientFactory: this.master.clientFactory(isAlive),
      clusterLinkFactory: this.cluster.linkFactory(isAlive)
    }, { ...frameworkInit, ...init }).then((framework) => { if (isAlive()) this.framework = framework })
    await Promise.race([starting, this.#death()])
  }

  /** Starts the process again, as often as it dies, until it is up. */
  async revive (): Promise<void> {
    while (this.isDead) {
      await this.beforeStart()
      await this.start(this.#init)
    }
  }

  /** Does something at the framework, again if the process dies meanwhile. */
  async insist (action: (framework: Framework) => Promise<void>): Promise<void> {
    for (let done = false; !done;) {
      await this.revive()
      await Promise.race([action(this.framework!).then(() => { done = true }), this.#death()])
    }
  }

  /** Until the condition holds of a process that is alive, which is started again when it dies. */
  async until (condition: () => boolean, what: string, limitMs = 60 * 60_000): Promise<void> {
    try {
      await this.clock.until(async () => {
        await this.revive()
        return condition()
      }, limitMs)
    } catch {
      const { evaluations: _evaluations, nodes, ...status } = this.status()
      throw new Error(`${what}: leaks ${this.leaks().join()}; ${JSON.stringify(nodes.map(({ lastEvaluation: _last, ...node }) => node))} ${JSON.stringify(status)}`)
    }
  }

  /** kill -9: what was written and synced stays. */
  kill (): void {
    this.#life++
    this.framework = undefined
    this.kv.kill()
    this.kv = this.kv.reopen()
    this.#died()
    this.master.disconnect()
  }

  stop (): void {
    this.master.stop()
    this.cluster.stop()
  }

  get isDead (): boolean { return this.framework === undefined }

  status (): FrameworkStatus { return this.framework!.status() }

  states (): string[] { return this.status().nodes.map(({ id, state }) => `${id} ${state}`) }

  areRunning (nodes: number): boolean {
    if (this.framework === undefined) return false
    const believed = this.status().nodes.filter(({ state }) => state === 'running').map(({ task }) => task!.id)
    const real = this.master.liveTasks().filter(({ state }) => state === 'TASK_RUNNING').map(({ info }) => info.task_id.value)
    return believed.length === nodes && believed.sort().join() === real.sort().join()
  }

  async untilRunning (nodes = 3, limitMs = 60_000): Promise<void> {
    try {
      await this.clock.until(() => this.areRunning(nodes), limitMs)
    } catch {
      throw new Error(`not all of ${nodes} run: ${this.framework === undefined ? 'dead' : JSON.stringify(this.status(), null, 1)}`)
    }
  }

  /** Reservations that belong to no node. */
  leaks (): string[] {
    const owned = new Set(this.status().nodes.flatMap(({ id }) => this.resourceIdOf(id) ?? []))
    return [...this.master.reservedIds()].filter((id) => !owned.has(id))
  }

  resourceIdOf (nodeId: string): string | null {
    const value = this.kv.get(Buffer.from(`node/${nodeId}`))
    return value === undefined ? null : (JSON.parse(Buffer.from(value).toString()) as { resourceId: string | null }).resourceId
  }

  #init: Partial<FrameworkInit> = {}
  #waiting: Array<() => void> = []
  #died (): void { for (const wake of this.#waiting.splice(0)) wake() }
  #death (): Promise<void> { return new Promise((resolve) => { this.#waiting.push(resolve) }) }

  #guard (kv: MemoryKv, isAlive: () => boolean): Kv {
    const dead = new Promise<never>(() => {})
    return {
      get: (key) => kv.get(key),
      iterate: (range) => kv.iterate(range),
      close: () => kv.close(),
      batch: async (operations: KvOperation[], options) => {
        this.onWrite('before')
        if (!isAlive()) return dead
        await kv.batch(operations, options)
        this.onWrite('after')
        if (!isAlive()) return dead
      }
    }
  }
}
