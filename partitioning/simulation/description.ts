import type { DataPartition, NodeInfo } from '../types.ts'

/** What is simulated, as a person writes it. Sizes are numbers of bytes, or text like '4 TB', '500 MiB'. */
export type Size = number | string

export interface NodeGroup {
  /** Their names are this and a number; default 'node'. */
  name?: string
  count?: number
  /** Widest first. '%5' in a name stands for the node's number modulo 5: 'rack-%5' deals the nodes out to five racks. */
  domain?: string[]
  capacity: Size
  /** Bytes/s of its disk; default 200 MB/s. */
  read?: Size
  write?: Size
  /** Share of time in which the disk is busy with other things, 0 to 1. */
  busy?: number
  /** How often a node is lost for good; default that of `failures`. */
  lossesPerYear?: number
}

export interface VolumeGroup {
  name?: string
  replicas: number
  partitions: number
  /** What users store, each byte once. */
  bytes?: Size
  /** Bytes/s that users read and write. */
  reads?: Size
  writes?: Size
  /** 0: all partitions alike; 1: the second busiest has half the load of the busiest, the third a third (Zipf). */
  skew?: number
  scatterWidth?: number
}

export interface FailureModel {
  /** Of one node, for good. */
  lossesPerYear?: number
  /** Until a silent node's replicas are replaced. */
  replaceAfterSeconds?: number
  /** Part of each disk's bandwidth that copies may take. */
  copyShare?: number
  /** Whole domains that are lost for good with all nodes in them: how often, each. Level 0 is the widest. */
  domains?: Array<{ level: number, lossesPerYear: number }>
  /** Events after which this share of all nodes, wherever they are, does not come back (power). */
  outages?: { perYear: number, lostShare: number }
}

export interface GrowthStep {
  name?: string
  add?: NodeGroup[]
  /** Names of nodes that go. */
  remove?: string[]
  /** What is stored and the load are multiplied by this. */
  grow?: number
}

export interface Description {
  nodes: NodeGroup[]
  volumes: VolumeGroup[]
  failures?: FailureModel
  growth?: GrowthStep[]
}

export interface SimulatedNode {
  info: NodeInfo
  lossesPerYear: number
}

export interface SimulatedVolume {
  name: string
  replicas: number
  partitions: number
  bytes: number
  reads: number
  writes: number
  skew: number
  scatterWidth: number | undefined
  /** Where the partitions are now; left out: to be placed first. */
  placed?: DataPartition[]
}

export interface SimulatedStep { name: string, add: SimulatedNode[], remove: string[], grow: number }

export interface Simulation {
  nodes: SimulatedNode[]
  volumes: SimulatedVolume[]
  failures: Required<FailureModel>
  growth: SimulatedStep[]
}

/** Says where in a description something is wrong. */
export class DescriptionError extends Error {}

export const simulatedNodesMax = 4_096
export const simulatedPartitionsMax = 65_536
export const simulatedReplicasMax = 7
export const growthStepsMax = 50
export const bandwidthDefault = 200e6
export const failuresDefault: Required<FailureModel> = {
  lossesPerYear: 0.04, replaceAfterSeconds: 600, copyShare: 0.25, domains: [], outages: { perYear: 0, lostShare: 0.01 }
}

const unitBytes: Record<string, number> = { '': 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, pb: 1e15, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40, pib: 2 ** 50 }

/** Bytes. Throws DescriptionError. */
export function parseSize (size: unknown, where: string): number {
  const match = /^\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([kmgtp]?i?b?)(?:\/s)?\s*$/i.exec(String(size))
  const unit = unitBytes[match?.[2]?.toLowerCase() ?? 'none']
  if (match === null || unit === undefined) throw new DescriptionError(`${where}: '${String(size)}' is not a size (a number of bytes, or like '4 TB')`)
  return Number(match[1]) * unit
}

/** Checks everything and fills in defaults. Throws DescriptionError. */
export function readDescription (value: unknown): Simulation {
  const description = objectOf(value, 'the description')
  const failures = failuresOf(description['failures'])
  const names = new Map<string, number>()
  const nodes = listOf(description['nodes'], 'nodes').flatMap((group, at) => nodesOf(group, `nodes[${at}]`, failures, names))
  if (nodes.length === 0) throw new DescriptionError('nodes: there are none')
  const volumes = listOf(description['volumes'], 'volumes').map((volume, at) => volumeOf(volume, `volumes[${at}]`))
  if (volumes.length === 0) throw new DescriptionError('volumes: there are none')
  const partitions = volumes.reduce((sum, volume) => sum + volume.partitions, 0)
  if (partitions > simulatedPartitionsMax) throw new DescriptionError(`volumes: ${partitions} partitions are more than ${simulatedPartitionsMax}`)
  const steps = listOf(description['growth'] ?? [], 'growth')
  if (steps.length > growthStepsMax) throw new DescriptionError(`growth: more than ${growthStepsMax} steps`)
  const growth = steps.map((step, at) => stepOf(step, at, failures, names))
  const total = nodes.length + growth.reduce((sum, { add }) => sum + add.length, 0)
  if (total > simulatedNodesMax) throw new DescriptionError(`nodes: ${total} are more than ${simulatedNodesMax}`)
  return { nodes, volumes, failures, growth }
}

