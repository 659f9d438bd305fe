import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { StatusReport } from '../cli/commands/status.ts'
import { print, printJson, printTable, startProgress } from '../cli/output.ts'
import type { Cluster } from '../client/index.ts'
import type { MountedVolume } from '../client/file-api/types.ts'
import { withBenchCluster, type BenchCluster } from './bench-cluster.ts'
import { BoundedDisk, MemoryGroups, whyNoBoundedDisks } from './bounded-disks.ts'
import { Latencies } from './latencies.ts'

// npm run bench:tivoli [-- --dir /dev/shm --rate 50 --slow 0.1 --readers 8 --writers 2 --seconds 10 --rounds 2 --json]
// Five nodes on disks of their own (loop devices that the kernel throttles), one of them at a tenth; one volume under each
// policy, the same readers and writers on both in turn. Exits with 1 if Tivoli is worth less than it promises.
const { values: options } = parseArgs({
  options: {
    dir: { type: 'string', default: '/dev/shm' },
    nodes: { type: 'string', default: '5' },
    /** MB/s of a disk, in each direction. */
    rate: { type: 'string', default: '50' },
    slow: { type: 'string', default: '0.1' },
    readers: { type: 'string', default: '8' },
    writers: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false }
  }
})
/** What Tivoli promises where one disk of five is slow: one of the two. */
const throughputRatioMin = 1.5
const p99RatioMax = 0.5
const mib = 1024 * 1024
const diskBytes = 3 * 1024 * mib
const fileBytes = 1024 * mib
const readBytes = 128 * 1024
const writeBytes = 128 * 1024
/** Each writer writes at this pace, or slower if it must wait. */
const writesPerSecond = 8
const writesPerSync = 16
/** Of a node with what the kernel keeps of its files: less than it holds of one volume. */
const nodeMemoryBytes = 256 * mib
const policies = ['hawaii', 'tivoli'] as const
type Policy = typeof policies[number]

interface Round { policy: Policy, seconds: number, reads: Latencies, writes: Latencies }

const progress = startProgress(options.json)
const [rate, slow, seconds] = [Number(options.rate) * 1e6, Number(options.slow), Number(options.seconds)]
const why = whyNoBoundedDisks()
if (why !== null) {
  process.stderr.write(`bench:tivoli: ${why}\n`)
  process.exit(1)
}
const disks: BoundedDisk[] = []
const groups = new MemoryGroups()

const beforeDown = (): void => { for (const disk of disks) disk.bound(null, null) }
const afterDown = async (): Promise<void> => {
  for (const disk of disks) await disk.remove().catch((error: unknown) => { process.stderr.write(`${String(error)}\n`) })
  groups.remove()
}
await withBenchCluster({ dir: options.dir, name: 'bench-tivoli', beforeDown, afterDown }, async (bench) => {
  await bringUp(bench)
  report(await bench.connected(measure))
})

/** The last node's disk is the slow one. */
async function bringUp ({ work, data, command }: BenchCluster): Promise<void> {
  const up = ['up', '--detach', '--no-mount', '--nodes', options.nodes, '--replicas', '3']
  progress.step('making nodes')
  await command(...up)
  await command('down')
  progress.step('giving them disks')
  const volumes = join(data, 'scheduler/master/volumes/roles/atoll')
  const directories = readdirSync(volumes).sort((one, other) => one.localeCompare(other, 'en', { numeric: true }))
  for (const [at, directory] of directories.entries()) {
    const disk = new BoundedDisk(join(work, `disk-${at + 1}`))
    disks.push(disk)
    await disk.create(diskBytes)
    await disk.mountOver(join(volumes, directory))
    disk.bound(rateOf(at), rateOf(at))
  }
  progress.step('starting them')
  await command(...up)
  const { nodes } = JSON.parse(await command('status', '--json')) as StatusReport
  for (const { id, pid } of nodes) groups.bound(id, pid!, nodeMemoryBytes)
}

function rateOf (at: number): number { return Math.round(rate * (at === Number(options.nodes) - 1 ? slow : 1)) }

async function measure (cluster: Cluster): Promise<Round[]> {
  const rounds: Round[] = []
  const volumes = new Map<Policy, MountedVolume>()
  for (const policy of policies) {
    await cluster.createVolume({ name: policy, placement: policy, replicas: 3 })
    volumes.set(policy, await cluster.mount(policy))
  }
  progress.step('filling the volumes')
  // They are placed: how long a slow disk takes to be filled is of no interest here.
  disks.forEach((disk, at) => { disk.bound(rateOf(at), null) })
  for (const volume of volumes.values()) await fill(volume)
  disks.forEach((disk, at) => { disk.bound(rateOf(at), rateOf(at)) })
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const policy of policies) {
      progress.step(`round ${round + 1}: ${policy}`)
      rounds.push(await play(volumes.get(policy)!, policy, round))
    }
  }
  progress.done('measured')
  return rounds
}

