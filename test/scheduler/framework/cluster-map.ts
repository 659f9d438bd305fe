import type { ClusterMap, NodeInfo, ReplicaState } from '../../../partitioning/types.ts'

export interface MapOptions {
  down?: string[]
  draining?: string[]
  /** Node ids of each data partition; the first is the primary. */
  data?: string[][]
  metadata?: string[][]
  managers?: string[]
  states?: Record<string, ReplicaState>
  /** Of nodes whose process is another than at first. */
  incarnations?: Record<string, string>
  /** Nodes that lead only what nobody else can. */
  yielding?: string[]
}

/** A map as the manager would tell it. */
export function mapOf (nodes: string[], options: MapOptions = {}): ClusterMap {
  const { down = [], draining = [], data = [], metadata = [], managers = nodes.slice(0, 3), states = {}, incarnations = {}, yielding = [] } = options
  return {
    clusterId: 'c',
    version: 1,
    nodes: nodes.map((id): NodeInfo => ({
      id, incarnation: incarnations[id] ?? 'first', peerId: id, host: id, rpcPort: 1, raftPort: 2, domain: [], capacityBytes: 1, usedBytes: 0, disk: null,
      state: down.includes(id) ? 'down' : draining.includes(id) ? 'draining' : 'up', ...(yielding.includes(id) ? { yields: 'done' } : {})
    })),
    managers,
    volumes: [],
    data: data.map((replicas, index) => ({
      id: `1.d.${index}`, volume: 1, index, epoch: 1, primary: replicas[0]!, replicas: replicas.map((node) => ({ node, state: states[node] ?? 'serving' }))
    })),
    metadata: metadata.map((members, index) => ({ id: `1.m.${index}`, volume: 1, index, members }))
  }
}
