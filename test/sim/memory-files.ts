import { dirname } from 'node:path'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { Clock } from '../../fsnode/protocol/ports.ts'
import type { ChunkFile, ChunkFiles } from '../../fsnode/data/files.ts'
import type { SimRandom } from './random.ts'

const pageBytes = 4096
const sectorBytes = 512

/** One file: what programs see, and what stable storage holds. */
interface Node { current: Buffer, durable: Buffer }

export interface MemoryFilesComponents {
  /** With a clock, calls take time; without, each is done in a later microtask. */
  clock?: Clock
  random?: SimRandom
}

/** `host`: others on its machine may read the files, under `HOST:PATH`. */
export interface MemoryFilesInit { capacityBytes?: number, delayMsMax?: number, host?: string }

/** All hosts count as one machine. */
export const machine = 'the machine'

/**
 * A disk in memory. `kill`: the process ends, calls under way are half done. `crash`: the power fails: of
 * what was not synced, pages and directory entries survive or not, one by one, some torn within.
 * Both leave this object dead; `reopen` gives what the next process finds.
 */
export class MemoryFiles implements ChunkFiles {
  capacityBytes: number
  readonly outside: ChunkFiles['outside']
  /** While set, writes and syncs fail with this code. */
  failure: string | null = null
  /** Calls of each kind, for tests that count them. */
  readonly calls: Record<'read' | 'write' | 'datasync', number> = { read: 0, write: 0, datasync: 0 }
  private readonly components: MemoryFilesComponents
  private readonly init: MemoryFilesInit
  private entries = new Map<string, Node>()
  private durableEntries = new Map<string, Node>()
  private directories = new Set<string>()
  /** Not on stable storage yet: after a power failure each has happened, or it has not. */
  private renames: Array<{ from: string, to: string, node: Node }> = []
  private dead = false

  constructor (components: MemoryFilesComponents = {}, init: MemoryFilesInit = {}) {
    this.components = components
    this.init = init
    this.capacityBytes = init.capacityBytes ?? 2 ** 40
    this.outside = init.host === undefined ? null : { machine, pathOf: (path) => `${init.host}:${path}` }
  }

  get paths (): string[] { return [...this.entries.keys()].sort() }

  /** A copy of a file's bytes. */
  contents (path: string): Buffer { return Buffer.from(this.nodeOf(path).current) }

  /** As another process reads it. */
  peek (path: string, into: Buffer, position: number): number {
    const { current } = this.nodeOf(path)
    return position >= current.length ? 0 : current.copy(into, 0, position)
  }

  sizeOf (path: string): number { return this.nodeOf(path).current.length }

  /** Bit rot: the byte changes on the disk behind everybody's back. */
  rot (path: string, offset: number): void {
    const { current, durable } = this.nodeOf(path)
    current[offset]! ^= 0x55
    if (offset < durable.length) durable[offset]! ^= 0x55
  }

  kill (): void { this.dead = true }

  crash (random: SimRandom): void {
    this.dead = true
    for (const rename of this.renames.splice(0)) {
      const { from, to, node } = rename
      if (this.entries.get(to) === node && !this.entries.has(from) && random.chance(0.5)) {
        this.entries.delete(to)
        this.entries.set(from, node)
      } else this.commitRename(rename)
    }
    const entries = new Map<string, Node>()
    for (const path of new Set([...this.entries.keys(), ...this.durableEntries.keys()])) {
      const now = this.entries.get(path)
      const stable = this.durableEntries.get(path)
      const node = now === stable || random.chance(0.5) ? now : stable
      if (node !== undefined) entries.set(path, node)
    }
    for (const node of entries.values()) node.current = node.durable = surviving(node, random)
    this.entries = entries
    this.durableEntries = new Map(entries)
  }

  reopen (): MemoryFiles {
    this.dead = true
    const next = new MemoryFiles(this.components, this.init)
    const copies = new Map<Node, Node>()
    const copyOf = (node: Node): Node => {
      let copy = copies.get(node)
      if (copy === undefined) copies.set(node, copy = { current: Buffer.from(node.current), durable: Buffer.from(node.durable) })
      return copy
    }
    for (const [path, node] of this.entries) next.entries.set(path, copyOf(node))
    for (const path of this.durableEntries.keys()) {
      const node = next.entries.get(path)
      if (node !== undefined) next.durableEntries.set(path, node)
    }
    for (const { from, to, node } of this.renames) {
      next.renames.push({ from, to, node: copyOf(node) })
      next.durableEntries.set(from, copyOf(node))
    }
    next.directories = new Set(this.directories)
    return next
  }

  async open (path: string, create: boolean): Promise<ChunkFile> {
    await this.delay()
    if (create) {
      if (!this.directories.has(dirname(path))) throw posixError('ENOENT', path)
      if (this.entries.has(path)) throw posixError('EEXIST', path)
      this.entries.set(path, { current: Buffer.alloc(0), durable: Buffer.alloc(0) })
    }
    return this.handle(this.nodeOf(path))
  }

  async unlink (path: string): Promise<void> {
    await this.delay()
    this.nodeOf(path)
    this.entries.delete(path)
  }

  async rename (from: string, to: string): Promise<void> {
    await this.delay()
    const node = this.nodeOf(from)
    if (!this.directories.has(dirname(to))) throw posixError('ENOENT', to)
    this.entries.delete(from)
    this.entries.set(to, node)
    if (this.durableEntries.get(from) === node) this.renames.push({ from, to, node })
  }

