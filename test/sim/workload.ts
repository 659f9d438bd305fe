import type { OpenFile } from '../../client/types.ts'
import { codeOf } from '../../fsnode/protocol/errors.ts'
import { cellBytes, type Call, type Entry, type History, type Operation, type Result } from './history.ts'
import type { ClientProcess, SimClient } from './client.ts'
import { chunkSizeBytes, type SimCluster } from './cluster.ts'
import { cellsOf, stamped } from './cells.ts'
import type { SimRandom } from './random.ts'

const me = { uid: 1000, gid: 1000 }
const names = ['a', 'b', 'c', 'd', 'e']
const refusals = new Set(['ENOENT', 'ESTALE', 'EEXIST', 'ENOTEMPTY', 'ENOTDIR', 'EISDIR', 'EINVAL', 'EPERM', 'ELOOP'])
const nameChanges = new Set<Call['kind']>(['create', 'mkdir', 'unlink', 'rmdir', 'rename', 'link'])
const typeMask = 0o170000
const directoryType = 0o040000
const directoriesMax = 6
const operationsAtFullPace = 800
const filesMax = 8
const homesMax = 2
/** Where writes begin: at the start, across the end of the inline content, and across the border of two chunks. */
const firstCells = [0, 1, 3, 7, 100, chunkSizeBytes / cellBytes - 2, chunkSizeBytes / cellBytes, 2 * chunkSizeBytes / cellBytes - 3]

/** Inode numbers that somebody has seen, so that clients meet. */
class Sights {
  readonly directories: number[] = [1]
  readonly files: number[] = []

  saw (ino: number, directory: boolean): void {
    const known = directory ? this.directories : this.files
    if (known.includes(ino)) return
    known.push(ino)
    // The root stays.
    if (known.length > (directory ? directoriesMax : filesMax)) known.splice(directory ? 1 : 0, 1)
  }

  forget (ino: number): void {
    for (const known of [this.directories, this.files]) {
      const at = known.indexOf(ino)
      if (at >= 0 && ino !== 1) known.splice(at, 1)
    }
  }
}

/** What all clients do to the volume, and the history that they make. */
export class Workload {
  readonly history: History
  readonly pauseMsMax: number
  readonly unknownCodes = new Map<string, number>()
  stopped = false
  /** Threads at work, by process. */
  private readonly busy = new Map<ClientProcess, number>()
  private readonly cluster: SimCluster
  private readonly sights = new Sights()
  /** Writes that no flush has made certain. */
  private readonly uncertain = new Map<Operation, ClientProcess>()

  constructor (cluster: SimCluster, history: History, pauseMsMax: number) {
    this.cluster = cluster
    this.history = history
    this.pauseMsMax = pauseMsMax
  }

  get isIdle (): boolean { return this.busy.size === 0 }

  /** Starts a process on the machine and works with it until the work is stopped or the process ends. */
  async run (client: SimClient, workers: number): Promise<void> {
    const process = await client.start()
    if (process === null) return
    for (let worker = 0; worker < workers; worker++) void new Worker(this, this.cluster, client, process, this.sights).run()
  }

  /** Another thread of a process, for who wants to lead it by hand. */
  worker (client: SimClient, process: ClientProcess): Worker { return new Worker(this, this.cluster, client, process, this.sights) }

  began (process: ClientProcess): void { this.busy.set(process, (this.busy.get(process) ?? 0) + 1) }

  ended (process: ClientProcess): void {
    const left = (this.busy.get(process) ?? 0) - 1
    if (left > 0) this.busy.set(process, left)
    else this.busy.delete(process)
  }

  /** Changes that its processes told to have happened did not get to their partition, and never will. */
  changesLost ({ host, store }: SimClient): void {
    const since = store.behindSince
    if (since === null) return
    this.history.doubtSince(host, since)
    this.writesLost(host)
  }

  /** What its processes wrote, and have not seen to be with the nodes, is not certain. */
  writesLost (host: string): void {
    for (const [operation, { name }] of this.uncertain) {
      if (!name.startsWith(`${host}.`)) continue
      this.history.doubt(operation)
      this.uncertain.delete(operation)
    }
  }

  /** The process has vanished: of what it wrote only what it had flushed is certain. */
  vanished (process: ClientProcess): void {
    this.busy.delete(process)
    for (const [operation, owner] of this.uncertain) {
      if (owner !== process) continue
      this.history.doubt(operation)
      this.uncertain.delete(operation)
    }
  }