function nodesOf (value: unknown, where: string, failures: Required<FailureModel>, names: Map<string, number>): SimulatedNode[] {
  const group = objectOf(value, where)
  const count = numberOf(group['count'] ?? 1, `${where}.count`, 1, simulatedNodesMax, true)
  const name = textOf(group['name'] ?? 'node', `${where}.name`)
  const domain = listOf(group['domain'] ?? [], `${where}.domain`).map((part, at) => textOf(part, `${where}.domain[${at}]`))
  const capacityBytes = parseSize(group['capacity'], `${where}.capacity`)
  const readBandwidth = parseSize(group['read'] ?? bandwidthDefault, `${where}.read`)
  const writeBandwidth = parseSize(group['write'] ?? group['read'] ?? bandwidthDefault, `${where}.write`)
  if (!(readBandwidth > 0 && writeBandwidth > 0 && capacityBytes > 0)) throw new DescriptionError(`${where}: capacity, read and write must be above 0`)
  const utilization = numberOf(group['busy'] ?? 0, `${where}.busy`, 0, 1)
  const lossesPerYear = numberOf(group['lossesPerYear'] ?? failures.lossesPerYear, `${where}.lossesPerYear`, 0, 1000)
  return Array.from({ length: count }, (): SimulatedNode => {
    const number = names.get(name) ?? 0
    names.set(name, number + 1)
    const info: NodeInfo = {
      id: `${name}-${number}`, incarnation: '', peerId: '', host: '', rpcPort: 0, raftPort: 0, usedBytes: 0, state: 'up', capacityBytes,
      domain: domain.map((part) => part.replace(/%(\d+)/g, (_, modulo: string) => String(number % Math.max(1, Number(modulo))))),
      disk: { readBandwidth, writeBandwidth, readLatencyMs: 1, writeLatencyMs: 1, utilization }
    }
    return { info, lossesPerYear }
  })
}

function volumeOf (value: unknown, where: string): SimulatedVolume {
  const volume = objectOf(value, where)
  return {
    name: textOf(volume['name'] ?? 'main', `${where}.name`),
    replicas: numberOf(volume['replicas'] ?? 3, `${where}.replicas`, 1, simulatedReplicasMax, true),
    partitions: numberOf(volume['partitions'], `${where}.partitions`, 1, simulatedPartitionsMax, true),
    bytes: parseSize(volume['bytes'] ?? 0, `${where}.bytes`),
    reads: parseSize(volume['reads'] ?? 0, `${where}.reads`),
    writes: parseSize(volume['writes'] ?? 0, `${where}.writes`),
    skew: numberOf(volume['skew'] ?? 0, `${where}.skew`, 0, 5),
    scatterWidth: volume['scatterWidth'] === undefined ? undefined : numberOf(volume['scatterWidth'], `${where}.scatterWidth`, 1, simulatedNodesMax, true)
  }
}

function failuresOf (value: unknown): Required<FailureModel> {
  const failures = objectOf(value ?? {}, 'failures')
  const outages = objectOf(failures['outages'] ?? {}, 'failures.outages')
  const defaults = failuresDefault
  return {
    lossesPerYear: numberOf(failures['lossesPerYear'] ?? defaults.lossesPerYear, 'failures.lossesPerYear', 0, 1000),
    replaceAfterSeconds: numberOf(failures['replaceAfterSeconds'] ?? defaults.replaceAfterSeconds, 'failures.replaceAfterSeconds', 0, 1e8),
    copyShare: numberOf(failures['copyShare'] ?? defaults.copyShare, 'failures.copyShare', 0.001, 1),
    domains: listOf(failures['domains'] ?? [], 'failures.domains').map((entry, at) => {
      const domain = objectOf(entry, `failures.domains[${at}]`)
      return {
        level: numberOf(domain['level'], `failures.domains[${at}].level`, 0, 7, true),
        lossesPerYear: numberOf(domain['lossesPerYear'], `failures.domains[${at}].lossesPerYear`, 0, 1000)
      }
    }),
    outages: {
      perYear: numberOf(outages['perYear'] ?? defaults.outages.perYear, 'failures.outages.perYear', 0, 1000),
      lostShare: numberOf(outages['lostShare'] ?? defaults.outages.lostShare, 'failures.outages.lostShare', 0, 1)
    }
  }
}

function stepOf (value: unknown, at: number, failures: Required<FailureModel>, names: Map<string, number>): SimulatedStep {
  const where = `growth[${at}]`
  const step = objectOf(value, where)
  return {
    name: textOf(step['name'] ?? `step ${at + 1}`, `${where}.name`),
    add: listOf(step['add'] ?? [], `${where}.add`).flatMap((group, index) => nodesOf(group, `${where}.add[${index}]`, failures, names)),
    remove: listOf(step['remove'] ?? [], `${where}.remove`).map((name, index) => textOf(name, `${where}.remove[${index}]`)),
    grow: numberOf(step['grow'] ?? 1, `${where}.grow`, 0, 1e6)
  }
}

function objectOf (value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DescriptionError(`${where}: an object is needed`)
  return value as Record<string, unknown>
}

function listOf (value: unknown, where: string): unknown[] {
  if (!Array.isArray(value)) throw new DescriptionError(`${where}: a list is needed`)
  return value
}

function textOf (value: unknown, where: string): string {
  if (typeof value !== 'string' || value === '') throw new DescriptionError(`${where}: a text is needed`)
  return value
}

function numberOf (value: unknown, where: string, least: number, most: number, whole = false): number {
  if (typeof value !== 'number' || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
    throw new DescriptionError(`${where}: a ${whole ? 'whole ' : ''}number from ${least} to ${most} is needed`)
  }
  return value
}
