import { dirname, join } from 'node:path'
import { hashInode } from '../../partitioning/routing.ts'
import type { DiskMeasure } from '../../partitioning/types.ts'
import { AtollError, codeOf, messageOf, posixError } from '../protocol/errors.ts'
import type { FileRange } from '../protocol/data.ts'
import { byteLengthOf } from '../protocol/frame.ts'
import type { Clock, Logger, Timer } from '../protocol/ports.ts'
import type { WholeBlockSums } from './block-sums.ts'
import { digestOf, OpenChunk, readHeader, type Digest } from './chunk-file.ts'
import { ChunkQueue } from './chunk-queue.ts'
import { DiskMeter } from './disk-meter.ts'
import { probeDisk } from './disk-probe.ts'
import { Divisions, type Division } from './divisions.ts'
import type { ChunkFile, ChunkFiles } from './files.ts'
import type { Range } from './ranges.ts'
import { Space } from './space.ts'
import { sweep, type SweepComponents } from './sweep.ts'

/** Bound of the table of open chunks; each holds a descriptor and up to 36 KiB. */
export const openChunksMax = 512
/** A chunk that nothing touched for so long gets its checksums stored. */
export const idleMs = 5_000
export const idleScanMs = 1_000
/** Chunks whose checksums are stored at once, and directories listed at once. */
export const backgroundParallel = 4

const cleanMarker = 'clean'
const probeFile = 'probe'
const noBytes = Buffer.alloc(0)

export interface ChunkName { partition: string, ino: number, chunk: number }

export interface ChunkStoreComponents { files: ChunkFiles, clock: Clock, log: Logger }

export interface ChunkStoreInit {
  /** Holds one directory per partition; made if missing. */
  directory: string
  /** Room to be left free; default: see Space. The store refuses growth at half of it, see Space. */
  reserveBytes?: number
  /** Default `openChunksMax`. */
  openChunksMax?: number
  /** Measure the disk when it is opened; default true. */
  probe?: boolean
}

interface Slot {
  name: ChunkName
  /** Where the file is, if there is one. */
  path: string
  queue: ChunkQueue
  chunk: OpenChunk | null
  loading: Promise<OpenChunk | null> | null
  /** Users of the chunk outside the queue (syncs): it stays open. */
  pins: number
  evicting: boolean
  usedAt: number
}

/**
 * Chunks in files `<directory>/<partition>/<xx>/<ino>.<chunk>`, see chunk-header.ts. Calls on one chunk take
 * effect in the order in which they are made; reads of it overlap; different chunks run in parallel. A
 * chunk that does not exist reads as one of length 0.
 *
 * Errors: ATOLL_BAD_CHECKSUM (a touched block is damaged), ENOSPC (nothing changed), EFBIG, EIO.
 */
export class ChunkStore {
  readonly meter: DiskMeter
  readonly space: Space
  /** Whether the last process closed the store; if not, what it wrote last may be lost after a power failure. */
  wasClosed = false
  private readonly components: ChunkStoreComponents
  private readonly directory: string
  private readonly openMax: number
  private readonly probe: boolean
  private readonly divisions = new Divisions()
  private readonly sweeping = new Map<string, Promise<void>>()
  /** Least recently used first. */
  private readonly slots = new Map<string, Slot>()
  private readonly unsyncedDirectories = new Set<string>()
  private readonly syncingDirectories = new Map<string, Promise<void>>()
  private openCount = 0
  private idleTimer: Timer | null = null
  private closing = false

  constructor (components: ChunkStoreComponents, init: ChunkStoreInit) {
    this.components = components
    this.directory = init.directory
    this.openMax = init.openChunksMax ?? openChunksMax
    this.probe = init.probe ?? true
    this.meter = new DiskMeter(components.clock)
    this.space = new Space(components.files, components.clock, init.directory, init.reserveBytes)
  }

