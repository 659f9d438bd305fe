import { choosePrimary } from '../../partitioning/placement.ts'
import { nextRecord, type PartitionRecord, type ReplicaFacts, type Restart } from '../../partitioning/replica-states.ts'
import type { DataPartition, NodeId, NodeInfo, PartitionId } from '../../partitioning/types.ts'
import { leadMovesIntervalMs, leadMovesMax, measuresIntervalMs, yieldLeadsMax } from './bounds.ts'
import type { LeaderFacts, Notice } from './leader-facts.ts'
import { LeadLoads, SyncBudget } from './loads.ts'
import { isEmpty, type MapChange } from './map-change.ts'
import type { ManagerState } from './manager-state.ts'
import { measuredNodes } from './measures.ts'
import type { ActiveMoves } from './moves.ts'
import type { PlanStanding } from './plans.ts'
import { settledYields } from './yields.ts'

export interface DecideInput {
  state: ManagerState
  facts: LeaderFacts
  nowMs: number
  /** Since the last decision. */
  notices?: readonly Notice[]
  /** Moves that have begun. */
  moves?: ActiveMoves
  /** Where plans stand now: goes with the change. */
  standings?: PlanStanding[]
  /** A node whose process started anew: decided together with its registration. */
  started?: { node: NodeInfo, restart: Restart }
  /**
   * Whether a reader other than the primary must have lost its lease before writes go on without it. Not needed
   * while readers hold a lease from the primary, as Atoll's do (fsnode/data/read-lease.ts).
   */
  fenceReaders?: boolean
}

export interface Decided {
  /** null: nothing to do. */
  change: MapChange | null
  /** Leads that begin to move, and whether measurements were written: both happen at a bounded rate. */
  leadMoves: number
  measured: boolean
  /** Reports that counted. */
  reports: Notice[]
}

/**
 * What the leader of the manager changes now: nodes that went down or came back, and what becomes of the
 * replicas they hold. Pure.
 */
export function decide (input: DecideInput): Decided {
  const { state, facts, nowMs } = input
  const nodes = changedNodes(input)
  const decision = new Decision(input, nodes)
  const records = decision.records()
  const measured = input.started === undefined && nowMs - facts.measuresAtMs >= measuresIntervalMs
  const measures = measured ? measuredNodes(state.map.nodes.filter(({ id }) => !nodes.has(id)), (id) => facts.usageOf(id)) : []
  const change: MapChange = { base: state.map.version, nodes: [...nodes.values(), ...measures], records, standings: input.standings }
  return { change: isEmpty(change) ? null : change, leadMoves: decision.leadMoves, measured, reports: decision.reports }
}

function changedNodes ({ state, facts, nowMs, started }: DecideInput): Map<NodeId, NodeInfo> {
  const changed = new Map<NodeId, NodeInfo>()
  for (const node of state.map.nodes) {
    const down = node.state === 'down'
    if (down && facts.returned.has(node.id)) changed.set(node.id, { ...node, state: state.history(node.id).drains ? 'draining' : 'up' })
    else if (!down && facts.isSilent(node.id, nowMs)) changed.set(node.id, { ...node, state: 'down' })
  }
  for (const node of settledYields(state.map, (id) => facts.groupsLedBy(id))) if (!changed.has(node.id)) changed.set(node.id, node)
  if (started !== undefined) changed.set(started.node.id, started.node)
  return changed
}

/** One pass over the partitions that may change. */
class Decision {
  private readonly input: DecideInput
  private readonly nodes: Map<NodeId, NodeInfo>
  private readonly notices: Map<PartitionId, Notice[]>
  private readonly loads: LeadLoads
  private readonly budget: SyncBudget
  private readonly leadMovesLeft: number
  leadMoves = 0
  private yieldMoves = 0
  readonly reports: Notice[] = []

  constructor (input: DecideInput, changed: Map<NodeId, NodeInfo>) {
    const { state, facts, nowMs } = input
    this.input = input
    this.nodes = new Map(state.map.nodes.map((node) => [node.id, node]))
    for (const node of changed.values()) this.nodes.set(node.id, node)
    this.notices = Map.groupBy(input.notices ?? [], ({ partition }) => partition)
    this.loads = new LeadLoads(state.map.data, [...this.nodes.values()])
    this.budget = new SyncBudget(state)
    this.leadMovesLeft = input.started === undefined && nowMs - facts.leadMovesAtMs >= leadMovesIntervalMs ? leadMovesMax : 0
  }

  records (): PartitionRecord[] {
    const { state } = this.input
    const records = [...this.affected()].map((id) => state.record(id)).filter((record) => record !== undefined)
    const changed: PartitionRecord[] = []
    for (const record of records) {
      const next = nextRecord(record, this.factsFor(record))
      if (next === record) continue
      if (next.partition.primary !== record.partition.primary) this.loads.moved(record.partition, next.partition)
      changed.push(next)
    }
    return changed
  }

