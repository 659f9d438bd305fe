import type { Placement } from '../../partitioning/types.ts'
import type { SimRandom } from './random.ts'

export const faultKinds = [
  'kill', 'power', 'power-all', 'stop', 'cut', 'isolate', 'one-way', 'reset', 'raft-loss', 'slow-network',
  'slow-disk', 'full-disk', 'client-crash', 'client-cut', 'transfer', 'scheduler-crash', 'master-crash', 'scheduler-cut', 'agent-away'
] as const

export type FaultKind = typeof faultKinds[number]

/** Everything about a run that its seed decides before it begins. */
export interface SimConfig {
  nodes: number
  /** A framework launches the nodes, and again when they end; else they are started by hand. */
  scheduled: boolean
  managers: number
  replicas: number
  placement: Placement
  dataPartitions: number
  metadataPartitions: number
  inlineBytesMax: number
  clients: number
  /** Operations that one client has under way at once. */
  workers: number
  /** Longest pause of each between two of them, ms. */
  pauseMsMax: number
  /** For how long clients work and faults happen, ms. */
  durationMs: number
  /** Pause between two faults, ms on average. */
  faultEveryMs: number
  faults: FaultKind[]
  /** Clocks of two machines run apart by up to twice this share. */
  driftMax: number
  /** Records that the journal of each client holds; 0: they have none, and decide nothing by themselves. */
  journalRecordsMax: number
  /** Clients read the nodes' files where these say that they may. */
  shortCircuit: boolean
  /** Free bytes on each node from which on clients close files without waiting for the nodes. */
  plentyBytes: number
  /** Pause between two things that an operator does (moves, drains, policies), ms on average; null: there is none. */
  operateEveryMs: number | null
  /** How often the volume's data partitions are doubled, now and then also its metadata partitions. */
  splits: number
  /** From so many inodes on a metadata partition has new directories made in others. */
  spreadInodesMin: number
  /** Of the directories that clients make one by one, how many in the root: in the others all is below few of them. */
  rootShare: number
}

/** Faults of what only some runs have. */
const schedulerFaults: readonly FaultKind[] = ['scheduler-crash', 'master-crash', 'scheduler-cut', 'agent-away']

export function drawConfig (random: SimRandom): SimConfig {
  const nodes = random.pick([3, 3, 4, 5])
  const busy = random.chance(0.3)
  const scheduled = random.chance(0.4)
  return {
    nodes,
    scheduled,
    managers: 3,
    replicas: random.pick([2, 3, 3]),
    placement: random.pick(['hawaii', 'hawaii', 'tivoli']),
    dataPartitions: random.pick([2, 4, 6]),
    metadataPartitions: random.pick([1, 2, 3]),
    inlineBytesMax: random.pick([0, 2_048, 4_096]),
    clients: random.pick([2, 3]),
    workers: random.pick([1, 2]) + (busy ? 1 : 0),
    pauseMsMax: busy ? 40 : 250,
    durationMs: (20_000 + random.below(20_000)) * (busy ? 0.4 : 1),
    faultEveryMs: random.pick([1_500, 3_000, 6_000]),
    // Not all kinds in each run: some faults hide what others would show.
    faults: faultKinds.filter((kind) => random.chance(0.6) && (scheduled || !schedulerFaults.includes(kind))),
    driftMax: random.pick([0, 0.005, 0.02]),
    operateEveryMs: random.pick([null, 1_000, 4_000]),
    journalRecordsMax: random.pick([0, 6, 1_000, 1_000]),
    shortCircuit: random.chance(0.5),
    plentyBytes: random.pick([0, 0, Infinity]),
    splits: random.pick([0, 0, 1, 2]),
    spreadInodesMin: random.pick([0, 0, 8, 1_000]),
    rootShare: random.pick([0.5, 0.02])
  }
}
