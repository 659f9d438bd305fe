import { amount, anything, boolean, bytes, enumeration, integer, list, message, number, optional, repeated, required, string } from './schema.ts'

/** The messages of calls, as far as the embedded master reads them. */
export const id = message({ value: required(string) })
const labels = message({ labels: list(message({ key: required(string), value: optional(string) })) })
const duration = message({ nanoseconds: required(integer) })
const volumeMode = enumeration('RW', 'RO')

const reservation = message({
  type: required(enumeration('STATIC', 'DYNAMIC')),
  role: required(string),
  principal: optional(string),
  labels: optional(labels)
})

const diskInfo = message({
  persistence: optional(message({ id: required(string), principal: optional(string) })),
  volume: optional(message({ mode: required(volumeMode), container_path: required(string), host_path: optional(string) })),
  source: optional(message({
    type: required(enumeration('PATH', 'MOUNT', 'BLOCK', 'RAW', 'UNKNOWN')),
    path: optional(message({ root: optional(string) })),
    mount: optional(message({ root: optional(string) })),
    id: optional(string),
    profile: optional(string),
    vendor: optional(string)
  }))
})

export const resource = message({
  name: required(string),
  type: required(enumeration('SCALAR', 'RANGES', 'SET')),
  scalar: optional(message({ value: required(amount) })),
  ranges: optional(message({ range: list(message({ begin: required(amount), end: required(amount) })) })),
  set: optional(message({ item: list(string) })),
  allocation_info: optional(message({ role: optional(string) })),
  reservations: repeated(reservation),
  role: optional(string),
  reservation: optional(message({ principal: optional(string), labels: optional(labels) })),
  disk: optional(diskInfo),
  revocable: optional(message({})),
  shared: optional(message({})),
  provider_id: optional(id)
})

export const frameworkInfo = message({
  user: required(string),
  name: required(string),
  id: optional(id),
  failover_timeout: optional(number),
  checkpoint: optional(boolean),
  role: optional(string),
  roles: repeated(string),
  hostname: optional(string),
  principal: optional(string),
  webui_url: optional(string),
  capabilities: repeated(message({ type: optional(enumeration(
    'REVOCABLE_RESOURCES', 'TASK_KILLING_STATE', 'GPU_RESOURCES', 'SHARED_RESOURCES', 'PARTITION_AWARE', 'MULTI_ROLE', 'RESERVATION_REFINEMENT', 'REGION_AWARE')) })),
  labels: optional(labels)
})

const command = message({
  shell: optional(boolean),
  value: optional(string),
  arguments: repeated(string),
  uris: repeated(message({ value: required(string), executable: optional(boolean), extract: optional(boolean), cache: optional(boolean), output_file: optional(string) })),
  environment: optional(message({ variables: list(message({ name: required(string), type: optional(enumeration('VALUE', 'SECRET')), value: optional(string) })) })),
  user: optional(string)
})

const healthCheck = message({
  type: optional(enumeration('COMMAND', 'HTTP', 'TCP')),
  delay_seconds: optional(number),
  interval_seconds: optional(number),
  timeout_seconds: optional(number),
  consecutive_failures: optional(integer),
  grace_period_seconds: optional(number),
  command: optional(command),
  http: optional(message({ protocol: optional(string), scheme: optional(string), port: required(integer), path: optional(string) })),
  tcp: optional(message({ protocol: optional(string), port: required(integer) }))
})

const check = message({
  type: optional(enumeration('COMMAND', 'HTTP', 'TCP')),
  delay_seconds: optional(number),
  interval_seconds: optional(number),
  timeout_seconds: optional(number),
  command: optional(message({ command: required(command) })),
  http: optional(message({ port: required(integer), path: optional(string) })),
  tcp: optional(message({ port: required(integer) }))
})

export const killPolicy = message({ grace_period: optional(duration) })

export const taskInfo = message({
  name: required(string),
  task_id: required(id),
  agent_id: required(id),
  resources: list(resource),
  command: optional(command),
  executor: optional(anything),
  container: optional(anything),
  health_check: optional(healthCheck),
  check: optional(check),
  kill_policy: optional(killPolicy),
  max_completion_time: optional(duration),
  labels: optional(labels),
  data: optional(bytes),
  discovery: optional(anything)
})

const executorInfo = message({
  type: optional(enumeration('DEFAULT', 'CUSTOM')),
  executor_id: required(id),
  framework_id: optional(id),
  resources: list(resource),
  command: optional(anything),
  container: optional(anything),
  name: optional(string),
  shutdown_grace_period: optional(duration),
  labels: optional(labels)
})

export const growVolume = { volume: required(resource), addition: required(resource) }
export const shrinkVolume = { volume: required(resource), subtract: required(message({ value: required(amount) })) }

export const filters = message({ refuse_seconds: optional(number) })

/** A missing or unknown type, or a missing member, makes an operation that does nothing. */
export const operation = message({
  type: optional(enumeration('LAUNCH', 'LAUNCH_GROUP', 'RESERVE', 'UNRESERVE', 'CREATE', 'DESTROY', 'GROW_VOLUME', 'SHRINK_VOLUME', 'CREATE_DISK', 'DESTROY_DISK')),
  id: optional(id),
  launch: optional(message({ task_infos: list(taskInfo) })),
  launch_group: optional(message({ executor: optional(executorInfo), task_group: optional(message({ tasks: list(taskInfo) })) })),
  reserve: optional(message({ resources: list(resource) })),
  unreserve: optional(message({ resources: list(resource) })),
  create: optional(message({ volumes: list(resource) })),
  destroy: optional(message({ volumes: list(resource) })),
  grow_volume: optional(message(growVolume)),
  shrink_volume: optional(message(shrinkVolume))
})
