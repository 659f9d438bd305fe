import type { HawaiiInput, HawaiiOutcome, PlacementNode } from '../../partitioning/hawaii.ts'

/** The slow, obvious twin of Hawaii's parts: what a result must satisfy, written without its data structures. */

/** The domain of a node at a level; a node is a domain of its own where it names none. */
export function domainAt (node: PlacementNode, level: number): string {
  const names = Array.from({ length: level + 1 }, (_, at) => node.domain[at] ?? `\0${node.id}`)
  return names.join('/')
}

function countDistinct (values: string[]): number { return new Set(values).size }

export function usable (input: HawaiiInput): PlacementNode[] { return input.nodes.filter((node) => node.weight > 0) }

/** The widest level with a domain for each replica; the number of levels when only nodes differ. */
export function levelFor (nodes: PlacementNode[], replicas: number): number {
  const depth = Math.max(0, ...nodes.map((node) => node.domain.length))
  if (replicas <= 1) return -1
  for (let level = 0; level < depth; level++) {
    if (countDistinct(nodes.map((node) => domainAt(node, level))) >= replicas) return level
  }
  return depth
}

/** No two replicas in one domain at that level, and above it no more in one domain than the evenest spread would put into its fullest. */
export function spreadIsRight (nodes: PlacementNode[], chosen: PlacementNode[]): boolean {
  const level = levelFor(nodes, chosen.length)
  if (level === -1) return chosen.length <= 1
  const depth = Math.max(0, ...nodes.map((node) => node.domain.length))
  const unit = (node: PlacementNode): string => level === depth ? node.id : domainAt(node, level)
  if (countDistinct(chosen.map(unit)) < chosen.length) return false
  return withinMost(nodes, chosen, unit, 0, level, chosen.length)
}

function withinMost (nodes: PlacementNode[], chosen: PlacementNode[], unit: (node: PlacementNode) => string, at: number, level: number, count: number): boolean {
  if (at >= level) return true
  const groups = [...Map.groupBy(nodes, (node) => domainAt(node, at)).values()]
  const rooms = groups.map((members) => countDistinct(members.map(unit)))
  // Put `count` one by one into the emptiest domain that has room.
  const held = rooms.map(() => 0)
  for (let given = 0; given < Math.min(count, rooms.reduce((sum, room) => sum + room, 0)); given++) {
    const open = held.map((has, index) => has < rooms[index]! ? has : Infinity)
    held[open.indexOf(Math.min(...open))]!++
  }
  const most = Math.max(...held)
  return groups.every((members, index) => {
    const inside = chosen.filter((node) => members.includes(node))
    return inside.length <= most && withinMost(members, inside, unit, at + 1, level, Math.min(most, rooms[index]!))
  })
}

/** All sets of nodes on which a partition may have its replicas. */
export function allowedSets (nodes: PlacementNode[], replicas: number): PlacementNode[][] {
  const count = Math.min(replicas, nodes.length)
  const found: PlacementNode[][] = []
  const grow = (from: number, chosen: PlacementNode[]): void => {
    if (chosen.length === count) {
      if (spreadIsRight(nodes, chosen)) found.push(chosen)
      return
    }
    for (let at = from; at < nodes.length; at++) grow(at + 1, [...chosen, nodes[at]!])
  }
  grow(0, [])
  return found
}

/**
 * Weighted max-min shares of one partition class by progressive filling in small steps: all nodes
 * grow in proportion to their weights until something they are part of is full.
 * Fullness is read from the allowed sets themselves: no group of nodes can get more than the sets give it.
 */
export function naiveShares (nodes: PlacementNode[], replicas: number, partitions: number): Map<string, number> {
  const sets = allowedSets(nodes, replicas)
  const groups = subsets(nodes)
  const most = groups.map((group) => partitions * Math.max(...sets.map((set) => set.filter((node) => group.includes(node)).length)))
  const shares = new Map(nodes.map((node) => [node.id, 0]))
  let growing = [...nodes]
  while (growing.length > 0) {
    // The step at which the first group fills up.
    let step = Infinity
    groups.forEach((group, at) => {
      const speed = group.reduce((sum, node) => sum + (growing.includes(node) ? node.weight : 0), 0)
      const used = group.reduce((sum, node) => sum + shares.get(node.id)!, 0)
      if (speed > 0) step = Math.min(step, (most[at]! - used) / speed)
    })
    for (const node of growing) shares.set(node.id, shares.get(node.id)! + Math.max(0, step) * node.weight)
    growing = growing.filter((node) => groups.every((group, at) =>
      !group.includes(node) || group.reduce((sum, member) => sum + shares.get(member.id)!, 0) < most[at]! - 1e-9))
  }
  return shares
}

