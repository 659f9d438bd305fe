import type { ActiveMove, Move, MoveStage, Plan, PlanBudget, PlanEvent, PlanState } from './planner-types.ts'
import type { DataPartition, NodeId, PartitionId } from './types.ts'

/** A move that failed this often is given up, and with it those of the same partition that follow. */
export const failuresMax = 5
/** How long a move that failed waits before it is tried again. */
export const retryDelayMs = 10_000
/** Bytes that may be begun at once when nothing was for a while: what the rate allows in this time. */
export const burstMs = 1_000

export function beginPlan (plan: Plan): PlanState {
  const phase = plan.moves.length === 0 ? 'ended' : 'running'
  return { phase, active: [], settled: [], failures: {}, givenUp: [], movesDone: 0, bytesDone: 0, allowance: null }
}

/** The next state. The same object if the event changes nothing; the given one is never changed. */
export function stepPlan (plan: Plan, state: PlanState, event: PlanEvent): PlanState {
  if (event.kind === 'pause') return state.phase === 'running' ? { ...state, phase: 'paused' } : state
  if (event.kind === 'resume') return state.phase === 'paused' ? { ...state, phase: 'running' } : state
  if (event.kind === 'abort') return aborted(plan, state)
  if (event.kind === 'begun') return begun(plan, state, event)
  if (event.kind === 'vanished') return ended(plan, vanished(plan, state, new Set(event.partitions)))
  return ended(plan, stepMove(plan, state, event))
}

function vanished (plan: Plan, state: PlanState, partitions: ReadonlySet<PartitionId>): PlanState {
  const isGone = (index: number): boolean => partitions.has(plan.moves[index]!.partition)
  const gone = [...plan.moves.keys()].filter((index) => isGone(index) && !isSettled(state.settled, index))
  if (gone.length === 0) return state
  return { ...state, active: state.active.filter(({ move }) => !isGone(move)), settled: gone.reduce(withSettled, state.settled) }
}

function aborted (plan: Plan, state: PlanState): PlanState {
  if (state.phase !== 'running' && state.phase !== 'paused') return state
  const active = state.active.flatMap((one): ActiveMove[] => {
    if (one.stage === 'copy' || one.stage === 'verify') return [{ ...one, stage: 'undo' }]
    // A hand-over alone is left, one that makes way for a drop is finished.
    return one.stage === 'lead' && plan.moves[one.move]!.kind === 'lead' ? [] : [one]
  })
  return ended(plan, { ...state, phase: 'aborting', active })
}

function begun (plan: Plan, state: PlanState, event: Extract<PlanEvent, { kind: 'begun' }>): PlanState {
  if (state.phase !== 'running') return state
  const fresh = [...new Set(event.moves)].filter((index) => plan.moves[index] !== undefined && isOpen(plan, state, index))
  if (fresh.length === 0) return state
  const active = [...state.active, ...fresh.map((move) => ({ move, stage: firstStage(plan.moves[move]!) }))]
  const spent = fresh.reduce((sum, index) => sum + bytesOf(plan.moves[index]!), 0)
  const bytes = allowanceAt(state, event.bytesPerSecond, event.nowMs)
  return { ...state, active, allowance: event.bytesPerSecond === null ? null : { bytes: bytes - spent, atMs: event.nowMs } }
}

type MoveEvent = Extract<PlanEvent, { move: number }>

function stepMove (plan: Plan, state: PlanState, event: MoveEvent): PlanState {
  const at = state.active.findIndex(({ move }) => move === event.move)
  if (at < 0) return state
  const { stage } = state.active[at]!
  const move = plan.moves[event.move]!
  if (event.kind === 'failed') return failed(plan, state, at, event.nowMs)
  if (event.kind === 'dropped' && stage === 'undo') return { ...state, active: without(state.active, at) }
  const expected: Record<Exclude<MoveEvent['kind'], 'failed'>, MoveStage> = { copied: 'copy', verified: 'verify', led: 'lead', dropped: 'drop' }
  if (expected[event.kind] !== stage) return state
  const next = stageAfter(move, stage)
  if (next !== null) return { ...state, active: state.active.with(at, { move: event.move, stage: next }) }
  return {
    ...state,
    active: without(state.active, at),
    settled: withSettled(state.settled, event.move),
    movesDone: state.movesDone + 1,
    bytesDone: state.bytesDone + bytesOf(move)
  }
}

