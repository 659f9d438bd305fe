import { codeOf, posixError } from '../fsnode/protocol/errors.ts'
import type { InodeAttr } from '../fsnode/protocol/metadata.ts'
import type { Address, Clock, Logger, Network, Random } from '../fsnode/protocol/ports.ts'
import { fileType, mode as modes } from '../fsnode/protocol/posix.ts'
import { ClusterRouter, outageMsMax } from '../fsnode/protocol/router.ts'
import { rootInode } from '../partitioning/routing.ts'
import type { VolumeInfo } from '../partitioning/types.ts'
import { createAttemptsMax } from './bounds.ts'
import { BlockCache } from './block-cache.ts'
import { ChunkStore } from './chunk-store.ts'
import type { VolumeContext } from './context.ts'
import type { FileState } from './file-state.ts'
import { FileTable } from './file-table.ts'
import { HeldChanges } from './held-changes.ts'
import { Inheritance } from './inheritance.ts'
import { InodeCache, type InodeCacheInit } from './inode-cache.ts'
import { Inodes, type DirectoryPage } from './inodes.ts'
import { Leases } from './leases.ts'
import { Namespace } from './namespace.ts'
import { Offers } from './offers.ts'
import { OpenFileHandle } from './open-file.ts'
import { OperationNumbers } from './operation-numbers.ts'
import { OwnChanges } from './own-changes.ts'
import { ReadAheadBudget } from './reader.ts'
import { Room } from './room.ts'
import { SessionTable } from './session-table.ts'
import type { LocalFiles } from './short-circuit.ts'
import type { Invalidation, LostSessions, Offer, OpenFile, OperationContext, SetAttributes, StatFs, VolumeClient, WriteJournal } from './types.ts'
import { UnsyncedChunks } from './unsynced-chunks.ts'

export interface VolumeClientComponents {
  network: Network
  clock: Clock
  random: Random
  log: Logger
  /** Where acknowledged writes survive a crash of this process. */
  journal: WriteJournal | null
  /** For short-circuit reads of nodes on this machine; null: there are none. */
  files: LocalFiles | null
}

export interface VolumeClientInit {
  volume: VolumeInfo
  seeds: Address[]
  /** Of an earlier process that this one takes over from; left out: a new one. */
  session?: string
  /** Of that session. */
  lost?: LostSessions
  /** For people: who this is. */
  client: string
  cache?: InodeCacheInit
  /** Bytes of small reads out of sequence that may be cached. @default 64 MiB */
  blockBytesMax?: number
  /** Free bytes on each node from which on close(2) need not wait for the nodes. @default 4 GiB */
  plentyBytes?: number
}

const blockSizeBytes = 4_096
/** Inode numbers are plentiful: 2^41 a partition. What is told is a number that every program can hold. */
const filesFreeTold = 2 ** 31
const sessionIdBytes = 12

/** A volume as one process sees it. Connections, sessions and caches are its own. */
export class AtollVolumeClient implements VolumeClient {
  readonly root = rootInode
  readonly chunkSizeBytes: number
  private readonly init: VolumeClientInit
  private readonly router: ClusterRouter
  private readonly context: VolumeContext
  private readonly namespace: Namespace
  private closing: Promise<void> | null = null

  constructor (components: VolumeClientComponents, init: VolumeClientInit) {
    const { clock, random, log, journal, files } = components
    const { volume, client } = init
    this.init = init
    this.chunkSizeBytes = volume.chunkSizeBytes
    this.router = new ClusterRouter(components, {
      seeds: init.seeds,
      handlers: {
        'lease.recall': async (request) => ({ body: await this.context.leases.recall(request) }),
        'lease.reclaim': ({ partition, term }) => {
          this.context.sessions.find(partition)?.reclaim(term)
          return { body: {} }
        }
      }
    })
    // Each part holds the context and looks the others up in it when it needs them.
    const context = {} as { -readonly [part in keyof VolumeContext]: VolumeContext[part] }
    const leases = new Leases(context, init.session !== undefined)
    const writeBackPatienceMs = journal?.changes === undefined ? outageMsMax : Infinity
    const chunks = new ChunkStore({ router: this.router, clock, random, files, writeBackPatienceMs }, volume)
    this.context = Object.assign(context, {
      volume, clock, random, log, journal, writeBackPatienceMs, leases, chunks,
      operations: new OperationNumbers(clock),
      sessions: new SessionTable({ router: this.router, clock, log, owner: leases, journal: journal?.changes ?? null, lost: init.lost ?? null, writeBackPatienceMs }, {
        volume, client, id: init.session ?? random.bytes(sessionIdBytes).toString('hex'), resumed: init.session !== undefined,
        inherited: (index) => this.context.inheritance.generation(index)
      }),
      inheritance: new Inheritance(journal),
      cache: new InodeCache(init.cache),
      ownChanges: new OwnChanges(),
      inodes: new Inodes(context),
      held: new HeldChanges(context),
      files: new FileTable(context),
      unsynced: new UnsyncedChunks({ chunks, onLost: (ino, error) => this.context.files.failed(ino, error) }),
      room: new Room({ clock, router: this.router }, init),
      readAhead: new ReadAheadBudget(),
      blocks: new BlockCache({ clock }, { bytesMax: init.blockBytesMax }),
      offers: new Offers()
    })
    this.namespace = new Namespace(context)
  }

