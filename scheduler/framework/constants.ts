/** Members of the first manager group; fewer when fewer nodes are wanted at first. */
export const managerGroupSizeMax = 3
export const nodesMax = 1000

/** Refusal of what is of no use: a REVIVE takes it back when that changes. */
export const declineLongSeconds = 3600
/** Refusal of an offer that holds only a part of what was reserved: the next one may hold the rest. */
export const declineShortSeconds = 1

/** From the RESERVE to the proof of the volume; then the place is given up and another one is looked for. */
export const reserveTimeoutMs = 60_000
/** A launched task of which nothing is heard for so long is asked for. */
export const launchTimeoutMs = 30_000
/** A KILL may be forgotten by an agent that is away: it is repeated. */
export const killRepeatMs = 5_000

/** A task that ran this long was well: the back-off starts anew. */
export const stableAfterMs = 120_000
export const relaunchBackoffMinMs = 1_000
export const relaunchBackoffMaxMs = 60_000

export const reviveIntervalMinMs = 250
/** While something is wanted, filters are cleared this often. */
export const reviveRepeatMs = 60_000

/** What is wanted and not offered for so long, for all REVIVEs, may be held by an offer that never reached us: the subscription is made anew. Doubles each time that this was in vain. */
export const starvedMinMs = 5 * 60_000
export const starvedMaxMs = 60 * 60_000

export const reconcileBackoffMinMs = 1_000
export const reconcileBackoffMaxMs = 60_000
export const reconcileIntervalMs = 15 * 60_000

/** After a start from a copy of the records: until then what is there has shown itself. */
export const restoreGraceMs = 15_000
/** How long offers are looked through for reservations that were given up. */
export const garbageSearchMs = 10 * 60_000
/** Resource ids given up and perhaps still reserved somewhere. */
export const garbageLengthMax = 10_000

export const evaluationsKeptMax = 200
/** Offers that are remembered of one look for one node, beside the chosen one. */
export const evaluationsPerNodeMax = 20
/** Update uuids remembered to know a repetition. */
export const updatesSeenMax = 1_000
/** Inputs waiting for the store; above it the subscription is started anew. */
export const inputQueueLengthMax = 10_000

/** Delay before a failed write of the records is tried again; nothing is done meanwhile. */
export const storeRetryMs = 1_000

export const killGraceMsDefault = 10_000
/** How long a node may be away before another one stands in for it. */
export const replaceAfterMsDefault = 10 * 60_000
/** A node without a task whose volume was not offered for so long: what has become of its agent is asked for, again and again. */
export const probeIntervalMs = 60_000
/** What the cluster said of itself this long ago is no ground to take anything away. */
export const viewAgeMaxMs = 30_000
/** A map that comes so long after something was made with knowledge of it. */
export const viewLagMs = 10_000
/** A request to the cluster to move data off a node, or to stop that, is repeated. */
export const drainRepeatMs = 10_000
/** A node that was restarted for an update and fails this often holds the update up. */
export const updateAttemptsMax = 3
/** A node that is going to be away is not waited for any longer until others lead what it leads. */
export const yieldPatienceMs = 30_000
/** The request for that is repeated. */
export const yieldRepeatMs = 5_000
/** A node that yields though nobody here wants it is about to end, unless it is still there after so long. */
export const yieldEndMs = 10_000
/** Reservations without a node that are looked for before an uninstall is taken to be done. */
export const uninstallQuietMs = 15_000
/** Or the master has said so often that nothing is left. */
export const uninstallProofs = 2
export const failoverTimeoutMsDefault = 7 * 24 * 3600_000
export const shutdownTimeoutMsDefault = 60_000

/** Of a machine that may not go: it is asked about again. */
export const inverseOfferRefuseSeconds = 20
/** From so long before it begins a machine's maintenance is near: others lead what it leads, whether it may go or not. */
export const maintenanceNearMs = 10 * 60_000
/** Agents of which the last answer is remembered. */
export const maintenanceAnswersMax = 1_000
/** Inverse offers that were accepted come again every few seconds; one that has not come for so long stands no more. */
export const maintenanceConsentMs = 60_000
/** The same of those that were declined: they come again when they may. */
export const maintenanceRefusalMs = 60_000

/** Path of the volume in the task's sandbox. */
export const volumePath = 'data'

export const labelResourceId = 'resource_id'
export const labelCluster = 'atoll_cluster'
export const labelNode = 'atoll_node'
