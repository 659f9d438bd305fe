import { Buffer } from 'node:buffer'
import type { ClusterMap, NodeId } from '../../partitioning/types.ts'
import { Manager } from '../manager/manager.ts'
import { managerGroupId } from '../manager/members.ts'
import { managerHandlers } from '../manager/service.ts'
import { ManagerStateMachine } from '../manager/state-machine.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { NodeSpec } from '../protocol/node-spec.ts'
import type { Handlers } from '../protocol/peer.ts'
import type { Clock, Kv, Logger, Random } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { freshMemberId } from '../raft/member-id.ts'
import type { RaftHost } from '../raft/host.ts'
import type { RaftGroup } from '../raft/types.ts'
import { MembersPursuer } from './members-pursuer.ts'

export interface ManagerReplicaComponents {
  clock: Clock
  random: Random
  log: Logger
  router: ClusterRouter
  raft: RaftHost
  stores: { openManager: () => Promise<Kv> }
}

export interface RunningManager { manager: Manager, group: RaftGroup, stateMachine: ManagerStateMachine, kv: Kv }

/** This node's replica was given up: who was one of the first members must not begin the group anew. */
const retiredKey = Buffer.from('retired')
const imageKey = Buffer.from('image')

/**
 * This node's replica of the manager, while it has one: as one of the first members, and later as the cluster map says.
 */
export class ManagerReplica {
  private readonly components: ManagerReplicaComponents
  private readonly spec: NodeSpec
  private readonly mayRemove: () => boolean
  private current: (RunningManager & { pursuer: MembersPursuer }) | null = null
  private work: Promise<void> = Promise.resolve()
  private closed = false

  /** `mayRemove`: whether the map is at least as new as any that this node acted on before it started. */
  constructor (components: ManagerReplicaComponents, init: { spec: NodeSpec, mayRemove: () => boolean }) {
    this.components = components
    this.spec = init.spec
    this.mayRemove = init.mayRemove
  }

  get running (): RunningManager | null { return this.current }

  /** Before there is a map: the first members, and whoever has a log of the group. */
  async start (): Promise<void> {
    const { raft, stores } = this.components
    const isFirst = this.firstMembers.includes(this.spec.nodeId)
    const hasLog = (await raft.groupsOnDisk()).includes(managerGroupId)
    if (!isFirst && !hasLog) return
    const kv = await stores.openManager()
    if (!hasLog && kv.get(retiredKey) !== undefined) await kv.close()
    else await this.open(kv, this.firstMembers)
  }

  adopt (map: ClusterMap): void {
    this.work = this.work.then(() => this.follow(map)).catch((error) => {
      this.components.log.error('cannot follow who carries the manager', { cause: messageOf(error) })
    })
  }

  /** Answers 'manager.*' while there is a replica here. */
  handlers (): Handlers {
    return managerHandlers(() => {
      // Whoever asks here has an old map.
      if (this.current === null) throw new AtollError('ATOLL_STALE_EPOCH', `node ${this.spec.nodeId} carries no replica of the manager`)
      return this.current.manager
    })
  }

  async close (): Promise<void> {
    this.closed = true
    await this.work
    await this.stop(true)
  }

  private get firstMembers (): NodeId[] { return this.spec.managers.map(({ id }) => id) }

  private async follow (map: ClusterMap): Promise<void> {
    if (this.closed) return
    const { nodeId } = this.spec
    const hosts = map.managers.includes(nodeId) || map.managersChange?.hosts.includes(nodeId) === true
    // A map without nodes is that of a cluster in the making.
    if (hosts && this.current === null) await this.open(await this.components.stores.openManager(), [])
    else if (!hosts && this.current !== null && map.nodes.length > 0 && this.mayRemove()) await this.retire()
    this.current?.pursuer.adopt(map.managersChange)
  }

  private async open (kv: Kv, members: NodeId[]): Promise<void> {
    const { clock, random, log, raft, router } = this.components
    const stateMachine = await ManagerStateMachine.open({ kv, log }, { clusterId: this.spec.clusterId, managers: this.firstMembers })
    const group = await raft.open({ groupId: managerGroupId, members, memberId: members.length === 0 ? freshMemberId(this.spec.nodeId, random) : undefined, stateMachine })
    // Only now: with the log on disk nobody takes this replica for a new first member.
    if (kv.get(retiredKey) !== undefined) await kv.batch([{ type: 'del', key: retiredKey }], { sync: true })
    const manager = new Manager({ clock, log, group, stateMachine })
    manager.start()
    this.current = { manager, group, stateMachine, kv, pursuer: new MembersPursuer({ clock, log, router }, group) }
  }

  private async retire (): Promise<void> {
    const { log, raft } = this.components
    log.info('carries the manager no more')
    const { kv } = this.current!
    await this.stop(false)
    await kv.batch([{ type: 'put', key: retiredKey, value: Buffer.from([1]) }, { type: 'del', key: imageKey }], { sync: true })
    await raft.remove(managerGroupId)
    await kv.close()
  }

  private async stop (closesStore: boolean): Promise<void> {
    const { current } = this
    if (current === null) return
    this.current = null
    current.pursuer.close()
    current.manager.close()
    await current.group.close()
    if (!closesStore) return
    await current.stateMachine.flush()
    await current.kv.close()
  }
}
