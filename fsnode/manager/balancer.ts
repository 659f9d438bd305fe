import { createHash } from 'node:crypto'
import { countHeld, place, type PlacementOutcome } from '../../partitioning/placement.ts'
import { planMoves, type PartitionTarget, type PlanSnapshot } from '../../partitioning/planner.ts'
import { foreignUtilization } from '../../partitioning/tivoli.ts'
import type { DataPartition, NodeId, NodeInfo, VolumeInfo } from '../../partitioning/types.ts'
import type { PlanKind } from '../protocol/manager.ts'
import { replaceAfterMs, unevenHawaiiMax, unevenTivoliMax } from './bounds.ts'
import type { LeaderFacts } from './leader-facts.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'
import type { PlanHead } from './plans.ts'

export interface BalanceInput {
  state: ManagerState
  facts: LeaderFacts
  /** Monotonic and wall-clock milliseconds. */
  nowMs: number
  wallMs: number
}

/** Steps of a capacity's size that count as a change: a tenth or so. */
const capacityStepsPerDoubling = 8

/**
 * Decides when replicas should move without being told: when they are on nodes that are being emptied or gone, when a
 * volume's policy or number of replicas changed, and when the nodes changed. What an operator moved stays where it
 * is until one of these happens. Remembers what it looked at last: placement of a large cluster takes time.
 */
export class Balancer {
  private seen: unknown[] = []

  /** A plan, or a note that all is even; null: nothing to do. */
  next (input: BalanceInput): Omit<MapChange, 'base'> | null {
    const { state } = input
    const { map, settings } = state
    const seen = [map.data, map.volumes, input.facts.areScoresDue(input.nowMs), settings.automatic, state.plans.unfinished.length, ...map.nodes.flatMap((node) => [node.id, stays(input, node), node.state, node.capacityBytes, node.disk])]
    if (seen.length === this.seen.length && seen.every((value, at) => value === this.seen[at])) return null
    this.seen = seen
    return balance(input)
  }
}

export function balance (input: BalanceInput): Omit<MapChange, 'base'> | null {
  const { state } = input
  if (state.map.volumes.length === 0) return null
  const basis = clusterSignature(input)
  const running = state.plans.unfinished.find(({ kind }) => kind !== 'move')
  if (running?.basis === basis) return null
  const held = manuallyHeld(state)
  const byVolume = Map.groupBy(state.map.data, ({ volume }) => volume)
  const targets: PartitionTarget[] = []
  const even: Array<[number, string]> = []
  for (const volume of state.map.volumes) {
    const partitions = (byVolume.get(volume.id) ?? []).filter(({ id }) => !held.has(id))
    // Evened out when all are split; meanwhile only what must move does.
    if (volume.dataPartitionsWanted !== undefined && !partitions.some((partition) => mustMove(input, partition, volume))) continue
    const wanted = targetsOf(input, volume, partitions, running !== undefined)
    targets.push(...wanted)
    const signature = evenSignature(input, volume)
    if (state.settings.automatic && state.even(volume.id) !== signature) even.push([volume.id, signature])
  }
  const plan = planFor(input, { kind: 'automatic', targets, basis })
  if (plan !== null) return { plans: [plan], standings: replacing(state), even }
  return even.length > 0 ? { even } : null
}

/** Whether a plan for the volume may follow from what changed last: its own settings, or the nodes. */
export function isUndecided (input: BalanceInput, volume: VolumeInfo): boolean {
  const { state } = input
  if (state.settings.automatic) return state.even(volume.id) !== evenSignature(input, volume)
  // Only what is endangered moves then.
  const running = state.plans.unfinished.find(({ kind }) => kind !== 'move')
  return running?.basis !== clusterSignature(input) && state.map.data.some((partition) => partition.volume === volume.id && isEndangered(input, partition, volume.replicas))
}

/** Every volume, or one, as even as it can be. */
export function rebalancePlan (input: BalanceInput, only?: VolumeInfo): PlanHead | null {
  const { state } = input
  const held = manuallyHeld(state)
  const targets = state.map.volumes.filter((volume) => only === undefined || volume.id === only.id).flatMap((volume) => {
    const partitions = state.map.data.filter((partition) => partition.volume === volume.id && !held.has(partition.id))
    return targetsFrom(placement(input, volume, partitions, false), partitions, volume)
  })
  return planFor(input, { kind: 'rebalance', targets, basis: clusterSignature(input) })
}

/** The plan that a new one takes over from ends. */
export function replacing (state: ManagerState): NonNullable<MapChange['standings']> {
  return state.plans.unfinished.filter(({ kind }) => kind !== 'move').map(({ id, state: standing }) => ({ id, state: standing, endedMs: null, replaced: true }))
}

