import type { FaultTree } from './fault-tree.ts'

/** Shares this close to an integer are that integer: floating-point noise must not become a replica. */
const integerTolerance = 1e-6
const bisections = 100

export interface ShareInput {
  tree: FaultTree
  /** Per node. */
  weights: readonly number[]
  /** Most units that each vertex may take. */
  capacity: ArrayLike<number>
  /** Units to hand out, at most capacity[0]. */
  total: number
  /** Units per node that were handed out before. */
  have: ArrayLike<number>
}

/**
 * Weighted max-min fair shares of `total` units, counting what nodes have: everybody's total follows
 * its weight, except where a domain is full or a node already has more. Returns the units to add.
 */
export function fairShares (input: ShareInput): Float64Array {
  const { tree, weights, capacity, have } = input
  const added = new Float64Array(weights.length)
  /** What the subtree takes when every node is filled up to `level` per weight. */
  const filled = (vertex: number, level: number): number => {
    const node = tree.nodeAt[vertex]!
    if (node >= 0) return Math.min(capacity[vertex]!, Math.max(0, level * weights[node]! - have[node]!))
    return Math.min(capacity[vertex]!, filledBelow(vertex, level))
  }
  const filledBelow = (vertex: number, level: number): number =>
    tree.children[vertex]!.reduce((sum, child) => sum + filled(child, level), 0)
  const highest = weights.reduce((most, weight, node) =>
    weight > 0 ? Math.max(most, (have[node]! + input.total) / weight) : most, 0)
  const share = (vertex: number, amount: number): void => {
    const node = tree.nodeAt[vertex]!
    if (node >= 0) {
      added[node] = amount
      return
    }
    const level = levelFor((candidate) => filledBelow(vertex, candidate), amount, highest)
    for (const child of tree.children[vertex]!) share(child, filled(child, level))
  }
  share(0, input.total)
  return added.map((value) => Math.abs(value - Math.round(value)) < integerTolerance ? Math.round(value) : value)
}

/** The least level at which the growing function `filled` reaches `amount`. */
function levelFor (filled: (level: number) => number, amount: number, highest: number): number {
  let low = 0
  let high = highest
  for (let step = 0; step < bisections; step++) {
    const middle = (low + high) / 2
    if (middle === low || middle === high) break
    if (filled(middle) < amount) low = middle
    else high = middle
  }
  return high
}

/**
 * Rounds shares to integers that keep every domain within its capacity: each is the floor or the
 * ceiling of its share. Nodes that come first in `preference` (lower number) are rounded up.
 */
export function roundShares (tree: FaultTree, shares: Float64Array, capacity: ArrayLike<number>, total: number, preference: (node: number) => number): Int32Array {
  const rounded = Int32Array.from(shares, (share) => Math.floor(share))
  const used = new Int32Array(tree.parent.length)
  const take = (node: number, units: number): void => {
    for (let vertex = tree.leafOf[node]!; vertex !== -1; vertex = tree.parent[vertex]!) used[vertex]! += units
  }
  rounded.forEach((units, node) => { take(node, units) })
  const candidates = [...shares.keys()].filter((node) => shares[node]! > rounded[node]!)
  const order = new Map(candidates.map((node) => [node, preference(node)]))
  candidates.sort((one, other) => order.get(one)! - order.get(other)! || one - other)
  const fits = (node: number): boolean => {
    for (let vertex = tree.leafOf[node]!; vertex > 0; vertex = tree.parent[vertex]!) if (used[vertex]! >= capacity[vertex]!) return false
    return true
  }
  for (const node of candidates) {
    if (used[0]! >= total) break
    if (!fits(node)) continue
    rounded[node]!++
    take(node, 1)
  }
  return rounded
}
