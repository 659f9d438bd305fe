/** Bounds and times of replication, in one place. See docs/replication.md for what depends on what. */

/** A replica that does not answer an apply in this time has failed. */
export const applyTimeoutMs = 5_000
/** The same for one that waits for a disk's stable storage. */
export const syncTimeoutMs = 30_000
export const helloTimeoutMs = 1_500
/** How long the primary tries to reach a replica again before it reports it. */
export const replicaPatienceMs = 1_000
/** The same, while the replica answers but knows another epoch. */
export const epochPatienceMs = 10_000
export const retryDelayMsMin = 10
export const retryDelayMsMax = 250
/** Mutations and their payloads that wait for one replica; beyond, clients are told to come again. */
export const linkPendingBytesMax = 64 * 1024 * 1024
/** Payload of clients' writes that one node holds while they are under way; beyond, likewise. */
export const nodePendingBytesMax = 256 * 1024 * 1024
/** What an entry costs beside its payload. */
export const entryBytes = 512
/** How soon replicas learn what is committed when nothing else is sent to them. */
export const settleDelayMs = 20
/** Clients of which the last attempt's order is remembered, per partition. */
export const writersMax = 4096
/** Changed chunks that are remembered, per partition: between this and twice as many. */
export const recentChangesMax = 4_096
/** Attempts to repair a chunk before its error is handed on. */
export const healAttemptsMax = 3
export const healPollMs = 10
/** One attempt of a manager request by a replica. */
export const managerPatienceMs = 5_000
/** For how long a read lease lets a secondary serve reads; writes may wait as long after it was dropped. */
export const readLeaseMs = 1_000
/**
 * A lead is lost in one epoch, won in a later one, and lost in another (partitioning/replica-states.ts): whoever missed fewer epochs than that
 * missed no leader.
 */
export const leadersHiddenEpochs = 3
/**
 * After this time nobody serves reads any more by a lease of a policy that the volume had before: whoever granted it has learned so, or
 * has lost its own lease from the manager (3.2 s), and what it granted has run out.
 */
export const tivoliForgottenMs = 5_000
/** Clocks may run apart by a tenth of the lease. */
export const readLeaseMarginMs = 100
/** Chunks of which digests travel in one answer. */
export const digestPageMax = 512
export const digestParallel = 4
/** Chunks on their way to a replica that catches up: bounds the bytes in flight. */
export const pullParallel = 3
export const pullTimeoutMs = 30_000
/** How often a copy that is damaged when it is read back is made anew. */
export const verifyAttemptsMax = 3
/** A listing of a partition's chunks is kept for the next page. */
export const listingAgeMsMax = 60_000
export const recoveryRetryMsMin = 100
export const recoveryRetryMsMax = 5_000
/** Largest piece of a chunk in one answer to who repairs one. */
export const pieceBytesMax = 8 * 1024 * 1024
/** Chunks are copied in pieces that buffers of the pool hold: larger ones cost page faults, and the engine full collections. */
export const copyPieceBytes = 1024 * 1024
/** Scrub reads so much per second unless told otherwise. */
export const scrubBytesPerSecond = 64 * 1024 * 1024
/** How often the primary asks whether replicas have compared what was left open, while they have not. */
export const reconcilePollMs = 500
/** Before a partition is split: how long changes wait for those under way, and then for the manager. */
export const splitDrainMsMax = 500
export const splitDecisionMsMax = 1_000
export const splitRetryMsMin = 100
/** Clients must not wait again and again for what cannot be done. */
export const splitRetryMsMax = 10_000
/** Files that could not be moved after a split are tried again. */
export const sweepRetryMs = 5_000
