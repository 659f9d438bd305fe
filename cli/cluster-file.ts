import { identify } from '../fsnode/protocol/processes.ts'
import type { FrameworkStatus } from '../scheduler/framework/index.ts'
import type { Embedded } from '../scheduler/embedded.ts'
import type { ClusterFile, ClusterSettings, DataDirectory } from './data-directory.ts'

/** A node that ended this often in a row will hardly do better the next time. */
export const failedStartsMin = 2

type NodeStatus = FrameworkStatus['nodes'][number]

/** Keeps the file by which other commands find the cluster; written only when something in it changed. */
export class ClusterFilePublisher {
  private readonly directory: DataDirectory
  private settings: ClusterSettings
  private readonly embedded: Embedded
  /** Launches of each node before this process. */
  private readonly launchesBefore: Map<string, number>
  private written = ''

  constructor (directory: DataDirectory, settings: ClusterSettings, embedded: Embedded) {
    this.directory = directory
    this.settings = settings
    this.embedded = embedded
    this.launchesBefore = new Map(embedded.framework.status().nodes.map(({ id, launches }) => [id, launches]))
  }

  publish (force: boolean): void {
    const { master, framework } = this.embedded
    const { clusterId, nodes, nodesWanted, goal } = framework.status()
    if (goal === 'running') this.adopt(nodesWanted)
    const file: ClusterFile = {
      format: 1,
      clusterId,
      scheduler: { ...identify(process.pid)!, url: master.url },
      // A node that is away keeps its address: it comes back on the same one.
      nodes: nodes.filter(({ launches, host, rpcPort }) => launches > 0 && host !== null && rpcPort !== null).map(({ id, host, rpcPort }) => ({ id, host: host!, port: rpcPort! })),
      failing: nodes.filter((node) => this.isFailing(node)).map(({ id, attempts, reason }) => ({ id, attempts, reason })),
      settings: this.settings
    }
    const text = JSON.stringify(file)
    if (text === this.written && !force) return
    this.directory.writeCluster(file)
    this.written = text
  }

  /** It was scaled: the next start has as many. */
  private adopt (nodesWanted: number): void {
    const nodes = Math.max(nodesWanted, this.settings.replicas)
    if (nodes === this.settings.nodes) return
    this.settings = { ...this.settings, nodes }
    this.directory.writeScheduler({ process: identify(process.pid)!, settings: this.settings })
  }

  private isFailing ({ id, attempts, launches, state, task }: NodeStatus): boolean {
    const ended = launches - (this.launchesBefore.get(id) ?? 0) - (task === null ? 0 : 1)
    return state !== 'running' && attempts >= failedStartsMin && ended >= failedStartsMin
  }
}
