import { Readable, Writable } from 'node:stream'
import { posixError } from '../../fsnode/protocol/errors.ts'
import type { OpenFile, OperationContext, SetAttributes, VolumeClient } from '../types.ts'
import { inSyscall } from './errors.ts'
import type { OpenFlags } from './flags.ts'
import { Stats, toNs } from './stats.ts'

export const streamChunkBytes = 1024 * 1024
export const writesInFlightMax = 8

export interface FileHandleInit {
  volume: VolumeClient
  file: OpenFile
  flags: OpenFlags
  path: string
  fd: number
  dev: number
  context: OperationContext
  onClose: () => void
}

export interface StreamOptions {
  start?: number
  /** Inclusive, as in node:fs. */
  end?: number
  highWaterMark?: number
  autoClose?: boolean
  encoding?: BufferEncoding
}

export interface ReadResult<T> { bytesRead: number, buffer: T }
export interface WriteResult<T> { bytesWritten: number, buffer: T }

/** An open file, with the methods and semantics of node:fs/promises' FileHandle. */
export class FileHandle {
  readonly fd: number
  private readonly init: FileHandleInit
  private position = 0
  private closing: Promise<void> | null = null

  constructor (init: FileHandleInit) {
    this.init = init
    this.fd = init.fd
  }

  /** Reads into `buffer`; `position` null (or left out) goes on where the last such read or write ended. */
  async read<T extends NodeJS.ArrayBufferView> (buffer: T, offset = 0, length = buffer.byteLength - offset, position: number | bigint | null = null): Promise<ReadResult<T>> {
    if (offset < 0 || length < 0 || offset + length > buffer.byteLength) throw new RangeError('offset and length do not fit the buffer')
    const target = viewOf(buffer).subarray(offset, offset + length)
    return this.call('read', async (file) => {
      this.needs('read')
      const start = position === null || Number(position) < 0 ? this.position : Number(position)
      const bytesRead = fill(target, await file.read(start, length))
      if (position === null || Number(position) < 0) this.position = start + bytesRead
      return { bytesRead, buffer }
    })
  }

  async write (data: NodeJS.ArrayBufferView | string, offsetOrPosition?: number | null, lengthOrEncoding?: number | BufferEncoding | null, position?: number | null): Promise<WriteResult<unknown>> {
    if (typeof data === 'string') {
      const bytes = Buffer.from(data, (lengthOrEncoding as BufferEncoding | null) ?? 'utf8')
      return { bytesWritten: await this.writeBytes([bytes], offsetOrPosition ?? null), buffer: data }
    }
    const offset = offsetOrPosition ?? 0
    const length = (lengthOrEncoding as number | null) ?? data.byteLength - offset
    if (offset < 0 || length < 0 || offset + length > data.byteLength) throw new RangeError('offset and length do not fit the buffer')
    // The caller may use its buffer again as soon as this resolves; the nodes have the bytes by then.
    return { bytesWritten: await this.writeBytes([viewOf(data).subarray(offset, offset + length)], position ?? null), buffer: data }
  }

  async writev (buffers: NodeJS.ArrayBufferView[], position: number | null = null): Promise<{ bytesWritten: number, buffers: NodeJS.ArrayBufferView[] }> {
    return { bytesWritten: await this.writeBytes(buffers.map(viewOf), position), buffers }
  }

  async readFile (options?: { encoding?: BufferEncoding | null } | BufferEncoding | null): Promise<any> {
    const bytes = await this.call('read', async (file) => {
      this.needs('read')
      const parts: Buffer[] = []
      for (;;) {
        const read = await file.read(this.position, streamChunkBytes * 4)
        const length = read.reduce((sum, part) => sum + part.length, 0)
        if (length === 0) break
        parts.push(...read)
        this.position += length
      }
      return Buffer.concat(parts)
    })
    const encoding = typeof options === 'string' ? options : options?.encoding
    return encoding == null ? bytes : bytes.toString(encoding)
  }

  async writeFile (data: FileData, options?: { encoding?: BufferEncoding | null } | BufferEncoding | null): Promise<void> {
    const encoding = (typeof options === 'string' ? options : options?.encoding) ?? 'utf8'
    for await (const part of partsOf(data, encoding)) await this.writeBytes([part], null)
  }

  appendFile (data: FileData, options?: { encoding?: BufferEncoding | null } | BufferEncoding | null): Promise<void> {
    return this.writeFile(data, options)
  }

  async stat (): Promise<Stats> {
    return this.call('fstat', async (file) => new Stats(await this.init.volume.getattr(file.ino), this.init.dev))
  }

  async truncate (length = 0): Promise<void> {
    if (!Number.isSafeInteger(length)) throw new RangeError('a length is a whole number of bytes')
    await this.call('ftruncate', async () => {
      if (!this.init.flags.write) throw posixError('EINVAL')
      await this.set({ size: Math.max(0, length) })
    })
  }

