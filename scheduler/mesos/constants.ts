/** Path of the scheduler API on a master. */
export const schedulerPath = '/api/v1/scheduler'

/** Heartbeats that may be missed before the stream is taken for dead. */
export const heartbeatsMissedMax = 5
/** Until SUBSCRIBED names the master's own interval. */
export const heartbeatIntervalDefaultMs = 15_000
export const heartbeatIntervalMinMs = 100
/** From the connect to the SUBSCRIBED event. */
export const subscribeTimeoutMs = 10_000

export const backoffMinMs = 500
export const backoffMaxMs = 15_000
/** Redirects followed in a row before the next configured master is tried. */
export const redirectHopsMax = 5

export const operatorTimeoutMs = 10_000
/** Thousands of agents with their resources. */
export const operatorAnswerMaxBytes = 256 * 1024 * 1024
export const callTimeoutMs = 30_000
/** Calls waiting to be sent. Above it the session is started anew: the master offers and reports everything again. */
export const callQueueLengthMax = 10_000
/** Bytes of an error body that are kept for the message. */
export const errorBodyMaxBytes = 4096
