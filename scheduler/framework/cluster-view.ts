import type { ClusterMap, NodeInfo } from '../../partitioning/types.ts'

/** What the storage cluster says of itself. Old news is no news: see `viewAgeMaxMs`. */
export interface ClusterView { map: ClusterMap, atMs: number }

export interface Holdings { data: number, metadata: number, manager: boolean }

/** What a node holds of the cluster: nothing of it may be destroyed while this is not empty. */
export function holdingsOf (map: ClusterMap, nodeId: string): Holdings {
  return {
    data: map.data.filter(({ replicas }) => replicas.some(({ node }) => node === nodeId)).length,
    metadata: map.metadata.filter(({ members }) => members.includes(nodeId)).length,
    manager: map.managers.includes(nodeId)
  }
}

export const isEmpty = ({ data, metadata, manager }: Holdings): boolean => data === 0 && metadata === 0 && !manager

export function describeHoldings ({ data, metadata, manager }: Holdings): string {
  const parts = [
    ...(data > 0 ? [`${data} data replica${data === 1 ? '' : 's'}`] : []),
    ...(metadata > 0 ? [`${metadata} metadata replica${metadata === 1 ? '' : 's'}`] : []),
    ...(manager ? ['a vote of the manager'] : [])
  ]
  return parts.length === 0 ? 'nothing' : parts.join(', ')
}

const reasonsMax = 5

/**
 * Why nodes cannot be taken away together, as far as the cluster's own redundancy goes; empty: they can. Each group (the
 * manager's, and each metadata partition's) keeps its majority, and each data partition a serving replica and as
 * many more in sync as it can have: nothing else may be missing while they are.
 */
export function dangersWithout (map: ClusterMap, nodeIds: string[]): string[] {
  const away = new Set(nodeIds)
  const nodes = new Map(map.nodes.map((node) => [node.id, node]))
  const dangers: string[] = []
  const isUp = (id: string): boolean => !away.has(id) && isServing(nodes.get(id))
  const group = (name: string, members: string[]): void => {
    const up = members.filter(isUp).length
    const needed = Math.floor(members.length / 2) + 1
    if (up < needed && members.some((id) => away.has(id))) dangers.push(`${name} would have ${up} of ${members.length} members, ${needed} are needed`)
  }
  group('the manager', map.managers)
  for (const { id, members } of map.metadata) group(`metadata partition ${id}`, members)
  for (const { id, replicas } of map.data) {
    if (!replicas.some(({ node }) => away.has(node))) continue
    const rest = replicas.filter(({ node }) => !away.has(node))
    const bad = rest.filter(({ node, state }) => state !== 'serving' || !isUp(node))
    if (rest.length === bad.length) dangers.push(`data partition ${id} would have no serving replica`)
    else if (bad.length > 0) dangers.push(`data partition ${id} is not whole: the replica on ${bad[0]!.node} is ${bad[0]!.state}`)
  }
  return dangers.length > reasonsMax ? [...dangers.slice(0, reasonsMax), `and ${dangers.length - reasonsMax} more`] : dangers
}

function isServing (node: NodeInfo | undefined): boolean {
  return node !== undefined && node.state !== 'down'
}