  /** Connects, and proves that the volume answers. Rejects with ATOLL_UNREACHABLE, ATOLL_UNAVAILABLE and the like. */
  async start (patienceMs?: number): Promise<void> {
    await this.router.start(patienceMs)
    this.context.held.remember(this.context.journal?.changes?.recoverChanges() ?? [])
    await this.getattr(rootInode)
    await this.finishChanges()
    if (this.init.session !== undefined) await this.inheritOrphans()
  }

  async inherits (ino: number, generation = 0): Promise<boolean> {
    const session = this.context.sessions.of(ino)
    await session.ready()
    return session.isInherited && session.generation === generation
  }

  doneInheriting (ino: number): void { this.context.inheritance.settle(ino) }

  get onInvalidate (): ((invalidation: Invalidation) => Promise<void>) | null { return this.context.leases.onInvalidate }

  set onInvalidate (listener: ((invalidation: Invalidation) => Promise<void>) | null) { this.context.leases.onInvalidate = listener }

  get onOffer (): ((offer: Offer) => Promise<boolean>) | null { return this.context.offers.onOffer }

  set onOffer (listener: ((offer: Offer) => Promise<boolean>) | null) { this.context.offers.onOffer = listener }

  get onLost (): ((ino: number) => void) | null { return this.context.files.onLost }

  set onLost (listener: ((ino: number) => void) | null) { this.context.files.onLost = listener }

  lookup (dir: number, name: string): Promise<InodeAttr> { return this.context.inodes.lookup(dir, name) }

