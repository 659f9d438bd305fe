import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Kv, Logger, Random, Timer } from '../../fsnode/protocol/ports.ts'
import type { AgentDriver, AgentReport } from './agent/agent.ts'
import { allocationIntervalMs, groupGoneMsMax } from './constants.ts'
import type { Context, Effect, Input, StepResult, VolumePlace } from './core/effects.ts'
import { step } from './core/step.ts'
import type { MasterState } from './core/state.ts'
import { isInUse } from './core/tasks.ts'
import type { MasterServer, RequestHandler } from './http-server.ts'
import { kvOperations } from './store.ts'

export interface MasterShellComponents {
  clock: Clock
  random: Random
  log: Logger
  /** Closed with the master. */
  kv: Kv
  /** Closed with the master. */
  serve: (handler: RequestHandler) => MasterServer
}

export interface MasterShellInit {
  state: MasterState
  /** Once, when the store fails: the master has stopped, tasks run on. */
  onFailure?: (error: AtollError) => void
}

/** Time beyond the longest grace that all tasks have to be gone. */
const stopSpareMs = groupGoneMsMax + 5000

/**
 * Feeds inputs to the pure master, one at a time, and does what comes of it: first the writes, synced, then the
 * effects in order. While one batch is being written the next gathers, so that many calls share a sync.
 */
export class MasterShell {
  private readonly components: MasterShellComponents
  private readonly init: MasterShellInit
  private readonly http: MasterServer
  private agent: AgentDriver | undefined
  private results: StepResult[] = []
  private busy = false
  private pumping: Promise<void> = Promise.resolve()
  private tickTimer: Timer | undefined
  private stopped = false
  private onProgress: () => void = () => {}

  constructor (components: MasterShellComponents, init: MasterShellInit) {
    this.components = components
    this.init = init
    this.http = components.serve({
      schedulerCall: (request, call, streamId, principal) => {
        this.feed({ type: 'call', request, call, ...(streamId !== undefined && { streamId }), ...(principal !== undefined && { principal }) })
      },
      operatorCall: (request, call) => { this.feed({ type: 'operator-call', request, call }) },
      streamClosed: (stream) => { this.feed({ type: 'stream-closed', stream }) }
    })
  }

  get state (): MasterState { return this.init.state }

  /** From here on tasks are taken up and calls are answered. */
  start (agent: AgentDriver): void {
    this.agent = agent
    this.feed({ type: 'recovered' })
    this.tick()
  }

  /** What the master hears of an agent changes. */
  setPresence (agentId: string, presence: 'registered' | 'hanging' | 'away' | 'removed'): void {
    this.feed({ type: 'agent-presence', agentId, presence })
  }

  /** The agent comes back under another id, which is returned. */
  replaceAgent (agentId: string): string | undefined {
    const known = new Set(this.state.agents.keys())
    this.feed({ type: 'agent-replaced', agentId })
    return [...this.state.agents.keys()].find((id) => !known.has(id))
  }

  report (report: AgentReport): void {
    if (report.type === 'task-exited') this.components.log.info('a task has ended', { task: report.key, exit: report.exit })
    if (report.type === 'task-launch-failed') this.components.log.warn('a task was not launched', { task: report.key, reason: report.message })
    this.feed(report)
  }

  /** Kills every task with its grace. Rejects with ATOLL_TIMEOUT when some do not go away. */
  async stopTasks (): Promise<void> {
    const { clock } = this.components
    this.feed({ type: 'stop-tasks' })
    const graceMs = Math.max(0, ...[...this.state.tasks.values()].map(({ killing }) => killing?.graceMs ?? 0))
    await new Promise<void>((resolve, reject) => {
      const timer = clock.setTimer(() => { reject(new AtollError('ATOLL_TIMEOUT', `tasks that do not end: ${this.living().join(', ')}`)) }, graceMs + stopSpareMs)
      this.onProgress = () => {
        if (this.stopped) reject(new AtollError('ATOLL_UNAVAILABLE', 'the embedded scheduler was closed while it stopped its tasks'))
        else if (this.living().length === 0) resolve()
        else return
        timer.cancel()
      }
      this.onProgress()
    })
    await this.pumping
  }

