import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ChunkStore } from '../data/chunk-store.ts'
import { nodeFiles } from '../data/node-files.ts'
import { DataPartitions } from '../data/partitions.ts'
import { Manager } from '../manager/manager.ts'
import { NodeAgent, nodeMapHandlers } from '../manager/node-agent.ts'
import { managerHandlers } from '../manager/service.ts'
import { ManagerStateMachine } from '../manager/state-machine.ts'
import { metadataHandlers } from '../metadata/service.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import { openLevelKv } from '../protocol/level-kv.ts'
import type { NodeHello } from '../protocol/manager.ts'
import type { NodeSpec } from '../protocol/node-spec.ts'
import { Peer, type Handlers } from '../protocol/peer.ts'
import type { Clock, Kv, Logger, Network, Random } from '../protocol/ports.ts'
import { ClusterRouter } from '../protocol/router.ts'
import { RaftHost } from '../raft/host.ts'
import { loadOrCreateIdentity } from '../raft/identity.ts'
import { openLibp2pTransport } from '../raft/libp2p-transport.ts'
import type { RaftGroup } from '../raft/types.ts'
import { AddressBook } from './address-book.ts'
import { chunkAccess } from './chunk-access.ts'
import { MetadataPartitions } from './metadata-partitions.ts'
import { scrubHandlers } from './scrub-handler.ts'
import { succeed } from './process-record.ts'
import { nodeStatus } from './status.ts'
import { Usage } from './usage.ts'

export const managerGroupId = 'manager'

export interface NodeComponents { clock: Clock, random: Random, network: Network, log: Logger }

export interface NodeInit {
  spec: NodeSpec
  /** Another process registered as this node: this one must end. */
  onReplaced: () => void
}

export interface RunningNode {
  /** Hands its leaderships over, stores what is in memory, and stops. */
  close (): Promise<void>
}

/**
 * Puts a storage node together: its stores, its replicas of the manager and of the partitions, and the
 * one port on which it answers. Rejects with ATOLL_PORT_IN_USE, ATOLL_STORE_UNUSABLE, ATOLL_DATA_DIR_UNUSABLE.
 */
export async function startNode (components: NodeComponents, { spec, onReplaced }: NodeInit): Promise<RunningNode> {
  const { clock, random, network, log } = components
  const startedAt = clock.now()
  const directories = makeDirectories(resolve(spec.dataDirectory))
  const identity = await loadOrCreateIdentity(directories.identity)
  const hello: NodeHello = {
    clusterId: spec.clusterId,
    nodeId: spec.nodeId,
    incarnation: random.bytes(8).toString('hex'),
    peerId: identity.peerId,
    host: spec.host,
    rpcPort: spec.rpcPort,
    raftPort: spec.raftPort
  }
  const router = new ClusterRouter(components, { seeds: spec.managers.map(({ host, rpcPort }) => ({ host, port: rpcPort })) })
  const book = new AddressBook(components)
  const transport = await openLibp2pTransport({ clock, random, log, resolve: (node) => book.resolve(node) }, { self: spec.nodeId, identity, host: spec.host, port: spec.raftPort })
  const raftKv = await openLevelKv({ directory: directories.raft })
  const raft = new RaftHost({ clock, random, log, kv: raftKv, transport }, { self: spec.nodeId, onFailure: (error) => { log.error('the Raft log cannot be written', { cause: messageOf(error) }) } })
  const store = new ChunkStore({ files: nodeFiles, clock, log }, { directory: directories.chunks })
  await store.open()
  const usage = new Usage(clock, directories.root, spec.capacityBytes)
  const data = { partitions: null as DataPartitions | null }
  const agent = new NodeAgent({ clock, random, log, router }, {
    clusterId: spec.clusterId,
    node: { ...hello, id: spec.nodeId, domain: spec.domain },
    managers: spec.managers,
    previous: succeed(directories.root, hello.incarnation),
    report: () => ({ usedBytes: usage.usedBytes, capacityBytes: usage.capacityBytes, disk: store.meter.current, load: data.partitions?.takeLoad() ?? [] }),
    onReplaced
  })
  const partitions = new DataPartitions({ clock, log, store, router, lease: () => agent.leaseValid() }, { nodeId: spec.nodeId })
  data.partitions = partitions
  const openKv = (name: string): Promise<Kv> => openLevelKv({ directory: join(directories.metadata, name) })
  const metadata = new MetadataPartitions({ clock, random, log, router, raft, data: chunkAccess(router), openKv }, { nodeId: spec.nodeId, directory: directories.metadata })
  const manager = await openManager(components, raft, spec, directories.manager)
  const groups = (): RaftGroup[] => [...(manager === null ? [] : [manager.group]), ...metadata.groups]
  router.onMap((map) => {
    book.adopt(map)
    metadata.adopt(map)
  })
  const handlers: Handlers = {
    ...nodeMapHandlers({ router, clock }),
    ...(manager === null ? {} : managerHandlers(manager.manager)),
    ...metadataHandlers((id) => metadata.find(id)),
    ...partitions.handlers(),
    ...scrubHandlers((id) => partitions.find(id)),
    'node.hello': () => ({ body: hello }),
    'node.status': () => ({ body: nodeStatus({ nodeId: spec.nodeId, startedAt, now: clock.now(), groups: groups(), replicas: partitions.all }) })
  }
  const listener = await network.listen({ host: spec.host, port: spec.rpcPort }, (connection) => { void new Peer(connection, handlers, clock) })
  book.meet(spec.managers, hello)
  void usage.start()
  void agent.start()
  return {
    async close () {
      agent.stop()
      await Promise.all(groups().filter((group) => group.status.role === 'leader').map((group) => group.transferLeadership().catch(() => {})))
      await listener.close()
      usage.close()
      book.close()
      await metadata.close()
      await partitions.close()
      manager?.manager.close()
      await manager?.group.close()
      await manager?.stateMachine.flush()
      await raft.close()
      await transport.close()
      await manager?.kv.close()
      await raftKv.close()
      router.close()
    }
  }
}

interface RunningManager { manager: Manager, group: RaftGroup, stateMachine: ManagerStateMachine, kv: Kv }

/** This node's replica of the manager, if it is one of the first members. */
async function openManager (components: NodeComponents, raft: RaftHost, spec: NodeSpec, directory: string): Promise<RunningManager | null> {
  const managers = spec.managers.map(({ id }) => id)
  if (!managers.includes(spec.nodeId)) return null
  const { clock, log } = components
  const kv = await openLevelKv({ directory })
  const stateMachine = await ManagerStateMachine.open({ kv, log }, { clusterId: spec.clusterId, managers })
  const group = await raft.open({ groupId: managerGroupId, members: managers, stateMachine })
  const manager = new Manager({ clock, log, group, stateMachine })
  manager.start()
  return { manager, group, stateMachine, kv }
}

function makeDirectories (root: string): Record<'root' | 'identity' | 'raft' | 'manager' | 'metadata' | 'chunks', string> {
  const directories = { root, identity: root, raft: join(root, 'raft'), manager: join(root, 'manager'), metadata: join(root, 'metadata'), chunks: join(root, 'chunks') }
  try {
    for (const directory of Object.values(directories)) mkdirSync(directory, { recursive: true })
  } catch (error) {
    throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot use ${root}: ${messageOf(error)}`, { hint: `see who owns it: ls -ld ${root}` })
  }
  return directories
}
