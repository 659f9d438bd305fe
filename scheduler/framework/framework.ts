import { userInfo } from 'node:os'
import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, Logger, Random, Timer } from '../../fsnode/protocol/ports.ts'
import type { MasterClient, MasterClientFactory, MasterCredentials, MasterNotice } from '../mesos/client.ts'
import type { TlsOptions } from '../mesos/http.ts'
import type { DiskType } from './agent-offer.ts'
import { failoverTimeoutMsDefault, inputQueueLengthMax, killGraceMsDefault, nodesMax, replaceAfterMsDefault, shutdownTimeoutMsDefault, storeRetryMs } from './constants.ts'
import { parseConstraint } from './constraints.ts'
import type { ClusterLink, ClusterLinkFactory } from './cluster-link.ts'
import { FrameworkCore } from './core.ts'
import type { FrameworkEffects, FrameworkInput } from './core.ts'
import type { SizesChange } from './sizes.ts'
import { loadState } from './state.ts'
import type { FrameworkSettings, FrameworkStatus, NodeCommand, NodeConfiguration, NodeHealthCheck, NodeResources, PlanName } from './types.ts'

export interface FrameworkComponents {
  /** Of its own; stays open when the framework closes. */
  kv: Kv
  clock: Clock
  random: Random
  log: Logger
  masterClientFactory: MasterClientFactory
  /** Without it nothing is known of the cluster: nodes are drained and updated only by force. */
  clusterLinkFactory?: ClusterLinkFactory
}

export interface FrameworkInit {
  /** 'host:port' or URLs of the masters, or one 'zk://...' */
  masters: string[]
  /** For masters that speak https. */
  tls?: TlsOptions
  /** Of its own: another framework of the role would be offered the volumes. */
  role: string
  principal: string
  /** With it the principal authenticates by HTTP Basic. */
  secret?: string
  name: string
  /** User that runs the tasks; by default the one of this process. */
  user?: string
  /** Wanted nodes. More than before: the cluster grows. Fewer: only `setNodes` shrinks it. */
  nodes: number
  nodesPerAgentMax?: number
  /** Of each node. */
  resources: NodeResources
  /** Of the disk that volumes are on; default: the agent's root disk. */
  diskType?: DiskType
  /** Where nodes may go; see `parseConstraint`. */
  constraints?: string[]
  nodeCommand: NodeCommand
  healthCheck?: NodeHealthCheck
  failoverTimeoutMs?: number
  killGraceMs?: number
  /** How long a node may be away before another one stands in for it. */
  replaceAfterMs?: number
  webuiUrl?: string
  /** When the master has removed our framework id, and killed its tasks: go on under a new id, on the old volumes. */
  newFrameworkIdIfRemoved?: boolean
}

export interface Framework {
  status (): FrameworkStatus
  /** What nodes are launched with. A copy. */
  configuration (): NodeConfiguration
  /** Calls after every step that may have changed the status. Returns how to stop it. */
  onChange (listener: () => void): () => void
  /** Resolves when it is durable. Surplus nodes that have run are drained, and go when they are released. Rejects with ATOLL_INVALID. */
  setNodes (nodes: number): Promise<void>
  /** Ends a node, destroys its volume and frees its resources. Its data must be elsewhere. Rejects with ATOLL_UNKNOWN_NODE. */
  releaseNode (id: string): Promise<void>
  /** Moves a node's data away, then ends it, while another one takes its place. Rejects with ATOLL_UNKNOWN_NODE. */
  replaceNode (id: string): Promise<void>
  /**
   * Begins to restart nodes one fault domain after another: those that run with another configuration than this one,
   * or all of them. `sizes`: what nodes are to have; volumes only grow. Resolves when that is durable; `status` tells how far it is.
   * Rejects with ATOLL_INVALID, ATOLL_VOLUME_SIZE.
   */
  update (change: Partial<NodeConfiguration>, options?: { force?: boolean, sizes?: SizesChange }): Promise<void>
  /** Whether a plan goes on. */
  setPaused (plan: PlanName, paused: boolean): Promise<void>
  /** Tries a node again at once. Rejects with ATOLL_UNKNOWN_NODE. */
  retry (id: string): Promise<void>
  /** Begins to give everything back: tasks end, volumes are destroyed, resources unreserved, the framework torn down. */
  uninstall (): Promise<void>
  /** What the master says is reserved for this cluster on the agents that it reaches, and which those are. */
  noteReserved (reserved: { resourceIds: string[], agentIds: string[] }): Promise<void>
  /** Leaves: tasks go on, another start adopts them. */
  close (): Promise<void>
  /** Kills all tasks, waits for their end and closes. Reservations and volumes stay. Rejects with ATOLL_TIMEOUT, closed all the same. */
  shutdown (options?: { timeoutMs?: number }): Promise<void>
}

