/** Bounds of the metadata service. Each queue, cache, retry and record has one. */

/** How long a session's leases hold after its last renewal. */
export const leaseDurationMs = 6_000
export const sessionScanMs = 500
/** How long a session that is not renewed is kept, if nobody wants what it holds, */
export const courtesyMs = 3_600_000
/** and while there are no more sessions than these. */
export const courtesySessionsMax = 1_024
export const sessionsMax = 4_096
export const sessionIdBytesMax = 128
export const clientNameBytesMax = 1_024
/** Remembered answers per session: a client has at most this many unanswered mutations. */
export const resultsPerSessionMax = 512
/** Changes that failed, of those that a session decided by itself: remembered until so many more have failed. */
export const failedChangesKept = 64
/** Inode numbers given to a session at a time. */
export const inodesPerRequestMax = 65_536
/** Leases over all sessions of a partition; beyond it the oldest are recalled. */
export const leasesMax = 200_000
export const leaseEvictionBatch = 64
/** A client that keeps renewing but does not answer a recall loses its session after this time. */
export const recallMsMax = 60_000
/** Requests that are being served or wait, per partition; more are refused with ATOLL_UNAVAILABLE. */
export const requestsMax = 20_000

/** A new leader that cannot catch up yet tries again. */
export const openRetryMs = 20

/** The longest chain of parents that a walk follows; deeper trees refuse to move directories. */
export const depthMax = 10_000
export const fileSizeBytesMax = 2 ** 53 - 1
export const xattrNameBytesMax = 255
export const xattrValueBytesMax = 65_536
/** All extended attributes of one inode. */
export const xattrsBytesMax = 131_072

/** Other partitions that one which is full asks how full they are, */
export const fillingsAsked = 8
/** so often, */
export const fillingAgeMsMax = 5_000
/** and does not count those that do not answer in time. */
export const fillingTimeoutMs = 2_000

export const readdirEntriesMax = 1_000
/** Inline contents that travel with one answer to readdir. */
export const readdirInlineBytesMax = 262_144
export const readdirInlineFileBytesMax = 4_096

export const inodeCacheMax = 50_000
export const entryCacheMax = 50_000
export const contentCacheMax = 1_000
export const xattrCacheMax = 1_000
/** Changes are collected this long before they are written to the store. */
export const writeBehindDelayMs = 20
export const writeBehindKeysMax = 1_024
/** Changes that are not in the store yet; above it mutations wait. */
export const overlayKeysMax = 100_000
export const writeRetryMs = 1_000
export const snapshotChunkBytes = 262_144
export const restoreBatchKeys = 1_024

/** Chunks that one truncation or clean-up cuts at the same time. */
export const cutParallel = 8
/** Chunks cut between two records of progress. */
export const cutProgressChunks = 1_024
export const cutRetryMsMin = 100
export const cutRetryMsMax = 10_000
export const garbageFilesParallel = 4
export const garbageBatch = 64
export const garbageIntervalMs = 1_000
export const garbageChunksPerSecond = 5_000

export const prepareTimeoutMs = 8_000
/** A participant waits this long for a resource before it refuses to prepare: two operations that wait for each other end so. */
export const prepareWaitMs = 1_000
export const transactionRetriesMax = 20
export const transactionRetryMs = 20
/** After a decision the answer waits this long for the participants; they are told for ever. */
export const finishPatienceMs = 2_000
export const finishRetryMsMin = 100
export const finishRetryMsMax = 5_000
/** A participant that has heard nothing since it prepared asks the coordinator. */
export const outcomeCheckMs = 2_000
