import { relieve, type ReliefNode } from '../../partitioning/tivoli-relief.ts'
import type { NodeId, PartitionId } from '../../partitioning/types.ts'
import { clusterSignature, planFor, stays, type BalanceInput } from './balancer.ts'
import type { MapChange } from './map-change.ts'

/**
 * Tivoli: load leaves hot disks. Leads that go elsewhere are added to `leads`; replicas that change places are a plan; null: none
 * do. Only while no other plan of the manager's own is under way: what it moves changes the load.
 */
export function relief (input: BalanceInput, leads: Map<PartitionId, NodeId>): Omit<MapChange, 'base'> | null {
  const { state, facts, nowMs } = input
  const tivoli = new Set(state.map.volumes.filter(({ placement }) => placement === 'tivoli').map(({ id }) => id))
  if (tivoli.size === 0 || !state.settings.automatic || state.plans.unfinished.length > 0) return null
  const partitions = state.map.data.filter(({ id, volume }) => tivoli.has(volume) && !leads.has(id))
  const primaries = new Map(partitions.map(({ id, primary }) => [id, primary]))
  const found = relieve({
    nowMs,
    nodes: state.map.nodes.filter((node) => node.state !== 'down').map((node): ReliefNode => ({
      id: node.id, domain: node.domain, disk: facts.usageOf(node.id)?.disk ?? node.disk, mayTake: node.state === 'up' && stays(input, node)
    })),
    partitions,
    loadOf: (node, partition) => {
      const primary = primaries.get(partition)
      const written = primary == null ? 0 : facts.rateOf(primary, partition, nowMs).writeBytes
      return facts.rateOf(node, partition, nowMs).readBytes + written
    }
  }, facts.relief)
  facts.relief = found.state
  for (const [partition, lead] of found.leads) leads.set(partition, lead)
  const moving = Map.groupBy(found.moves, ({ partition }) => partition)
  const targets = [...moving].map(([id, moves]) => {
    const replaced = new Map(moves.map(({ from, to }) => [from, to]))
    return { id, replicas: state.record(id)!.partition.replicas.map(({ node }) => replaced.get(node) ?? node) }
  })
  const plan = planFor(input, { kind: 'automatic', targets, basis: clusterSignature(input), why: 'load leaves hot disks' })
  return plan === null ? null : { plans: [plan] }
}
