import type { ClusterMap } from '../../partitioning/types.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { KvOperation, Random } from '../../fsnode/protocol/ports.ts'
import type { MasterNotice } from '../mesos/client.ts'
import type { CallBody, FrameworkInfo, SchedulerEvent } from '../mesos/types.ts'
import { drain, replaceDeadlineMs, settleAway, trimSurplus } from './away.ts'
import type { ClusterView } from './cluster-view.ts'
import { configurationVersion, hashOf } from './configuration.ts'
import { garbageSearchMs, killRepeatMs, launchTimeoutMs, nodesMax, probeIntervalMs, reserveTimeoutMs, restoreGraceMs, stableAfterMs, updatesSeenMax } from './constants.ts'
import { settleDrains } from './drains.ts'
import type { ClusterRequest } from './drains.ts'
import { consentedAgents, inverseOffered, inverseOfferRescinded, inverseOffersLost, maintenanceAnswers, maintenanceDeadlineMs, settleMaintenance } from './maintenance.ts'
import { OfferDemand, currentNeeds } from './needs.ts'
import { backoffMs, endTask, ensureCount, giveUpPlace, isOutdated, isToEnd, removeNode } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { handleOffers } from './offers.ts'
import { Reconciler } from './reconciler.ts'
import type { FrameworkState } from './state.ts'
import { acknowledgement, handleOperationStatus, handleTaskStatus, probeId } from './updates.ts'
import { settleSearch } from './resize.ts'
import { settleRollout } from './rollout.ts'
import { checkSizes, isResized } from './sizes.ts'
import type { SizesChange } from './sizes.ts'
import { statusOf } from './status.ts'
import type { FrameworkSettings, FrameworkStatus, NodeConfiguration, NodeRecord, PlanName, TaskRecord } from './types.ts'
import { Uninstall } from './uninstall.ts'
import { handOverDeadlineMs, handsOver, settleYields } from './yields.ts'

export type FrameworkInput =
  | { type: 'notice', notice: MasterNotice }
  /** Time has passed: at `deadlineMs` at the latest. */
  | { type: 'tick' }
  | { type: 'setNodes', nodes: number }
  /** Ends a node whatever it holds. */
  | { type: 'releaseNode', id: string }
  /** Moves a node's data away, then ends it; another one takes its place. */
  | { type: 'replaceNode', id: string }
  | { type: 'setGoal', goal: 'running' | 'stopped' }
  /** Restarts nodes one fault domain after another: those that run with another configuration, or all. */
  | { type: 'update', configuration?: Partial<NodeConfiguration>, sizes?: SizesChange, force?: boolean }
  | { type: 'pause', plan: PlanName, paused: boolean }
  /** Tries a node again at once. */
  | { type: 'retry', id: string }
  /** Gives everything back. */
  | { type: 'uninstall' }
  /** What the storage cluster says of itself. */
  | { type: 'cluster', map: ClusterMap }
  /** Resource ids of this cluster that the master knows to be reserved, on all agents that it can reach. */
  | { type: 'reserved', resourceIds: string[], agentIds: string[] }
  /** The master has removed our framework id and killed its tasks; the operator wants to go on under a new one. */
  | { type: 'forgetFrameworkId' }

/** To be done in this order: the writes are durable before a call is sent, or anything is asked of the storage cluster. */
export interface FrameworkEffects {
  writes: KvOperation[]
  calls: CallBody[]
  requests: ClusterRequest[]
  /** Why the subscription is to be made anew after the calls; null: it is not. */
  resubscribe: string | null
}

export interface FrameworkCoreComponents { random: Random }
/** `nowMs` is monotonic, `wallMs` counts from the epoch. */
export interface FrameworkCoreInit { state: FrameworkState, settings: FrameworkSettings, nowMs: number, wallMs?: number }

