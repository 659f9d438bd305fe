import type { InodeAttr, TransactionRequest, TransactionResponse } from '../protocol/metadata.ts'

/** What a metadata partition keeps, decoded. Records are changed in place by `apply` only. */

export interface Inode extends InodeAttr {
  /** Of a directory: the inode of the directory that holds it; the root's is itself. 0 for others. */
  parent: number
  /** Of a directory: how many names it holds. */
  entries: number
  /** The session that last raised the extent: whoever may have written beyond `size`. '' for none. */
  writer: string
  /** Number of extended attributes. */
  xattrs: number
}

/** `type`: S_IFMT bits. */
export interface Entry { ino: number, type: number }

export type Xattrs = Array<[name: string, value: Buffer]>

/** Bytes in [from, to) are to be cut from the chunks; `from` is the size that is already visible. */
export interface Truncation { from: number, to: number }

/** The result of a command, as the proposer gets it and a session remembers it. */
export interface Outcome {
  /** A POSIX name or ATOLL_*; absent when well. */
  code?: string
  ino?: number
  created?: boolean
  /** The inode that a rename replaced, or exchanged; `ino` itself when both names were the same file's and nothing happened. */
  replaced?: number
  /** Sequence number of a transaction that was begun. */
  transaction?: number
  /** Of a session's own changes, those that failed. */
  failed?: Array<[sequence: number, code: string]>
  /** What a participant answers to 'prepare', one per part. */
  results?: PartResult[]
}

export interface Remembered { sequence: number, op: number, outcome: Outcome }

export interface Session {
  id: string
  client: string
  /** Wall clock, ns. */
  openedAt: bigint
  /** Its own changes ('meta.changes') up to this one have happened. */
  streamed: number
  /** The last of them that failed. */
  failed: Array<[sequence: number, code: string]>
  /** It was not renewed in time: a new leader does not wait for it. */
  overdue: boolean
  /** Sequence of the next remembered result. */
  nextResult: number
  /** By operation number, oldest first. */
  results: Map<number, Remembered>
}

/** One partition's share of an operation across partitions. */
export type Part =
  /** Adds a name, in place of `expect` (null: of nothing). `links`: change of the directory's link count. */
  | { kind: 'insert', dir: number, name: string, ino: number, type: number, expect: number | null, links: number }
  | { kind: 'remove', dir: number, name: string, expect: number, links: number }
  /** A new directory; `ino` is given at 'prepare' by the partition that it lives in. */
  | { kind: 'create', ino: number, parent: number, mode: number, uid: number, gid: number }
  /** One name more or less; `holders`: sessions that have it open when the last name goes. */
  | { kind: 'links', ino: number, change: 1 | -1, holders: string[] }
  | { kind: 'remove-directory', ino: number }
  /** The inode got another name; a directory perhaps another parent. */
  | { kind: 'move', ino: number, parent: number | null }
  /** The volume's one right to move directories between parents; held by partition 0. */
  | { kind: 'tree' }

export interface PartResult {
  /** The inode as it will be after the commit; null when it will be gone. */
  attr?: InodeAttr | null
}

export interface Transaction {
  /** '<index of the coordinator>.<sequence>' */
  id: string
  role: 'coordinator' | 'participant'
  /** preparing: coordinator, undecided. committed: coordinator, participants are being told. prepared, done: participant. */
  state: 'preparing' | 'committed' | 'prepared' | 'done'
  parts: Part[]
  /** Of the coordinator, once decided: partitions that have not confirmed. */
  participants: string[]
  coordinator: string
  session: string
  op: number
  results: PartResult[]
  /** The command's time: what the parts write. */
  at: bigint
}

/**
 * Where file contents are, for a metadata leader. Each call retries by itself for a while, then rejects. With `confirm`, which rejects
 * unless the caller leads, the change is not made after another leader has let others change the chunk.
 */
export interface ChunkStore {
  /**
   * Bytes from `length` on are gone; 0 removes the chunk. Succeeds on a chunk that does not exist.
   * `durable`: also when all machines lose power at once.
   */
  truncateChunk (volume: number, ino: number, chunk: number, length: number, durable: boolean, confirm?: () => Promise<void>): Promise<void>
  /** Resolves when every in-sync replica has it on stable storage. */
  writeChunk (volume: number, ino: number, chunk: number, offset: number, data: Buffer, confirm?: () => Promise<void>): Promise<void>
}

/** Calls the leader of another metadata partition; ClusterRouter fits. */
export interface PartitionRouter {
  toMetadata (partition: string, method: 'meta.transaction', request: TransactionRequest, options?: { timeoutMs?: number, patienceMs?: number }): Promise<{ body: TransactionResponse }>
}