  async makeDirectory (path: string): Promise<void> {
    await this.delay()
    for (let made = path; made !== dirname(made); made = dirname(made)) this.directories.add(made)
  }

  async list (path: string): Promise<string[]> {
    await this.delay()
    const names = new Set<string>()
    const prefix = `${path}/`
    for (const known of [...this.entries.keys(), ...this.directories]) if (known.startsWith(prefix)) names.add(known.slice(prefix.length).split('/')[0]!)
    return [...names]
  }

  async syncDirectory (path: string): Promise<void> {
    await this.delay()
    // As with a journal: what is synced of one directory takes along what was done to another before, in one step.
    this.renames = this.renames.filter((rename) => {
      if (dirname(rename.from) !== path && dirname(rename.to) !== path) return true
      this.commitRename(rename)
      return false
    })
    const within = (known: string): boolean => dirname(known) === path
    // What a removed directory held cannot be reached any more.
    const gone = (known: string): boolean => known.startsWith(`${path}/`) && !this.directories.has(`${path}/${known.slice(path.length + 1).split('/')[0]}`)
    for (const known of this.durableEntries.keys()) if (within(known) ? !this.entries.has(known) : gone(known)) this.durableEntries.delete(known)
    for (const [known, node] of this.entries) if (within(known)) this.durableEntries.set(known, node)
  }

  async removeTree (path: string): Promise<void> {
    await this.delay()
    for (const known of [...this.entries.keys()]) if (known.startsWith(`${path}/`)) this.entries.delete(known)
    for (const known of [...this.directories]) if (known === path || known.startsWith(`${path}/`)) this.directories.delete(known)
  }

  async space (): Promise<{ freeBytes: number, capacityBytes: number }> {
    await this.delay()
    return { freeBytes: Math.max(0, this.capacityBytes - this.usedBytes()), capacityBytes: this.capacityBytes }
  }

  private handle (node: Node): ChunkFile {
    const calls = this.calls
    return {
      read: async (into, position) => {
        calls.read++
        await this.delay()
        return position >= node.current.length ? 0 : node.current.copy(into, 0, position)
      },
      write: async (buffers, position) => {
        calls.write++
        // Copied when it takes effect, as a kernel does: who changes a buffer meanwhile is found out.
        const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
        await this.delay()
        this.requireSound()
        const half = Math.floor(total / 2)
        this.put(node, Buffer.concat(buffers).subarray(0, half), position)
        await this.delay()
        this.put(node, Buffer.concat(buffers).subarray(half), position + half)
      },
      truncate: async (length) => {
        await this.delay()
        this.requireSound()
        const next = Buffer.alloc(length)
        node.current.copy(next)
        node.current = next
      },
      datasync: async () => {
        calls.datasync++
        const promised = Buffer.from(node.current)
        await this.delay()
        this.requireSound()
        node.durable = promised
      },
      size: async () => {
        await this.delay()
        return node.current.length
      },
      close: () => this.delay()
    }
  }

  private put (node: Node, bytes: Buffer, position: number): void {
    const end = position + bytes.length
    if (end > node.current.length) {
      const room = Math.max(0, this.capacityBytes - this.usedBytes())
      const grown = Buffer.alloc(Math.min(end, node.current.length + room))
      node.current.copy(grown)
      node.current = grown
    }
    bytes.copy(node.current, position)
    if (end > node.current.length) throw posixError('ENOSPC')
  }

  private commitRename ({ from, to, node }: { from: string, to: string, node: Node }): void {
    if (this.durableEntries.get(from) === node) this.durableEntries.delete(from)
    this.durableEntries.set(to, node)
  }

  private usedBytes (): number {
    let used = 0
    for (const { current } of this.entries.values()) used += current.length
    return used
  }

  private requireSound (): void {
    if (this.failure !== null) throw posixError(this.failure)
  }

  private nodeOf (path: string): Node {
    const node = this.entries.get(path)
    if (node === undefined) throw posixError('ENOENT', path)
    return node
  }

  private async delay (): Promise<void> {
    if (this.dead) await new Promise(() => {})
    const { clock, random } = this.components
    const delayMsMax = this.init.delayMsMax ?? 0
    if (clock !== undefined && random !== undefined && delayMsMax > 0) {
      await new Promise<void>((resolve) => { clock.setTimer(resolve, random.next() * delayMsMax) })
    } else {
      await Promise.resolve()
    }
    if (this.dead) await new Promise(() => {})
  }
}

/** What a power failure leaves of a file. */
function surviving ({ current, durable }: Node, random: SimRandom): Buffer {
  const length = random.chance(0.5) ? current.length : durable.length
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += pageBytes) {
    const end = Math.min(at + pageBytes, length)
    const torn = random.below(pageBytes / sectorBytes) * sectorBytes
    const [first, rest] = random.pick([[current, current], [durable, durable], [current, durable]] as const)
    copyRange(first, bytes, at, Math.min(end, at + torn))
    copyRange(rest, bytes, at + torn, end)
  }
  return bytes
}

function copyRange (from: Buffer, into: Buffer, start: number, end: number): void {
  const stop = Math.min(end, from.length)
  if (start < stop) from.copy(into, start, start, stop)
}
