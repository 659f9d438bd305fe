import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { KvOperation, Random } from '../../fsnode/protocol/ports.ts'
import type { MasterNotice } from '../mesos/client.ts'
import type { CallBody, FrameworkInfo, InverseOffer, SchedulerEvent } from '../mesos/types.ts'
import { garbageSearchMs, killRepeatMs, launchTimeoutMs, nodesMax, reserveTimeoutMs, stableAfterMs, updatesSeenMax } from './constants.ts'
import { OfferDemand, currentNeeds } from './needs.ts'
import { backoffMs, endTask, ensureCount, giveUpPlace, removeNode } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { handleOffers } from './offers.ts'
import { Reconciler } from './reconciler.ts'
import type { FrameworkState } from './state.ts'
import { acknowledgement, handleOperationStatus, handleTaskStatus } from './updates.ts'
import { statusOf } from './status.ts'
import type { FrameworkSettings, FrameworkStatus, NodeRecord, TaskRecord } from './types.ts'

export type FrameworkInput =
  | { type: 'notice', notice: MasterNotice }
  /** Time has passed: at `deadlineMs` at the latest. */
  | { type: 'tick' }
  | { type: 'setNodes', nodes: number }
  | { type: 'releaseNode', id: string }
  | { type: 'setGoal', goal: 'running' | 'stopped' }
  /** The master has removed our framework id and killed its tasks; the operator wants to go on under a new one. */
  | { type: 'forgetFrameworkId' }

/** To be done in this order: the writes are durable before a call is sent. */
export interface FrameworkEffects { writes: KvOperation[], calls: CallBody[] }

export interface FrameworkCoreComponents { random: Random }
export interface FrameworkCoreInit { state: FrameworkState, settings: FrameworkSettings, nowMs: number }

const inverseOfferRefuseSeconds = 60

/** The framework's decisions: an input in, records and calls out. Knows no clock, no network and no disk. */
export class FrameworkCore {
  readonly #random: Random
  readonly #state: FrameworkState
  readonly #settings: FrameworkSettings
  readonly #reconciler = new Reconciler()
  readonly #demand = new OfferDemand()
  readonly #updatesSeen = new Set<string>()
  #master: string | null = null
  #problem: FrameworkStatus['problem'] = null
  #nowMs: number

