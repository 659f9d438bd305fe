import { DomainPaths } from './domain-paths.ts'
import type { Move, PartitionTarget, Plan, PlanNode, PlanPartition, PlanSnapshot, PlanTarget } from './planner-types.ts'
import type { NodeId } from './types.ts'

export * from './planner-types.ts'
export { actionsOf, beginPlan, nextMoves, observedEvents, planProgress, stepPlan, failuresMax, retryDelayMs } from './planner-steps.ts'

/** Moves of partitions that are as safe as they were asked to be: they only even out. */
export const urgencyOfBalance = 100
/** All replicas are safe, but two of them share a domain and shall not. */
export const urgencyOfDomains = 50
/** A hand-over of the lead alone. */
export const urgencyOfLead = 200

/** A move before it has its place in the plan. */
interface Draft { move: Move, round: number, hash: number }

/**
 * The moves that lead from what is to the target: for each partition a chain of single exchanges, so that it never has
 * more than one replica too many and never one too few, and never two in one domain where neither end has. The
 * chains are interleaved: the most endangered first, then in turns over the nodes that they fill. What an earlier plan
 * left half done is part of what is, so a new plan may replace one at any time. Deterministic.
 */
export function planMoves (snapshot: PlanSnapshot, target: PlanTarget): Plan {
  const nodes = new Map(snapshot.nodes.map((node) => [node.id, node]))
  const paths = new DomainPaths(snapshot.nodes)
  const partitions = new Map(snapshot.partitions.map((partition) => [partition.id, partition]))
  const rounds = new Map<NodeId, number>()
  const chains = target.partitions.flatMap((wanted): Draft[][] => {
    const partition = partitions.get(wanted.id)
    // Nowhere to go is no reason to drop what is there.
    if (partition === undefined || wanted.replicas.length === 0 || isThere(partition, wanted)) return []
    const moves = new Chain(partition, wanted, nodes, paths).moves()
    return moves.length === 0 ? [] : [moves.map((move) => draft(move, rounds))]
  })
  return { moves: interleaved(chains) }
}

/** Most partitions stay as they are: they cost next to nothing. */
function isThere ({ replicas, primary }: PlanPartition, wanted: PartitionTarget): boolean {
  return primary === wanted.replicas[0] && replicas.length === wanted.replicas.length && replicas.every(({ node }) => wanted.replicas.includes(node))
}

function draft (move: Move, rounds: Map<NodeId, number>): Draft {
  const node = move.to ?? move.from!
  const round = rounds.get(node) ?? 0
  if (move.kind === 'replica') rounds.set(node, round + 1)
  return { move, round, hash: 0 }
}

/** Chains in one order; within a chain nothing overtakes. */
function interleaved (chains: Draft[][]): Move[] {
  const drafts: Array<Draft & { chain: number, at: number }> = []
  chains.forEach((chain, index) => {
    let [urgency, round] = [0, 0]
    chain.forEach((one, at) => {
      urgency = Math.max(urgency, one.move.urgency)
      round = Math.max(round, one.round)
      drafts.push({ ...one, move: { ...one.move, urgency }, round, chain: index, at })
    })
  })
  drafts.sort((one, other) => one.move.urgency - other.move.urgency || one.round - other.round || one.chain - other.chain || one.at - other.at)
  const last = new Int32Array(chains.length).fill(-1)
  return drafts.map(({ move, chain }, index) => {
    const after = last[chain]!
    last[chain] = index
    return { ...move, after }
  })
}

/** The exchanges of one partition, in order. */
class Chain {
  private readonly partition: PlanPartition
  private readonly nodes: ReadonlyMap<NodeId, PlanNode>
  private readonly paths: DomainPaths
  private readonly wanted: readonly NodeId[]
  /** Pairs that share a domain, per level: more than this is worse than both ends. */
  private readonly allowed: number[]
  private readonly serving: Set<NodeId>
  /** Those that hold a replica after the moves so far. */
  private held: NodeId[]
  private leader: NodeId | null
  private readonly found: Move[] = []

  constructor (partition: PlanPartition, wanted: PartitionTarget, nodes: ReadonlyMap<NodeId, PlanNode>, paths: DomainPaths) {
    this.partition = partition
    this.nodes = nodes
    this.paths = paths
    this.wanted = wanted.replicas
    this.leader = partition.primary
    this.held = partition.replicas.map(({ node }) => node)
    this.serving = new Set(partition.replicas.filter(({ serving }) => serving).map(({ node }) => node))
    const [before, after] = [paths.sharedPairs(this.held), paths.sharedPairs(this.wanted)]
    this.allowed = before.map((pairs, level) => Math.max(pairs, after[level]!))
  }

  moves (): Move[] {
    const lead = this.wanted[0]!
    this.dropStrays()
    const leadsNow = this.serving.has(lead) && this.held.includes(lead)
    if (leadsNow) this.leadTo(lead)
    this.exchange()
    if (!leadsNow) this.leadTo(lead)
    for (const node of this.leaving()) this.push(node, null)
    return this.found
  }

  private leaving (): NodeId[] { return this.held.filter((node) => !this.wanted.includes(node)) }

  /** Unfinished copies that nobody wants any more: beyond the count, and worth nothing. */
  private dropStrays (): void {
    for (const node of this.leaving()) {
      const surplus = this.held.length - Math.max(this.wanted.length, this.serving.size)
      if (surplus > 0 && !this.serving.has(node)) this.push(node, null)
    }
  }