export function planFor (input: BalanceInput, { kind, targets, basis, why, token }: { kind: PlanKind, targets: PartitionTarget[], basis: string, why?: string, token?: string }): PlanHead | null {
  const { moves } = planMoves(planSnapshot(input, targets), { partitions: targets })
  if (moves.length === 0) return null
  return { id: input.state.plans.nextId, kind, why: why ?? reasonOf(input, targets), basis, createdMs: input.wallMs, moves, ...(token !== undefined && { token }) }
}

/** Whether the node keeps its replicas and may get more. */
export function stays ({ state, facts, nowMs }: Pick<BalanceInput, 'state' | 'facts' | 'nowMs'>, node: NodeInfo): boolean {
  if (node.state === 'draining' || state.history(node.id).drains) return false
  return node.state === 'up' || facts.downForMs(node.id, nowMs) < replaceAfterMs
}

/** Equal for clusters in which the same placement is wanted: who takes replicas, where, and how large, and what the volumes ask for. */
export function clusterSignature (input: Pick<BalanceInput, 'state' | 'facts' | 'nowMs'>): string {
  const { nodes, volumes } = input.state.map
  return hashOf([nodesOf(input, nodes), volumes.map(({ id, placement, replicas }) => [id, placement, replicas])])
}

/** The same for one volume. */
export function evenSignature (input: Pick<BalanceInput, 'state' | 'facts' | 'nowMs'>, { placement, replicas }: Pick<VolumeInfo, 'placement' | 'replicas'>): string {
  return hashOf([nodesOf(input, input.state.map.nodes), placement, replicas])
}

function nodesOf (input: Pick<BalanceInput, 'state' | 'facts' | 'nowMs'>, nodes: readonly NodeInfo[]): unknown[] {
  const staying = nodes.filter((node) => stays(input, node)).sort((one, other) => one.id < other.id ? -1 : 1)
  return staying.map(({ id, domain, capacityBytes }) => [id, domain, Math.round(Math.log2(Math.max(1, capacityBytes)) * capacityStepsPerDoubling)])
}

function hashOf (value: unknown): string {
  return createHash('sha1').update(JSON.stringify(value)).digest('hex')
}

/** Partitions that operators are moving. */
export function manuallyHeld (state: ManagerState): Set<string> {
  return new Set(state.plans.unfinished.filter(({ kind }) => kind === 'move').flatMap(({ moves }) => moves.map(({ partition }) => partition)))
}

function mustMove (input: BalanceInput, { replicas }: DataPartition, volume: VolumeInfo): boolean {
  return replicas.length !== volume.replicas || replicas.some(({ node }) => {
    const info = input.state.node(node)
    return info === undefined || !stays(input, info)
  })
}

function targetsOf (input: BalanceInput, volume: VolumeInfo, partitions: DataPartition[], isPlanned: boolean): PartitionTarget[] {
  const { state } = input
  const staying = new Set(state.map.nodes.filter((node) => stays(input, node)).map(({ id }) => id))
  const isWrong = ({ replicas }: DataPartition): boolean => replicas.length !== volume.replicas || replicas.some(({ node }) => !staying.has(node))
  const wrong = partitions.filter(isWrong)
  const isChanged = state.even(volume.id) !== evenSignature(input, volume)
  if (volume.placement === 'hawaii') input.facts.forgetScores(volume.id)
  if (wrong.length === 0 && !isPlanned && !isChanged && volume.placement === 'hawaii') return []
  const outcome = placement(input, volume, partitions, isChanged)
  // Weights of Tivoli follow measurements, which are in no signature.
  const mayBeUneven = isPlanned || isChanged || (volume.placement === 'tivoli' && input.facts.scoresOf(volume.id).isSettled)
  if (!state.settings.automatic) {
    const lacking = new Set(wrong.filter((partition) => isEndangered(input, partition, volume.replicas)).map(({ id }) => id))
    return targetsFrom(outcome, partitions, volume).filter(({ id }) => lacking.has(id))
  }
  return wrong.length > 0 || (mayBeUneven && !isEvenEnough(partitions, outcome)) ? targetsFrom(outcome, partitions, volume) : []
}

function placement (input: BalanceInput, volume: VolumeInfo, partitions: readonly DataPartition[], anew: boolean): PlacementOutcome {
  const { state, facts, nowMs } = input
  const eligible = (node: NodeInfo): boolean => stays(input, node)
  return place(state.map, {
    placement: volume.placement,
    eligible,
    ...(volume.placement === 'tivoli' && { scores: { decided: facts.scoresOf(volume.id).of(state.map.nodes.filter(eligible), foreignBusy(input), nowMs, anew) } }),
    partitions: partitions.map(({ id, replicas, primary }) => ({
      id, replicas: volume.replicas, current: replicas.map(({ node }) => node), primary: replicas[0]?.node ?? primary
    }))
  })
}

