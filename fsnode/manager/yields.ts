import type { ClusterMap, NodeId, NodeInfo } from '../../partitioning/types.ts'

/** The node as it is when it yields so far, or not. */
export function yielding ({ yields: _before, ...node }: NodeInfo, yields: NodeInfo['yields']): NodeInfo {
  return yields === undefined ? node : { ...node, yields }
}

/**
 * Nodes that were asked to yield and do, and those that have come to lead again since: leads in the map that another could have,
 * and Raft groups by the node's own word. A node that nobody can stand in for is done at once.
 */
export function settledYields (map: ClusterMap, groupsLedBy: (node: NodeId) => number | undefined): NodeInfo[] {
  const asked = map.nodes.filter(({ yields, state }) => yields !== undefined && state !== 'down')
  if (asked.length === 0) return []
  const present = new Set(map.nodes.filter(({ yields, state }) => yields === undefined && state !== 'down').map(({ id }) => id))
  const leading = new Set(map.data.filter(({ replicas, primary }) =>
    primary !== null && replicas.some(({ node, state }) => node !== primary && state === 'serving' && present.has(node))).map(({ primary }) => primary))
  return asked.flatMap((node) => {
    const groups = groupsLedBy(node.id)
    if (groups === undefined && !leading.has(node.id)) return []
    const next = leading.has(node.id) || groups! > 0 ? 'asked' : 'done'
    return next === node.yields ? [] : yielding(node, next)
  })
}