  constructor (components: FrameworkCoreComponents, init: FrameworkCoreInit) {
    this.#random = components.random
    this.#state = init.state
    this.#settings = init.settings
    this.#nowMs = init.nowMs
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
  step (input: FrameworkInput, nowMs: number): FrameworkEffects {
    this.#nowMs = nowMs
    const calls = this.#handle(input)
    calls.push(...this.#settle())
    return { writes: this.#state.takeWrites(), calls: this.#master === null ? [] : calls }
  }

  /** Monotonic time of the next tick that is needed. */
  get deadlineMs (): number {
    const connected = this.#master !== null
    const deadlines = this.#state.sortedNodes().map((node) => this.#nodeDeadline(node, connected))
    if (connected) deadlines.push(this.#reconciler.deadlineMs, this.#demand.deadlineMs)
    return Math.min(Infinity, ...deadlines)
  }

  status (nowMs: number): FrameworkStatus {
    this.#nowMs = nowMs
    return statusOf(this.#context(), this.#master, this.#problem)
  }

  /** Tasks that may run. */
  get tasks (): TaskRecord[] {
    return this.#state.sortedNodes().flatMap(({ task }) => task ?? [])
  }

  #context (): StepContext {
    return { state: this.#state, settings: this.#settings, random: this.#random, nowMs: this.#nowMs }
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
      case 'forgetFrameworkId': this.#forgetFrameworkId(); return []
      case 'setGoal':
        if (this.#state.framework.goal === 'stopped' && input.goal === 'running') this.#beginAnew()
        this.#state.framework.goal = input.goal
        this.#state.saveFramework()
        return []
    }
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
      case 'INVERSE_OFFERS': return event.inverse_offers.inverse_offers.map((offer) => this.#answerInverse(offer))
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

  /** Advice to the operator: a machine may go while every node on other machines runs. */
  #answerInverse (offer: InverseOffer): CallBody {
    const inverse_offer_ids = [offer.id]
    const others = this.#state.activeNodes().filter(({ agentId }) => agentId !== offer.agent_id?.value)
    return others.every(({ task }) => task?.state === 'TASK_RUNNING')
      ? { type: 'ACCEPT_INVERSE_OFFERS', accept_inverse_offers: { inverse_offer_ids } }
      : { type: 'DECLINE_INVERSE_OFFERS', decline_inverse_offers: { inverse_offer_ids, filters: { refuse_seconds: inverseOfferRefuseSeconds } } }
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
      node.goal = 'run'
      this.#state.saveNode(node)
    }
    ensureCount(this.#state)
    const active = this.#state.activeNodes()
    const candidates = active.filter(({ id }) => !framework.managers.includes(id)).reverse()
    for (const node of candidates.slice(0, Math.max(0, active.length - nodes))) this.#drain(node)
  }

  /** A node that never ran holds no data: it can go at once. */
  #drain (node: NodeRecord): void {
    if (node.launches === 0) {
      removeNode(this.#context(), node)
      return
    }
    node.goal = 'drain'
    node.reason = 'surplus: runs on until its data is elsewhere and it is released'
    this.#state.saveNode(node)
  }

  #releaseNode (id: string): void {
    const node = this.#state.nodes.get(id)
    if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${id}`)
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
    const calls = this.#state.sortedNodes().flatMap((node) => this.#settleNode(node, connected))
    if (!connected) return []
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
    if (isProving(node) && this.#isPast(runtime.placingSinceMs, reserveTimeoutMs)) {
      giveUpPlace(this.#context(), node, `no proof of its place on ${node.host} within ${reserveTimeoutMs / 1000} s`)
    }
    if (task === null) return []
    if (isAwaited(task) && this.#isPast(runtime.launchedAtMs, launchTimeoutMs)) {
      runtime.launchedAtMs = this.#nowMs
      this.#reconciler.add(task.id, this.#nowMs)
    }
    if (!this.#isToEnd(node) || (runtime.killSentAtMs !== null && !this.#isPast(runtime.killSentAtMs, killRepeatMs))) return []
    runtime.killSentAtMs = this.#nowMs
    return [{ type: 'KILL', kill: { task_id: { value: task.id }, agent_id: { value: task.agentId } } }]
  }

  #isToEnd (node: NodeRecord): boolean {
    return node.task !== null && (this.#state.framework.goal === 'stopped' || node.goal === 'remove')
  }

  #isPast (sinceMs: number | null, delayMs: number): boolean {
    return sinceMs !== null && sinceMs + delayMs <= this.#nowMs
  }

  #nodeDeadline (node: NodeRecord, connected: boolean): number {
    const runtime = this.#state.runtime(node)
    const deadlines = [Infinity]
    if (node.task?.state === 'TASK_RUNNING' && node.attempts > 0 && runtime.runningSinceMs !== null) deadlines.push(runtime.runningSinceMs + stableAfterMs)
    if (runtime.retryAtMs !== null && runtime.retryAtMs > this.#nowMs) deadlines.push(runtime.retryAtMs)
    if (connected && isProving(node)) deadlines.push(runtime.placingSinceMs + reserveTimeoutMs)
    if (connected && isAwaited(node.task)) deadlines.push(runtime.launchedAtMs + launchTimeoutMs)
    if (connected && this.#isToEnd(node)) deadlines.push((runtime.killSentAtMs ?? this.#nowMs) + killRepeatMs)
    return Math.min(...deadlines)
  }
}

const isProving = ({ placement }: NodeRecord): boolean => placement === 'reserving' || placement === 'creating'
const isAwaited = (task: TaskRecord | null): boolean => task?.state === 'TASK_STAGING' || task?.state === 'TASK_STARTING'
