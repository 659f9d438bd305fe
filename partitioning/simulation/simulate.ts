import { copysetsOf, lossOf, type Copysets } from '../copysets.ts'
import { leastMovesOf } from '../fewest-moves.ts'
import type { PlacementPartition } from '../hawaii.ts'
import { place, type PlacementOutcome } from '../placement.ts'
import { planMoves, type PlanNode, type PlanSnapshot, type PlanTarget } from '../planner.ts'
import { estimatePlan, type PlanEstimate } from '../planner-estimate.ts'
import { dataPartitionId } from '../routing.ts'
import type { DataPartition, NodeId, PartitionId, Placement } from '../types.ts'
import { DescriptionError, type FailureModel, type SimulatedNode, type SimulatedVolume, type Simulation } from './description.ts'
import { diskLoad } from './disk-load.ts'
import { yearlyLoss, type YearlyLoss } from './reliability.ts'

/** Nodes whose loss is played through in each step, dealt out over all; the mean and the worst are reported. */
export const rebuildSamplesMax = 6
/** With more partitions than this in all, fewer nodes are played through. */
const manyPartitions = 16_384
/** Losses at once for which the probability is computed. */
export const lostAtOnceMax = 8

export interface StepReport {
  name: string
  nodes: number
  partitions: number
  /** Greatest count of a node to its exact share; 1 is perfect. */
  replicasToShareMax: number
  primariesToShareMax: number
  /** Part of its capacity that the fullest node has used. */
  fullestNode: number
  /** Share of time for which the disks are busy; above 1 they cannot keep up with the load. */
  busiestDisk: number
  meanDisk: number
  /** What brought it here; null for the first placement. */
  movement: Movement | null
  copysets: Omit<Copysets, 'bySize' | 'partitionsBySize'>
  lostAtOnce: Array<{ nodes: number, probability: number, expectedPartitions: number }>
  rebuild: { meanSeconds: number, maxSeconds: number, slowest: NodeId | null }
  loss: YearlyLoss
  /** Per node, for a plot. */
  perNode: Array<{ node: NodeId, replicas: number, share: number, busy: number }>
}

export interface Movement extends PlanEstimate {
  /** The least that had to move; may not be reachable. */
  leastMoves: number
  /** Moved bytes, as a part of all that is stored. */
  part: number
}

export interface PolicyReport { placement: Placement, steps: StepReport[] }

/** Plays a description through under each policy. Pure; seconds of work for tens of thousands of partitions. */
export function simulate (simulation: Simulation, placements: readonly Placement[] = ['hawaii', 'tivoli']): PolicyReport[] {
  return placements.map((placement) => {
    const cluster = new SimulatedCluster(simulation, placement)
    const steps = [cluster.first()]
    for (const step of simulation.growth) steps.push(cluster.grow(step))
    return { placement, steps }
  })
}

interface Placed { volume: SimulatedVolume, data: DataPartition[], outcome: PlacementOutcome }

class SimulatedCluster {
  private readonly placement: Placement
  private readonly failures: Required<FailureModel>
  private nodes: SimulatedNode[]
  private volumes: SimulatedVolume[]
  private placed: Placed[] = []

  constructor (simulation: Simulation, placement: Placement) {
    this.placement = placement
    this.failures = simulation.failures
    this.nodes = simulation.nodes
    this.volumes = simulation.volumes
  }

  /** Where a live cluster's partitions are already, the step shows what it takes to bring them where the policy wants them. */
  first (): StepReport {
    const before = this.volumes.map(({ placed }) => placed ?? [])
    return this.step('now', before, this.nodes)
  }

  grow (step: Simulation['growth'][number]): StepReport {
    for (const name of step.remove) {
      if (!this.nodes.some(({ info }) => info.id === name)) throw new DescriptionError(`growth, ${step.name}: there is no node ${name}`)
    }
    const before = this.nodes
    this.nodes = [...this.nodes.filter(({ info }) => !step.remove.includes(info.id)), ...step.add]
    this.volumes = this.volumes.map((volume) => ({ ...volume, bytes: volume.bytes * step.grow, reads: volume.reads * step.grow, writes: volume.writes * step.grow }))
    return this.step(step.name, this.placed.map(({ data }) => data), [...before, ...step.add])
  }

  private step (name: string, before: DataPartition[][], known: SimulatedNode[]): StepReport {
    this.placed = this.placeAll(this.nodes, before)
    const moved = before.some((data) => data.length > 0)
    return { ...this.measure(name), movement: moved ? this.movement(before, known) : null }
  }

