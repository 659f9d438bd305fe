import type { Fence } from '../../partitioning/replica-states.ts'
import { noRelief, type ReliefState } from '../../partitioning/tivoli-relief.ts'
import type { DiskMeasure, NodeId, PartitionId } from '../../partitioning/types.ts'
import type { HeartbeatRequest, PartitionLoadRate } from '../protocol/manager.ts'
import { dataPartitionsMax, heartbeatIntervalMs, leaseMarginMs, loadAverageMs, nodeLeaseMs, noticesMax, resyncDelayMs } from './bounds.ts'
import type { Decided } from './decide.ts'
import type { ManagerState } from './manager-state.ts'
import { SteadyScores } from './steady-scores.ts'

export interface NodeUsage { usedBytes: number, capacityBytes: number, disk: DiskMeasure | null }

interface HeardNode {
  incarnation: string | null
  /** Of its last sign of life. */
  atMs: number
  /** No process of this node holds a lease after this. */
  leaseEndMs: number
  /** Newest map that the node is known to act on. */
  mapVersion: number
  usage: NodeUsage | null
  /** Of one that yields: Raft groups that it leads and another could. */
  leads?: number
}

type Rates = Omit<PartitionLoadRate, 'partition'>

const noRates: Rates = { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 }

const rateNames = ['readBytes', 'writeBytes', 'reads', 'writes'] as const

function faded (known: Rates & { atMs: number } | undefined, nowMs: number): Rates {
  if (known === undefined) return noRates
  const left = Math.exp(-Math.max(0, nowMs - known.atMs - heartbeatIntervalMs) / loadAverageMs)
  return { readBytes: known.readBytes * left, writeBytes: known.writeBytes * left, reads: known.reads * left, writes: known.writes * left }
}

/** A primary could not reach a replica, or a replica has caught up, in this epoch. */
export interface Notice { partition: PartitionId, epoch: number, node: NodeId, kind: 'reported' | 'synced', reporter?: NodeId }

/**
 * What a leader of the manager knows beyond the committed map: whom it heard of and when. It starts
 * empty with each term of leadership, and then assumes that every node got a lease a moment ago.
 */
export class LeaderFacts {
  readonly sinceMs: number
  /** Nodes that are down by the map and have been heard of. */
  readonly returned = new Set<NodeId>()
  /** Times of what is done at a bounded rate. */
  leadMovesAtMs = -Infinity
  measuresAtMs: number
  plannedAtMs = -Infinity
  /** What Tivoli remembers of earlier decisions: losing it costs patience. */
  relief: ReliefState = noRelief
  private readonly scores = new Map<number, SteadyScores>()
  private readonly notices: Notice[] = []
  private readonly loads = new Map<PartitionId, Map<NodeId, Rates & { atMs: number }>>()
  /** Also of partitions that the map does not know: a manager that has lost its state can be told of them (map-backup.ts). */
  private readonly stored = new Map<PartitionId, Map<NodeId, number>>()
  private readonly toldStored = new Set<NodeId>()
  private readonly nodes = new Map<NodeId, HeardNode>()
  /** When this leader first saw a fence, by map version. */
  private fencesSeen = new Map<number, number>()
  private readonly reports = new Map<string, number>()
  /** When this leader first saw a node down. */
  private readonly downSince = new Map<NodeId, number>()

  constructor (nowMs: number) {
    this.sinceMs = nowMs
    this.measuresAtMs = nowMs
  }

  /** Call at the moment of the answer that grants the lease. */
  heard (request: HeartbeatRequest, nowMs: number): void {
    for (const load of Array.isArray(request.load) ? request.load : []) this.loaded(request.node, load, nowMs)
    if (Array.isArray(request.stored)) {
      this.toldStored.add(request.node)
      this.storedAt(request.node, request.stored)
    }
    this.nodes.set(request.node, {
      incarnation: request.incarnation,
      atMs: nowMs,
      leaseEndMs: nowMs + nodeLeaseMs + leaseMarginMs,
      mapVersion: Math.max(request.mapVersion, this.nodes.get(request.node)?.mapVersion ?? 0),
      usage: { usedBytes: request.usedBytes, capacityBytes: request.capacityBytes, disk: request.disk },
      leads: request.leads
    })
  }

