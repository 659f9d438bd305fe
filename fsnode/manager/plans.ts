import {
  beginPlan, nextMoves, observedEvents, planProgress, stepPlan, type ActiveMove, type Move, type Plan, type PlanBudget, type PlanEvent, type PlanState
} from '../../partitioning/planner.ts'
import type { DataPartition, NodeId, PartitionId } from '../../partitioning/types.ts'
import type { BalanceSettings, PlanKind, PlannedMove, PlanSummary } from '../protocol/manager.ts'
import { copiesPerNodeDefault, plansKeptMax, replicaMovesMax } from './bounds.ts'

/** What of a plan never changes. */
export interface PlanHead {
  id: number
  kind: PlanKind
  why: string
  /** For what cluster it was made; see `clusterSignature`. */
  basis: string
  /** Of the request. */
  token?: string
  createdMs: number
  moves: readonly Move[]
}

/** Where a plan stands. */
export interface PlanStanding {
  id: number
  state: PlanState
  endedMs: number | null
  /** A later plan took over what was left. */
  replaced?: boolean
}

export interface PlanRecord extends PlanHead, Omit<PlanStanding, 'id'> {}

export const balanceDefault: BalanceSettings = { automatic: true, bytesPerSecond: null, copiesPerNode: copiesPerNodeDefault }

export function newStanding ({ id, moves }: PlanHead): PlanStanding {
  return { id, state: beginPlan({ moves }), endedMs: null }
}

export function isOver ({ state, replaced }: Omit<PlanStanding, 'id'>): boolean {
  return replaced === true || state.phase === 'ended' || state.phase === 'aborted'
}

/** The plans of a cluster as the manager's state machine keeps them. */
export class PlanTable {
  private readonly records: Map<number, PlanRecord>

  constructor (records: readonly PlanRecord[] = []) {
    this.records = new Map(records.map((record) => [record.id, record]))
  }

  /** The oldest first. */
  get all (): PlanRecord[] { return [...this.records.values()] }

  get unfinished (): PlanRecord[] { return this.all.filter((record) => !isOver(record)) }

  get nextId (): number { return Math.max(0, ...this.records.keys()) + 1 }

  get (id: number): PlanRecord | undefined { return this.records.get(id) }

  withToken (token: string | undefined): PlanRecord | undefined {
    return token === undefined ? undefined : this.all.find((record) => record.token === token)
  }

  /** The unfinished plan in which the partition has something before it. */
  holding (partition: PartitionId): PlanRecord | undefined {
    return this.unfinished.find((record) => remaining(record).some((move) => move.partition === partition))
  }

  apply (heads: readonly PlanHead[], standings: readonly PlanStanding[]): void {
    for (const head of heads) {
      const { id: _, ...standing } = newStanding(head)
      this.records.set(head.id, { ...head, ...standing })
    }
    for (const { id, ...standing } of standings) {
      const record = this.records.get(id)
      if (record !== undefined) this.records.set(id, { ...record, ...standing })
    }
    const over = this.all.filter(isOver)
    for (const { id } of over.slice(0, Math.max(0, over.length - plansKeptMax))) this.records.delete(id)
  }
}

/** Moves that are not settled. */
export function remaining ({ moves, state }: Pick<PlanRecord, 'moves' | 'state'>): Move[] {
  const left: Move[] = []
  let next = 0
  for (const [from, to] of [...state.settled, [moves.length, moves.length] as const]) {
    left.push(...moves.slice(next, from))
    next = to
  }
  const undone = state.active.filter(({ stage }) => stage === 'undo').map(({ move }) => moves[move]!)
  return [...left, ...undone.filter((move) => !left.includes(move))]
}

