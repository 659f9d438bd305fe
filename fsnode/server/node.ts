import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { nodeFiles } from '../data/node-files.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import { openLevelKv } from '../protocol/level-kv.ts'
import type { NodeHello } from '../protocol/manager.ts'
import type { NodeSpec } from '../protocol/node-spec.ts'
import type { Clock, Kv, Logger, Network, Random } from '../protocol/ports.ts'
import { loadOrCreateIdentity } from '../raft/identity.ts'
import { openLibp2pTransport } from '../raft/libp2p-transport.ts'
import { AddressBook } from './address-book.ts'
import { assembleNode, type NodeStores } from './assembly.ts'
import { managerAddressesIn } from './manager-addresses.ts'
import { succeed } from './process-record.ts'
import { Usage } from './usage.ts'
import { nodeUsageFiles, watchedFiles, watchedKv } from './watched-files.ts'

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
 * Runs a storage node on this machine's disk and network.
 * Rejects with ATOLL_PORT_IN_USE, ATOLL_STORE_UNUSABLE, ATOLL_DATA_DIR_UNUSABLE.
 */
export async function startNode (components: NodeComponents, { spec, onReplaced }: NodeInit): Promise<RunningNode> {
  const { clock, random, log } = components
  const directories = makeDirectories(resolve(spec.dataDirectory))
  const identity = await loadOrCreateIdentity(directories.identity)
  const { clusterId, nodeId, host, rpcPort, raftPort } = spec
  const hello: NodeHello = { clusterId, nodeId, incarnation: random.bytes(8).toString('hex'), peerId: identity.peerId, host, rpcPort, raftPort }
  const book = new AddressBook(components)
  const transport = await openLibp2pTransport({ clock, random, log, resolve: (node) => book.resolve(node) }, { self: nodeId, identity, host, port: raftPort })
  const usage = new Usage({ clock, files: nodeUsageFiles }, { directory: directories.root, chunks: directories.chunks, reservedBytes: spec.capacityBytes })
  const stores = await openStores(directories, () => { usage.databaseChanged() })
  const files = watchedFiles(nodeFiles, (directory) => { usage.chunksChanged(directory) })
  const node = await assembleNode({ ...components, book, transport, stores, files, addresses: managerAddressesIn(directories.root), usage }, {
    spec, hello, previous: succeed(directories.root, hello.incarnation), chunkStore: { directory: directories.chunks }, onReplaced
  })
  void usage.start()
  return {
    async close () {
      usage.close()
      await node.close()
      await transport.close()
      await stores.raft.close()
    }
  }
}

type Directories = Record<'root' | 'identity' | 'raft' | 'manager' | 'metadata' | 'chunks', string>

async function openStores (directories: Directories, changed: () => void): Promise<NodeStores> {
  const directoryOf = (partition: string): string => join(directories.metadata, partition)
  const open = async (directory: string): Promise<Kv> => watchedKv(await openLevelKv({ directory }), changed)
  return {
    raft: await open(directories.raft),
    openManager: () => open(directories.manager),
    openMetadata: (partition) => open(directoryOf(partition)),
    removeMetadata: (partition) => rm(directoryOf(partition), { recursive: true, force: true }).finally(changed)
  }
}

function makeDirectories (root: string): Directories {
  const directories = { root, identity: root, raft: join(root, 'raft'), manager: join(root, 'manager'), metadata: join(root, 'metadata'), chunks: join(root, 'chunks') }
  try {
    for (const directory of Object.values(directories)) mkdirSync(directory, { recursive: true })
  } catch (error) {
    throw new AtollError('ATOLL_DATA_DIR_UNUSABLE', `cannot use ${root}: ${messageOf(error)}`, { hint: `see who owns it: ls -ld ${root}` })
  }
  return directories
}