/** The framework's decisions: an input in, records and calls out. Knows no clock, no network and no disk. */
export class FrameworkCore {
  readonly #random: Random
  readonly #state: FrameworkState
  readonly #settings: FrameworkSettings
  readonly #reconciler = new Reconciler()
  readonly #demand = new OfferDemand()
  readonly #uninstall = new Uninstall()
  readonly #updatesSeen = new Set<string>()
  #view: ClusterView | null = null
  #master: string | null = null
  #problem: FrameworkStatus['problem'] = null
  #nowMs: number
  #wallMs: number
  #subscribedAtMs = 0

  constructor (components: FrameworkCoreComponents, init: FrameworkCoreInit) {
    this.#random = components.random
    this.#state = init.state
    this.#settings = init.settings
    this.#nowMs = init.nowMs
    this.#wallMs = init.wallMs ?? init.nowMs
    this.#takeFlags()
    this.#resume()
  }

  get frameworkInfo (): FrameworkInfo {
    const { name, user, role, principal, failoverTimeoutMs, webuiUrl } = this.#settings
    const { frameworkId } = this.#state.framework
    return {
      user,
      name,
      roles: [role],
      principal,
      // Immutable at the master: a framework that began without it could never survive an agent's restart.
      checkpoint: true,
      failover_timeout: failoverTimeoutMs / 1000,
      capabilities: [
        { type: 'PARTITION_AWARE' }, { type: 'MULTI_ROLE' }, { type: 'RESERVATION_REFINEMENT' },
        { type: 'TASK_KILLING_STATE' }, { type: 'REGION_AWARE' }
      ],
      ...(webuiUrl === undefined ? {} : { webui_url: webuiUrl }),
      ...(frameworkId === null ? {} : { id: { value: frameworkId } })
    }
  }