/** Rejects with ATOLL_INVALID, ATOLL_INVALID_MASTER, ATOLL_STORE_CORRUPT, or as the store does. A master that is away is no error: see the status. */
export async function startFramework (components: FrameworkComponents, init: FrameworkInit): Promise<Framework> {
  validate(init)
  const { kv, random, clock } = components
  const state = await loadState(kv, random, init.nodes)
  // A store that cannot be written at the start is told at once; later the framework waits for it.
  await kv.batch(state.takeWrites(), { sync: true })
  const core = new FrameworkCore({ random }, { state, settings: settingsOf(init), nowMs: clock.now(), wallMs: wallMsOf(clock) })
  const framework = new RunningFramework(components, init, core)
  await framework.start(Math.max(init.nodes, state.framework.nodes))
  return framework
}

const wallMsOf = (clock: Clock): number => Number(clock.wallNs() / 1_000_000n)

function settingsOf (init: FrameworkInit): FrameworkSettings {
  const { role, principal, name, resources, nodeCommand, webuiUrl } = init
  return {
    role,
    principal,
    name,
    resources,
    user: init.user ?? userInfo().username,
    nodesPerAgentMax: init.nodesPerAgentMax ?? 1,
    diskType: init.diskType ?? 'root',
    constraints: (init.constraints ?? []).map(parseConstraint),
    configuration: { nodeCommand, healthCheck: init.healthCheck ?? null, killGraceMs: init.killGraceMs ?? killGraceMsDefault },
    failoverTimeoutMs: init.failoverTimeoutMs ?? failoverTimeoutMsDefault,
    replaceAfterMs: init.replaceAfterMs ?? replaceAfterMsDefault,
    ...(webuiUrl === undefined ? {} : { webuiUrl })
  }
}

function validate (init: FrameworkInit): void {
  const invalid = (what: string): never => { throw new AtollError('ATOLL_INVALID', what) }
  const { cpus, memMb, diskMb } = init.resources
  if (!Number.isInteger(init.nodes) || init.nodes < 1 || init.nodes > nodesMax) invalid(`cannot run ${init.nodes} nodes: between 1 and ${nodesMax}`)
  if (![cpus, memMb, diskMb].every((amount) => Number.isFinite(amount) && amount > 0)) invalid('cpus, mem and disk of a node must be positive')
  if (!Number.isInteger(init.nodesPerAgentMax ?? 1) || (init.nodesPerAgentMax ?? 1) < 1) invalid('nodes per agent: at least 1')
  // The master's own rules, so that the answer comes at once and with our words. '*' cannot be reserved to.
  const isComponent = (part: string): boolean => part !== '' && !['.', '..', '*'].includes(part) && !part.startsWith('-') && !/[\s\b]/.test(part)
  if (!init.role.split('/').every(isComponent)) invalid(`'${init.role}' is not a role that can be reserved to`)
  if (init.principal === '') invalid('a principal is needed: reservations carry it')
  if (init.nodeCommand.arguments?.length === 0) invalid('the command of a node is empty')
}

interface Queued { input: FrameworkInput, resolve: () => void, reject: (error: unknown) => void }

const ignore = (): void => {}

class RunningFramework implements Framework {
  readonly #components: FrameworkComponents
  readonly #init: FrameworkInit
  readonly #core: FrameworkCore
  readonly #listeners = new Set<() => void>()
  #client: MasterClient
  #queue: Queued[] = []
  #working: Promise<void> | undefined
  #timer: Timer | undefined
  #closed = false
  #broken: FrameworkStatus['problem'] = null
  #link: ClusterLink | undefined
  #seeds = ''

  constructor (components: FrameworkComponents, init: FrameworkInit, core: FrameworkCore) {
    this.#components = components
    this.#init = init
    this.#core = core
    this.#client = this.#makeClient()
  }