  /** On stable storage of every in-sync replica when it resolves. */
  sync (): Promise<void> { return this.call('fsync', (file) => file.sync()) }
  datasync (): Promise<void> { return this.call('fdatasync', (file) => file.sync()) }
  chmod (mode: number): Promise<void> { return this.call('fchmod', () => this.set({ mode })) }
  chown (uid: number, gid: number): Promise<void> { return this.call('fchown', () => this.set({ uid, gid })) }
  utimes (atime: number | string | Date, mtime: number | string | Date): Promise<void> {
    return this.call('futime', () => this.set({ atime: toNs(atime), mtime: toNs(mtime) }))
  }

  /** What was written is in every in-sync replica and visible to others when it resolves. */
  close (): Promise<void> {
    this.closing ??= inSyscall('close', this.init.path, async () => {
      try {
        await this.init.file.flush()
      } finally {
        await this.init.file.release()
        this.init.onClose()
      }
    })
    return this.closing
  }

  async [Symbol.asyncDispose] (): Promise<void> { await this.close() }

  createReadStream (options: StreamOptions = {}): Readable {
    const { start, end = Infinity, highWaterMark = streamChunkBytes, autoClose = true, encoding } = options
    const handle = this
    const source = async function * (): AsyncGenerator<Buffer> {
      let position = start ?? handle.position
      try {
        while (position <= end) {
          const parts = await handle.call('read', (file) => file.read(position, Math.min(highWaterMark, end - position + 1)))
          if (parts.length === 0) return
          for (const part of parts) {
            position += part.length
            yield part
          }
        }
      } finally {
        if (autoClose) await handle.close()
      }
    }
    const stream = Readable.from(source(), { objectMode: false, highWaterMark })
    if (encoding !== undefined) stream.setEncoding(encoding)
    return stream
  }

  /** Writes go out in parallel, a bounded number at a time; the stream finishes when the nodes have all. */
  createWriteStream (options: StreamOptions = {}): Writable {
    const { start, highWaterMark = streamChunkBytes, autoClose = true } = options
    const inFlight = new Set<Promise<unknown>>()
    let position = start ?? null
    let failure: unknown = null
    const put = async (chunks: Buffer[]): Promise<void> => {
      if (inFlight.size >= writesInFlightMax) await Promise.race(inFlight)
      if (failure !== null) throw failure
      const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
      const writing = this.writeBytes(chunks, position).catch((error) => { failure ??= error })
      if (position !== null) position += length
      inFlight.add(writing)
      void writing.finally(() => inFlight.delete(writing))
    }
    const drained = async (): Promise<void> => {
      await Promise.all(inFlight)
      if (failure !== null) throw failure
      if (autoClose) await this.close()
    }
    return new Writable({
      highWaterMark,
      write: (chunk: Buffer, _, done) => { put([chunk]).then(() => { done() }, done) },
      writev: (chunks, done) => { put(chunks.map(({ chunk }) => chunk as Buffer)).then(() => { done() }, done) },
      final: (done) => { drained().then(() => { done() }, done) },
      destroy: (error, done) => { (autoClose ? this.close() : Promise.resolve()).then(() => { done(error) }, (other) => { done(error ?? other) }) }
    })
  }

  private async set (changes: SetAttributes): Promise<void> {
    await this.init.volume.setattr(this.init.file.ino, changes, this.init.context)
  }

  private writeBytes (buffers: Buffer[], position: number | null): Promise<number> {
    const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    return this.call('write', async (file) => {
      this.needs('write')
      if (length === 0) return 0
      let start = position
      if (this.init.flags.append) {
        start = (await this.init.volume.getattr(file.ino)).size
      } else if (start === null) {
        start = this.position
      }
      if (position === null) this.position = start + length
      await file.write(start, buffers, this.init.context)
      if (this.init.flags.sync) await file.sync()
      return length
    })
  }

  private needs (access: 'read' | 'write'): void {
    if (!this.init.flags[access]) throw posixError('EBADF')
  }

  private call<T> (syscall: string, work: (file: OpenFile) => Promise<T>): Promise<T> {
    return inSyscall(syscall, undefined, async () => {
      if (this.closing !== null) throw posixError('EBADF')
      return work(this.init.file)
    })
  }
}

export type FileData = string | NodeJS.ArrayBufferView | Iterable<string | NodeJS.ArrayBufferView> | AsyncIterable<string | NodeJS.ArrayBufferView>

async function * partsOf (data: FileData, encoding: BufferEncoding): AsyncGenerator<Buffer> {
  if (typeof data === 'string') yield Buffer.from(data, encoding)
  else if (ArrayBuffer.isView(data)) yield viewOf(data)
  else for await (const part of data) yield typeof part === 'string' ? Buffer.from(part, encoding) : viewOf(part)
}

function viewOf (view: NodeJS.ArrayBufferView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}

function fill (target: Buffer, parts: Buffer[]): number {
  let at = 0
  for (const part of parts) at += part.copy(target, at)
  return at
}
