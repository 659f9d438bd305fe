import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { print, printJson, printTable, startProgress } from '../cli/output.ts'
import type { Cluster } from '../client/index.ts'
import type { PlansResponse } from '../fsnode/protocol/manager.ts'
import { withBenchCluster, type BenchCluster } from './bench-cluster.ts'
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

const progress = startProgress(options.json)

interface Phase { name: string, seconds: number, moved: number, latencies: Latencies }

await withBenchCluster({ dir: options.dir, name: 'bench-moves' }, async (bench) => {
  progress.step('starting five nodes')
  await bench.command('up', '--detach', '--no-mount', '--nodes', '5', '--replicas', '3')
  report(await bench.connected((cluster) => measure(bench, cluster)))
})

async function measure ({ command }: BenchCluster, cluster: Cluster): Promise<Phase[]> {
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
  // A change for which nothing has to move is looked at as long as none.
  const planned = (...words: string[]): Promise<unknown> => Promise.all([carriedOut(cluster, () => command(...words)), quiet()])
  await phase('warming up', quiet)
  phases.pop()
  await phase('no moves', quiet)
  await phase('a node is added', () => planned('up', '--detach', '--no-mount', '--nodes', '6'))
  await phase('a node is emptied', () => planned('node', 'drain', 'node-2'))
  await phase('Hawaii to Tivoli', () => planned('volume', 'set', 'main', 'placement=tivoli'))
  await phase('Tivoli to Hawaii', () => planned('volume', 'set', 'main', 'placement=hawaii'))
  await phase('no moves again', quiet)
  await copies.end()
  progress.done('measured')
  return phases
}

/** `undecided`: what was changed has not been looked at yet. */
async function plansOf ({ router }: Cluster): Promise<PlansResponse> {
  return (await router.toManager('manager.plans', { volume: 'main' })).body
}

async function movedBytes (cluster: Cluster): Promise<number> {
  return (await plansOf(cluster)).plans.reduce((sum, { bytesDone }) => sum + bytesDone, 0)
}

/** Until the plans that the change brings, if any, have ended. */
async function carriedOut (cluster: Cluster, change: () => Promise<unknown>): Promise<void> {
  await change()
  const changedMs = performance.now()
  for (;;) {
    const { plans, undecided } = await plansOf(cluster)
    if (undecided !== true && plans.every(({ endedMs }) => endedMs !== null)) return
    if (performance.now() - changedMs > planLimitMs) throw new Error('the plan does not end')
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