  /** Does one thing and notes what came of it; null when that is no result. */
  async attempt (process: ClientProcess, call: Call, work: () => Promise<Result>): Promise<{ operation: Operation, result: Result | null }> {
    const operation = this.history.begin(process.name, call, this.cluster.clock.now())
    try {
      const result = await work()
      this.history.end(operation, 'well', result)
      return { operation, result }
    } catch (error) {
      const code = codeOf(error)
      // A full disk keeps names from being changed at all, and writes and truncations perhaps in the middle.
      const known = (refusals.has(code) && call.kind !== 'write') || (code === 'ENOSPC' && nameChanges.has(call.kind))
      if (code === 'ATOLL_INTERNAL') this.cluster.violation(`${process.name} ${call.kind}: ${error instanceof Error ? error.stack : String(error)}`)
      if (!known) this.unknownCodes.set(code, (this.unknownCodes.get(code) ?? 0) + 1)
      this.history.end(operation, known ? 'refused' : code === 'ENOSPC' ? 'partial' : 'unknown', {}, code)
      return { operation, result: null }
    }
  }

  wrote (process: ClientProcess, operation: Operation): void { this.uncertain.set(operation, process) }

  /** @param certain A flush said so; null: a later one will tell. `postponed`: others may have gone without it meanwhile. */
  flushed (operations: readonly Operation[], certain: boolean, postponed: boolean): void {
    for (const operation of operations) {
      if (!this.uncertain.delete(operation)) continue
      if (!certain) this.history.doubt(operation)
      else if (postponed) this.history.postpone(operation)
    }
  }
}

/** One thread of a client. */
export class Worker {
  private readonly workload: Workload
  private readonly cluster: SimCluster
  private readonly client: SimClient
  private readonly process: ClientProcess
  private readonly random: SimRandom
  private readonly sights: Sights
  /** Directories that it made last: mostly its own. */
  private readonly homes: number[] = []

  constructor (workload: Workload, cluster: SimCluster, client: SimClient, process: ClientProcess, sights: Sights) {
    this.workload = workload
    this.cluster = cluster
    this.client = client
    this.process = process
    this.random = cluster.random.fork()
    this.sights = sights
  }

  async run (): Promise<void> {
    this.workload.began(this.process)
    // A process that has vanished never comes back from what it waits for.
    while (!this.workload.stopped && this.process.ports.alive) {
      const draw = this.random.next()
      await this.watched(draw < 0.4 ? this.useFile() : draw < 0.5 ? this.spree() : this.useNames())
      await this.pause()
    }
    if (this.process.ports.alive) this.workload.ended(this.process)
  }

  /** Looks at everything: each directory, each name, each file. */
  async survey (dir: number, cellsOfFile: (ino: number) => Array<[cell: number, cells: number]>): Promise<void> {
    const entries = await this.list(dir)
    for (const { name, ino, directory } of entries ?? []) {
      await this.lookup(dir, name)
      await this.getattr(ino)
      if (directory) await this.survey(ino, cellsOfFile)
      else await this.readAll(ino, cellsOfFile(ino))
    }
  }

  private async readAll (ino: number, ranges: Array<[cell: number, cells: number]>): Promise<void> {
    const file = await this.open(ino, false)
    if (file === null) return
    for (const [cell, cells] of ranges) await this.read(file, cell, cells)
    await file.release()
  }

