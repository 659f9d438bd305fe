/** The bounds of consensus. Each can be overridden through an init, which tests and slow networks do. */

export interface RaftTiming {
  /** A leader's followers hear from it at least this often. */
  heartbeatMs: number
  /** A follower that heard from a leader less than this ago supports no other one. */
  electionTimeoutMsMin: number
  /** A follower campaigns at a random moment between the two bounds. */
  electionTimeoutMsMax: number
  /** What the lease is shorter than electionTimeoutMsMin: allows for clocks that run at different speeds. */
  leaseMarginMs: number
  /** How often all groups of a host look at the clock. */
  tickMs: number
  /** An unanswered probe or snapshot chunk is sent again after this. */
  resendMs: number
  /** A joining member that has not caught up by then is not added. */
  joinTimeoutMs: number
  /** A restore that has got no chunk for this long is given up. */
  snapshotIdleMs: number
}

export const defaultTiming: RaftTiming = {
  heartbeatMs: 200,
  electionTimeoutMsMin: 1_000,
  electionTimeoutMsMax: 2_000,
  leaseMarginMs: 150,
  tickMs: 50,
  resendMs: 500,
  joinTimeoutMs: 30_000,
  snapshotIdleMs: 15_000
}

export interface RaftLimits {
  /** Entries in one append message; at least one is sent however large. */
  appendEntriesMax: number
  appendBytesMax: number
  /** Append messages under way to one follower. */
  appendsInFlightMax: number
  /** Of one group to one follower: what one that was stopped has to take before it hears anything new. */
  bytesInFlightMax: number
  /** Proposals that are not applied yet; more are refused. */
  proposalsMax: number
  proposalBytesMax: number
  /** Recent entries kept in memory per group. */
  cacheBytesMax: number
  /** The log is cut when it is longer than either. */
  logEntriesMax: number
  logBytesMax: number
  /** What a cut leaves for followers that are a little behind. */
  logTailEntries: number
  logTailBytes: number
  snapshotChunkBytesMax: number
  /** Entries applied in one turn of the event loop. */
  applyEntriesMax: number
}

export const defaultLimits: RaftLimits = {
  appendEntriesMax: 1_024,
  appendBytesMax: 512 * 1024,
  appendsInFlightMax: 64,
  bytesInFlightMax: 1024 * 1024,
  proposalsMax: 16_384,
  proposalBytesMax: 32 * 1024 * 1024,
  cacheBytesMax: 8 * 1024 * 1024,
  logEntriesMax: 32_768,
  logBytesMax: 64 * 1024 * 1024,
  logTailEntries: 8_192,
  logTailBytes: 8 * 1024 * 1024,
  snapshotChunkBytesMax: 256 * 1024,
  applyEntriesMax: 1_024
}

/** A snapshot on its way may keep the log this many times longer than its bounds. */
export const snapshotLogsMax = 3
/** A log that cannot be cut takes proposals up to this many times its bound of bytes. */
export const uncutLogsMax = 4

/** One command. Larger ones are refused before they enter the log. */
export const commandBytesMax = 4 * 1024 * 1024
