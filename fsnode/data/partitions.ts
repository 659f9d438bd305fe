import { holdsChunk } from '../../partitioning/routing.ts'
import type { ClusterMap, DataPartition, NodeId } from '../../partitioning/types.ts'
import type { ReplicaPassedRequest, ReplicaPassedResponse } from '../protocol/data.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Handlers } from '../protocol/peer.ts'
import { CopyGovernor } from './copy-governor.ts'
import { dataHandlers } from './handlers.ts'
import { MapDivisions } from './map-divisions.ts'
import { DataPartitionReplica, type DataPartitionReplicaComponents, type Heritage, type PartitionLoad } from './replica.ts'
import { chunkOf } from './unsettled.ts'

export interface DataPartitionsInit {
  nodeId: NodeId
  /** Whether the map is at least as new as any that this node acted on before it started: nothing is deleted by an older one. Default: always. */
  mayRemove?: () => boolean
}

/**
 * All data partition replicas of a node, as the cluster map has them. A replica that was replaced is deleted
 * once every replica of its partition serves; those of a volume that was removed, at once.
 */
export class DataPartitions {
  private readonly components: DataPartitionReplicaComponents
  private readonly init: DataPartitionsInit
  private readonly replicas = new Map<string, DataPartitionReplica>()
  private readonly unfollow: () => void
  private readonly divisions: MapDivisions
  private removing: Promise<void> = Promise.resolve()
  private lastMap: ClusterMap | null = null
  /** Its files are being deleted: a replica that is to be there again begins afterwards. */
  private deleting: string | null = null
  private closed = false

  /** Follows the router's map from now on; the store is open. */
  constructor (components: DataPartitionReplicaComponents, init: DataPartitionsInit) {
    this.components = { ...components, budget: { bytes: 0 }, governor: new CopyGovernor(components.clock) }
    this.init = init
    this.divisions = new MapDivisions(components)
    this.unfollow = components.router.onMap((map) => { this.adopt(map) })
    if (components.router.mapVersion > 0) this.adopt(components.router.map)
  }

  find (partition: string): DataPartitionReplica | undefined { return this.replicas.get(partition) }

  get all (): DataPartitionReplica[] { return [...this.replicas.values()] }

  handlers (): Handlers {
    return {
      ...dataHandlers((partition) => this.find(partition), this.components.store.machine),
      'replica.passed': (request) => ({ body: this.passed(request) })
    }
  }

  /** For the heartbeat: the load of each partition that had any since the last call. */
  takeLoad (): PartitionLoad[] {
    return this.all.map((replica) => replica.takeLoad()).filter(({ reads, writes }) => reads + writes > 0)
  }

  adopt (map: ClusterMap): void {
    if (this.closed || map.version <= (this.lastMap?.version ?? -1)) return
    const before = this.lastMap
    this.lastMap = map
    const ours = map.data.filter((partition) => this.holds(partition))
    const kept = new Set(ours.map(({ id }) => id))
    this.divisions.adopt(map, ours)
    const estates: Estate[] = []
    for (const [id, replica] of this.replicas) {
      if (kept.has(id)) continue
      const heritage = replica.close()
      this.replicas.delete(id)
      estates.push(...estateOf(before, id, heritage))
    }
    for (const partition of ours) {
      const heritage = this.replicas.get(partition.id)?.adopt(partition) ?? null
      if (heritage !== null) estates.push(...estateOf(before, partition.id, heritage))
    }
    for (const partition of ours) {
      if (partition.id === this.deleting) continue
      const isNew = !this.replicas.has(partition.id)
      const replica = this.replicaOf(partition, isNew ? heritageFor(partition, estates) : undefined)
      if (isNew) replica.adopt(partition)
      if (partition.splitting === true) replica.prepareSplit()
    }
    this.removing = this.removing.then(() => this.removeReplaced())
  }

  /** Stops serving, then closes the store. */
  async close (): Promise<void> {
    this.closed = true
    this.unfollow()
    this.divisions.close()
    for (const replica of this.replicas.values()) replica.close()
    const settled = this.all.every((replica) => replica.settled)
    await this.removing
    await this.components.store.close(settled)
  }

  private holds ({ replicas }: DataPartition): boolean { return replicas.some(({ node }) => node === this.init.nodeId) }

  private replicaOf ({ id }: DataPartition, heritage?: Heritage): DataPartitionReplica {
    let replica = this.replicas.get(id)
    if (replica === undefined) {
      replica = new DataPartitionReplica(this.components, { nodeId: this.init.nodeId, partition: id, heritage })
      this.replicas.set(id, replica)
    }
    return replica
  }

  /** A node that has no replica any more has learned so. */
  private passed (request: ReplicaPassedRequest): ReplicaPassedResponse {
    const replica = this.find(request.partition)
    if (replica !== undefined) return replica.passed(request)
    const { router } = this.components
    const known = this.lastMap?.data.find(({ id }) => id === request.partition)
    if ((known?.epoch ?? 0) >= request.epoch) return { granted: null }
    router.refresh().catch(() => {})
    throw new AtollError('ATOLL_STALE_EPOCH', `${this.init.nodeId} does not know epoch ${request.epoch} of partition ${request.partition}`)
  }

  private async removeReplaced (): Promise<void> {
    const { log, store } = this.components
    try {
      for (const id of await store.partitions()) {
        if (this.closed || !this.mayRemove(id)) continue
        log.info('removing a replica that was replaced', { partition: id })
        this.deleting = id
        await store.removePartition(id).finally(() => { this.deleting = null })
        const partition = this.lastMap?.data.find((candidate) => candidate.id === id)
        if (partition !== undefined && this.holds(partition) && !this.closed) this.replicaOf(partition).adopt(partition)
      }
    } catch (error) {
      log.warn('cannot remove a replica that was replaced', { cause: messageOf(error) })
    }
  }

  private mayRemove (id: string): boolean {
    if (this.replicas.has(id) || this.lastMap === null || this.init.mayRemove?.() === false) return false
    const partition = this.lastMap.data.find((candidate) => candidate.id === id)
    if (partition !== undefined) return partition.replicas.length > 0 && partition.replicas.every(({ state }) => state === 'serving')
    // A map without the volume says that it was removed; one without any volumes may be that of a cluster in the making.
    const volume = Number(id.split('.')[0])
    return this.lastMap.volumes.length > 0 && !this.lastMap.volumes.some((candidate) => candidate.id === volume)
  }
}

/** What a partition of that index and span left to those that were split off it. */
interface Estate { volume: number, index: number, span: number, heritage: Heritage }

/** By the map in which it was whole. */
function estateOf (map: ClusterMap | null, id: string, heritage: Heritage): Estate[] {
  const partition = map?.data.find((candidate) => candidate.id === id)
  const span = partition?.span ?? map?.volumes.find((volume) => volume.id === partition?.volume)?.dataPartitions
  return partition === undefined || span === undefined ? [] : [{ volume: partition.volume, index: partition.index, span, heritage }]
}

function heritageFor (partition: DataPartition, estates: readonly Estate[]): Heritage | undefined {
  const estate = estates.find(({ volume, index, span }) => volume === partition.volume && index !== partition.index && partition.index % span === index)
  if (estate === undefined) return undefined
  return { ...estate.heritage, unsettled: estate.heritage.unsettled.filter((key) => holdsChunk(partition, ...chunkOf(key))) }
}