  async open (): Promise<void> {
    const { files } = this.components
    await files.makeDirectory(this.directory)
    this.wasClosed = (await files.list(this.directory)).includes(cleanMarker)
    if (this.wasClosed) {
      await files.unlink(join(this.directory, cleanMarker))
      await files.syncDirectory(this.directory)
    } else {
      // What the last process made or removed may not have got that far.
      await files.syncDirectory(this.directory)
      for (const partition of await this.partitions()) {
        for (const shelf of await files.list(join(this.directory, partition))) this.unsyncedDirectories.add(join(this.directory, partition, shelf))
      }
    }
    await this.space.look()
    if (this.probe) await probeDisk(files, this.meter, join(this.directory, probeFile))
  }

  /** Stores all checksums. `settled`: the contents are what every replica has; otherwise the next start compares them all. */
  async close (settled = true): Promise<void> {
    const { files } = this.components
    this.closing = true
    this.idleTimer?.cancel()
    await inParallel(backgroundParallel, [...this.slots.values()], (slot) => this.evict(slot))
    if (!settled) return
    await this.syncDirectories(this.directory)
    const marker = await files.open(join(this.directory, cleanMarker), true)
    await marker.close()
    await files.syncDirectory(this.directory)
  }

  get disk (): DiskMeasure | null { return this.meter.current }

  read (name: ChunkName, offset: number, length: number): Promise<Buffer> {
    return this.run(name, true, async (slot) => {
      const chunk = await this.load(slot)
      if (chunk === null) return noBytes
      return this.meter.measure('read', length, () => chunk.read(offset, length))
    })
  }

  /** Where others on this machine read the bytes; null: there are none, or nobody can. The place is good for as long as the checksums match. */
  locate (name: ChunkName, offset: number, length: number): Promise<FileRange | null> {
    return this.run(name, true, async (slot) => {
      const place = (await this.load(slot))?.locate(offset, length)
      const path = this.components.files.outside?.pathOf(slot.path)
      return place === undefined || place === null || path === undefined ? null : { path, ...place }
    })
  }

  /** Of those who may read where `locate` says. */
  get machine (): string | null { return this.components.files.outside?.machine ?? null }

  /** `whole`: checksums of the whole blocks of the payload, if they are known. */
  write (name: ChunkName, offset: number, payload: readonly Buffer[], whole?: WholeBlockSums): Promise<void> {
    const length = byteLengthOf(payload)
    return this.change(name, async (slot) => {
      const chunk = await this.load(slot) ?? await this.create(slot)
      const growth = this.requireRoom(chunk, offset + length)
      await this.meter.measure(null, length, () => chunk.write(offset, payload, whole))
      this.space.grew(growth)
    })
  }

  /** Several ranges that do not overlap, at once. */
  writeRanges (name: ChunkName, ranges: readonly Range[]): Promise<void> {
    const end = Math.max(...ranges.map(({ offset, length }) => offset + length))
    const bytes = ranges.reduce((sum, { length }) => sum + length, 0)
    return this.change(name, async (slot) => {
      const chunk = await this.load(slot) ?? await this.create(slot)
      const growth = this.requireRoom(chunk, end)
      await this.meter.measure(null, bytes, () => chunk.writeRanges(ranges))
      this.space.grew(growth)
    })
  }

  /** Cuts to `length`; 0 removes the chunk. */
  truncate (name: ChunkName, length: number): Promise<void> {
    return this.change(name, async (slot) => {
      if (length === 0) {
        await this.remove(slot)
        return
      }
      const chunk = await this.load(slot)
      await chunk?.truncate(length)
      this.space.invalidate()
    })
  }

  zero (name: ChunkName, offset: number, length: number): Promise<void> {
    return this.change(name, async (slot) => { await (await this.load(slot))?.zero(offset, length) })
  }

