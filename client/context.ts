import type { Clock, Logger, Random } from '../fsnode/protocol/ports.ts'
import type { VolumeInfo } from '../partitioning/types.ts'
import type { BlockCache } from './block-cache.ts'
import type { ChunkStore } from './chunk-store.ts'
import type { FileTable } from './file-table.ts'
import type { HeldChanges } from './held-changes.ts'
import type { InodeCache } from './inode-cache.ts'
import type { Inheritance } from './inheritance.ts'
import type { Inodes } from './inodes.ts'
import type { Leases } from './leases.ts'
import type { Offers } from './offers.ts'
import type { OperationNumbers } from './operation-numbers.ts'
import type { OwnChanges } from './own-changes.ts'
import type { ReadAheadBudget } from './reader.ts'
import type { Room } from './room.ts'
import type { SessionTable } from './session-table.ts'
import type { WriteJournal } from './types.ts'
import type { UnsyncedChunks } from './unsynced-chunks.ts'

/** The parts of one volume client, as they know each other. */
export interface VolumeContext {
  readonly volume: VolumeInfo
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly journal: WriteJournal | null
  /** How long an outage may last before what is written back fails. Infinite for what is in a journal: it is sent as long as the session lasts. */
  readonly writeBackPatienceMs: number
  readonly operations: OperationNumbers
  readonly sessions: SessionTable
  readonly inheritance: Inheritance
  readonly cache: InodeCache
  readonly ownChanges: OwnChanges
  readonly leases: Leases
  readonly inodes: Inodes
  readonly held: HeldChanges
  readonly files: FileTable
  readonly chunks: ChunkStore
  readonly unsynced: UnsyncedChunks
  readonly room: Room
  readonly readAhead: ReadAheadBudget
  readonly blocks: BlockCache
  readonly offers: Offers
}
