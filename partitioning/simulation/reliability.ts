import { copysetsOf, lossOf, type Copysets } from '../copysets.ts'
import { DomainPaths } from '../domain-paths.ts'
import type { NodeId } from '../types.ts'
import type { FailureModel, SimulatedNode } from './description.ts'

export const secondsPerYear = 365.25 * 86_400

export interface StoredPartition { replicas: readonly NodeId[], bytes: number }

export interface YearlyLoss {
  /** That any partition is lost within a year. */
  probability: number
  /** Events a year that lose anything, by their cause. */
  events: { nodes: number, domains: number, outages: number }
  /** Expected bytes (of users, each once) lost in a year. */
  bytes: number
}

export interface ReliabilityInput {
  partitions: readonly StoredPartition[]
  nodes: readonly SimulatedNode[]
  failures: Required<FailureModel>
  /** From a node's loss until all that it held is there again. */
  repairSeconds: number
  /** If known already. */
  copysets?: Copysets
}

/**
 * What a year costs. Nodes are lost independently of each other at a constant rate; a partition is lost when its last replica is
 * lost while none of the others has been replaced: lambda_1 ... lambda_R x R x T^(R-1), for T much shorter than 1/lambda.
 * Beside that, whole domains are lost, and outages after which nodes anywhere do not come back.
 */
export function yearlyLoss (input: ReliabilityInput): YearlyLoss {
  const nodes = lossByNodes(input)
  const domains = lossByDomains(input)
  const outages = lossByOutages(input)
  const events = { nodes: nodes.events, domains: domains.events, outages: outages.events }
  return {
    probability: -Math.expm1(-(events.nodes + events.domains + events.outages)),
    events,
    bytes: nodes.bytes + domains.bytes + outages.bytes
  }
}

interface Part { events: number, bytes: number }

function lossByNodes ({ partitions, nodes, repairSeconds }: ReliabilityInput): Part {
  const rates = new Map(nodes.map(({ info, lossesPerYear }) => [info.id, lossesPerYear]))
  const repairYears = repairSeconds / secondsPerYear
  const seen = new Set<string>()
  let events = 0
  let bytes = 0
  for (const { replicas, bytes: stored } of partitions) {
    if (replicas.length === 0) continue
    const rate = replicas.reduce((product, node) => product * (rates.get(node) ?? 0), replicas.length * repairYears ** (replicas.length - 1))
    bytes += rate * stored
    const key = [...replicas].sort().join()
    if (!seen.has(key)) events += rate
    seen.add(key)
  }
  return { events, bytes }
}

function lossByDomains ({ partitions, nodes, failures }: ReliabilityInput): Part {
  const paths = new DomainPaths(nodes.map(({ info }) => info))
  let events = 0
  let bytes = 0
  for (const { level, lossesPerYear } of failures.domains) {
    if (level >= paths.depth) continue
    const hit = new Set<number>()
    for (const { replicas, bytes: stored } of partitions) {
      const first = replicas[0]
      if (first === undefined || !replicas.every((node) => paths.at(node, level) === paths.at(first, level))) continue
      hit.add(paths.at(first, level))
      bytes += lossesPerYear * stored
    }
    events += lossesPerYear * hit.size
  }
  return { events, bytes }
}

function lossByOutages ({ partitions, nodes, failures: { outages }, copysets }: ReliabilityInput): Part {
  const lost = Math.round(outages.lostShare * nodes.length)
  if (outages.perYear === 0 || lost === 0 || partitions.length === 0) return { events: 0, bytes: 0 }
  const loss = lossOf(copysets ?? copysetsOf(partitions.map(({ replicas }) => replicas)), nodes.length, lost)
  const mean = partitions.reduce((sum, { bytes }) => sum + bytes, 0) / partitions.length
  return { events: outages.perYear * loss.probability, bytes: outages.perYear * loss.expectedPartitions * mean }
}