  private placeAll (nodes: SimulatedNode[], before: DataPartition[][]): Placed[] {
    const placed: Placed[] = []
    const infos = nodes.map(({ info }) => info)
    this.volumes.forEach((volume, number) => {
      // Volumes placed before count with where they are going, the others with where they are.
      const others = [...placed.flatMap(({ data }) => data), ...before.slice(number + 1).flat()]
      const partitions = wantedOf(volume, number, before[number] ?? [])
      const outcome = place({ nodes: infos, data: others, metadata: [] }, { placement: this.placement, partitions, eligible: () => true, scatterWidth: volume.scatterWidth, replicaBytes: volume.bytes / volume.partitions })
      placed.push({ volume, outcome, data: outcome.assignments.map(({ partition, replicas }, index) => dataOf(partition, number, index, replicas)) })
    })
    return placed
  }

  private movement (before: DataPartition[][], known: SimulatedNode[]): Movement {
    const bytes = this.partitionBytes()
    const staying = new Set(this.nodes.map(({ info }) => info.id))
    const snapshot: PlanSnapshot = {
      nodes: known.map(({ info }): PlanNode => ({ id: info.id, domain: info.domain, state: staying.has(info.id) ? 'up' : 'leaving' })),
      partitions: before.flatMap((data) => data.map(({ id, replicas, primary }) => ({ id, primary, bytes: bytes.get(id) ?? 0, replicas: replicas.map(({ node }) => ({ node, serving: true })) })))
    }
    const target: PlanTarget = { partitions: this.placed.flatMap(({ data }) => data.map(({ id, replicas }) => ({ id, replicas: replicas.map(({ node }) => node) }))) }
    const estimate = estimatePlan(planMoves(snapshot, target), this.limits(known))
    const leastMoves = this.placed.reduce((sum, { volume, outcome }, number) =>
      sum + leastMovesOf({ nodes: outcome.nodes, partitions: wantedOf(volume, number, before[number]!) }, outcome), 0)
    return { ...estimate, leastMoves, part: estimate.bytes / Math.max(1, this.storedBytes()) }
  }

  private limits (nodes: readonly SimulatedNode[]): Parameters<typeof estimatePlan>[1] {
    const disks = new Map(nodes.map(({ info }) => [info.id, info.disk!]))
    const { copyShare } = this.failures
    return {
      readOf: (node) => copyShare * (disks.get(node)?.readBandwidth ?? 1),
      writeOf: (node) => copyShare * (disks.get(node)?.writeBandwidth ?? 1),
      bytesPerSecond: null
    }
  }

  private measure (name: string): Omit<StepReport, 'movement'> {
    const sets = this.placed.flatMap(({ data }) => data.map(({ id, replicas }) => ({ id, replicas: replicas.map(({ node }) => node) })))
    const bytes = this.partitionBytes()
    const { bySize, partitionsBySize, ...copysets } = copysetsOf(sets.map(({ replicas }) => replicas))
    const all = { ...copysets, bySize, partitionsBySize }
    const load = diskLoad(this.nodes, this.placed.map(({ volume, data }) => ({ volume, replicas: data.map(({ replicas }) => replicas.map(({ node }) => node)) })), this.placement)
    const rebuild = this.rebuild(sets, bytes)
    const stored = new Map<NodeId, number>()
    for (const { id, replicas } of sets) for (const node of replicas) stored.set(node, (stored.get(node) ?? 0) + bytes.get(id)!)
    const counts = this.counts()
    return {
      name,
      nodes: this.nodes.length,
      partitions: sets.length,
      replicasToShareMax: maximum([...counts.values()].map(({ replicas, share }) => replicas / Math.max(share, 1e-9))),
      primariesToShareMax: maximum([...counts.values()].map(({ primaries, primaryShare }) => primaries / Math.max(primaryShare, 1e-9))),
      fullestNode: maximum(this.nodes.map(({ info }) => (stored.get(info.id) ?? 0) / info.capacityBytes)),
      busiestDisk: load.busiest,
      meanDisk: load.mean,
      copysets,
      lostAtOnce: Array.from({ length: Math.min(lostAtOnceMax, this.nodes.length) }, (_, at) => {
        const { probability, expectedPartitions } = lossOf(all, this.nodes.length, at + 1)
        return { nodes: at + 1, probability, expectedPartitions }
      }),
      rebuild,
      loss: yearlyLoss({
        partitions: sets.map(({ id, replicas }) => ({ replicas, bytes: bytes.get(id)! })),
        nodes: this.nodes,
        failures: this.failures,
        repairSeconds: this.failures.replaceAfterSeconds + rebuild.meanSeconds,
        copysets: all
      }),
      perNode: this.nodes.map(({ info }) => {
        const { replicas, share } = counts.get(info.id) ?? { replicas: 0, share: 0 }
        return { node: info.id, replicas, share, busy: load.busy.get(info.id) ?? 0 }
      })
    }
  }

