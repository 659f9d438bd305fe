import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ClusterMap, NodeInfo } from '../partitioning/types.ts'
import { ChunkStore } from '../fsnode/data/chunk-store.ts'
import { nodeFiles } from '../fsnode/data/node-files.ts'
import { DataPartitions } from '../fsnode/data/partitions.ts'
import { Peer, type Handlers } from '../fsnode/protocol/peer.ts'
import type { Logger } from '../fsnode/protocol/ports.ts'
import { ClusterRouter } from '../fsnode/protocol/router.ts'
import { systemClock, systemRandom } from '../fsnode/protocol/system.ts'
import { systemNetwork } from '../fsnode/protocol/system-network.ts'

/**
 * Measures one data partition on three processes over loopback: `node bench/data.ts [--profile DIR]`.
 * Data lives in /dev/shm (or ATOLL_BENCH_DIR), so that the figures are of the code, not of the disk.
 */
const log: Logger = { debug: () => {}, info: () => {}, warn: console.warn, error: console.error, child: () => log }
const partition = '1.d.0'
const mebibyte = 1024 * 1024
const chunkBytes = 4 * mebibyte
const fileBytes = 256 * mebibyte

if (process.argv[2] === 'node') await serve(process.argv[3]!, process.argv[4]!)
else await main()

async function serve (id: string, directory: string): Promise<void> {
  const store = new ChunkStore({ files: nodeFiles, clock: systemClock, log }, { directory })
  await store.open()
  let handlers: Handlers = {}
  const listener = await systemNetwork.listen({ host: '127.0.0.1', port: 0 }, (connection) => new Peer(connection, handlers, systemClock))
  const router = new ClusterRouter({ network: systemNetwork, clock: systemClock, random: systemRandom, log }, { seeds: [] })
  const partitions = new DataPartitions({ clock: systemClock, log, store, router, lease: () => true }, { nodeId: id })
  handlers = { ...partitions.handlers(), 'node.map': () => ({ body: { map: router.map } }) }
  process.on('message', (message: ClusterMap | 'cpu' | 'stop') => {
    if (message === 'cpu') process.send!(process.cpuUsage())
    else if (message === 'stop') process.exit()
    else router.adopt(message)
  })
  process.on('disconnect', () => { process.exit() })
  process.send!(listener.address.port)
}

async function main (): Promise<void> {
  const base = process.env.ATOLL_BENCH_DIR ?? '/dev/shm'
  const directory = mkdtempSync(join(base === '' ? tmpdir() : base, 'atoll-bench-'))
  const profile = process.argv.indexOf('--profile')
  const execArgv = profile === -1 ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.argv[profile + 1]!}`]
  const ids = ['node-1', 'node-2', 'node-3']
  const children = ids.map((id) => fork(fileURLToPath(import.meta.url), ['node', id, join(directory, id)], { execArgv: ['--disable-warning=ExperimentalWarning', ...execArgv] }))
  try {
    const ports = await Promise.all(children.map(heard<number>))
    const map = mapOf(ids, ports)
    for (const child of children) child.send(map)
    await measure(map, children)
  } finally {
    for (const child of children) child.send('stop')
    await Promise.all(children.map((child) => new Promise((resolve) => { child.on('exit', resolve) })))
    rmSync(directory, { recursive: true })
  }
}

async function measure (map: ClusterMap, children: ChildProcess[]): Promise<void> {
  const router = new ClusterRouter({ network: systemNetwork, clock: systemClock, random: systemRandom, log }, { seeds: [] })
  router.adopt(map)
  const large = systemRandom.bytes(mebibyte)
  const small = systemRandom.bytes(4096)
  const write = (position: number, payload: Buffer): Promise<unknown> => router.toPrimary(partition, 'data.write', (epoch) => ({
    partition, epoch, ino: 1, chunk: Math.floor(position / chunkBytes), offset: position % chunkBytes
  }), { payload: [payload] })
  const read = async (position: number, length: number): Promise<void> => {
    const { payload } = await router.toPrimary(partition, 'data.read', (epoch) => ({
      partition, epoch, ino: 1, chunk: Math.floor(position / chunkBytes), offset: position % chunkBytes, length
    }))
    if (payload.reduce((sum, part) => sum + part.length, 0) !== length) throw new Error('a short read')
  }
  const sequence = (index: number): number => index * mebibyte % fileBytes
  const anywhere = (): number => Math.floor(Math.random() * fileBytes / 4096) * 4096
  const cpu = async (): Promise<number> => {
    const all = await Promise.all(children.map((child) => { child.send('cpu'); return heard<NodeJS.CpuUsage>(child) }))
    return [...all, process.cpuUsage()].reduce((sum, { user, system }) => sum + user + system, 0) / 1e6
  }
  const bulk = async (name: string, count: number, work: (index: number) => Promise<unknown>): Promise<void> => {
    const [start, before] = [performance.now(), await cpu()]
    await inFlight(8, count, work)
    const seconds = (performance.now() - start) / 1000
    const gigabytes = count * mebibyte / 1e9
    console.log(`${name}: ${(gigabytes * 1000 / seconds).toFixed(0)} MB/s, ${((await cpu() - before) / gigabytes).toFixed(2)} CPU s/GB`)
  }
  const random = async (name: string, window: number, count: number, work: () => Promise<unknown>): Promise<void> => {
    const start = performance.now()
    await inFlight(window, count, work)
    console.log(`${name}, ${window} in flight: ${(count / (performance.now() - start) * 1000).toFixed(0)} /s`)
  }
  await inFlight(8, 64, (index) => write(sequence(index), large))
  await bulk('write 1 MiB, new chunks', 192, (index) => write(sequence(64 + index), large))
  await bulk('write 1 MiB, in place', 768, (index) => write(sequence(index), large))
  await bulk('read 1 MiB', 1536, (index) => read(sequence(index), mebibyte))
  await random('write 4 KiB', 1, 1000, () => write(anywhere(), small))
  await random('write 4 KiB', 16, 4000, () => write(anywhere(), small))
  await random('read 4 KiB', 1, 2000, () => read(anywhere(), 4096))
  await random('read 4 KiB', 16, 8000, () => read(anywhere(), 4096))
  router.close()
}

async function inFlight (window: number, count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0
  await Promise.all(Array.from({ length: window }, async () => { while (next < count) await work(next++) }))
}

function heard<T> (child: ChildProcess): Promise<T> {
  return new Promise((resolve) => { child.once('message', (message) => { resolve(message as T) }) })
}

function mapOf (ids: string[], ports: number[]): ClusterMap {
  const node = (id: string, index: number): NodeInfo => ({
    id, incarnation: '', peerId: '', host: '127.0.0.1', rpcPort: ports[index]!, raftPort: 0, domain: [], capacityBytes: 0, usedBytes: 0, disk: null, state: 'up'
  })
  return {
    clusterId: 'bench',
    version: 1,
    nodes: ids.map(node),
    managers: [],
    volumes: [{ id: 1, name: 'bench', placement: 'hawaii', replicas: 3, chunkSizeBytes: chunkBytes, inlineBytesMax: 0, dataPartitions: 1, metadataPartitions: 1 }],
    data: [{ id: partition, volume: 1, index: 0, epoch: 1, replicas: ids.map((id) => ({ node: id, state: 'serving' })), primary: ids[0]! }],
    metadata: []
  }
}