async function fill (volume: MountedVolume): Promise<void> {
  const file = await volume.open('/read', 'w')
  const piece = Buffer.alloc(4 * mib)
  for (let at = 0; at < fileBytes; at += piece.length) {
    piece.fill(at / piece.length + 1)
    await file.write(piece, 0, piece.length, at)
  }
  await file.sync()
  await file.close()
}

/** Readers read here and there, as fast as they are answered; writers append at their pace. */
async function play (volume: MountedVolume, policy: Policy, round: number): Promise<Round> {
  const [reads, writes] = [new Latencies(), new Latencies()]
  const began = performance.now()
  const goesOn = (): boolean => performance.now() - began < seconds * 1000
  await Promise.all([
    ...Array.from({ length: Number(options.readers) }, async (_, reader) => {
      const file = await volume.open('/read', 'r')
      const buffer = Buffer.alloc(readBytes)
      let state = round * 1000 + reader + 1
      while (goesOn()) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        const block = (state >>> 8) % (fileBytes / readBytes)
        await reads.measure(readBytes, () => file.read(buffer, 0, readBytes, block * readBytes))
        if (buffer[0] !== (Math.floor(block * readBytes / (4 * mib)) + 1) % 256) throw new Error(`wrong bytes at block ${block}`)
      }
      await file.close()
    }),
    ...Array.from({ length: Number(options.writers) }, async (_, writer) => {
      const file = await volume.open(`/log-${round}-${writer}`, 'w')
      const piece = Buffer.alloc(writeBytes, writer)
      for (let count = 0; goesOn(); count++) {
        await writes.measure(writeBytes, async () => {
          await file.write(piece, 0, piece.length, count * piece.length)
          if (count % writesPerSync === writesPerSync - 1) await file.datasync()
        })
        const nextMs = (count + 1) * 1000 / writesPerSecond - (performance.now() - began)
        if (nextMs > 0) await delay(nextMs)
      }
      await file.close()
    })
  ])
  return { policy, seconds: (performance.now() - began) / 1000, reads, writes }
}

function report (rounds: Round[]): void {
  const figures = (round: Round): { readMBs: number, readP50: number, readP99: number, writeMBs: number, writeP99: number } => ({
    readMBs: round.reads.bytes / 1e6 / round.seconds, readP50: round.reads.percentile(0.5), readP99: round.reads.percentile(0.99),
    writeMBs: round.writes.bytes / 1e6 / round.seconds, writeP99: round.writes.percentile(0.99)
  })
  const all = rounds.map((round) => ({ policy: round.policy, ...figures(round) }))
  const mean = (policy: Policy, key: 'readMBs' | 'readP99'): number => {
    const mine = all.filter((one) => one.policy === policy)
    return mine.reduce((sum, one) => sum + one[key], 0) / mine.length
  }
  const ratios = { throughput: mean('tivoli', 'readMBs') / mean('hawaii', 'readMBs'), p99: mean('tivoli', 'readP99') / mean('hawaii', 'readP99') }
  const isWorth = ratios.throughput >= throughputRatioMin || ratios.p99 <= p99RatioMax
  if (options.json) printJson({ rounds: all, ratios })
  else {
    print(`\n${options.nodes} disks of ${options.rate} MB/s, one of ${(rateOf(Number(options.nodes) - 1) / 1e6).toFixed(1)} MB/s; ${options.readers} readers of 128 KiB anywhere in 1 GiB, ${options.writers} writers of ${writesPerSecond} x 128 KiB/s`)
    printTable(['POLICY', 'READ MB/S', 'P50 MS', 'P99 MS', 'WRITE MB/S', 'P99 MS'], all.map((one) => [
      one.policy, one.readMBs.toFixed(1), one.readP50.toFixed(1), one.readP99.toFixed(1), one.writeMBs.toFixed(2), one.writeP99.toFixed(0)
    ]))
    print(`\nTivoli to Hawaii: read throughput ${ratios.throughput.toFixed(2)}, read p99 ${ratios.p99.toFixed(2)}`)
  }
  if (isWorth) return
  process.stderr.write(`bench:tivoli: neither ${throughputRatioMin} times the throughput nor ${p99RatioMax} of the p99\n`)
  process.exitCode = 1
}
