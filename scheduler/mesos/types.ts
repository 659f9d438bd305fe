/**
 * JSON shapes of the Mesos v1 scheduler API: names are the protobuf field names, enums their names,
 * `bytes` are base64, 64-bit integers are JSON numbers. Both sides use these: the framework's client
 * and the embedded master. Fields that neither reads are left out; a reader ignores what it does not know.
 */

export interface Id { value: string }

export interface Label { key: string, value?: string }
export interface Labels { labels: Label[] }

/** Inclusive at both ends. */
export interface ValueRange { begin: number, end: number }
export interface Scalar { value: number }
export interface Ranges { range: ValueRange[] }
export interface Duration { nanoseconds: number }

// Resources

/** One level of a reservation stack; the last entry of `Resource.reservations` is the current one. */
export interface ReservationInfo {
  type: 'STATIC' | 'DYNAMIC'
  role: string
  principal?: string
  labels?: Labels
}

export interface DiskSource {
  type: 'PATH' | 'MOUNT' | 'BLOCK' | 'RAW' | 'UNKNOWN'
  path?: { root?: string }
  mount?: { root?: string }
  id?: string
  profile?: string
  vendor?: string
}

export interface DiskInfo {
  persistence?: { id: string, principal?: string }
  /** `container_path` is relative to the sandbox. */
  volume?: { mode: 'RW' | 'RO', container_path: string, host_path?: string }
  /** Absent: the agent's root disk. */
  source?: DiskSource
}

/** `mem` and `disk` are in MB. Scalars have three decimals. */
export interface Resource {
  name: string
  type: 'SCALAR' | 'RANGES' | 'SET'
  scalar?: Scalar
  ranges?: Ranges
  set?: { item: string[] }
  allocation_info?: { role: string }
  /** Empty or absent: unreserved. */
  reservations?: ReservationInfo[]
  /** The form before reservation refinement; a modern framework never sees nor sends it. */
  role?: string
  disk?: DiskInfo
  revocable?: Record<string, never>
  shared?: Record<string, never>
  provider_id?: Id
}

// Framework

export type FrameworkCapability =
  | 'REVOCABLE_RESOURCES' | 'TASK_KILLING_STATE' | 'GPU_RESOURCES' | 'SHARED_RESOURCES'
  | 'PARTITION_AWARE' | 'MULTI_ROLE' | 'RESERVATION_REFINEMENT' | 'REGION_AWARE'

export interface FrameworkInfo {
  /** Required by the master; may be empty. */
  user: string
  name: string
  id?: Id
  /** Seconds. */
  failover_timeout?: number
  checkpoint?: boolean
  /** Only without MULTI_ROLE. */
  role?: string
  /** Only with MULTI_ROLE. */
  roles?: string[]
  hostname?: string
  principal?: string
  webui_url?: string
  capabilities?: Array<{ type: FrameworkCapability }>
  labels?: Labels
}

// Offers

export interface Attribute {
  name: string
  type: 'TEXT' | 'SCALAR' | 'RANGES' | 'SET'
  text?: { value: string }
  scalar?: Scalar
  ranges?: Ranges
  set?: { item: string[] }
}

export interface DomainInfo {
  fault_domain?: { region: { name: string }, zone: { name: string } }
}

export interface Unavailability { start: Duration, duration?: Duration }

export interface MesosUrl {
  scheme: string
  address: { hostname?: string, ip?: string, port: number }
  path?: string
}

export interface Offer {
  id: Id
  framework_id: Id
  agent_id: Id
  hostname: string
  url?: MesosUrl
  domain?: DomainInfo
  resources?: Resource[]
  attributes?: Attribute[]
  executor_ids?: Id[]
  unavailability?: Unavailability
  allocation_info?: { role: string }
}

export interface InverseOffer {
  id: Id
  url?: MesosUrl
  framework_id: Id
  agent_id?: Id
  unavailability: Unavailability
  resources?: Resource[]
}

