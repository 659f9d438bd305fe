import type { DiskMeasure, NodeId, NodeInfo } from '../../partitioning/types.ts'
import { measureChangeMin, usageChangeMin } from './bounds.ts'
import type { NodeUsage } from './leader-facts.ts'

/** Nodes whose usage or disk differs from what the map says by so much that the map should say it. */
export function measuredNodes (nodes: readonly NodeInfo[], usageOf: (node: NodeId) => NodeUsage | null): NodeInfo[] {
  return nodes.flatMap((node) => {
    const usage = usageOf(node.id)
    if (usage === null || !differs(node, usage)) return []
    return [{ ...node, usedBytes: usage.usedBytes, capacityBytes: usage.capacityBytes, disk: usage.disk }]
  })
}

function differs (node: NodeInfo, usage: NodeUsage): boolean {
  const capacity = Math.max(1, node.capacityBytes)
  return Math.abs(usage.usedBytes - node.usedBytes) > usageChangeMin * capacity ||
    Math.abs(usage.capacityBytes - node.capacityBytes) > usageChangeMin * capacity ||
    diskDiffers(node.disk, usage.disk)
}

function diskDiffers (one: DiskMeasure | null, other: DiskMeasure | null): boolean {
  if (one === null || other === null) return one !== other
  const fields = ['readBandwidth', 'writeBandwidth', 'readLatencyMs', 'writeLatencyMs'] as const
  return fields.some((field) => Math.abs(one[field] - other[field]) > measureChangeMin * Math.max(one[field], other[field])) ||
    Math.abs(one.utilization - other.utilization) > measureChangeMin
}