  /** The node runs a new process, and no older one holds a lease. */
  startedAnew (node: NodeId, incarnation: string, nowMs: number): void {
    if (this.nodes.get(node)?.incarnation === incarnation) return
    this.nodes.set(node, { incarnation, atMs: nowMs, leaseEndMs: -Infinity, mapVersion: 0, usage: null })
  }

  /** A sign of life that grants no lease. */
  touched (node: NodeId, nowMs: number): void {
    const known = this.nodes.get(node) ?? { incarnation: null, leaseEndMs: this.leaseEndMs(node), mapVersion: 0, usage: null }
    this.nodes.set(node, { ...known, atMs: nowMs })
  }

  /** Before this, a process of the node may hold a lease. */
  leaseEndMs (node: NodeId): number {
    return this.nodes.get(node)?.leaseEndMs ?? this.sinceMs + nodeLeaseMs + leaseMarginMs
  }

  isSilent (node: NodeId, nowMs: number): boolean {
    return nowMs > (this.nodes.get(node)?.atMs ?? this.sinceMs) + nodeLeaseMs + leaseMarginMs
  }

  /** What the node reads and writes of the partition for clients, per second: moving averages, faded by the time since they were heard of. */
  rateOf (node: NodeId, partition: PartitionId, nowMs: number): Rates {
    return faded(this.loads.get(partition)?.get(node), nowMs)
  }

  /** The same of all nodes together, for every partition that was heard of. */
  rates (nowMs: number): PartitionLoadRate[] {
    return [...this.loads].map(([partition, byNode]) => {
      const sum = { ...noRates }
      for (const known of byNode.values()) {
        const rates = faded(known, nowMs)
        for (const name of rateNames) sum[name] += rates[name]
      }
      return { partition, ...sum }
    })
  }

  /** What a replica of the partition holds, as far as nodes have told: the fullest one counts. */
  storedBytes (partition: PartitionId): number { return Math.max(0, ...(this.stored.get(partition)?.values() ?? [])) }

  /** About what each half of a partition that was split holds, until nodes tell. */
  split (partition: PartitionId, child: PartitionId): void {
    const held = this.stored.get(partition)
    if (held === undefined || this.stored.has(child)) return
    const halves = new Map([...held].map(([node, bytes]): [NodeId, number] => [node, bytes / 2]))
    this.stored.set(partition, halves).set(child, new Map(halves))
  }

  /** Nodes that have files of the partition, and how much. */
  holdersOf (partition: PartitionId): ReadonlyMap<NodeId, number> { return this.stored.get(partition) ?? new Map() }

  /** Whether the node has told this leader what it holds. */
  hasToldStored (node: NodeId): boolean { return this.toldStored.has(node) }

  get storedPartitions (): Iterable<PartitionId> { return this.stored.keys() }

  /** undefined: not known since it began to yield, or since this leader began. */
  groupsLedBy (node: NodeId): number | undefined { return this.nodes.get(node)?.leads }

  usageOf (node: NodeId): NodeUsage | null { return this.nodes.get(node)?.usage ?? null }

  /** By which a Tivoli volume is placed. */
  scoresOf (volume: number): SteadyScores {
    let scores = this.scores.get(volume)
    if (scores === undefined) this.scores.set(volume, scores = new SteadyScores())
    return scores
  }

  /** The volume follows another policy. */
  forgetScores (volume: number): void { this.scores.delete(volume) }

  /** Volumes are placed by other scores from now on. */
  areScoresDue (nowMs: number): boolean { return [...this.scores.values()].some((scores) => scores.isDue(nowMs)) }

  isReleased ({ node, since }: Fence, nowMs: number): boolean {
    const seen = this.fencesSeen.get(since)
    return nowMs > this.leaseEndMs(node) ||
      (this.nodes.get(node)?.mapVersion ?? 0) >= since ||
      // Leases granted since then hold only with the newer map.
      (seen !== undefined && nowMs > seen + nodeLeaseMs + leaseMarginMs)
  }