/** A copy that failed is dropped and tried again. One that serves already is not given up for what fails behind it. */
function failed (plan: Plan, state: PlanState, at: number, nowMs: number): PlanState {
  const { move: index, stage } = state.active[at]!
  const move = plan.moves[index]!
  if (stage === 'drop' || stage === 'undo') return state
  const count = (state.failures[index]?.count ?? 0) + 1
  const undone = move.kind === 'replica' && move.to !== null
  const next = { ...state, failures: { ...state.failures, [index]: { count, atMs: nowMs } }, active: undone ? state.active.with(at, { move: index, stage: 'undo' as const }) : without(state.active, at) }
  return count < failuresMax ? next : givenUp(plan, next, index)
}

function givenUp (plan: Plan, state: PlanState, first: number): PlanState {
  const gone = [first]
  for (let index = first + 1; index < plan.moves.length; index++) if (gone.includes(plan.moves[index]!.after)) gone.push(index)
  return { ...state, givenUp: [...state.givenUp, ...gone], settled: gone.reduce(withSettled, state.settled) }
}

function ended (plan: Plan, state: PlanState): PlanState {
  if (state.active.length > 0 || state.phase === 'ended' || state.phase === 'aborted') return state
  if (state.phase === 'aborting') return { ...state, phase: 'aborted' }
  const [first] = state.settled
  return first?.[0] === 0 && first[1] === plan.moves.length ? { ...state, phase: 'ended' } : state
}

function firstStage (move: Move): MoveStage {
  if (move.kind === 'lead') return 'lead'
  return move.to !== null ? 'copy' : move.lead !== null ? 'lead' : 'drop'
}

function stageAfter (move: Move, stage: MoveStage): MoveStage | null {
  if (stage === 'copy') return 'verify'
  if (move.kind === 'lead' || stage === 'drop') return null
  if (stage === 'verify' && move.lead !== null) return 'lead'
  return move.from === null ? null : 'drop'
}

function bytesOf (move: Move): number { return move.kind === 'replica' ? move.bytes : 0 }

function without<T> (items: readonly T[], at: number): T[] { return items.filter((_, index) => index !== at) }

function isSettled (settled: PlanState['settled'], index: number): boolean {
  let [low, high] = [0, settled.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (settled[middle]![1] <= index) low = middle + 1
    else high = middle
  }
  return low < settled.length && settled[low]![0] <= index
}

function withSettled (settled: PlanState['settled'], index: number): PlanState['settled'] {
  if (isSettled(settled, index)) return settled
  const before = settled.filter(([, to]) => to < index)
  const behind = settled.filter(([from]) => from > index + 1)
  const touching = settled.slice(before.length, settled.length - behind.length)
  return [...before, [Math.min(index, touching[0]?.[0] ?? index), Math.max(index + 1, touching.at(-1)?.[1] ?? 0)], ...behind]
}

function isOpen (plan: Plan, state: PlanState, index: number): boolean {
  const { after } = plan.moves[index]!
  return !isSettled(state.settled, index) && (after < 0 || isSettled(state.settled, after)) && !state.active.some(({ move }) => move === index)
}

function allowanceAt ({ allowance }: PlanState, bytesPerSecond: number | null, nowMs: number): number {
  if (bytesPerSecond === null) return Infinity
  const burst = bytesPerSecond * burstMs / 1000
  return allowance === null ? burst : Math.min(burst, allowance.bytes + bytesPerSecond * Math.max(0, nowMs - allowance.atMs) / 1000)
}

/**
 * Moves that may begin now, in the plan's order, as far as the budget lets them. Say so to the plan with the event
 * 'begun' when they do. A node that is busy holds back only its own moves.
 */
export function nextMoves (plan: Plan, state: PlanState, budget: PlanBudget): number[] {
  if (state.phase !== 'running') return []
  const use = new BudgetUse(plan, state, budget)
  const found: number[] = []
  const active = new Set(state.active.map(({ move }) => move))
  let range = 0
  for (let index = 0; index < plan.moves.length && !use.isSpent; index++) {
    while (range < state.settled.length && state.settled[range]![1] <= index) range++
    const settledRange = state.settled[range]
    if (settledRange !== undefined && settledRange[0] <= index) {
      index = settledRange[1] - 1
      continue
    }
    const move = plan.moves[index]!
    const waits = active.has(index) || (move.after >= 0 && !isSettled(state.settled, move.after))
    const failure = state.failures[index]
    const rests = failure !== undefined && budget.nowMs < failure.atMs + retryDelayMs
    if (!waits && !rests && use.take(move)) found.push(index)
  }
  return found
}

