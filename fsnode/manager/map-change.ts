import { pack, unpack } from 'msgpackr'
import type { PartitionRecord } from '../../partitioning/replica-states.ts'
import type { MembersChange, MetadataPartition, NodeId, NodeInfo, VolumeInfo } from '../../partitioning/types.ts'
import type { BalanceSettings } from '../protocol/manager.ts'
import type { PlanHead, PlanStanding } from './plans.ts'

/** What the manager keeps of a node beyond the map. */
export interface NodeHistory {
  id: NodeId
  /** Replaced incarnations, the latest last. */
  former: string[]
  /** Asked to be emptied; outlasts its being down. */
  drains: boolean
}

/**
 * The one command of the manager's state machine: it carries the outcome of a decision, so that every
 * replica applies it identically. Present entries replace those with the same id.
 */
export interface MapChange {
  /** Version of the map on which this was decided. On any other it changes nothing. */
  base: number
  nodes?: NodeInfo[]
  histories?: NodeHistory[]
  records?: PartitionRecord[]
  volumes?: VolumeInfo[]
  metadata?: MetadataPartition[]
  managers?: { members: NodeId[], change?: MembersChange }
  /** Nodes that hold nothing and are gone. */
  removedNodes?: NodeId[]
  /** In place of the next one: larger than any that was ever seen. */
  version?: number
  /** Volumes that go, with all their partitions. */
  removedVolumes?: number[]
  /** Token of the request that made a volume: a retry finds its own. */
  tokens?: Array<{ volume: number, token: string }>
  /** New plans, and where plans stand. */
  plans?: PlanHead[]
  standings?: PlanStanding[]
  balance?: Partial<BalanceSettings>
  /** For what volumes were last found or made even; see `evenSignature`. */
  even?: Array<[volume: number, signature: string]>
}

/** `applied` is false if the map had changed meanwhile: decide again. */
export interface ChangeResult { applied: boolean, version: number }

export function encodeChange (change: MapChange): Uint8Array {
  return pack(change)
}

/** null for what is no change: it then changes nothing, on all replicas alike. */
export function decodeChange (command: Uint8Array): MapChange | null {
  if (command.length === 0) return null
  try {
    const change = unpack(command) as MapChange
    return typeof change === 'object' && change !== null && Number.isInteger(change.base) ? change : null
  } catch {
    return null
  }
}

export function isEmpty (change: MapChange): boolean {
  const { base, ...parts } = change
  return Object.values(parts).every((part: unknown) => part === undefined || (Array.isArray(part) && part.length === 0))
}
