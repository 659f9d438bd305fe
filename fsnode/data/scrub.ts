import type { DataPartition, NodeId } from '../../partitioning/types.ts'
import type { ChunkDigest, ReplicaDigestsResponse } from '../protocol/data.ts'
import { AtollError, codeOf, messageOf } from '../protocol/errors.ts'
import type { Clock, Logger } from '../protocol/ports.ts'
import type { ClusterRouter } from '../protocol/router.ts'
import { byName, type ChunkName, type ChunkStore } from './chunk-store.ts'
import { digestPageMax, scrubBytesPerSecond } from './constants.ts'

export interface ScrubInit {
  /** Rate of reading, bytes/s; default `scrubBytesPerSecond`. */
  bytesPerSecond?: number
  /** Only look. */
  dryRun?: boolean
}

/** What was found about one chunk. */
export interface ScrubStep {
  ino: number
  chunk: number
  bytes: number
  /** Blocks of this replica that do not match their checksums; 'header': none can be told. */
  bad: number[] | 'header'
  /** Replicas whose contents differ from this one's. */
  differing: NodeId[]
  /** Everything that was found wrong is right again. */
  repaired: boolean
  /** Why not, if it is not. */
  error?: string
}

export interface ScrubTask extends ScrubInit {
  partition: DataPartition
  /** Whether the replica still is what it was at the start. */
  current: () => boolean
  heal: (name: ChunkName) => Promise<void>
  others: () => NodeId[]
  /** Resolves when nothing is under way on the chunk. */
  settled: (name: ChunkName) => Promise<void>
  overwrite: (node: NodeId, name: ChunkName) => Promise<void>
}

export interface ScrubComponents { clock: Clock, log: Logger, router: ClusterRouter, store: ChunkStore }

/** See DataPartitionReplica.scrub. */
export async function * scrubReplica (components: ScrubComponents, task: ScrubTask): AsyncGenerator<ScrubStep> {
  const { clock } = components
  const { partition, bytesPerSecond = scrubBytesPerSecond } = task
  const start = clock.now()
  let read = 0
  for (const [ino, chunk] of await chunksOfAll(components, task)) {
    const step = await scrubChunk(components, task, { partition: partition.id, ino, chunk })
    // What failed may have failed for that; what is left is not verified.
    if (!task.current()) throw new AtollError('ATOLL_STALE_EPOCH', `the replica of ${partition.id} is not what it was when the scrub began`)
    read += step.bytes
    const aheadMs = read / bytesPerSecond * 1000 - (clock.now() - start)
    if (aheadMs > 0) await new Promise<void>((resolve) => { clock.setTimer(resolve, aheadMs) })
    yield step
  }
}

/** The chunks here and those that only other replicas have. */
async function chunksOfAll ({ router, store }: ScrubComponents, { partition: { id, epoch }, others }: ScrubTask): Promise<Array<[number, number]>> {
  const chunks = await store.list(id)
  const known = new Set(chunks.map(([ino, chunk]) => `${ino}.${chunk}`))
  for (const node of others()) {
    for (let after: [number, number] | null = null, done = false; !done;) {
      const { body }: { body: ReplicaDigestsResponse } = await router.toNode(node, 'replica.digests', { partition: id, epoch, after, limit: digestPageMax, recent: false })
      for (const { ino, chunk } of body.digests) {
        after = [ino, chunk]
        if (!known.has(`${ino}.${chunk}`)) chunks.push(after)
        known.add(`${ino}.${chunk}`)
      }
      done = body.done || body.digests.length === 0
    }
  }
  return chunks.sort(byName)
}

async function scrubChunk (components: ScrubComponents, task: ScrubTask, name: ChunkName): Promise<ScrubStep> {
  const { ino, chunk } = name
  const step: ScrubStep = { ino, chunk, bytes: 0, bad: [], differing: [], repaired: true }
  try {
    await verify(components, task, name, step)
    await compare(components, task, name, step)
  } catch (error) {
    step.repaired = false
    step.error = messageOf(error)
    components.log.warn('scrub', { ...name, code: codeOf(error), cause: messageOf(error) })
  }
  return step
}

async function verify ({ store }: ScrubComponents, task: ScrubTask, name: ChunkName, step: ScrubStep): Promise<void> {
  try {
    const { bad, length } = await store.verify(name)
    step.bad = bad
    step.bytes = length
    if (bad.length === 0) return
  } catch (error) {
    if (codeOf(error) !== 'ATOLL_BAD_CHECKSUM') throw error
    step.bad = 'header'
  }
  step.repaired = false
  if (task.dryRun === true) return
  await task.heal(name)
  step.repaired = (await store.verify(name)).bad.length === 0
}

/** Contents that are being written differ for a moment: only what differs twice, with all settled, differs. */
async function compare (components: ScrubComponents, task: ScrubTask, name: ChunkName, step: ScrubStep): Promise<void> {
  for (const node of task.others()) {
    if (await equals(components, task, name, node) || await equals(components, task, name, node)) continue
    step.differing.push(node)
    if (task.dryRun === true) {
      step.repaired = false
      continue
    }
    await task.overwrite(node, name)
    if (!await equals(components, task, name, node)) step.repaired = false
  }
}

async function equals ({ router, store }: ScrubComponents, { partition, settled }: ScrubTask, name: ChunkName, node: NodeId): Promise<boolean> {
  await settled(name)
  const { id, epoch } = partition
  const before = await store.digest(name)
  const request = { partition: id, epoch, after: null, limit: digestPageMax, recent: false, chunks: [[name.ino, name.chunk] as [number, number]] }
  const theirs: ChunkDigest | undefined = (await router.toNode(node, 'replica.digests', request)).body.digests[0]
  const after = await store.digest(name)
  const same = (digest: typeof before): boolean => digest?.length === theirs?.length && digest?.digest === theirs?.digest
  return same(before) || same(after)
}
