import type { LostSessions, VolumeClient, WriteJournal } from '../../client/types.ts'
import type { Negotiated } from '../protocol/init.ts'

/** What a factory module exports: makes the client that a mount serves, in the worker's process. */
export type CreateVolumeClient = (options: unknown, context: VolumeContext) => Promise<VolumeClient>

export interface VolumeContext {
  /** The same for all workers of one mount: leases and the outcomes of operations belong to it. */
  session: string
  lost: LostSessions
  /** Absent when the mount does without: then a write is acknowledged when the nodes have it. */
  journal?: WriteJournal
}

export interface MountInit {
  mountPoint: string
  /** Specifier (file URL or package path) of the factory module. */
  factory: string
  /** For the factory; must survive JSON. */
  options: unknown
  /** What holder and workers say goes here. @default nowhere */
  logFile?: string
  /** What mount(8) shows as the device. @default 'atoll' */
  source?: string
  /** For mount(8). @default ['nosuid', 'nodev'] */
  mountOptions?: string[]
  /** The write journal's file; false: none. @default one on /dev/shm */
  journal?: string | false
  /** @default 'kernel' */
  driver?: 'kernel' | 'fuse-native'
}

export interface HolderInit extends MountInit {
  mountOptions: string[]
  source: string
}

export interface WorkerInit {
  mountPoint: string
  factory: string
  options: unknown
  journal: string | null
  session: string
  /** How many sessions the workers have lost: see LostSessions. */
  lostSessions: Array<[index: number, lost: number]>
  /** Workers that this mount had before. */
  generation: number
  negotiated: Negotiated | null
  /** Files of which acknowledged writes are lost, and the generation of the first worker that did not have them open then. */
  lost: Array<[ino: number, generation: number]>
}

export const holderEnvironment = 'ATOLL_FUSE_HOLDER'
export const workerEnvironment = 'ATOLL_FUSE_WORKER'
/** The worker's descriptor of /dev/fuse. */
export const workerDeviceFd = 3

export interface Failure { code: string, message: string, hint?: string }

/** Worker to holder. */
export type WorkerMessage =
  | { type: 'negotiated', negotiated: Negotiated }
  | { type: 'serving' }
  /** Acknowledged writes of these files are lost: whoever had them open is to be told, by the next worker if this one cannot any more. */
  | { type: 'lost', inos: number[], generation: number }
  | { type: 'session-lost', index: number, lost: number }
  | { type: 'failed', failure: Failure }
  /** Its last words: it ends by a signal, which has no exit code. */
  | { type: 'ended', outcome: WorkerOutcome }

/** Holder to worker: finish what is in flight, flush, close, end. */
export interface StopMessage { type: 'stop' }

/** Holder to whoever started it. */
export type HolderMessage = { type: 'mounted' } | { type: 'failed', failure: Failure }

/**
 * 'done': the mount is gone and every write is with the nodes. 'unflushed': it is gone, and writes that
 * the nodes do not have are still in the journal. 'failed': it could not start, or broke.
 */
export type WorkerOutcome = 'done' | 'unflushed' | 'failed'
