import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { NodeAddress } from '../../fsnode/protocol/node-spec.ts'
import type { Kv, KvOperation, Random } from '../../fsnode/protocol/ports.ts'
import { evaluationsKeptMax, garbageLengthMax, maintenanceAnswersMax, managerGroupSizeMax } from './constants.ts'
import type { Evaluation, FrameworkRecord, MaintenanceRecord, NodeRecord } from './types.ts'

/** What is known of a node only while this process lives. */
export interface NodeRuntime {
  /** No attempt before; null: at once. */
  retryAtMs: number | null
  /** Since when a proof of the place is waited for. */
  placingSinceMs: number
  /** Since when news of a launched task is waited for. */
  launchedAtMs: number
  runningSinceMs: number | null
  killSentAtMs: number | null
  /** When what has become of its agent was last asked for. */
  probedAtMs: number | null
  /** When the cluster was last asked to move data off it, or back. */
  drainAskedAtMs: number | null
  /** The last of these requests was to stop. */
  undrainAsked: boolean
  /** Since when it has no task; null: it has one, or that was before this process. */
  endedAtMs: number | null
  /** Since when it is going to be away. */
  yieldSinceMs: number | null
  /** When the cluster was last asked to lead without it, or with it. */
  yieldAskedAtMs: number | null
  /** Since when the cluster leads without it though it stays. */
  staysSinceMs: number | null
  /** The growth of its volume was asked for since its task ended; what came of it, if that was said. */
  growthAsked: boolean
  growthProblem: string | null
  /** Until when what may be reserved for it in vain is looked for. */
  spareUntilMs: number | null
  evaluation: Evaluation | null
}

/** A reservation that belongs to no node any more and is to be freed wherever it is offered. */
/** `agentId`: where it is, if it is anywhere. */
export interface GarbageRecord { resourceId: string, nodeId: string, agentId: string | null }

const encoder = new TextEncoder()
const keys = {
  framework: encoder.encode('framework'),
  node: (id: string) => encoder.encode(`node/${id}`),
  garbage: (id: string) => encoder.encode(`garbage/${id}`),
  maintenance: (agentId: string) => encoder.encode(`maintenance/${agentId}`),
  address: (id: string) => encoder.encode(`manager/${id}`)
}

const nodeNumberMax = 1e9

export const numberOf = (nodeId: string): number => Number(nodeId.slice(nodeId.lastIndexOf('-') + 1))

/** The durable records, and what has to be written of them. */
export class FrameworkState {
  readonly framework: FrameworkRecord
  readonly nodes = new Map<string, NodeRecord>()
  readonly garbage = new Map<string, GarbageRecord>()
  /** Last known address of each member of the first manager group, also of those that are gone. */
  readonly managerAddresses = new Map<string, NodeAddress>()
  /** By agent; the last that was answered is the last here. */
  readonly maintenance = new Map<string, MaintenanceRecord>()
  /** The last inverse offer of each of them, and when it was last told that it may go; not persisted. */
  readonly inverseOffers = new Map<string, { id: string, askedAtMs: number, isAnswered: boolean, yesAtMs: number | null }>()
  readonly #runtime = new Map<string, NodeRuntime>()
  /** Until when garbage is looked for; not persisted. */
  readonly garbageUntilMs = new Map<string, number>()
  /** When UNRESERVE was last sent for it; not persisted. */
  readonly garbageFreedMs = new Map<string, number>()
  readonly strays = new Set<string>()
  /** When the cluster was asked to forget a node that is no more; not persisted. */
  readonly forgetAskedMs = new Map<string, number>()
  /** Of the configuration that nodes are launched with. */
  version = ''
  evaluations: Evaluation[] = []
  #dirty = new Map<string, KvOperation>()

  constructor (framework: FrameworkRecord) {
    this.framework = framework
  }

  runtime (node: NodeRecord): NodeRuntime {
    let runtime = this.#runtime.get(node.id)
    if (runtime === undefined) {
      runtime = { retryAtMs: null, placingSinceMs: 0, launchedAtMs: 0, runningSinceMs: null, killSentAtMs: null, probedAtMs: null, drainAskedAtMs: null, undrainAsked: false, endedAtMs: null, yieldSinceMs: null, yieldAskedAtMs: null, staysSinceMs: null, growthAsked: false, growthProblem: null, spareUntilMs: null, evaluation: null }
      this.#runtime.set(node.id, runtime)
    }
    return runtime
  }

