import { DomainPaths } from './domain-paths.ts'
import type { DataPartition, DiskMeasure, NodeId, PartitionId } from './types.ts'

/** A disk counts as hot when it is busier than this for `hotForMs`, and until it is less busy than `coolBelow`. */
export const hotAbove = 0.7
export const coolBelow = 0.6
export const hotForMs = 30_000
/** Load leaves a hot disk only if that makes it cooler by at least this, or no longer hot. */
export const leadReliefMin = 0.1
/** A copy costs more than a hand-over, and so must bring more. */
export const copyReliefMin = 0.2
/** Each single move must make the busier of its two disks less busy than the hot one was, by at least this. */
export const gainMin = 0.005
/** Hand-overs, and exchanges, by which one hot disk is relieved at a time. */
export const handOversMax = 16
export const exchangesMax = 4
/** After a move the two nodes are left alone, so that its effect is measured before the next. */
export const settleMs = 30_000
export const settleCopyMs = 300_000
/** A partition that was moved stays for so long, twice as long after each further time, at most for `restMsMax`. */
export const restMsMin = 300_000
export const restMsMax = 86_400_000
/** What was moved is forgotten at this rate: one time of it in so long. */
export const forgetMs = 86_400_000
/** Partitions of a hot node that are looked at: the busiest. */
export const consideredMax = 64
/** Nodes that it may exchange replicas with (the least busy), and of each the partitions that are looked at (the idlest). */
export const coolestMax = 16

export interface ReliefNode {
  id: NodeId
  /** Widest first. */
  domain: readonly string[]
  disk: DiskMeasure | null
  /** May be given replicas that it does not have. */
  mayTake: boolean
}

export interface ReliefInput {
  nowMs: number
  nodes: readonly ReliefNode[]
  partitions: ReadonlyArray<Pick<DataPartition, 'id' | 'replicas' | 'primary'>>
  /** Bytes/s that the node reads and writes for the partition, a moving average; 0 if it is not known. */
  loadOf (node: NodeId, partition: PartitionId): number
}

/** What must be remembered between two decisions. Plain data; losing it costs patience, not correctness. */
export interface ReliefState {
  /** Since when nodes are hot. */
  hotSince: Readonly<Record<NodeId, number>>
  /** Until when nodes are left alone. */
  settlesUntil: Readonly<Record<NodeId, number>>
  /** How often partitions were moved, and when last. */
  moved: Readonly<Record<PartitionId, { times: number, atMs: number }>>
}

export interface Relief {
  state: ReliefState
  /** Who shall lead instead. */
  leads: Map<PartitionId, NodeId>
  /** Replicas that change places: two at a time, so that every node keeps its share. */
  moves: Array<{ partition: PartitionId, from: NodeId, to: NodeId }>
}

export const noRelief: ReliefState = { hotSince: {}, settlesUntil: {}, moved: {} }

/**
 * How load leaves hot disks. First by a hand-over, which costs nothing: two replicas exchange what their
 * roles bring with them. Where none helps, a busy replica changes places with an idle one of another node. Nothing
 * oscillates: under a constant load each step makes the hottest pair cooler, so steps end; under a load that
 * flips, each partition rests longer after every move.
 */
export function relieve (input: ReliefInput, state: ReliefState): Relief {
  const hotSince = nextHot(input, state)
  const hot = input.nodes.filter(({ id }) => input.nowMs - (hotSince[id] ?? Infinity) >= hotForMs)
  hot.sort((one, other) => other.disk!.utilization - one.disk!.utilization || (one.id < other.id ? -1 : 1))
  const remembered = { hotSince, ...pruned(input, state) }
  if (hot.length === 0) return { state: remembered, leads: new Map(), moves: [] }
  const step = new ReliefStep(input, remembered)
  for (const { id } of hot) step.relieveNode(id)
  return step.outcome()
}

/** Without what no longer matters: it grows no larger than what there is. */
function pruned ({ nodes, partitions, nowMs }: ReliefInput, { settlesUntil, moved }: ReliefState): Pick<ReliefState, 'settlesUntil' | 'moved'> {
  const ids = new Set(nodes.map(({ id }) => id))
  const names = Object.keys(moved)
  const known = names.length === 0 ? new Set() : new Set(partitions.map(({ id }) => id))
  return {
    settlesUntil: Object.fromEntries(Object.entries(settlesUntil).filter(([id, until]) => ids.has(id) && until > nowMs)),
    moved: Object.fromEntries(Object.entries(moved).filter(([id, entry]) => known.has(id) && timesMoved(entry, nowMs) > 0))
  }
}