  async start (nodes: number): Promise<void> {
    await this.#do({ type: 'setGoal', goal: 'running' })
    if (!['uninstalling', 'uninstalled'].includes(this.#core.status(this.#components.clock.now()).goal)) await this.#do({ type: 'setNodes', nodes })
    this.#link = this.#components.clusterLinkFactory?.({
      clusterId: this.#core.clusterId,
      onMap: (map) => { if (!this.#closed) this.#enqueue({ input: { type: 'cluster', map }, resolve: ignore, reject: ignore }) }
    })
    this.#client.start()
  }

  status (): FrameworkStatus {
    const status = this.#core.status(this.#components.clock.now())
    return this.#broken === null ? status : { ...status, problem: this.#broken }
  }

  configuration (): NodeConfiguration { return structuredClone(this.#core.configuration) }

  onChange (listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  setNodes (nodes: number): Promise<void> { return this.#do({ type: 'setNodes', nodes }) }

  releaseNode (id: string): Promise<void> { return this.#do({ type: 'releaseNode', id }) }

  replaceNode (id: string): Promise<void> { return this.#do({ type: 'replaceNode', id }) }

  update (configuration: Partial<NodeConfiguration>, { force = false, sizes = {} }: { force?: boolean, sizes?: SizesChange } = {}): Promise<void> {
    return this.#do({ type: 'update', configuration, sizes, force })
  }

  setPaused (plan: PlanName, paused: boolean): Promise<void> { return this.#do({ type: 'pause', plan, paused }) }

  retry (id: string): Promise<void> { return this.#do({ type: 'retry', id }) }

  uninstall (): Promise<void> { return this.#do({ type: 'uninstall' }) }

  noteReserved (reserved: { resourceIds: string[], agentIds: string[] }): Promise<void> { return this.#do({ type: 'reserved', ...reserved }) }

  async close (): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#timer?.cancel()
      this.#client.close()
      this.#link?.close()
      this.#rejectAll()
      this.#changed()
    }
    await this.#working
  }

  async shutdown ({ timeoutMs = shutdownTimeoutMsDefault }: { timeoutMs?: number } = {}): Promise<void> {
    await this.#do({ type: 'setGoal', goal: 'stopped' })
    try {
      await this.#noTasks(timeoutMs)
    } finally {
      await this.close()
    }
  }

  #noTasks (timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        timer.cancel()
        stop()
      }
      const look = (): void => {
        const isOver = this.#core.tasks.length === 0
        if (!isOver && !this.#closed) return
        done()
        if (isOver) resolve()
        else reject(closedError())
      }
      const timer = this.#components.clock.setTimer(() => {
        done()
        const tasks = this.#core.tasks.map(({ id }) => id)
        reject(new AtollError('ATOLL_TIMEOUT', `tasks still run after ${timeoutMs} ms: ${tasks.join(', ')}`, { tasks }))
      }, timeoutMs)
      const stop = this.onChange(look)
      look()
    })
  }

  #makeClient (): MasterClient {
    const { masters, principal, secret, tls } = this.#init
    const credentials: MasterCredentials | undefined = secret === undefined ? undefined : { principal, secret }
    const client = this.#components.masterClientFactory({
      masters,
      ...(credentials === undefined ? {} : { credentials }),
      ...(tls === undefined ? {} : { tls }),
      subscribe: () => ({ framework_info: this.#core.frameworkInfo }),
      // Notices of a client that was replaced mean nothing any more.
      onNotice: (notice) => { if (client === this.#client) this.#onNotice(notice) }
    })
    return client
  }

  #onNotice (notice: MasterNotice): void {
    if (this.#closed) return
    this.#logNotice(notice)
    // The stream of a framework that was torn down ends; nobody is to subscribe again.
    if (notice.type === 'disconnected' && this.#core.isTornDown) this.#client.close()
    if (this.#queue.length >= inputQueueLengthMax) {
      this.#queue = this.#queue.filter(({ input }) => input.type !== 'notice')
      this.#client.resubscribe(`${inputQueueLengthMax} events wait for the store`)
      return
    }
    this.#enqueue({ input: { type: 'notice', notice }, resolve: ignore, reject: ignore })
    if (notice.type === 'stopped' && notice.code === 'ATOLL_MESOS_REMOVED' && this.#init.newFrameworkIdIfRemoved === true) this.#beginAnew()
  }

  #beginAnew (): void {
    this.#components.log.warn('the framework id was removed: goes on under a new one')
    const client = this.#client = this.#makeClient()
    this.#do({ type: 'forgetFrameworkId' }).then(() => { if (!this.#closed) client.start() }, ignore)
  }

  #logNotice (notice: MasterNotice): void {
    const { log } = this.#components
    switch (notice.type) {
      case 'subscribed': log.info('subscribed', { frameworkId: notice.frameworkId, master: notice.url }); break
      case 'disconnected': log.warn('no subscription', { code: notice.code, reason: notice.message, retryInMs: notice.retryInMs }); break
      case 'stopped': log.error('the subscription is over', { code: notice.code, reason: notice.message }); break
      case 'refused': log.error('a call was refused', { call: notice.call.type, code: notice.code, reason: notice.message }); break
      case 'event': log.debug('event', { event: notice.event })
    }
  }

  #do (input: FrameworkInput): Promise<void> {
    if (this.#closed) return Promise.reject(closedError())
    return new Promise((resolve, reject) => { this.#enqueue({ input, resolve, reject }) })
  }

  #enqueue (queued: Queued): void {
    this.#queue.push(queued)
    this.#working ??= this.#work()
  }

  /** One batch after another: what came in while the last was written is written together. */
  async #work (): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue
      this.#queue = []
      try {
        await this.#perform(batch)
      } catch (error) {
        this.#break(error)
        for (const { reject } of batch) reject(error)
      }
    }
    // At once: an input that comes a moment later must not find a work that does not look any more.
    this.#working = undefined
  }

  async #perform (batch: Queued[]): Promise<void> {
    const effects: FrameworkEffects = { writes: [], calls: [], requests: [], resubscribe: null }
    const accepted: Queued[] = []
    for (const queued of batch) {
      try {
        const { clock } = this.#components
        const { writes, calls, requests, resubscribe } = this.#core.step(queued.input, clock.now(), wallMsOf(clock))
        effects.writes.push(...writes)
        effects.calls.push(...calls)
        effects.requests.push(...requests)
        effects.resubscribe ??= resubscribe
        accepted.push(queued)
      } catch (error) {
        // An operator's impossible wish is his; anything else is a broken invariant.
        if (!(error instanceof AtollError)) throw error
        queued.reject(error)
      }
    }
    if (!await this.#write(effects)) {
      for (const { reject } of accepted) reject(closedError())
      return
    }
    if (!this.#closed) {
      for (const call of effects.calls) this.#call(call)
      if (effects.resubscribe !== null) this.#client.resubscribe(effects.resubscribe, 'ATOLL_NOT_OFFERED')
      for (const request of effects.requests) this.#link?.request(request)
      this.#tellSeeds()
    }
    for (const { resolve } of accepted) resolve()
    this.#schedule()
    this.#changed()
  }

  #tellSeeds (): void {
    if (this.#link === undefined) return
    const seeds = this.#core.seeds
    const text = JSON.stringify(seeds)
    if (text === this.#seeds) return
    this.#seeds = text
    this.#link.useSeeds(seeds)
  }

  #call (call: FrameworkEffects['calls'][number]): void {
    this.#components.log.debug('call', { call })
    this.#client.call(call)
  }

  /** True when the records are durable; false when the framework was closed before they could be. */
  async #write ({ writes }: FrameworkEffects): Promise<boolean> {
    const { kv, clock, log } = this.#components
    while (writes.length > 0) {
      if (this.#closed) return false
      try {
        await kv.batch(writes, { sync: true })
        break
      } catch (error) {
        log.error('the records cannot be written; nothing is done until they are', { code: codeOf(error), reason: messageOf(error) })
        this.#broken = { code: codeOf(error), message: `the records cannot be written: ${messageOf(error)}`, final: false }
        this.#changed()
        await new Promise<void>((resolve) => { clock.setTimer(resolve, storeRetryMs) })
      }
    }
    this.#broken = null
    return true
  }

  #schedule (): void {
    this.#timer?.cancel()
    const { deadlineMs } = this.#core
    if (this.#closed || deadlineMs === Infinity) return
    const delayMs = Math.max(1, Math.ceil(deadlineMs - this.#components.clock.now()))
    this.#timer = this.#components.clock.setTimer(() => {
      if (!this.#closed) this.#enqueue({ input: { type: 'tick' }, resolve: ignore, reject: ignore })
    }, delayMs)
  }

  /** A broken invariant: act no more, leave the tasks alone. */
  #break (error: unknown): void {
    this.#components.log.error('the framework has failed', { reason: messageOf(error), stack: error instanceof Error ? error.stack : undefined })
    this.#broken = { code: 'ATOLL_INTERNAL', message: messageOf(error), final: true }
    this.#closed = true
    this.#timer?.cancel()
    this.#client.close()
    this.#link?.close()
    this.#rejectAll()
    this.#changed()
  }

  #rejectAll (): void {
    for (const { reject } of this.#queue) reject(closedError())
    this.#queue = []
  }

  #changed (): void {
    for (const listener of [...this.#listeners]) listener()
  }
}

const closedError = (): AtollError => new AtollError('ATOLL_CLOSED', 'the framework is closed')
