import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { connect, type Cluster } from '../client/index.ts'

const run = promisify(execFile)
const atoll = fileURLToPath(new URL('../cli/atoll.js', import.meta.url))
const outputBytesMax = 16 * 1024 * 1024

export interface BenchClusterInit {
  /** Where the benchmark gets a directory of its own. */
  dir: string
  /** Of the benchmark. */
  name: string
  /** Before the cluster is stopped, and after. */
  beforeDown?: () => void
  afterDown?: () => Promise<void>
}

/** The place of a benchmark's cluster, which the benchmark starts by a command. */
export interface BenchCluster {
  /** A directory that goes with the cluster. */
  readonly work: string
  /** The cluster's, in it. */
  readonly data: string
  /** Runs a command of `atoll` on the cluster; answers what it wrote. Rejects when it fails. */
  command (...words: string[]): Promise<string>
  /** Gives the running cluster to `use`, as a client. */
  connected<T> (use: (cluster: Cluster) => Promise<T>): Promise<T>
}

/** Runs a benchmark; however it ends, by a signal too, its cluster is stopped and nothing of it stays. */
export async function withBenchCluster ({ dir, name, beforeDown, afterDown }: BenchClusterInit, use: (bench: BenchCluster) => Promise<void>): Promise<void> {
  const work = mkdtempSync(join(dir, `atoll-${name}-`))
  const data = join(work, 'data')
  const bench: BenchCluster = {
    work,
    data,
    command: async (...words) => (await run(process.execPath, [atoll, ...words, '--data', data], { maxBuffer: outputBytesMax })).stdout,
    async connected (use) {
      const cluster = await connect({ nodes: JSON.parse(readFileSync(join(data, 'cluster.json'), 'utf8')).nodes })
      try {
        return await use(cluster)
      } finally {
        await cluster.close()
      }
    }
  }
  const tearDown = async (): Promise<void> => {
    beforeDown?.()
    await bench.command('down').catch(() => {})
    await afterDown?.()
    rmSync(work, { recursive: true, force: true })
  }
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => stopped ??= tearDown()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void stop().finally(() => process.exit(1)) })
  try {
    await use(bench)
  } finally {
    await stop()
  }
}