  private leadTo (node: NodeId): void {
    if (this.leader === node) return
    this.found.push({ kind: 'lead', partition: this.partition.id, from: this.leader, to: node, urgency: urgencyOfLead, after: -1 })
    this.leader = node
  }

  private exchange (): void {
    for (let missing = this.missing(); missing.length > 0; missing = this.missing()) {
      const { from, to, excess } = this.best(missing)
      const early = excess > 0 ? this.dispensable() : null
      if (early !== null) this.push(early, null)
      else this.push(from, to)
    }
  }

  /** Where there shall be fewer replicas: one that may go before the others are exchanged, and rids its domain of a pair. */
  private dispensable (): NodeId | null {
    let best: NodeId | null = null
    let least = Infinity
    for (const node of this.leaving()) {
      if (this.serving.has(node) && this.serving.size <= this.wanted.length) continue
      const pairs = this.paths.sharedPairs(this.held.filter((other) => other !== node)).reduce((sum, count) => sum + count, 0)
      const cost = pairs * 64 + this.worth(node) + (node === this.leader ? 16 : 0)
      if (cost < least) [least, best] = [cost, node]
    }
    return best
  }

  /** What the target has and does not yet serve; a copy that is under way counts while one is there that it replaces. */
  private missing (): NodeId[] {
    const surplus = this.leaving().length
    const absent = this.wanted.filter((node) => !this.held.includes(node))
    if (absent.length > 0 || surplus === 0) return absent
    return this.held.length > this.wanted.length ? this.wanted.filter((node) => !this.serving.has(node)).slice(0, 1) : []
  }

  private best (candidates: readonly NodeId[]): { from: NodeId | null, to: NodeId, excess: number } {
    let best: { from: NodeId | null, to: NodeId, excess: number } | undefined
    let least = Infinity
    // While some are missing one more is as good as an exchange, unless it shares a domain with one that goes.
    const sources: Array<NodeId | null> = this.held.length < this.wanted.length ? [null, ...this.leaving()] : this.leaving()
    for (const to of candidates) {
      for (const from of sources) {
        const after = this.held.filter((node) => node !== from && node !== to)
        const excess = this.paths.sharedPairs([...after, to]).reduce((sum, pairs, level) => sum + Math.max(0, pairs - this.allowed[level]!), 0)
        const cost = excess * 64 + this.cost(from, to)
        if (cost >= least) continue
        least = cost
        best = { from, to, excess }
      }
    }
    return best ?? { from: null, to: candidates[0]!, excess: 0 }
  }

  /** Those go first that are counted on least; the future primary comes first, so that the present one may go at any time. */
  private cost (from: NodeId | null, to: NodeId): number {
    const lead = this.wanted[0]!
    const early = from === this.leader && to !== lead && !this.held.includes(lead) ? 16 : 0
    return early + (to === lead ? 0 : 1) + (from === null ? 0 : this.worth(from))
  }

  private worth (node: NodeId): number {
    const state = this.nodes.get(node)?.state ?? 'gone'
    if (state === 'gone') return 0
    return this.serving.has(node) ? (state === 'leaving' ? 4 : 8) : 2
  }

  private push (from: NodeId | null, to: NodeId | null): void {
    const urgency = this.urgency(from)
    const { id, bytes } = this.partition
    const after = this.held.filter((node) => node !== from && node !== to)
    if (to !== null) after.push(to)
    const lead = this.leadAfter(from, to, after)
    this.found.push({ kind: 'replica', partition: id, from, to, lead, source: this.source(), bytes: to === null ? 0 : bytes, urgency, after: -1 })
    this.held = after
    if (lead !== null) this.leader = lead
    if (to !== null) this.serving.add(to)
    if (from !== null) this.serving.delete(from)
  }

  /** The future primary leads as soon as it is there; if the present one must go before, somebody who stays. */
  private leadAfter (from: NodeId | null, to: NodeId | null, after: readonly NodeId[]): NodeId | null {
    const lead = this.wanted[0]!
    if (this.leader === lead) return null
    if (to === lead) return lead
    if (from === null || from !== this.leader) return null
    const candidates = after.filter((node) => node === to || this.serving.has(node))
    return candidates.find((node) => node === lead) ?? candidates.find((node) => this.wanted.includes(node)) ?? candidates[0] ?? null
  }

  /** The primary, or who will follow it where it is gone. */
  private source (): NodeId | null {
    const isThere = (node: NodeId | null): node is NodeId => node !== null && this.serving.has(node) && (this.nodes.get(node)?.state ?? 'gone') !== 'gone'
    return isThere(this.leader) ? this.leader : this.held.find(isThere) ?? null
  }

  /** By the replicas that can be counted on now; one on a node that is being emptied counts half. */
  private urgency (from: NodeId | null): number {
    const safe = this.partition.replicas.reduce((sum, { node, serving }) => {
      const state = this.nodes.get(node)?.state ?? 'gone'
      return sum + (!serving || state === 'gone' ? 0 : state === 'leaving' ? 0.5 : 1)
    }, 0)
    if (safe < this.wanted.length) return Math.min(safe, urgencyOfDomains - 1)
    const crowded = from !== null && this.paths.sharedPairs(this.held).some((pairs, level) => pairs > this.paths.sharedPairs(this.wanted)[level]!)
    return crowded ? urgencyOfDomains : urgencyOfBalance
  }
}