function subsets<T> (items: T[]): T[][] {
  return Array.from({ length: 2 ** items.length - 1 }, (_, mask) => items.filter((_item, at) => ((mask + 1) >> at) % 2 === 1))
}

/** The least, over all choices of a primary among the replicas, of the greatest distance from the shares. */
export function bestPrimaryDistance (outcome: HawaiiOutcome): number {
  const shares = new Map(outcome.shares.map((share) => [share.node, share.primaryShare]))
  const counts = new Map([...shares.keys()].map((id) => [id, 0]))
  let best = Infinity
  const choose = (at: number): void => {
    if (at === outcome.assignments.length) {
      best = Math.min(best, Math.max(...[...counts].map(([id, count]) => Math.abs(count - shares.get(id)!))))
      return
    }
    for (const id of outcome.assignments[at]!.replicas) {
      counts.set(id, counts.get(id)! + 1)
      choose(at + 1)
      counts.set(id, counts.get(id)! - 1)
    }
  }
  choose(0)
  return best
}

/** Whether a choice of primaries among the replicas exists in which every count is nearer than one to its share: augmenting paths. */
export function primariesCanBeWithinOne (outcome: HawaiiOutcome): boolean {
  const least = new Map(outcome.shares.map(({ node, primaryShare }) => [node, Math.max(0, Math.floor(primaryShare - 1 + 1e-9) + 1)]))
  const most = new Map(outcome.shares.map(({ node, primaryShare }) => [node, Math.ceil(primaryShare + 1 - 1e-9) - 1]))
  const fits = (limits: Map<string, number>, everyone: boolean): boolean => {
    const led = new Map<string, number[]>([...limits.keys()].map((node) => [node, []]))
    const give = (partition: number, seen: Set<string>): boolean => {
      for (const node of outcome.assignments[partition]!.replicas) {
        if (seen.has(node)) continue
        seen.add(node)
        const mine = led.get(node)!
        if (mine.length < limits.get(node)!) {
          mine.push(partition)
          return true
        }
        for (const [at, other] of mine.entries()) {
          if (!give(other, seen)) continue
          mine[at] = partition
          return true
        }
      }
      return false
    }
    const given = outcome.assignments.filter((_, at) => give(at, new Set())).length
    return given === (everyone ? outcome.assignments.length : [...limits.values()].reduce((sum, limit) => sum + limit, 0))
  }
  // Where all lower bounds can be met, and all upper bounds, both can (Hoffman).
  return fits(most, true) && fits(least, false)
}

export const movesSearchMax = 200_000

/**
 * Whether at most `limit` new replicas suffice for an outcome in which every node holds the floor or the ceiling of its share.
 * Tries everything; null when that takes too long.
 */
export function canMoveWithin (input: HawaiiInput, shares: Map<string, number>, limit: number): boolean | null {
  const nodes = usable(input)
  const numbers = new Map(nodes.map((node, at) => [node.id, at]))
  const floor = nodes.map(({ id }) => Math.floor(shares.get(id)! + 1e-6))
  const ceiling = nodes.map(({ id }) => Math.ceil(shares.get(id)! - 1e-6))
  const sets = new Map([...new Set(input.partitions.map(({ replicas }) => replicas))].map((replicas) =>
    [replicas, allowedSets(nodes, replicas).map((set) => set.map(({ id }) => numbers.get(id)!))]))
  const choices = input.partitions.map(({ replicas, current }) => {
    const held = new Set((current ?? []).map((id) => numbers.get(id)))
    return sets.get(replicas)!.map((set) => ({ set, moves: set.filter((node) => !held.has(node)).length })).sort((one, other) => one.moves - other.moves)
  })
  const least = choices.map(() => 0).concat(0)
  for (let at = choices.length - 1; at >= 0; at--) least[at] = least[at + 1]! + choices[at]![0]!.moves
  const counts = nodes.map(() => 0)
  let tried = 0
  const search = (at: number, moves: number): boolean => {
    if (moves + least[at]! > limit || tried++ > movesSearchMax) return false
    if (at === choices.length) return counts.every((count, node) => count >= floor[node]!)
    return choices[at]!.some((choice) => {
      if (moves + choice.moves + least[at + 1]! > limit || choice.set.some((node) => counts[node]! >= ceiling[node]!)) return false
      for (const node of choice.set) counts[node]!++
      const found = search(at + 1, moves + choice.moves)
      for (const node of choice.set) counts[node]!--
      return found
    })
  }
  const found = search(0, 0)
  return !found && tried > movesSearchMax ? null : found
}
