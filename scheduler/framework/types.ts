import type { TaskState } from '../mesos/types.ts'

export type { NodeAddress, NodeSpec } from '../../fsnode/protocol/node-spec.ts'

/** What each storage node reserves. `diskMb` is the size of its volume. */
export interface NodeResources { cpus: number, memMb: number, diskMb: number }

/** The program of a node: a shell command, or a program with its arguments (`arguments[0]` is the program). */
export type NodeCommand = ({ value: string, arguments?: undefined } | { value?: undefined, arguments: string[] }) & {
  environment?: Record<string, string>
}

/**
 * Where a node's resources are.
 * - none: nowhere.
 * - reserving: RESERVE and CREATE were sent; nothing is proven.
 * - creating: the reservation was seen without its volume; CREATE was sent again.
 * - placed: the volume was seen.
 * - lost: the operator declared the agent gone, and with it the volume. The id is never used again: a node that
 *   has forgotten its votes and writes must not come back under its old name.
 */
export type Placement = 'none' | 'reserving' | 'creating' | 'placed' | 'lost'

/** What is to become of a node: 'drain' runs on while its data moves, 'remove' ends and frees everything. */
export type NodeGoal = 'run' | 'drain' | 'remove'

export interface TaskRecord {
  /** `<node id>.<launch number>.<random>`: never used twice. */
  id: string
  agentId: string
  state: TaskState
}

/** Persisted before anything is done because of it. */
export interface NodeRecord {
  id: string
  goal: NodeGoal
  placement: Placement
  /** Value of the label on all that is reserved for the node; a new one for each place. */
  resourceId: string | null
  persistenceId: string | null
  /** Last known; an agent that lost its identity comes back under another id with the same volume. */
  agentId: string | null
  host: string | null
  /** Widest first: region, zone, rack, host. */
  domain: string[]
  rpcPort: number | null
  raftPort: number | null
  /** As reserved: a later change of the wanted sizes does not touch it. */
  resources: NodeResources | null
  /** The task that may run. */
  task: TaskRecord | null
  /** Launches so far, of this place and those before. */
  launches: number
  /** Failures in a row: placements, launches, and tasks that did not run for long. */
  attempts: number
  /** Why it is in its state, for people. */
  reason: string
}

export interface FrameworkRecord {
  format: 1
  clusterId: string
  frameworkId: string | null
  /** Nodes wanted. */
  nodes: number
  /** Ids of the first manager group, fixed when the cluster is made. */
  managers: string[]
  /** 'stopped': tasks are killed, reservations stay. */
  goal: 'running' | 'stopped'
  /** Number of the next node id. */
  nextNode: number
}

export type NodeState =
  | 'wanted' | 'reserving' | 'creating' | 'placed' | 'launching' | 'running' | 'backoff' | 'unreachable'
  | 'draining' | 'killing' | 'stopped' | 'lost'

/** The outcome of one rule, or of a whole evaluation with its rules as children. */
export interface Outcome {
  pass: boolean
  /** The rule: 'cpus', 'ports', ... */
  source: string
  reason: string
  children?: Outcome[]
}

/** One look at one agent's offer for one node. */
export interface Evaluation {
  /** Monotonic; see `FrameworkStatus.nowMs`. */
  atMs: number
  nodeId: string
  offerIds: string[]
  agentId: string
  hostname: string
  outcome: Outcome
}

export interface NodeStatus {
  id: string
  state: NodeState
  reason: string
  task: TaskRecord | null
  agentId: string | null
  host: string | null
  rpcPort: number | null
  raftPort: number | null
  domain: string[]
  manager: boolean
  launches: number
  attempts: number
  /** Until the next attempt; null when none is waiting. */
  retryInMs: number | null
  /** Why it is not placed: the last evaluation for it. */
  lastEvaluation: Evaluation | null
}

export interface FrameworkStatus {
  frameworkId: string | null
  clusterId: string
  connected: boolean
  /** URL of the leading master while connected. */
  master: string | null
  /** Why there is no connection, or why there will be none. */
  problem: { code: string, message: string, final: boolean } | null
  goal: 'running' | 'stopped'
  nodesWanted: number
  managers: string[]
  nodes: NodeStatus[]
  /** Reservations given up and not yet seen to be freed. */
  garbage: string[]
  /** Volumes that carry this cluster's label but belong to no node: left alone, an operator must look. */
  strays: string[]
  nowMs: number
  evaluations: Evaluation[]
}

/** What the framework wants of its cluster. */
export interface FrameworkSettings {
  role: string
  principal: string
  name: string
  /** User that runs the tasks. */
  user: string
  nodesPerAgentMax: number
  resources: NodeResources
  nodeCommand: NodeCommand
  failoverTimeoutMs: number
  /** Between SIGTERM and SIGKILL. */
  killGraceMs: number
  webuiUrl?: string
}
