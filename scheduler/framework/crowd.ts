import type { AgentOffer } from './resources.ts'
import type { NodeRecord } from './types.ts'

/** Lengths of the prefixes of a domain that count: zone, rack, host. */
const depths = [2, 3, 4]
const prefix = (domain: string[], depth: number): string => `${depth}\n${domain.slice(0, depth).join('\n')}`

/** How many nodes have a place in each part of the cluster: new ones go where the fewest are. */
export class Crowd {
  readonly #byDomain = new Map<string, number>()
  readonly #byAgent = new Map<string, string[]>()

  constructor (nodes: Iterable<NodeRecord>) {
    for (const node of nodes) if (node.placement !== 'none' && node.placement !== 'lost') this.add(node)
  }

  add ({ id, agentId, domain }: NodeRecord): void {
    for (const key of depths.map((depth) => prefix(domain, depth))) this.#byDomain.set(key, (this.#byDomain.get(key) ?? 0) + 1)
    if (agentId !== null) this.#byAgent.set(agentId, [...this.on(agentId), id])
  }

  /** Ids of the nodes with a place on an agent. */
  on (agentId: string): string[] { return this.#byAgent.get(agentId) ?? [] }

  /** The least used zone comes first, in it the least used rack, then host, then agent. */
  sort<T extends { offer: AgentOffer }> (items: T[]): T[] {
    return items
      .map((item) => ({ item, counts: this.#counts(item.offer) }))
      .sort((a, b) => a.counts.map((count, index) => count - b.counts[index]!).find((difference) => difference !== 0) ?? 0)
      .map(({ item }) => item)
  }

  #counts ({ agentId, domain }: AgentOffer): number[] {
    return [...depths.map((depth) => this.#byDomain.get(prefix(domain, depth)) ?? 0), this.on(agentId).length]
  }
}
