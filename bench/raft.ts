import { fork, type ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelKv } from '../fsnode/protocol/level-kv.ts'
import type { Logger } from '../fsnode/protocol/ports.ts'
import { systemClock, systemRandom } from '../fsnode/protocol/system.ts'
import { RaftHost } from '../fsnode/raft/host.ts'
import { loadOrCreateIdentity } from '../fsnode/raft/identity.ts'
import { openLibp2pTransport } from '../fsnode/raft/libp2p-transport.ts'
import type { PeerAddress } from '../fsnode/raft/outgoing-link.ts'
import type { RaftGroup, StateMachine } from '../fsnode/raft/types.ts'

/**
 * Latency and throughput of consensus: three hosts in three processes on loopback, over libp2p, with their
 * logs on disk.
 *
 *   node bench/raft.ts [DIRECTORY ...]      by default /dev/shm and the system's temporary directory
 */
const members = ['n1', 'n2', 'n3']
const commandBytes = 100
const singleOperations = 2_000
const throughputMs = 2_000
const inFlight = 64

interface Result { singleP50Ms: number, singleP99Ms: number, operationsPerSecond: number, loadedP50Ms: number, loadedP99Ms: number }

type Address = PeerAddress & { id: string }

async function child (id: string, directory: string): Promise<void> {
  const errors = (message: string, fields?: unknown): void => { console.error(id, message, fields) }
  const log: Logger = { debug: () => {}, info: () => {}, warn: errors, error: errors, child: () => log }
  const book = new Map<string, PeerAddress>()
  const identity = await loadOrCreateIdentity(directory)
  const components = { clock: systemClock, random: systemRandom, log }
  const transport = await openLibp2pTransport({ ...components, resolve: (node) => book.get(node) }, { self: id, identity, host: '127.0.0.1', port: 0 })
  const kv = await openLevelKv({ directory: join(directory, 'raft') })
  const host = new RaftHost({ ...components, kv, transport }, { self: id })
  let applied = 0
  const stateMachine: StateMachine = {
    durableIndex: 0,
    apply: ({ index }) => { applied = index; return index },
    flush: async () => { Object.assign(stateMachine, { durableIndex: applied }) },
    snapshot: () => Promise.reject(new Error('not here')),
    restore: () => Promise.reject(new Error('not here'))
  }
  process.on('message', (addresses: Address[]) => {
    for (const { id, ...address } of addresses) book.set(id, address)
    void host.open({ groupId: '1.m.0', members, stateMachine }).then((group) => measureIfLeading(group))
  })
  process.send!({ id, peerId: transport.peerId, host: '127.0.0.1', raftPort: transport.port })
}

function measureIfLeading (group: RaftGroup): void {
  const stop = group.onStatus(({ role }) => {
    if (role !== 'leader') return
    stop()
    setTimeout(() => { void measure(group).then((result) => { process.send!({ result }) }) }, 500)
  })
}

async function measure (group: RaftGroup): Promise<Result> {
  const command = Buffer.alloc(commandBytes, 7)
  const single: number[] = []
  const once = async (times: number[]): Promise<void> => {
    const start = performance.now()
    await group.propose(command)
    times.push(performance.now() - start)
  }
  for (let warm = 0; warm < 1_000; warm++) await once([])
  for (let operation = 0; operation < singleOperations; operation++) await once(single)
  const loaded: number[] = []
  const start = performance.now()
  const worker = async (): Promise<void> => { while (performance.now() - start < throughputMs) await once(loaded) }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const seconds = (performance.now() - start) / 1_000
  return {
    singleP50Ms: quantile(single, 0.5),
    singleP99Ms: quantile(single, 0.99),
    operationsPerSecond: Math.round(loaded.length / seconds),
    loadedP50Ms: quantile(loaded, 0.5),
    loadedP99Ms: quantile(loaded, 0.99)
  }
}

function quantile (times: number[], share: number): number {
  const sorted = [...times].sort((one, other) => one - other)
  return Number(sorted[Math.floor(sorted.length * share)]!.toFixed(3))
}

async function run (parent: string): Promise<Result> {
  await mkdir(parent, { recursive: true })
  const directory = await mkdtemp(join(parent, 'atoll-raft-'))
  const children: ChildProcess[] = []
  try {
    const addresses: Address[] = []
    return await new Promise<Result>((resolve, reject) => {
      for (const id of members) {
        const process = fork(import.meta.filename, ['--child', id, join(directory, id)], { execArgv: ['--disable-warning=ExperimentalWarning'] })
        children.push(process)
        process.on('exit', (code) => { reject(new Error(`${id} ended with ${code}`)) })
        process.on('message', (message: Address | { result: Result }) => {
          if ('result' in message) resolve(message.result)
          else if (addresses.push(message) === members.length) for (const child of children) child.send(addresses)
        })
      }
    })
  } finally {
    for (const child of children) {
      child.removeAllListeners('exit')
      child.kill('SIGKILL')
    }
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

if (process.argv[2] === '--child') {
  await child(process.argv[3]!, process.argv[4]!)
} else {
  const directories = process.argv.length > 2 ? process.argv.slice(2) : ['/dev/shm', tmpdir()]
  for (const directory of directories) console.log(directory, await run(directory))
}
