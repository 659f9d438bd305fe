import type { NodeId } from './types.ts'

/** The fault domains over the nodes that may hold replicas. Vertex 0 is the whole cluster, leaves are nodes. */
export interface FaultTree {
  /** Levels of domains between the root and the leaves. */
  depth: number
  /** -1 for the root. */
  parent: number[]
  children: number[][]
  /** Node index at a leaf, otherwise -1. */
  nodeAt: number[]
  /** Leaf of each node index. */
  leafOf: number[]
  names: string[]
}

export interface Spread {
  /** Most replicas of one partition that each vertex may hold. */
  caps: Int32Array
  /** Replicas that fit: less than asked only where there are fewer nodes. */
  replicas: number
  /** The widest level at which no two replicas share a domain; `tree.depth` means nodes. */
  level: number
}

/** A node whose path is shorter than others' is a domain of its own at the levels it does not name. */
export function faultTree (nodes: ReadonlyArray<{ id: NodeId, domain: readonly string[] }>): FaultTree {
  const depth = nodes.reduce((most, node) => Math.max(most, node.domain.length), 0)
  const tree: FaultTree = { depth, parent: [-1], children: [[]], nodeAt: [-1], leafOf: [], names: ['cluster'] }
  const known = new Map<string, number>()
  const add = (parent: number, name: string, node: number): number => {
    const vertex = tree.parent.push(parent) - 1
    tree.children.push([])
    tree.nodeAt.push(node)
    tree.names.push(name)
    tree.children[parent]!.push(vertex)
    return vertex
  }
  nodes.forEach((node, index) => {
    let vertex = 0
    for (let level = 0; level < depth; level++) {
      const name = node.domain[level]
      const key = `${vertex}/${name === undefined ? `node:${node.id}` : `domain:${name}`}`
      let child = known.get(key)
      if (child === undefined) known.set(key, child = add(vertex, name ?? node.id, -1))
      vertex = child
    }
    tree.leafOf.push(add(vertex, node.id, index))
  })
  return tree
}

/**
 * How many replicas of one partition each domain may hold: one at the widest level that has a domain
 * for each replica and below it; above it, as evenly as the domains allow.
 */
export function spreadOf (tree: FaultTree, wanted: number): Spread {
  const levels = verticesByLevel(tree)
  const replicas = Math.min(wanted, tree.leafOf.length)
  const level = Math.max(0, levels.findIndex((vertices) => vertices.length >= replicas))
  const caps = new Int32Array(tree.parent.length).fill(1)
  // What each vertex above that level can hold at most: the domains of that level beneath it.
  const room = new Int32Array(tree.parent.length)
  for (const vertex of levels[level]!) {
    for (let above = vertex; above !== -1; above = tree.parent[above]!) room[above]!++
  }
  caps[0] = replicas
  for (let at = 0; at < level; at++) {
    for (const vertex of levels[at]!) {
      const children = tree.children[vertex]!
      const most = smallestCap(children.map((child) => room[child]!), caps[vertex]!)
      for (const child of children) caps[child] = Math.min(most, room[child]!)
    }
  }
  return { caps, replicas, level: level - 1 }
}

/** Levels from the root (index 0) to the leaves. */
function verticesByLevel (tree: FaultTree): number[][] {
  const levels: number[][] = [[0]]
  for (let level = 0; level <= tree.depth; level++) levels.push(levels[level]!.flatMap((vertex) => tree.children[vertex]!))
  return levels
}

/** The least `cap` with which the rooms together hold `count`. */
function smallestCap (rooms: number[], count: number): number {
  let cap = 0
  let held = 0
  while (held < count && cap < count) {
    cap++
    held = rooms.reduce((sum, room) => sum + Math.min(room, cap), 0)
  }
  return cap
}
