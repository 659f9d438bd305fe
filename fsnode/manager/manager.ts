import type { ClusterMap, NodeInfo, VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type {
  BalanceSettings, ControlPlanRequest, CreateVolumeRequest, DrainNodeRequest, HeartbeatRequest, HeartbeatResponse, LoadsResponse, MapBackup, MapRequest, MapResponse,
  MembersChangedRequest, MovePartitionRequest, PlanResponse, PlansRequest, PlansResponse, PlanSummary, RebalanceRequest, RebalanceResponse, RegisterRequest, RemoveNodeRequest,
  RemoveVolumeRequest, RestoreRequest, RestoreResponse,
  ReplicaSyncedRequest, ReportReplicaRequest, SetVolumeRequest, SplitPartitionRequest, YieldNodeRequest, YieldNodeResponse
} from '../protocol/manager.ts'
import type { GroupStatus } from '../raft/types.ts'
import { evenSignature, isUndecided } from './balancer.ts'
import { decisionWaitMsMax, formerIncarnationsMax, nodeLeaseMs, nodesMax, yieldWaitMs } from './bounds.ts'
import type { Notice } from './leader-facts.ts'
import { Leadership, type LeadershipComponents } from './leadership.ts'
import type { MapChange } from './map-change.ts'
import { MapWaiters } from './map-waiters.ts'
import type { ManagerState } from './manager-state.ts'
import { managerGroupId, membersChanged, membersEvenKey, membersPending, membersSignature, moveMember } from './members.ts'
import { backupOf, restoration } from './map-backup.ts'
import { controlPlans, evenPlan, movePlan, planNamed, removeNode, requireUp, setBalance, setVolume, startPlan, volumeNamed } from './plan-requests.ts'
import { plannedMoves, summaryOf, type PlanHead, type PlanRecord } from './plans.ts'
import { checkedRegistration, differs } from './registration.ts'
import { halvesIn, splitNow } from './splits.ts'
import { createVolume, existingVolume, removeVolume } from './volumes.ts'
import { yielding } from './yields.ts'

export type ManagerComponents = LeadershipComponents

/**
 * A replica of the manager. Only the leader answers; the others refuse with ATOLL_NOT_LEADER. `start`
 * begins, `close` ends; the group and the state machine belong to whoever made them.
 */
export class Manager {
  private readonly components: ManagerComponents
  private readonly waiters: MapWaiters
  private leadership: Leadership | null = null
  private term = -1
  private stops: Array<() => void> = []

  constructor (components: ManagerComponents) {
    this.components = components
    this.waiters = new MapWaiters(components.clock)
  }

  start (): void {
    const { group, stateMachine } = this.components
    this.stops = [
      group.onStatus((status) => { this.follow(status) }),
      stateMachine.onMap((map) => { this.waiters.changed(map) })
    ]
    this.follow(group.status)
  }

  close (): void {
    for (const stop of this.stops.splice(0)) stop()
    this.step(null)
  }

  /** As far as this replica has applied it. */
  get map (): ClusterMap { return this.components.stateMachine.map }

  /** Told of each map that this replica applies. */
  onMap (listener: (map: ClusterMap) => void): () => void { return this.components.stateMachine.onMap(listener) }

  /** Where a plan stands, as far as this replica has applied it. */
  planState (id: number): PlanRecord['state'] | undefined { return this.components.stateMachine.view.plans.get(id)?.state }

  get leads (): boolean { return this.leadership !== null }

  /** Rejects with ATOLL_WRONG_CLUSTER, ATOLL_SUPERSEDED or ATOLL_BAD_ARGUMENT. */
  async register (request: RegisterRequest): Promise<ClusterMap> {
    const leadership = await this.lead()
    const node = checkedRegistration(request, this.map.clusterId)
    const { facts } = leadership
    const known = leadership.state.node(node.id)
    if (known?.incarnation === node.incarnation) await this.registerAgain(leadership, node)
    else if (leadership.state.history(node.id).former.includes(node.incarnation)) throw superseded(node.id)
    else {
      leadership.newest.set(node.id, node.incarnation)
      if (known !== undefined && request.previous?.incarnation !== known.incarnation) await this.awaitLeaseEnd(leadership, node.id)
      const registered = (): void => { facts.startedAnew(node.id, node.incarnation, this.components.clock.now()) }
      await leadership.change((state) => this.registration(leadership, state, node, request.previous), registered)
      this.components.log.info('a node registered', { node: node.id, host: node.host, rpcPort: node.rpcPort })
    }
    leadership.kick()
    return this.map
  }

  /** Rejects with ATOLL_UNKNOWN_NODE (register first) or ATOLL_SUPERSEDED (another process is this node now). */
  async heartbeat (request: HeartbeatRequest): Promise<HeartbeatResponse> {
    // Whoever has been replaced as the leader must not grant a lease: the barrier proves that nobody has.
    const leadership = await this.lead()
    const { facts } = leadership
    if (this.heartbeatOf(leadership, request).state === 'down') {
      await this.awaitReturn(leadership, request.node)
      this.heartbeatOf(leadership, request)
    }
    // No pause between here and the answer: the lease and the map version belong together.
    facts.heard(request, this.components.clock.now())
    if (facts.awaitsFences) leadership.kick()
    return { leaseDurationMs: nodeLeaseMs, mapVersion: this.map.version }
  }

  async createVolume (request: CreateVolumeRequest): Promise<{ volume: VolumeInfo, mapVersion: number }> {
    const leadership = await this.lead()
    await leadership.change((state) => {
      if (existingVolume(state, request) !== undefined) return null
      const change = createVolume(state, request)
      const input = leadership.balanceInput
      const even = change.volumes!.map((volume): [number, string] => [volume.id, evenSignature(input, volume)])
      return { ...change, even: state.map.volumes.length === 0 ? [...even, [membersEvenKey, membersSignature(input)]] : even }
    })
    const volume = this.map.volumes.find(({ name }) => name === request.name)
    if (volume === undefined) throw new AtollError('ATOLL_UNAVAILABLE', `the volume ${request.name} was removed meanwhile`)
    this.components.log.info('a volume was created', { volume: volume.name, id: volume.id, placement: volume.placement })
    return { volume, mapVersion: this.map.version }
  }

  async removeVolume ({ name }: RemoveVolumeRequest): Promise<void> {
    const leadership = await this.lead()
    await leadership.change((state) => removeVolume(state, name))
    this.components.log.info('a volume was removed', { volume: name })
  }

  /** Resolves with a map in which the replica no longer counts, or with a newer one than the reporter knew. */
  reportReplica ({ partition, epoch, node, reporter }: ReportReplicaRequest): Promise<ClusterMap> {
    return this.notice({ kind: 'reported', partition, epoch, node, reporter }, ['serving', 'syncing'])
  }

  /** Resolves with a map in which the replica serves, or with a newer one than it knew. */
  replicaSynced ({ partition, epoch, node }: ReplicaSyncedRequest): Promise<ClusterMap> {
    return this.notice({ kind: 'synced', partition, epoch, node }, ['syncing'])
  }

  /** Resolves with a map in which the partition is split, or in which it is not because it cannot be now. */
  async splitPartition (request: SplitPartitionRequest): Promise<ClusterMap> {
    const leadership = await this.lead()
    leadership.splits.set(request.partition, request)
    let split: MapChange | null = null
    // Those that wait are split in one change: the map travels to everybody with each.
    await leadership.change((state) => split = splitNow(state, leadership.splits.values()), () => {
      leadership.splits.delete(request.partition)
      for (const [half, other] of halvesIn(split)) leadership.facts.split(half, other)
    })
    leadership.kick()
    return this.map
  }

  /** Empties a node, or ends that. Rejects with ATOLL_UNKNOWN_NODE. */
  async drainNode ({ node: id, drain }: DrainNodeRequest): Promise<void> {
    const leadership = await this.lead()
    await leadership.change((state) => {
      const node = state.node(id)
      if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${String(id)}`, { hint: 'atoll node list' })
      const next: NodeInfo = { ...node, state: node.state === 'down' ? 'down' : drain ? 'draining' : 'up' }
      // Whoever empties a node wants replicas to move.
      const balance = drain && !state.settings.automatic ? { balance: { automatic: true } } : {}
      // One that stays after all gets back what has left it; for the same nodes all was even before.
      const even = drain ? [] : state.map.volumes.map((volume): [number, string] => [volume.id, ''])
      return { base: state.map.version, nodes: [next], histories: [{ ...state.history(id), drains: drain === true }], even, ...balance }
    })
    leadership.planSoon()
  }

  /** Lets others lead what a node leads, because it is going to be away; or ends that. Rejects with ATOLL_UNKNOWN_NODE. */
  async yieldNode ({ node: id, yields, incarnation }: YieldNodeRequest): Promise<YieldNodeResponse> {
    const leadership = await this.lead()
    await leadership.change((state) => {
      const node = state.node(id)
      if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${String(id)}`, { hint: 'atoll node list' })
      // What a process said of itself may come when the next one is there.
      if (incarnation !== undefined && incarnation !== node.incarnation) return null
      return yields === (node.yields !== undefined) ? null : { base: state.map.version, nodes: [yielding(node, yields === true ? 'asked' : undefined)] }
    })
    const isDone = (): boolean => leadership.state.node(id)?.yields !== 'asked'
    // Who asks may look again later.
    await leadership.until(isDone, yieldWaitMs).catch((error: unknown) => { if (leadership !== this.leadership) throw error })
    return { done: isDone() }
  }

  /** Moves one replica. Resolves when the plan is committed. Rejects as `movePlan` throws. */
  async movePartition (request: MovePartitionRequest): Promise<{ plan: PlanSummary | null }> {
    const leadership = await this.lead()
    const { partition, from, to } = request
    if (this.map.metadata.some(({ id }) => id === partition) || partition === managerGroupId) {
      await leadership.change((state) => {
        requireUp(state, to)
        return moveMember(state, partition, from, to)
      })
      return { plan: null }
    }
    return { plan: await this.begin(leadership, request.token, () => movePlan(leadership.balanceInput, request)) }
  }

  /** Evens out all volumes, or one. Rejects with ATOLL_NO_SUCH_VOLUME. */
  async rebalance (request: RebalanceRequest): Promise<RebalanceResponse> {
    const leadership = await this.lead()
    if (request.dryRun === true) return { plan: null, moves: [...evenPlan(leadership.balanceInput, request)?.moves ?? []] }
    const plan = await this.begin(leadership, request.token, () => evenPlan(leadership.balanceInput, request))
    return { plan, moves: plan === null ? [] : [...leadership.state.plans.get(plan.id)?.moves ?? []] }
  }

  /** Rejects with ATOLL_NO_SUCH_VOLUME. */
  async plans ({ volume }: PlansRequest = {}): Promise<PlansResponse> {
    const { state, balanceInput } = await this.lead()
    const plans = { plans: state.plans.all.reverse().map(summaryOf), settings: state.settings }
    if (volume === undefined) return plans
    const named = volumeNamed(state, volume)
    return { ...plans, undecided: isUndecided(balanceInput, named), membersPending: membersPending(balanceInput, named) }
  }

  /** Rejects with ATOLL_NO_SUCH_PLAN. */
  async plan (id: number): Promise<PlanResponse> {
    const { state } = await this.lead()
    const record = planNamed(state, id)
    return { plan: summaryOf(record), moves: plannedMoves(record) }
  }

  /** Rejects as `controlPlans` throws. */
  async controlPlan (request: ControlPlanRequest): Promise<PlansResponse> {
    const leadership = await this.lead()
    await leadership.change((state) => controlPlans(state, request, leadership.balanceInput.wallMs))
    leadership.planSoon()
    return this.plans()
  }

  async setBalance (settings: Partial<BalanceSettings>): Promise<PlansResponse> {
    const leadership = await this.lead()
    await leadership.change((state) => setBalance(state, settings))
    leadership.planSoon()
    return this.plans()
  }

  /** What follows from it for replicas is a plan. Rejects as `setVolume` throws. */
  async setVolume (request: SetVolumeRequest): Promise<{ volume: VolumeInfo }> {
    const leadership = await this.lead()
    await leadership.change((state) => setVolume(state, request))
    leadership.planSoon()
    return { volume: volumeNamed(leadership.state, request.name) }
  }

  /** Rejects with ATOLL_UNKNOWN_NODE, or ATOLL_NODE_IN_USE while it is up or holds anything. */
  async removeNode (request: RemoveNodeRequest): Promise<void> {
    const leadership = await this.lead()
    await leadership.change((state) => removeNode(state, request))
  }

  async backup (): Promise<MapBackup> {
    const { state, balanceInput } = await this.lead()
    return backupOf(state, balanceInput.wallMs)
  }

  /** Rejects as `restoration` throws. */
  async restore ({ backup, dryRun }: RestoreRequest): Promise<RestoreResponse> {
    const leadership = await this.lead()
    let report = restoration(leadership.state, leadership.facts, backup).report
    if (dryRun === true) return report
    await leadership.change((state) => {
      const restored = restoration(state, leadership.facts, backup)
      report = restored.report
      return restored.change
    })
    this.components.log.warn('the cluster map was restored from a backup', { volumes: report.volumes, partitions: report.partitions.length })
    return report
  }

  async membersChanged (request: MembersChangedRequest): Promise<ClusterMap> {
    const leadership = await this.lead()
    await leadership.change((state) => membersChanged(state, request))
    leadership.planSoon()
    return this.map
  }

  async loads (): Promise<LoadsResponse> {
    const { facts } = await this.lead()
    return { loads: facts.rates(this.components.clock.now()), stored: [...facts.storedPartitions].map((partition) => ({ partition, bytes: facts.storedBytes(partition) })) }
  }

  private async begin (leadership: Leadership, token: string | undefined, make: () => PlanHead | null): Promise<PlanSummary | null> {
    let id: number | undefined
    await leadership.change((state) => {
      const known = state.plans.withToken(token)
      const plan = known === undefined ? make() : null
      id = known?.id ?? plan?.id
      return plan === null ? null : startPlan(state, plan)
    })
    const record = id === undefined ? undefined : leadership.state.plans.get(id)
    return record === undefined ? null : summaryOf(record)
  }

  /** The committed map, once it is newer than the one who asks knows. */
  async nextMap (request: MapRequest): Promise<MapResponse> {
    await this.lead()
    return this.waiters.next(this.map, request)
  }

  private async lead (): Promise<Leadership> {
    const { group } = this.components
    const { leadership } = this
    if (leadership === null) throw notLeader(group.status)
    await group.readBarrier()
    leadership.requireReady()
    return leadership
  }

  private follow (status: GroupStatus): void {
    const leads = status.role === 'leader'
    if (leads && (this.leadership === null || status.term !== this.term)) {
      this.term = status.term
      const leadership = new Leadership(this.components)
      this.step(leadership)
      void leadership.run()
      this.components.log.info('leads the manager', { term: status.term })
    } else if (!leads && this.leadership !== null) {
      this.step(null)
    }
  }

  private step (next: Leadership | null): void {
    const error = notLeader(this.components.group.status)
    this.leadership?.end(error)
    this.leadership = next
    if (next === null) this.waiters.fail(error)
  }

  private async notice (notice: Notice, states: string[]): Promise<ClusterMap> {
    const leadership = await this.lead()
    const record = leadership.state.record(notice.partition)
    const replica = record?.partition.replicas.find(({ node }) => node === notice.node)
    const matters = record?.partition.epoch === notice.epoch && replica !== undefined && states.includes(replica.state) &&
      (notice.kind === 'synced' || record.partition.primary === notice.reporter)
    if (!matters) return this.map
    if (!leadership.facts.notice(notice)) throw new AtollError('ATOLL_UNAVAILABLE', 'too many reports are waiting')
    await leadership.until(() => leadership.state.record(notice.partition)?.partition.epoch !== notice.epoch, decisionWaitMsMax)
    return this.map
  }

  /** The node that sends it. @throws AtollError ATOLL_UNKNOWN_NODE, ATOLL_SUPERSEDED. */
  private heartbeatOf (leadership: Leadership, { node: id, incarnation }: HeartbeatRequest): NodeInfo {
    const node = leadership.state.node(id)
    if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `no node ${String(id)} is registered`)
    if (node.incarnation !== incarnation || leadership.isOutdated(id, incarnation)) throw superseded(id)
    return node
  }

  private async registerAgain (leadership: Leadership, node: Omit<NodeInfo, 'state'>): Promise<void> {
    leadership.facts.touched(node.id, this.components.clock.now())
    if (leadership.state.node(node.id)?.state === 'down') await this.awaitReturn(leadership, node.id)
    await leadership.change((state) => {
      const known = state.node(node.id)
      if (known === undefined || known.incarnation !== node.incarnation) throw superseded(node.id)
      return differs(known, node) ? { base: state.map.version, nodes: [yielding({ ...node, state: known.state }, known.yields)] } : null
    })
  }

  private registration (leadership: Leadership, state: ManagerState, node: Omit<NodeInfo, 'state'>, previous: RegisterRequest['previous']): MapChange | null {
    const known = state.node(node.id)
    if (known?.incarnation === node.incarnation) return null
    if (known === undefined && state.map.nodes.length >= nodesMax) throw new AtollError('ATOLL_BAD_ARGUMENT', `a cluster has at most ${nodesMax} nodes`)
    const history = state.history(node.id)
    // Decided late, or anew: meanwhile the next process of the node may have come.
    if (history.former.includes(node.incarnation) || leadership.isOutdated(node.id, node.incarnation)) throw superseded(node.id)
    const started: NodeInfo = { ...node, state: history.drains ? 'draining' : 'up' }
    if (known === undefined) return { base: state.map.version, nodes: [started] }
    const vouched = previous?.incarnation === known.incarnation
    // Meanwhile another process may have registered, or an old one got a lease: then wait anew.
    if (!vouched && this.components.clock.now() <= leadership.facts.leaseEndMs(node.id)) throw new AtollError('ATOLL_UNAVAILABLE', `the lease of node ${node.id} has not run out`)
    const { change } = leadership.decideFor({ node: started, restart: vouched && previous.intact ? 'intact' : 'doubtful' })
    const ended = previous === undefined || vouched ? [] : [previous.incarnation] // it may not have got so far as to register
    const former = [...history.former, known.incarnation, ...ended].slice(-formerIncarnationsMax)
    return { base: state.map.version, ...change, histories: [{ ...history, former }] }
  }

  /** Nobody can tell whether the process before has ended: so its lease must run out. */
  private async awaitLeaseEnd (leadership: Leadership, id: string): Promise<void> {
    const { clock } = this.components
    await leadership.until(() => clock.now() > leadership.facts.leaseEndMs(id), decisionWaitMsMax)
  }

  private async awaitReturn (leadership: Leadership, id: string): Promise<void> {
    leadership.facts.returned.add(id)
    leadership.facts.touched(id, this.components.clock.now())
    await leadership.until(() => leadership.state.node(id)?.state !== 'down', decisionWaitMsMax)
  }
}

function notLeader ({ role, leader }: GroupStatus): AtollError {
  return new AtollError('ATOLL_NOT_LEADER', 'this node does not lead the manager', { leader: role === 'leader' ? null : leader })
}

function superseded (node: string): AtollError {
  return new AtollError('ATOLL_SUPERSEDED', `another process runs as node ${node}`)
}
