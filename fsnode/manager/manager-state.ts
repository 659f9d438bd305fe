import type { PartitionRecord } from '../../partitioning/replica-states.ts'
import type { ClusterMap, DataPartition, NodeId, NodeInfo, PartitionId, VolumeInfo } from '../../partitioning/types.ts'
import type { BalanceSettings } from '../protocol/manager.ts'
import type { MapChange, NodeHistory } from './map-change.ts'
import { balanceDefault, PlanTable, type PlanRecord } from './plans.ts'

type Extras = Pick<PartitionRecord, 'fences' | 'doubtful'>

const noExtras: Extras = { fences: [], doubtful: [] }

/** Everything of the manager's state, as it travels in snapshots. */
export interface ManagerImage {
  map: ClusterMap
  nextVolume: number
  histories: NodeHistory[]
  extras: Array<[PartitionId, Extras]>
  tokens: Array<[number, string]>
  /** Images of earlier versions have none of these. */
  plans?: PlanRecord[]
  balance?: BalanceSettings
  even?: Array<[number, string]>
}

/** The manager's state in memory. Maps that were handed out never change. */
export class ManagerState {
  private current: ClusterMap
  private nextVolumeId: number
  private readonly histories: Map<NodeId, NodeHistory>
  private readonly extras: Map<PartitionId, Extras>
  private readonly tokens: Map<number, string>
  readonly plans: PlanTable
  private balance: BalanceSettings
  private readonly evenFor: Map<number, string>
  private positions = new Map<PartitionId, number>()
  private nodePositions = new Map<NodeId, number>()
  private readonly unsettledIds = new Set<PartitionId>()

  constructor (image: ManagerImage) {
    this.current = image.map
    this.nextVolumeId = image.nextVolume
    this.histories = new Map(image.histories.map((history) => [history.id, history]))
    this.extras = new Map(image.extras)
    this.tokens = new Map(image.tokens)
    this.plans = new PlanTable(image.plans)
    this.balance = { ...balanceDefault, ...image.balance }
    this.evenFor = new Map(image.even)
    this.index()
    for (const partition of image.map.data) this.settle(partition)
  }

  static empty (clusterId: string, managers: NodeId[]): ManagerState {
    const map = { clusterId, version: 1, nodes: [], managers, volumes: [], data: [], metadata: [] }
    return new ManagerState({ map, nextVolume: 1, histories: [], extras: [], tokens: [] })
  }

  get map (): ClusterMap { return this.current }

  get nextVolume (): number { return this.nextVolumeId }

  /** Partitions in which something is still to be done: not all replicas serve, another than the first leads, a fence stands. */
  get unsettled (): ReadonlySet<PartitionId> { return this.unsettledIds }

  get image (): ManagerImage {
    return {
      map: this.current,
      nextVolume: this.nextVolumeId,
      histories: [...this.histories.values()],
      extras: [...this.extras],
      tokens: [...this.tokens],
      plans: this.plans.all,
      balance: this.balance,
      even: [...this.evenFor]
    }
  }

  node (id: NodeId): NodeInfo | undefined {
    const at = this.nodePositions.get(id)
    return at === undefined ? undefined : this.current.nodes[at]
  }

  history (id: NodeId): NodeHistory { return this.histories.get(id) ?? { id, former: [], drains: false } }

  volume (id: number): VolumeInfo | undefined { return this.current.volumes.find((volume) => volume.id === id) }

  token (volume: number): string | undefined { return this.tokens.get(volume) }

  get settings (): BalanceSettings { return this.balance }

  /** For what the volume was last found or made even. */
  even (volume: number): string | undefined { return this.evenFor.get(volume) }

  record (id: PartitionId): PartitionRecord | undefined {
    const at = this.positions.get(id)
    return at === undefined ? undefined : { partition: this.current.data[at]!, ...(this.extras.get(id) ?? noExtras) }
  }