/** What is in use of a budget. */
class BudgetUse {
  private readonly budget: PlanBudget
  private readonly perNode = new Map<string, number>()
  private copies = 0
  private leads = 0
  private bytes: number

  constructor (plan: Plan, state: PlanState, budget: PlanBudget) {
    this.budget = budget
    this.bytes = allowanceAt(state, budget.bytesPerSecond, budget.nowMs)
    for (const { move, stage } of state.active) this.count(plan.moves[move]!, stage)
  }

  get isSpent (): boolean { return this.leads >= this.budget.leadsMax && this.copiesSpent }

  private get copiesSpent (): boolean { return this.copies >= this.budget.copiesMax || this.bytes <= 0 }

  take (move: Move): boolean {
    const stage = firstStage(move)
    if (stage === 'lead' && this.leads >= this.budget.leadsMax) return false
    if (stage === 'copy' && (this.copiesSpent || this.of('from', copySource(move)) >= this.budget.copiesPerNode || this.of('to', move.to) >= this.budget.copiesPerNode)) return false
    if (this.budget.mayBegin?.(move) === false) return false
    this.count(move, stage)
    this.bytes -= bytesOf(move)
    return true
  }

  private count (move: Move, stage: MoveStage): void {
    if (stage === 'lead') this.leads++
    if (stage !== 'copy' && stage !== 'verify') return
    this.copies++
    for (const [key, node] of [['from', copySource(move)], ['to', move.to]] as const) {
      if (node !== null) this.perNode.set(`${key} ${node}`, this.of(key, node) + 1)
    }
  }

  private of (key: 'from' | 'to', node: NodeId | null): number { return node === null ? 0 : this.perNode.get(`${key} ${node}`) ?? 0 }
}

/** Whose disk the copy loads besides the target's. */
function copySource (move: Move): NodeId | null { return move.kind === 'replica' && move.to !== null ? move.source : null }

/** What is to be done now, also for one that takes over a state after a crash: doing any of it again does no harm. */
export function actionsOf (plan: Plan, state: PlanState): Array<{ index: number, stage: MoveStage, move: Move }> {
  return state.active.map(({ move, stage }) => ({ index: move, stage, move: plan.moves[move]! }))
}

/**
 * Events that the cluster map shows to have happened. What no map shows ('verified', 'failed') is for the executor to say.
 */
export function observedEvents (plan: Plan, state: PlanState, partitionOf: (id: PartitionId) => Pick<DataPartition, 'replicas' | 'primary'> | undefined): PlanEvent[] {
  return state.active.flatMap(({ move: index, stage }): PlanEvent[] => {
    const move = plan.moves[index]!
    const partition = partitionOf(move.partition)
    const holds = (node: NodeId | null, serving: boolean): boolean =>
      partition?.replicas.some((replica) => replica.node === node && (!serving || replica.state === 'serving')) === true
    if (stage === 'copy' && holds(move.to, true)) return [{ kind: 'copied', move: index }]
    if (stage === 'lead' && partition?.primary === (move.kind === 'lead' ? move.to : move.lead)) return [{ kind: 'led', move: index }]
    if (stage === 'drop' && !holds(move.from, false)) return [{ kind: 'dropped', move: index }]
    if (stage === 'undo' && !holds(move.to, false)) return [{ kind: 'dropped', move: index }]
    return []
  })
}

export interface PlanProgress {
  phase: PlanState['phase']
  moves: number
  movesDone: number
  movesActive: number
  movesGivenUp: number
  bytes: number
  bytesDone: number
}

export function planProgress (plan: Plan, state: PlanState): PlanProgress {
  return {
    phase: state.phase,
    moves: plan.moves.length,
    movesDone: state.movesDone,
    movesActive: state.active.length,
    movesGivenUp: state.givenUp.length,
    bytes: plan.moves.reduce((sum, move) => sum + bytesOf(move), 0),
    bytesDone: state.bytesDone
  }
}
