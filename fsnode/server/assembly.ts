import type { ClusterMap } from '../../partitioning/types.ts'
import { ChunkStore, type ChunkStoreInit } from '../data/chunk-store.ts'
import type { ChunkFiles } from '../data/files.ts'
import { DataPartitions } from '../data/partitions.ts'
import { NodeAgent, nodeMapHandlers } from '../manager/node-agent.ts'
import { metadataHandlers } from '../metadata/service.ts'
import { messageOf } from '../protocol/errors.ts'
import type { HeartbeatRequest, NodeHello, RegisterRequest } from '../protocol/manager.ts'
import type { NodeSpec } from '../protocol/node-spec.ts'
import { Peer, type Handlers } from '../protocol/peer.ts'
import type { Clock, Kv, Logger, Network, Random } from '../protocol/ports.ts'
import { ClusterRouter } from '../protocol/router.ts'
import type { RaftLimits } from '../raft/constants.ts'
import { RaftHost } from '../raft/host.ts'
import type { RaftTransport } from '../raft/transport.ts'
import type { RaftGroup } from '../raft/types.ts'
import type { AddressBook } from './address-book.ts'
import { Leads } from './leads.ts'
import { chunkAccess } from './chunk-access.ts'
import { managersOf, type ManagerAddresses } from './manager-addresses.ts'
import { ManagerReplica, type RunningManager } from './manager-replica.ts'
import { MetadataPartitions } from './metadata-partitions.ts'
import { scrubHandlers } from './scrub-handler.ts'
import { nodeStatus } from './status.ts'

/** How long a node that stops looks for members that take over what it leads: where all stop at once there are none. */
export const handOverMsMax = 500
/** How long it waits before that until others lead its partitions; it serves meanwhile. */
export const yieldMsMax = 1_500

/** Whoever assembles a node opens the Raft log's store and closes it after the node; the node closes the others. */
export interface NodeStores {
  raft: Kv
  /** Asked for where the manager has a replica, had one, or gets one. */
  openManager: () => Promise<Kv>
  openMetadata: (partition: string) => Promise<Kv>
  /** The partition's volume is gone, and its store closed. */
  removeMetadata: (partition: string) => Promise<void>
}

export interface NodeParts {
  clock: Clock
  random: Random
  network: Network
  log: Logger
  /** Learns where consensus traffic goes; `transport` looks there. */
  book: AddressBook
  transport: RaftTransport
  stores: NodeStores
  files: ChunkFiles
  addresses: ManagerAddresses
  /** What the node's volume holds and can hold. */
  usage: { readonly usedBytes: number, readonly capacityBytes: number, takeStored? (): HeartbeatRequest['stored'] }
}

export interface AssemblyInit {
  spec: NodeSpec
  /** Who this process is in the cluster, its identity in consensus traffic included. */
  hello: NodeHello
  /** What the node's volume says of the process before. */
  previous: RegisterRequest['previous']
  /** Its directory is within `files`. */
  chunkStore: ChunkStoreInit
  /** Of the Raft groups; default: their own. */
  raftLimits?: Partial<RaftLimits>
  /** From so many inodes on a metadata partition has new directories made in others; default: its own. */
  spreadInodesMin?: number
  /** Another process registered as this node: this one must end. */
  onReplaced: () => void
}

/** The parts of a running node, for who looks into it. */
export interface AssembledNode {
  readonly router: ClusterRouter
  readonly agent: NodeAgent
  readonly data: DataPartitions
  readonly chunks: ChunkStore
  readonly metadata: MetadataPartitions
  /** null on nodes that carry no replica of the manager. */
  readonly manager: RunningManager | null
  readonly groups: () => RaftGroup[]
  /** Hands leaderships over, stores what is in memory, and stops. Transport and Raft log stay open. */
  close (): Promise<void>
}

/**
 * Puts a storage node together on the given ports: its replicas of the manager and of the partitions, and the
 * one address on which it answers. Knows no process, disk or socket of its own, so the same assembly runs
 * in a simulation.
 */
