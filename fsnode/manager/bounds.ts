/** The manager's bounds, in one place; docs/manager.md lists what each protects. */

/** A node may serve this long after it sent the heartbeat that was answered last. */
export const nodeLeaseMs = 3_000
/** By how much the manager waits longer: clocks of two machines may differ by this in a lease's time. */
export const leaseMarginMs = 200
export const heartbeatIntervalMs = 500
export const heartbeatTimeoutMs = 1_000

/** Two heartbeats of a node are at least this far apart. */
export const heartbeatGapMsMin = 20
/** How long a node's agent lets one registration be retried before it reports and begins anew. */
export const registerPatienceMs = 10_000
export const agentRetryMsMin = 50
export const agentRetryMsMax = 2_000
/** How long a node that hears of a newer map waits for it before it asks. */
export const catchUpDelayMs = 100
/** How long a node's request for a newer map waits. */
export const followWaitMs = 10_000

/** The manager looks at everything this often, and at once when something happens. */
export const decideIntervalMs = 100
/** Replicas that are copied to one node, and from one node, at once. */
export const syncsPerNodeMax = 4
/** A replica that was reported is not brought up again before. */
export const resyncDelayMs = 2_000
/** Leads that are moved back to the placement's choice, per interval. */
export const leadMovesMax = 8
export const leadMovesIntervalMs = 1_000
/** Leads that leave a node which is going to be away, in one change: they are not to wait until it is. */
export const yieldLeadsMax = 256
/** How long a request that asks a node to yield waits until it does. */
export const yieldWaitMs = 2_000
/** Partitions of one plan that have one replica more than they need because one is being moved. */
export const replicaMovesMax = 8
/** Copies for moves from one node, and to one node, at once, unless set otherwise. */
export const copiesPerNodeDefault = 2
export const copiesPerNodeMax = 64
/** Members of the manager, and of metadata groups where there are enough nodes; of volumes with more replicas than three, more. */
export const managersWanted = 3
export const membersWanted = 3
export const membersLargeVolume = 5
export const replicasWithLargeGroups = 4
/** Raft groups whose members are changed at once. */
export const memberChangesMax = 4
/** Plans that have ended and are still told of. */
export const plansKeptMax = 32
/** Plans that wait or run at once. */
export const plansUnfinishedMax = 32
/** A copy is given up for now when its target stays away this long. */
export const moveTargetAwayMsMax = 60_000
/** A node's replicas may differ from its share by one and this part of it before replicas move for that reason alone. */
export const unevenHawaiiMax = 0.05
export const unevenTivoliMax = 0.25
/** Replicas of a Tivoli volume follow what disks measure only when that has lasted so long. */
export const scoreSettleMs = 10 * 60_000
/** Partitions of a volume that are brought to a point at which they can be split, at once: this share of them, within bounds. The map travels with each step. */
export const splitsAtOnceShare = 1 / 16
export const splitsAtOnceMin = 16
export const splitsAtOnceMax = 256
/** How often moves are planned anew. */
export const planIntervalMs = 5_000
/** Time over which a partition's load is averaged. */
export const loadAverageMs = 10_000
/** A node that is down this long gets its replicas replaced elsewhere. */
export const replaceAfterMs = 10 * 60_000
/** How often what nodes measure is written into the map, where it changed by enough. */
export const measuresIntervalMs = 10_000
export const measureChangeMin = 0.25
export const usageChangeMin = 0.01

/** Requests for a newer map that wait at one node. Beyond, they are answered without. */
export const mapWaitersMax = 4_096
export const mapWaitMsMax = 30_000
/** Requests that wait for a decision of the manager. */
export const decisionWaitersMax = 10_000
export const decisionWaitMsMax = nodeLeaseMs + leaseMarginMs + 4_000
/** Changes that wait for their turn, and how often one is decided anew because the map changed meanwhile. */
export const changesQueuedMax = 1_000
export const changeAttemptsMax = 10
/** Decisions that may follow one another without a pause. */
export const decisionsPerTurnMax = 8
/** Reports and notices kept for the next decision. */
export const noticesMax = 100_000

export const nodesMax = 4_096
export const volumesMax = 1_000
export const dataPartitionsMax = 65_536
export const replicasMax = 7
export const chunkSizeBytesMin = 64 * 1024
export const chunkSizeBytesMax = 64 * 1024 * 1024
export const inlineBytesMaxMax = 64 * 1024
export const nameLengthMax = 63
export const domainLevelsMax = 8
/** Replaced incarnations remembered per node: none of them may come back. */
export const formerIncarnationsMax = 16

export const chunkSizeBytesDefault = 4 * 1024 * 1024
export const inlineBytesDefault = 16 * 1024
export const dataPartitionsPerNode = 4
export const dataPartitionsMin = 8
export const metadataPartitionsDefault = 2