  /** Throws, and changes nothing, when an operator's input is not possible: ATOLL_INVALID, ATOLL_UNKNOWN_NODE. */
  step (input: FrameworkInput, nowMs: number, wallMs: number = nowMs): FrameworkEffects {
    this.#nowMs = nowMs
    this.#wallMs = wallMs
    const calls = this.#handle(input)
    const { state } = this.#context()
    settleAway(this.#context())
    const requests = settleDrains(this.#context())
    settleRollout(this.#context())
    requests.push(...settleYields(this.#context()))
    const isConnected = this.#master !== null
    if (isConnected) calls.push(...settleMaintenance(this.#context()))
    calls.push(...this.#settle())
    const resubscribe = isConnected && !this.#uninstall.isTornDown ? this.#demand.starved(nowMs) : null
    return { writes: state.takeWrites(), calls: isConnected ? calls : [], requests, resubscribe }
  }

  /** Monotonic time of the next tick that is needed. */
  get deadlineMs (): number {
    const connected = this.#master !== null
    const deadlines = this.#state.sortedNodes().map((node) => this.#nodeDeadline(node, connected))
    if (connected) deadlines.push(this.#reconciler.deadlineMs, this.#demand.deadlineMs, this.#uninstall.deadlineMs, maintenanceDeadlineMs(this.#state))
    if (connected && this.#state.framework.restored) deadlines.push(this.#subscribedAtMs + restoreGraceMs)
    const replaceMs = replaceDeadlineMs(this.#context())
    // A deadline of the wall clock, in the time of this process.
    if (replaceMs !== Infinity) deadlines.push(Math.max(this.#nowMs + 1, this.#nowMs + replaceMs - this.#wallMs))
    return Math.min(Infinity, ...deadlines)
  }

  status (nowMs: number): FrameworkStatus {
    this.#nowMs = nowMs
    return statusOf(this.#context(), { master: this.#master, problem: this.#problem, maintenance: maintenanceAnswers(this.#state), listed: this.#uninstall.listed })
  }

  get clusterId (): string { return this.#state.framework.clusterId }

  get configuration (): NodeConfiguration { return this.#state.framework.configuration! }

  /** TEARDOWN was sent on this subscription. */
  get isTornDown (): boolean { return this.#uninstall.isTornDown }

  /** Where nodes run. */
  get seeds (): Array<{ host: string, port: number }> {
    return this.#state.sortedNodes().flatMap(({ task, host, rpcPort }) => task?.state === 'TASK_RUNNING' && host !== null && rpcPort !== null ? { host, port: rpcPort } : [])
  }

  /** Tasks that may run. */
  get tasks (): TaskRecord[] {
    return this.#state.sortedNodes().flatMap(({ task }) => task ?? [])
  }

  #context (): StepContext {
    return { state: this.#state, settings: this.#settings, random: this.#random, nowMs: this.#nowMs, wallMs: this.#wallMs, view: this.#view, consented: consentedAgents(this.#state) }
  }

  /** A change of the flags since the last start replaces the configuration; else what an update has set stays. */
  #takeFlags (): void {
    const { framework } = this.#state
    const hash = hashOf(this.#settings.configuration)
    if (framework.configuration === null || framework.flagsHash !== hash) {
      framework.configuration = this.#settings.configuration
      framework.flagsHash = hash
      this.#state.saveFramework()
    }
    const { cpus, memMb } = this.#settings.resources
    const sizesHash = hashOf({ cpus, memMb })
    if (framework.sizes === null || framework.sizesHash !== sizesHash) {
      framework.sizes = { cpus, memMb }
      framework.sizesHash = sizesHash
      framework.sizesAsked = null
      this.#state.saveFramework()
    }
    this.#state.version = configurationVersion(framework.configuration, framework.generation)
  }

  /** Back-offs and searches begin anew: monotonic times mean nothing to another process. */
  #resume (): void {
    const state = this.#state
    for (const node of state.nodes.values()) {
      const runtime = state.runtime(node)
      const delayMs = node.task === null ? backoffMs(node.attempts, this.#random) : 0
      runtime.retryAtMs = delayMs === 0 ? null : this.#nowMs + delayMs
      runtime.placingSinceMs = this.#nowMs
      runtime.launchedAtMs = this.#nowMs
      runtime.runningSinceMs = node.task?.state === 'TASK_RUNNING' ? this.#nowMs : null
    }
    for (const resourceId of state.garbage.keys()) state.garbageUntilMs.set(resourceId, this.#nowMs + garbageSearchMs)
  }

  #handle (input: FrameworkInput): CallBody[] {
    switch (input.type) {
      case 'notice': return this.#onNotice(input.notice)
      case 'tick': return []
      case 'setNodes': this.#setNodes(input.nodes); return []
      case 'releaseNode': this.#releaseNode(input.id); return []
      case 'replaceNode': this.#replaceNode(input.id); return []
      case 'forgetFrameworkId': this.#forgetFrameworkId(); return []
      case 'update': this.#update(input.configuration ?? {}, input.sizes ?? {}, input.force === true); return []
      case 'pause': this.#pause(input.plan, input.paused); return []
      case 'retry': this.#retry(input.id); return []
      case 'uninstall': this.#setGoal('uninstalling'); return []
      case 'cluster':
        this.#view = { map: input.map, atMs: this.#nowMs }
        for (const { id } of input.map.nodes) this.#state.noteId(id)
        return []
      case 'reserved': this.#uninstall.reserved(this.#context(), input); return []
      case 'setGoal': this.#setGoal(input.goal); return []
    }
  }

  /** Once everything is being given back there is no way back. */
  #setGoal (goal: 'running' | 'stopped' | 'uninstalling'): void {
    const { framework } = this.#state
    if (framework.goal === 'uninstalled' || (framework.goal === 'uninstalling' && goal !== 'uninstalling')) return
    if (framework.goal === 'stopped' && goal === 'running') this.#beginAnew()
    if (framework.goal === goal) return
    framework.goal = goal
    this.#state.saveFramework()
  }

  #update (change: Partial<NodeConfiguration>, sizes: SizesChange, force: boolean): void {
    const { framework } = this.#state
    checkSizes(this.#state, sizes)
    const { cpus = framework.sizes!.cpus, memMb = framework.sizes!.memMb, diskMb } = sizes
    framework.sizes = { cpus, memMb }
    framework.sizesAsked = force ? 'forced' : 'asked'
    framework.volumeMb = diskMb ?? framework.volumeMb
    // Asked for anew, it is tried anew.
    if (diskMb !== undefined) for (const node of this.#state.nodes.values()) if (node.growthRefused !== null) this.#state.saveNode(Object.assign(node, { growthRefused: null }))
    const configuration = { ...framework.configuration!, ...change }
    const before = this.#state.version
    framework.configuration = configuration
    // Without any node that is outdated, to restart all is what is wanted.
    const isNew = configurationVersion(configuration, framework.generation) !== before
    const outdated = this.#state.activeNodes().some((node) => node.launches > 0 && (node.version !== before || isResized(this.#state, node)))
    if (!isNew && !outdated && Object.keys(sizes).length === 0) framework.generation++
    this.#state.version = configurationVersion(configuration, framework.generation)
    framework.updating = true
    framework.updateForced = force
    this.#state.saveFramework()
  }

  #pause (plan: PlanName, paused: boolean): void {
    const { framework } = this.#state
    framework.paused = [...framework.paused.filter((each) => each !== plan), ...(paused ? [plan] : [])]
    this.#state.saveFramework()
  }

  #retry (id: string): void {
    const node = this.#nodeOf(id)
    node.attempts = 0
    this.#state.runtime(node).retryAtMs = null
    this.#state.saveNode(node)
  }

  #nodeOf (id: string): NodeRecord {
    const node = this.#state.nodes.get(id)
    if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${id}`, { hint: `those that exist: ${[...this.#state.nodes.keys()].join(', ')}` })
    return node
  }

  /** Whoever starts what was stopped may have removed what failed before: each node is tried at once. */
  #beginAnew (): void {
    for (const node of this.#state.sortedNodes()) {
      if (node.attempts === 0) continue
      node.attempts = 0
      this.#state.runtime(node).retryAtMs = null
      this.#state.saveNode(node)
    }
  }

  #onNotice (notice: MasterNotice): CallBody[] {
    switch (notice.type) {
      case 'subscribed': this.#onSubscribed(notice.frameworkId, notice.url); return []
      case 'event': return this.#onEvent(notice.event)
      case 'disconnected':
      case 'stopped':
        this.#master = null
        this.#reconciler.stop()
        this.#problem = { code: notice.code, message: notice.message, final: notice.type === 'stopped' }
        return []
      case 'refused':
        // Nothing of it was done; the offers are still ours to give back.
        return notice.call.type === 'ACCEPT' ? [{ type: 'DECLINE', decline: { offer_ids: notice.call.accept.offer_ids } }] : []
    }
  }

  #onSubscribed (frameworkId: string, url: string): void {
    const { framework } = this.#state
    const fresh = framework.frameworkId === null
    this.#master = url
    this.#problem = null
    if (framework.frameworkId !== frameworkId) {
      framework.frameworkId = frameworkId
      this.#state.saveFramework()
    }
    this.#state.strays.clear()
    for (const node of this.#state.nodes.values()) {
      const runtime = this.#state.runtime(node)
      runtime.placingSinceMs = this.#nowMs
      runtime.launchedAtMs = this.#nowMs
      runtime.killSentAtMs = null
    }
    this.#reconciler.start(this.tasks.map(({ id }) => id), this.#nowMs)
    this.#reconciler.startOperations(this.#state.sortedNodes())
    inverseOffersLost(this.#state, this.#nowMs)
    this.#uninstall.subscribed(this.#nowMs)
    this.#subscribedAtMs = this.#nowMs
    this.#demand.subscribed(fresh, currentNeeds(this.#context()), this.#nowMs)
  }

  #onEvent (event: SchedulerEvent): CallBody[] {
    switch (event.type) {
      case 'OFFERS': return handleOffers(this.#context(), event.offers.offers)
      case 'UPDATE': {
        const { status } = event.update
        this.#reconciler.answered(status.task_id.value, this.#nowMs)
        const calls = this.#isRepeated(status.uuid) ? [] : handleTaskStatus(this.#context(), status)
        return [...calls, ...acknowledgement(status)]
      }
      case 'UPDATE_OPERATION_STATUS': return handleOperationStatus(this.#context(), event.update_operation_status.status)
      case 'INVERSE_OFFERS': return event.inverse_offers.inverse_offers.flatMap((offer) => inverseOffered(this.#context(), offer))
      case 'RESCIND_INVERSE_OFFER': inverseOfferRescinded(this.#state, event.rescind_inverse_offer.inverse_offer_id.value); return []
      default: return []
    }
  }

  #isRepeated (uuid: string | undefined): boolean {
    if (uuid === undefined) return false
    if (this.#updatesSeen.has(uuid)) return true
    this.#updatesSeen.add(uuid)
    if (this.#updatesSeen.size > updatesSeenMax) this.#updatesSeen.delete(this.#updatesSeen.values().next().value!)
    return false
  }

  #setNodes (nodes: number): void {
    const { framework } = this.#state
    if (!Number.isInteger(nodes) || nodes < framework.managers.length || nodes > nodesMax) {
      throw new AtollError('ATOLL_INVALID', `cannot run ${nodes} nodes: between ${framework.managers.length} and ${nodesMax}`, {
        hint: `The manager group has ${framework.managers.length} members.`
      })
    }
    framework.nodes = nodes
    this.#state.saveFramework()
    for (const node of this.#state.sortedNodes()) {
      if (node.goal !== 'drain' || node.placement === 'lost' || this.#state.activeNodes().length >= nodes) continue
      node.reason = 'stays after all'
      node.goal = 'run'
      // An update that ended meanwhile did not wait for what was about to end anyway: it ends once, and holds nothing.
      node.restart ||= node.emptied && node.task !== null && isOutdated(this.#state, node)
      node.emptied = false
      this.#state.saveNode(node)
    }
    ensureCount(this.#state)
    trimSurplus(this.#context())
  }

  #replaceNode (id: string): void {
    const node = this.#nodeOf(id)
    if (node.placement !== 'lost' && node.goal === 'run') drain(this.#context(), node)
    ensureCount(this.#state)
  }

  #releaseNode (id: string): void {
    const node = this.#nodeOf(id)
    if (node.task === null) {
      removeNode(this.#context(), node)
    } else {
      node.goal = 'remove'
      node.reason = 'released: ends, and its volume is destroyed'
      this.#state.saveNode(node)
    }
    ensureCount(this.#state)
  }

  #forgetFrameworkId (): void {
    const { framework } = this.#state
    framework.frameworkId = null
    this.#state.saveFramework()
    for (const node of this.#state.sortedNodes()) {
      if (node.task !== null) endTask(this.#context(), node, { reason: 'the framework was removed', planned: true })
    }
  }

  /** What follows from the state and the time, whatever the input was. */
  #settle (): CallBody[] {
    const connected = this.#master !== null
    const { framework } = this.#state
    if (connected && framework.restored && this.#isPast(this.#subscribedAtMs, restoreGraceMs)) {
      framework.restored = false
      this.#state.saveFramework()
    }
    const calls = this.#state.sortedNodes().flatMap((node) => this.#settleNode(node, connected))
    if (!connected) return []
    const last = this.#uninstall.settle(this.#context())
    if (this.#uninstall.isTornDown) return last
    return [
      ...calls,
      ...this.#reconciler.calls(this.tasks, this.#nowMs),
      ...this.#demand.calls(this.#settings.role, currentNeeds(this.#context()), this.#nowMs)
    ]
  }

  #settleNode (node: NodeRecord, connected: boolean): CallBody[] {
    const runtime = this.#state.runtime(node)
    const { task } = node
    if (task?.state === 'TASK_RUNNING' && node.attempts > 0 && this.#isPast(runtime.runningSinceMs, stableAfterMs)) {
      node.attempts = 0
      this.#state.saveNode(node)
    }
    if (!connected) return []
    settleSearch(this.#context(), node)
    if (isProving(node) && this.#isPast(runtime.placingSinceMs, reserveTimeoutMs)) {
      giveUpPlace(this.#context(), node, `no proof of its place on ${node.host} within ${reserveTimeoutMs / 1000} s`)
    }
    if (task === null) {
      if (this.#state.framework.goal === 'uninstalling') removeNode(this.#context(), node)
      return this.#probe(node)
    }
    if (isAwaited(task) && this.#isPast(runtime.launchedAtMs, launchTimeoutMs)) {
      runtime.launchedAtMs = this.#nowMs
      this.#reconciler.add(task.id, this.#nowMs)
    }
    if (!isToEnd(this.#state, node) || handsOver(this.#context(), node) || (runtime.killSentAtMs !== null && !this.#isPast(runtime.killSentAtMs, killRepeatMs))) return []
    runtime.killSentAtMs = this.#nowMs
    return [{ type: 'KILL', kill: { task_id: { value: task.id }, agent_id: { value: task.agentId } } }]
  }

  /**
   * Nobody tells of the end of an agent on which no task of ours runs. But asked for any task of a gone agent the master says
   * that it is gone.
   */
  #probe (node: NodeRecord): CallBody[] {
    const runtime = this.#state.runtime(node)
    if (!isProbed(node) || node.agentId === null) return []
    runtime.probedAtMs ??= this.#nowMs
    if (!this.#isPast(runtime.probedAtMs, probeIntervalMs)) return []
    runtime.probedAtMs = this.#nowMs
    return [{ type: 'RECONCILE', reconcile: { tasks: [{ task_id: { value: probeId(node) }, agent_id: { value: node.agentId } }] } }]
  }

  #isPast (sinceMs: number | null, delayMs: number): boolean {
    return sinceMs !== null && sinceMs + delayMs <= this.#nowMs
  }

  #nodeDeadline (node: NodeRecord, connected: boolean): number {
    const runtime = this.#state.runtime(node)
    const deadlines = [Infinity]
    if (node.task?.state === 'TASK_RUNNING' && node.attempts > 0 && runtime.runningSinceMs !== null) deadlines.push(runtime.runningSinceMs + stableAfterMs)
    if (runtime.retryAtMs !== null && runtime.retryAtMs > this.#nowMs) deadlines.push(runtime.retryAtMs)
    if (connected && node.spareSought) deadlines.push(runtime.spareUntilMs ?? this.#nowMs + 1)
    if (connected && isProving(node)) deadlines.push(runtime.placingSinceMs + reserveTimeoutMs)
    if (connected && isAwaited(node.task)) deadlines.push(runtime.launchedAtMs + launchTimeoutMs)
    if (connected && isProbed(node)) deadlines.push((runtime.probedAtMs ?? this.#nowMs) + probeIntervalMs)
    if (connected && handsOver(this.#context(), node)) deadlines.push(handOverDeadlineMs(this.#context(), node))
    else if (connected && isToEnd(this.#state, node)) deadlines.push((runtime.killSentAtMs ?? this.#nowMs) + killRepeatMs)
    return Math.min(...deadlines)
  }
}

const isProving = ({ placement }: NodeRecord): boolean => placement === 'reserving' || placement === 'creating'
const isProbed = ({ placement, task, awaySinceMs }: NodeRecord): boolean => placement === 'placed' && task === null && awaySinceMs !== null
const isAwaited = (task: TaskRecord | null): boolean => task?.state === 'TASK_STAGING' || task?.state === 'TASK_STARTING'