export async function assembleNode (parts: NodeParts, init: AssemblyInit): Promise<AssembledNode> {
  const { clock, random, network, log, book, transport, stores, files, addresses, usage } = parts
  const { spec, hello, previous, chunkStore, raftLimits, spreadInodesMin, onReplaced } = init
  const { nodeId } = spec
  const startedAt = clock.now()
  const known = addresses.load()
  const managers = [...known, ...spec.managers.filter(({ id }) => !known.some((one) => one.id === id))]
  const router = new ClusterRouter(parts, { seeds: managers.map(({ host, rpcPort }) => ({ host, port: rpcPort })) })
  const raft = new RaftHost({ clock, random, log, kv: stores.raft, transport }, {
    self: nodeId,
    limits: raftLimits,
    onFailure: (error) => { log.error('the Raft log cannot be written', { cause: messageOf(error) }) }
  })
  const chunks = new ChunkStore({ files, clock, log }, chunkStore)
  await chunks.open()
  const newestVolume = newestVolumeOf([...await chunks.partitions(), ...await raft.groupsOnDisk()])
  const held = { data: null as DataPartitions | null, leads: null as Leads | null }
  const agent = new NodeAgent({ clock, random, log, router }, {
    clusterId: spec.clusterId,
    node: { ...hello, id: nodeId, domain: spec.domain, ...(newestVolume > 0 && { newestVolume }) },
    managers: known.length > 0 ? known : spec.managers,
    previous,
    report: () => ({ stored: usage.takeStored?.(), usedBytes: usage.usedBytes, capacityBytes: usage.capacityBytes, disk: chunks.meter.current, load: held.data?.takeLoad() ?? [], leads: held.leads?.count }),
    onReplaced
  })
  // A map that is older than what this node acted on before it started must not have anything deleted.
  const mayRemove = (): boolean => agent.isRegistered
  const data = held.data = new DataPartitions({ clock, log, store: chunks, router, lease: () => agent.leaseValid() }, { nodeId, mayRemove })
  const metadata = new MetadataPartitions({ clock, random, log, router, raft, data: chunkAccess(router, random.bytes(8).toString('hex')), isExhausted: () => chunks.space.exhausted, spreadInodesMin, stores }, { nodeId, mayRemove })
  const manager = new ManagerReplica({ clock, random, log, router, raft, stores }, { spec, mayRemove })
  await manager.start()
  const groups = (): RaftGroup[] => [...(manager.running === null ? [] : [manager.running.group]), ...metadata.groups]
  const leads = held.leads = new Leads({ clock, log }, { self: nodeId, groups, onHandedOver: () => { agent.tell() } })
  router.onMap((map) => {
    leads.adopt(map)
    book.adopt(map)
    metadata.adopt(map)
    manager.adopt(map)
    remember(addresses, map, log)
  })
  const handlers: Handlers = {
    ...nodeMapHandlers({ router, clock }),
    ...manager.handlers(),
    ...metadataHandlers((id) => metadata.find(id)),
    ...data.handlers(),
    ...scrubHandlers((id) => data.find(id)),
    'node.leader': ({ group }) => {
      const { leader = null, term = 0 } = groups().find(({ id }) => id === group)?.status ?? {}
      return { body: { leader, term } }
    },
    'node.raft-member': ({ group }) => ({ body: { member: groups().find(({ id }) => id === group)?.memberId ?? null } }),
    'node.hello': () => ({ body: hello }),
    'node.status': () => ({ body: nodeStatus({ nodeId, startedAt, now: clock.now(), groups: groups(), replicas: data.all, usage, disk: chunks.meter.current }) })
  }
  const listener = await network.listen({ host: spec.host, port: spec.rpcPort }, (connection) => { void new Peer(connection, handlers, clock) })
  book.meet(managers, hello)
  void agent.start()
  return {
    router, agent, data, chunks, metadata, groups,
    get manager () { return manager.running },
    async close () {
      const yields = { node: nodeId, yields: true, incarnation: hello.incarnation }
      if (agent.isRegistered && canYield(router, nodeId)) await within(clock, yieldMsMax, router.toManager('manager.yield-node', yields, { patienceMs: yieldMsMax }).catch(() => {}))
      leads.close()
      agent.stop()
      const led = groups().filter(({ status }) => status.role === 'leader' && status.members.length > 1)
      await within(clock, handOverMsMax, Promise.all(led.map((group) => group.transferLeadership().catch(() => {}))))
      await listener.close()
      book.close()
      await metadata.close()
      await data.close()
      await manager.close()
      await raft.close()
      router.close()
    }
  }
}

/** Whether anybody is there to lead in its place. */
function canYield ({ map }: ClusterRouter, self: string): boolean {
  return map.nodes.some(({ id, state, yields }) => id !== self && state !== 'down' && yields === undefined)
}

/** What a start after this one begins with. */
function remember (addresses: ManagerAddresses, map: ClusterMap, log: Logger): void {
  const managers = managersOf(map)
  if (managers.length === 0 || JSON.stringify(managers) === JSON.stringify(addresses.load())) return
  try {
    addresses.save(managers)
  } catch (error) {
    log.warn('cannot write down where the manager is', { cause: messageOf(error) })
  }
}

/** Resolves when the work is done, or after the time, whichever is first. */
function within (clock: Clock, limitMs: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(resolve, limitMs)
    void work.finally(() => {
      timer.cancel()
      resolve()
    })
  })
}

/** Of the volumes that these partitions are of; 0: there are none. */
function newestVolumeOf (partitions: readonly string[]): number {
  return Math.max(0, ...partitions.map((id) => Number(id.split('.')[0])).filter((volume) => Number.isSafeInteger(volume)))
}
