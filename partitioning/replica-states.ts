import type { DataPartition, NodeId, Replica, ReplicaState } from './types.ts'

/** A node that may still act on a role which it had before map version `since`. */
export interface Fence { node: NodeId, since: number }

/** A partition as the manager keeps it. The table of states stands in docs/manager.md. */
export interface PartitionRecord {
  partition: DataPartition
  /** While a node is here, no other node leads. */
  fences: Fence[]
  /** Replicas in state 'last' that may have lost what was not on stable storage when their machine restarted. */
  doubtful: NodeId[]
}

/** 'intact': the new process vouches that everything which the old one acknowledged is still there. */
export type Restart = 'intact' | 'doubtful'

/** What is known when a transition is decided. */
export interface ReplicaFacts {
  /** Version of the map in which the decision will stand. */
  version: number
  /** The node was heard of within its lease. */
  isUp (node: NodeId): boolean
  /** Its process is a new one; the old one is gone for certain. */
  restartOf? (node: NodeId): Restart | undefined
  /** The primary could not reach it. */
  isReported? (node: NodeId): boolean
  /** It was syncing in this epoch and has caught up. */
  isSynced? (node: NodeId): boolean
  /** Asked last, for a replica that could start: whether copying to it now is within the bounds. */
  maySync? (node: NodeId, source: NodeId): boolean
  /** Nobody can act any longer on the role that ended with the fence. */
  isReleased (fence: Fence): boolean
  /** Serving replicas other than the primary answer reads (Tivoli). */
  secondariesRead: boolean
  choosePrimary (candidates: NodeId[]): NodeId | null
  /** Take the lead from the primary, so that `choosePrimary` chooses anew. */
  moveLead?: boolean
  /** Replicas to give up: not the primary, not the last one. */
  isRetired? (node: NodeId): boolean
  /** Nodes that get a replica, which starts out waiting. */
  added?: readonly NodeId[]
  /** The replica that shall lead whenever it can: it is put first. */
  preferred?: NodeId | null
}

/**
 * The next state of a partition: pure, the same record if nothing changes, otherwise with an epoch
 * that is greater by one. A role that ends is fenced in the same step; another node leads only in a later step, when
 * the fence is released.
 */
export function nextRecord (record: PartitionRecord, facts: ReplicaFacts): PartitionRecord {
  const before = record.partition
  const { states, doubtful, lost } = nextInSync(record, facts)
  const restarted = before.primary !== null && states.get(before.primary) === 'serving' && facts.restartOf?.(before.primary) !== undefined
  followers(record, facts, states)
  retire(record, facts, states)
  const { primary, fences } = nextLead(record, facts, states)
  startSyncs(facts, states, primary)
  for (const node of facts.added ?? []) if (!before.replicas.some((replica) => replica.node === node)) states.set(node, 'waiting')
  const replicas = [...states].map(([node, state]): Replica => ({ node, state }))
  if (facts.preferred != null && states.get(facts.preferred) === 'serving') {
    replicas.sort((one, other) => Number(other.node === facts.preferred) - Number(one.node === facts.preferred))
  }
  const same = !restarted && !lost && primary === before.primary && sameReplicas(before.replicas, replicas)
  if (same && sameFences(record.fences, fences) && sameNames(record.doubtful, doubtful)) return record
  // What only the manager knows (fences, doubts) changes no epoch.
  const partition = same ? before : { ...before, epoch: before.epoch + 1, replicas, primary, ...(lost && { losses: (before.losses ?? 0) + 1 }) }
  return { partition, fences, doubtful }
}

/** `lost`: nobody who goes on can vouch for writes that no fsync covered. */
interface InSync { states: Map<NodeId, ReplicaState>, doubtful: NodeId[], lost: boolean }

/** What becomes of the replicas that have every acknowledged write: those serving, or else those in state 'last'. */
function nextInSync (record: PartitionRecord, facts: ReplicaFacts): InSync {
  const { replicas } = record.partition
  const states = new Map(replicas.map(({ node, state }) => [node, state]))
  const serving = replicas.filter(({ state }) => state === 'serving').map(({ node }) => node)
  const inSync = serving.length > 0 ? serving : replicas.filter(({ state }) => state === 'last').map(({ node }) => node)
  const doubtful = (node: NodeId): boolean => record.doubtful.includes(node) || facts.restartOf?.(node) === 'doubtful'
  const alive = inSync.filter((node) => facts.isUp(node))
  const unbroken = alive.filter((node) => facts.restartOf?.(node) === undefined && !doubtful(node))
  const unreported = unbroken.filter((node) => facts.isReported?.(node) !== true)
  // A report counts only while somebody else can go on; without, nothing was acknowledged that the reported one lacks.
  const goOn = firstNonEmpty(unreported, unbroken, alive.filter((node) => !doubtful(node)).slice(0, 1), alive.length === inSync.length ? alive.slice(0, 1) : [])
  if (goOn.length > 0) {
    for (const node of inSync) states.set(node, goOn.includes(node) ? 'serving' : facts.isUp(node) ? 'waiting' : 'offline')
    return { states, doubtful: [], lost: doubtful(goOn[0]!) }
  }
  for (const node of inSync) states.set(node, 'last')
  return { states, doubtful: inSync.filter(doubtful), lost: false }
}

