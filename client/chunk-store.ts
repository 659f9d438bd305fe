import type { VolumeInfo } from '../partitioning/types.ts'
import { syncChunksMax, type ChunkPosition } from '../fsnode/protocol/data.ts'
import type { Methods } from '../fsnode/protocol/methods.ts'
import type { Answer } from '../fsnode/protocol/peer.ts'
import type { Clock, Random } from '../fsnode/protocol/ports.ts'
import type { ClusterRouter, RouteOptions } from '../fsnode/protocol/router.ts'
import { chunkRequestsInFlightMax } from './bounds.ts'
import { eachBounded } from './parallel.ts'
import { ReplicaReads } from './replica-reads.ts'
import { ShortCircuit, type LocalFiles } from './short-circuit.ts'

export interface ChunkStoreComponents {
  router: ClusterRouter
  clock: Clock
  random: Random
  /** See VolumeContext. */
  writeBackPatienceMs: number
  /** For short-circuit reads; null: there are none. */
  files: LocalFiles | null
}

/** Chunks that were in one partition no longer are. */
const divided = new Error('divided')

/** Part of a write, within a chunk. */
export interface ChunkRange { offset: number, length: number, data: readonly Buffer[] }

/** Chunks of files, wherever the cluster map says they are. Offsets are within the chunk. */
export class ChunkStore {
  private readonly components: ChunkStoreComponents
  private readonly volume: VolumeInfo
  private readonly replicas: ReplicaReads
  private readonly shortCircuit: ShortCircuit | null
  /** With `order`: an attempt that was overtaken on its way must not undo a later one. */
  private readonly writer: string
  private order = 0

  constructor (components: ChunkStoreComponents, volume: VolumeInfo) {
    this.components = components
    this.volume = volume
    this.replicas = new ReplicaReads(components)
    this.shortCircuit = components.files === null ? null : new ShortCircuit(components.files, components.clock)
    this.writer = components.random.bytes(8).toString('hex')
  }

  /** For a mutation that must not come late: see `ChunkMutation.since`. */
  async position (ino: number, chunk: number): Promise<ChunkPosition> {
    const { router, writeBackPatienceMs: patienceMs } = this.components
    return (await router.toPrimary(this.partitionOf(ino, chunk), 'data.position', (epoch, { id }) => ({ partition: id, epoch }), { patienceMs })).body
  }

  /**
   * Resolves when all in-sync replicas have the bytes in memory, with the losses of the partition (`DataPartition`) so far.
   * @param attempting Before each attempt: what it throws ends the write.
   */
  async write (ino: number, chunk: number, ranges: readonly ChunkRange[], since?: ChunkPosition, attempting = (): void => {}): Promise<number> {
    const offset = Math.min(...ranges.map((range) => range.offset))
    const scattered = ranges.length === 1 ? {} : { extents: ranges.flatMap((range) => [range.offset, range.length]) }
    const payload = ranges.flatMap((range) => range.data)
    return this.change(this.partitionOf(ino, chunk), 'data.write', (epoch, partition) => {
      attempting()
      return { partition, epoch, writer: this.writer, order: ++this.order, since, ino, chunk, offset, ...scattered }
    }, { payload, patienceMs: this.components.writeBackPatienceMs })
  }

  /** Fewer bytes than `length` where the chunk ends: the rest reads as zeros. */
  async read (ino: number, chunk: number, offset: number, length: number): Promise<Buffer[]> {
    const partition = this.partitionOf(ino, chunk)
    if (this.components.router.volume(this.volume.id).placement === 'tivoli') {
      const answered = await this.replicas.read(partition(), { ino, chunk, offset, length })
      if (answered !== null) return answered
    }
    const ask = (machine?: string): Promise<Answer<'data.read'>> => this.components.router.toPrimary(partition, 'data.read', (epoch, { id }) => ({
      partition: id, epoch, ino, chunk, offset, length, ...(machine !== undefined && { machine })
    }))
    const { body: { file }, payload } = await ask(this.shortCircuit?.machine)
    if (file === undefined) return payload
    return await this.shortCircuit!.read(file) ?? (await ask()).payload
  }

  /** Resolves as `write` does. */
  async truncate (ino: number, chunk: number, length: number, since?: ChunkPosition): Promise<number> {
    return this.change(this.partitionOf(ino, chunk), 'data.truncate', (epoch, partition) => ({ partition, epoch, writer: this.writer, order: ++this.order, since, ino, chunk, length }), { patienceMs: this.components.writeBackPatienceMs })
  }

  /**
   * Resolves when what was acknowledged before of these chunks is on stable storage of all in-sync replicas. `synced` is told of those that are, with
   * the losses of their partition: what was acknowledged with fewer may be gone. Rejects with the first failure, after all requests have ended.
   */
  async sync (ino: number, chunks: readonly number[], synced: (chunks: readonly number[], losses: number) => void): Promise<void> {
    await eachBounded(this.groups(ino, chunks), chunkRequestsInFlightMax, async (group) => {
      try {
        synced(group, await this.change(this.partitionOf(ino, group[0]!), 'data.sync', (epoch, partition) => {
          if (group.some((chunk) => this.partitionOf(ino, chunk)() !== partition)) throw divided
          return { partition, epoch, ino, chunks: group }
        }))
      } catch (error) {
        if (error !== divided) throw error
        await this.sync(ino, group, synced)
      }
    })
  }

  /** Chunks that one request may name: of one partition, and not too many. */
  private groups (ino: number, chunks: readonly number[]): number[][] {
    const open = new Map<string, number[]>()
    const groups: number[][] = []
    for (const chunk of chunks) {
      const partition = this.partitionOf(ino, chunk)()
      let group = open.get(partition)
      if (group === undefined || group.length === syncChunksMax) {
        group = []
        open.set(partition, group)
        groups.push(group)
      }
      group.push(chunk)
    }
    return groups
  }

  private async change<M extends 'data.write' | 'data.truncate' | 'data.sync'> (
    which: () => string, method: M, build: (epoch: number, partition: string) => Methods[M]['request'], options?: RouteOptions
  ): Promise<number> {
    let lossesThen = 0
    await this.components.router.toPrimary(which, method, (epoch, { id, losses = 0 }) => {
      lossesThen = losses
      return build(epoch, id)
    }, options)
    return lossesThen
  }

  /** Asked anew for each attempt: a partition may be split meanwhile. */
  private partitionOf (ino: number, chunk: number): () => string {
    return () => this.components.router.partitionOfChunk(this.volume.id, ino, chunk)
  }
}
