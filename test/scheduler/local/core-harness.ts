import { restore } from '../../../scheduler/local/core/durable.ts'
import type { Context, Effect, Input, StepResult } from '../../../scheduler/local/core/effects.ts'
import { step } from '../../../scheduler/local/core/step.ts'
import { createState, type MasterState, type Task } from '../../../scheduler/local/core/state.ts'
import type { Offer, Operation, Resource, SchedulerEvent, TaskStatus } from '../../../scheduler/mesos/types.ts'
import { SimRandom } from '../../sim/random.ts'
import { agentOf, ports, scalar } from './master-harness.ts'

export const role = 'atoll'
export const capabilities = ['PARTITION_AWARE', 'MULTI_ROLE', 'RESERVATION_REFINEMENT', 'TASK_KILLING_STATE'].map((type) => ({ type }))
export const info = { user: 'u', name: 'n', roles: [role], principal: 'p', failover_timeout: 100, capabilities } as any

/** The pure master, fed by hand. Time moves only in `advance`. */
export class CoreHarness {
  readonly state: MasterState
  readonly random = new SimRandom(1)
  nowMs = 0
  /** All effects so far, and all writes as they would be in the store. */
  effects: Effect[] = []
  readonly store = new Map<string, unknown>()
  private requests = 0

  constructor (state = createState('master', {}, 0), resources: Resource[] = [scalar('cpus', 4), scalar('mem', 4096), scalar('disk', 20000), ports(31000, 31099)]) {
    this.state = state
    if (state.agents.size === 0) state.agents.set('agent', agentOf('agent', resources))
  }

  feed (input: Input): StepResult {
    const result = step(this.state, input, this.context())
    for (const { key, value } of result.writes) {
      if (value === undefined) this.store.delete(key)
      else this.store.set(key, JSON.parse(JSON.stringify(value)))
    }
    this.effects.push(...result.effects)
    return result
  }

  /** In steps of one tick. */
  advance (seconds: number): void {
    for (let elapsed = 0; elapsed < seconds; elapsed++) {
      this.nowMs += 1000
      this.feed({ type: 'tick' })
    }
  }

  /** The number of the stream, and the framework's id. */
  subscribe (framework: any = info, suppressed: string[] = []): { stream: number, id: string } {
    const stream = ++this.requests
    this.feed({ type: 'call', request: stream, call: { type: 'SUBSCRIBE', ...(framework.id !== undefined && { framework_id: framework.id }), subscribe: { framework_info: framework, suppressed_roles: suppressed } } })
    const subscribed = this.events(stream).find(({ type }) => type === 'SUBSCRIBED') as any
    return { stream, id: subscribed?.subscribed.framework_id.value }
  }

  /** The status that the call is answered with. */
  call (id: string, body: any, streamId = this.state.frameworks.get(id)?.streamId): number {
    const request = ++this.requests
    this.feed({ type: 'call', request, ...(streamId !== undefined && { streamId }), call: { framework_id: { value: id }, ...body } })
    return this.statusOf(request)
  }

  operate (call: any): any {
    const request = ++this.requests
    this.feed({ type: 'operator-call', request, call })
    return this.effects.find((effect) => effect.type === 'reply' && effect.request === request)
  }

  accept (id: string, offers: Offer[], operations: Operation[], refuseSeconds = 0): number {
    return this.call(id, { type: 'ACCEPT', accept: { offer_ids: offers.map((offer) => offer.id), operations, filters: { refuse_seconds: refuseSeconds } } })
  }

  decline (id: string, offers: Offer[], refuseSeconds?: number): number {
    return this.call(id, { type: 'DECLINE', decline: { offer_ids: offers.map((offer) => offer.id), ...(refuseSeconds !== undefined && { filters: { refuse_seconds: refuseSeconds } }) } })
  }

  acknowledge (id: string, status: TaskStatus): number {
    return this.call(id, { type: 'ACKNOWLEDGE', acknowledge: { agent_id: status.agent_id, task_id: status.task_id, uuid: status.uuid } })
  }

  /** All updates that are in delivery, and those that follow. */
  acknowledgeAll (id: string, stream: number): void {
    const known = new Set<string>()
    for (let status; (status = this.events(stream).flatMap((event) => event.type === 'UPDATE' ? event.update.status : []).find(({ uuid }) => uuid !== undefined && !known.has(uuid))) !== undefined;) {
      known.add(status.uuid!)
      this.acknowledge(id, status)
    }
  }

  /** The next master on the store of this one. */
  restart (): CoreHarness {
    const state = createState('master', {}, 0)
    for (const [key, value] of this.store) if (key !== 'meta') restore(state, key, JSON.stringify(value))
    const meta = this.store.get('meta') as any
    state.frameworkCount = meta.frameworkCount
    state.offerCount = state.offerCountReserved = meta.offerCountReserved
    const next = new CoreHarness(state)
    next.random.next()
    for (const [key, value] of this.store) next.store.set(key, value)
    next.feed({ type: 'recovered' })
    return next
  }

  events (stream: number): SchedulerEvent[] {
    return this.effects.flatMap((effect) => effect.type === 'event' && effect.stream === stream ? [effect.event] : [])
  }

  /** Of what was sent since the last call of any `take...`; the rest is forgotten. */
  takeOffers (stream: number): Offer[] {
    return this.take(stream).flatMap((event) => event.type === 'OFFERS' ? event.offers.offers : [])
  }

  takeUpdates (stream: number): TaskStatus[] {
    return this.take(stream).flatMap((event) => event.type === 'UPDATE' ? [event.update.status] : [])
  }

  take (stream: number): SchedulerEvent[] {
    const events = this.events(stream)
    this.effects = []
    return events
  }

  task (id: string): Task { return [...this.state.tasks.values()].find(({ info: { task_id: taskId } }) => taskId.value === id)! }

  spawned (id: string): void {
    const { key, containerId } = this.task(id)
    this.feed({ type: 'task-spawned', key, containerId, process: { pid: 1, startTime: '1' } })
  }

  exited (id: string, exit: any = { status: 0 }): void {
    const { key, containerId } = this.task(id)
    this.feed({ type: 'task-exited', key, containerId, exit })
  }

  private statusOf (request: number): number {
    const reply = this.effects.find((effect) => effect.type === 'reply' && effect.request === request)
    return (reply as { status: number }).status
  }

  private context (): Context {
    return {
      nowMs: this.nowMs,
      wallMs: 1_700_000_000_000 + this.nowMs,
      uuid: () => {
        const bytes = this.random.bytes(16)
        bytes[6] = (bytes[6]! & 0x0f) | 0x40
        return bytes
      }
    }
  }
}

export function launch (offer: Offer, id: string, resources: Resource[] = [scalar('cpus', 1)], more: object = {}): Operation {
  return { type: 'LAUNCH', launch: { task_infos: [{ name: id, task_id: { value: id }, agent_id: offer.agent_id, resources, command: { value: 'true' }, ...more } as any] } }
}

export const reserved = (resource: Resource, id = 'a'): Resource => ({ ...resource, reservations: [{ type: 'DYNAMIC', role, principal: 'p', labels: { labels: [{ key: 'resource_id', value: id }] } }] })

export const volume = (mb: number, id: string, label = 'a'): Resource => ({
  ...reserved(scalar('disk', mb), label),
  disk: { persistence: { id, principal: 'p' }, volume: { mode: 'RW', container_path: 'data' } }
})

export const cpusOf = (offers: Offer[]): number => offers.flatMap(({ resources = [] }) => resources).reduce((sum, { name, scalar: amount }) => name === 'cpus' ? sum + amount!.value : sum, 0)
