import { isTerminal, type Attribute, type CommandInfo, type DomainInfo, type Duration, type FrameworkCapability, type FrameworkInfo, type MasterInfo, type MesosUrl, type Offer, type OperationState, type Resource, type TaskInfo, type TaskState, type TaskStatus, type Unavailability } from '../../mesos/types.ts'
import { pingTimeoutMsDefault } from '../constants.ts'
import type { AgentPresence } from './agents.ts'
import { executorsOf, type Executor } from './executors.ts'
import { noMaintenance, type Maintenance } from './maintenance.ts'
import type { Resources } from './resources.ts'

/** What LAUNCH may carry beyond what Atoll's own framework sends. */
export interface LaunchedTaskInfo extends TaskInfo {
  executor?: unknown
  check?: CheckInfo
  max_completion_time?: Duration
}

/** Like a health check, but what comes of it is told, not judged. */
export interface CheckInfo {
  type: 'COMMAND' | 'HTTP' | 'TCP'
  delay_seconds?: number
  interval_seconds?: number
  timeout_seconds?: number
  command?: { command: CommandInfo }
  http?: { port: number, path?: string }
  tcp?: { port: number }
}

/** Empty members: nothing is known yet. */
export type CheckStatus =
  | { type: 'COMMAND', command: { exit_code?: number } }
  | { type: 'HTTP', http: { status_code?: number } }
  | { type: 'TCP', tcp: { succeeded?: boolean } }

export interface Agent {
  id: string
  /** Which of the configured agents it is, from 0; null: none any more. */
  machine: number | null
  hostname: string
  /** Where the machine's master, which answers for the agent, listens. */
  port: number
  attributes: Attribute[]
  domain?: DomainInfo
  /** What the machine gives, without reservations and volumes. */
  base: Resources
  /** The same with reservations and volumes. */
  total: Resources
  registeredMs: number
  ip: string
  presence: AgentPresence
  /** Since when its pings are not answered, or the master waits for its return. */
  silentSinceMs: number
  /** Wall clock; null: it has never been away from this master. */
  reregisteredMs: number | null
  /** Wall clock. */
  unreachableMs: number
  /** Nothing of it is offered. */
  deactivated: boolean
  drain: { state: 'DRAINING' | 'DRAINED', maxGraceMs: number | null, markGone: boolean, /** Wall clock. */ startedMs: number } | null
}

export interface Filter { role: string, agentId: string, resources: Resources, expiresMs: number }

export interface Framework {
  id: string
  info: FrameworkInfo
  roles: string[]
  capabilities: Set<FrameworkCapability>
  /** The request that is answered by the event stream; null while disconnected. */
  stream: number | null
  streamId: string
  suppressed: Set<string>
  filters: Filter[]
  nextHeartbeatMs: number
  /** While disconnected: when it is removed. */
  removalMs: number
  /** Known from before a restart of the master and not seen since. */
  recovered: boolean
  registeredMs: number
  reregisteredMs: number
  /** Orders claims of equal weight: who was offered something last goes last. */
  lastOffer: number
}

export interface CompletedFramework { info: FrameworkInfo, registeredMs: number, reregisteredMs: number, unregisteredMs: number }

export interface PendingOffer {
  id: string
  frameworkId: string
  agentId: string
  role: string
  resources: Resources
}

/** An update that waits for its acknowledgement, or for its predecessors'. */
export interface PendingUpdate<Status> {
  status: Status
  retryMs: number
  delayMs: number
  sent: boolean
}

export interface ProcessIdentity { pid: number, startTime: string }

export interface Task {
  /** `<framework id>/<task id>` */
  key: string
  frameworkId: string
  info: LaunchedTaskInfo
  agentId: string
  role: string
  resources: Resources
  /** Of a task of a group. */
  executor?: Executor
  containerId: string
  /** Name of the sandbox. */
  directory: string
  /** The newest; updates about earlier ones may still wait. In a terminal state the resources are free again. */
  state: TaskState
  process?: ProcessIdentity
  /** Wall clock. */
  startedMs?: number
  killing?: { graceMs: number, overdue: boolean }
  /** Its framework was removed: it is being killed and nobody is told. */
  orphan: boolean
  /** Launched while its agent did not hear of anything. */
  neverArrived?: boolean
  /** It ends because its agent is being drained. */
  draining?: boolean
  healthy?: boolean
  checked?: CheckStatus
  /** The first one is in delivery. */
  updates: Array<PendingUpdate<TaskStatus>>
  /** Those that were sent. */
  statuses: TaskStatus[]
}

