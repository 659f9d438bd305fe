import type { ClusterMap, MetadataPartition as PartitionRecord, NodeId } from '../../partitioning/types.ts'
import { MetadataPartition } from '../metadata/partition.ts'
import { MetadataStateMachine } from '../metadata/state-machine.ts'
import type { ChunkStore } from '../metadata/types.ts'
import { messageOf } from '../protocol/errors.ts'
import type { Clock, Kv, Logger, Random } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import type { RaftHost } from '../raft/host.ts'
import type { RaftGroup } from '../raft/types.ts'

export interface MetadataPartitionsComponents {
  clock: Clock
  random: Random
  log: Logger
  router: ClusterRouter
  raft: RaftHost
  data: ChunkStore
  /** Opens and removes the stores of the partitions' state machines. */
  stores: { openMetadata: (partition: string) => Promise<Kv>, removeMetadata: (partition: string) => Promise<void> }
}

export interface RunningPartition { partition: MetadataPartition, group: RaftGroup, machine: MetadataStateMachine, kv: Kv }

/** The metadata partitions of which this node is a member, opened and closed as the cluster map says. */
export class MetadataPartitions {
  private readonly components: MetadataPartitionsComponents
  private readonly nodeId: NodeId
  private readonly running = new Map<string, RunningPartition>()
  private work: Promise<void> = Promise.resolve()
  private closed = false

  constructor (components: MetadataPartitionsComponents, init: { nodeId: NodeId }) {
    this.components = components
    this.nodeId = init.nodeId
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
    for (const record of map.metadata) {
      if (this.closed) return
      if (record.members.includes(this.nodeId) && !this.running.has(record.id)) await this.open(record, map)
    }
    for (const [id, one] of this.running) {
      if (map.metadata.some((record) => record.id === id) || map.volumes.length === 0) continue
      this.running.delete(id)
      await this.stop(one)
      await this.components.raft.remove(id)
      await this.components.stores.removeMetadata(id)
    }
  }

  private async open (record: PartitionRecord, map: ClusterMap): Promise<void> {
    const { clock, random, log, router, raft, data, stores } = this.components
    const volume = map.volumes.find((candidate) => candidate.id === record.volume)
    if (volume === undefined) return
    const kv = await stores.openMetadata(record.id)
    const partLog = log.child({ partition: record.id })
    const machine = await MetadataStateMachine.open({ kv, clock, log: partLog }, { index: record.index, inlineBytesMax: volume.inlineBytesMax })
    const group = await raft.open({ groupId: record.id, members: record.members, stateMachine: machine })
    const partition = new MetadataPartition({ clock, random, log: partLog, group, machine, data, router }, { volume, index: record.index })
    this.running.set(record.id, { partition, group, machine, kv })
  }

  private async stop ({ partition, group, machine, kv }: RunningPartition): Promise<void> {
    partition.close()
    await group.close()
    await machine.close()
    await kv.close()
  }
}
