import { Command } from 'commander'
import { faultKinds, type FaultKind } from './config.ts'
import { runSeed, type RunReport } from './run.ts'

interface Options { seed?: string, seeds: string, faults?: string, every?: string, operate?: string, splits?: string, nodes?: string, scheduled: boolean, log: boolean, operations: boolean, twice: boolean, json: boolean }

const options = new Command('sim')
  .description('runs whole clusters in this process, on virtual time, and checks what must always hold')
  .option('--seed <N>', 'the first seed; left out: a fresh one')
  .option('--seeds <K>', 'how many, one after the other', '1')
  .option('--faults <LIST>', `kinds of faults to choose from, or none: ${faultKinds.join(',')}`)
  .option('--every <MS>', 'pause between two faults, on average; left out: as the seed says')
  .option('--operate <MS>', 'pause between two things that an operator does (moves, drains, policies), on average; left out: as the seed says')
  .option('--splits <N>', 'how often the data partitions are doubled; left out: as the seed says')
  .option('--nodes <N>', 'nodes; left out: as the seed says')
  .option('--scheduled', 'launch the nodes by the framework, whatever the seed says', false)
  .option('--log', 'print what nodes and clients log', false)
  .option('--operations', 'print what clients do', false)
  .option('--twice', 'run each seed twice and compare the traces', false)
  .option('--json', 'print a report for each seed as JSON', false)
  .parse()
  .opts<Options>()

const kinds = options.faults === undefined ? undefined : options.faults === 'none' ? [] : options.faults.split(',') as FaultKind[]
const first = options.seed === undefined ? Date.now() % 2 ** 31 : Number(options.seed)
const count = Number(options.seeds)
if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || kinds?.some((kind) => !faultKinds.includes(kind))) {
  process.stderr.write('sim: --seed and --seeds are whole numbers, --faults names kinds of faults\n')
  process.exit(2)
}

let failed = 0
for (let seed = first; seed < first + count; seed++) if (!await play(seed)) failed++
process.exitCode = failed === 0 ? 0 : 1

async function play (seed: number): Promise<boolean> {
  const began = performance.now()
  const report = await run(seed)
  const again = options.twice ? await run(seed) : report
  if (again.traceHash !== report.traceHash) report.violations.push(`two runs of the seed differ: ${report.traceHash}, ${again.traceHash}`)
  print(report, performance.now() - began)
  return report.violations.length === 0
}

function run (seed: number): Promise<RunReport> {
  return runSeed(seed, {
    config: { ...(kinds !== undefined && { faults: kinds }), ...(options.every !== undefined && { faultEveryMs: Number(options.every) }), ...(options.operate !== undefined && { operateEveryMs: Number(options.operate) }), ...(options.splits !== undefined && { splits: Number(options.splits) }), ...(options.nodes !== undefined && { nodes: Number(options.nodes) }), ...(options.scheduled && { scheduled: true }) },
    ...(options.log && { onLog: (time, { level, who, message, fields }) => { if (level !== 'debug') say(`${time.toFixed(1)} ${who} ${level}: ${message} ${JSON.stringify(fields)}`) } }),
    ...(options.operations && { onOperation: say })
  })
}

function print (report: RunReport, tookMs: number): void {
  const { seed, violations, operations, virtualMs, faults, operated, unknown, undecided, launches, madeElsewhere, recoveryMs, traceHash, powerLosses } = report
  if (options.json) {
    say(JSON.stringify(report))
    return
  }
  const struck = Object.entries(faults).map(([kind, times]) => `${kind} ${times}`).join(', ')
  const codes = Object.entries(unknown).map(([code, times]) => `${code} ${times}`).join(', ')
  say(`seed ${seed}: ${violations.length === 0 ? 'sound' : 'BROKEN'}; ${operations} operations in ${(virtualMs / 1000).toFixed(0)} s of virtual time (${(tookMs / 1000).toFixed(1)} s), ` +
    `recovered in ${(recoveryMs / 1000).toFixed(1)} s; trace ${traceHash}`)
  if (launches > 0) say(`  the framework launched ${launches} tasks for ${report.config.nodes} nodes`)
  if (struck !== '') say(`  faults: ${struck}${powerLosses > 0 ? `; data lost its power ${powerLosses} times` : ''}`)
  const acts = Object.entries(operated).map(([kind, times]) => `${kind} ${times}`).join(', ')
  if (acts !== '') say(`  operator: ${acts}`)
  if (madeElsewhere > 0) say(`  ${madeElsewhere} directories were made in other metadata partitions than their parents'`)
  if (codes !== '') say(`  unknown outcomes: ${codes}`)
  if (undecided > 0) say(`  undecided: ${undecided} searches`)
  for (const violation of violations) say(`  ${violation}`)
  const given = `${options.faults === undefined ? '' : ` --faults ${options.faults}`}${options.every === undefined ? '' : ` --every ${options.every}`}${options.operate === undefined ? '' : ` --operate ${options.operate}`}${options.nodes === undefined ? '' : ` --nodes ${options.nodes}`}${options.scheduled ? ' --scheduled' : ''}`
  if (violations.length > 0) say(`  again: npm run sim -- --seed ${seed}${given}`)
}

function say (line: string): void { process.stdout.write(`${line}\n`) }