export interface Filters { refuse_seconds?: number }

// Tasks

export interface EnvironmentVariable { name: string, type?: 'VALUE' | 'SECRET', value?: string }
export interface Environment { variables?: EnvironmentVariable[] }

export interface CommandUri {
  value: string
  executable?: boolean
  extract?: boolean
  cache?: boolean
  output_file?: string
}

/** With `shell` (the default) `value` is a shell command; without, `value` is the program and `arguments` its argv, argv[0] included. */
export interface CommandInfo {
  shell?: boolean
  value?: string
  arguments?: string[]
  uris?: CommandUri[]
  environment?: Environment
  user?: string
}

export interface KillPolicy { grace_period?: Duration }

export interface HealthCheck {
  type: 'COMMAND' | 'HTTP' | 'TCP'
  delay_seconds?: number
  interval_seconds?: number
  timeout_seconds?: number
  consecutive_failures?: number
  grace_period_seconds?: number
  command?: CommandInfo
  http?: { protocol?: string, scheme?: string, port: number, path?: string }
  tcp?: { port: number }
}

export interface TaskInfo {
  name: string
  task_id: Id
  agent_id: Id
  resources: Resource[]
  command?: CommandInfo
  container?: unknown
  health_check?: HealthCheck
  kill_policy?: KillPolicy
  labels?: Labels
  data?: string
  discovery?: unknown
}

export type TaskState =
  | 'TASK_STAGING' | 'TASK_STARTING' | 'TASK_RUNNING' | 'TASK_KILLING'
  | 'TASK_FINISHED' | 'TASK_FAILED' | 'TASK_KILLED' | 'TASK_ERROR'
  | 'TASK_LOST' | 'TASK_DROPPED' | 'TASK_UNREACHABLE' | 'TASK_GONE' | 'TASK_GONE_BY_OPERATOR' | 'TASK_UNKNOWN'

export type TaskStatusSource = 'SOURCE_MASTER' | 'SOURCE_AGENT' | 'SOURCE_EXECUTOR'

export interface TaskStatus {
  task_id: Id
  state: TaskState
  message?: string
  source?: TaskStatusSource
  /** `REASON_...` */
  reason?: string
  data?: string
  agent_id?: Id
  executor_id?: Id
  /** Seconds since the epoch. */
  timestamp?: number
  /** Base64 of 16 bytes. Present: must be acknowledged; absent: must not. */
  uuid?: string
  healthy?: boolean
  labels?: Labels
  container_status?: unknown
  check_status?: unknown
  unreachable_time?: Duration
  limitation?: { resources?: Resource[] }
}

// Operations

export type OperationState =
  | 'OPERATION_UNSUPPORTED' | 'OPERATION_PENDING' | 'OPERATION_FINISHED' | 'OPERATION_FAILED'
  | 'OPERATION_ERROR' | 'OPERATION_DROPPED' | 'OPERATION_UNREACHABLE' | 'OPERATION_GONE_BY_OPERATOR'
  | 'OPERATION_RECOVERING' | 'OPERATION_UNKNOWN'

export interface OperationStatus {
  operation_id?: Id
  state: OperationState
  message?: string
  converted_resources?: Resource[]
  /** A message here, unlike TaskStatus; the acknowledgement wants the bare string. */
  uuid?: Id
  agent_id?: Id
  resource_provider_id?: Id
}

/** `id` asks for feedback; it is forbidden on LAUNCH. */
export type Operation =
  | { type: 'RESERVE', id?: Id, reserve: { resources: Resource[] } }
  | { type: 'UNRESERVE', id?: Id, unreserve: { resources: Resource[] } }
  | { type: 'CREATE', id?: Id, create: { volumes: Resource[] } }
  | { type: 'DESTROY', id?: Id, destroy: { volumes: Resource[] } }
  | { type: 'GROW_VOLUME', id?: Id, grow_volume: { volume: Resource, addition: Resource } }
  | { type: 'LAUNCH', id?: Id, launch: { task_infos: TaskInfo[] } }

