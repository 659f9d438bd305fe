import { readFileSync, writeFileSync } from 'node:fs'
import type { Command } from 'commander'
import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import { DescriptionError, readDescription, type Simulation } from '../../partitioning/simulation/description.ts'
import { simulationOf } from '../../partitioning/simulation/from-map.ts'
import { plotSvg } from '../../partitioning/simulation/plot.ts'
import { simulate, type PolicyReport, type StepReport } from '../../partitioning/simulation/simulate.ts'
import type { Placement } from '../../partitioning/types.ts'
import { withCluster, withClusterOptions, type ClusterOptions } from '../find-cluster.ts'
import { formatBytes, print, printJson, printTable } from '../output.ts'

interface SimulateOptions extends ClusterOptions { json?: boolean, svg?: string, placement?: string }

const placements: Placement[] = ['hawaii', 'tivoli']

export function simulateCommand (program: Command): void {
  withClusterOptions(program.command('simulate [description]'))
    .description('what each placement policy makes of a described cluster (a JSON file, - for standard input), or of the live one')
    .option('--placement <policy>', 'only this one: hawaii or tivoli')
    .option('--svg <file>', 'write a plot')
    .option('--json', 'for programs')
    .addHelpText('after', `
A description:
  {
    "nodes": [{ "count": 40, "domain": ["zone-%2", "rack-%10"], "capacity": "20 TB", "read": "500 MB", "write": "400 MB" }],
    "volumes": [{ "replicas": 3, "partitions": 4096, "bytes": "100 TB", "reads": "4 GB", "writes": "1 GB", "skew": 0.5 }],
    "failures": { "lossesPerYear": 0.04, "domains": [{ "level": 1, "lossesPerYear": 0.002 }], "outages": { "perYear": 1, "lostShare": 0.01 } },
    "growth": [{ "name": "ten more", "add": [{ "count": 10, "domain": ["zone-%2", "rack-%10"], "capacity": "20 TB" }], "grow": 1.2 }]
  }
docs/placement.md explains each field and what is computed.`)
    .action(async (file: string | undefined, options: SimulateOptions) => {
      const chosen = placementsOf(options.placement)
      const simulation = file === undefined ? await withCluster(options, async ({ map, router }) => liveSimulation(simulationOf(map, (await router.toManager('manager.loads', {})).body))) : readFile(file)
      const reports = checked(() => simulate(simulation, chosen))
      if (options.svg !== undefined) writeFileSync(options.svg, plotSvg(reports))
      if (options.json === true) printJson(reports)
      else report(reports)
    })
}

function placementsOf (named: string | undefined): Placement[] {
  const chosen = placements.filter((placement) => named === undefined || placement === named)
  if (chosen.length === 0) throw new AtollError('ATOLL_BAD_ARGUMENT', `there is no placement '${named}'`, { hint: placements.join(' or ') })
  return chosen
}

function liveSimulation (simulation: Simulation): Simulation {
  if (simulation.nodes.length === 0 || simulation.volumes.length === 0) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', 'the cluster has no nodes that are up, or no volume', { hint: 'see what is there: atoll status' })
  }
  return simulation
}

function readFile (file: string): Simulation {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'))
  } catch (error) {
    throw new AtollError('ATOLL_BAD_ARGUMENT', `${file}: ${messageOf(error)}`, { hint: 'what a description looks like: atoll simulate --help' })
  }
  return checked(() => readDescription(value))
}

function checked<T> (work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof DescriptionError) throw new AtollError('ATOLL_BAD_ARGUMENT', error.message, { hint: 'what a description looks like: atoll simulate --help' })
    throw error
  }
}

type Cell = (step: StepReport) => string

const rows: Array<[string, Cell]> = [
  ['replicas, most to share', ({ replicasToShareMax }) => replicasToShareMax.toFixed(3)],
  ['primaries, most to share', ({ primariesToShareMax }) => primariesToShareMax.toFixed(3)],
  ['fullest node', ({ fullestNode }) => percent(fullestNode)],
  ['busiest disk', ({ busiestDisk }) => percent(busiestDisk)],
  ['disks on average', ({ meanDisk }) => percent(meanDisk)],
  ['copysets', ({ copysets }) => String(copysets.distinct)],
  ['scatter width, mean', ({ copysets }) => copysets.scatterWidthMean.toFixed(1)],
  ['scatter width, most', ({ copysets }) => String(copysets.scatterWidthMax)],
  ['rebuild of a node, mean', ({ rebuild }) => duration(rebuild.meanSeconds)],
  ['rebuild of a node, worst', ({ rebuild }) => duration(rebuild.maxSeconds)],
  ['loss in a year, probability', ({ loss }) => chance(loss.probability)],
  ['loss in a year, expected', ({ loss }) => formatBytes(loss.bytes)]
]

function report (reports: readonly PolicyReport[]): void {
  const steps = reports[0]!.steps.length
  for (let at = 0; at < steps; at++) {
    const shown = reports.map((policy) => policy.steps[at]!)
    print(`${at === 0 ? '' : '\n'}${shown[0]!.name}: ${shown[0]!.nodes} nodes, ${shown[0]!.partitions} partitions`)
    const lost = shown[0]!.lostAtOnce.filter(({ probability }, index) => probability > 0 || shown.some((step) => step.lostAtOnce[index]!.probability > 0)).slice(0, 3)
    printTable(['', ...reports.map(({ placement }) => placement.toUpperCase())], [
      ...rows.map(([name, cell]) => [name, ...shown.map(cell)]),
      ...lost.map(({ nodes }) => [`loss when ${nodes} nodes go at once`, ...shown.map(({ lostAtOnce }) => chance(lostAtOnce[nodes - 1]!.probability))]),
      ...(shown.some(({ movement }) => movement !== null) ? movementRows(shown) : [])
    ])
  }
}

function movementRows (steps: readonly StepReport[]): string[][] {
  const row = (name: string, cell: (movement: NonNullable<StepReport['movement']>) => string): string[] =>
    [name, ...steps.map(({ movement }) => movement === null ? '-' : cell(movement))]
  return [
    row('replicas to move (least)', ({ replicaMoves, leastMoves }) => `${replicaMoves} (${leastMoves})`),
    row('leads to move', ({ leadMoves }) => String(leadMoves)),
    row('bytes to move', ({ bytes, part }) => `${formatBytes(bytes)} (${percent(part)})`),
    row('moving takes at least', ({ seconds }) => duration(seconds)),
    row('partitions short of replicas till then', ({ endangered }) => String(endangered))
  ]
}

function percent (part: number): string { return `${(part * 100).toFixed(1)}%` }

function chance (probability: number): string { return probability === 0 ? '0' : probability >= 0.001 ? percent(probability) : probability.toExponential(1) }

function duration (seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(0)} s`
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`
  return seconds < 172_800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`
}
