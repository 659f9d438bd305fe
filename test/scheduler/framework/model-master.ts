import { httpMasterClient } from '../../../scheduler/mesos/client.ts'
import type { MasterClientFactory } from '../../../scheduler/mesos/client.ts'
import { isTerminal } from '../../../scheduler/mesos/types.ts'
import type { CallBody, FrameworkInfo, Offer, Operation, OperationState, OperationStatus, Resource, SchedulerEvent, TaskInfo, TaskState, TaskStatus } from '../../../scheduler/mesos/types.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { SimRandom } from '../../sim/random.ts'
import { quietLog } from './logs.ts'
import { calm } from './model-chaos.ts'
import type { Chaos, Mishap } from './model-chaos.ts'
import { ModelFaults } from './model-faults.ts'
import type { FaultyMaster } from './model-faults.ts'
import { ModelHttp } from './model-http.ts'
import type { ModelScheduling, ModelStream } from './model-http.ts'
import { ModelMaintenance } from './model-maintenance.ts'
import type { MaintainedMaster } from './model-maintenance.ts'
import { free, give, grow, idOf, insert, pick, same, split, take, volumeOf } from './model-resources.ts'
import type { Item, ModelAgent, ModelTask } from './model-resources.ts'

interface Session { stream: ModelStream, streamId: string, suppressed: boolean, heartbeatAtMs: number }

/** A successful operation, until it is acknowledged. */
interface ModelOperation { status: OperationStatus, agent: ModelAgent }

const tickMs = 500
const updateRepeatMs = 10_000
const heartbeatMs = 15_000
const delayMsMax = 3_000

/** A small master with its agents: naive, in memory, on virtual time. Keeps the rules that the framework relies on. */
export class ModelMaster implements ModelScheduling, MaintainedMaster, FaultyMaster {
  chaos: Chaos = calm
  readonly agents: ModelAgent[] = []
  readonly tasks = new Map<string, ModelTask>()
  readonly calls: CallBody[] = []
  /** What each subscription told of the framework, refused ones too. */
  readonly infos: FrameworkInfo[] = []
  /** Broken rules, for the test to look at. */
  readonly violations: string[] = []
  /** Launches in order. */
  readonly launches: TaskInfo[] = []
  /** How often each kind of mishap has struck. */
  readonly mishaps = new Map<Mishap, number>()
  readonly http: ModelHttp
  readonly maintenance: ModelMaintenance
  readonly faults: ModelFaults
  frameworkId = 'framework-1'
  subscriptions = 0
  tornDown = false
  /** Agents can do GROW_VOLUME. */
  growsVolumes = true
  /** A task that runs is killed. */
  onKill: (name: string) => void = () => {}
  /** A volume was destroyed. */
  onDestroy: (persistenceId: string) => void = () => {}
  readonly #clock: SimClock
  readonly #random: SimRandom
  readonly #offers = new Map<string, { agent: ModelAgent, items: Item[] }>()
  #session: Session | null = null
  readonly #removed = new Set<string>()
  #frameworks = 1
  readonly #operations = new Map<string, ModelOperation>()
  #sequence = 0
  #stopped = false

  constructor ({ clock, random }: { clock: SimClock, random: SimRandom }) {
    this.#clock = clock
    this.#random = random
    this.http = new ModelHttp({ master: this, clock, random: random.fork() })
    this.maintenance = new ModelMaintenance(this, { clock, random: random.fork() })
    this.faults = new ModelFaults(this, { clock, random })
    this.#tick()
  }

  addAgent ({ cpus = 4, mem = 4096, disk = 20_000, ports = 10 } = {}): ModelAgent {
    const index = this.agents.length
    const first = 31_000 + index * 100
    const agent: ModelAgent = {
      id: `agent-${index}`,
      hostname: `host-${index}`,
      cpus,
      mem,
      disk,
      ports: new Set(Array.from({ length: ports }, (_, port) => first + port)),
      items: [{ resource: null, offer: null, task: null }],
      reachable: true,
      isGone: false,
      returnsAtMs: null,
      filters: []
    }
    this.agents.push(agent)
    return agent
  }