function nextHot ({ nodes, nowMs }: ReliefInput, { hotSince }: ReliefState): Record<NodeId, number> {
  const next: Record<NodeId, number> = {}
  for (const { id, disk } of nodes) {
    if (disk === null) continue
    const since = hotSince[id]
    if (disk.utilization >= hotAbove || (since !== undefined && disk.utilization >= coolBelow)) next[id] = since ?? nowMs
  }
  return next
}

/** How long a partition that was moved so often stays. */
export function restMs (times: number): number { return Math.min(restMsMax, restMsMin * 2 ** (times - 1)) }

function timesMoved (entry: { times: number, atMs: number } | undefined, nowMs: number): number {
  return entry === undefined ? 0 : Math.max(0, entry.times - Math.floor((nowMs - entry.atMs) / forgetMs))
}

type Partition = ReliefInput['partitions'][number]

/** Load that a hot node and another exchange: parts of each one's busy time. */
interface Option { partitions: PartitionId[], other: NodeId, fromNode: number, fromOther: number, apply: () => void }

class ReliefStep {
  private readonly input: ReliefInput
  private readonly state: ReliefState
  private readonly nodes: Map<NodeId, ReliefNode>
  private readonly paths: DomainPaths
  private readonly held = new Map<NodeId, Partition[]>()
  private readonly totals = new Map<NodeId, number>()
  private readonly settlesUntil: Record<NodeId, number>
  private readonly moved: Record<PartitionId, { times: number, atMs: number }>
  private readonly leads = new Map<PartitionId, NodeId>()
  private readonly moves: Relief['moves'] = []
  /** How busy disks will be after what was chosen so far. */
  private expected = new Map<NodeId, number>()
  private coolestNodes: NodeId[] | null = null
  private readonly idlestOf = new Map<NodeId, Partition[]>()

  constructor (input: ReliefInput, state: ReliefState) {
    this.input = input
    this.state = state
    this.nodes = new Map(input.nodes.map((node) => [node.id, node]))
    this.paths = new DomainPaths(input.nodes)
    this.settlesUntil = { ...state.settlesUntil }
    this.moved = { ...state.moved }
    for (const partition of input.partitions) {
      for (const { node } of partition.replicas) {
        const mine = this.held.get(node)
        if (mine === undefined) this.held.set(node, [partition])
        else mine.push(partition)
        this.totals.set(node, (this.totals.get(node) ?? 0) + input.loadOf(node, partition.id))
      }
    }
  }

  outcome (): Relief {
    return { state: { hotSince: this.state.hotSince, settlesUntil: this.settlesUntil, moved: this.moved }, leads: this.leads, moves: this.moves }
  }

  relieveNode (node: NodeId): void {
    if (this.settles(node)) return
    const busiest = (this.held.get(node) ?? [])
      .filter(({ id }) => this.mayMove(id) && this.part(node, id) > 0)
      .sort((one, other) => this.part(node, other.id) - this.part(node, one.id) || (one.id < other.id ? -1 : 1))
      .slice(0, consideredMax)
    const relieved = this.choose(node, busiest.map((partition) => this.handOvers(node, partition)), handOversMax, leadReliefMin, settleMs)
    if (!relieved) this.choose(node, busiest.map((partition) => this.exchanges(node, partition)), exchangesMax, copyReliefMin, settleCopyMs)
  }

  /** One option per partition, the best as things stand then, until the node is cool; none of them if all together bring too little. */
  private choose (node: NodeId, choices: Option[][], most: number, reliefMin: number, settlesMs: number): boolean {
    const before = new Map(this.expected)
    const chosen: Option[] = []
    const used = new Set<PartitionId>()
    for (const options of choices) {
      if (chosen.length >= most || this.expectedBusy(node) < coolBelow) break
      const best = greatest(options.filter(({ partitions }) => !partitions.some((id) => used.has(id))), (option) => this.gain(node, option))
      if (best === undefined || this.gain(node, best) < gainMin) continue
      this.expect(node, best)
      chosen.push(best)
      for (const id of best.partitions) used.add(id)
    }
    const relief = (before.get(node) ?? this.busy(node)) - this.expectedBusy(node)
    if (relief < reliefMin && this.expectedBusy(node) >= coolBelow) {
      this.expected = before
      return false
    }
    for (const option of chosen) {
      option.apply()
      this.note(option.partitions, [node, option.other], settlesMs)
    }
    return chosen.length > 0
  }

  private busy (node: NodeId): number { return this.nodes.get(node)?.disk?.utilization ?? 0 }

  private settles (node: NodeId): boolean { return (this.settlesUntil[node] ?? 0) > this.input.nowMs }

  private mayMove (partition: PartitionId): boolean {
    const times = timesMoved(this.moved[partition], this.input.nowMs)
    return times === 0 || this.input.nowMs - this.moved[partition]!.atMs >= restMs(times)
  }

