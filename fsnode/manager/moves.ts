import { countHeld, place, type PlacementOutcome } from '../../partitioning/placement.ts'
import { hotLeads } from '../../partitioning/tivoli.ts'
import type { DataPartition, NodeId, NodeInfo, PartitionId, VolumeInfo } from '../../partitioning/types.ts'
import { hotLeadIntervalMs, replaceAfterMs, replicaMovesMax, unevenHawaiiMax, unevenTivoliMax } from './bounds.ts'
import type { LeaderFacts } from './leader-facts.ts'
import type { ManagerState } from './manager-state.ts'

export interface ReplicaMove {
  add: NodeId[]
  drop: NodeId[]
  /** Who shall lead in the end. */
  lead: NodeId | null
}

/**
 * Replicas on their way to where placement wants them: a new one is added and copied first, the old one
 * is dropped when as many as the volume asks for serve without it.
 */
export class ReplicaMoves {
  private readonly moves: Map<PartitionId, ReplicaMove>

  constructor (moves: Map<PartitionId, ReplicaMove>) {
    this.moves = moves
  }

  get partitions (): Iterable<PartitionId> { return this.moves.keys() }

  get size (): number { return this.moves.size }

  /** Whether only leads move. */
  get leadsOnly (): boolean {
    return this.moves.size > 0 && [...this.moves.values()].every(({ add, drop }) => add.length + drop.length === 0)
  }

  leaves (partition: PartitionId, node: NodeId): boolean {
    return this.moves.get(partition)?.drop.includes(node) === true
  }

  /** One at a time: the next starts when the last has been finished. */
  replacementsFor ({ id, replicas }: DataPartition, wanted: number, isUp: (node: NodeId) => boolean): NodeId[] {
    if (replicas.length > wanted) return []
    const next = this.moves.get(id)?.add.find((node) => isUp(node) && !replicas.some((replica) => replica.node === node))
    return next === undefined ? [] : [next]
  }

  isSurplus ({ id, replicas }: DataPartition, node: NodeId, wanted: number, isUp: (node: NodeId) => boolean): boolean {
    if (!this.leaves(id, node) || replicas.length <= wanted) return false
    const others = replicas.filter((replica) => replica.node !== node && replica.state === 'serving' && isUp(replica.node))
    return others.length >= wanted
  }

  leadFor (partition: PartitionId): NodeId | null { return this.moves.get(partition)?.lead ?? null }
}

export interface PlanInput { state: ManagerState, facts: LeaderFacts, nowMs: number }

/** Plans moves of replicas. Remembers from what: placement of a large cluster takes time, and most plans would be the same. */
export class MovePlanner {
  private basis: unknown[] = []
  private last = new ReplicaMoves(new Map())

  plan (input: PlanInput): ReplicaMoves {
    const { map } = input.state
    const basis = [map.data, map.volumes, ...map.nodes.flatMap((node) => [node.id, stays(input, node), node.state, node.capacityBytes, node.disk])]
    const same = basis.length === this.basis.length && basis.every((value, at) => value === this.basis[at])
    if (!same) this.last = planMoves(input)
    this.basis = basis
    if (this.last.size > 0 || input.nowMs - input.facts.hotLeadsAtMs < hotLeadIntervalMs) return this.last
    return new ReplicaMoves(hotLeadMoves(input))
  }
}

/**
 * What placement would change now, as far as the bounds let it run at once: replicas leave nodes
 * that are being emptied or are down for long, and new nodes get their share.
 */
export function planMoves (input: PlanInput): ReplicaMoves {
  const { state } = input
  const found: Array<[PartitionId, ReplicaMove, number]> = []
  const byVolume = Map.groupBy(state.map.data, ({ volume }) => volume)
  for (const volume of state.map.volumes) found.push(...movesOf(input, volume, byVolume.get(volume.id) ?? []))
  found.sort((one, other) => one[2] - other[2])
  // Handing the lead to a replica that is there already costs nothing and needs no bound but that of lead moves.
  const copying = found.filter(([, { add, drop }]) => add.length + drop.length > 0).slice(0, replicaMovesMax)
  const leading = found.filter(([, { add, drop }]) => add.length + drop.length === 0).slice(0, replicaMovesMax)
  return new ReplicaMoves(new Map([...copying, ...leading].map(([id, move]) => [id, move])))
}

/** Tivoli: leads leave busy disks. */
function hotLeadMoves ({ state, facts }: PlanInput): Map<PartitionId, ReplicaMove> {
  const tivoli = new Set(state.map.volumes.filter(({ placement }) => placement === 'tivoli').map(({ id }) => id))
  const leads = hotLeads({
    partitions: state.map.data.filter(({ volume }) => tivoli.has(volume)),
    utilizationOf: (node) => state.node(node)?.state === 'up' ? facts.usageOf(node)?.disk?.utilization : undefined,
    loadOf: (partition) => facts.loadOf(partition)
  })
  return new Map([...leads].map(([id, lead]) => [id, { add: [], drop: [], lead }]))
}

function movesOf (input: PlanInput, volume: VolumeInfo, partitions: DataPartition[]): Array<[PartitionId, ReplicaMove, number]> {
  const { map } = input.state
  const eligible = (node: NodeInfo): boolean => stays(input, node)
  const staying = new Set(map.nodes.filter(eligible).map(({ id }) => id))
  const outcome = place(map, {
    placement: volume.placement,
    eligible,
    partitions: partitions.map(({ id, replicas, primary }) => ({
      id, replicas: volume.replicas, current: replicas.map(({ node }) => node), primary: replicas[0]?.node ?? primary
    }))
  })
  const must = partitions.some(({ replicas }) => replicas.length !== volume.replicas || replicas.some(({ node }) => !staying.has(node)))
  if (!must && isEvenEnough(partitions, outcome)) return []
  return outcome.assignments.flatMap((assignment, at): Array<[PartitionId, ReplicaMove, number]> => {
    const partition = partitions[at]!
    const drop = partition.replicas.map(({ node }) => node).filter((node) => !assignment.replicas.includes(node))
    const lead = assignment.replicas[0] ?? null
    const move: ReplicaMove = { add: assignment.added, drop, lead }
    if (move.add.length === 0 && drop.length === 0 && lead === partition.replicas[0]?.node) return []
    return [[partition.id, move, urgency(partition, staying, volume.replicas)]]
  })
}

/** Weights follow measurements, which waver: small differences are not worth a copy. */
function isEvenEnough (partitions: DataPartition[], { shares, placement }: PlacementOutcome): boolean {
  const held = countHeld(partitions)
  const tolerance = placement === 'hawaii' ? unevenHawaiiMax : unevenTivoliMax
  return shares.every(({ node, replicaShare }) => Math.abs((held.get(node)?.replicas ?? 0) - replicaShare) <= 1 + tolerance * replicaShare)
}

/** Whether the node keeps its replicas and may get more. */
function stays ({ facts, nowMs }: PlanInput, node: NodeInfo): boolean {
  if (node.state === 'draining') return false
  return node.state === 'up' || facts.downForMs(node.id, nowMs) < replaceAfterMs
}

/** Moves that have begun first, then those of partitions with the fewest replicas that serve and stay. */
function urgency ({ replicas }: DataPartition, staying: ReadonlySet<NodeId>, wanted: number): number {
  if (replicas.length > wanted) return -1
  return replicas.filter(({ node, state }) => state === 'serving' && staying.has(node)).length
}