  getattr (ino: number): Promise<InodeAttr> {
    try {
      return this.context.inodes.getattr(ino)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async setattr (ino: number, changes: SetAttributes, context: OperationContext): Promise<InodeAttr> {
    return this.namespace.setattr(ino, changes, context)
  }

  readlink (ino: number): Promise<string> { return this.context.inodes.readlink(ino) }

  readdir (dir: number, after: string, limit: number): Promise<DirectoryPage> { return this.context.inodes.readdir(dir, after, limit) }

  async open (ino: number, { write }: { write: boolean }): Promise<OpenFile> {
    const { cache, files, sessions, leases } = this.context
    const attr = await this.getattr(ino)
    const type = fileType(attr.mode)
    if (type === modes.directory) throw posixError('EISDIR')
    if (type !== modes.regular) throw posixError(type === modes.link ? 'ELOOP' : 'ENXIO')
    // Others may have it open still, but nobody would keep it for this client.
    if (attr.nlink === 0 && !files.holds(ino)) throw posixError('ESTALE')
    const cached = cache.ensure(ino, sessions.of(ino))
    const file = files.open(cached)
    try {
      if (write && !file.hasLease) await leases.exclusive(cached)
    } catch (error) {
      await files.release(file)
      throw error
    }
    return await this.handleOf(file, write)
  }

  /** With one that may write nothing more is offered above, and nothing that was is still on its way. */
  private async handleOf (file: FileState, write: boolean): Promise<OpenFile> {
    const handle = new OpenFileHandle(this.context, file, write)
    if (write) await this.context.offers.settled(file.cached.ino)
    return handle
  }

  async create (
    dir: number, name: string, { mode, exclusive }: { mode: number, exclusive: boolean }, context: OperationContext
  ): Promise<{ attr: InodeAttr, file: OpenFile, created: boolean }> {
    for (let attempt = 0; ; attempt++) {
      let found = false
      try {
        const { attr, created, file } = await this.namespace.create(dir, name, mode, exclusive, context, attempt)
        if (file !== null) return { attr, file: await this.handleOf(file, true), created }
        if (created) return { ...await this.openCreated(dir, name, attr, context), created }
        found = true
        const opened = await this.open(attr.ino, { write: true })
        return { attr: await this.context.inodes.leased(attr), file: opened, created }
      } catch (error) {
        // Others have removed what was there: then the name is free.
        const gone = codeOf(error) === 'ESTALE' || (found && codeOf(error) === 'ENOENT')
        if (!gone || attempt + 1 >= createAttemptsMax) throw error
      }
    }
  }

  /** Others may have removed it before this client was told that it had created it: it is open all the same. */
  private async openCreated (dir: number, name: string, attr: InodeAttr, context: OperationContext): Promise<{ attr: InodeAttr, file: OpenFile }> {
    try {
      const file = await this.open(attr.ino, { write: true })
      return { attr: await this.context.inodes.leased(attr), file }
    } catch (error) {
      if (!['ENOENT', 'ESTALE'].includes(codeOf(error))) throw error
      const held = await this.namespace.hold(dir, name, attr, context)
      return { attr: held.attr, file: await this.handleOf(held.file, true) }
    }
  }

  mknod (dir: number, name: string, mode: number, rdev: number, context: OperationContext): Promise<InodeAttr> {
    return this.namespace.make(dir, name, fileType(mode) === 0 ? mode | modes.regular : mode, { rdev }, context)
  }

  mkdir (dir: number, name: string, mode: number, context: OperationContext): Promise<InodeAttr> {
    return this.namespace.make(dir, name, modes.directory | (mode & modes.permissions), {}, context)
  }

  symlink (dir: number, name: string, target: string, context: OperationContext): Promise<InodeAttr> {
    return this.namespace.make(dir, name, modes.link | 0o777, { symlink: target }, context)
  }

  link (ino: number, dir: number, name: string, context: OperationContext): Promise<InodeAttr> { return this.namespace.link(ino, dir, name, context) }

  unlink (dir: number, name: string, context: OperationContext): Promise<void> { return this.namespace.unlink(dir, name, context) }

  rmdir (dir: number, name: string, context: OperationContext): Promise<void> { return this.namespace.rmdir(dir, name, context) }

  rename (dir: number, name: string, newDir: number, newName: string, flags: number, context: OperationContext): Promise<void> {
    return this.namespace.rename(dir, name, newDir, newName, flags, context)
  }

  getxattr (ino: number, name: string): Promise<Buffer> { return this.namespace.getxattr(ino, name) }

  setxattr (ino: number, name: string, value: Buffer, flags: number, context: OperationContext): Promise<void> {
    return this.namespace.setxattr(ino, name, value, flags, context)
  }

  listxattr (ino: number): Promise<string[]> { return this.namespace.listxattr(ino) }

  removexattr (ino: number, name: string, context: OperationContext): Promise<void> { return this.namespace.removexattr(ino, name, context) }

  forget (ino: number): void { this.context.files.forget(ino) }

  /** What all nodes can hold, divided by the volume's replicas. */
  async statfs (): Promise<StatFs> {
    const { replicas } = this.init.volume
    this.context.room.refreshSoon()
    const nodes = this.router.map.nodes.filter((node) => node.state !== 'down')
    const blocksOf = (bytes: number): number => Math.floor(bytes / replicas / blockSizeBytes)
    const blocks = blocksOf(nodes.reduce((sum, node) => sum + node.capacityBytes, 0))
    const blocksFree = blocksOf(nodes.reduce((sum, node) => sum + Math.max(0, node.capacityBytes - node.usedBytes), 0))
    const counts = await Promise.all(this.context.sessions.partitions().map((partition) => this.router.toMetadata(partition, 'meta.statfs', { partition })))
    const inodes = counts.reduce((sum, { body }) => sum + body.inodes, 0)
    return { blocks, blocksFree, blocksAvailable: blocksFree, files: inodes + filesFreeTold, filesFree: filesFreeTold, blockSize: blockSizeBytes, nameLengthMax: 255 }
  }

  async syncNames (dir?: number): Promise<void> { await this.context.held.settled(dir) }

  async sync (): Promise<void> {
    await this.context.files.flushAll()
    await this.context.held.settled()
    await this.context.unsynced.syncAll()
  }

  /** Writes back what is open, gives sessions and leases back, and disconnects. Rejects when something could not be written back. */
  close (): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown (): Promise<void> {
    try {
      await this.context.files.flushAll()
      await this.context.held.settled()
    } finally {
      this.context.blocks.close()
      await this.context.sessions.close()
      this.router.close()
    }
  }

  /** What an earlier process of this session had told to have happened gets to the partitions before anything is answered. */
  private async finishChanges (): Promise<void> {
    const { sessions, held, journal } = this.context
    if ((journal?.changes?.recoverChanges() ?? []).length === 0) return
    await Promise.all(sessions.all().map((session) => session.ready()))
    await held.settled()
  }

  /** Unlinked files that the earlier process of this session had open are this one's to let go. */
  private async inheritOrphans (): Promise<void> {
    const { sessions, files, log } = this.context
    await Promise.all(sessions.all().map(async (session) => {
      try {
        files.inherit((await session.call('meta.orphans', {})).body.inos)
      } catch (error) {
        log.warn('orphans of the earlier process are not known', { partition: session.partition, code: codeOf(error) })
      }
    }))
  }
}