  /** A piece of a whole new content of `total` bytes, in order; the first drops what was there. */
  put (name: ChunkName, total: number, offset: number, payload: readonly Buffer[]): Promise<void> {
    return this.change(name, async (slot) => {
      if (total === 0) {
        await this.remove(slot)
        return
      }
      const chunk = await this.load(slot) ?? await this.create(slot)
      const growth = this.requireRoom(chunk, offset + byteLengthOf(payload))
      await chunk.put(total, offset, payload)
      this.space.grew(growth)
    })
  }

  /** `sync` of several chunks of a file: takes its place in the order of each before it returns. */
  async syncChunks ({ partition, ino }: ChunkName, chunks: readonly number[]): Promise<void> {
    await Promise.all(chunks.map((chunk) => this.sync({ partition, ino, chunk })))
  }

  /** What calls before this one wrote or removed is on stable storage when it resolves. Later calls do not wait for it. */
  async sync (name: ChunkName): Promise<void> {
    const slot = await this.run(name, true, async (slot) => {
      await this.load(slot)
      slot.pins++
      return slot
    })
    try {
      const { chunk } = slot
      if (chunk !== null) await this.meter.measure('write', chunk.unsyncedBytes, () => chunk.sync())
      for (const path of this.pathsOf(slot)) await this.syncDirectory(dirname(path))
    } finally {
      slot.pins--
      this.release(slot)
    }
  }

  /** null: there is no such chunk. Does not disturb the table of open chunks for those whose checksums are stored. */
  digest (name: ChunkName): Promise<Digest | null> {
    return this.run(name, true, async (slot) => {
      if (slot.chunk === null && slot.loading === null) {
        const stored = await this.storedDigest(slot)
        if (stored !== undefined) return stored
      }
      const chunk = await this.load(slot)
      return chunk === null || (chunk.length === 0 && !chunk.damaged) ? null : chunk.digest()
    })
  }

  /** Verifies all blocks; answers the numbers of the bad ones. ATOLL_BAD_CHECKSUM: not even the header is right. */
  verify (name: ChunkName): Promise<{ bad: number[], length: number }> {
    return this.run(name, true, async (slot) => {
      const chunk = await this.load(slot)
      return { bad: await chunk?.verify() ?? [], length: chunk?.length ?? 0 }
    })
  }

  /** Puts right bytes in place of a bad block's. Answers whether they are the right ones. */
  restore (name: ChunkName, block: number, bytes: Buffer): Promise<boolean> {
    return this.change(name, async (slot) => await (await this.load(slot))?.restore(block, bytes) ?? false)
  }

  /** The chunks of a partition, by inode and index; also those that a call before this one is about to make. */
  async list (partition: string): Promise<Array<[ino: number, chunk: number]>> {
    const { files } = this.components
    const names = new Set<string>()
    for (const { name } of this.slots.values()) if (name.partition === partition) names.add(`${name.ino}.${name.chunk}`)
    // Where they come from first: none is missed that moves meanwhile.
    for (const source of [...this.divisions.sources(partition), partition]) {
      const directory = join(this.directory, source)
      await inParallel(backgroundParallel, await files.list(directory), async (shelf) => {
        for (const file of await files.list(join(directory, shelf))) names.add(file)
      })
    }
    const chunks = [...names].map(chunkOfFile).filter((found) => found !== null)
    return chunks.filter(([ino, chunk]) => this.divisions.holds({ partition, ino, chunk })).sort(byName)
  }

  async partitions (): Promise<string[]> {
    return (await this.components.files.list(this.directory)).filter((name) => name !== cleanMarker && name !== probeFile)
  }

  /** Everything of the partition that was written before is on stable storage when this resolves. */
  async syncPartition (partition: string): Promise<void> {
    const own = [...this.slots.values()].filter((slot) => slot.name.partition === partition)
    await inParallel(backgroundParallel, own, (slot) => this.sync(slot.name))
    for (const source of [...this.divisions.sources(partition), partition]) await this.syncDirectories(join(this.directory, source))
  }

