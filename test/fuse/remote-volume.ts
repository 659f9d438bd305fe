import { connect, type Socket } from 'node:net'
import type { OpenFile, VolumeClient, WriteJournal } from '../../client/types.ts'
import { AtollError, codeOf } from '../../fsnode/protocol/errors.ts'
import { MemoryVolume } from './memory-volume.ts'
import { MessageReader, sendMessage } from './volume-wire.ts'

interface Pending { resolve: (value: unknown) => void, reject: (error: Error) => void }
interface Answer { id: number, result?: unknown, code?: string, message?: string }

/** The client side of volume-server.ts. With a journal, writes are acknowledged when they are recorded there. */
class RemoteVolume {
  readonly root = 1
  readonly chunkSizeBytes = 4 << 20
  onInvalidate = null
  private readonly socket: Socket
  private readonly pending = new Map<number, Pending>()
  private nextId = 1
  /** Writes per inode that the server has not confirmed. */
  readonly unconfirmed = new Map<number, Set<Promise<unknown>>>()
  readonly journal: WriteJournal | undefined
  readonly inherits: VolumeClient['inherits']

  constructor (socket: Socket, journal: WriteJournal | undefined, sessionEnds: boolean) {
    this.socket = socket
    this.journal = journal
    this.inherits = sessionEnds ? async () => false : undefined
    const reader = new MessageReader((message) => { this.answered(message as Answer) })
    socket.on('data', (chunk: Buffer) => { reader.push(chunk) })
    socket.on('close', () => {
      for (const { reject } of this.pending.values()) reject(new AtollError('ATOLL_CONNECTION_LOST', 'the volume server is gone'))
    })
  }

  call (method: string, ...args: unknown[]): Promise<unknown> {
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject })
      sendMessage(this.socket, { id, method, args })
    })
  }

  async open (ino: number, options: { write: boolean }): Promise<OpenFile> {
    await this.call('open', ino, options)
    return new RemoteFile(this, ino)
  }

  async create (...args: Parameters<VolumeClient['create']>): ReturnType<VolumeClient['create']> {
    const { attr, created } = await this.call('create', ...args) as Omit<Awaited<ReturnType<VolumeClient['create']>>, 'file'>
    return { attr, created, file: new RemoteFile(this, attr.ino) }
  }

  async getattr (ino: number): Promise<unknown> {
    await this.confirmed(ino)
    return await this.call('getattr', ino)
  }

  async setattr (...args: Parameters<VolumeClient['setattr']>): Promise<unknown> {
    await this.confirmed(args[0])
    return await this.call('setattr', ...args)
  }

  async getxattr (ino: number, name: string): Promise<Buffer> {
    return Buffer.from(await this.call('getxattr', ino, name) as Uint8Array)
  }

  forget (ino: number): void { void this.call('forget', ino) }

  async sync (): Promise<void> { for (const ino of this.unconfirmed.keys()) await this.confirmed(ino) }

  async close (): Promise<void> { this.socket.end() }

  async confirmed (ino: number): Promise<void> { await Promise.all(this.unconfirmed.get(ino) ?? []) }

  private answered ({ id, result, code, message }: Answer): void {
    const pending = this.pending.get(id)
    this.pending.delete(id)
    if (code === undefined) pending?.resolve(result)
    else pending?.reject(new AtollError(code, message ?? code))
  }
}

class RemoteFile implements OpenFile {
  readonly ino: number
  private readonly volume: RemoteVolume

  constructor (volume: RemoteVolume, ino: number) {
    this.volume = volume
    this.ino = ino
  }

  async read (offset: number, length: number): Promise<Buffer[]> {
    await this.volume.confirmed(this.ino)
    const data = Buffer.from(await this.volume.call('file.read', this.ino, offset, length) as Uint8Array)
    return data.length === 0 ? [] : [data]
  }

  async write (offset: number, data: readonly Buffer[]): Promise<void> {
    const { ino, volume } = this
    const token = this.record(offset, data)
    const sent = volume.call('file.write', ino, offset, Buffer.concat(data)).then(() => {
      if (token !== null) volume.journal!.settle(token)
      waiting.delete(sent)
      if (waiting.size === 0) volume.unconfirmed.delete(ino)
    })
    sent.catch(() => {})
    const waiting = volume.unconfirmed.get(ino) ?? new Set<Promise<unknown>>()
    volume.unconfirmed.set(ino, waiting.add(sent))
    if (token === null) await sent
  }

  private record (offset: number, data: readonly Buffer[]): number | null {
    try {
      return this.volume.journal?.record(this.ino, offset, data) ?? null
    } catch (error) {
      if (codeOf(error) !== 'ATOLL_JOURNAL_FULL') throw error
      return null
    }
  }

  async flush (): Promise<void> { await this.volume.confirmed(this.ino) }
  async sync (): Promise<void> { await this.flush() }
  async release (): Promise<void> {}
}

/** The factory module of a mount. `socket`: where volume-server.ts listens. `sessionEnds`: with each process, so that nothing is inherited. */
export async function createVolumeClient ({ socket: path, sessionEnds = false }: { socket: string, sessionEnds?: boolean }, { journal }: { journal?: WriteJournal }): Promise<VolumeClient> {
  const socket = connect(path)
  await new Promise<void>((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  const volume = new RemoteVolume(socket, journal, sessionEnds)
  // What is not treated specially is passed on by name, if there is such a method: some of a client's may be absent.
  return new Proxy(volume, {
    get (target, name: string) {
      if (name in target) {
        const value = target[name as keyof RemoteVolume] as unknown
        return typeof value === 'function' ? value.bind(target) as unknown : value
      }
      return name in MemoryVolume.prototype ? (...args: unknown[]) => target.call(name, ...args) : undefined
    }
  }) as unknown as VolumeClient
}
