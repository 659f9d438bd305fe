import { existsSync, mkdirSync, statfsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AtollError } from '../fsnode/protocol/errors.ts'
import { bulkProcessEnvironment, bulkProcessFlags } from '../fsnode/protocol/engine-flags.ts'
import { openLevelKv } from '../fsnode/protocol/level-kv.ts'
import type { Clock, Logger, Random } from '../fsnode/protocol/ports.ts'
import { systemNetwork } from '../fsnode/protocol/system-network.ts'
import { routerLink } from './cluster/router-link.ts'
import { startFramework, type Framework } from './framework/index.ts'
import { startLocalMaster, type LocalMaster } from './local/index.ts'
import { httpMasterClient } from './mesos/client.ts'

/** Of each storage node; the machine's idle rest is not taken. */
export const nodeCpus = 0.1
export const nodeMemMb = 256
/** Share of the free disk that all nodes together reserve. */
export const diskShareMax = 0.9
export const nodeDiskMbMin = 64
/** All reservations of a cluster that grew are at most so many times the disk. */
export const growthDisksMax = 4
/** Below the ports that Linux gives to outgoing connections (32768 and on): a node must find its own free at each start. */
const portsFirst = 20_000
const portsLast = 32_767
const portsPerNode = 2

export interface EmbeddedComponents { clock: Clock, random: Random, log: Logger }

export interface EmbeddedInit {
  /** Holds the master's and the framework's state, sandboxes and volumes. */
  directory: string
  nodes: number
  /** The directory is this process's alone from now on; nothing was launched yet. */
  onOwned?: () => void
}

export interface Embedded {
  master: LocalMaster
  framework: Framework
  /** Ends all nodes, then the framework and the master. */
  shutdown (): Promise<void>
  /** Ends framework and master; the nodes go on, and the next start takes them over. */
  leave (): Promise<void>
}

/**
 * A master and agent on this machine, and the framework against it: the same code path as on a cluster.
 * Rejects with ATOLL_ALREADY_RUNNING, ATOLL_DATA_DIR_UNUSABLE, ATOLL_STORE_UNUSABLE, ATOLL_PORT_IN_USE.
 */
export async function startEmbedded (components: EmbeddedComponents, { directory, nodes, onOwned }: EmbeddedInit): Promise<Embedded> {
  const { log } = components
  mkdirSync(directory, { recursive: true })
  const diskMb = diskMbPerNode(directory, nodes)
  const master = await startLocalMaster({ ...components, log: log.child({ part: 'master' }) }, {
    workDir: join(directory, 'master'),
    port: 0,
    resources: { ports: await portsFor(directory, nodes), diskMb: agentDiskMb(directory, diskMb * nodes) },
    onFailure: (error) => {
      log.error('the embedded scheduler cannot go on; the nodes do', { error: error.message })
      process.exit(1)
    }
  })
  try {
    onOwned?.()
    const kv = await openLevelKv({ directory: join(directory, 'framework') })
    const framework = await startFramework({
      ...components,
      kv,
      log: log.child({ part: 'framework' }),
      masterClientFactory: httpMasterClient(components),
      clusterLinkFactory: routerLink({ ...components, network: systemNetwork, log: log.child({ part: 'cluster' }) })
    }, {
      masters: [master.url],
      role: 'atoll',
      principal: 'atoll',
      name: 'atoll',
      nodes,
      nodesPerAgentMax: nodes,
      resources: { cpus: nodeCpus, memMb: nodeMemMb, diskMb },
      nodeCommand: { environment: bulkProcessEnvironment, arguments: [process.execPath, ...bulkProcessFlags, fileURLToPath(new URL('../fsnode/server/main.ts', import.meta.url))] }
    })
    const shutdown = async (): Promise<void> => {
      await framework.shutdown().catch((error) => { log.warn('the framework could not end its tasks', { error: String(error) }) })
      await master.shutdown()
      await kv.close()
    }
    const leave = async (): Promise<void> => {
      await framework.close()
      await master.close()
      await kv.close()
    }
    return { master, framework, shutdown, leave }
  } catch (error) {
    await master.close()
    throw error
  }
}

/** Ends the tasks of a master that is not running any more. */
export async function stopEmbeddedTasks (components: EmbeddedComponents, directory: string): Promise<void> {
  const workDir = join(directory, 'master')
  if (!existsSync(workDir)) return
  const master = await startLocalMaster(components, { workDir, port: 0 })
  await master.shutdown()
}

/** Reserved volumes keep the size they were made with: only a new cluster needs the room. */
function diskMbPerNode (directory: string, nodes: number): number {
  const { bavail, bsize } = statfsSync(directory)
  const diskMb = Math.floor(bavail * bsize * diskShareMax / nodes / 1024 / 1024)
  const isNew = !existsSync(join(directory, 'framework'))
  if (isNew && diskMb < nodeDiskMbMin) {
    throw new AtollError('ATOLL_DISK_FULL', `the disk of ${directory} has no room for ${nodes} nodes of at least ${nodeDiskMbMin} MB`, {
      hint: `free some space (df -h ${directory}), or choose another place: atoll up --data DIR`
    })
  }
  return Math.max(nodeDiskMbMin, diskMb)
}

/**
 * What the agent has to offer. The nodes of a new cluster share what is free; those that come later get a share of what is free
 * then, though all of it is reserved: the volumes are on one disk, and each node watches how much is really left.
 */
function agentDiskMb (directory: string, wantedMb: number): number {
  if (!existsSync(join(directory, 'framework'))) return wantedMb
  const { blocks, bsize } = statfsSync(directory)
  return wantedMb + growthDisksMax * Math.floor(blocks * bsize / 1024 / 1024)
}

/** A range that nobody listens in now: two clusters may share a machine. What is reserved already stays as it is. */
async function portsFor (directory: string, nodes: number): Promise<Array<{ begin: number, end: number }>> {
  const length = Math.max(16, nodes * portsPerNode * 2)
  const spans = Math.floor((portsLast - portsFirst) / length)
  const start = hashOf(directory) % spans
  for (let offset = 0; offset < spans; offset++) {
    const begin = portsFirst + ((start + offset) % spans) * length
    if (await areFree(begin, begin + length - 1)) return [{ begin, end: begin + length - 1 }]
  }
  return [{ begin: portsFirst, end: portsLast }]
}

function hashOf (text: string): number {
  let hash = 0
  for (const character of text) hash = (Math.imul(hash, 31) + character.codePointAt(0)!) >>> 0
  return hash
}

async function areFree (begin: number, end: number): Promise<boolean> {
  for (let port = begin; port <= end; port++) if (!(await isFree(port))) return false
  return true
}

function isFree (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => { resolve(false) })
    server.listen(port, '127.0.0.1', () => { server.close(() => { resolve(true) }) })
  })
}