  /** Deletes all chunks of a partition, for ever: a replica that begins here anew must not meet them. Nobody may use them any more. */
  async removePartition (partition: string): Promise<void> {
    for (const source of [...this.divisions.sources(partition), partition]) await this.sweep(source)
    const own = [...this.slots.values()].filter((slot) => slot.name.partition === partition)
    await inParallel(backgroundParallel, own, (slot) => this.evict(slot))
    await this.components.files.removeTree(join(this.directory, partition))
    await this.components.files.syncDirectory(this.directory)
    this.space.invalidate()
  }

  /**
   * The partition has been split, now or before this process began: chunks that others hold now are theirs at once, whatever is under
   * way on them; calls for them by the partition's name are refused with ATOLL_STALE_EPOCH. Their files are moved by `sweep`.
   */
  divide (division: Division): void {
    if (!this.divisions.set(division)) return
    const { partition, ownerOf } = division
    for (const [key, slot] of [...this.slots]) {
      const { ino, chunk } = slot.name
      if (slot.name.partition !== partition || this.divisions.holds(slot.name)) continue
      this.slots.delete(key)
      slot.name = { partition: ownerOf(ino, chunk), ino, chunk }
      this.slots.set(keyOf(slot.name), slot)
    }
  }

  isSwept (partition: string): boolean { return this.divisions.isSwept(partition) }

  /** Resolves when the files of other partitions in this one's directory are in their own ones, for ever. */
  sweep (partition: string): Promise<void> {
    if (this.divisions.isSwept(partition)) return Promise.resolve()
    let running = this.sweeping.get(partition)
    if (running === undefined) {
      running = this.sweepOut(partition).finally(() => { this.sweeping.delete(partition) })
      this.sweeping.set(partition, running)
    }
    return running
  }

  private async sweepOut (partition: string): Promise<void> {
    for (let division = this.divisions.get(partition); division !== undefined && !this.divisions.isSwept(partition); division = this.divisions.get(partition)) {
      // What is still to come from where it was split off itself comes first.
      for (const source of this.divisions.sources(partition)) await this.sweep(source)
      await sweep(this.sweepComponents, division)
      this.divisions.swept(division)
    }
  }

  /** The split was undone: a map from before it was restored. */
  unite (partition: string): void { this.divisions.forget(partition) }

  private get sweepComponents (): SweepComponents {
    const isStray = ({ name, path }: Slot, partition: string): boolean => name.partition !== partition && path.startsWith(join(this.directory, partition, '/'))
    return {
      files: this.components.files,
      directory: this.directory,
      homeOf: (name) => this.pathOf(name),
      alone: (name, task) => this.run(name, false, task),
      strays: (partition) => [...this.slots.values()].filter((slot) => isStray(slot, partition)).map(({ name }) => name),
      entriesChanged: (directory) => { this.unsyncedDirectories.add(directory) },
      syncDirectory: (directory) => this.syncDirectory(directory)
    }
  }

  private async storedDigest (slot: Slot): Promise<Digest | null | undefined> {
    const file = await this.openFile(slot)
    if (file === null) return null
    try {
      const header = await readHeader(file, slot.name.ino, slot.name.chunk)
      if (typeof header === 'string' || header.dirty) return undefined
      return header.length === 0 ? null : digestOf(header.length, header.sums)
    } finally {
      await file.close()
    }
  }

  /** Runs a change; a chunk that it leaves empty is no chunk. */
  private change<T> (name: ChunkName, task: (slot: Slot) => Promise<T>): Promise<T> {
    return this.run(name, false, async (slot) => {
      try {
        return await task(slot)
      } catch (error) {
        if (codeOf(error) === 'ENOSPC') this.space.invalidate()
        if (slot.chunk?.length === 0 && !slot.chunk.damaged) await this.remove(slot).catch(() => {})
        throw error
      } finally {
        this.armIdleTimer()
      }
    })
  }