/** How busy disks are with what is not Atoll's: that stays where it is, whatever moves. */
function foreignBusy ({ state, facts, nowMs }: BalanceInput): (id: NodeId) => number {
  const own = new Map<NodeId, { readBytesPerSecond: number, writeBytesPerSecond: number }>()
  for (const { id, primary, replicas } of state.map.data) {
    // Every replica writes what its primary is told.
    const { writeBytes } = primary === null ? { writeBytes: 0 } : facts.rateOf(primary, id, nowMs)
    for (const { node } of replicas) {
      const known = own.get(node) ?? { readBytesPerSecond: 0, writeBytesPerSecond: 0 }
      own.set(node, { readBytesPerSecond: known.readBytesPerSecond + facts.rateOf(node, id, nowMs).readBytes, writeBytesPerSecond: known.writeBytesPerSecond + writeBytes })
    }
  }
  return (id) => {
    const disk = facts.usageOf(id)?.disk ?? state.node(id)?.disk
    return disk == null ? 0 : foreignUtilization(disk, own.get(id) ?? { readBytesPerSecond: 0, writeBytesPerSecond: 0 })
  }
}

/** Where there is no node to take a replica, it stays, those that serve first. */
function targetsFrom ({ assignments }: PlacementOutcome, partitions: readonly DataPartition[], volume: VolumeInfo): PartitionTarget[] {
  return assignments.map(({ partition, replicas, missing }, at) => {
    if (missing === 0) return { id: partition, replicas }
    const others = partitions[at]!.replicas.filter(({ node }) => !replicas.includes(node))
    const kept = [...others].sort((one, other) => Number(other.state === 'serving') - Number(one.state === 'serving'))
    return { id: partition, replicas: [...replicas, ...kept.map(({ node }) => node)].slice(0, volume.replicas) }
  })
}

/** Fewer replicas than asked for are to be counted on. */
function isEndangered (input: BalanceInput, { replicas }: DataPartition, wanted: number): boolean {
  const counted = replicas.filter(({ node }) => {
    const info = input.state.node(node)
    // What is being emptied still serves; what is down and given up does not count.
    return info !== undefined && (info.state === 'draining' || stays(input, info))
  })
  return counted.length < wanted
}

/** Weights follow measurements, which waver: small differences are not worth a copy. */
function isEvenEnough (partitions: readonly DataPartition[], { shares, placement }: PlacementOutcome): boolean {
  const held = countHeld(partitions)
  const tolerance = placement === 'hawaii' ? unevenHawaiiMax : unevenTivoliMax
  const led = Map.groupBy(partitions, ({ replicas }) => replicas[0]?.node)
  const isNear = (count: number, share: number): boolean => Math.abs(count - share) <= 1 + tolerance * share
  return shares.every(({ node, replicaShare, primaryShare }) => isNear(held.get(node)?.replicas ?? 0, replicaShare) &&
    // Tivoli's leads follow what disks do, whatever was even once.
    (placement === 'tivoli' || isNear(led.get(node)?.length ?? 0, primaryShare)))
}

function planSnapshot (input: BalanceInput, targets: readonly PartitionTarget[]): PlanSnapshot {
  const { state, facts } = input
  const partitions = targets.map(({ id }) => state.record(id)?.partition).filter((partition) => partition !== undefined)
  return {
    nodes: state.map.nodes.map((node) => ({ id: node.id, domain: node.domain, state: stays(input, node) ? 'up' : node.state === 'draining' ? 'leaving' : 'gone' })),
    partitions: partitions.map(({ id, replicas, primary }) => ({
      id,
      replicas: replicas.map(({ node, state: replicaState }) => ({ node, serving: replicaState === 'serving' })),
      // The lead returns to the first replica by itself: only a change of that is a move.
      primary: replicas[0]?.state === 'serving' ? replicas[0].node : primary,
      bytes: facts.storedBytes(id)
    }))
  }
}

function reasonOf (input: BalanceInput, targets: readonly PartitionTarget[]): string {
  const { state } = input
  const held = countHeld(targets.map(({ id }) => state.record(id)!.partition))
  const leaving = (match: (node: NodeInfo) => boolean): NodeId[] => state.map.nodes.filter((node) => match(node) && held.has(node.id)).map(({ id }) => id)
  const drained = leaving((node) => node.state === 'draining')
  const gone = leaving((node) => node.state === 'down' && !stays(input, node))
  const empty = state.map.nodes.filter((node) => stays(input, node) && !held.has(node.id)).map(({ id }) => id)
  const reasons = [
    ...(gone.length > 0 ? [`${gone.join(', ')} gone`] : []),
    ...(drained.length > 0 ? [`${drained.join(', ')} drained`] : []),
    ...(empty.length > 0 ? [`${empty.join(', ')} new`] : [])
  ]
  return reasons.length > 0 ? reasons.join('; ') : 'even out'
}
