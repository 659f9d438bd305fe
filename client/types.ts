import type { Caller, DirectoryEntry, InodeAttr } from '../fsnode/protocol/metadata.ts'

/**
 * The inode-level interface of a mounted volume: what the FUSE driver calls, and what the path-level
 * file API is built on. Every method rejects with an AtollError whose code is the POSIX name.
 */

export interface Invalidation {
  ino: number
  /** 'content': data and attributes changed; 'attributes'; 'entries': names in the directory changed. */
  what: 'content' | 'attributes' | 'entries'
  /** With 'entries': the names; left out: all of them. */
  names?: string[]
}

export interface OperationContext extends Caller {
  /**
   * Identifies the operation across restarts of this process: the same number gives the first
   * outcome again. Left out: the client numbers it.
   */
  operationId?: number
}

export interface LookedUp { attr: InodeAttr }

/** Where writes that are acknowledged before the nodes have them survive a crash of this process. */
export interface WriteJournal {
  /**
   * Synchronous. Returns the token for `settle`; throws when full (the caller then waits for the nodes instead). `generation`: see
   * `JournaledChange`; `operationId`: by which a process that takes over knows it again.
   */
  record (ino: number, offset: number, data: readonly Buffer[], generation?: number, operationId?: number): number
  /** The nodes have it. */
  settle (token: number): void
  /** What an earlier process recorded and the nodes may not have: its session must still be there for it to count. */
  recover? (): ReadonlyArray<{ ino: number, generation?: number }>
  /** Present: changes of names and attributes may be told to have happened, too, before their partition has them. */
  readonly changes?: ChangeJournal
}

/** A change of names or attributes that was told to have happened before its partition had it. */
export interface JournaledChange {
  /** Index of the metadata partition. */
  partition: number
  /** Which session with the partition, counted from 0 over all processes that continued each other: the next one goes on with the latest. */
  generation: number
  sequence: number
  /** Of the operation that it was for: should that be asked for again, it has happened. */
  operationId: number | undefined
  bytes: Buffer
}

export interface RecoveredChange extends JournaledChange { token: number }

/** Where changes that were told to have happened survive a crash of this process, until their partition has them. */
export interface ChangeJournal {
  /** Synchronous. Returns the token for `settle`; throws when full. */
  record (change: JournaledChange): number
  settle (token: number): void
  /** Unsettled changes of an earlier process, oldest first. */
  recoverChanges (): readonly RecoveredChange[]
}

/** Bytes of a file that are current, and that nobody has asked for yet. */
export interface Offer { ino: number, offset: number, data: readonly Buffer[] }

export interface ReadOptions {
  /** The reader bypasses who caches above: nothing is offered there. */
  direct?: boolean
}

export interface OpenFile {
  readonly ino: number
  /**
   * Bytes from `offset`, shorter only at the end of the file. Buffers are handed over uncopied; who is done with them, and keeps
   * no slice, may give each back once (`giveBack`, fsnode/protocol/buffer-pool.ts).
   */
  read (offset: number, length: number, options?: ReadOptions): Promise<Buffer[]>
  /**
   * With a journal, resolves when recorded there (and sent soon); without, when every in-sync replica has it.
   * The buffers must stay unchanged until `flush`.
   */
  write (offset: number, data: readonly Buffer[], context?: OperationContext): Promise<void>
  /**
   * As `write`, at the end of the file as it is when the write is accepted, wherever another client has moved it; `offset` is where the
   * caller takes it to be. Resolves with where it was. Left out by files that only one client has.
   */
  append? (offset: number, data: readonly Buffer[], context?: OperationContext): Promise<number>
  /** Everything written is in the memory of all in-sync replicas, size and mtime are committed: others see it. */
  flush (): Promise<void>
  /**
   * What close(2) waits for: as `flush`, but what is in the journal may go to the nodes afterwards, if nothing can keep it from
   * getting there. The buffers of writes must then stay unchanged still.
   */
  flushBehind? (): Promise<void>
  /**
   * Whether close(2) has nothing to wait for and nothing to be told, so that it need not be heard of. From then on it is writes that
   * wait for the nodes when those are filling up. Left out: it must be heard of.
   */
  closeUnheard? (): boolean
  /** flush, then stable storage. */
  sync (): Promise<void>
  /** Drops the handle; call flush first. */
  release (): Promise<void>
}

