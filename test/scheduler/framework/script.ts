import { expect } from 'chai'
import { FrameworkCore } from '../../../scheduler/framework/core.ts'
import type { FrameworkInput } from '../../../scheduler/framework/core.ts'
import type { ClusterRequest } from '../../../scheduler/framework/drains.ts'
import { loadState } from '../../../scheduler/framework/state.ts'
import type { FrameworkSettings, FrameworkStatus, NodeStatus } from '../../../scheduler/framework/types.ts'
import type { CallBody, Offer, Operation, Resource, SchedulerEvent, TaskInfo, TaskState, TaskStatus } from '../../../scheduler/mesos/types.ts'
import type { ClusterMap } from '../../../partitioning/types.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'

export const settings: FrameworkSettings = {
  role: 'atoll',
  principal: 'atoll',
  name: 'atoll',
  user: 'root',
  nodesPerAgentMax: 1,
  resources: { cpus: 1, memMb: 512, diskMb: 1024 },
  diskType: 'root',
  constraints: [],
  configuration: { nodeCommand: { arguments: ['/bin/node', 'main.js'] }, healthCheck: null, killGraceMs: 10_000 },
  failoverTimeoutMs: 3600_000,
  replaceAfterMs: 600_000
}

const scalar = (name: string, value: number): Resource => ({ name, type: 'SCALAR', scalar: { value }, allocation_info: { role: 'atoll' } })

export const unreserved = ({ cpus = 4, mem = 4096, disk = 20_000, ports = [31_000, 31_099] as [number, number] } = {}): Resource[] => [
  scalar('cpus', cpus), scalar('mem', mem), scalar('disk', disk),
  { name: 'ports', type: 'RANGES', ranges: { range: [{ begin: ports[0], end: ports[1] }] }, allocation_info: { role: 'atoll' } }
]

/** Runs the core by hand: what is sent in, and what calls are expected to come out. */
export class Script {
  readonly random = new SimRandom(7)
  readonly settings: FrameworkSettings
  kv = new MemoryKv()
  core!: FrameworkCore
  nowMs = 1000
  /** What the storage cluster was asked for. */
  readonly requests: ClusterRequest[] = []
  /** The storage cluster does at once what it is asked for when a node is going to be away. */
  yieldsAtOnce = true
  #map: ClusterMap | null = null
  /** By node, the process that yields. */
  readonly #yielding = new Map<string, string>()
  #offers = 0
  #uuids = 0

  private constructor (options: Partial<FrameworkSettings>) {
    this.settings = { ...settings, ...options }
  }

  static async begin (nodes: number, options: Partial<FrameworkSettings> = {}): Promise<Script> {
    const script = new Script(options)
    await script.load(nodes)
    return script
  }

  async load (nodes = 1): Promise<void> {
    const state = await loadState(this.kv, this.random, nodes)
    this.core = new FrameworkCore({ random: this.random }, { state, settings: this.settings, nowMs: this.nowMs })
  }

