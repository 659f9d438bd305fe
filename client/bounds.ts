/** Every bound of the client, in one place. */

const kibi = 1024
const mebi = 1024 * kibi

// Caches. Beyond these the least recently used inodes go, and their leases are given back.
export const cachedInodesMax = 131_072
export const cachedNamesMax = 524_288
export const cachedInlineBytesMax = 64 * mebi
/** Inodes given up at a time when a bound is passed. */
export const evictionBatchInodes = 512
/** Inodes looked at in one go to find those. */
export const evictionScanInodes = 8_192
/** A directory with more names than this is not listed from the cache. */
export const cachedListingNamesMax = 131_072
/** Entries asked for at a time, whatever the caller wants: they prime the caches. */
export const readdirPageEntries = 512

// Sessions.
/** Part of the lease that is not used, for clocks that run at different speeds. */
export const leaseMarginShare = 0.1
/** So often that a leader may hang and another one be elected and found, whenever in between that happens. */
export const renewalsPerLease = 6
/** An attempt to open or to renew one takes this part of a lease at most. */
export const attemptsPerLease = 3
export const claimRetryMs = 20
/** A request is sent anew in this many new sessions at most. */
export const sessionsPerRequestMax = 3
/**
 * No mutation starts while one that was started this many mutations before is not answered: a partition
 * remembers a few hundred outcomes of each session, and a repeated request must find its own.
 */
export const mutationWindow = 256
/** An answer whose lease was recalled under way is asked for again this often before it is handed on without being cached. */
export const unleasedRetriesMax = 8
/** Recalls noted while requests are in flight; beyond, every request in flight counts as recalled. */
export const notedRecallsMax = 1_024
/** How long a recall waits for whoever caches above. */
export const invalidateMsMax = 1_000
/** Invalidations in flight above when a whole session is dropped. */
export const invalidationsInFlightMax = 64
/** How long a write waits for its lease. */
export const leasePatienceMs = 60_000

// Changes decided here, under exclusive leases, on their way to their partition.
export const changesQueuedMax = 4_096
export const changesQueuedBytesMax = 8 * mebi
export const changeRequestBytesMax = 512 * kibi
/** So long after the first change others join it in one request, */
export const changeBatchDelayMs = 10
/** unless there are so many. */
export const changeBatchNow = 256
export const changeRetryMs = 100
/** Inode numbers asked for at a time; more are asked for when fewer than the second number are left. */
export const inodeNumbersAtOnce = 8_192
export const inodeNumbersLeftMin = 4_096
/** A directory is taken exclusively with its second change in a row, */
export const changesBeforeHolding = 2
/** but not so soon after somebody else wanted it. */
export const contendedDirectoryMs = 2_000
export const contendedDirectoriesMax = 1_024
/** Names of a directory that are read in advance once it is held. */
export const heldListingNamesMax = 8_192

// Room on the nodes: enough for all that can be written until the map tells of it, and a tenth.
export const plentyBytes = 4_096 * mebi
export const plentyShare = 0.1
export const roomRefreshMs = 5_000

// Writes, per file.
export const writePieceBytesMax = 2 * mebi
/** Pieces up to this size join others of their chunk in one request. */
export const scatteredBytesMax = 64 * kibi
export const writeWindowBytes = 8 * mebi
/** While so much is under way, a large piece waits until it is full: a stream needs fewer requests. */
export const fullPiecesFromBytes = writeWindowBytes / 2
export const writeRequestsInFlightMax = 16
/** Bytes accepted and not yet acknowledged by the nodes; more writes wait. */
export const writeQueueBytesMax = 32 * mebi
/** With a journal: bytes that only await the commit of the file's size before the journal may drop them. */
export const journalCommitBytes = 8 * mebi
/** How long they await it at most, while nobody flushes. */
export const journalCommitMs = 1_000
export const extentStepBytesMin = 4 * mebi
export const extentStepBytesMax = 64 * mebi
/** Chunks cut or synced at once. */
export const chunkRequestsInFlightMax = 16
/** Chunks of closed files that are remembered for `sync`; beyond, the oldest file is synced. */
export const unsyncedChunksMax = 65_536
/** Closed files that lost unsynced bytes and whose next sync says so; beyond, the oldest is not told of any more. */
export const lostFilesMax = 1_024
/** Files flushed at once by `sync` and `close`. */
export const flushesInFlightMax = 32

// Reads.
export const readRequestBytes = 2 * mebi
/** Read ahead per open file, and over all of a volume client. */
export const readAheadBytesPerFile = 8 * mebi
export const readAheadBytesMax = 128 * mebi
/** A small read out of sequence brings in the block of the file that it lies in. */
export const readBlockBytes = 128 * kibi
/**
 * Of such blocks, over all files of a volume client that is not told otherwise. Of a file that is greater than what may be cached, and is read here and there,
 * only what is asked for is read: few of its blocks would be met again.
 */
export const cachedBlockBytesMax = 64 * mebi
/** The greatest such file where somebody above takes the blocks, and has more memory. */
export const offeredFileBytesMax = 256 * mebi
/** A block that nobody has read for so long goes. */
export const blockIdleMs = 30_000
/** Blocks on their way to whoever caches above. */
export const offersMax = 64

// Short-circuit reads.
/** After a file of a node could not be read, nodes are asked for bytes for so long. */
export const shortCircuitPauseMs = 10_000
/** Files of nodes that are kept open, and how long nobody has read one that is not. */
export const localFilesMax = 64
export const localFileIdleMs = 1_000

// Reads at other replicas than the primary (Tivoli).
/** What a read costs however short it is counts as so many bytes. */
export const readUnitBytes = 64 * kibi
/** What was measured of a node counts half after so long. */
export const delayHalvesMs = 10_000
export const delayNodesMax = 4_096
/** Part of the choices in which a node that was never asked counts as quick, whatever its disk is said to be. */
export const triedAnywayShare = 1 / 16
/** A node that failed is asked again after so long. */
export const failureAvoidedMs = 1_000
/** Reads of which the usual delay is found. */
export const delaysKept = 256
/** A read is asked for at a second replica no sooner than this; while nothing is known of reads, after this. */
export const hedgeDelayMsMin = 2
export const hedgeDelayMsUnknown = 50
/** At most this part of the reads is asked for twice, so many in a row. */
export const hedgeShare = 0.1
export const hedgeBurstMax = 32

/** A file that is created or else opened is looked for again this often when others remove it in between. */
export const createAttemptsMax = 8

export const xattrsCachedPerInodeMax = 16
