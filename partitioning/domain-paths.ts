import type { NodeId } from './types.ts'

/** Fault domains of nodes as numbers, level by level: quick to compare. */
export class DomainPaths {
  readonly depth: number
  private readonly paths = new Map<NodeId, Int32Array>()

  /** A node whose path is shorter than others' is a domain of its own at the levels that it does not name. */
  constructor (nodes: ReadonlyArray<{ id: NodeId, domain: readonly string[] }>) {
    this.depth = nodes.reduce((most, node) => Math.max(most, node.domain.length), 0)
    const known = new Map<string, number>()
    for (const { id, domain } of nodes) {
      const path = new Int32Array(this.depth)
      let above = 0
      for (let level = 0; level < this.depth; level++) {
        const name = domain[level]
        const key = name === undefined ? `${above}/node:${id}` : `${above}/domain:${name}`
        let number = known.get(key)
        if (number === undefined) known.set(key, number = known.size + 1)
        path[level] = above = number
      }
      this.paths.set(id, path)
    }
  }

  /** Number of the node's domain at a level, 0 for an unknown node. */
  at (node: NodeId, level: number): number { return this.paths.get(node)?.[level] ?? 0 }

  /** Per level, the pairs of these nodes that share a domain. Unknown nodes share none. */
  sharedPairs (nodes: readonly NodeId[]): number[] {
    const pairs = new Array<number>(this.depth).fill(0)
    for (let one = 0; one < nodes.length; one++) {
      const path = this.paths.get(nodes[one]!)
      if (path === undefined) continue
      for (let other = one + 1; other < nodes.length; other++) {
        const next = this.paths.get(nodes[other]!)
        for (let level = 0; next !== undefined && level < this.depth && path[level] === next[level]; level++) pairs[level]!++
      }
    }
    return pairs
  }
}

/** How many levels, from the widest on, two fault domains have in common. */
export function sharedLevels (one: readonly string[], other: readonly string[]): number {
  const differs = one.findIndex((name, level) => name !== other[level])
  return differs < 0 ? one.length : differs
}