  /** Stops answering; tasks run on. */
  async close (): Promise<void> {
    if (this.stopped) return
    this.stopped = true
    this.tickTimer?.cancel()
    await this.http.close()
    await this.agent?.detach()
    await this.pumping
    await this.components.kv.close()
  }

  private living (): string[] {
    return [...this.state.tasks.values()].filter(isInUse).map(({ key }) => key)
  }

  private tick (): void {
    this.tickTimer = this.components.clock.setTimer(() => {
      if (this.stopped) return
      this.feed({ type: 'tick' })
      this.tick()
    }, allocationIntervalMs)
  }

  private feed (input: Input): void {
    if (this.stopped) return
    const result = step(this.state, input, this.context())
    if (result.writes.length + result.effects.length === 0) return
    this.results.push(result)
    if (!this.busy) this.pumping = this.pump()
  }

  private async pump (): Promise<void> {
    this.busy = true
    while (this.results.length > 0) {
      const results = this.results.splice(0)
      const writes = results.flatMap((result) => result.writes)
      try {
        if (writes.length > 0) await this.components.kv.batch(kvOperations(writes), { sync: true })
      } catch (error) {
        this.fail(error)
        return
      }
      for (const { effects } of results) {
        for (const effect of effects) {
          const pending = this.perform(effect)
          if (pending !== undefined) await pending
        }
      }
      this.onProgress()
    }
    this.busy = false
  }

  private perform (effect: Effect): Promise<void> | void {
    const { http, agent } = this
    const { log } = this.components
    switch (effect.type) {
      case 'reply': return http.reply(effect.request, effect.status, effect)
      case 'open-stream': return http.openStream(effect.request, effect.streamId)
      case 'event':
      case 'operator-event': return http.event(effect.stream, effect.event)
      case 'close-stream': return http.closeStream(effect.stream)
      case 'launch':
        log.info('launching a task', { task: effect.order.key })
        return agent!.launch(effect.order)
      case 'adopt':
        log.info('taking over a task of an earlier master', { task: effect.order.key, pid: effect.process.pid })
        return agent!.adopt(effect.order, effect.process)
      case 'release': return agent!.release(effect.containerId)
      case 'kill': return agent!.kill(effect.containerId, effect.graceMs)
      // A volume that could not be made is tried again at the launch, which then fails with the reason.
      case 'create-volume': return this.attempt(agent!.createVolume(effect.volume), effect)
      case 'destroy-volume': return this.attempt(agent!.destroyVolume(effect.volume), effect)
    }
  }

  private async attempt (work: Promise<void>, { type, volume }: { type: string, volume: VolumePlace }): Promise<void> {
    try {
      await work
    } catch (error) {
      this.components.log.error(`${type} failed`, { volume, error: messageOf(error) })
    }
  }

  /** What is known here is ahead of the store now: nothing may be answered from it. */
  private fail (error: unknown): void {
    const failure = new AtollError('ATOLL_STORE_UNUSABLE', `the embedded scheduler cannot write its store: ${messageOf(error)}`, {
      hint: 'make room on the disk and start it again; tasks and their data are untouched'
    })
    this.components.log.error(failure.message)
    this.results = []
    void this.close().catch(() => {}).then(() => { this.init.onFailure?.(failure) })
    this.onProgress()
  }

  private context (): Context {
    const { clock, random } = this.components
    return {
      nowMs: clock.now(),
      wallMs: Number(clock.wallNs() / 1000n) / 1000,
      uuid: () => uuidOf(random)
    }
  }
}

/** A version 4 UUID. */
export function uuidOf (random: Random): Buffer {
  const bytes = random.bytes(16)
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return bytes
}
