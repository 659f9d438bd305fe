import type { Command } from 'commander'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { dataDirectoryOf, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'
import { reportStatus } from './status.ts'

interface Options extends ClusterOptions { json?: boolean }

export function nodeCommand (program: Command): void {
  const node = program.command('node').description('storage nodes')
  withClusterOptions(node.command('list')).description('all nodes with their share').option('--json', 'for programs').action(list)
  withClusterOptions(node.command('show <id>')).description('one node: its groups, partitions and memory').option('--json', 'for programs').action(show)
}

async function list (options: Options): Promise<void> {
  const nodes = await withCluster(options, async (cluster) => {
    const { nodes } = await reportStatus(cluster, options)
    return nodes.map((node) => ({
      ...node,
      replicas: cluster.map.data.filter((partition) => partition.replicas.some((replica) => replica.node === node.id)).length,
      primaries: cluster.map.data.filter((partition) => partition.primary === node.id).length,
      domain: cluster.map.nodes.find((candidate) => candidate.id === node.id)?.domain ?? []
    }))
  })
  if (options.json === true) printJson(nodes)
  else printTable(['NODE', 'STATE', 'ADDRESS', 'REPLICAS', 'PRIMARIES', 'USED', 'CAPACITY', 'DOMAIN'], nodes.map((node) => [node.id, node.state, node.address, node.replicas, node.primaries, formatBytes(node.usedBytes), formatBytes(node.capacityBytes), node.domain.join('/')]))
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