  private async watched (work: Promise<void>): Promise<void> {
    try {
      await work
    } catch (error) {
      this.cluster.violation(`${this.process.name}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  private async useNames (): Promise<void> {
    const { random, sights } = this
    const dir = this.directory()
    const name = random.pick(names)
    const draw = random.next()
    if (draw < 0.16) await this.list(dir)
    else if (draw < 0.34) await this.lookup(dir, name)
    else if (draw < 0.44) await this.getattr(random.pick([...sights.files, ...sights.directories]))
    else if (draw < 0.56) await this.mkdir(random.chance(this.cluster.config.rootShare) ? 1 : dir, name)
    else if (draw < 0.68) await this.simple({ kind: 'unlink', dir, name }, () => this.volume.unlink(dir, name, me))
    else if (draw < 0.73) await this.simple({ kind: 'rmdir', dir, name }, () => this.volume.rmdir(dir, name, me))
    else if (draw < 0.91) await this.rename(dir, name)
    else if (sights.files.length > 0) await this.link(random.pick(sights.files), dir, name)
  }

  /** Fills and changes a directory of its own in one go, as programs do that unpack or build something. */
  private async spree (): Promise<void> {
    const { random } = this
    const dir = random.chance(0.5) || this.homes.length === 0 ? await this.mkdir(this.directory(), random.pick(names)) : random.pick(this.homes)
    if (dir === null) return
    for (let left = 3 + random.below(12); left > 0 && this.process.ports.alive && !this.workload.stopped; left--) {
      const [name, draw] = [random.pick(names), random.next()]
      if (draw < 0.4) await this.makeFile(dir, name)
      else if (draw < 0.5) await this.mkdir(dir, name)
      else if (draw < 0.65) await this.simple({ kind: 'unlink', dir, name }, () => this.volume.unlink(dir, name, me))
      else if (draw < 0.72) await this.simple({ kind: 'rmdir', dir, name }, () => this.volume.rmdir(dir, name, me))
      else if (draw < 0.85) await this.rename(dir, name)
      else if (draw < 0.9) await this.lookup(dir, name)
      else if (draw < 0.95) await this.list(dir)
      else if (this.sights.files.length > 0) await this.link(random.pick(this.sights.files), dir, name)
    }
  }

  private async makeFile (dir: number, name: string): Promise<void> {
    const file = await this.create(dir, name)
    if (file === null) return
    const written: Operation[] = []
    const lostBefore = this.client.sessionsLost
    if (this.random.chance(0.7)) await this.write(file, written)
    await this.settle(file, written, lostBefore)
    await file.release()
  }

  /** Opens or makes a file, does a few things to it, and closes it. */
  private async useFile (): Promise<void> {
    const { random } = this
    const file = random.chance(0.4) || this.sights.files.length === 0 ? await this.create() : await this.open(random.pick(this.sights.files), random.chance(0.6))
    if (file === null) return
    const written: Operation[] = []
    const lostBefore = this.client.sessionsLost
    for (let left = random.below(4); left >= 0; left--) {
      const draw = random.next()
      if (draw < 0.5) await this.write(file, written)
      else if (draw < 0.75) await this.read(file, ...this.range())
      else if (draw < 0.85) await this.truncate(file.ino)
      else await this.settle(file, written, lostBefore)
      if (random.chance(0.3)) await this.pause()
    }
    await this.settle(file, written, lostBefore)
    await file.release()
  }

  /** Flushes or syncs: what was written is certain, or known not to be. */
  private async settle (file: OpenFile, written: Operation[], lostBefore: number): Promise<void> {
    const operations = written.splice(0)
    const kind = this.random.chance(0.5) ? 'sync' : 'flush'
    const { result } = await this.workload.attempt(this.process, { kind, ino: file.ino }, async () => {
      if (kind === 'flush' && file.flushBehind !== undefined) await file.flushBehind()
      else await file[kind]()
      return {}
    })
    const certain = result !== null
    const tell = (): void => { this.workload.flushed(operations, certain, this.client.sessionsLost !== lostBefore) }
    // What a flush tells is still to get to the partition, and may be lost with the machine.
    if (certain) this.client.store.whenSettled(tell)
    else tell()
  }

  private async create (dir = this.directory(), name = this.random.pick(names)): Promise<OpenFile | null> {
    const exclusive = this.random.chance(0.5)
    let file: OpenFile | null = null
    await this.workload.attempt(this.process, { kind: 'create', dir, name, exclusive }, async () => {
      const made = await this.volume.create(dir, name, { mode: 0o644, exclusive }, me)
      file = made.file
      this.saw(made.attr.ino, false)
      return { ino: made.attr.ino, created: made.created }
    })
    return file
  }

  private async open (ino: number, write: boolean): Promise<OpenFile | null> {
    let file: OpenFile | null = null
    const { result } = await this.workload.attempt(this.process, { kind: 'open', ino }, async () => {
      file = await this.volume.open(ino, { write })
      return {}
    })
    if (result === null) this.sights.forget(ino)
    return file
  }

  private async write (file: OpenFile, written: Operation[]): Promise<void> {
    const [cell, cells] = this.range()
    const done: { id: number } = { id: this.workload.history.operations.length + 1 }
    const { operation, result } = await this.workload.attempt(this.process, { kind: 'write', ino: file.ino, cell, cells }, async () => {
      await file.write(cell * cellBytes, stamped(done.id, cells))
      return {}
    })
    if (result !== null) {
      this.workload.wrote(this.process, operation)
      written.push(operation)
    } else {
      // The error may be that of an earlier write, which is told once.
      this.workload.flushed(written.splice(0), false, false)
    }
  }

  private async read (file: OpenFile, cell: number, cells: number): Promise<void> {
    await this.workload.attempt(this.process, { kind: 'read', ino: file.ino, cell, cells }, async () => {
      const bytes = Buffer.concat(await file.read(cell * cellBytes, cells * cellBytes))
      return { size: bytes.length, values: cellsOf(bytes, cells) }
    })
  }

  private async truncate (ino: number): Promise<void> {
    const cells = this.random.pick([0, 0, 1, 2, 5, 12, chunkSizeBytes / cellBytes - 1, chunkSizeBytes / cellBytes + 1])
    await this.workload.attempt(this.process, { kind: 'truncate', ino, cells }, async () => {
      await this.volume.setattr(ino, { size: cells * cellBytes }, me)
      return {}
    })
  }

  private async list (dir: number): Promise<Entry[] | null> {
    const { result } = await this.workload.attempt(this.process, { kind: 'readdir', dir }, async () => {
      const { entries } = await this.volume.readdir(dir, '', 100)
      return { entries: entries.map(({ name, ino, type }) => ({ name, ino, directory: type === directoryType })) }
    })
    for (const { ino, directory } of result?.entries ?? []) this.saw(ino, directory)
    if (result === null) this.sights.forget(dir)
    return result?.entries ?? null
  }

  private async lookup (dir: number, name: string): Promise<void> {
    const { result } = await this.workload.attempt(this.process, { kind: 'lookup', dir, name }, async () => {
      const { ino, mode, nlink, size } = await this.volume.lookup(dir, name)
      return { ino, directory: (mode & typeMask) === directoryType, nlink, size }
    })
    if (result !== null) this.saw(result.ino!, result.directory!)
  }

  private async getattr (ino: number): Promise<void> {
    await this.workload.attempt(this.process, { kind: 'getattr', ino }, async () => {
      const { mode, nlink, size } = await this.volume.getattr(ino)
      return { directory: (mode & typeMask) === directoryType, nlink, size }
    })
  }

  private async mkdir (dir: number, name: string): Promise<number | null> {
    const { result } = await this.workload.attempt(this.process, { kind: 'mkdir', dir, name }, async () => {
      const { ino } = await this.volume.mkdir(dir, name, 0o755, me)
      return { ino }
    })
    if (result === null) return null
    this.saw(result.ino!, true)
    this.homes.push(result.ino!)
    if (this.homes.length > homesMax) this.homes.shift()
    return result.ino!
  }

  /** Others can know an inode by its name only, and so not before its partition does. */
  private saw (ino: number, directory: boolean): void { this.client.store.whenSettled(() => { this.sights.saw(ino, directory) }) }

  private directory (): number {
    const { random, sights, homes } = this
    return homes.length > 0 && random.chance(0.6) ? random.pick(homes) : random.pick(sights.directories)
  }

  private async rename (dir: number, name: string): Promise<void> {
    const { random } = this
    const [newDir, newName, flags] = [random.chance(0.4) ? dir : this.directory(), random.pick(names), random.pick([0, 0, 0, 1, 2])]
    await this.simple({ kind: 'rename', dir, name, newDir, newName, flags }, () => this.volume.rename(dir, name, newDir, newName, flags, me))
  }

  private async link (ino: number, dir: number, name: string): Promise<void> {
    await this.simple({ kind: 'link', ino, dir, name }, () => this.volume.link(ino, dir, name, me))
  }

  private async simple (call: Call, work: () => Promise<unknown>): Promise<void> {
    await this.workload.attempt(this.process, call, async () => {
      await work()
      return {}
    })
  }

  private range (): [cell: number, cells: number] {
    const { random } = this
    return [random.pick(firstCells) + random.below(2), 1 + random.below(random.pick([1, 3, 9]))]
  }

  private get volume () { return this.process.volume }

  /** The longer the more has been done: the run is to last, and its checks are to end. */
  private pause (): Promise<void> {
    const { history, pauseMsMax } = this.workload
    const weariness = Math.max(1, history.operations.length / operationsAtFullPace) ** 2
    return new Promise((resolve) => { this.process.ports.clock.setTimer(resolve, this.random.next() * pauseMsMax * weariness) })
  }
}
