import type { Move, MoveStage } from '../../partitioning/planner.ts'
import type { DataPartition, NodeId, PartitionId } from '../../partitioning/types.ts'
import type { PlanRecord } from './plans.ts'

interface Step { move: Move, stage: MoveStage }

/**
 * What the moves that have begun ask of their partitions now. A replica is added and copied first; the one that it
 * replaces goes when as many as the volume asks for serve without it.
 */
export class ActiveMoves {
  private readonly steps: ReadonlyMap<PartitionId, Step>
  /** Leads that go to a replica that is there, outside any plan. */
  private readonly leads: ReadonlyMap<PartitionId, NodeId>

  constructor (plans: ReadonlyArray<Pick<PlanRecord, 'moves' | 'state'>>, leads: ReadonlyMap<PartitionId, NodeId> = new Map()) {
    this.steps = new Map(plans.flatMap(({ moves, state }) => state.active.map(({ move, stage }): [PartitionId, Step] => [moves[move]!.partition, { move: moves[move]!, stage }])))
    this.leads = leads
  }

  get partitions (): PartitionId[] { return [...this.steps.keys(), ...this.leads.keys()] }

  /** The node is about to lose its replica. */
  leaves (partition: PartitionId, node: NodeId): boolean { return this.dropped(partition) === node }

  /** The node is to hand the lead over, and then to lose its replica. */
  handsOver (partition: PartitionId, node: NodeId): boolean {
    const step = this.steps.get(partition)
    return step?.stage === 'lead' && step.move.kind !== 'lead' && step.move.from === node
  }

  /** Nodes that get a replica. */
  added ({ id, replicas }: DataPartition): NodeId[] {
    const step = this.steps.get(id)
    if (step?.stage !== 'copy' || step.move.to === null || replicas.some(({ node }) => node === step.move.to)) return []
    return [step.move.to]
  }

  isSurplus ({ id, replicas }: DataPartition, node: NodeId, wanted: number, isUp: (node: NodeId) => boolean): boolean {
    if (!this.leaves(id, node)) return false
    const own = replicas.find((replica) => replica.node === node)?.state
    // What does not serve is missed by nobody once it has been replaced.
    if (own !== 'serving') return true
    return replicas.filter((replica) => replica.node !== node && replica.state === 'serving' && isUp(replica.node)).length >= Math.min(wanted, replicas.length - 1)
  }

  /** Who shall lead from now on. */
  leadFor (partition: PartitionId): NodeId | null {
    const step = this.steps.get(partition)
    if (step?.stage === 'lead') return step.move.kind === 'lead' ? step.move.to : step.move.lead
    return this.leads.get(partition) ?? null
  }

  private dropped (partition: PartitionId): NodeId | null {
    const step = this.steps.get(partition)
    if (step?.stage === 'drop') return step.move.from
    return step?.stage === 'undo' ? step.move.to : null
  }
}
