import { hostname } from 'node:os'
import type { ClusterMap, VolumeInfo } from '../partitioning/types.ts'
import { AtollError, codeOf } from '../fsnode/protocol/errors.ts'
import type { CreateVolumeRequest } from '../fsnode/protocol/manager.ts'
import type { Address, Clock, Logger, Network, Random } from '../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../fsnode/protocol/router.ts'
import { systemClock, systemRandom } from '../fsnode/protocol/system.ts'
import { systemNetwork } from '../fsnode/protocol/system-network.ts'
import { VolumeFileSystem, type MountedVolumeInit } from './file-api/mounted-volume.ts'
import type { MountedVolume } from './file-api/types.ts'
import { systemFiles } from './local-files.ts'
import type { LocalFiles } from './short-circuit.ts'
import { silentLog } from './silent-log.ts'
import type { LostSessions, VolumeClient, WriteJournal } from './types.ts'
import { AtollVolumeClient } from './volume-client.ts'

/** What a client stands on; the machine's own unless given. */
export interface ClientComponents {
  network: Network
  clock: Clock
  random: Random
  log: Logger
  /** For short-circuit reads of nodes on this machine; null: there are none. */
  files: LocalFiles | null
}

export interface ConnectInit {
  /** Any nodes of the cluster, as addresses or 'HOST:PORT'. */
  nodes: Address[] | string[]
  /** How long to look for a node that answers. Default: one minute. */
  patienceMs?: number
  /** For people: who this is. Default: host and process. */
  client?: string
}

export interface OpenVolumeOptions {
  /** Of an earlier process that this one takes over from. */
  session?: string
  /** Of that session. */
  lost?: LostSessions
  /** Where acknowledged writes survive a crash of this process. */
  journal?: WriteJournal
  /** Bytes of small reads out of sequence that may be cached. @default 64 MiB */
  blockBytesMax?: number
  log?: Logger
}

export interface MountOptions extends Partial<MountedVolumeInit> {
  log?: Logger
}

/** A connection to a cluster. */
export interface Cluster {
  readonly router: ClusterRouter
  /** The cluster map as last heard. */
  readonly map: ClusterMap
  volumes (): VolumeInfo[]
  /** Rejects with ATOLL_NO_SUCH_VOLUME. */
  openVolume (name: string, options?: OpenVolumeOptions): Promise<VolumeClient>
  /** Opens a volume for node:fs/promises' methods; its `close` closes the volume. Rejects with ATOLL_NO_SUCH_VOLUME. */
  mount (name: string, options?: MountOptions): Promise<MountedVolume>
  createVolume (request: CreateVolumeRequest): Promise<VolumeInfo>
  removeVolume (name: string): Promise<void>
  /** Closes what was opened through it, too. */
  close (): Promise<void>
}

/** Finds a cluster by any of its nodes. Rejects with ATOLL_CLUSTER_UNREACHABLE or ATOLL_BAD_ARGUMENT. */
export async function connect (init: ConnectInit, components: Partial<ClientComponents> = {}): Promise<Cluster> {
  const seeds = init.nodes.map((node) => typeof node === 'string' ? parseAddress(node) : node)
  const complete: ClientComponents = {
    network: systemNetwork, clock: systemClock, random: systemRandom, log: silentLog, files: systemFiles, ...components
  }
  const router = new ClusterRouter(complete, { seeds })
  try {
    await router.start(init.patienceMs)
  } catch (error) {
    router.close()
    const tried = seeds.map(({ host, port }) => `${host}:${port}`).join(', ')
    throw new AtollError('ATOLL_CLUSTER_UNREACHABLE', `no node of the cluster answers (tried: ${tried === '' ? 'none' : tried})`, {
      hint: 'see whether its nodes run: atoll status; name others: --cluster HOST:PORT,...', cause: codeOf(error)
    })
  }
  return new ConnectedCluster(complete, { ...init, seeds }, router)
}

class ConnectedCluster implements Cluster {
  readonly router: ClusterRouter
  private readonly components: ClientComponents
  private readonly init: ConnectInit & { seeds: Address[] }
  private readonly opened = new Set<VolumeClient>()

  constructor (components: ClientComponents, init: ConnectInit & { seeds: Address[] }, router: ClusterRouter) {
    this.components = components
    this.init = init
    this.router = router
  }

  get map (): ClusterMap { return this.router.map }

  volumes (): VolumeInfo[] { return this.map.volumes }

  async openVolume (name: string, options: OpenVolumeOptions = {}): Promise<VolumeClient> {
    const volume = await this.find(name)
    const { seeds, patienceMs, client = `${hostname()} ${process.pid}` } = this.init
    const known = this.map.nodes.filter((node) => node.state !== 'down').map((node) => ({ host: node.host, port: node.rpcPort }))
    const opened = new AtollVolumeClient(
      { ...this.components, log: options.log ?? this.components.log, journal: options.journal ?? null },
      { volume, seeds: [...known, ...seeds], session: options.session, lost: options.lost, blockBytesMax: options.blockBytesMax, client }
    )
    try {
      await opened.start(patienceMs)
    } catch (error) {
      await opened.close().catch(() => {})
      throw error
    }
    this.opened.add(opened)
    return opened
  }

  async mount (name: string, { log, ...init }: MountOptions = {}): Promise<MountedVolume> {
    const { id } = await this.find(name)
    return new VolumeFileSystem({ volume: await this.openVolume(name, { log }) }, { dev: id, ...init })
  }

  async createVolume (request: CreateVolumeRequest): Promise<VolumeInfo> {
    const { body } = await this.router.toManager('manager.create-volume', request)
    await this.catchUp(body.mapVersion)
    return body.volume
  }

  async removeVolume (name: string): Promise<void> {
    await this.find(name)
    await this.router.toManager('manager.remove-volume', { name })
    await this.router.refresh().catch(() => {})
  }

  async close (): Promise<void> {
    try {
      await Promise.all([...this.opened].map((volume) => volume.close()))
    } finally {
      this.router.close()
    }
  }

  /** Asks for a newer map before it says that there is no such volume. */
  private async find (name: string): Promise<VolumeInfo> {
    const known = this.map.volumes.find((volume) => volume.name === name)
    if (known !== undefined) return known
    const { body } = await this.router.toManager('manager.map', { after: this.router.mapVersion, waitMs: 0 }, { patienceMs: this.init.patienceMs })
    if (body.map !== undefined) this.router.adopt(body.map)
    const found = this.map.volumes.find((volume) => volume.name === name)
    if (found !== undefined) return found
    const names = this.map.volumes.map((volume) => volume.name).join(', ')
    throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume '${name}'`, {
      hint: names === '' ? `create it: atoll volume create ${name}` : `there are: ${names}; or create it: atoll volume create ${name}`
    })
  }

  private async catchUp (version: number): Promise<void> {
    if (this.router.mapVersion >= version) return
    const { body } = await this.router.toManager('manager.map', { after: this.router.mapVersion, waitMs: 0 })
    if (body.map !== undefined) this.router.adopt(body.map)
  }
}

function parseAddress (text: string): Address {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(text.trim())
  const port = Number(match?.[3])
  if (match === null || port < 1 || port > 65_535) throw new AtollError('ATOLL_BAD_ARGUMENT', `'${text}' is not HOST:PORT`)
  return { host: (match[1] ?? match[2])!, port }
}