export interface PendingOperation {
  uuid: string
  frameworkId: string
  agentId: string
  operationId: string
  state: OperationState
  retryMs: number
  delayMs: number
}

/** Everything that the master knows. `step` changes it in place. */
export interface MasterState {
  masterId: string
  masterInfo: MasterInfo
  startedMs: number
  frameworkCount: number
  offerCount: number
  /** Offer ids below this one are set aside in the store. */
  offerCountReserved: number
  nextAllocationMs: number
  /** All tasks are being killed: nothing is offered any more. */
  stopping: boolean
  /** Pings that are not answered for so long make an agent unreachable. */
  pingTimeoutMs: number
  maintenance: Maintenance
  agents: Map<string, Agent>
  frameworks: Map<string, Framework>
  /** Oldest first. */
  completedFrameworks: Map<string, CompletedFramework>
  offers: Map<string, PendingOffer>
  tasks: Map<string, Task>
  /** Oldest first. */
  completedTasks: Task[]
  /** Operators' streams of events, and when each gets its next heartbeat. Oldest first. */
  watchers: Map<number, number>
  /** By uuid. */
  operations: Map<string, PendingOperation>
}

export function createState (masterId: string, masterInfo: MasterInfo, startedMs: number): MasterState {
  return {
    masterId,
    masterInfo: { id: masterId, ...masterInfo },
    startedMs,
    frameworkCount: 0,
    offerCount: 0,
    offerCountReserved: 0,
    nextAllocationMs: 0,
    stopping: false,
    pingTimeoutMs: pingTimeoutMsDefault,
    maintenance: noMaintenance(),
    agents: new Map(),
    frameworks: new Map(),
    completedFrameworks: new Map(),
    offers: new Map(),
    tasks: new Map(),
    completedTasks: [],
    watchers: new Map(),
    operations: new Map()
  }
}

/** An agent that has just registered. */
export function newAgent (agent: Pick<Agent, 'id' | 'hostname' | 'port' | 'attributes' | 'base' | 'total' | 'registeredMs'> & Partial<Agent>): Agent {
  return { machine: null, ip: '127.0.0.1', presence: 'registered', silentSinceMs: 0, reregisteredMs: null, unreachableMs: 0, deactivated: false, drain: null, ...agent }
}

export const urlOf = ({ hostname, ip, port }: Agent): MesosUrl => ({ scheme: 'http', address: { hostname, ip, port }, path: '/slave(1)' })

export function taskKey (frameworkId: string, taskId: string): string { return `${frameworkId}/${taskId}` }

export function tasksOf (state: MasterState, frameworkId: string): Task[] {
  return [...state.tasks.values()].filter((task) => task.frameworkId === frameworkId && !task.orphan)
}

/** Who holds resources of agents: tasks that have not ended, and executors of groups. */
export function usersOf (state: MasterState): Array<Pick<Task, 'frameworkId' | 'agentId' | 'role' | 'resources'>> {
  return [...[...state.tasks.values()].filter(({ state: now }) => !isTerminal(now)), ...executorsOf(state)]
}

export function offersOf (state: MasterState, frameworkId: string): PendingOffer[] {
  return [...state.offers.values()].filter((offer) => offer.frameworkId === frameworkId)
}

/** As it is sent. */
export function offerJson (state: MasterState, offer: PendingOffer, agent: Agent, resources: Resource[], unavailability?: Unavailability): Offer {
  const executors = executorsOf(state).filter(({ agentId, frameworkId }) => agentId === agent.id && frameworkId === offer.frameworkId)
  return {
    id: { value: offer.id },
    framework_id: { value: offer.frameworkId },
    agent_id: { value: agent.id },
    hostname: agent.hostname,
    url: urlOf(agent),
    ...(agent.domain !== undefined && { domain: agent.domain }),
    resources,
    attributes: agent.attributes,
    ...(executors.length > 0 && { executor_ids: executors.map(({ id }) => ({ value: id })) }),
    ...(unavailability !== undefined && { unavailability }),
    allocation_info: { role: offer.role }
  }
}
