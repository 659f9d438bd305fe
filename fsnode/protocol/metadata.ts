/** Messages between a client and the leader of a metadata partition ('meta.*'). */

/** File type and permission bits as in stat(2). Times in nanoseconds since the epoch. */
export interface InodeAttr {
  ino: number
  mode: number
  nlink: number
  uid: number
  gid: number
  rdev: number
  size: number
  /**
   * No chunk at or beyond this byte has ever been written: where clean-up ends. 0: the content, if
   * any, is inline. A client raises it before it writes chunks beyond it.
   */
  extent: number
  /** The content is in the inode record (`inline`), whatever `extent` says. */
  isInline: boolean
  atime: bigint
  mtime: bigint
  ctime: bigint
  /** Grows with each change of the inode: tells whether cached content is current. */
  version: number
}

/** Who asks: for ownership of what is created. The kernel checks permissions (default_permissions). */
export interface Caller { uid: number, gid: number }

export type LeaseMode = 'shared' | 'exclusive'

interface ToPartition {
  partition: string
  /** Opened with meta.session. */
  session: string
}

interface Mutation extends ToPartition {
  /** Unique among the session's mutations: a retry with the same number gets the first answer. */
  op: number
}

export interface SessionRequest {
  partition: string
  session: string
  /** For people: host, pid, mount. */
  client: string
  /**
   * Only if the session is still there. A name is not used for another session: its late requests would be taken
   * for the new one's, and done twice.
   */
  existing?: boolean
}
export interface SessionResponse {
  /** From when the request was sent until when the session's leases hold unless renewed. */
  leaseDurationMs: number
  /** The leader's term: when it changes, leases must be claimed anew (meta.claim). */
  term: number
  /** The session's own changes up to this one have happened (meta.changes). */
  streamed: number
  /** The last of them that failed. */
  failed: Array<[sequence: number, code: string]>
  /** Of the directories that the session makes in those of this partition, the share that it should ask to be made elsewhere. @default 0 */
  elsewhere?: number
}
export interface RenewRequest extends ToPartition {}
/** After a change of leader: the leases that the client still holds. Conflicting changes wait for it. */
export interface ClaimRequest extends ToPartition {
  shared: number[]
  exclusive: number[]
  /** Held exclusively by an earlier process of the session, which left something to be done: for a leader that does not know it. */
  inherited?: number[]
}
export interface CloseSessionRequest extends ToPartition {}

/**
 * Each answer that carries attributes grants a shared lease on that inode, and a lookup or readdir
 * one on the directory: the client may cache them until recalled. An ENOENT of lookup may be cached too.
 */
export interface LookupRequest extends ToPartition { dir: number, name: string }
export interface LookupResponse {
  ino: number
  /** Absent when the inode lives in another partition: ask there. */
  attr?: InodeAttr
  inline?: Buffer
}
export interface GetattrRequest extends ToPartition { ino: number }
export interface GetattrResponse { attr: InodeAttr, inline?: Buffer, symlink?: string }
export interface ReaddirRequest extends ToPartition { dir: number, /** Names after this one; '' starts. */ after: string, limit: number }
export interface DirectoryEntry { name: string, ino: number, /** S_IFMT bits. */ type: number, attr?: InodeAttr, /** Small inline contents travel along. */ inline?: Buffer }
export interface ReaddirResponse { entries: DirectoryEntry[], done: boolean, parent: number }

export interface CreateRequest extends Mutation {
  dir: number
  name: string
  /** Type and permission bits; S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK or S_IFDIR. */
  mode: number
  caller: Caller
  rdev?: number
  symlink?: string
  /** Fail with EEXIST when the name exists; otherwise an existing regular file is returned. */
  exclusive: boolean
  /** The lease to grant on the inode. */
  lease: LeaseMode
  /** A directory: in another partition, if one is emptier. */
  elsewhere?: boolean
}
/**
 * A directory whose home is another partition, like any inode that lives elsewhere, comes without a lease. Link count 0: what an earlier attempt
 * made has been removed since, and comes as it was made, without a lease.
 */
export interface CreateResponse { attr: InodeAttr, created: boolean, inline?: Buffer, /** The directory's attributes after the change. */ dirAttr?: InodeAttr }
export interface UnlinkRequest extends Mutation { dir: number, name: string, /** The client has it open: keep it as an orphan until meta.forget. */ open: boolean }
export interface RmdirRequest extends Mutation { dir: number, name: string }
export interface RemoveResponse { ino: number, /** What is left of the inode: nlink 0 for an orphan; absent when it is gone. */ attr?: InodeAttr, dirAttr?: InodeAttr }
export interface RenameRequest extends Mutation {
  dir: number
  name: string
  newDir: number
  newName: string
  /** RENAME_NOREPLACE 1, RENAME_EXCHANGE 2. */
  flags: number
  /** The client has the replaced file open. */
  open: boolean
}
/** `replaced`: with RENAME_EXCHANGE the other inode; with `ino` itself both names were the same file's, and both remain. */
export interface RenameResponse { ino: number, replaced?: { ino: number, attr?: InodeAttr }, attr?: InodeAttr, dirAttr?: InodeAttr, newDirAttr?: InodeAttr }
export interface LinkRequest extends Mutation { ino: number, dir: number, name: string }
export interface LinkResponse { attr: InodeAttr, dirAttr?: InodeAttr }
export interface SetattrRequest extends Mutation {
  ino: number
  mode?: number
  uid?: number
  gid?: number
  /** Truncates or extends; chunks are cut before the answer. */
  size?: number
  /** 'now': the leader's clock. */
  atime?: bigint | 'now'
  mtime?: bigint | 'now'
}
export interface AttrResponse { attr: InodeAttr }
/** What a client with an exclusive lease wrote: new size and mtime, or the whole inline content (payload). */
export interface CommitRequest extends Mutation {
  ino: number
  size: number
  mtime: bigint
  /** The payload is the whole content. Without it and with `isInline` in the inode: the content has moved to chunks. */
  inline: boolean
}
/** Before chunks at or beyond `extent` are written. */
export interface ExtentRequest extends Mutation { ino: number, extent: number }
export interface SetxattrRequest extends Mutation { ino: number, name: string, value: Buffer, /** XATTR_CREATE 1, XATTR_REPLACE 2. */ flags: number }
export interface RemovexattrRequest extends Mutation { ino: number, name: string }
export interface GetxattrRequest extends ToPartition { ino: number, name: string }
export interface GetxattrResponse { value: Buffer }
export interface ListxattrRequest extends ToPartition { ino: number }
export interface ListxattrResponse { names: string[] }
/** Takes a lease; waits until conflicting ones are recalled. */
export interface LeaseRequest extends ToPartition { ino: number, mode: LeaseMode }
export interface LeaseResponse { attr: InodeAttr, inline?: Buffer }
/** Gives leases back, unasked. */
export interface ReleaseRequest extends ToPartition { inos: number[] }
/**
 * What the session has decided by itself under exclusive leases on every inode and directory concerned. The payload is
 * a list of changes (protocol/changes.ts), numbered from `first`; a session numbers its changes from 1 without a gap.
 * What it makes it holds exclusively.
 */