// Calls

export interface SubscribeCall {
  type: 'SUBSCRIBE'
  /** Equal to `subscribe.framework_info.id`: both set, or both absent for a new framework. */
  framework_id?: Id
  subscribe: { framework_info: FrameworkInfo, suppressed_roles?: string[] }
}

/** Calls after SUBSCRIBE, without the envelope's `framework_id`. */
export type CallBody =
  | { type: 'TEARDOWN' }
  | { type: 'ACCEPT', accept: { offer_ids: Id[], operations: Operation[], filters?: Filters } }
  | { type: 'DECLINE', decline: { offer_ids: Id[], filters?: Filters } }
  | { type: 'REVIVE', revive?: { roles?: string[] } }
  | { type: 'SUPPRESS', suppress?: { roles?: string[] } }
  | { type: 'KILL', kill: { task_id: Id, agent_id?: Id, kill_policy?: KillPolicy } }
  | { type: 'SHUTDOWN', shutdown: { executor_id: Id, agent_id: Id } }
  | { type: 'ACKNOWLEDGE', acknowledge: { agent_id: Id, task_id: Id, uuid: string } }
  | { type: 'ACKNOWLEDGE_OPERATION_STATUS', acknowledge_operation_status: {
    agent_id?: Id, resource_provider_id?: Id, uuid: string, operation_id: Id } }
  | { type: 'RECONCILE', reconcile: { tasks: Array<{ task_id: Id, agent_id?: Id }> } }
  | { type: 'RECONCILE_OPERATIONS', reconcile_operations: {
    operations: Array<{ operation_id: Id, agent_id?: Id, resource_provider_id?: Id }> } }
  | { type: 'ACCEPT_INVERSE_OFFERS', accept_inverse_offers: { inverse_offer_ids: Id[], filters?: Filters } }
  | { type: 'DECLINE_INVERSE_OFFERS', decline_inverse_offers: { inverse_offer_ids: Id[], filters?: Filters } }

export type Call = SubscribeCall | ({ framework_id: Id } & CallBody)

// Events

export interface MasterInfo {
  id?: string
  ip?: number
  port?: number
  hostname?: string
  version?: string
  pid?: string
  address?: { hostname?: string, ip?: string, port: number }
  domain?: DomainInfo
}

export type SchedulerEvent =
  | { type: 'SUBSCRIBED', subscribed: { framework_id: Id, heartbeat_interval_seconds?: number, master_info?: MasterInfo } }
  | { type: 'HEARTBEAT' }
  | { type: 'OFFERS', offers: { offers: Offer[] } }
  | { type: 'RESCIND', rescind: { offer_id: Id } }
  | { type: 'INVERSE_OFFERS', inverse_offers: { inverse_offers: InverseOffer[] } }
  | { type: 'RESCIND_INVERSE_OFFER', rescind_inverse_offer: { inverse_offer_id: Id } }
  | { type: 'UPDATE', update: { status: TaskStatus } }
  | { type: 'UPDATE_OPERATION_STATUS', update_operation_status: { status: OperationStatus } }
  | { type: 'MESSAGE', message: { agent_id: Id, executor_id: Id, data: string } }
  | { type: 'FAILURE', failure: { agent_id?: Id, executor_id?: Id, status?: number } }
  | { type: 'ERROR', error: { message: string } }

/** Whether the task has ended. LOST counts: a partition-aware framework gets it only for agents that were removed. */
export function isTerminal (state: TaskState): boolean {
  switch (state) {
    case 'TASK_FINISHED':
    case 'TASK_FAILED':
    case 'TASK_KILLED':
    case 'TASK_ERROR':
    case 'TASK_LOST':
    case 'TASK_DROPPED':
    case 'TASK_GONE':
    case 'TASK_GONE_BY_OPERATOR':
      return true
    default:
      return false
  }
}
