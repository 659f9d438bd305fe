import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { print, printJson, printTable, startProgress } from '../cli/output.ts'
import { connect, type Cluster } from '../client/index.ts'
import type { PlanSummary } from '../fsnode/protocol/manager.ts'
import { Copies } from './copies.ts'
import { Latencies } from './latencies.ts'

// npm run bench:moves [-- --dir /dev/shm --preload 512 --copies 2 --quiet 10 --json]
// What a copy with checksums feels while partitions move: on five nodes, with nothing else going on, then while a node is added,
// one is emptied, and the policy changes to Tivoli and back. Exits with 1 if the p99 more than doubles.
const { values: options } = parseArgs({
  options: {
    dir: { type: 'string', default: '/dev/shm' },
    /** MiB that lie in the volume and must move. */
    preload: { type: 'string', default: '512' },
    /** Copies that run at the same time. */
    copies: { type: 'string', default: '2' },
    /** Seconds without moves, before and after. */
    quiet: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false }
  }
})
const p99RatioMax = 2
const mib = 1024 * 1024
const planLimitMs = 60_000

const run = promisify(execFile)
const atoll = fileURLToPath(new URL('../cli/atoll.js', import.meta.url))
const progress = startProgress(options.json)
const work = mkdtempSync(join(options.dir, 'atoll-bench-moves-'))
const data = join(work, 'data')
let stopped: Promise<void> | null = null
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void tearDown().finally(() => process.exit(1)) })

interface Phase { name: string, seconds: number, moved: number, latencies: Latencies }

try {
  progress.step('starting five nodes')
  await command('up', '--detach', '--no-mount', '--nodes', '5', '--replicas', '3')
  const cluster = await connect({ nodes: JSON.parse(readFileSync(join(data, 'cluster.json'), 'utf8')).nodes })
  try {
    report(await measure(cluster))
  } finally {
    await cluster.close()
  }
} finally {
  await tearDown()
}

async function command (...words: string[]): Promise<string> {
  return (await run(process.execPath, [atoll, ...words, '--data', data], { maxBuffer: 16 * mib })).stdout
}

async function measure (cluster: Cluster): Promise<Phase[]> {
  const volume = await cluster.mount('main')
  progress.step('filling the volume')
  await volume.writeFile('/preloaded', Buffer.alloc(Number(options.preload) * mib, 7))
  // What partitions hold is told every few seconds.
  await delay(6_000)
  const quiet = (): Promise<void> => delay(Number(options.quiet) * 1000)
  const phases: Phase[] = []
  const copies = new Copies(volume, Number(options.copies))
  const phase = async (name: string, during: () => Promise<unknown>): Promise<void> => {
    progress.step(name)
    const [latencies, began, known] = [copies.begin(), performance.now(), await movedBytes(cluster)]
    await during()
    phases.push({ name, seconds: (performance.now() - began) / 1000, moved: await movedBytes(cluster) - known, latencies })
  }
  await phase('warming up', quiet)
  phases.pop()
  await phase('no moves', quiet)
  await phase('a node is added', () => planned(cluster, () => command('up', '--detach', '--no-mount', '--nodes', '6')))
  await phase('a node is emptied', () => planned(cluster, () => command('node', 'drain', 'node-2')))
  await phase('Hawaii to Tivoli', () => planned(cluster, () => command('volume', 'set', 'main', 'placement=tivoli')))
  await phase('Tivoli to Hawaii', () => planned(cluster, () => command('volume', 'set', 'main', 'placement=hawaii')))
  await phase('no moves again', quiet)
  await copies.end()
  progress.done('measured')
  return phases
}

async function plansOf ({ router }: Cluster): Promise<PlanSummary[]> {
  return (await router.toManager('manager.plans', {})).body.plans
}

async function movedBytes (cluster: Cluster): Promise<number> {
  return (await plansOf(cluster)).reduce((sum, { bytesDone }) => sum + bytesDone, 0)
}

/** Until the plan that the change brings has ended; a change that needs none is given time to show it. */
async function planned (cluster: Cluster, change: () => Promise<unknown>): Promise<void> {
  const known = Math.max(0, ...(await plansOf(cluster)).map(({ id }) => id))
  await change()
  const changedMs = performance.now()
  for (;;) {
    const made = (await plansOf(cluster)).filter(({ id }) => id > known)
    const passedMs = performance.now() - changedMs
    if (made.every(({ endedMs }) => endedMs !== null) && (made.length > 0 || passedMs > 8_000)) return
    if (passedMs > planLimitMs) throw new Error('the plan does not end')
    await delay(100)
  }
}

function report (phases: Phase[]): void {
  // The quieter of the two phases without moves would flatter nobody: the one before counts.
  const base = phases[0]!.latencies.percentile(0.99)
  const moving: Phase = { name: 'all moves', seconds: 0, moved: 0, latencies: new Latencies() }
  for (const { seconds, moved, latencies } of phases.slice(1, -1)) {
    moving.seconds += seconds
    moving.moved += moved
    moving.latencies.include(latencies)
  }
  const rows = [...phases, moving].map(({ name, seconds, moved, latencies }) => ({
    name, seconds, movedMBs: moved / 1e6 / seconds, copyMBs: latencies.bytes / 1e6 / seconds,
    p50: latencies.percentile(0.5), p99: latencies.percentile(0.99), worst: latencies.percentile(1), ratio: latencies.percentile(0.99) / base
  }))
  if (options.json) printJson(rows)
  else {
    printTable(['', 'SECONDS', 'MOVED MB/S', 'COPY MB/S', 'P50 MS', 'P99 MS', 'WORST MS', 'P99 RATIO'], rows.map((row) => [
      row.name, row.seconds.toFixed(1), row.movedMBs.toFixed(0), row.copyMBs.toFixed(0), row.p50.toFixed(1), row.p99.toFixed(1), row.worst.toFixed(0), row.ratio.toFixed(2)
    ]))
    print()
  }
  const { ratio } = rows.at(-1)!
  if (ratio <= p99RatioMax) return
  process.stderr.write(`bench:moves: a p99 of ${ratio.toFixed(2)} times that without moves\n`)
  process.exitCode = 1
}

function tearDown (): Promise<void> {
  stopped ??= (async () => {
    await command('down').catch(() => {})
    rmSync(work, { recursive: true, force: true })
  })()
  return stopped
}
