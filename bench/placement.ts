import { parseArgs } from 'node:util'
import { print, printJson, printTable } from '../cli/output.ts'
import { copysetsOf, lossOf } from '../partitioning/copysets.ts'
import { leastMovesOf } from '../partitioning/fewest-moves.ts'
import { hawaii, type PlacementNode } from '../partitioning/hawaii.ts'
import { planMoves } from '../partitioning/planner.ts'
import type { NodeId } from '../partitioning/types.ts'
import { Ring, Straw2 } from './placement-peers.ts'

// npm run bench:placement [-- --nodes 1000 --racks 50 --partitions 65536 --replicas 3 --weighted --json]
// Hawaii against straw2 (CRUSH) and plain consistent hashing on the same cluster: balance, movement, copysets,
// and what Hawaii's own limits say: time and memory on one core. Exits with 1 if a limit is not met.
const { values: options } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    racks: { type: 'string', default: '50' },
    partitions: { type: 'string', default: '65536' },
    replicas: { type: 'string', default: '3' },
    weighted: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false }
  }
})

/** The limits that Hawaii must meet, at the default size. */
const limits = { firstMs: 2_000, memoryMb: 500, planMs: 1_000, replicasToMean: 1.02, movedToLeast: 1.1 }

const [nodeCount, rackCount, partitionCount, replicas] = [options.nodes, options.racks, options.partitions, options.replicas].map(Number) as [number, number, number, number]
const nodeOf = (at: number, name = 'node'): PlacementNode => ({ id: `${name}-${at}`, weight: options.weighted ? 1 + (at * 7919 % 13) / 4 : 1, domain: [`rack-${at % rackCount}`] })
const nodes = Array.from({ length: nodeCount }, (_, at) => nodeOf(at))
const rackSize = Math.ceil(nodeCount / rackCount)
const changes: Array<[string, PlacementNode[]]> = [
  ['a node comes', [...nodes, { id: 'new-0', weight: 1, domain: ['rack-0'] }]],
  ['a node is lost', nodes.slice(1)],
  ['a rack comes', [...nodes, ...Array.from({ length: rackSize }, (_, at) => ({ ...nodeOf(at, 'new'), domain: ['rack-new'] }))]],
  ['a rack is lost', nodes.filter(({ domain }) => domain[0] !== 'rack-1')]
]

type Sets = NodeId[][]
type Policy = (nodes: PlacementNode[], before: Sets | null) => Sets

interface Row {
  policy: string
  replicasToMean: number
  replicasToMeanMin: number
  primariesToMean: number
  copysets: number
  scatterWidth: number
  loss: number
  moved: Record<string, { moved: number, least: number, ms: number, planMs: number | null, moves: number | null }>
}

const partitions = Array.from({ length: partitionCount }, (_, at) => ({ id: `1.d.${at}`, replicas }))
const placedAs = (sets: Sets | null) => partitions.map((partition, at) => ({ ...partition, current: sets?.[at] ?? [], primary: sets?.[at]?.[0] ?? null }))
const policies: Record<string, Policy> = {
  hawaii: (some, before) => hawaii({ nodes: some, partitions: placedAs(before) }).assignments.map((assignment) => assignment.replicas),
  straw2: (some) => hashed(new Straw2(some)),
  'consistent hashing': (some) => hashed(new Ring(some))
}

function processorMs (): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function hashed (placer: { place (partition: number, replicas: number): NodeId[] }): Sets {
  return partitions.map((_, at) => placer.place(at, replicas))
}

// First of all, in a process that has done nothing else. Processor time, of all threads: what one core would take,
// whatever else the machine does; with what it took to start.
const firstSets = policies['hawaii']!(nodes, null)
const first = { ms: processorMs(), memoryMb: process.resourceUsage().maxRSS / 1024 }
const rows = Object.entries(policies).map(([name, policy]) => measure(name, policy, name === 'hawaii' ? firstSets : policy(nodes, null)))
const missed = missedLimits(rows[0]!)
if (options.json) printJson({ nodes: nodeCount, racks: rackCount, partitions: partitionCount, replicas, weighted: options.weighted, first, rows, limits, missed })
else report()
process.exitCode = missed.length === 0 ? 0 : 1

