import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Cluster } from '../../client/connect.ts'
import { AtollError } from '../../fsnode/protocol/errors.ts'
import { clusterOptionText, withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, startProgress } from '../output.ts'
import { formatSeconds } from '../plan-time.ts'

interface DrainOptions extends ClusterOptions { json?: boolean, cancel?: boolean, detach?: boolean }

interface DrainReport {
  node: string
  state: string
  /** What is still there. */
  replicas: number
  primaries: number
  metadata: number
  manager: boolean
  bytes: number
  drained: boolean
}

const pollMs = 500
/** A node from which nothing has gone for so long is told of as stuck. */
const stuckMs = 120_000

export function drainCommand (node: Command): void {
  withClusterOptions(node.command('drain <id>'))
    .description('move everything that a node holds to the others, while all serves; of a node that is down: replace it now')
    .option('--cancel', 'end it: the node keeps what it has and gets its share again')
    .option('--detach', 'do not wait; nor does Ctrl-C end it')
    .option('--json', 'for programs')
    .action(drain)
}

async function drain (id: string, options: DrainOptions): Promise<void> {
  await withCluster(options, async (cluster) => {
    if (!cluster.map.nodes.some((node) => node.id === id)) throw new AtollError('ATOLL_NO_SUCH_NODE', `there is no node ${id}`, { hint: 'those that exist: atoll node list' })
    if (options.cancel !== true) await requireRoom(cluster, id)
    await cluster.router.toManager('manager.drain-node', { node: id, drain: options.cancel !== true })
    const report = options.cancel === true || options.detach === true ? await reportOf(cluster, id) : await untilEmpty(cluster, id, options)
    if (options.json === true) printJson(report)
    else if (options.cancel === true) print(`node ${id} is not emptied any more`)
    else if (report.drained) print(`node ${id} is empty; to have one node less: atoll scheduler scale ${cluster.map.nodes.length - 1}${clusterOptionText(options)}`)
    else print(`node ${id} is being emptied; watch it: atoll partition plans${clusterOptionText(options)}`)
  })
}

/** What the node holds needs other nodes: one for each replica. Throws ATOLL_NOT_ENOUGH_NODES. */
async function requireRoom ({ map, router }: Cluster, id: string): Promise<void> {
  const others = map.nodes.filter((node) => node.id !== id && node.state === 'up').length
  const widest = map.volumes.toSorted((one, other) => other.replicas - one.replicas)[0]
  if (widest === undefined || widest.replicas <= others || partsOf(await reportOf({ router }, id)) === 0) return
  throw new AtollError('ATOLL_NOT_ENOUGH_NODES', `volume ${widest.name} has ${widest.replicas} replicas of everything, and ${others} other nodes are up: nobody can take what ${id} holds`, {
    hint: `add a node first: atoll up --nodes ${map.nodes.length + 1} (or: atoll scheduler scale ${map.nodes.length + 1})`
  })
}

async function untilEmpty (cluster: Cluster, id: string, options: DrainOptions): Promise<DrainReport> {
  const progress = startProgress(options.json)
  const began = performance.now()
  let first: DrainReport | null = null
  let [least, leastAt] = [Infinity, began]
  let told = ''
  for (;; await delay(pollMs)) {
    const report = await reportOf(cluster, id)
    first ??= report
    const now = performance.now()
    if (report.drained) {
      progress.done(`node ${id}: everything has moved`)
      return report
    }
    const left = partsOf(report)
    if (left < least) [least, leastAt] = [left, now]
    if (now - leastAt > stuckMs) {
      progress.fail()
      throw new AtollError('ATOLL_DRAIN_STUCK', `node ${id} still holds ${text(report)}; nothing has left it for ${stuckMs / 1000} s`, { hint: `see what waits: atoll partition plans${clusterOptionText(options)}; too few other nodes? atoll node list` })
    }
    const done = partsOf(first) - left
    const seconds = done > 0 ? (leastAt - began) / 1000 / done * left : null
    const line = `node ${id}: ${text(report)} left${seconds === null ? '' : `, about ${formatSeconds(seconds)}`}`
    if (line !== told) progress.step(line)
    told = line
  }
}

function partsOf ({ replicas, metadata, manager }: DrainReport): number { return replicas + metadata + Number(manager) }

function text ({ replicas, metadata, manager, bytes }: DrainReport): string {
  return `${replicas} replicas (${formatBytes(bytes)}), ${metadata} metadata members${manager ? ', the manager' : ''}`
}

async function reportOf ({ router }: Pick<Cluster, 'router'>, id: string): Promise<DrainReport> {
  const { body: { map } } = await router.toManager('manager.map', { after: 0, waitMs: 0 })
  if (map !== undefined) router.adopt(map)
  const { body: { stored } } = await router.toManager('manager.loads', {})
  const bytes = new Map(stored.map((one) => [one.partition, one.bytes]))
  const { data, metadata, managers, nodes } = router.map
  const held = data.filter(({ replicas }) => replicas.some(({ node }) => node === id))
  const report = {
    node: id,
    state: nodes.find((node) => node.id === id)?.state ?? 'unknown',
    replicas: held.length,
    primaries: data.filter(({ primary }) => primary === id).length,
    metadata: metadata.filter(({ members }) => members.includes(id)).length,
    manager: managers.includes(id),
    bytes: held.reduce((sum, partition) => sum + (bytes.get(partition.id) ?? 0), 0)
  }
  return { ...report, drained: partsOf({ ...report, drained: false }) === 0 }
}
