import type { ClusterMap, DiskMeasure, NodeId, NodeInfo } from '../../partitioning/types.ts'
import { codeOf, messageOf } from '../protocol/errors.ts'
import type { HeartbeatRequest, RegisterRequest } from '../protocol/manager.ts'
import type { Handlers } from '../protocol/peer.ts'
import type { Clock, Logger, Random, Timer } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import {
  agentRetryMsMax, agentRetryMsMin, catchUpDelayMs, followWaitMs, heartbeatGapMsMin, heartbeatIntervalMs, heartbeatTimeoutMs, registerPatienceMs
} from './bounds.ts'
import { ServingLease } from './lease.ts'
import { MapWaiters } from './map-waiters.ts'

export interface NodeAgentComponents { clock: Clock, random: Random, log: Logger, router: ClusterRouter }

export interface NodeReport {
  usedBytes: number
  capacityBytes: number
  disk: DiskMeasure | null
  load?: HeartbeatRequest['load']
  stored?: HeartbeatRequest['stored']
  leads?: HeartbeatRequest['leads']
}

export interface NodeAgentInit {
  clusterId: string
  node: Pick<NodeInfo, 'id' | 'incarnation' | 'peerId' | 'host' | 'rpcPort' | 'raftPort' | 'domain' | 'newestVolume'>
  /** Where the manager's group is: who has no map yet asks there. */
  managers: ReadonlyArray<{ id: NodeId, host: string, rpcPort: number }>
  /** What this node's store says of the process before this one (see RegisterRequest). */
  previous?: RegisterRequest['previous']
  /** Called for each heartbeat. */
  report: () => NodeReport
  /** Another process runs as this node: this one has stopped serving and must end. */
  onReplaced: () => void
}

/**
 * A node's side of the manager: registers, sends heartbeats, keeps the serving lease, follows the cluster map into
 * the router. Never gives up while it runs.
 */
export class NodeAgent {
  private readonly components: NodeAgentComponents
  private readonly init: NodeAgentInit
  private readonly lease: ServingLease
  private state: 'idle' | 'running' | 'stopped' = 'idle'
  private registered = false
  private registering: Promise<void> | null = null
  private timer: Timer | null = null
  private catchUp: Timer | null = null
  private beating = false
  private beatAgain = false
  private sentAtMs = -Infinity
  private stopListening: () => void = () => {}
  private led = new Set<string>()

  constructor (components: NodeAgentComponents, init: NodeAgentInit) {
    this.components = components
    this.init = init
    this.lease = new ServingLease(components.clock, () => components.router.mapVersion)
  }

  /** Resolves when the node is registered. */
  async start (): Promise<void> {
    const { router } = this.components
    this.state = 'running'
    router.assumeManagers(this.init.managers)
    this.stopListening = router.onMap((map) => { this.learned(map) })
    await this.register()
    this.beat()
    void this.follow()
  }

  stop (): void {
    this.state = 'stopped'
    this.lease.drop()
    this.timer?.cancel()
    this.catchUp?.cancel()
    this.stopListening()
  }

  /** While true, this node may act on the roles that its map gives it. */
  leaseValid (): boolean {
    return this.state === 'running' && this.lease.isValid()
  }

  /** There is news in the report. */
  tell (): void { if (this.registered) this.beat() }

  get isRegistered (): boolean { return this.registered }

  private register (): Promise<void> {
    this.registering ??= this.registerUntilDone().finally(() => { this.registering = null })
    return this.registering
  }

  private async registerUntilDone (): Promise<void> {
    const { clusterId, node, previous } = this.init
    for (let failures = 0; this.state === 'running'; failures++) {
      try {
        const { usedBytes, capacityBytes, disk } = this.init.report()
        const request = { clusterId, node: { ...node, usedBytes, capacityBytes, disk }, previous }
        const { body } = await this.components.router.toManager('manager.register', request, { patienceMs: registerPatienceMs })
        this.registered = true
        this.components.router.adopt(body.map)
        return
      } catch (error) {
        this.failed('the node could not register', error)
        await this.pause(failures)
      }
    }
  }