  /** Notes what the committed state shows for the first time. Call before each decision. */
  observe (state: ManagerState, nowMs: number): void {
    const seen = new Map<number, number>()
    for (const id of state.unsettled) {
      for (const { since } of state.record(id)!.fences) seen.set(since, this.fencesSeen.get(since) ?? nowMs)
    }
    this.fencesSeen = seen
    if (this.loads.size > state.map.data.length) for (const id of this.loads.keys()) if (state.record(id) === undefined) this.loads.delete(id)
    if (this.scores.size > state.map.volumes.length) {
      const volumes = new Set(state.map.volumes.map(({ id }) => id))
      for (const id of this.scores.keys()) if (!volumes.has(id)) this.scores.delete(id)
    }
    for (const node of state.map.nodes) {
      if (node.state !== 'down') this.downSince.delete(node.id)
      else if (!this.downSince.has(node.id)) this.downSince.set(node.id, nowMs)
    }
  }

  /** Whether the next decision may depend on what a node has learned. */
  get awaitsFences (): boolean { return this.fencesSeen.size > 0 }

  /** Notes when what happens at a bounded rate happened last. */
  decided ({ leadMoves, measured, reports }: Decided, nowMs: number): void {
    if (leadMoves > 0) this.leadMovesAtMs = nowMs
    if (measured) this.measuresAtMs = nowMs
    for (const { partition, node } of reports) this.reported(partition, node, nowMs)
    this.returned.clear()
  }

  downForMs (node: NodeId, nowMs: number): number { return nowMs - (this.downSince.get(node) ?? nowMs) }

  /** Hands over the notices since the last call. */
  takeNotices (): Notice[] { return this.notices.splice(0) }

  /** False when no more can be kept. */
  notice (notice: Notice): boolean {
    if (this.notices.length >= noticesMax) return false
    this.notices.push(notice)
    return true
  }

  reported (partition: PartitionId, node: NodeId, nowMs: number): void {
    for (const [key, at] of this.reports) {
      if (nowMs - at <= resyncDelayMs && this.reports.size < noticesMax) break
      this.reports.delete(key)
    }
    this.reports.delete(`${partition} ${node}`)
    this.reports.set(`${partition} ${node}`, nowMs)
  }

  mayResync (partition: PartitionId, node: NodeId, nowMs: number): boolean {
    const at = this.reports.get(`${partition} ${node}`)
    return at === undefined || nowMs - at > resyncDelayMs
  }

  private loaded (node: NodeId, load: PartitionLoadRate, nowMs: number): void {
    const isSound = rateNames.every((name) => load[name] >= 0)
    let byNode = this.loads.get(load.partition)
    if (!isSound || (byNode === undefined && this.loads.size >= dataPartitionsMax)) return
    if (byNode === undefined) this.loads.set(load.partition, byNode = new Map())
    const known = byNode.get(node)
    const passedMs = Math.max(1, nowMs - (known?.atMs ?? nowMs - heartbeatIntervalMs))
    const weight = 1 - Math.exp(-passedMs / loadAverageMs)
    const rate = (name: keyof Rates): number => (known?.[name] ?? 0) + weight * (load[name] * 1000 / passedMs - (known?.[name] ?? 0))
    byNode.set(node, { readBytes: rate('readBytes'), writeBytes: rate('writeBytes'), reads: rate('reads'), writes: rate('writes'), atMs: nowMs })
  }

  private storedAt (node: NodeId, stored: ReadonlyArray<[PartitionId, number]>): void {
    const heard = new Map(stored.slice(0, dataPartitionsMax))
    for (const [partition, held] of this.stored) {
      if (!heard.has(partition) && held.delete(node) && held.size === 0) this.stored.delete(partition)
    }
    for (const [partition, bytes] of heard) {
      if (!(bytes >= 0)) continue
      let held = this.stored.get(partition)
      if (held === undefined) {
        if (this.stored.size >= dataPartitionsMax) continue
        this.stored.set(partition, held = new Map())
      }
      held.set(node, bytes)
    }
  }
}