  stop (): void { this.#stopped = true }

  /** The factory of a scheduler process; `isAlive` says whether that process still lives. */
  clientFactory (isAlive: () => boolean = () => true): MasterClientFactory {
    const clock = this.#clock
    return httpMasterClient({
      clock: { now: () => clock.now(), wallNs: () => clock.wallNs(), setTimer: (callback, delayMs) => clock.setTimer(() => { if (isAlive()) callback() }, delayMs) },
      random: this.#random.fork(),
      log: quietLog,
      post: this.http.post(isAlive)
    })
  }

  happens (mishap: Mishap): boolean {
    const chance = this.chaos[mishap]
    if (chance === 0 || !this.#random.chance(chance)) return false
    this.mishaps.set(mishap, (this.mishaps.get(mishap) ?? 0) + 1)
    return true
  }

  /** Live tasks, as the agents know. */
  liveTasks (): ModelTask[] {
    return [...this.tasks.values()].filter(({ state }) => !isTerminal(state))
  }

  /** Label values of everything that is reserved anywhere. */
  reservedIds (): Set<string> {
    return new Set(this.agents.filter(({ isGone }) => !isGone).flatMap(({ items }) => items.flatMap(({ resource }) => resource === null ? [] : idOf(resource))))
  }

  /** What is reserved and no task uses. */
  idleReservations (): string[] {
    return this.agents.filter(({ isGone }) => !isGone).flatMap(({ items }) => items.flatMap(({ resource, task }) => resource === null || task !== null ? [] : `${resource.name} of ${idOf(resource)}`))
  }

  endTask (id: string, state: TaskState = 'TASK_FAILED', reason?: string): void {
    const task = this.tasks.get(id)!
    for (const item of task.agent.items) if (item.task === id) item.task = null
    this.#update(task, state, reason)
  }

  /** The subscription breaks. */
  disconnect (): void {
    this.#session?.stream.end()
    this.#endSession()
  }

  isAsked (agent: ModelAgent): boolean { return this.isKnown(agent) && this.liveTasks().some((task) => task.agent === agent && !task.isOrphan) }

  takeDown (agent: ModelAgent): void { this.faults.takeDown(agent) }
  bringBack (agent: ModelAgent): void { this.faults.heal(agent) }
  tell (event: SchedulerEvent): void { this.#sendLate(event) }

  isKnown (agent: ModelAgent): boolean { return agent.reachable && agent.returnsAtMs === null }

  removeFramework (): void {
    this.#removed.add(this.frameworkId)
    this.disconnect()
    this.#operations.clear()
  }

  rescind (which: (agent: ModelAgent) => boolean): void {
    for (const [id, { agent }] of [...this.#offers]) {
      if (!which(agent)) continue
      this.#release(id)
      this.#sendLate({ type: 'RESCIND', rescind: { offer_id: { value: id } } })
    }
  }

  elect (): void { this.http.elect() }

  subscribe (streamId: string, info: FrameworkInfo, stream: ModelStream): void {
    this.infos.push(info)
    const id = info.id?.value
    if (id !== undefined && this.#removed.has(id)) {
      this.#refuse(stream, 'Framework has been removed')
      return
    }
    if (this.#session !== null) {
      this.#refuse(this.#session.stream, 'Framework failed over')
      this.#endSession()
    }
    if (id !== undefined && id !== this.frameworkId) this.violations.push(`subscribed as ${id}`)
    // The answer to the first SUBSCRIBE may have been lost: then nobody knows that id, and nothing runs under it.
    if (id === undefined && [...this.tasks.values()].some(({ isOrphan }) => !isOrphan)) this.violations.push('forgot its framework id')
    if (id === undefined && this.subscriptions > 0) this.frameworkId = `framework-${++this.#frameworks}`
    this.subscriptions++
    this.#session = { stream, streamId, suppressed: false, heartbeatAtMs: this.#clock.now() + heartbeatMs }
    this.#send({ type: 'SUBSCRIBED', subscribed: { framework_id: { value: this.frameworkId }, heartbeat_interval_seconds: heartbeatMs / 1000 } })
    this.#allocate()
    for (const task of this.tasks.values()) this.deliver(task)
    for (const operation of this.#operations.values()) this.#deliverOperation(operation)
  }

  call (frameworkId: string, streamId: string, call: CallBody): number {
    if (this.#session === null) return 403
    if (this.#session.streamId !== streamId || frameworkId !== this.frameworkId) return 400
    this.#handle(call)
    return 202
  }

  closed (streamId: string): void { if (this.#session?.streamId === streamId) this.#endSession(true) }

  #refuse (stream: ModelStream, message: string): void {
    stream.event({ type: 'ERROR', error: { message } })
    stream.end()
  }

  #endSession (mayBeLost = false): void {
    this.maintenance.endSession(mayBeLost)
    for (const { items } of this.#offers.values()) for (const item of items) item.offer = null
    this.#offers.clear()
    for (const agent of this.agents) agent.filters = []
    this.#session = null
  }

  /** Perhaps later than what follows. */
  #sendLate (event: SchedulerEvent): void {
    const session = this.#session
    if (!this.happens('delay')) this.#send(event)
    else this.#clock.setTimer(() => { if (session === this.#session) this.#send(event) }, this.#random.below(delayMsMax))
  }

  #send (event: SchedulerEvent): void {
    this.#session?.stream.event(event)
  }

  #tick (): void {
    if (this.#stopped) return
    this.faults.strike()
    this.#heartbeat()
    this.#allocate()
    this.maintenance.tick(this.agents, this.#session !== null)
    this.#clock.setTimer(() => { this.#tick() }, tickMs)
  }

  #heartbeat (): void {
    const session = this.#session
    if (session === null || this.#clock.now() < session.heartbeatAtMs) return
    session.heartbeatAtMs = this.#clock.now() + heartbeatMs
    this.#send({ type: 'HEARTBEAT' })
  }

  #allocate (): void {
    const session = this.#session
    if (session === null || session.suppressed) return
    const offers: Offer[] = []
    for (const agent of this.agents) {
      if (!this.isKnown(agent)) continue
      const items = free(agent)
      const refused = agent.filters.some((filter) => filter.untilMs > this.#clock.now() && items.every((item) => filter.items.has(item)))
      if (items.length === 0 || refused) continue
      const id = `offer-${++this.#sequence}`
      for (const item of items) item.offer = id
      this.#offers.set(id, { agent, items })
      offers.push(this.#describe(id, agent, items))
    }
    if (offers.length > 0 && !this.happens('loseOffers')) this.#send({ type: 'OFFERS', offers: { offers } })
  }

  #describe (id: string, agent: ModelAgent, items: Item[]): Offer {
    const allocation_info = { role: 'atoll' }
    return {
      id: { value: id },
      framework_id: { value: this.frameworkId },
      agent_id: { value: agent.id },
      hostname: agent.hostname,
      allocation_info,
      resources: items.flatMap(({ resource }): Resource[] => resource !== null
        ? [structuredClone(resource)]
        : [
            { name: 'cpus', type: 'SCALAR', scalar: { value: agent.cpus }, allocation_info },
            { name: 'mem', type: 'SCALAR', scalar: { value: agent.mem }, allocation_info },
            { name: 'disk', type: 'SCALAR', scalar: { value: agent.disk }, allocation_info },
            { name: 'ports', type: 'RANGES', ranges: { range: [...agent.ports].map((port) => ({ begin: port, end: port })) }, allocation_info }
          ])
    }
  }

  #release (id: string): Item[] {
    const offer = this.#offers.get(id)
    if (offer === undefined) return []
    this.#offers.delete(id)
    for (const item of offer.items) item.offer = null
    return offer.items
  }

  #handle (call: CallBody): void {
    this.calls.push(call)
    switch (call.type) {
      case 'DECLINE': {
        for (const { value } of call.decline.offer_ids) {
          const agent = this.#offers.get(value)?.agent
          const items = this.#release(value)
          agent?.filters.push({ items: new Set(items), untilMs: this.#clock.now() + (call.decline.filters?.refuse_seconds ?? 5) * 1000 })
        }
        break
      }
      case 'REVIVE':
        this.#session!.suppressed = false
        for (const agent of this.agents) agent.filters = []
        this.#allocate()
        break
      case 'SUPPRESS': this.#session!.suppressed = true; break
      case 'TEARDOWN': {
        for (const task of this.liveTasks()) this.endTask(task.info.task_id.value, 'TASK_KILLED')
        this.tornDown = true
        this.disconnect()
        break
      }
      case 'ACCEPT': this.#accept(call.accept); break
      case 'ACCEPT_INVERSE_OFFERS': this.maintenance.accept(call.accept_inverse_offers.inverse_offer_ids.map(({ value }) => value)); break
      case 'DECLINE_INVERSE_OFFERS': this.maintenance.decline(call.decline_inverse_offers.inverse_offer_ids.map(({ value }) => value), call.decline_inverse_offers.filters?.refuse_seconds ?? 5); break
      case 'ACKNOWLEDGE': this.#acknowledge(call.acknowledge.task_id.value, call.acknowledge.uuid); break
      case 'ACKNOWLEDGE_OPERATION_STATUS': this.#operations.delete(call.acknowledge_operation_status.uuid); break
      case 'RECONCILE_OPERATIONS': for (const { operation_id: id } of call.reconcile_operations.operations) this.#reconcileOperation(id.value); break
      case 'RECONCILE': this.#reconcile(call.reconcile.tasks.map(({ task_id: id, agent_id: agent }) => [id.value, agent?.value])); break
      case 'KILL': {
        const task = this.tasks.get(call.kill.task_id.value)
        if (task === undefined || task.isOrphan) this.#reconcile([[call.kill.task_id.value, call.kill.agent_id?.value]])
        else if (!isTerminal(task.state) && this.isKnown(task.agent)) {
          this.onKill(task.info.name)
          this.endTask(task.info.task_id.value, 'TASK_KILLED')
        }
        break
      }
    }
  }

  #accept ({ offer_ids, operations, filters }: { offer_ids: Array<{ value: string }>, operations: Operation[], filters?: { refuse_seconds?: number } }): void {
    const offers = offer_ids.map(({ value }) => this.#offers.get(value))
    const valid = offers.every((offer) => offer !== undefined)
    const agent = offers[0]?.agent
    const items = new Set(offer_ids.flatMap(({ value }) => this.#release(value)))
    for (const operation of operations) {
      if (valid && agent !== undefined) this.#apply(agent, items, operation)
      else this.#reject(operation)
    }
    agent?.filters.push({ items: new Set([...items].filter(({ task }) => task === null)), untilMs: this.#clock.now() + (filters?.refuse_seconds ?? 5) * 1000 })
  }

  #reject (operation: Operation): void {
    if (operation.type !== 'LAUNCH') {
      this.#feedback(operation, null, 'OPERATION_ERROR')
      return
    }
    for (const info of operation.launch.task_infos) this.#status(info, { state: 'TASK_DROPPED', reason: 'REASON_INVALID_OFFERS' })
  }

  #status ({ task_id, agent_id }: TaskInfo, status: Pick<TaskStatus, 'state' | 'reason'>): void {
    this.#send({ type: 'UPDATE', update: { status: { task_id, agent_id, source: 'SOURCE_MASTER', ...status } } })
  }

  #apply (agent: ModelAgent, items: Set<Item>, operation: Operation): void {
    if (operation.type === 'LAUNCH') {
      for (const info of operation.launch.task_infos) this.#launch(agent, items, info)
      return
    }
    if (this.happens('dropOperation')) return
    const done = !this.happens('failOperation') && this.#change(agent, items, operation)
    this.#feedback(operation, agent, done ? 'OPERATION_FINISHED' : 'OPERATION_ERROR')
  }

  #change (agent: ModelAgent, items: Set<Item>, operation: Exclude<Operation, { type: 'LAUNCH' }>): boolean {
    const find = (wanted: Resource): Item | undefined => [...items].find(({ resource, task }) => task === null && resource !== null && same(resource, wanted))
    switch (operation.type) {
      case 'RESERVE': {
        const { resources } = operation.reserve
        if (![...items].some(({ resource }) => resource === null) || !take(agent, resources)) return false
        for (const resource of resources) insert(agent, items, resource)
        return true
      }
      case 'CREATE': {
        const volume = operation.create.volumes[0]!
        const { disk: _disk, ...plain } = volume
        const item = find(plain)
        if (item === undefined) return false
        item.resource = structuredClone(volume)
        return true
      }
      case 'DESTROY': {
        const found = operation.destroy.volumes.map(find)
        for (const item of found) {
          if (item?.resource == null) continue
          this.onDestroy(item.resource.disk!.persistence!.id)
          delete item.resource.disk
        }
        return found.every((item) => item !== undefined)
      }
      case 'GROW_VOLUME': {
        const { volume, addition } = operation.grow_volume
        return this.growsVolumes && grow(agent, items, { volume: find(volume), addition: find(addition) ?? split(agent, items, addition) })
      }
      case 'UNRESERVE': {
        const found = operation.unreserve.resources.map((resource) => find(resource) ?? split(agent, items, resource))
        if (found.some((item) => item === undefined)) return false
        for (const item of found) {
          agent.items.splice(agent.items.indexOf(item!), 1)
          items.delete(item!)
          give(agent, item!.resource!)
        }
        return true
      }
    }
  }

  /** Only of what succeeded is there an update that is repeated until it is acknowledged. */
  #feedback (operation: Exclude<Operation, { type: 'LAUNCH' }>, agent: ModelAgent | null, state: OperationState): void {
    if (operation.id === undefined) return
    if (state !== 'OPERATION_FINISHED') {
      if (!this.happens('loseFeedback')) this.#sendLate({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: { operation_id: operation.id, state } } })
      return
    }
    const uuid = this.#random.bytes(16).toString('base64')
    const status: OperationStatus = { operation_id: operation.id, state, uuid: { value: uuid }, agent_id: { value: agent!.id } }
    this.#operations.set(uuid, { status, agent: agent! })
    this.#deliverOperation(this.#operations.get(uuid)!)
  }

  #deliverOperation (operation: ModelOperation): void {
    const uuid = operation.status.uuid!.value
    if (this.#stopped || this.#operations.get(uuid) !== operation) return
    if (this.isKnown(operation.agent) && !this.happens('loseFeedback')) this.#sendLate({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: operation.status } })
    this.#clock.setTimer(() => { this.#deliverOperation(operation) }, updateRepeatMs)
  }

  #reconcileOperation (id: string): void {
    const known = [...this.#operations.values()].find(({ status }) => status.operation_id?.value === id)
    const status: OperationStatus = known === undefined || known.agent.returnsAtMs !== null
      ? { operation_id: { value: id }, state: 'OPERATION_UNKNOWN' }
      : known.agent.isGone
        ? { operation_id: { value: id }, state: 'OPERATION_GONE_BY_OPERATOR' }
        : known.agent.reachable ? known.status : { operation_id: { value: id }, state: 'OPERATION_UNREACHABLE' }
    this.#sendLate({ type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status } })
  }

  #launch (agent: ModelAgent, items: Set<Item>, info: TaskInfo): void {
    if (this.happens('dropLaunch')) {
      this.#status(info, { state: 'TASK_DROPPED', reason: 'REASON_AGENT_DISCONNECTED' })
      return
    }
    const used = pick(items, info.resources)
    if (used.some((item) => item === undefined) || this.tasks.has(info.task_id.value)) {
      this.#status(info, { state: 'TASK_ERROR', reason: 'REASON_TASK_INVALID' })
      return
    }
    for (const item of used) item!.task = info.task_id.value
    this.launches.push(info)
    this.#checkVolume(info)
    const task: ModelTask = { info, state: 'TASK_STAGING', agent, updates: [], startedAtMs: this.#clock.now(), isOrphan: false }
    this.tasks.set(info.task_id.value, task)
    this.#clock.setTimer(() => { if (task.state === 'TASK_STAGING') this.#update(task, 'TASK_STARTING') }, 20)
    this.#clock.setTimer(() => { if (task.state === 'TASK_STARTING') this.#update(task, 'TASK_RUNNING') }, 60)
  }

  #checkVolume (info: TaskInfo): void {
    const volume = volumeOf(info)
    if (volume === undefined) this.violations.push(`${info.task_id.value} has no volume`)
    for (const other of this.liveTasks()) {
      if (volumeOf(other.info) === volume) this.violations.push(`${info.task_id.value} and ${other.info.task_id.value} share ${volume}`)
      if (other.info.name === info.name) this.violations.push(`${info.name} runs twice`)
    }
  }

  /** As the agent reports: kept and repeated until it is acknowledged, one at a time. */
  #update (task: ModelTask, state: TaskState, reason?: string): void {
    task.state = state
    if (task.isOrphan) return
    const uuid = this.#random.bytes(16).toString('base64')
    const { task_id, agent_id } = task.info
    task.updates.push({ task_id, agent_id, state, uuid, source: 'SOURCE_EXECUTOR', ...(reason === undefined ? {} : { reason }) })
    if (task.updates.length === 1) this.deliver(task)
  }

  deliver (task: ModelTask): void {
    const status = task.updates[0]
    if (status === undefined || !this.isKnown(task.agent) || this.#session === null) return
    this.#sendLate({ type: 'UPDATE', update: { status } })
    if (this.happens('repeatUpdate')) this.#send({ type: 'UPDATE', update: { status } })
    this.#clock.setTimer(() => { if (task.updates[0] === status && !this.#stopped) this.deliver(task) }, updateRepeatMs)
  }

  #acknowledge (taskId: string, uuid: string): void {
    const task = this.tasks.get(taskId)
    if (task === undefined || task.updates[0]?.uuid !== uuid) return
    task.updates.shift()
    this.deliver(task)
  }

  tellTask ({ info, isOrphan }: ModelTask, state: TaskState, reason?: string): void {
    if (isOrphan || (reason !== 'REASON_RECONCILIATION' && this.happens('loseNews'))) return
    this.#status(info, { state, ...(reason === undefined ? {} : { reason }) })
  }

  #reconcile (asked: Array<[string, string | undefined]>): void {
    const reason = 'REASON_RECONCILIATION'
    if (asked.length === 0) for (const task of this.liveTasks().filter(({ agent }) => agent.returnsAtMs === null)) this.tellTask(task, task.agent.reachable ? task.state : 'TASK_UNREACHABLE', reason)
    for (const [id, agentId] of asked) {
      const found = this.tasks.get(id)
      const task = found?.isOrphan === true ? undefined : found
      const agent = this.agents.find((each) => each.id === agentId)
      const info = { task_id: { value: id }, agent_id: { value: agentId ?? '' } } as TaskInfo
      // Not known yet: silence, or an answer that means nothing, as the registry is kept or not.
      if (agent?.returnsAtMs != null) {
        if (this.#random.chance(0.5)) this.#status(info, { state: 'TASK_UNKNOWN', reason })
        continue
      }
      if (agent?.isGone === true) this.#status(info, { state: 'TASK_GONE_BY_OPERATOR', reason })
      else if (agent === undefined) this.#status(info, { state: 'TASK_UNKNOWN', reason })
      else if (!agent.reachable) this.#status(info, { state: 'TASK_UNREACHABLE', reason })
      else if (task === undefined || (isTerminal(task.state) && task.updates.length === 0)) this.#status(info, { state: 'TASK_GONE', reason })
      else this.tellTask(task, task.updates[0]?.state ?? task.state, reason)
    }
  }
}
