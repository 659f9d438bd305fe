import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { fileURLToPath } from 'node:url'
import { dropKernelCaches } from '../cli/commands/bench.ts'
import type { StatusReport } from '../cli/commands/status.ts'
import { print, printJson, printTable, startProgress } from '../cli/output.ts'
import { withBenchCluster } from './bench-cluster.ts'
import { mountNull } from './null-fs.ts'
import { directoryTarget, filesTarget, runPhases, sequentially, sizesFull, sizesQuick, type Results } from './run-phases.ts'
import { measureTcp } from './tcp-limit.ts'
import { packTree, unpackTree } from './tree.ts'
import type { BenchFiles, Measured } from './workloads.ts'

// npm run bench [-- --quick --nodes 3 --replicas 3 --placement hawaii --dir DIR --json]
// Brings up a cluster, measures the mount and the file API, and in the same run what this machine
// allows: a null FUSE file system through the same driver, the disk that the data lies on, a TCP socket.
const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    nodes: { type: 'string', default: '3' },
    replicas: { type: 'string', default: '3' },
    placement: { type: 'string', default: 'hawaii' },
    dir: { type: 'string', default: '/var/tmp' }
  }
})
const run = promisify(execFile)
const sizes = options.quick ? sizesQuick : sizesFull
const progress = startProgress(options.json)
const columns: Record<string, Results> = {}

async function measure (column: string, work: (report: (phase: string, measured: Measured) => void) => Promise<Results>): Promise<void> {
  columns[column] = await work((phase, { rate, unit }) => { progress.step(`${column}: ${phase}: ${rate.toFixed(0)} ${unit}`) })
}

await withBenchCluster({ dir: options.dir, name: 'bench', beforeDown: () => { progress.fail() } }, async ({ work, command, connected }) => {
  const places = { mount: join(work, 'mnt'), null: join(work, 'null'), disk: join(work, 'disk') }
  for (const place of Object.values(places)) await mkdir(place)
  const tar = join(work, 'tree.tar')
  const tree = await packTree(tar)
  const untar = async (column: string, dir: string): Promise<void> => {
    columns[column]!['untar'] = { rate: await unpackTree(tar, tree.files, dir), unit: 'files/s' }
  }

  progress.step('starting a cluster')
  await command('up', '--detach', '--mount', places.mount, '--nodes', options.nodes, '--replicas', options.replicas, '--placement', options.placement)
  await measure('mount', (report) => runPhases(directoryTarget(dropKernelCaches), places.mount, sizes, report))
  await untar('mount', places.mount)
  await measure('file API', (report) => connected(async (cluster) => {
    return await runPhases(filesTarget(await cluster.mount('main') as unknown as BenchFiles), '', sizes, report, { parallel: false })
  }))
  const status = JSON.parse(await command('status', '--json')) as StatusReport
  await measure('disk', (report) => runPhases(directoryTarget(dropKernelCaches), places.disk, sizes, report))
  await untar('disk', places.disk)
  const nullMount = await mountNull(places.null)
  try {
    columns['null FUSE'] = await nullPhases(places.null)
  } finally {
    await nullMount.stop()
  }
  const tcp = await measureTcp()
  progress.done('measured')
  if (options.json) printJson({ sizes, tree, columns, tcp, status })
  else report(tcp, status, tree)
})

/** What the driver reaches when the file system behind it costs nothing: dd-like streams in both directions. */
async function nullPhases (dir: string): Promise<Results> {
  const target = directoryTarget(dropKernelCaches)
  const results: Results = {}
  results['sequential write'] = await sequentially(sizes, () => target.remove(join(dir, 'sequential')), () => target.phase('sequential write', dir, sizes))
  results['sequential read'] = await sequentially(sizes, dropKernelCaches, async () => {
    const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', fileURLToPath(new URL('read-stream.ts', import.meta.url)), join(dir, 'big'), String(sizes.sequentialMiB)])
    return JSON.parse(stdout) as Measured
  })
  return results
}

function report (tcp: number, status: StatusReport, tree: { files: number, bytes: number }): void {
  const phases = Object.keys(columns['mount']!)
  const cell = (column: string, phase: string): string => columns[column]?.[phase]?.rate.toFixed(0) ?? '-'
  const ratio = (column: string, phase: string): string => {
    const [ours, other] = [columns['mount']![phase]?.rate, columns[column]?.[phase]?.rate]
    return ours === undefined || other === undefined ? '-' : (ours / other).toFixed(2)
  }
  print(`\n${status.nodes.length} nodes, ${options.replicas} replicas, ${options.placement}; untar: ${tree.files} files, ${(tree.bytes / 1e6).toFixed(0)} MB`)
  printTable(['PHASE', 'UNIT', 'MOUNT', 'FILE API', 'NULL FUSE', 'DISK', 'MOUNT/NULL', 'MOUNT/DISK'], phases.map((phase) => [
    phase, columns['mount']![phase]!.unit, cell('mount', phase), cell('file API', phase), cell('null FUSE', phase), cell('disk', phase), ratio('null FUSE', phase), ratio('disk', phase)
  ]))
  print(`\nTCP socket on loopback: ${tcp.toFixed(0)} MB/s`)
  for (const node of status.nodes) print(`memory of ${node.id}: ${((node.residentBytes ?? 0) / 1e6).toFixed(0)} MB`)
  for (const mount of status.mounts) print(`memory of the mount's worker: ${((mount.workerResidentBytes ?? 0) / 1e6).toFixed(0)} MB`)
}