export interface SetAttributes {
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atime?: bigint | 'now'
  mtime?: bigint | 'now'
}

export interface StatFs { blocks: number, blocksFree: number, blocksAvailable: number, files: number, filesFree: number, blockSize: number, nameLengthMax: number }

/**
 * How many sessions with each metadata partition, by its index, the processes that go by one session's name have lost. Kept where it survives
 * them: what the last of these sessions did and holds is for the next process to go on with.
 */
export interface LostSessions {
  of (index: number): number
  note (index: number, lost: number): void
}

export interface VolumeClient {
  readonly root: number
  readonly chunkSizeBytes: number
  /** Called, and awaited, before a recall is answered: whoever caches above this client drops it. */
  onInvalidate: ((invalidation: Invalidation) => Promise<void>) | null
  /**
   * Set by whoever caches above and may be given more than it asks for. Resolves when it has the bytes, or with false when it does not
   * want them now: only then goes on what makes them untrue. Of the operations of the inode it may wait for reads alone.
   */
  onOffer?: ((offer: Offer) => Promise<boolean>) | null
  /** Called when something that was accepted of an open file is lost: a process that takes over has those told who had it open. */
  onLost?: ((ino: number) => void) | null

  lookup (dir: number, name: string): Promise<InodeAttr>
  getattr (ino: number): Promise<InodeAttr>
  /**
   * Of a process that continues an earlier one's session and journal: whether nobody else can have changed the inode since something
   * was recorded in that `generation`. Left out: nothing is continued.
   */
  inherits? (ino: number, generation?: number): Promise<boolean>
  /** What was continued of the inode is with the nodes, or lost: others may have it again. */
  doneInheriting? (ino: number): void
  setattr (ino: number, changes: SetAttributes, context: OperationContext): Promise<InodeAttr>
  readlink (ino: number): Promise<string>
  /** Names after `after` in their stable order; '' starts. Attributes where the directory's partition has them. */
  readdir (dir: number, after: string, limit: number): Promise<{ entries: DirectoryEntry[], done: boolean, parent: number }>

  /** Opens an existing file. `write` takes an exclusive lease in advance. */
  open (ino: number, options: { write: boolean }): Promise<OpenFile>
  /** Creates (or, unless `exclusive`, finds) a regular file and opens it. */
  create (dir: number, name: string, options: { mode: number, exclusive: boolean }, context: OperationContext): Promise<{ attr: InodeAttr, file: OpenFile, created: boolean }>
  mknod (dir: number, name: string, mode: number, rdev: number, context: OperationContext): Promise<InodeAttr>
  mkdir (dir: number, name: string, mode: number, context: OperationContext): Promise<InodeAttr>
  symlink (dir: number, name: string, target: string, context: OperationContext): Promise<InodeAttr>
  link (ino: number, dir: number, name: string, context: OperationContext): Promise<InodeAttr>
  unlink (dir: number, name: string, context: OperationContext): Promise<void>
  rmdir (dir: number, name: string, context: OperationContext): Promise<void>
  /** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2. */
  rename (dir: number, name: string, newDir: number, newName: string, flags: number, context: OperationContext): Promise<void>

  getxattr (ino: number, name: string): Promise<Buffer>
  setxattr (ino: number, name: string, value: Buffer, flags: number, context: OperationContext): Promise<void>
  listxattr (ino: number): Promise<string[]>
  removexattr (ino: number, name: string, context: OperationContext): Promise<void>

  /** Whoever used the inode above this client has dropped it: an unlinked file's content may go. */
  forget (ino: number): void
  statfs (): Promise<StatFs>
  /** Every change of names and attributes up to now is on stable storage: in the directory's partition, or in all. */
  syncNames (dir?: number): Promise<void>
  /** Everything written through this client is on stable storage. */
  sync (): Promise<void>
  close (): Promise<void>
}