  /** In the order of their numbers. */
  sortedNodes (): NodeRecord[] {
    return [...this.nodes.values()].sort((a, b) => numberOf(a.id) - numberOf(b.id))
  }

  /** Nodes that count: neither lost, nor on their way out, nor away for so long that another one stands in. */
  activeNodes (): NodeRecord[] {
    return this.sortedNodes().filter(({ goal, placement, missing }) => goal === 'run' && placement !== 'lost' && !missing)
  }

  /** Whether a node of this id was ever made here. */
  wasMade (id: string): boolean {
    const number = numberOf(id)
    return id === `node-${number}` && number >= 1 && number < this.framework.nextNode
  }

  byResourceId (resourceId: string): NodeRecord | undefined {
    for (const node of this.nodes.values()) if (node.resourceId === resourceId) return node
    return undefined
  }

  byTaskId (taskId: string): NodeRecord | undefined {
    for (const node of this.nodes.values()) if (node.task?.id === taskId) return node
    return undefined
  }

  /** To be called after every change of a node's record. */
  saveNode (node: NodeRecord): void {
    this.#put(keys.node(node.id), node)
    if (this.framework.managers.includes(node.id) && node.host !== null && node.rpcPort !== null && node.raftPort !== null) {
      const address = { id: node.id, host: node.host, rpcPort: node.rpcPort, raftPort: node.raftPort }
      this.managerAddresses.set(node.id, address)
      this.#put(keys.address(node.id), address)
    }
  }

  saveFramework (): void {
    this.#put(keys.framework, this.framework)
  }

  replaceManager (gone: string, next: NodeRecord): void {
    this.framework.managers = this.framework.managers.map((id) => id === gone ? next.id : id)
    this.saveFramework()
    if (this.managerAddresses.delete(gone)) this.#delete(keys.address(gone))
    this.saveNode(next)
  }

  addNode (): NodeRecord {
    const node = newNode(`node-${this.framework.nextNode++}`)
    this.nodes.set(node.id, node)
    this.saveFramework()
    this.saveNode(node)
    return node
  }

  /** A record for a node that a copy of the records lacks; its id is not one that was given up. */
  adoptNode (id: string): NodeRecord | undefined {
    const number = numberOf(id)
    if (id !== `node-${number}` || !(number >= this.framework.nextNode && number < nodeNumberMax)) return undefined
    this.framework.nextNode = number + 1
    const node = newNode(id)
    this.nodes.set(id, node)
    this.saveFramework()
    this.saveNode(node)
    return node
  }

  /** No node is ever made under an id that anybody knows. */
  noteId (id: string): void {
    const number = numberOf(id)
    if (id !== `node-${number}` || !(number >= this.framework.nextNode && number < nodeNumberMax)) return
    this.framework.nextNode = number + 1
    this.saveFramework()
  }

  deleteNode (node: NodeRecord): void {
    this.nodes.delete(node.id)
    this.#runtime.delete(node.id)
    this.#delete(keys.node(node.id))
  }

  addGarbage (record: GarbageRecord, searchUntilMs: number): void {
    if (this.garbage.size >= garbageLengthMax) this.deleteGarbage(this.garbage.keys().next().value!)
    this.garbage.set(record.resourceId, record)
    this.garbageUntilMs.set(record.resourceId, searchUntilMs)
    this.#put(keys.garbage(record.resourceId), record)
  }

  deleteGarbage (resourceId: string): void {
    if (!this.garbage.delete(resourceId)) return
    this.garbageUntilMs.delete(resourceId)
    this.garbageFreedMs.delete(resourceId)
    this.#delete(keys.garbage(resourceId))
  }

  /** Asked again and again, the same answer is written once. */
  saveMaintenance (record: MaintenanceRecord): void {
    const { agentId } = record
    const isNew = JSON.stringify(this.maintenance.get(agentId)) !== JSON.stringify(record)
    this.maintenance.delete(agentId)
    this.maintenance.set(agentId, record)
    if (isNew) this.#put(keys.maintenance(agentId), record)
    if (this.maintenance.size > maintenanceAnswersMax) this.deleteMaintenance(this.maintenance.keys().next().value!)
  }

  deleteMaintenance (agentId: string): void {
    this.inverseOffers.delete(agentId)
    if (this.maintenance.delete(agentId)) this.#delete(keys.maintenance(agentId))
  }