  /** The part of a disk's busy time that is due to a partition. */
  private part (node: NodeId, partition: PartitionId): number {
    const total = this.totals.get(node) ?? 0
    return total === 0 ? 0 : this.busy(node) * this.input.loadOf(node, partition) / total
  }

  /** What takes so much of one disk's time takes so much of another's. */
  private carried (part: number, from: NodeId, to: NodeId): number {
    const [one, other] = [this.nodes.get(from)?.disk, this.nodes.get(to)?.disk]
    if (one == null || other == null) return part
    return part * Math.sqrt(one.readBandwidth * one.writeBandwidth / Math.max(1, other.readBandwidth * other.writeBandwidth))
  }

  private expectedBusy (node: NodeId): number { return this.expected.get(node) ?? this.busy(node) }

  private after (node: NodeId, { other, fromNode, fromOther }: Option): [number, number] {
    return [
      this.expectedBusy(node) - fromNode + this.carried(fromOther, other, node),
      this.expectedBusy(other) - fromOther + this.carried(fromNode, node, other)
    ]
  }

  /** By how much the busier of the two is less busy than the hot one was. */
  private gain (node: NodeId, option: Option): number { return this.expectedBusy(node) - Math.max(...this.after(node, option)) }

  private expect (node: NodeId, option: Option): void {
    const [mine, others] = this.after(node, option)
    this.expected.set(node, mine)
    this.expected.set(option.other, others)
  }

  /** The node gives up the lead, or gets it: either way it does afterwards what the other did. */
  private handOvers (node: NodeId, partition: Partition): Option[] {
    const { id, primary, replicas } = partition
    const serving = replicas.filter(({ state }) => state === 'serving').map((replica) => replica.node)
    if (primary === null || !serving.includes(node) || !serving.includes(primary)) return []
    const others = primary === node ? serving.filter((other) => other !== node) : [primary]
    return others.filter((other) => !this.settles(other) && this.nodes.get(other)?.disk != null).map((other) => ({
      partitions: [id], other, fromNode: this.part(node, id), fromOther: this.part(other, id), apply: () => { this.leads.set(id, primary === node ? other : node) }
    }))
  }

  /** A busy replica of the node for an idle one of another. */
  private exchanges (node: NodeId, partition: Partition): Option[] {
    return this.coolest().flatMap((other): Option[] => {
      if (this.settles(other) || !this.mayReplace(partition, node, other)) return []
      const idle = this.idlest(other).find((candidate) => this.mayMove(candidate.id) && this.mayReplace(candidate, other, node))
      if (idle === undefined) return []
      return [{
        partitions: [partition.id, idle.id], other, fromNode: this.part(node, partition.id), fromOther: this.part(other, idle.id),
        apply: () => { this.moves.push({ partition: partition.id, from: node, to: other }, { partition: idle.id, from: other, to: node }) }
      }]
    })
  }

  private coolest (): NodeId[] {
    this.coolestNodes ??= this.input.nodes
      .filter(({ disk, mayTake }) => mayTake && disk !== null && disk.utilization < coolBelow)
      .sort((one, other) => one.disk!.utilization - other.disk!.utilization || (one.id < other.id ? -1 : 1))
      .slice(0, coolestMax).map(({ id }) => id)
    return this.coolestNodes
  }

  private idlest (node: NodeId): Partition[] {
    let found = this.idlestOf.get(node)
    if (found !== undefined) return found
    found = (this.held.get(node) ?? []).toSorted((one, other) => this.part(node, one.id) - this.part(node, other.id) || (one.id < other.id ? -1 : 1)).slice(0, coolestMax)
    this.idlestOf.set(node, found)
    return found
  }

  /** Whether all replicas serve, and the change makes no domain hold more of them. */
  private mayReplace ({ replicas }: Partition, from: NodeId, to: NodeId): boolean {
    if (!replicas.every(({ state }) => state === 'serving') || replicas.some(({ node }) => node === to)) return false
    const before = replicas.map(({ node }) => node)
    const pairs = this.paths.sharedPairs(before)
    return this.paths.sharedPairs(before.map((node) => node === from ? to : node)).every((count, level) => count <= pairs[level]!)
  }

  private note (partitions: PartitionId[], nodes: NodeId[], forMs: number): void {
    const { nowMs } = this.input
    for (const id of partitions) this.moved[id] = { times: timesMoved(this.moved[id], nowMs) + 1, atMs: nowMs }
    for (const id of nodes) this.settlesUntil[id] = nowMs + forMs
  }
}

function greatest<T> (items: readonly T[], valueOf: (item: T) => number): T | undefined {
  let best: T | undefined
  let most = -Infinity
  for (const item of items) {
    const value = valueOf(item)
    if (value <= most) continue
    best = item
    most = value
  }
  return best
}