export interface ChangesRequest extends ToPartition { first: number }
export interface ChangesResponse { failed: Array<[sequence: number, code: string]> }
/** Inode numbers for what the session will make by itself. */
export interface InodesRequest extends Mutation { count: number }
export interface InodesResponse { first: number, count: number }
/**
 * The client has a regular file open which it made with these attributes, and whose name others have removed before it was told: an orphan from
 * now on, until meta.forget. Gone already, it is there again, empty; under another number while its chunks are being removed. The lease is exclusive.
 */
export interface HoldRequest extends Mutation { ino: number, mode: number, caller: Caller }
/** The client no longer has this orphan open. */
export interface ForgetRequest extends Mutation { ino: number }
export interface OrphansRequest extends ToPartition {}
export interface OrphansResponse { inos: number[] }
export interface MetaStatfsRequest { partition: string }
export interface MetaStatfsResponse { inodes: number }

/**
 * From the leader to a client, on the client's connection: give up a lease. The client writes back
 * what it holds, drops what it cached, and answers; the conflicting operation waits for the answer.
 */
export interface RecallRequest {
  partition: string
  ino: number
  /** 'none': drop everything of the inode. 'shared': write back, keep reading. */
  to: 'none' | 'shared'
  /** For a directory whose lease is kept: only these names changed. */
  names?: string[]
}
export interface RecallResponse { /** The client has the inode open. */ open: boolean }

/** The leader of that term leads no more, and the next one waits for what each session holds. */
export interface ReclaimNotice { partition: string, term: number }

export interface Empty { [none: string]: never }

export interface MetadataMethods {
  'meta.session': { request: SessionRequest, response: SessionResponse }
  'meta.renew': { request: RenewRequest, response: SessionResponse }
  'meta.claim': { request: ClaimRequest, response: Empty }
  'meta.close-session': { request: CloseSessionRequest, response: Empty }
  'meta.lookup': { request: LookupRequest, response: LookupResponse }
  'meta.getattr': { request: GetattrRequest, response: GetattrResponse }
  'meta.readdir': { request: ReaddirRequest, response: ReaddirResponse }
  'meta.create': { request: CreateRequest, response: CreateResponse }
  'meta.unlink': { request: UnlinkRequest, response: RemoveResponse }
  'meta.rmdir': { request: RmdirRequest, response: RemoveResponse }
  'meta.rename': { request: RenameRequest, response: RenameResponse }
  'meta.link': { request: LinkRequest, response: LinkResponse }
  'meta.setattr': { request: SetattrRequest, response: AttrResponse }
  'meta.commit': { request: CommitRequest, response: AttrResponse }
  'meta.extent': { request: ExtentRequest, response: AttrResponse }
  'meta.setxattr': { request: SetxattrRequest, response: AttrResponse }
  'meta.removexattr': { request: RemovexattrRequest, response: AttrResponse }
  'meta.getxattr': { request: GetxattrRequest, response: GetxattrResponse }
  'meta.listxattr': { request: ListxattrRequest, response: ListxattrResponse }
  'meta.lease': { request: LeaseRequest, response: LeaseResponse }
  'meta.release': { request: ReleaseRequest, response: Empty }
  'meta.changes': { request: ChangesRequest, response: ChangesResponse }
  'meta.inodes': { request: InodesRequest, response: InodesResponse }
  'meta.hold': { request: HoldRequest, response: LeaseResponse }
  'meta.forget': { request: ForgetRequest, response: Empty }
  'meta.orphans': { request: OrphansRequest, response: OrphansResponse }
  'meta.statfs': { request: MetaStatfsRequest, response: MetaStatfsResponse }
  /** Leader to client. */
  'lease.recall': { request: RecallRequest, response: RecallResponse }
  /** A former leader to its clients, who answer nothing. */
  'lease.reclaim': { request: ReclaimNotice, response: Empty }
  /** Between leaders of metadata partitions: one step of an operation across partitions; see docs/metadata.md. */
  'meta.transaction': { request: TransactionRequest, response: TransactionResponse }
}

export interface TransactionRequest { partition: string, transaction: string, step: 'prepare' | 'commit' | 'abort' | 'outcome' | 'query', coordinator: string, body: unknown }
export interface TransactionResponse { outcome: 'prepared' | 'committed' | 'aborted' | 'refused', code?: string, body?: unknown }
