import type { ClusterMap, MetadataPartition as PartitionRecord, NodeId } from '../../partitioning/types.ts'
import { MetadataPartition } from '../metadata/partition.ts'
import { MetadataStateMachine } from '../metadata/state-machine.ts'
import type { ChunkStore } from '../metadata/types.ts'
import { messageOf } from '../protocol/errors.ts'
import type { Clock, Kv, Logger, Random } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { freshMemberId } from '../raft/member-id.ts'
import type { RaftHost } from '../raft/host.ts'
import type { RaftGroup } from '../raft/types.ts'
import { managerGroupId } from '../manager/members.ts'
import { MembersPursuer } from './members-pursuer.ts'

export interface MetadataPartitionsComponents {
  clock: Clock
  random: Random
  log: Logger
  router: ClusterRouter
  raft: RaftHost
  data: ChunkStore
  /** The disk is so full that only what frees room may go on. */
  isExhausted: () => boolean
  /** See `LeaderComponents`. */
  spreadInodesMin?: number
  /** Opens and removes the stores of the partitions' state machines. */
  stores: { openMetadata: (partition: string) => Promise<Kv>, removeMetadata: (partition: string) => Promise<void> }
}

export interface RunningPartition { partition: MetadataPartition, group: RaftGroup, machine: MetadataStateMachine, kv: Kv, pursuer: MembersPursuer }

/**
 * The metadata partitions of which this node is a member, or is to become one, opened and closed as the cluster map says. What
 * the map takes from it is deleted: then the others serve without it.
 */
export class MetadataPartitions {
  private readonly components: MetadataPartitionsComponents
  private readonly nodeId: NodeId
  private readonly mayRemove: () => boolean
  private readonly running = new Map<string, RunningPartition>()
  private work: Promise<void> = Promise.resolve()
  private closed = false
  private looked = false

  /** `mayRemove`: whether the map is at least as new as any that this node acted on before it started. */
  constructor (components: MetadataPartitionsComponents, init: { nodeId: NodeId, mayRemove: () => boolean }) {
    this.components = components
    this.nodeId = init.nodeId
    this.mayRemove = init.mayRemove
  }

  find (id: string): MetadataPartition | undefined { return this.running.get(id)?.partition }

  /** What is open here, by partition. */
  get all (): ReadonlyMap<string, RunningPartition> { return this.running }

  get groups (): RaftGroup[] { return [...this.running.values()].map((one) => one.group) }

  adopt (map: ClusterMap): void {
    this.work = this.work.then(() => this.follow(map)).catch((error) => {
      this.components.log.error('cannot follow the cluster map', { cause: messageOf(error) })
    })
  }

  async close (): Promise<void> {
    this.closed = true
    await this.work
    await Promise.all([...this.running.values()].map((one) => this.stop(one)))
  }

  private async follow (map: ClusterMap): Promise<void> {
    const volumes = new Map(map.volumes.map((volume) => [volume.id, volume]))
    for (const record of map.metadata) {
      if (this.closed) return
      if (this.hosts(record) && !this.running.has(record.id)) await this.open(record, map)
      const running = this.running.get(record.id)
      const volume = volumes.get(record.volume)
      if (volume !== undefined) running?.partition.adopt(volume)
      running?.pursuer.adopt(record.change)
    }
    if (map.volumes.length === 0 || !this.mayRemove()) return
    const hosted = new Set(map.metadata.filter((record) => this.hosts(record)).map(({ id }) => id))
    // What the map does not know of a volume that it knows came after it: the map is a restored one.
    const known = new Set(map.metadata.map(({ id }) => id))
    for (const id of [...this.running.keys(), ...this.looked ? [] : await this.components.raft.groupsOnDisk()]) {
      if (!known.has(id) && volumes.has(Number(id.split('.')[0]))) hosted.add(id)
    }
    for (const [id, one] of this.running) {
      if (hosted.has(id) || this.closed) continue
      this.components.log.info('removing a replica of metadata that was replaced', { partition: id })
      this.running.delete(id)
      await this.stop(one)
      await this.remove(id)
    }
    if (!this.looked) await this.removeLeftovers(hosted)
  }

  /** What a process before this one was told to remove, and did not come to. */
  private async removeLeftovers (hosted: ReadonlySet<string>): Promise<void> {
    this.looked = true
    for (const id of await this.components.raft.groupsOnDisk()) {
      if (id !== managerGroupId && !hosted.has(id) && !this.running.has(id)) await this.remove(id)
    }
  }

  private async remove (id: string): Promise<void> {
    await this.components.stores.removeMetadata(id)
    await this.components.raft.remove(id)
  }

  private hosts ({ members, change }: PartitionRecord): boolean {
    return members.includes(this.nodeId) || change?.hosts.includes(this.nodeId) === true
  }

  private async open (record: PartitionRecord, map: ClusterMap): Promise<void> {
    const { clock, random, log, router, raft, data, isExhausted, spreadInodesMin, stores } = this.components
    const volume = map.volumes.find((candidate) => candidate.id === record.volume)
    if (volume === undefined) return
    const kv = await stores.openMetadata(record.id)
    const partLog = log.child({ partition: record.id })
    const machine = await MetadataStateMachine.open({ kv, clock, log: partLog }, { index: record.index, inlineBytesMax: volume.inlineBytesMax })
    const members = this.firstMembers(record)
    const memberId = members.length === 0 ? freshMemberId(this.nodeId, random) : undefined
    const group = await raft.open({ groupId: record.id, members, memberId, stateMachine: machine })
    const partition = new MetadataPartition({ clock, random, log: partLog, group, machine, data, router, isExhausted, spreadInodesMin }, { volume, index: record.index })
    const pursuer = new MembersPursuer({ clock, log: partLog, router }, group)
    this.running.set(record.id, { partition, group, machine, kv, pursuer })
  }

  /** Who joins a group that exists learns its members from the leader. */
  private firstMembers ({ members }: PartitionRecord): NodeId[] { return members.includes(this.nodeId) ? members : [] }

  private async stop ({ partition, group, machine, kv, pursuer }: RunningPartition): Promise<void> {
    pursuer.close()
    partition.close()
    await group.close()
    await machine.close()
    await kv.close()
  }
}
