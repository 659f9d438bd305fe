import type { DiskSource, SchedulerEvent } from '../../mesos/types.ts'
import type { OperatorCall } from '../wire/operator-calls.ts'
import type { SchedulerCall } from '../wire/scheduler-calls.ts'
import type { CheckStatus, LaunchedTaskInfo, ProcessIdentity } from './state.ts'

/** How a task's process ended; `unknown` when whoever could know is gone: this master was not its parent, or the machine was restarted. */
export type ProcessExit = { status: number } | { signal: string } | 'unknown'

export type Input =
  /** Time has passed. */
  | { type: 'tick' }
  /** A valid call; `request` names the HTTP request, and the stream if one comes of it. */
  | { type: 'call', request: number, streamId?: string, principal?: string, call: SchedulerCall }
  | { type: 'operator-call', request: number, call: OperatorCall }
  | { type: 'stream-closed', stream: number }
  /** Once, after the state was read from the store: takes up what a restart interrupted. */
  | { type: 'recovered' }
  /** The process is there and waits for `release`. */
  | { type: 'task-spawned', key: string, containerId: string, process: ProcessIdentity }
  | { type: 'task-launch-failed', key: string, containerId: string, message: string }
  | { type: 'task-exited', key: string, containerId: string, exit: ProcessExit }
  | { type: 'task-health', key: string, containerId: string, healthy: boolean, kill: boolean }
  /** The answer to the task's check, in the form of CheckStatusInfo, when it is another one than before. */
  | { type: 'task-check', key: string, containerId: string, status: CheckStatus }
  /** What the master hears of an agent has changed. */
  | { type: 'agent-presence', agentId: string, presence: 'registered' | 'hanging' | 'away' | 'removed' }
  /** An agent has lost its identity, and registers as a new one on the same machine, with its reservations and volumes. */
  | { type: 'agent-replaced', agentId: string }
  /** Kills every task, with grace. */
  | { type: 'stop-tasks' }

/** What names a volume on an agent, and the disk that it is on; without `source`: the root disk. */
export interface VolumePlace { role: string, id: string, source?: DiskSource }

export interface LaunchOrder {
  key: string
  containerId: string
  /** Name of the sandbox. */
  directory: string
  info: LaunchedTaskInfo
  frameworkId: string
  /** In order of the task's resources. */
  volumes: Array<VolumePlace & { containerPath: string, readOnly: boolean }>
}

/** Each has one member, of the name of its type. */
export interface OperatorEvent { type: string, [member: string]: unknown }

export type Effect =
  | { type: 'reply', request: number, status: number, text?: string, json?: unknown }
  /** `streamId`: what later calls of a framework name. */
  | { type: 'open-stream', request: number, streamId?: string }
  | { type: 'event', stream: number, event: SchedulerEvent }
  | { type: 'operator-event', stream: number, event: OperatorEvent }
  | { type: 'close-stream', stream: number }
  | { type: 'launch', order: LaunchOrder }
  | { type: 'adopt', order: LaunchOrder, process: ProcessIdentity }
  /** The process may become the task's command now. */
  | { type: 'release', containerId: string }
  | { type: 'kill', containerId: string, graceMs: number }
  | { type: 'create-volume' | 'destroy-volume', volume: VolumePlace }

/** A record to write, or to remove when `value` is undefined. */
export interface DurableWrite { key: string, value: unknown }

/** The writes must be on stable storage before the first effect happens; effects happen in order. */
export interface StepResult { writes: DurableWrite[], effects: Effect[] }

/** What a step may know of the world. */
export interface Context {
  nowMs: number
  wallMs: number
  /** 16 bytes that are a version 4 UUID. */
  uuid: () => Buffer
}