  private run<T> (name: ChunkName, shared: boolean, task: (slot: Slot) => Promise<T>): Promise<T> {
    if (this.closing) return Promise.reject(new AtollError('ATOLL_UNAVAILABLE', 'the chunk store is closed'))
    try {
      this.divisions.require(name)
    } catch (error) {
      return Promise.reject(error)
    }
    const slot = this.slotOf(name)
    return slot.queue.run(shared, () => task(slot)).finally(() => { this.release(slot) })
  }

  private slotOf (name: ChunkName): Slot {
    const key = keyOf(name)
    let slot = this.slots.get(key)
    if (slot === undefined) {
      slot = { name, path: this.pathOf(name), queue: new ChunkQueue(), chunk: null, loading: null, pins: 0, evicting: false, usedAt: 0 }
    } else {
      this.slots.delete(key)
    }
    this.slots.set(key, slot)
    slot.usedAt = this.components.clock.now()
    return slot
  }

  private pathOf ({ partition, ino, chunk }: ChunkName): string {
    const shelf = (hashInode(ino) & 0xff).toString(16).padStart(2, '0')
    return join(this.directory, partition, shelf, `${ino}.${chunk}`)
  }

  /** Where its file may be: in its place, and while partitions are being split also where it was. */
  private pathsOf ({ name, path }: Slot): string[] {
    const home = this.pathOf(name)
    const sources = this.divisions.sources(name.partition)
    if (path === home && sources.length === 0) return [path]
    return [...new Set([path, home, ...sources.map((partition) => this.pathOf({ ...name, partition }))])]
  }

  private release (slot: Slot): void {
    if (slot.chunk !== null || slot.loading !== null || slot.pins > 0 || !slot.queue.idle) return
    const key = keyOf(slot.name)
    if (this.slots.get(key) === slot) this.slots.delete(key)
  }

  private load (slot: Slot): Promise<OpenChunk | null> {
    if (slot.chunk !== null) return Promise.resolve(slot.chunk)
    slot.loading ??= this.loadFile(slot).finally(() => { slot.loading = null })
    return slot.loading
  }

  private async loadFile (slot: Slot): Promise<OpenChunk | null> {
    await this.makeRoomInTable()
    const file = await this.openFile(slot)
    if (file === null) return null
    try {
      slot.chunk = await OpenChunk.load(file, slot.name.ino, slot.name.chunk)
    } catch (error) {
      await file.close()
      throw error
    }
    this.openCount++
    return slot.chunk
  }

  private async openFile (slot: Slot): Promise<ChunkFile | null> {
    for (const path of this.pathsOf(slot)) {
      try {
        const file = await this.components.files.open(path, false)
        slot.path = path
        return file
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error
      }
    }
    return null
  }

  private async create (slot: Slot): Promise<OpenChunk> {
    if (this.space.exhausted) throw posixError('ENOSPC', 'the disk is full')
    const { files } = this.components
    await this.makeRoomInTable()
    const path = slot.path = this.pathOf(slot.name)
    let file: ChunkFile
    try {
      file = await files.open(path, true)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
      await files.makeDirectory(dirname(path))
      file = await files.open(path, true)
    }
    this.unsyncedDirectories.add(dirname(path))
    this.openCount++
    slot.chunk = OpenChunk.fresh(file, slot.name.ino, slot.name.chunk)
    return slot.chunk
  }

  private async remove (slot: Slot): Promise<void> {
    const { files } = this.components
    for (const path of this.pathsOf(slot)) {
      try {
        await files.unlink(path)
        this.unsyncedDirectories.add(dirname(path))
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error
      }
    }
    this.space.invalidate()
    await this.closeFile(slot)
  }

  /** Bytes by which the chunk grows. @throws ENOSPC before anything has changed. */
  private requireRoom (chunk: OpenChunk, end: number): number {
    const growth = Math.max(0, end - chunk.length)
    if (growth > 0 && this.space.exhausted) throw posixError('ENOSPC', 'the disk is full')
    return growth
  }

