/** What we ask for; the server may give another. Without a word for so long the session is over. */
export const sessionTimeoutMs = 10_000
export const connectTimeoutMs = 5_000
/** ZooKeeper's own bound of a packet (jute.maxbuffer), with room. */
export const packetLengthMaxBytes = 4 * 1024 * 1024
export const requestsWaitingMax = 64

export const reconnectMinMs = 250
export const reconnectMaxMs = 10_000
/** The masters' folder is looked at again after a look that failed for another reason than the connection. */
export const lookAgainMs = 2_000