  /** A step and its durable write. */
  async send (input: FrameworkInput): Promise<CallBody[]> {
    if (input.type === 'cluster') this.#map = input.map
    const { writes, calls, requests } = this.core.step(input.type === 'cluster' ? { type: 'cluster', map: this.#asItIs(input.map) } : input, this.nowMs)
    this.requests.push(...requests)
    await this.kv.batch(writes, { sync: true })
    const isAnswered = this.yieldsAtOnce && requests.filter((request) => request.type === 'yield' && this.#yield(request)).length > 0
    return isAnswered ? [...calls, ...await this.send({ type: 'cluster', map: this.#map! })] : calls
  }

  #yield ({ node, yields }: { node: string, yields: boolean }): boolean {
    const known = this.#map?.nodes.find(({ id }) => id === node)
    if (known === undefined) return false
    if (yields) this.#yielding.set(node, known.incarnation)
    else this.#yielding.delete(node)
    return true
  }

  /** A new process does not yield. */
  #asItIs (map: ClusterMap): ClusterMap {
    return { ...map, nodes: map.nodes.map((node) => this.#yielding.get(node.id) === node.incarnation ? { ...node, yields: 'done' } : node) }
  }

  /** kill -9 and a new subscription. */
  async crash (): Promise<CallBody[]> {
    this.kv.kill()
    this.kv = this.kv.reopen()
    await this.load()
    return this.subscribe()
  }

  subscribe (frameworkId = 'f-1'): Promise<CallBody[]> {
    return this.send({ type: 'notice', notice: { type: 'subscribed', frameworkId, url: 'http://m:5050', master: null } })
  }

  event (event: SchedulerEvent): Promise<CallBody[]> {
    return this.send({ type: 'notice', notice: { type: 'event', event } })
  }

  offer (agent: string, resources: Resource[], more: Partial<Offer> = {}): Offer {
    return {
      id: { value: `o-${++this.#offers}` },
      framework_id: { value: 'f-1' },
      agent_id: { value: agent },
      hostname: `host-${agent}`,
      allocation_info: { role: 'atoll' },
      resources,
      ...more
    }
  }

  offers (...offers: Offer[]): Promise<CallBody[]> {
    return this.event({ type: 'OFFERS', offers: { offers } })
  }

  update (task: TaskInfo, state: TaskState, more: Partial<TaskStatus> = {}): Promise<CallBody[]> {
    const uuid = Buffer.from(`uuid-${String(++this.#uuids).padStart(11, '0')}`).toString('base64')
    return this.event({ type: 'UPDATE', update: { status: { task_id: task.task_id, agent_id: task.agent_id, state, uuid, ...more } } })
  }

  /** What the master says on its own: no uuid, nothing to acknowledge. */
  tell (task: Pick<TaskInfo, 'task_id' | 'agent_id'>, state: TaskState, reason = 'REASON_RECONCILIATION'): Promise<CallBody[]> {
    return this.event({ type: 'UPDATE', update: { status: { task_id: task.task_id, agent_id: task.agent_id, state, reason } } })
  }

  async advance (durationMs: number): Promise<CallBody[]> {
    const end = this.nowMs + durationMs
    const calls: CallBody[] = []
    while (this.core.deadlineMs <= end) {
      const before = this.core.deadlineMs
      this.nowMs = Math.max(this.nowMs, before)
      calls.push(...await this.send({ type: 'tick' }))
      expect(this.core.deadlineMs, 'a deadline must pass').to.be.greaterThan(before)
    }
    this.nowMs = end
    return calls
  }

  status (): FrameworkStatus { return this.core.status(this.nowMs) }

  node (id: string): NodeStatus { return this.status().nodes.find((node) => node.id === id)! }

  states (): string[] { return this.status().nodes.map(({ id, state }) => `${id} ${state}`) }

  /** Brings `nodes` nodes to RUNNING on agents a1, a2, ... and returns their tasks and what they hold. */
  async bringUp (nodes: number): Promise<Array<{ agent: string, task: TaskInfo, held: Resource[] }>> {
    await this.subscribe()
    const agents = Array.from({ length: nodes }, (_, index) => `a${index + 1}`)
    const accepted = await this.offers(...agents.map((agent) => this.offer(agent, unreserved())))
    const held = accepted.filter(({ type }) => type === 'ACCEPT').map((call) => afterwards(operationsOf(call)))
    const launched = await this.offers(...agents.map((agent, index) => this.offer(agent, held[index]!)))
    const tasks = launched.flatMap(tasksOf)
    for (const task of tasks) {
      await this.update(task, 'TASK_STARTING')
      await this.update(task, 'TASK_RUNNING')
    }
    return tasks.map((task, index) => ({ agent: agents[index]!, task, held: held[index]! }))
  }
}

export const types = (calls: CallBody[]): string[] => calls.map(({ type }) => type)

export function operationsOf (call: CallBody | undefined): Operation[] {
  return call?.type === 'ACCEPT' ? call.accept.operations : []
}

export const operationTypes = (calls: CallBody[]): string[][] =>
  calls.filter(({ type }) => type === 'ACCEPT').map((call) => operationsOf(call).map(({ type }) => type))

export const tasksOf = (call: CallBody): TaskInfo[] =>
  operationsOf(call).flatMap((operation) => operation.type === 'LAUNCH' ? operation.launch.task_infos : [])

/** What is reserved after RESERVE and CREATE. */
export function afterwards (operations: Operation[]): Resource[] {
  const reserved = operations.flatMap((operation) => operation.type === 'RESERVE' ? operation.reserve.resources : [])
  const volumes = operations.flatMap((operation) => operation.type === 'CREATE' ? operation.create.volumes : [])
  return [...reserved.filter(({ name }) => name !== 'disk'), ...volumes]
}

export const specOf = (task: TaskInfo): Record<string, unknown> =>
  JSON.parse(task.command!.environment!.variables!.find(({ name }) => name === 'ATOLL_NODE')!.value!)
