import type { Attribute, DiskSource, ReservationInfo, TaskState } from '../mesos/types.ts'
import type { DiskType } from './agent-offer.ts'
import type { Constraint } from './constraints.ts'

export type { NodeAddress, NodeSpec } from '../../fsnode/protocol/node-spec.ts'

/** What each storage node reserves. `diskMb` is the size of its volume. */
export interface NodeResources { cpus: number, memMb: number, diskMb: number }

/** The program of a node: a shell command, or a program with its arguments (`arguments[0]` is the program). */
export type NodeCommand = ({ value: string, arguments?: undefined } | { value?: undefined, arguments: string[] }) & {
  environment?: Record<string, string>
  /** Fetched into the sandbox before. */
  uris?: Array<{ value: string, executable?: boolean, extract?: boolean, outputFile?: string }>
}

/** How the agent tells a node that works from one that hangs; a node that ends needs no check. */
export interface NodeHealthCheck {
  /** Exit status 0: well. With the environment of the node. */
  command: { value: string, arguments?: undefined } | { value?: undefined, arguments: string[] }
  intervalMs: number
  timeoutMs: number
  failuresMax: number
  /** Until it was well for the first time, failures do not count for so long: a node may have much to replay. */
  graceMs: number
}

/** What a node is launched with. A change of it makes the nodes that run outdated: they get it by an update, or when they are launched anew. */
export interface NodeConfiguration {
  nodeCommand: NodeCommand
  healthCheck: NodeHealthCheck | null
  /** Between SIGTERM and SIGKILL. */
  killGraceMs: number
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
  /** `<node id>.<launch number>.<random>.<resource id>`: never used twice, and says on which volume it runs. */
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
  /** Ids of RESERVE and CREATE while nothing is proven, to ask for what became of them. */
  operations: string[]
  /** Last known; an agent that lost its identity comes back under another id with the same volume. */
  agentId: string | null
  host: string | null
  /** Widest first: region, zone, rack, host. */
  domain: string[]
  /** Of its agent, when it was last seen. */
  attributes: Attribute[]
  rpcPort: number | null
  raftPort: number | null
  /** What its task has, or had. */
  resources: NodeResources | null
  /** Reserved for it beside that, because it is to have more; null: nothing is known of any. */
  spare: NodeResources | null
  /** Something may be reserved for it that it is not to have: it is looked for, for a while. */
  spareSought: boolean
  /** Its volume could not be made as large as was wanted, and why. */
  growthRefused: { diskMb: number, reason: string } | null
  /** The disk of the volume, and the reservations below ours; null before format 2: the root disk, none. */
  disk: { type: DiskType, source: DiskSource | null, base: ReservationInfo[] } | null
  /** The task that may run. */
  task: TaskRecord | null
  /** Version of the configuration of the last launch. */
  version: string | null
  /** Ends once, to come back with the configuration of today. */
  restart: boolean
  /** Of the process that was ended for an update, until the cluster knows another one: it is not back before. */
  incarnationBefore: string | null
  /** Launches so far, of this place and those before. */
  launches: number
  /** Failures in a row: placements, launches, and tasks that did not run for long. */
  attempts: number
  /** Since when nobody knows whether it runs, or its volume is waited for; milliseconds since the epoch. */
  awaySinceMs: number | null
  /** Was away for longer than the policy allows: another node stands in for it. Cleared when it comes back. */
  missing: boolean
  /** We have asked the cluster to move its data away. */
  drainAsked: boolean
  /** The cluster's map showed that nothing is left on it: it ends. When the map shows it still after the end, its volume goes. */
  emptied: boolean
  /** Why it is in its state, for people. */
  reason: string
}

export type FrameworkGoal = 'running' | 'stopped' | 'uninstalling' | 'uninstalled'

export type PlanName = 'deploy' | 'recovery' | 'update' | 'drain' | 'uninstall'

