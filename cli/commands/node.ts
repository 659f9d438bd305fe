import type { Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { place } from '../../partitioning/placement.ts'
import type { ClusterMap } from '../../partitioning/types.ts'
import { dataDirectoryOf, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { drainCommand } from './node-drain.ts'
import { reportStatus } from './status.ts'

interface Options extends ClusterOptions { json?: boolean }

export function nodeCommand (program: Command): void {
  const node = program.command('node').description('storage nodes')
  withClusterOptions(node.command('list')).description('all nodes with their share, load and fault domain').option('--json', 'for programs').action(list)
  withClusterOptions(node.command('show <id>')).description('one node: its groups, partitions and memory').option('--json', 'for programs').action(show)
  drainCommand(node)
  withClusterOptions(node.command('remove <id>'))
    .description('forget a node that is down and holds nothing (see: drain)')
    .action(async (id: string, options: Options) => {
      await withCluster(options, ({ router }) => router.toManager('manager.remove-node', { node: id }))
      print(`node ${id} is forgotten`)
    })
}

async function list (options: Options): Promise<void> {
  const nodes = await withCluster(options, async (cluster) => {
    const { nodes } = await reportStatus(cluster, options)
    const { map } = cluster
    const [shares, loads] = [sharesOf(map), await loadsOf(cluster)]
    return nodes.map((node) => ({
      ...node,
      replicas: map.data.filter((partition) => partition.replicas.some((replica) => replica.node === node.id)).length,
      replicaShare: shares.get(node.id)?.replicas ?? 0,
      primaries: map.data.filter((partition) => partition.primary === node.id).length,
      primaryShare: shares.get(node.id)?.primaries ?? 0,
      metadata: map.metadata.filter((partition) => partition.members.includes(node.id)).length,
      manager: map.managers.includes(node.id),
      /** Read and written for clients by the partitions that it leads, per second. */
      bytesPerSecond: loads.get(node.id) ?? 0,
      domain: map.nodes.find((candidate) => candidate.id === node.id)?.domain ?? []
    }))
  })
  if (options.json === true) printJson(nodes)
  else {
    printTable(['NODE', 'STATE', 'ADDRESS', 'REPLICAS', 'SHARE', 'PRIMARIES', 'SHARE', 'METADATA', 'LOAD', 'DISK BUSY', 'USED', 'CAPACITY', 'DOMAIN'], nodes.map((node) => [
      node.id, node.state, node.address, node.replicas, node.replicaShare.toFixed(1), node.primaries, node.primaryShare.toFixed(1), `${node.metadata}${node.manager ? ' + manager' : ''}`,
      `${formatBytes(node.bytesPerSecond)}/s`, node.utilization === null ? '-' : `${Math.round(node.utilization * 100)} %`, formatBytes(node.usedBytes), formatBytes(node.capacityBytes), node.domain.join('/')
    ]))
  }
}

/** What each node should have, by the policies of all volumes. */
function sharesOf (map: ClusterMap): Map<string, { replicas: number, primaries: number }> {
  const shares = new Map<string, { replicas: number, primaries: number }>()
  for (const volume of map.volumes) {
    const partitions = map.data.filter((partition) => partition.volume === volume.id)
    const outcome = place(map, {
      placement: volume.placement,
      partitions: partitions.map(({ id, replicas, primary }) => ({ id, replicas: volume.replicas, current: replicas.map(({ node }) => node), primary: replicas[0]?.node ?? primary }))
    })
    for (const { node, replicaShare, primaryShare } of outcome.shares) {
      const known = shares.get(node) ?? { replicas: 0, primaries: 0 }
      shares.set(node, { replicas: known.replicas + replicaShare, primaries: known.primaries + primaryShare })
    }
  }
  return shares
}

async function loadsOf ({ router }: Cluster): Promise<Map<string, number>> {
  const loads = await router.toManager('manager.loads', {}, { patienceMs: 1_000 }).then(({ body }) => body.loads, () => [])
  const primaries = new Map(router.map.data.map(({ id, primary }) => [id, primary]))
  const byNode = new Map<string, number>()
  for (const { partition, readBytes, writeBytes } of loads) {
    const node = primaries.get(partition)
    if (node != null) byNode.set(node, (byNode.get(node) ?? 0) + readBytes + writeBytes)
  }
  return byNode
}

async function show (id: string, options: Options): Promise<void> {
  const status = await withCluster(options, async (cluster) => {
    const known = cluster.map.nodes.find((node) => node.id === id)
    if (known === undefined) throw new AtollError('ATOLL_NO_SUCH_NODE', `there is no node ${id}`, { hint: 'those that exist: atoll node list' })
    if (known.state === 'down') {
      throw new AtollError('ATOLL_NODE_DOWN', `node ${id} at ${known.host}:${known.rpcPort} does not answer`, { hint: `what it wrote last: tail ${dataDirectoryOf(options).nodeLog(id) ?? 'the log of its task'}` })
    }
    return (await cluster.router.toNode(id, 'node.status', {})).body
  })
  if (options.json === true) {
    printJson(status)
    return
  }
  print(`node ${status.nodeId}: pid ${status.pid}, up ${Math.round(status.uptimeMs / 1000)} s, ${formatBytes(status.residentBytes)} of memory`)
  print()
  printTable(['GROUP', 'ROLE', 'TERM', 'LEADER', 'COMMITTED', 'APPLIED'], status.groups.map((group) => [group.id, group.role, group.term, group.leader ?? '-', group.commitIndex, group.appliedIndex]))
  print()
  printTable(['PARTITION', 'STATE', 'ROLE', 'EPOCH', 'COPIED'], status.partitions.map((one) => [one.id, one.state, one.primary ? 'primary' : 'replica', one.epoch, one.copied ?? '-']))
}