  private counts (): Map<NodeId, { replicas: number, share: number, primaries: number, primaryShare: number }> {
    const counts = new Map<NodeId, { replicas: number, share: number, primaries: number, primaryShare: number }>()
    for (const { outcome } of this.placed) {
      for (const { node, replicas, replicaShare, primaries, primaryShare } of outcome.shares) {
        const before = counts.get(node) ?? { replicas: 0, share: 0, primaries: 0, primaryShare: 0 }
        counts.set(node, {
          replicas: before.replicas + replicas, share: before.share + replicaShare, primaries: before.primaries + primaries, primaryShare: before.primaryShare + primaryShare
        })
      }
    }
    return counts
  }

  /** Some nodes are lost, one at a time, placed without and planned: how long the copies take. */
  private rebuild (sets: ReadonlyArray<{ id: PartitionId, replicas: NodeId[] }>, bytes: ReadonlyMap<PartitionId, number>): StepReport['rebuild'] {
    const samples = this.nodes.length <= 1 ? 0 : Math.min(this.nodes.length, sets.length > manyPartitions ? Math.ceil(rebuildSamplesMax / 3) : rebuildSamplesMax)
    const times: Array<{ seconds: number, node: NodeId }> = []
    for (let sample = 0; sample < samples; sample++) {
      const lost = this.nodes[Math.floor((sample + 0.5) * this.nodes.length / samples)]!.info.id
      times.push({ node: lost, seconds: this.rebuildSeconds(lost, sets, bytes) })
    }
    const slowest = times.toSorted((one, other) => other.seconds - one.seconds)[0]
    return {
      meanSeconds: times.reduce((sum, { seconds }) => sum + seconds, 0) / Math.max(1, times.length),
      maxSeconds: slowest?.seconds ?? 0,
      slowest: slowest?.node ?? null
    }
  }

  private rebuildSeconds (lost: NodeId, sets: ReadonlyArray<{ id: PartitionId, replicas: NodeId[] }>, bytes: ReadonlyMap<PartitionId, number>): number {
    const left = this.nodes.filter(({ info }) => info.id !== lost)
    const after = this.placeAll(left, this.placed.map(({ data }) => data))
    const target = after.flatMap(({ data }) => data.map(({ id, replicas }) => ({ id, replicas: replicas.map(({ node }) => node) })))
    const snapshot: PlanSnapshot = {
      nodes: this.nodes.map(({ info }) => ({ id: info.id, domain: info.domain, state: info.id === lost ? 'gone' : 'up' })),
      // What merely evens out may follow later: only what lost a replica counts.
      partitions: sets.filter(({ replicas }) => replicas.includes(lost)).map(({ id, replicas }) =>
        ({ id, bytes: bytes.get(id)!, primary: replicas[0] ?? null, replicas: replicas.map((node) => ({ node, serving: node !== lost })) }))
    }
    return estimatePlan(planMoves(snapshot, { partitions: target }), this.limits(left)).seconds
  }

  private partitionBytes (): Map<PartitionId, number> {
    return new Map(this.placed.flatMap(({ volume, data }) => data.map(({ id }) => [id, volume.bytes / volume.partitions] as const)))
  }

  private storedBytes (): number { return this.volumes.reduce((sum, { bytes, replicas }) => sum + bytes * replicas, 0) }
}

function wantedOf (volume: SimulatedVolume, number: number, before: readonly DataPartition[]): PlacementPartition[] {
  return Array.from({ length: volume.partitions }, (_, index) => {
    const held = before[index]
    return {
      id: dataPartitionId(number, index), replicas: volume.replicas, current: held?.replicas.map(({ node }) => node) ?? [], primary: held?.primary ?? held?.replicas[0]?.node ?? null
    }
  })
}

function dataOf (id: PartitionId, volume: number, index: number, replicas: readonly NodeId[]): DataPartition {
  return { id, volume, index, epoch: 1, replicas: replicas.map((node) => ({ node, state: 'serving' })), primary: replicas[0] ?? null }
}

function maximum (values: readonly number[]): number { return values.reduce((most, value) => Math.max(most, value), 0) }