  private affected (): Set<PartitionId> {
    const { state, started } = this.input
    const ids = new Set<PartitionId>([...state.unsettled, ...this.notices.keys(), ...(this.input.moves?.partitions ?? [])])
    const touched = new Set([...this.nodes.values()].filter((node) => node.id === started?.node.id || node !== state.node(node.id)).map(({ id }) => id))
    const giving = [...this.nodes.values()].filter(({ state, yields }) => state === 'draining' || yields !== undefined).map(({ id }) => id)
    if (touched.size === 0 && giving.length === 0) return ids
    for (const { id, replicas, primary } of state.map.data) {
      if (replicas.some(({ node }) => touched.has(node)) || (primary !== null && giving.includes(primary))) ids.add(id)
    }
    return ids
  }

  private factsFor (record: PartitionRecord): ReplicaFacts {
    const { state, facts, nowMs, started, moves, fenceReaders } = this.input
    const { partition } = record
    const noticed = this.noticesFor(partition)
    const isOf = (node: NodeId, kind: Notice['kind']): boolean => noticed.some((notice) => notice.node === node && notice.kind === kind)
    const replicasWanted = state.volume(partition.volume)?.replicas ?? partition.replicas.length
    return {
      version: state.map.version + 1,
      isUp: (node) => this.isUp(node),
      restartOf: (node) => node === started?.node.id ? started.restart : undefined,
      isReported: (node) => isOf(node, 'reported'),
      isSynced: (node) => isOf(node, 'synced'),
      maySync: (node, source) => facts.mayResync(partition.id, node, nowMs) && this.budget.take(node, source),
      isReleased: (fence) => fence.node === started?.node.id || facts.isReleased(fence, nowMs),
      secondariesRead: fenceReaders === true && state.volume(partition.volume)?.placement === 'tivoli',
      choosePrimary: (candidates) => this.choose(partition, candidates),
      moveLead: this.shouldMoveLead(record),
      isRetired: (node) => moves?.isSurplus(partition, node, replicasWanted, (id) => this.isUp(id)) === true,
      added: moves?.added(partition) ?? [],
      preferred: moves?.leadFor(partition.id)
    }
  }

  /** Those of the partition's present epoch; only its primary may report. */
  private noticesFor ({ id, epoch, primary }: DataPartition): Notice[] {
    const valid = (this.notices.get(id) ?? []).filter((notice) => notice.epoch === epoch && (notice.kind === 'synced' || notice.reporter === primary))
    this.reports.push(...valid.filter(({ kind }) => kind === 'reported'))
    return valid
  }

  private isUp (id: NodeId): boolean {
    const node = this.nodes.get(id)
    return node !== undefined && node.state !== 'down'
  }

  /**
   * Nodes that are being emptied, or are going to be away, lead only what nobody else can. One that is to give its replica up
   * does not lead even before those: no move waits until a node stays.
   */
  private choose (partition: DataPartition, candidates: NodeId[]): NodeId | null {
    const { moves } = this.input
    const keeping = candidates.filter((id) => moves?.leaves(partition.id, id) !== true && moves?.handsOver(partition.id, id) !== true)
    const present = keeping.filter((id) => this.nodes.get(id)?.yields === undefined)
    const staying = present.filter((id) => this.nodes.get(id)?.state === 'up')
    const best = [staying, present, keeping, candidates].find((ids) => ids.length > 0) ?? []
    return choosePrimary(partition, best, (id) => this.loads.of(id))
  }

  /** Back to the placement's choice when all serve again; away from a node that is being emptied or going away. Never more than the rate allows. */
  private shouldMoveLead ({ partition, fences }: PartitionRecord): boolean {
    const { replicas, primary } = partition
    if (primary === null || fences.length > 0) return false
    const candidates = replicas.filter(({ node, state }) => state === 'serving' && this.isUp(node)).map(({ node }) => node)
    const yields = this.nodes.get(primary)?.yields !== undefined
    if (yields ? this.yieldMoves >= yieldLeadsMax : this.leadMoves >= this.leadMovesLeft) return false
    const leaves = yields || this.nodes.get(primary)?.state === 'draining' || this.input.moves?.leaves(partition.id, primary) === true
    const asked = this.input.moves?.leadFor(partition.id) ?? null
    const handsOver = asked !== null && candidates.includes(asked)
    if (candidates.length < replicas.length && !leaves && !handsOver) return false
    const next = this.choose(partition, candidates)
    // Nobody is better than whoever leads but the one that shall.
    if (next === primary || (!leaves && !handsOver && next !== replicas[0]?.node)) return false
    if (yields) this.yieldMoves++
    else this.leadMoves++
    return true
  }
}
