/** What the embedded master calls itself: the version whose recorded behaviour it follows. */
export const mesosVersion = '1.12.0'

/** Offers are made at this interval, and at once when something new may be offered. */
export const allocationIntervalMs = 1000
export const heartbeatIntervalMs = 15_000
/** As Mesos: 5 pings in a row, one each 15 s. */
export const pingTimeoutMsDefault = 75_000
/** Agents have so long to come back after a restart of the master. */
export const reregisterTimeoutMs = 600_000
export const inverseFiltersMax = 1000
export const refuseSecondsDefault = 5
export const refuseSecondsMax = 31_536_000
/** Below both, an agent's free resources are not worth an offer. */
export const offerCpusMin = 0.01
export const offerMemMinMb = 32

/** An update that is not acknowledged is sent again after this long, then after twice as long, ... */
export const updateRetryMsMin = 10_000
export const updateRetryMsMax = 600_000
/** From SIGTERM to SIGKILL when neither the task nor the KILL says. */
export const killGraceMsDefault = 3000
/** What a timer can wait. */
export const killGraceMsMax = 2_147_483_647
/** Seconds that still fit the 64-bit nanoseconds of a Mesos duration. */
export const durationSecondsMax = 9_223_372_036

/** After a restart of the master, frameworks have at least this long to come back. */
export const recoveredFrameworkMsMin = 600_000

export const completedFrameworksMax = 50
export const completedTasksMax = 100
export const statusesPerTaskMax = 16
/** Beyond it, changes of a task's health are not told until updates are acknowledged. */
export const updatesPerTaskMax = 32
export const tasksMax = 10_000
export const operationsUnacknowledgedMax = 10_000
export const frameworksMax = 1000
/** Operators that watch events: the oldest is disconnected for one more. */
export const watchersMax = 100
export const filtersPerFrameworkMax = 256
/** Offer ids are never used again: this many are set aside in the store at a time. */
export const offerIdsPerReservation = 10_000

export const bodyLengthMaxBytes = 8 * 1024 * 1024
/** A subscriber that leaves more than this unread is disconnected. */
export const streamQueuedMaxBytes = 64 * 1024 * 1024
/** Longer than a client's pauses between calls, so that no call meets a closing connection. */
export const keepAliveMs = 120_000

/** Health checks are not made more often, nor more rarely. */
export const healthIntervalMsMin = 10
export const healthIntervalMsMax = 2_147_483_647

/** How often a task that is not a child of this process is looked at. */
export const adoptedPollMs = 500
/** How often, and for how long, the rest of a process group is waited for after its leader has ended. */
export const groupPollMs = 20
export const groupGoneMsMax = 5000
export const outputCheckIntervalMs = 30_000
/** A larger stdout or stderr of a task moves to `stdout.1` or `stderr.1`. */
export const outputLengthMaxBytes = 16 * 1024 * 1024
/** Sandboxes of ended tasks that are kept for people to look into. */
export const sandboxesKeptMax = 20

export const portsDefault = { begin: 31_000, end: 32_000 }
export const cpusUndetected = 1
export const memUndetectedMb = 1024
export const diskUndetectedMb = 10_240