  private async closeFile (slot: Slot): Promise<void> {
    const { chunk } = slot
    if (chunk === null) return
    slot.chunk = null
    this.openCount--
    if (slot.pins > 0) this.closeLater(slot, chunk)
    else await chunk.close()
  }

  /** A sync still uses the descriptor. */
  private closeLater (slot: Slot, chunk: OpenChunk): void {
    this.components.clock.setTimer(() => {
      if (slot.pins > 0) this.closeLater(slot, chunk)
      else chunk.close().catch(() => {})
    }, idleScanMs)
  }

  private async makeRoomInTable (): Promise<void> {
    if (this.openCount < this.openMax) return
    for (const slot of this.slots.values()) {
      if (slot.chunk === null || slot.evicting || slot.pins > 0 || !slot.queue.idle) continue
      await this.evict(slot)
      if (this.openCount < this.openMax) return
    }
  }

  private async evict (slot: Slot): Promise<void> {
    slot.evicting = true
    await slot.queue.run(false, async () => {
      await this.store(slot)
      await this.closeFile(slot)
    }).finally(() => { slot.evicting = false })
    this.release(slot)
  }

  /** Stores the checksums. When that fails they are computed from the bytes at the next start. */
  private async store (slot: Slot): Promise<void> {
    try {
      const { chunk } = slot
      if (chunk?.dirty === true) await this.meter.measure(chunk.unsyncedBytes > 0 ? 'write' : null, chunk.unsyncedBytes, () => chunk.clean())
    } catch (error) {
      this.components.log.warn('cannot store the checksums of a chunk', { path: slot.path, cause: messageOf(error) })
    }
  }

  private armIdleTimer (): void {
    if (this.closing) return
    this.idleTimer ??= this.components.clock.setTimer(() => { void this.storeIdle() }, idleScanMs)
  }

  private async storeIdle (): Promise<void> {
    const horizon = this.components.clock.now() - idleMs
    const dirty = [...this.slots.values()].filter((slot) => slot.chunk?.dirty === true)
    const idle = dirty.filter((slot) => slot.usedAt <= horizon && slot.queue.idle && !slot.evicting)
    await inParallel(backgroundParallel, idle, (slot) => slot.queue.run(false, () => this.store(slot)))
    this.idleTimer = null
    if (dirty.length > 0) this.armIdleTimer()
  }

  private async syncDirectory (directory: string): Promise<void> {
    if (this.unsyncedDirectories.delete(directory)) {
      const sync = this.components.files.syncDirectory(directory).catch((error) => {
        this.unsyncedDirectories.add(directory)
        throw error
      }).finally(() => { if (this.syncingDirectories.get(directory) === sync) this.syncingDirectories.delete(directory) })
      this.syncingDirectories.set(directory, sync)
    }
    await this.syncingDirectories.get(directory)
  }

  private async syncDirectories (parent: string): Promise<void> {
    const within = [...this.unsyncedDirectories].filter((directory) => directory.startsWith(join(parent, '/')))
    await inParallel(backgroundParallel, within, (directory) => this.syncDirectory(directory))
  }
}

function keyOf ({ partition, ino, chunk }: ChunkName): string { return `${partition}/${ino}.${chunk}` }

/** null: a file of another kind. */
export function chunkOfFile (name: string): [ino: number, chunk: number] | null {
  const match = /^(\d+)\.(\d+)$/.exec(name)
  return match === null ? null : [Number(match[1]), Number(match[2])]
}

export function byName (one: readonly [number, number], other: readonly [number, number]): number {
  return one[0] - other[0] || one[1] - other[1]
}

/** Runs `work` on all items, at most `limit` at once. Rejects with the first failure once the running ones have ended. */
export async function inParallel<T> (limit: number, items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0
  let failure: { error: unknown } | null = null
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === null) {
      try {
        await work(items[next++]!)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  if (failure !== null) throw (failure as { error: unknown }).error
}
