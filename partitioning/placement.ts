import { hawaii, type HawaiiOutcome, type PlacementNode, type PlacementPartition } from './hawaii.ts'
import { diskScores, scoreMax, type DiskScore, type ScoreOptions } from './tivoli.ts'
import type { ClusterMap, DataPartition, NodeId, NodeInfo, PartitionId, Placement } from './types.ts'

/** What placement decides from: the map, or the parts of it that matter. */
export type PlacementSnapshot = Pick<ClusterMap, 'nodes' | 'data' | 'metadata'>

export interface PlacementRequest {
  placement: Placement
  partitions: readonly PlacementPartition[]
  /** May hold replicas. Default: nodes that are up. */
  eligible?: (node: NodeInfo) => boolean
  /** With how many others a node of average weight should share partitions. Default `scatterWidthDefault`. */
  scatterWidth?: number
  /** What a replica of these partitions holds, or will. Default: what one in the cluster holds on average. */
  replicaBytes?: number
  /** Tivoli: how the disks are compared. */
  scores?: ScoreOptions
}

export interface PlacementOutcome extends HawaiiOutcome {
  placement: Placement
  nodes: PlacementNode[]
  /** Tivoli's, to be given to the next placement as `scores.previous`. */
  scores: Map<NodeId, DiskScore>
}

/** Tivoli gives no node more than fills it to this part, as long as there is room elsewhere. */
export const fullShareMax = 0.85

export const metadataReplicasDefault = 3
export const metadataReplicasMax = 5

/** Assigns replicas (the primary first) by the volume's policy. What other partitions hold decides who gets remainders. */
export function place (snapshot: PlacementSnapshot, request: PlacementRequest): PlacementOutcome {
  const scores = diskScores(snapshot.nodes.filter(request.eligible ?? isUp), request.scores)
  const nodes = weighedNodes(snapshot, request, scores)
  const ids = new Set(request.partitions.map(({ id }) => id))
  const others = snapshot.data.filter(({ id }) => !ids.has(id)).map(({ replicas }) => replicas.map(({ node }) => node))
  const outcome = hawaii({ nodes, partitions: request.partitions, scatterWidth: request.scatterWidth, others })
  return { ...outcome, placement: request.placement, nodes, scores }
}

function isUp (node: NodeInfo): boolean { return node.state === 'up' }

/** Hawaii: replicas and primaries follow capacity. Tivoli: replicas follow disk bandwidth, as far as there is room, primaries free write bandwidth. */
function weighedNodes (snapshot: PlacementSnapshot, request: PlacementRequest, scores: ReadonlyMap<NodeId, DiskScore>): PlacementNode[] {
  const elsewhere = countHeld(snapshot.data, new Set(request.partitions.map(({ id }) => id)))
  const capacities = relativeCapacities(snapshot.nodes.filter(request.eligible ?? isUp))
  const replicaBytes = request.replicaBytes ?? averageReplicaBytes(snapshot)
  return snapshot.nodes.map((node) => {
    const counts = elsewhere.get(node.id) ?? { replicas: 0, primaries: 0 }
    const capacity = capacities.get(node.id) ?? 0
    const score = scores.get(node.id) ?? { bandwidth: 0, freeWrite: 0 }
    const tivoli = request.placement === 'tivoli'
    const weighed: PlacementNode = {
      id: node.id,
      domain: node.domain,
      weight: tivoli ? Math.min(score.bandwidth, capacity * scoreMax) : capacity,
      primaryWeight: tivoli ? score.freeWrite : capacity,
      replicasElsewhere: counts.replicas,
      primariesElsewhere: counts.primaries
    }
    if (!tivoli || !(replicaBytes > 0) || !(node.capacityBytes > 0)) return weighed
    return { ...weighed, replicasMax: Math.max(0, Math.floor(fullShareMax * node.capacityBytes / replicaBytes) - counts.replicas) }
  })
}

function averageReplicaBytes ({ nodes, data }: PlacementSnapshot): number {
  const replicas = data.reduce((sum, partition) => sum + partition.replicas.length, 0)
  return replicas === 0 ? 0 : nodes.reduce((sum, { usedBytes }) => sum + usedBytes, 0) / replicas
}

function relativeCapacities (nodes: readonly NodeInfo[]): Map<NodeId, number> {
  const known = nodes.filter((node) => node.capacityBytes > 0)
  const average = known.reduce((sum, node) => sum + node.capacityBytes, 0) / Math.max(1, known.length)
  return new Map(nodes.map((node) => [node.id, node.capacityBytes > 0 ? node.capacityBytes / average : 1]))
}

export interface Held { replicas: number, primaries: number }

