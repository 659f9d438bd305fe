/** A volume of the scheduler's own: its state is in attributes of the root directory. */
export const stateVolume = 'atoll-scheduler'
export const stateReplicasMax = 3
/** Compressed; some hundreds of nodes. Two of them fit into the attributes of one directory. */
export const stateBytesMax = 60 * 1024
/** One request to the cluster, with all its attempts. */
export const requestPatienceMs = 10_000

/** How long a change may wait until it is written to the cluster. */
export const mirrorDelayMs = 1_000
export const beatIntervalMs = 5_000
/** A beat that stands still for so long: whoever stands by acts. */
export const takeoverAfterMs = 30_000
export const watchIntervalMs = 5_000
