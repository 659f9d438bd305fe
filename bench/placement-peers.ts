import { mixed, nameHash } from '../partitioning/hash.ts'
import type { PlacementNode } from '../partitioning/hawaii.ts'
import type { NodeId } from '../partitioning/types.ts'

/** How others place, for comparison: what CRUSH and Dynamo-like systems do, each with one rack per replica. */

/**
 * straw2, as in CRUSH: in each bucket every item draws ln(u) / weight from a hash of the partition, and the longest straw wins.
 * First a rack for each replica, then a node in it; a rack drawn twice is drawn again.
 */
export class Straw2 {
  private readonly racks: Array<{ hash: number, weight: number, nodes: Array<{ id: NodeId, hash: number, weight: number }> }>

  constructor (nodes: readonly PlacementNode[]) {
    this.racks = [...Map.groupBy(nodes, ({ domain }) => domain.join('/'))].map(([name, members]) => ({
      hash: nameHash(name),
      weight: members.reduce((sum, { weight }) => sum + weight, 0),
      nodes: members.map(({ id, weight }) => ({ id, weight, hash: nameHash(id) }))
    }))
  }

  place (partition: number, replicas: number): NodeId[] {
    const chosen: typeof this.racks = []
    const nodes: NodeId[] = []
    for (let draw = 0; nodes.length < replicas && draw < 100; draw++) {
      const rack = longest(this.racks, partition, draw)
      if (chosen.includes(rack)) continue
      chosen.push(rack)
      nodes.push(longest(rack.nodes, partition, draw).id)
    }
    return nodes
  }
}

function longest<T extends { hash: number, weight: number }> (items: readonly T[], partition: number, draw: number): T {
  let best = items[0]!
  let most = -Infinity
  for (const item of items) {
    const straw = Math.log(mixed(item.hash ^ Math.imul(draw + 1, 0x9e3779b1), partition) + 2 ** -33) / item.weight
    if (straw <= most) continue
    best = item
    most = straw
  }
  return best
}

/** Points of a node of weight 1 on the ring. */
export const ringPointsPerNode = 128

/** Plain consistent hashing: nodes have points on a ring; a partition goes to the next nodes that are in different racks. */
export class Ring {
  private readonly places: Float64Array
  private readonly owners: PlacementNode[]

  constructor (nodes: readonly PlacementNode[]) {
    const points = nodes.flatMap((node) => Array.from({ length: Math.round(ringPointsPerNode * node.weight) }, (_, at) => ({ node, place: mixed(nameHash(node.id), at) })))
    points.sort((one, other) => one.place - other.place)
    this.places = Float64Array.from(points, ({ place }) => place)
    this.owners = points.map(({ node }) => node)
  }

  place (partition: number, replicas: number): NodeId[] {
    const place = mixed(partition, 0x51ed270b)
    let [low, high] = [0, this.places.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.places[middle]! < place) low = middle + 1
      else high = middle
    }
    const racks = new Set<string>()
    const nodes: NodeId[] = []
    for (let step = 0; nodes.length < replicas && step < this.places.length; step++) {
      const owner = this.owners[(low + step) % this.places.length]!
      const rack = owner.domain.join('/')
      if (racks.has(rack)) continue
      racks.add(rack)
      nodes.push(owner.id)
    }
    return nodes
  }
}