  /** Returns whether the change was decided on this very state, and so applied. */
  apply (change: MapChange): boolean {
    if (change.base !== this.current.version) return false
    const { nodes, volumes, data, metadata } = this.current
    const next: ClusterMap = { ...this.current, version: Math.max(this.current.version + 1, change.version ?? 0) }
    if (change.nodes !== undefined) next.nodes = merged(nodes, change.nodes)
    if (change.removedNodes !== undefined) next.nodes = next.nodes.filter(({ id }) => !change.removedNodes!.includes(id))
    if (change.volumes !== undefined) next.volumes = merged(volumes, change.volumes)
    if (change.managers !== undefined) {
      next.managers = change.managers.members
      if (change.managers.change === undefined) delete next.managersChange
      else next.managersChange = change.managers.change
    }
    if (change.metadata !== undefined) next.metadata = merged(metadata, change.metadata)
    if (change.records !== undefined) next.data = this.mergedData(data, change.records)
    for (const history of change.histories ?? []) this.histories.set(history.id, history)
    for (const { volume, token } of change.tokens ?? []) this.tokens.set(volume, token)
    for (const [volume, signature] of change.even ?? []) this.evenFor.set(volume, signature)
    if (change.balance !== undefined) this.balance = { ...this.balance, ...change.balance }
    this.plans.apply(change.plans ?? [], change.standings ?? [])
    for (const { id } of change.volumes ?? []) this.nextVolumeId = Math.max(this.nextVolumeId, id + 1)
    this.current = next
    for (const volume of change.removedVolumes ?? []) this.removeVolume(volume)
    this.index()
    for (const { partition } of change.records ?? []) this.settle(partition)
    for (const { id } of change.volumes ?? []) for (const partition of this.current.data) if (partition.volume === id) this.settle(partition)
    return true
  }

  private mergedData (data: DataPartition[], records: PartitionRecord[]): DataPartition[] {
    const next = data.slice()
    for (const { partition, fences, doubtful } of records) {
      const at = this.positions.get(partition.id)
      if (at === undefined) this.positions.set(partition.id, next.push(partition) - 1)
      else next[at] = partition
      if (fences.length > 0 || doubtful.length > 0) this.extras.set(partition.id, { fences, doubtful })
      else this.extras.delete(partition.id)
    }
    return next
  }

  private removeVolume (id: number): void {
    const { volumes, data, metadata } = this.current
    for (const partition of data) {
      if (partition.volume !== id) continue
      this.extras.delete(partition.id)
      this.unsettledIds.delete(partition.id)
    }
    this.tokens.delete(id)
    this.evenFor.delete(id)
    const stays = ({ volume }: { volume: number }): boolean => volume !== id
    this.current = { ...this.current, volumes: volumes.filter((volume) => volume.id !== id), data: data.filter(stays), metadata: metadata.filter(stays) }
    this.positions = new Map()
  }

  private index (): void {
    if (this.positions.size !== this.current.data.length) this.positions = new Map(this.current.data.map(({ id }, at) => [id, at]))
    if (this.nodePositions.size !== this.current.nodes.length || this.current.nodes.some(({ id }, at) => this.nodePositions.get(id) !== at)) this.nodePositions = new Map(this.current.nodes.map(({ id }, at) => [id, at]))
  }

  private settle (partition: DataPartition): void {
    const at = this.positions.get(partition.id)
    if (at === undefined) return
    const wanted = this.volume(partition.volume)?.replicas
    const settled = partition.primary !== null && partition.primary === partition.replicas[0]?.node && !this.extras.has(partition.id) &&
      partition.replicas.length === wanted && partition.replicas.every(({ state }) => state === 'serving')
    if (settled) this.unsettledIds.delete(partition.id)
    else this.unsettledIds.add(partition.id)
  }
}

function merged<T extends { id: string | number }> (before: T[], changed: T[]): T[] {
  const next = before.slice()
  for (const item of changed) {
    const at = next.findIndex(({ id }) => id === item.id)
    if (at < 0) next.push(item)
    else next[at] = item
  }
  return next
}