/** Replicas and primaries per node, but for some partitions. A partition without a primary counts for its first replica. */
export function countHeld (data: readonly DataPartition[], except: ReadonlySet<PartitionId> = new Set()): Map<NodeId, Held> {
  const held = new Map<NodeId, Held>()
  const at = (node: NodeId): Held => {
    let counts = held.get(node)
    if (counts === undefined) held.set(node, counts = { replicas: 0, primaries: 0 })
    return counts
  }
  for (const partition of data) {
    if (except.has(partition.id)) continue
    for (const { node } of partition.replicas) at(node).replicas++
    const primary = partition.primary ?? partition.replicas[0]?.node
    if (primary !== undefined) at(primary).primaries++
  }
  return held
}

/**
 * Who leads a partition among those that may: the placement's choice (the first replica), otherwise the
 * node with the fewest primaries for its weight.
 */
export function choosePrimary (partition: Pick<DataPartition, 'replicas'>, candidates: readonly NodeId[], loadOf: (node: NodeId) => { primaries: number, weight: number }): NodeId | null {
  const preferred = partition.replicas[0]?.node
  if (preferred !== undefined && candidates.includes(preferred)) return preferred
  let best: NodeId | null = null
  let least = Infinity
  for (const node of candidates) {
    const { primaries, weight } = loadOf(node)
    const load = (primaries + 1) / Math.max(weight, 1e-9)
    if (load >= least) continue
    best = node
    least = load
  }
  return best
}

/** Members of metadata groups that have `wanted` (3, or 5) members each where there are enough nodes, else 3 or 1; spread over domains and nodes. */
export function placeMetadata (snapshot: PlacementSnapshot, ids: readonly PartitionId[], wanted: number = metadataReplicasDefault): NodeId[][] {
  const nodes = snapshot.nodes.filter((node) => node.state === 'up')
  const replicas = [metadataReplicasMax, metadataReplicasDefault].find((count) => count <= wanted && count <= nodes.length) ?? 1
  const held = new Map<NodeId, Held>()
  for (const { members } of snapshot.metadata) {
    members.forEach((id, at) => {
      const counts = held.get(id) ?? { replicas: 0, primaries: 0 }
      held.set(id, { replicas: counts.replicas + 1, primaries: counts.primaries + (at === 0 ? 1 : 0) })
    })
  }
  const weighed = nodes.map((node): PlacementNode => ({
    id: node.id, weight: 1, domain: node.domain, replicasElsewhere: held.get(node.id)?.replicas, primariesElsewhere: held.get(node.id)?.primaries
  }))
  return hawaii({ nodes: weighed, partitions: ids.map((id) => ({ id, replicas })) }).assignments.map((assignment) => assignment.replicas)
}

export interface ReplicaReason {
  node: NodeId
  role: 'primary' | 'replica' | 'none'
  /** For people. */
  why: string
  weight: number
  replicas: number
  replicaShare: number
}

/** Why a partition is where it is: one entry per node, its replicas first. */
export function explain (outcome: PlacementOutcome, id: PartitionId): ReplicaReason[] {
  const assignment = outcome.assignments.find(({ partition }) => partition === id)
  if (assignment === undefined) return []
  const shares = new Map(outcome.shares.map((share) => [share.node, share]))
  const nodes = new Map(outcome.nodes.map((node) => [node.id, node]))
  const holders = assignment.replicas.map((node) => nodes.get(node)!)
  const level = outcome.levels.get(assignment.replicas.length + assignment.missing) ?? 0
  const reason = (node: PlacementNode, role: ReplicaReason['role'], why: string): ReplicaReason => ({
    node: node.id, role, why, weight: node.weight, replicas: shares.get(node.id)?.replicas ?? 0, replicaShare: shares.get(node.id)?.replicaShare ?? 0
  })
  const chosen = holders.map((node, at) => {
    const share = shares.get(node.id)!
    const added = assignment.added.includes(node.id) ? 'chosen for what its share lacked' : 'held it before and has no more than its share'
    const led = at === 0 ? `; leads ${share.primaries} partitions of a share of ${share.primaryShare.toFixed(2)}` : ''
    return reason(node, at === 0 ? 'primary' : 'replica', added + led)
  })
  const others = outcome.nodes.filter((node) => !holders.includes(node)).map((node) => reason(node, 'none', whyNot(node, holders, level, shares)))
  return [...chosen, ...others]
}

function whyNot (node: PlacementNode, holders: PlacementNode[], level: number, shares: Map<NodeId, { replicas: number, replicaShare: number }>): string {
  if (!(node.weight > 0)) return 'takes no replicas now'
  const prefix = node.domain.slice(0, level + 1)
  const neighbour = holders.find((holder) => prefix.length === level + 1 && prefix.every((name, at) => holder.domain[at] === name))
  if (neighbour !== undefined) return `is in ${prefix.join('/')} like ${neighbour.id}`
  const { replicas, replicaShare } = shares.get(node.id)!
  return `has its share without it: ${replicas} of ${replicaShare.toFixed(2)}`
}