  addEvaluation (node: NodeRecord, evaluation: Evaluation): void {
    this.runtime(node).evaluation = evaluation
    this.evaluations.push(evaluation)
    if (this.evaluations.length > 2 * evaluationsKeptMax) this.evaluations = this.evaluations.slice(-evaluationsKeptMax)
  }

  /** What has changed since the last call; the last state of each key. */
  takeWrites (): KvOperation[] {
    const writes = [...this.#dirty.values()]
    this.#dirty = new Map()
    return writes
  }

  #put (key: Uint8Array, value: unknown): void {
    this.#dirty.set(String(key), { type: 'put', key, value: encoder.encode(JSON.stringify(value)) })
  }

  #delete (key: Uint8Array): void {
    this.#dirty.set(String(key), { type: 'del', key })
  }
}

function newNode (id: string): NodeRecord {
  return {
    id,
    goal: 'run',
    placement: 'none',
    resourceId: null,
    persistenceId: null,
    operations: [],
    agentId: null,
    host: null,
    domain: [],
    attributes: [],
    rpcPort: null,
    raftPort: null,
    resources: null,
    spare: null,
    spareSought: false,
    growthRefused: null,
    disk: null,
    task: null,
    version: null,
    restart: false,
    incarnationBefore: null,
    launches: 0,
    attempts: 0,
    awaySinceMs: null,
    missing: false,
    drainAsked: false,
    emptied: false,
    reason: 'waits for an offer'
  }
}

/**
 * The state in the store, or a new cluster of `nodes` nodes, whose records still have to be written.
 * Rejects with ATOLL_STORE_CORRUPT.
 */
export async function loadState (kv: Kv, random: Random, nodes: number): Promise<FrameworkState> {
  const stored = kv.get(keys.framework)
  if (stored === undefined) return newCluster(random, nodes)
  const framework: FrameworkRecord = { ...newRecord('', 0), ...parse<FrameworkRecord>(stored, 'framework') }
  if (framework.format !== 1) {
    throw new AtollError('ATOLL_STORE_CORRUPT', `the framework's store has the unknown format ${framework.format}`, {
      hint: 'It was written by a newer version: use that one.'
    })
  }
  const state = new FrameworkState(framework)
  // Records of an earlier version lack what is new.
  for (const node of await records<NodeRecord>(kv, 'node/')) state.nodes.set(node.id, { ...newNode(node.id), ...node })
  for (const garbage of await records<GarbageRecord>(kv, 'garbage/')) state.garbage.set(garbage.resourceId, { ...garbage, agentId: garbage.agentId ?? null })
  for (const record of await records<MaintenanceRecord>(kv, 'maintenance/')) state.maintenance.set(record.agentId, record)
  for (const address of await records<NodeAddress>(kv, 'manager/')) state.managerAddresses.set(address.id, address)
  return state
}

function newCluster (random: Random, nodes: number): FrameworkState {
  const state = new FrameworkState(newRecord(uuid(random), nodes))
  while (state.nodes.size < nodes) state.addNode()
  state.framework.managers = state.sortedNodes().slice(0, managerGroupSizeMax).map(({ id }) => id)
  state.saveFramework()
  return state
}

function newRecord (clusterId: string, nodes: number): FrameworkRecord {
  return {
    format: 1,
    clusterId,
    frameworkId: null,
    nodes,
    managers: [],
    goal: 'running',
    nextNode: 1,
    configuration: null,
    flagsHash: null,
    sizes: null,
    sizesAsked: null,
    sizesHash: null,
    volumeMb: null,
    generation: 0,
    updating: false,
    updateForced: false,
    restored: false,
    paused: []
  }
}

async function records<T> (kv: Kv, prefix: string): Promise<T[]> {
  const found: T[] = []
  // '0' follows '/' in ASCII.
  const range = { gte: encoder.encode(prefix), lt: encoder.encode(`${prefix.slice(0, -1)}0`) }
  for await (const [key, value] of kv.iterate(range)) found.push(parse<T>(value, Buffer.from(key).toString()))
  return found
}

function parse<T> (value: Uint8Array, what: string): T {
  try {
    return JSON.parse(Buffer.from(value).toString()) as T
  } catch {
    throw new AtollError('ATOLL_STORE_CORRUPT', `the framework's record '${what}' is damaged`, {
      hint: 'Restore the scheduler folder from a copy; the data of the storage nodes is not affected.'
    })
  }
}

/** A random UUID (version 4). */
export function uuid (random: Random): string {
  const bytes = Buffer.from(random.bytes(16))
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