export interface FrameworkRecord {
  format: 1
  clusterId: string
  frameworkId: string | null
  /** Nodes wanted. */
  nodes: number
  /** Ids of the first manager group, fixed when the cluster is made. */
  managers: string[]
  /** 'stopped': tasks are killed, reservations stay. 'uninstalling': all is given back. 'uninstalled': the framework was torn down. */
  goal: FrameworkGoal
  /** Number of the next node id. */
  nextNode: number
  /** What nodes are launched with; null before the first start. */
  configuration: NodeConfiguration | null
  /** Hash of what the flags said when they were last taken over: only a change of them replaces what an update has set. */
  flagsHash: string | null
  /** What nodes are to have, by the flags or by an update; null in records of earlier versions: what they have. */
  sizes: { cpus: number, memMb: number } | null
  /** An update has asked for them, and may have been forced; null: other flags alone restart nobody. */
  sizesAsked: 'asked' | 'forced' | null
  /** Of the flags that were last taken over for them. */
  sizesHash: string | null
  /** What each volume is to have at least, as an update has said. Another `--disk` is of new places. */
  volumeMb: number | null
  /** Counts restarts of all that were asked for; a part of the version. */
  generation: number
  /** Outdated nodes are being restarted. */
  updating: boolean
  /** The update does not ask whether the cluster can do without a node; still one after another. */
  updateForced: boolean
  /** The records are a copy that may lack the newest: no new place is taken until what is there has shown itself. */
  restored: boolean
  /** Plans that are not to go on. */
  paused: PlanName[]
}

export type NodeState =
  | 'wanted' | 'reserving' | 'creating' | 'placed' | 'launching' | 'running' | 'backoff' | 'unreachable'
  | 'draining' | 'killing' | 'stopped' | 'gone'

/** The outcome of one rule, or of a whole evaluation with its rules as children. */
export interface Outcome {
  pass: boolean
  /** The rule: 'cpus', 'ports', ... */
  source: string
  reason: string
  children?: Outcome[]
}

/** A reason to prefer an offer, and how much it counts. */
export interface ScorePart { source: string, points: number, reason: string }

/** One look at one agent's offer for one node. */
export interface Evaluation {
  /** Monotonic; see `FrameworkStatus.nowMs`. */
  atMs: number
  nodeId: string
  offerIds: string[]
  agentId: string
  hostname: string
  outcome: Outcome
  /** Of an offer that fits: the highest sum of points is taken. */
  score: { points: number, parts: ScorePart[] } | null
  chosen: boolean
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
  disk: { type: DiskType, sizeMb: number } | null
  resourceId: string | null
  persistenceId: string | null
  manager: boolean
  launches: number
  attempts: number
  /** Runs with another configuration than that of today. */
  outdated: boolean
  /** Another node stands in for it. */
  missing: boolean
  awaySinceMs: number | null
  /** Why it is going to be away soon, so that others lead what it leads; null: it is not. */
  goesBecause: string | null
  /** Until the next attempt; null when none is waiting. */
  retryInMs: number | null
  /** Why it is not placed: the last evaluation for it. */
  lastEvaluation: Evaluation | null
}

export type StepStatus = 'pending' | 'working' | 'complete' | 'waiting' | 'error'

export interface PlanStep { name: string, status: StepStatus, reason: string }
export interface PlanPhase { name: string, status: StepStatus, steps: PlanStep[] }
/** A view of the state: what is being done, and what is left. */
export interface Plan { name: PlanName, status: StepStatus | 'paused', phases: PlanPhase[] }

/** What was said to a machine that is to be taken out of service: durable before it is said. 'soon': it may go as soon as others lead what it leads. 'withdrawn': it may not any more, and may not have heard that. */
export interface MaintenanceRecord { agentId: string, hosts: string[], startsAtSeconds: number, endsAtSeconds?: number, consent: 'none' | 'soon' | 'given' | 'withdrawn', reason: string }

export interface MaintenanceAnswer { agentId: string, hosts: string[], startsAtSeconds: number, endsAtSeconds?: number, accepted: boolean, reason: string }

export interface FrameworkStatus {
  frameworkId: string | null
  clusterId: string
  connected: boolean
  /** URL of the leading master while connected. */
  master: string | null
  /** Why there is no connection, or why there will be none. */
  problem: { code: string, message: string, final: boolean } | null
  goal: FrameworkGoal
  nodesWanted: number
  managers: string[]
  nodes: NodeStatus[]
  /** Reservations given up and not yet seen to be freed. */
  garbage: string[]
  /** Volumes that carry this cluster's label but belong to no node: left alone, an operator must look. */
  strays: string[]
  version: string | null
  plans: Plan[]
  /** What was answered to the last inverse offers. */
  maintenance: MaintenanceAnswer[]
  /** While everything is given back: resource ids that the master lists as reserved for this cluster; null: it does not say. */
  listed: string[] | null
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
  diskType: DiskType
  constraints: Constraint[]
  /** As the flags say. */
  configuration: NodeConfiguration
  failoverTimeoutMs: number
  /** How long a node may be away before another one stands in for it. */
  replaceAfterMs: number
  webuiUrl?: string
}