export interface PlanView {
  partitionOf (id: PartitionId): DataPartition | undefined
  /** Wall-clock milliseconds: a plan outlives the process that counts. */
  nowMs: number
  settings: BalanceSettings
  mayBegin (move: Move): boolean
  /** It is going to be away soon, and leads only what nobody else can. */
  yields (node: NodeId): boolean
  /** Whether the copy that is under way will not come to its end now. */
  hasFailed (move: Move): boolean
}

/** Where the plan stands after what has happened, and with what begins now. The same object if nothing has changed. */
export function advance (record: PlanRecord, view: PlanView): PlanState {
  const plan: Plan = record
  let { state } = record
  for (let round = 0; round < stagesMax; round++) {
    const events = eventsOf(plan, state, view)
    if (events.length === 0) break
    for (const event of events) state = stepPlan(plan, state, event)
  }
  const { bytesPerSecond } = view.settings
  const moves = nextMoves(plan, state, budgetOf(view))
  return moves.length === 0 ? state : stepPlan(plan, state, { kind: 'begun', moves, nowMs: view.nowMs, bytesPerSecond })
}

/** Stages of one move. */
const stagesMax = 4

function eventsOf (plan: Plan, state: PlanState, view: PlanView): PlanEvent[] {
  const events = observedEvents(plan, state, view.partitionOf)
  const seen = new Set(events.map((event) => 'move' in event ? event.move : -1))
  for (const active of state.active) {
    if (!seen.has(active.move)) events.push(...unobservedEvents(plan.moves[active.move]!, active, view))
  }
  return events
}

function unobservedEvents (move: Move, { move: index, stage }: ActiveMove, view: PlanView): PlanEvent[] {
  // Its volume was removed: there is nothing left to do.
  if (view.partitionOf(move.partition) === undefined && (stage === 'copy' || stage === 'lead')) return [{ kind: stage === 'copy' ? 'copied' : 'led', move: index }]
  // A replica verifies what it has copied before it says that it has caught up (fsnode/data/recovery.ts).
  if (stage === 'verify') return [{ kind: 'verified', move: index }]
  if (stage === 'lead' && leadsLater(move, view)) return [{ kind: 'led', move: index }]
  if ((stage === 'copy' || stage === 'lead') && view.hasFailed(move)) return [{ kind: 'failed', move: index, nowMs: view.nowMs }]
  return []
}

/** Who shall lead is put first, and does when it stays; the one that is to go leads no more. Nobody waits for a node that is going to be away. */
function leadsLater (move: Move, view: PlanView): boolean {
  const target = move.kind === 'lead' ? move.to : move.lead
  const partition = view.partitionOf(move.partition)
  if (target === null || partition?.replicas[0]?.node !== target || !view.yields(target)) return false
  return move.kind === 'lead' || (partition.primary !== null && partition.primary !== move.from)
}

function budgetOf ({ nowMs, settings, mayBegin }: PlanView): PlanBudget {
  return { nowMs, bytesPerSecond: settings.bytesPerSecond, copiesPerNode: settings.copiesPerNode, copiesMax: replicaMovesMax, leadsMax: replicaMovesMax, mayBegin }
}

export function summaryOf (record: PlanRecord): PlanSummary {
  const { id, kind, why, createdMs, endedMs, replaced } = record
  const { moves, movesDone, movesActive, movesGivenUp, bytes, bytesDone, phase } = planProgress(record, record.state)
  return { id, kind, why, phase: replaced === true ? 'replaced' : phase, createdMs, endedMs, moves, movesDone, movesActive, movesGivenUp, bytes, bytesDone }
}

export function plannedMoves ({ moves, state }: PlanRecord): PlannedMove[] {
  const active = new Map(state.active.map(({ move, stage }) => [move, stage]))
  const givenUp = new Set(state.givenUp)
  const isSettled = (index: number): boolean => state.settled.some(([from, to]) => from <= index && index < to)
  return moves.map((move, index) => ({
    move, stage: active.get(index) ?? (givenUp.has(index) ? 'given up' : isSettled(index) ? 'done' : 'waiting')
  }))
}
