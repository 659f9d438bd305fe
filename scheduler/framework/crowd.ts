import type { AgentOffer } from './agent-offer.ts'
import { valuesOf } from './constraints.ts'
import type { NodeRecord, ScorePart } from './types.ts'

/** Parts of a domain that nodes are spread over, each with the points for an empty one: a narrower one never outweighs a wider one. */
const levels = [
  { name: 'zone', depth: 2, points: 40_000 },
  { name: 'rack', depth: 3, points: 2_000 },
  { name: 'host', depth: 4, points: 100 }
]

const prefix = (domain: string[], depth: number): string => `${depth}\n${domain.slice(0, depth).join('\n')}`
/** Counts above it are alike. */
const countMax = 9

/** How many nodes have a place in each part of the cluster: new ones go where the fewest are. */
export class Crowd {
  readonly #byDomain = new Map<string, number>()
  readonly #byAgent = new Map<string, string[]>()
  readonly #nodes: NodeRecord[] = []

  constructor (nodes: Iterable<NodeRecord>) {
    for (const node of nodes) if (node.placement !== 'none' && node.placement !== 'lost') this.add(node)
  }

  add (node: NodeRecord): void {
    const { id, agentId, domain } = node
    this.#nodes.push(node)
    for (const key of levels.map(({ depth }) => prefix(domain, depth))) this.#byDomain.set(key, (this.#byDomain.get(key) ?? 0) + 1)
    if (agentId !== null) this.#byAgent.set(agentId, [...this.on(agentId), id])
  }

  /** Ids of the nodes with a place on an agent. */
  on (agentId: string): string[] { return this.#byAgent.get(agentId) ?? [] }

  /** How many nodes there are for each value that agents have under a name. */
  countsOf (name: string): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { host, domain, attributes } of this.#nodes) {
      for (const value of valuesOf({ hostname: host ?? '', domain, attributes }, name)) counts.set(value, (counts.get(value) ?? 0) + 1)
    }
    return counts
  }

  /** Points for each part of the cluster that an agent is in: the fewer nodes there, the more. */
  spread ({ domain }: AgentOffer): ScorePart[] {
    return levels.map(({ name, depth, points }) => {
      const count = this.#byDomain.get(prefix(domain, depth)) ?? 0
      const share = 1 - Math.min(count, countMax) / (countMax + 1)
      return { source: `spread over ${name}s`, points: Math.round(points * share), reason: `${name} ${domain[depth - 1]} has ${count} node${count === 1 ? '' : 's'}` }
    })
  }
}