  /** One heartbeat at a time; the next one an interval after this one was sent. */
  private beat (): void {
    this.timer?.cancel()
    if (this.state !== 'running') return
    if (this.beating) {
      this.beatAgain = true
      return
    }
    const { clock } = this.components
    const gapMs = clock.now() - this.sentAtMs
    if (gapMs < heartbeatGapMsMin) {
      this.timer = clock.setTimer(() => { this.beat() }, heartbeatGapMsMin - gapMs)
      return
    }
    this.beating = true
    this.beatAgain = false
    this.sentAtMs = clock.now()
    void this.sendHeartbeat(this.sentAtMs).finally(() => {
      this.beating = false
      const passedMs = clock.now() - this.sentAtMs
      this.timer = clock.setTimer(() => { this.beat() }, this.beatAgain ? 0 : Math.max(0, heartbeatIntervalMs - passedMs))
    })
  }

  private async sendHeartbeat (sentAtMs: number): Promise<void> {
    const { router } = this.components
    const { id, incarnation } = this.init.node
    try {
      const request: HeartbeatRequest = { node: id, incarnation, mapVersion: router.mapVersion, ...this.init.report() }
      const { body } = await router.toManager('manager.heartbeat', request, { timeoutMs: heartbeatTimeoutMs, patienceMs: heartbeatTimeoutMs })
      if (this.state !== 'running') return
      this.lease.grant(sentAtMs, body.leaseDurationMs, body.mapVersion)
      if (body.mapVersion > router.mapVersion) this.catchUpSoon(body.mapVersion)
    } catch (error) {
      if (codeOf(error) === 'ATOLL_UNKNOWN_NODE') await this.register()
      else this.failed('a heartbeat was not answered', error)
    }
  }

  /**
   * The lease counts only with the newer map. Mostly it is under way; but the request that waits for it may have
   * gone to a leader that is silent now.
   */
  private catchUpSoon (version: number): void {
    const { clock, router } = this.components
    this.catchUp ??= clock.setTimer(() => {
      this.catchUp = null
      if (router.mapVersion >= version || this.state !== 'running') return
      router.toManager('manager.map', { after: router.mapVersion, waitMs: 0 }, { timeoutMs: heartbeatTimeoutMs, patienceMs: heartbeatTimeoutMs })
        .then(({ body }) => { if (body.map !== undefined && this.state === 'running') router.adopt(body.map) }, (error) => { this.failed('the cluster map could not be fetched', error) })
    }, catchUpDelayMs)
  }

  /** The manager waits to hear that a node knows it no longer leads: so that is told at once. */
  private learned (map: ClusterMap): void {
    const { id } = this.init.node
    const leads = new Set<string>()
    for (const partition of map.data) if (partition.primary === id) leads.add(partition.id)
    const lost = [...this.led].some((partition) => !leads.has(partition))
    this.led = leads
    // Before it is registered the manager takes this process for one that was replaced.
    if (lost && this.registered) this.beat()
  }

  private async follow (): Promise<void> {
    const { router } = this.components
    for (let failures = 0; this.state === 'running';) {
      try {
        const request = { after: router.mapVersion, waitMs: followWaitMs }
        const { body } = await router.toManager('manager.map', request, { timeoutMs: followWaitMs + heartbeatTimeoutMs, doubtAfterMs: followWaitMs, patienceMs: followWaitMs })
        if (body.map !== undefined && this.state === 'running') router.adopt(body.map)
        failures = 0
      } catch (error) {
        this.failed('the cluster map could not be followed', error)
        await this.pause(failures++)
      }
    }
  }

  private failed (what: string, error: unknown): void {
    if (this.state !== 'running') return
    if (codeOf(error) !== 'ATOLL_SUPERSEDED') {
      const refused = ['ATOLL_WRONG_CLUSTER', 'ATOLL_BAD_ARGUMENT'].includes(codeOf(error))
      this.components.log[refused ? 'error' : 'warn'](what, { code: codeOf(error), error: messageOf(error) })
      return
    }
    this.components.log.error('another process runs as this node', { node: this.init.node.id })
    this.stop()
    this.init.onReplaced()
  }

  private pause (failures: number): Promise<void> {
    const { clock, random } = this.components
    const ceiling = Math.min(agentRetryMsMax, agentRetryMsMin * 2 ** Math.min(failures, 16))
    return new Promise((resolve) => { clock.setTimer(resolve, ceiling / 2 + random.next() * ceiling / 2) })
  }
}

/** Answers 'node.map' from what the router knows. */
export function nodeMapHandlers ({ router, clock }: Pick<NodeAgentComponents, 'router' | 'clock'>): Handlers {
  const waiters = new MapWaiters(clock)
  router.onMap((map) => { waiters.changed(map) })
  return {
    'node.map': async (request) => ({ body: await waiters.next(router.mapVersion > 0 ? router.map : null, request) })
  }
}