function firstNonEmpty<T> (...lists: T[][]): T[] { return lists.find((list) => list.length > 0) ?? [] }

/** The replicas that may lack writes. */
function followers (record: PartitionRecord, facts: ReplicaFacts, states: Map<NodeId, ReplicaState>): void {
  const source = record.partition.primary !== null && states.get(record.partition.primary) === 'serving'
  const anyServing = [...states.values()].includes('serving')
  for (const { node, state } of record.partition.replicas) {
    if (state === 'serving' || state === 'last') continue
    if (!facts.isUp(node)) states.set(node, 'offline')
    else if (state === 'offline') states.set(node, 'waiting')
    else if (state === 'syncing') {
      const broken = !anyServing || facts.restartOf?.(node) !== undefined || facts.isReported?.(node) === true
      if (broken) states.set(node, 'waiting')
      else if (source && facts.isSynced?.(node) === true) states.set(node, 'serving')
    }
  }
}

function retire (record: PartitionRecord, facts: ReplicaFacts, states: Map<NodeId, ReplicaState>): void {
  for (const [node, state] of states) {
    if (facts.isRetired?.(node) !== true || node === record.partition.primary || state === 'last') continue
    const othersServe = [...states].some(([other, otherState]) => other !== node && otherState === 'serving')
    if (othersServe) states.delete(node)
  }
}

function nextLead (record: PartitionRecord, facts: ReplicaFacts, states: Map<NodeId, ReplicaState>): { primary: NodeId | null, fences: Fence[] } {
  const { replicas, primary: leader } = record.partition
  const fences = record.fences.filter((fence) => !facts.isReleased(fence))
  const fence = (node: NodeId): void => {
    const known = fences.findIndex((candidate) => candidate.node === node)
    if (known >= 0) fences.splice(known, 1)
    fences.push({ node, since: facts.version })
  }
  if (facts.secondariesRead) {
    for (const { node, state } of replicas) if (state === 'serving' && states.get(node) !== 'serving') fence(node)
  }
  if (leader === null) return chosenLead(record, facts, states, fences)
  const stays = states.get(leader) === 'serving' && facts.moveLead !== true && fences.every(({ node }) => node === leader)
  if (stays) return { primary: leader, fences: [] }
  fence(leader)
  return { primary: null, fences }
}

/** Only a replica that was in sync before this step may lead. */
function chosenLead (record: PartitionRecord, facts: ReplicaFacts, states: Map<NodeId, ReplicaState>, fences: Fence[]): { primary: NodeId | null, fences: Fence[] } {
  const candidates = record.partition.replicas
    .filter(({ node, state }) => (state === 'serving' || state === 'last') && states.get(node) === 'serving' && facts.isUp(node))
    .map(({ node }) => node)
  const primary = candidates.length === 0 ? null : facts.choosePrimary(candidates)
  const free = primary !== null && fences.every(({ node }) => node === primary)
  return free ? { primary, fences: [] } : { primary: null, fences }
}

function startSyncs (facts: ReplicaFacts, states: Map<NodeId, ReplicaState>, primary: NodeId | null): void {
  if (primary === null || !facts.isUp(primary)) return
  for (const [node, state] of states) {
    const settled = state === 'waiting' && facts.isUp(node) && facts.restartOf?.(node) === undefined && facts.isReported?.(node) !== true
    if (settled && facts.maySync?.(node, primary) === true) states.set(node, 'syncing')
  }
}

function sameReplicas (one: Replica[], other: Replica[]): boolean {
  return one.length === other.length && one.every(({ node, state }, at) => node === other[at]!.node && state === other[at]!.state)
}

function sameFences (one: Fence[], other: Fence[]): boolean {
  return one.length === other.length && one.every(({ node, since }, at) => node === other[at]!.node && since === other[at]!.since)
}

function sameNames (one: NodeId[], other: NodeId[]): boolean {
  return one.length === other.length && one.every((name, at) => name === other[at])
}
