import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import type { Address, Random } from '../../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../../fsnode/protocol/router.ts'
import type { RouterComponents } from '../../fsnode/protocol/router.ts'
import { metadataPartitionId, rootInode } from '../../partitioning/routing.ts'
import type { VolumeInfo } from '../../partitioning/types.ts'
import { requestPatienceMs, stateBytesMax, stateReplicasMax, stateVolume } from './constants.ts'
import type { StateHead, StateStore } from './state-store.ts'

export interface ClusterStateStoreInit {
  /** Where nodes are. */
  seeds: () => Address[]
  /** How many nodes the cluster is to have: its volume has a replica on each, up to `stateReplicasMax`. */
  nodesWanted?: () => number
  volume?: string
}

interface StoredHead extends StateHead { slot: 'a' | 'b' }

const headName = 'user.atoll.head'
const stateName = (slot: string): string => `user.atoll.state.${slot}`
const options = { patienceMs: requestPatienceMs }

/**
 * The scheduler's state in the storage cluster that it runs: a volume of its own, replicated like any other. The state
 * is written in the slot that the head does not name, then the head: a reader finds the one or the other, never a part.
 */
export class ClusterStateStore implements StateStore {
  readonly #components: RouterComponents
  readonly #init: ClusterStateStoreInit
  #router: ClusterRouter | undefined
  #session: string | undefined
  #operations = 0
  #slot: 'a' | 'b' = 'a'

  constructor (components: RouterComponents, init: ClusterStateStoreInit) {
    this.#components = components
    this.#init = init
  }

  async prepare (): Promise<void> {
    const router = await this.#connected()
    if ((await this.#volume(router)) !== undefined) return
    const replicas = Math.max(1, Math.min(this.#replicasWanted(), upIn(router)))
    await router.toManager('manager.create-volume', { name: this.#name, placement: 'hawaii', replicas, dataPartitions: 1, metadataPartitions: 1, token: 'atoll scheduler' }, options)
  }

  async readHead (): Promise<StateHead | null> {
    const head = await this.#readStored()
    if (head === null) return null
    const { slot: _slot, ...rest } = head
    return rest
  }

  async readState (): Promise<{ head: StateHead, state: Buffer } | null> {
    const stored = await this.#readStored()
    if (stored === null) return null
    const { slot, ...head } = stored
    const state = await this.#get(stateName(slot))
    if (state === null) throw new AtollError('ATOLL_STORE_CORRUPT', 'the scheduler has a head in the cluster, but no state')
    return { head, state }
  }

  async writeState (head: StateHead, state: Buffer): Promise<void> {
    if (state.length > stateBytesMax) throw new AtollError('ATOLL_TOO_LARGE', `the scheduler's state has ${state.length} bytes: more than ${stateBytesMax}`)
    // The slot that the head of today does not name.
    const before = await this.#readStored()
    this.#slot = before?.slot === 'a' ? 'b' : 'a'
    await this.#set(stateName(this.#slot), state)
    await this.writeHead(head)
  }

  async writeHead (head: StateHead): Promise<void> {
    const stored: StoredHead = { ...head, slot: this.#slot }
    await this.#set(headName, Buffer.from(JSON.stringify(stored)))
  }

  close (): void {
    this.#router?.close()
    this.#router = undefined
    this.#session = undefined
  }

  async #readStored (): Promise<StoredHead | null> {
    const value = await this.#get(headName)
    if (value === null) return null
    const head = JSON.parse(value.toString()) as StoredHead
    this.#slot = head.slot
    return head
  }

  async #get (name: string): Promise<Buffer | null> {
    try {
      const { value } = await this.#inSession(false, (router, partition, session) => router.toMetadata(partition, 'meta.getxattr', { partition, session, ino: rootInode, name }, options).then(({ body }) => body))
      return Buffer.from(value)
    } catch (error) {
      if (['ENODATA', 'ATOLL_NO_SUCH_VOLUME'].includes(codeOf(error))) return null
      throw error
    }
  }

  async #set (name: string, value: Buffer): Promise<void> {
    await this.#inSession(true, (router, partition, session) =>
      router.toMetadata(partition, 'meta.setxattr', { partition, session, op: ++this.#operations, ino: rootInode, name, value, flags: 0 }, options))
  }

  /** A session that has expired is followed by another one: whatever is done here may be done twice. */
  async #inSession<T> (writes: boolean, action: (router: ClusterRouter, partition: string, session: string) => Promise<T>): Promise<T> {
    const router = await this.#connected()
    const partition = await this.#partition(router, writes)
    for (let attempt = 0; ; attempt++) {
      if (this.#session === undefined) {
        const session = `scheduler-${nameOf(this.#components.random)}`
        await router.toMetadata(partition, 'meta.session', { partition, session, client: 'atoll scheduler' }, options)
        this.#session = session
        this.#operations = 0
      }
      try {
        return await action(router, partition, this.#session)
      } catch (error) {
        if (codeOf(error) !== 'ATOLL_SESSION_EXPIRED' || attempt > 0) throw error
        this.#session = undefined
      }
    }
  }

  async #connected (): Promise<ClusterRouter> {
    if (this.#router !== undefined) return this.#router
    // Leases are of no use here: each is given back as soon as anybody wants it.
    const router = new ClusterRouter(this.#components, { seeds: this.#init.seeds(), handlers: { 'lease.recall': async () => ({ body: { open: false } }) } })
    try {
      await router.start(requestPatienceMs)
    } catch (error) {
      router.close()
      throw error
    }
    this.#router = router
    return router
  }

  async #partition (router: ClusterRouter, writes: boolean): Promise<string> {
    const volume = await this.#volume(router)
    if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `the cluster has no volume ${this.#name}, which keeps the scheduler's state`)
    if (writes) await this.#replicate(router, volume)
    return metadataPartitionId(volume.id, 0)
  }

  async #volume (router: ClusterRouter): Promise<VolumeInfo | undefined> {
    const find = (): VolumeInfo | undefined => router.map.volumes.find(({ name }) => name === this.#name)
    const volume = find()
    if (volume !== undefined) return volume
    await router.refresh(router.mapVersion, 0)
    return find()
  }

  /** As soon as there are enough nodes for what it is to have. */
  async #replicate (router: ClusterRouter, { name, replicas }: VolumeInfo): Promise<void> {
    const wanted = this.#replicasWanted()
    if (replicas !== wanted && upIn(router) >= wanted) await router.toManager('manager.set-volume', { name, replicas: wanted }, options)
  }

  #replicasWanted (): number { return Math.max(1, Math.min(stateReplicasMax, this.#init.nodesWanted?.() ?? stateReplicasMax)) }

  get #name (): string { return this.#init.volume ?? stateVolume }
}

const upIn = ({ map }: ClusterRouter): number => map.nodes.filter(({ state }) => state === 'up').length
const nameOf = (random: Random): string => random.bytes(8).toString('hex')
