import { Buffer } from 'node:buffer'
import { pack, unpack } from 'msgpackr'
import type { ClusterMap, NodeId } from '../../partitioning/types.ts'
import { AtollError, messageOf } from '../protocol/errors.ts'
import type { Kv, KvOperation, Logger } from '../protocol/ports.ts'
import type { CommittedEntry, StateMachine } from '../raft/types.ts'
import { decodeChange, type ChangeResult, type MapChange } from './map-change.ts'
import { ManagerState, type ManagerImage } from './manager-state.ts'

export interface ManagerStateMachineComponents { kv: Kv, log: Logger }

export interface ManagerStateMachineInit { clusterId: string, managers: NodeId[] }

type Snapshot = Parameters<StateMachine['restore']>[0]

const imageKey = Buffer.from('image')
const position = (index: number, term: number): { index: number, term: number } => ({ index, term })

/** Bytes per chunk of a snapshot. */
const snapshotChunkBytes = 256 * 1024

/**
 * The cluster map as a replicated state machine. The state is small: it lives in memory as a whole, and the store
 * holds one image of it, which `flush` writes; entries since then are in the Raft log.
 */
export class ManagerStateMachine implements StateMachine {
  private readonly components: ManagerStateMachineComponents
  private state: ManagerState
  private index = 0
  private term = 0
  private durable = 0
  private readonly listeners = new Set<(map: ClusterMap) => void>()

  private constructor (components: ManagerStateMachineComponents, state: ManagerState) {
    this.components = components
    this.state = state
  }

  /** Rejects with ATOLL_STORE_UNUSABLE when the store holds something else, or another cluster's map. */
  static async open (components: ManagerStateMachineComponents, init: ManagerStateMachineInit): Promise<ManagerStateMachine> {
    const stored = components.kv.get(imageKey)
    if (stored === undefined) return new ManagerStateMachine(components, ManagerState.empty(init.clusterId, init.managers))
    const { index, term, image } = decodeImage(stored)
    if (image.map.clusterId !== init.clusterId) {
      throw new AtollError('ATOLL_STORE_UNUSABLE', `the store belongs to cluster ${image.map.clusterId}, not ${init.clusterId}`)
    }
    const machine = new ManagerStateMachine(components, new ManagerState(image))
    Object.assign(machine, position(index, term), { durable: index })
    return machine
  }

  get map (): ClusterMap { return this.state.map }

  /** For the manager's decisions; changes only by `apply` and `restore`. */
  get view (): ManagerState { return this.state }

  get durableIndex (): number { return this.durable }

  onMap (listener: (map: ClusterMap) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  apply (entry: CommittedEntry): ChangeResult {
    const change = entry.index > this.index ? decodeChange(entry.command) : null
    if (entry.index > this.index) Object.assign(this, position(entry.index, entry.term))
    const applied = change !== null && this.applied(change)
    if (applied) this.notify()
    return { applied, version: this.state.map.version }
  }

  async flush (): Promise<void> {
    const { index } = this
    if (index === this.durable) return
    await this.store([{ type: 'put', key: imageKey, value: this.encode() }])
    this.durable = Math.max(this.durable, index)
  }

  async snapshot (): Promise<Snapshot> {
    const bytes = this.encode()
    return { ...position(this.index, this.term), chunks: chunksOf(bytes) }
  }

  async restore (snapshot: Snapshot): Promise<void> {
    const parts: Uint8Array[] = []
    for await (const chunk of snapshot.chunks) parts.push(chunk)
    const bytes = Buffer.concat(parts)
    const { image } = decodeImage(bytes)
    await this.store([{ type: 'put', key: imageKey, value: bytes }])
    this.state = new ManagerState(image)
    Object.assign(this, position(snapshot.index, snapshot.term), { durable: snapshot.index })
    this.notify()
  }

  private applied (change: MapChange): boolean {
    try {
      return this.state.apply(change)
    } catch (error) {
      // Every replica fails alike, before anything changed; the proposer decides again.
      this.components.log.error('a change of the cluster map cannot be applied', { error: messageOf(error) })
      return false
    }
  }

  private encode (): Uint8Array {
    return pack({ ...position(this.index, this.term), image: this.state.image })
  }

  private async store (operations: KvOperation[]): Promise<void> {
    await this.components.kv.batch(operations, { sync: true })
  }

  private notify (): void {
    for (const listener of this.listeners) listener(this.state.map)
  }
}

function decodeImage (bytes: Uint8Array): { index: number, term: number, image: ManagerImage } {
  try {
    const decoded = unpack(bytes) as { index: number, term: number, image: ManagerImage }
    if (!Array.isArray(decoded.image.map.nodes) || !Number.isInteger(decoded.index)) throw new Error('it has no map')
    return decoded
  } catch (error) {
    throw new AtollError('ATOLL_STORE_UNUSABLE', `the stored cluster map cannot be read: ${messageOf(error)}`)
  }
}

async function * chunksOf (bytes: Uint8Array): AsyncIterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += snapshotChunkBytes) yield bytes.subarray(at, at + snapshotChunkBytes)
}
