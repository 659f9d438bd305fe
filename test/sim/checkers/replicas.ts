import { LogStore } from '../../../fsnode/raft/log-store.ts'
import { dataPartitionOfChunk } from '../../../partitioning/routing.ts'
import type { SimCluster } from '../cluster.ts'

const quiet = { debug () {}, info () {}, warn () {}, error () {}, child: () => quiet }
const scrubBytesPerSecond = 2 ** 30
const generationByte = 1

/** The last word, when nothing is under way any more: all copies of everything are the same. */
export async function checkReplicas (cluster: SimCluster): Promise<string[]> {
  return [...await checkLogs(cluster), ...await checkMetadata(cluster), ...await checkChunks(cluster), ...await checkLeftovers(cluster), ...checkPlaces(cluster), ...await checkScrub(cluster)]
}

/** Two logs of a group are equal up to their last common entry. */
async function checkLogs (cluster: SimCluster): Promise<string[]> {
  const faults: string[] = []
  const byGroup = new Map<string, Array<{ id: string, entries: Map<number, { term: number, data: Uint8Array }> }>>()
  for (const { id, disk } of cluster.nodes) {
    const store = new LogStore({ kv: disk.store('raft')!, log: quiet }, { onFailure: () => {} })
    for (const group of await cluster.clock.run(store.groups())) {
      const { log } = (await cluster.clock.run(store.load(group, Infinity)))!
      const entries = new Map(log.slice(log.markIndex + 1, Infinity, Infinity)!.map((entry) => [entry.index, entry]))
      byGroup.set(group, [...(byGroup.get(group) ?? []), { id, entries }])
    }
  }
  for (const [group, logs] of byGroup) {
    for (const one of logs) {
      for (const other of logs) {
        for (const [index, entry] of one.entries) {
          const same = other.entries.get(index)
          if (same !== undefined && (same.term !== entry.term || Buffer.compare(same.data, entry.data) !== 0)) {
            faults.push(`${group}: entry ${index} differs between ${one.id} and ${other.id}`)
          }
        }
      }
    }
  }
  return faults
}

/** The stores of a metadata partition hold the same, key by key. */
async function checkMetadata (cluster: SimCluster): Promise<string[]> {
  const faults: string[] = []
  for (const { id: partition, members } of cluster.map!.metadata) {
    const stores: Array<{ id: string, pairs: Map<string, string> }> = []
    for (const id of members) {
      const open = cluster.node(id).running!.metadata.all.get(partition)!
      await cluster.clock.run(open.machine.flush())
      const pairs = cluster.node(id).disk.store(`metadata/${partition}`)!.rangeOf(open.machine.store.keys.everything())
      stores.push({ id, pairs: new Map(pairs.map(([key, value]) => [hex(key.subarray(generationByte)), hex(value)])) })
    }
    const [first, ...others] = stores as [typeof stores[0], ...typeof stores]
    for (const { id, pairs } of others) {
      const keys = new Set([...first.pairs.keys(), ...pairs.keys()])
      const differing = [...keys].filter((key) => pairs.get(key) !== first.pairs.get(key))
      if (differing.length > 0) faults.push(`${partition}: ${first.id} and ${id} differ in ${differing.length} keys, the first ${readable(differing[0]!)}`)
    }
  }
  return faults
}

async function checkChunks (cluster: SimCluster): Promise<string[]> {
  const faults: string[] = []
  for (const { id: partition, replicas } of cluster.map!.data) {
    const copies: Array<{ id: string, chunks: Map<string, Buffer> }> = []
    for (const { node } of replicas) {
      const { chunks: store } = cluster.node(node).running!
      const chunks = new Map<string, Buffer>()
      for (const [ino, chunk] of await cluster.clock.run(store.list(partition))) {
        const bytes = await cluster.clock.run(store.read({ partition, ino, chunk }, 0, 2 ** 26))
        // One of length 0 is as good as none.
        if (bytes.length > 0) chunks.set(`${ino}.${chunk}`, bytes)
      }
      copies.push({ id: node, chunks })
    }
    const [first, ...others] = copies as [typeof copies[0], ...typeof copies]
    for (const { id, chunks } of others) {
      for (const name of new Set([...first.chunks.keys(), ...chunks.keys()])) {
        const [one, other] = [first.chunks.get(name), chunks.get(name)]
        if (one === undefined || other === undefined) faults.push(`${partition}: chunk ${name} is missing at ${one === undefined ? first.id : id}`)
        else if (!one.equals(other)) faults.push(`${partition}: chunk ${name} differs between ${first.id} (${one.length} bytes) and ${id} (${other.length} bytes)`)
      }
    }
  }
  return faults
}

/** A replica that was replaced leaves nothing behind. */
async function checkLeftovers (cluster: SimCluster): Promise<string[]> {
  const faults: string[] = []
  for (const { id, running } of cluster.nodes) {
    for (const partition of await cluster.clock.run(running!.chunks.partitions())) {
      const replicas = cluster.map!.data.find((candidate) => candidate.id === partition)?.replicas ?? []
      if (!replicas.some(({ node }) => node === id)) faults.push(`${id} still has files of ${partition}`)
    }
  }
  return faults
}

/** After a split every chunk's file is in the directory of its own partition. */
function checkPlaces (cluster: SimCluster): string[] {
  const { data, volumes } = cluster.map!
  const spans = new Map(data.map(({ id, span }) => [id, span]))
  return cluster.nodes.flatMap(({ id, disk }) => disk.files.paths.flatMap((path) => {
    const match = /\/(\d+)\.d\.\d+\/[0-9a-f]+\/(\d+)\.(\d+)$/.exec(path)
    const volume = volumes.find((one) => String(one.id) === match?.[1])
    if (match === null || volume === undefined) return []
    const owner = dataPartitionOfChunk(volume, Number(match[2]), Number(match[3]), (partition) => spans.get(partition))
    return path.includes(`/${owner}/`) ? [] : [`${id} has ${path}, which belongs to ${owner}`]
  }))
}

/** `atoll scrub` finds nothing. */
async function checkScrub (cluster: SimCluster): Promise<string[]> {
  const faults: string[] = []
  for (const { id: partition, primary } of cluster.map!.data) {
    const replica = cluster.node(primary!).running!.data.find(partition)!
    await cluster.clock.run((async () => {
      for await (const step of replica.scrub({ bytesPerSecond: scrubBytesPerSecond, dryRun: true })) {
        if (step.bad === 'header' || step.bad.length > 0 || step.differing.length > 0 || step.error !== undefined) {
          faults.push(`scrub of ${partition}: ${JSON.stringify(step)}`)
        }
      }
    })())
  }
  return faults
}

function hex (bytes: Uint8Array): string { return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex') }

function readable (key: string): string { return JSON.stringify(Buffer.from(key, 'hex').toString('latin1')) }
