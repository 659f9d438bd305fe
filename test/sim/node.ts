import type { ClusterMap } from '../../partitioning/types.ts'
import { AddressBook } from '../../fsnode/server/address-book.ts'
import { assembleNode, type AssembledNode } from '../../fsnode/server/assembly.ts'
import type { NodeAddress, NodeSpec } from '../../fsnode/protocol/node-spec.ts'
import { messageOf } from '../../fsnode/protocol/errors.ts'
import type { Address, Clock, Logger } from '../../fsnode/protocol/ports.ts'
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
  /** Of the node; one that is launched by a scheduler learns its own then. */
  id: string
  host: string
  managers: NodeAddress[]
  drift: Drift
  /** Of the node's disk, bytes. */
  capacityBytes: number
  /** See `AssemblyInit`. */
  spreadInodesMin: number
  onMap: (map: ClusterMap) => void
  onReplaced: () => void
  onFailure: (what: string) => void
}

/** A machine that runs one storage node: its disk, its clock, and the process of the moment. */
export class SimNode {
  id: string
  readonly host: string
  readonly disk: SimDisk
  /** null while it starts or is down. */
  running: AssembledNode | null = null
  /** Changes with each start and end. */
  life = 0
  /** No process runs or starts. */
  down = true
  /** Told of each end, also of the power of a machine on which nothing runs. */
  onEnd: (ending: Ending | 'stopped') => void = () => {}
  /** What made it go down is over. */
  recover: () => void = () => { this.start() }
  private readonly components: SimNodeComponents
  private readonly init: SimNodeInit
  private ports: ProcessPorts | null = null
  private spec: NodeSpec

  constructor (components: SimNodeComponents, init: SimNodeInit) {
    this.components = components
    this.init = init
    const { id, host, managers, capacityBytes } = init
    this.id = id
    this.host = host
    this.spec = { clusterId, nodeId: id, host, rpcPort, raftPort, dataDirectory: '/', managers, capacityBytes, domain: [host] }
    this.disk = new SimDisk(components.clock, components.random.fork(), init.capacityBytes, init.host)
  }

  get address (): Address { return { host: this.host, port: this.spec.rpcPort } }

  /** Begins to start, as a scheduler says or as before; what cannot start is told to `onFailure`. */
  start (spec: NodeSpec = this.spec): void {
    if (!this.down) return
    if (spec.nodeId !== this.id && this.life > 0) this.init.onFailure(`the disk of ${this.id} was given to ${spec.nodeId}`)
    this.spec = spec
    this.id = spec.nodeId
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
  end (ending: Ending, told: Ending | 'stopped' = ending): void {
    this.components.log.info('the process ends', { ending: told })
    this.life++
    this.down = true
    this.running = null
    if (this.ports !== null) this.ports.alive = false
    this.disk.end(ending)
    this.components.raft.crash(this.id)
    this.components.network.crash(this.host)
    this.onEnd(told)
  }

  /** Stops as a process does that is asked to; resolves when it has ended. */
  async stop (): Promise<void> {
    const { running } = this
    if (running === null) return
    const life = ++this.life
    this.running = null
    await running.close()
    if (this.life === life) this.end('kill', 'stopped')
  }

  private async assemble (): Promise<AssembledNode> {
    const { id, spec, host } = this
    const { drift, spreadInodesMin, onReplaced } = this.init
    const random = this.components.random.fork()
    const ports = this.ports = new ProcessPorts(this.components.clock, this.components.network.host(host), drift)
    const { clock, network } = ports
    const incarnation = `${id}.${this.life}`
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
      spec: { ...spec, capacityBytes: this.disk.capacityBytes },
      hello: { clusterId: spec.clusterId, nodeId: id, incarnation, peerId: id, host, rpcPort: spec.rpcPort, raftPort: spec.raftPort },
      previous: this.disk.succeed(incarnation),
      chunkStore: { directory: '/chunks', reserveBytes: 64 * 1024, openChunksMax: 6, probe: false },
      raftLimits,
      spreadInodesMin,
      onReplaced
    })
  }
}
