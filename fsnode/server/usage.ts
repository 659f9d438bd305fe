import { join, relative, sep } from 'node:path'
import { backgroundParallel, inParallel } from '../data/chunk-store.ts'
import type { ChunkFiles } from '../data/files.ts'
import type { Clock, Timer } from '../protocol/ports.ts'

/** What has changed is measured this often; nothing else is, but for the two below. */
export const usageIntervalMs = 5_000
/** Measuring takes at most this share of the time; what does not fit is measured in the rounds to come. */
export const usageShareMax = 0.02
/** Databases rearrange their files some time after they were written to: so all of them are measured this often. */
export const databasesAgeMsMax = 60_000
/** File systems may give back later what they set aside for a file: so everything is measured this often. */
export const usageAgeMsMax = 3_600_000

export interface UsageEntry { name: string, isDirectory: boolean }

export interface UsageFiles extends Pick<ChunkFiles, 'space'> {
  /** null: there is no such directory. */
  entries (directory: string): Promise<readonly UsageEntry[] | null>
  /** What the file takes on the disk; 0 when there is none. */
  allocatedBytes (path: string): Promise<number>
}

export interface UsageComponents { clock: Clock, files: UsageFiles }

export interface UsageInit {
  /** The node's volume. */
  directory: string
  /** The directory below it that has one of each data partition, which has its shelves. */
  chunks: string
  /** What the node was promised of the disk, bytes. */
  reservedBytes: number
}

/**
 * How much of its volume a node uses: measured in the background, since chunk files are sparse. Whoever changes files
 * tells in which directory (watched-files.ts): only that one is looked through again.
 */
export class Usage {
  usedBytes = 0
  capacityBytes: number
  private readonly components: UsageComponents
  private readonly init: UsageInit
  /** By data partition, what each of its shelves takes. */
  private readonly shelves = new Map<string, Map<string, number>>()
  /** Directories that changed, as they were named: each write tells. */
  private readonly changed = new Set<string>()
  /** Partitions and shelves to look through, the one that waits longest first. */
  private readonly pending = new Set<string>()
  private databasesChanged = false
  private databasesBytes = 0
  private databasesAt = -Infinity
  private wholeAt = -Infinity
  /** By data partition, what its replica here takes on the disk. */
  private stored: Array<[partition: string, bytes: number]> | undefined
  private timer: Timer | null = null
  private closed = false

  constructor (components: UsageComponents, init: UsageInit) {
    this.components = components
    this.init = init
    this.capacityBytes = init.reservedBytes
  }

  /** Measures now and, until it is closed, again and again; resolves after the first time. */
  async start (): Promise<void> {
    const { clock } = this.components
    const began = clock.now()
    const isFirst = this.wholeAt === -Infinity
    await this.measure(isFirst ? Infinity : began + usageIntervalMs * usageShareMax).catch(() => {}) // what was measured before stands
    if (this.closed) return
    const pauseMs = isFirst ? 0 : (clock.now() - began) / usageShareMax
    this.timer = clock.setTimer(() => { void this.start() }, Math.max(usageIntervalMs, pauseMs))
  }

  close (): void {
    this.closed = true
    this.timer?.cancel()
  }

  /** Files of chunks in this directory, or directories in it, have changed. */
  chunksChanged (directory: string): void { this.changed.add(directory) }

  /** Something else in the volume has changed. */
  databaseChanged (): void { this.databasesChanged = true }

  /** What partitions take, once in each interval: who asks may have forgotten. */
  takeStored (): Array<[partition: string, bytes: number]> | undefined {
    const { stored } = this
    this.stored = undefined
    return stored
  }

  private async measure (until: number): Promise<void> {
    const { clock, files } = this.components
    const now = clock.now()
    if (now - this.wholeAt >= usageAgeMsMax) await this.listPartitions(now)
    if (this.databasesChanged || now - this.databasesAt >= databasesAgeMsMax) await this.measureDatabases(now)
    this.takeChanged()
    for (const directory of this.pending) {
      this.pending.delete(directory)
      await this.measureChunks(directory)
      if (this.closed || clock.now() >= until) break
    }
    if (this.closed) return
    const stored = [...this.shelves].map(([partition, shelves]): [string, number] => [partition, sumOf(shelves.values())])
    this.stored = stored
    this.usedBytes = this.databasesBytes + sumOf(stored.map(([, bytes]) => bytes))
    const { freeBytes } = await files.space(this.init.directory)
    // The reservation, unless others have taken the disk meanwhile.
    this.capacityBytes = Math.min(this.init.reservedBytes, this.usedBytes + freeBytes)
  }

  private takeChanged (): void {
    for (const directory of this.changed) {
      const within = relative(this.init.chunks, directory)
      if (within !== '' && !within.startsWith('..')) this.pending.add(within)
    }
    this.changed.clear()
  }

  private async listPartitions (now: number): Promise<void> {
    const partitions = directoriesOf(await this.components.files.entries(this.init.chunks))
    this.wholeAt = now
    for (const partition of [...this.shelves.keys(), ...partitions]) this.pending.add(partition)
  }

  private async measureChunks (directory: string): Promise<void> {
    const [partition = '', shelf] = directory.split(sep)
    const path = join(this.init.chunks, directory)
    const entries = await this.components.files.entries(path)
    if (shelf === undefined) {
      this.listShelves(partition, entries)
      return
    }
    const bytes = await this.bytesOf(path, entries)
    const shelves = this.shelves.get(partition) ?? new Map<string, number>()
    if (entries === null) shelves.delete(shelf)
    else this.shelves.set(partition, shelves.set(shelf, bytes))
  }

  private listShelves (partition: string, entries: readonly UsageEntry[] | null): void {
    const known = this.shelves.get(partition)
    const names = directoriesOf(entries)
    if (entries === null) this.shelves.delete(partition)
    else this.shelves.set(partition, new Map(names.map((name) => [name, known?.get(name) ?? 0])))
    for (const name of names) this.pending.add(join(partition, name))
  }

  private async measureDatabases (now: number): Promise<void> {
    this.databasesChanged = false
    this.databasesBytes = await this.bytesBelow(this.init.directory)
    this.databasesAt = now
  }

  /** All but chunks. */
  private async bytesBelow (directory: string): Promise<number> {
    const entries = await this.components.files.entries(directory)
    let bytes = await this.bytesOf(directory, entries)
    if (directory === this.init.chunks) return bytes
    for (const name of directoriesOf(entries)) bytes += await this.bytesBelow(join(directory, name))
    return bytes
  }

  /** Of the files right in the directory. */
  private async bytesOf (directory: string, entries: readonly UsageEntry[] | null): Promise<number> {
    let bytes = 0
    await inParallel(backgroundParallel, entries ?? [], async ({ name, isDirectory }) => {
      if (isDirectory || this.closed) return
      const allocated = await this.components.files.allocatedBytes(join(directory, name))
      bytes += allocated
    })
    return bytes
  }
}

function directoriesOf (entries: readonly UsageEntry[] | null): string[] {
  return (entries ?? []).filter(({ isDirectory }) => isDirectory).map(({ name }) => name)
}

function sumOf (values: Iterable<number>): number {
  let sum = 0
  for (const value of values) sum += value
  return sum
}
