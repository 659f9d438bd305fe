import type { ClusterMap } from '../../partitioning/types.ts'
import { AddressBook } from '../../fsnode/server/address-book.ts'
import { assembleNode, type AssembledNode } from '../../fsnode/server/assembly.ts'
import type { NodeAddress, NodeSpec } from '../../fsnode/protocol/node-spec.ts'
import { messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger } from '../../fsnode/protocol/ports.ts'
import type { RaftLimits } from '../../fsnode/raft/constants.ts'
import { SimDisk, type Ending } from './disk.ts'
import type { SimNetwork } from './network.ts'
import { ProcessPorts, type Drift } from './process.ts'
import type { SimRaftNetwork } from './raft-transport.ts'
import type { SimRandom } from './random.ts'

export const rpcPort = 7000
export const raftPort = 7001
export const clusterId = 'sim'
/** So short that logs are cut and snapshots sent all the time. */
const raftLimits: Partial<RaftLimits> = { logEntriesMax: 60, logTailEntries: 20, snapshotChunkBytesMax: 4_096 }

export interface SimNodeComponents { clock: Clock, random: SimRandom, network: SimNetwork, raft: SimRaftNetwork, log: Logger }

export interface SimNodeInit {
  id: string
  managers: NodeAddress[]
  drift: Drift
  /** Of the node's disk, bytes. */
  capacityBytes: number
  onMap: (map: ClusterMap) => void
  onReplaced: () => void
  onFailure: (what: string) => void
}

/** A machine that runs one storage node: its disk, its clock, and the process of the moment. */
export class SimNode {
  readonly id: string
  readonly disk: SimDisk
  /** null while it starts or is down. */
  running: AssembledNode | null = null
  /** Changes with each start and end. */
  life = 0
  /** No process runs or starts. */
  down = true
  private readonly components: SimNodeComponents
  private readonly init: SimNodeInit
  private ports: ProcessPorts | null = null

  constructor (components: SimNodeComponents, init: SimNodeInit) {
    this.components = components
    this.init = init
    this.id = init.id
    this.disk = new SimDisk(components.clock, components.random.fork(), init.capacityBytes)
  }

  /** Begins to start; what cannot start is told to `onFailure`. */
  start (): void {
    if (!this.down) return
    this.down = false
    const life = ++this.life
    this.components.log.info('a process starts', { incarnation: `${this.id}.${life}` })
    this.assemble().then((node) => {
      if (this.life !== life) return
      this.running = node
      node.router.onMap(this.init.onMap)
      if (node.router.mapVersion > 0) this.init.onMap(node.router.map)
    }, (error) => {
      if (this.life === life) this.init.onFailure(`${this.id} cannot start: ${messageOf(error)}`)
    })
  }

  /** The process ends, or the power fails; also of a machine that is down. */
  end (ending: Ending): void {
    this.components.log.info('the process ends', { ending })
    this.life++
    this.down = true
    this.running = null
    if (this.ports !== null) this.ports.alive = false
    this.disk.end(ending)
    this.components.raft.crash(this.id)
    this.components.network.crash(this.id)
  }

  /** Stops as a process does that is asked to; resolves when it has ended. */
  async stop (): Promise<void> {
    const { running } = this
    if (running === null) return
    const life = ++this.life
    this.running = null
    await running.close()
    if (this.life === life) this.end('kill')
  }

  private async assemble (): Promise<AssembledNode> {
    const { id, managers, drift, onReplaced } = this.init
    const random = this.components.random.fork()
    const ports = this.ports = new ProcessPorts(this.components.clock, this.components.network.host(id), drift)
    const { clock, network } = ports
    const incarnation = `${id}.${this.life}`
    const spec: NodeSpec = { clusterId, nodeId: id, host: id, rpcPort, raftPort, dataDirectory: '/', managers, capacityBytes: this.disk.capacityBytes, domain: [id] }
    return assembleNode({
      clock, random, network,
      log: this.components.log,
      book: new AddressBook({ network, clock }),
      transport: this.components.raft.endpoint(id),
      stores: this.disk.stores(),
      files: this.disk.files,
      addresses: this.disk.addresses,
      usage: this.disk
    }, {
      spec,
      hello: { clusterId, nodeId: id, incarnation, peerId: id, host: id, rpcPort, raftPort },
      previous: this.disk.succeed(incarnation),
      chunkStore: { directory: '/chunks', reserveBytes: 64 * 1024, openChunksMax: 6, probe: false },
      raftLimits,
      onReplaced
    })
  }
}