function measure (policy: string, place: Policy, sets: Sets): Row {
  const weights = nodes.reduce((sum, { weight }) => sum + weight, 0)
  const counted = (of: (set: NodeId[]) => NodeId[]): number[] => {
    const counts = new Map(nodes.map(({ id }) => [id, 0]))
    for (const set of sets) for (const id of of(set)) counts.set(id, counts.get(id)! + 1)
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
    return nodes.map(({ id, weight }) => counts.get(id)! / (total * weight / weights))
  }
  const spread = counted((set) => set)
  const copysets = copysetsOf(sets)
  return {
    policy,
    replicasToMean: Math.max(...spread),
    replicasToMeanMin: Math.min(...spread),
    primariesToMean: Math.max(...counted((set) => set.slice(0, 1))),
    copysets: copysets.distinct,
    scatterWidth: copysets.scatterWidthMean,
    loss: lossOf(copysets, nodeCount, replicas).probability,
    moved: Object.fromEntries(changes.map(([name, changed]) => [name, change(policy, place, sets, changed)]))
  }
}

function change (policy: string, place: Policy, sets: Sets, changed: PlacementNode[]): Row['moved'][string] {
  const input = { nodes: changed, partitions: placedAs(sets) }
  const start = processorMs()
  const after = place(changed, sets)
  const ms = processorMs() - start
  const moved = after.reduce((sum, set, at) => sum + set.filter((id) => !sets[at]!.includes(id)).length, 0)
  if (policy === 'hawaii') return { moved, ms, least: leastMovesOf(input, hawaii(input)), ...plan(sets, after, changed, ms) }
  // Whoever hashes has no target beside the hash: what the lost nodes held, or the new ones get, must move.
  const known = new Set(nodes.map(({ id }) => id))
  const left = new Set(changed.map(({ id }) => id))
  const lost = sets.flat().filter((id) => !left.has(id)).length
  const gained = after.flat().filter((id) => !known.has(id)).length
  return { moved, ms, least: Math.max(lost, gained), planMs: null, moves: null }
}

/** From what is and what shall be to the ordered moves. */
function plan (before: Sets, after: Sets, changed: PlacementNode[], placedMs: number): { planMs: number, moves: number } {
  const began = processorMs()
  const left = new Set(changed.map(({ id }) => id))
  const known = new Map([...nodes, ...changed].map((node) => [node.id, node]))
  const { moves } = planMoves({
    nodes: [...known.values()].map(({ id, domain }) => ({ id, domain, state: left.has(id) ? 'up' : 'gone' })),
    partitions: partitions.map(({ id }, at) => ({ id, primary: before[at]![0]!, bytes: 1, replicas: before[at]!.map((node) => ({ node, serving: left.has(node) })) }))
  }, { partitions: partitions.map(({ id }, at) => ({ id, replicas: after[at]! })) })
  return { planMs: placedMs + processorMs() - began, moves: moves.length }
}

function missedLimits (row: Row): string[] {
  const found: string[] = []
  const check = (name: string, value: number, limit: number): void => { if (value > limit) found.push(`${name}: ${value.toFixed(3)}, at most ${limit}`) }
  check('first assignment, ms', first.ms, limits.firstMs)
  check('memory, MB', first.memoryMb, limits.memoryMb)
  check('replicas, most to mean', row.replicasToMean, limits.replicasToMean)
  for (const [name, { moved, least, planMs }] of Object.entries(row.moved)) {
    check(`${name}: place and plan, ms`, planMs!, limits.planMs)
    check(`${name}: moved to least`, moved / Math.max(1, least), limits.movedToLeast)
  }
  return found
}

function report (): void {
  print(`${nodeCount} nodes${options.weighted ? ' of unlike weight' : ''} in ${rackCount} racks, ${partitionCount} partitions, ${replicas} replicas\n`)
  printTable(['', ...rows.map(({ policy }) => policy.toUpperCase())], [
    ['replicas, most to mean', ...rows.map((row) => row.replicasToMean.toFixed(3))],
    ['replicas, least to mean', ...rows.map((row) => row.replicasToMeanMin.toFixed(3))],
    ['primaries, most to mean', ...rows.map((row) => row.primariesToMean.toFixed(3))],
    ['copysets', ...rows.map((row) => row.copysets)],
    ['scatter width', ...rows.map((row) => row.scatterWidth.toFixed(0))],
    [`loss when ${replicas} nodes go at once`, ...rows.map((row) => row.loss.toExponential(1))],
    ...changes.map(([name]) => [`${name}: moved (least)`, ...rows.map(({ moved }) => `${moved[name]!.moved} (${moved[name]!.least})`)])
  ])
  print(`\nHawaii: first assignment ${first.ms.toFixed(0)} ms of processor time, at most ${first.memoryMb.toFixed(0)} MB in use`)
  for (const [name] of changes) print(`Hawaii: ${name}: placed in ${rows[0]!.moved[name]!.ms.toFixed(0)} ms, with ${rows[0]!.moved[name]!.moves} moves planned in ${rows[0]!.moved[name]!.planMs!.toFixed(0)} ms`)
  print(missed.length === 0 ? '\nall limits are met' : `\nnot met: ${missed.join('; ')}`)
}
