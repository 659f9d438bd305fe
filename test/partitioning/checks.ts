import { expect } from 'chai'
import type { HawaiiInput, HawaiiOutcome, PlacementNode } from '../../partitioning/hawaii.ts'
import { spreadIsRight, usable } from './naive-placement.ts'

export const nodesOf = (count: number, domain: (at: number) => string[] = () => [], weight: (at: number) => number = () => 1): PlacementNode[] =>
  Array.from({ length: count }, (_, at) => ({ id: `node-${at + 1}`, weight: weight(at), domain: domain(at) }))

export const partitionsOf = (count: number, replicas: number): HawaiiInput['partitions'] =>
  Array.from({ length: count }, (_, at) => ({ id: `1.d.${at}`, replicas }))

/** The same partitions, where the outcome put them. */
export const placedAs = (input: HawaiiInput, outcome: HawaiiOutcome): HawaiiInput['partitions'] =>
  input.partitions.map((partition, at) => {
    const { replicas } = outcome.assignments[at]!
    return { ...partition, current: replicas, primary: replicas[0] ?? null }
  })

export function checkSpread (input: HawaiiInput, outcome: HawaiiOutcome): void {
  const byId = new Map(input.nodes.map((node) => [node.id, node]))
  outcome.assignments.forEach((assignment, at) => {
    const chosen = assignment.replicas.map((id) => byId.get(id)!)
    expect(new Set(assignment.replicas).size).to.equal(chosen.length)
    expect(chosen.length).to.equal(Math.min(input.partitions[at]!.replicas, usable(input).length))
    expect(assignment.missing).to.equal(input.partitions[at]!.replicas - chosen.length)
    if (chosen.length > 0) expect(spreadIsRight(usable(input), chosen), JSON.stringify({ nodes: input.nodes, chosen })).to.equal(true)
  })
}

export function checkCounts (outcome: HawaiiOutcome): void {
  const replicas = new Map<string, number>()
  const primaries = new Map<string, number>()
  for (const { replicas: [...ids] } of outcome.assignments) {
    ids.forEach((id, at) => {
      replicas.set(id, (replicas.get(id) ?? 0) + 1)
      if (at === 0) primaries.set(id, (primaries.get(id) ?? 0) + 1)
    })
  }
  for (const share of outcome.shares) {
    expect(share.replicas).to.equal(replicas.get(share.node) ?? 0)
    expect(share.primaries).to.equal(primaries.get(share.node) ?? 0)
    expect(Math.abs(share.replicas - share.replicaShare)).to.be.lessThan(1)
  }
}
