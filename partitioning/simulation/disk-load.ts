import { mixed } from '../hash.ts'
import type { NodeId, Placement } from '../types.ts'
import type { SimulatedNode, SimulatedVolume } from './description.ts'

export interface DiskLoad {
  /** Share of time for which each disk is busy under the load; above 1 it cannot keep up. */
  busy: Map<NodeId, number>
  busiest: number
  mean: number
}

export interface LoadedVolume { volume: SimulatedVolume, /** The primary first. */ replicas: ReadonlyArray<readonly NodeId[]> }

/**
 * How busy the disks are: every replica takes each write; reads are the primary's under Hawaii, and under Tivoli those of the
 * others, each as much of them as it can read.
 */
export function diskLoad (nodes: readonly SimulatedNode[], volumes: readonly LoadedVolume[], placement: Placement): DiskLoad {
  const disks = new Map(nodes.map(({ info }) => [info.id, info.disk!]))
  const busy = new Map(nodes.map(({ info }) => [info.id, info.disk!.utilization]))
  const add = (node: NodeId, share: number): void => { busy.set(node, (busy.get(node) ?? 0) + share) }
  for (const { volume, replicas } of volumes) {
    const parts = partitionShares(volume.partitions, volume.skew)
    replicas.forEach((holders, at) => {
      for (const node of holders) add(node, volume.writes * parts[at]! / (disks.get(node)?.writeBandwidth ?? 1))
      const readers = placement === 'tivoli' && holders.length > 1 ? holders.slice(1) : holders.slice(0, 1)
      const bandwidth = readers.reduce((sum, node) => sum + (disks.get(node)?.readBandwidth ?? 0), 0)
      for (const node of readers) add(node, bandwidth === 0 ? 0 : volume.reads * parts[at]! / bandwidth)
    })
  }
  const values = [...busy.values()]
  return { busy, busiest: values.reduce((most, value) => Math.max(most, value), 0), mean: values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length) }
}

/** Each partition's part of a volume's load: Zipf, the ranks dealt out at random but always the same. */
export function partitionShares (partitions: number, skew: number): Float64Array {
  const order = Array.from({ length: partitions }, (_, at) => at).sort((one, other) => mixed(one, 1) - mixed(other, 1) || one - other)
  const shares = new Float64Array(partitions)
  let total = 0
  order.forEach((partition, rank) => { total += shares[partition] = (rank + 1) ** -skew })
  return shares.map((share) => share / total)
}
