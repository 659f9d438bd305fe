import { HttpReader } from '../local/http-reader.ts'
import { bytesOf, readRecording } from '../mesos/recording.ts'
import { FrameworkCore } from '../../../scheduler/framework/core.ts'
import type { FrameworkInput } from '../../../scheduler/framework/core.ts'
import { loadState } from '../../../scheduler/framework/state.ts'
import type { FrameworkState } from '../../../scheduler/framework/state.ts'
import type { FrameworkSettings, NodeRecord, NodeStatus } from '../../../scheduler/framework/types.ts'
import type { CallBody, SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import type { ClusterMap } from '../../../partitioning/types.ts'
import { MemoryKv } from '../../sim/memory-kv.ts'
import { SimRandom } from '../../sim/random.ts'
import { settings } from './script.ts'

export type Moment = { t: number, note: string } | { t: number, conn: number, event: SchedulerEvent } | { t: number, conn: number, close: string }

/** What was recorded of subscriptions, in order, each event at its time. */
export function timelineOf (name: string): Moment[] {
  const recording = readRecording(name)
  const streams = new Set(recording.subscriptions())
  const readers = new Map<number, HttpReader>()
  return recording.lines.flatMap((line): Moment[] => {
    if (line.note !== undefined) return [{ t: line.t, note: line.note }]
    const conn = line.conn!
    if (line.dir === 'close') return streams.has(conn) ? [{ t: line.t, conn, close: line.by! }] : []
    if (line.dir !== 'response' || !streams.has(conn)) return []
    const reader = readers.get(conn) ?? new HttpReader()
    readers.set(conn, reader)
    const before = reader.events.length
    reader.push(bytesOf(line))
    return reader.events.slice(before).map((event) => ({ t: line.t, conn, event }))
  })
}

export interface ScenarioInit {
  /** Nodes with a volume, as if they had been launched with the recorded task ids. */
  nodes?: Array<Partial<NodeRecord> & { id: string }>
  role?: string
  settings?: Partial<FrameworkSettings>
}

/** Some recorded volumes were reserved without ports: our nodes need some. */
function withPorts (event: SchedulerEvent): SchedulerEvent {
  if (event.type !== 'OFFERS') return event
  for (const { resources = [] } of event.offers.offers) {
    const volume = resources.find(({ disk }) => disk?.persistence !== undefined)
    if (volume === undefined || resources.some(({ name, reservations }) => name === 'ports' && reservations !== undefined)) continue
    const { allocation_info, reservations } = volume
    resources.push({ name: 'ports', type: 'RANGES', ranges: { range: [{ begin: 31_100, end: 31_101 }] }, ...(allocation_info && { allocation_info }), ...(reservations && { reservations }) })
  }
  return event
}

/** Our framework in the place of the recorded one: it gets what that one got, and what it concludes is looked at. */
export class Scenario {
  readonly calls: CallBody[] = []
  nowMs = 0
  readonly #moments: Moment[]
  #position = 0
  #state!: FrameworkState
  #core!: FrameworkCore

  private constructor (name: string) {
    this.#moments = timelineOf(name)
  }

  static async begin (name: string, init: ScenarioInit = {}): Promise<Scenario> {
    const scenario = new Scenario(name)
    const state = await loadState(new MemoryKv(), new SimRandom(5), Math.max(1, init.nodes?.length ?? 1))
    for (const { id, ...record } of init.nodes ?? []) {
      const node = state.nodes.get(id) ?? state.addNode()
      Object.assign(node, {
        placement: 'placed', host: '127.0.0.1', rpcPort: 31_100, raftPort: 31_101, launches: 1, resources: { cpus: 1, memMb: 512, diskMb: 1024 }, ...record
      })
      state.saveNode(node)
    }
    // The recorded framework ran what it liked: here every node is a node of its own.
    state.framework.managers = []
    scenario.#state = state
    scenario.#core = new FrameworkCore({ random: new SimRandom(6) }, { state, settings: { ...settings, ...(init.role === undefined ? {} : { role: init.role }), ...init.settings }, nowMs: 0 })
    return scenario
  }

  get #cluster (): string { return this.#state.framework.clusterId }

  /** What the storage cluster says of itself all the time; null: nothing. */
  map: ClusterMap | null = null

  /** Up to the first note that holds the text, or to the end; the calls that came of it. */
  until (text?: string): CallBody[] {
    const from = this.calls.length
    for (; this.#position < this.#moments.length; this.#position++) {
      const moment = this.#moments[this.#position]!
      if ('note' in moment && text !== undefined && moment.note.includes(text)) break
      this.#elapse(moment.t * 1000)
      if (this.map !== null) this.#step({ type: 'cluster', map: this.map })
      if ('event' in moment) this.#feed(moment.event)
      else if ('close' in moment && moment.close !== 'client') this.#step({ type: 'notice', notice: { type: 'disconnected', code: 'ATOLL_CONNECTION_LOST', message: '', retryInMs: 1 } })
    }
    if (text !== undefined && this.#position === this.#moments.length) throw new Error(`no note says '${text}'`)
    return this.calls.slice(from)
  }

  node (id: string): NodeStatus { return this.#core.status(this.nowMs).nodes.find((node) => node.id === id)! }

  states (): string[] { return this.#core.status(this.nowMs).nodes.map(({ id, state }) => `${id} ${state}`) }

  /** The task that a node is believed to run, as if it had just been launched by us. */
  launched (id: string, taskId: string): void {
    const node = this.#state.nodes.get(id)!
    node.task = { id: taskId, agentId: node.agentId!, state: 'TASK_STAGING' }
    node.launches++
  }

  do (input: FrameworkInput): CallBody[] { return this.#step(input) }

  #elapse (t: number): void {
    while (this.#core.deadlineMs <= t) {
      this.nowMs = Math.max(this.nowMs, this.#core.deadlineMs)
      this.#step({ type: 'tick' })
    }
    this.nowMs = Math.max(this.nowMs, t)
  }

  /** With our labels in place of the recorded ones, which name the resource only. */
  #feed (event: SchedulerEvent): void {
    if (event.type === 'SUBSCRIBED') {
      this.#step({ type: 'notice', notice: { type: 'subscribed', frameworkId: event.subscribed.framework_id.value, url: 'recorded', master: null } })
    } else if (event.type !== 'HEARTBEAT' && event.type !== 'ERROR') {
      const label = `{"key":"atoll_cluster","value":"${this.#cluster}"}`
      const labelled = JSON.stringify(event).replaceAll(/(\{"key":"resource_id","value":"[^"]*"\})/g, `$1,${label}`)
      this.#step({ type: 'notice', notice: { type: 'event', event: withPorts(JSON.parse(labelled) as SchedulerEvent) } })
    }
  }

  #step (input: FrameworkInput): CallBody[] {
    const { calls } = this.#core.step(input, this.nowMs)
    this.calls.push(...calls)
    return calls
  }
}
