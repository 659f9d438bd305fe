import { EventEmitter } from 'node:events'
import { createReadStream, createWriteStream, type ReadPosition, type ReadStream, type WriteStream } from 'node:fs'
import type { CreateReadStreamOptions, CreateWriteStreamOptions, ReadableWebStreamOptions } from 'node:fs/promises'
import { createInterface, type Interface } from 'node:readline'
import { StringDecoder } from 'node:string_decoder'
import type { ReadableStream } from 'node:stream/web'
import { posixError } from '../../fsnode/protocol/errors.ts'
import { byteLengthOf } from '../../fsnode/protocol/frame.ts'
import type { OpenFile, OperationContext, SetAttributes, VolumeClient } from '../types.ts'
import { boolean, checkAborted, coded, integer, invalidType, invalidValue, modeBits, optionsOf, outOfRange, owner, viewOf, type CommonOptions } from './arguments.ts'
import { inSyscall } from './errors.ts'
import type { OpenFlags } from './flags.ts'
import { statsOf, timeNs, type BigintOption } from './stats.ts'
import { readStreamBytes, streamOperations, webStreamOf, writeStreamBytes } from './streams.ts'
import type { Turns } from './turns.ts'
import type { FileData, FileHandle } from './types.ts'

/** Asked of the volume in one call: enough for it to work on several chunks at once. */
export const transferBytesMax = 8 * 1024 * 1024
export const readBufferBytesDefault = 16_384
/** The longest file that is read at once, as in node:fs. */
export const readFileBytesMax = 2 ** 31 - 1

const bigPositionMax = 2n ** 63n - 1n

export interface FileHandleComponents {
  volume: VolumeClient
  file: OpenFile
  /** Shared by all handles of the volume: appends take turns by inode. */
  turns: Turns
}

export interface FileHandleInit {
  flags: OpenFlags
  fd: number
  dev: number
  context: OperationContext
}

/** An open file or directory of a volume. */
export class VolumeFileHandle extends EventEmitter implements FileHandle {
  private readonly components: FileHandleComponents
  private readonly init: FileHandleInit
  private position = 0
  /** The handle itself, its streams and the calls under way: the last one closes the file. */
  private users = 1
  private readonly unused = Promise.withResolvers<void>()
  private closing: Promise<void> | null = null

  constructor (components: FileHandleComponents, init: FileHandleInit) {
    super()
    this.components = components
    this.init = init
  }

  /** Of this mounted volume only, not of the process; -1 once closed. */
  get fd (): number { return this.users === 0 ? -1 : this.init.fd }

  read (bufferOrOptions?: any, offsetOrOptions?: any, length?: number | null, position?: ReadPosition | null): Promise<any> {
    return this.call('read', async () => {
      let [buffer, offset] = [bufferOrOptions, offsetOrOptions]
      if (!ArrayBuffer.isView(buffer)) ({ buffer = Buffer.alloc(readBufferBytesDefault), offset, length, position } = optionsObject(bufferOrOptions))
      if (!ArrayBuffer.isView(buffer)) throw invalidType('buffer', 'an instance of Buffer, TypedArray, or DataView', buffer)
      if (typeof offset === 'object' && offset !== null) ({ offset, length, position } = offset)
      const from = integer(offset ?? 0, 'offset', 0)
      const bytes = length ?? buffer.byteLength - from
      const place = readPlaceOf(position, bytes)
      if (bytes === 0) return { bytesRead: 0, buffer }
      if (buffer.byteLength === 0) throw invalidValue('buffer', buffer, 'is empty and cannot be written')
      if (bytes < 0 || from + bytes > buffer.byteLength) throw outOfRange('length', `>= 0 && <= ${buffer.byteLength - from}`, bytes)
      const parts = await this.readBytes(place, bytes)
      return { bytesRead: fill(viewOf(buffer), from, parts), buffer }
    })
  }

  readv (buffers: any, position?: number | null): Promise<any> {
    return this.call('readv', async () => {
      const views = viewsOf(buffers)
      if (views.length === 0) await this.attempt('read', async () => { throw posixError('EINVAL') })
      const parts = await this.readBytes(writePlaceOf(position), byteLengthOf(views))
      const bytes = Buffer.concat(parts)
      let at = 0
      for (const view of views) at += bytes.copy(view, 0, at)
      return { bytesRead: bytes.length, buffers }
    })
  }

  write (data: any, offsetOrOptions?: any, lengthOrEncoding?: any, position?: any): Promise<any> {
    return this.call('write', async () => {
      if (data?.byteLength === 0) return { bytesWritten: 0, buffer: data }
      if (!ArrayBuffer.isView(data)) {
        return { bytesWritten: await this.writeBytes([textBytes(data, lengthOrEncoding)], writePlaceOf(offsetOrOptions)), buffer: data }
      }
      let [offset, length] = [offsetOrOptions, lengthOrEncoding]
      if (typeof offset === 'object' && offset !== null) ({ offset, length, position } = offset)
      const from = integer(offset ?? 0, 'offset', 0)
      const bytes = typeof length === 'number' ? length : data.byteLength - from
      if (from > data.byteLength) throw outOfRange('offset', `<= ${data.byteLength}`, from)
      if (bytes > data.byteLength - from) throw outOfRange('length', `<= ${data.byteLength - from}`, bytes)
      const view = viewOf(data).subarray(from, from + integer(bytes, 'length', 0))
      return { bytesWritten: await this.writeBytes([view], writePlaceOf(position)), buffer: data }
    })
  }

  writev (buffers: any, position?: number | null): Promise<any> {
    return this.call('writev', async () => {
      const views = viewsOf(buffers)
      return { bytesWritten: views.length === 0 ? 0 : await this.writeBytes(views, writePlaceOf(position)), buffers }
    })
  }

  /** From where the last read or write without a position ended. */
  readFile (options?: any): Promise<any> {
    return this.call('readFile', async () => {
      const { encoding, signal, buffer } = optionsOf<CommonOptions & { buffer?: unknown }>(options)
      checkAborted(signal)
      const decoder = encoding ? new StringDecoder(encoding as BufferEncoding) : null
      const { size } = await this.attributes()
      checkAborted(signal)
      if (size > readFileBytesMax) throw coded(new RangeError(`File size (${size}) is greater than 2 GiB`), 'ERR_FS_FILE_TOO_LARGE')
      const target = buffer === undefined ? Buffer.allocUnsafeSlow(Math.max(0, size - this.position)) : givenBuffer(buffer, size)
      const bytes = target.subarray(0, await this.fillFrom(target, signal))
      return decoder?.end(bytes) ?? bytes
    })
  }

  writeFile (data: FileData, options?: any): Promise<void> {
    return this.call('writeFile', async () => {
      const { encoding, signal } = optionsOf<CommonOptions>(options)
      for await (const part of partsOf(writable(data, encoding), encoding)) {
        for (let at = 0; at < part.length; at += transferBytesMax) {
          checkAborted(signal)
          await this.writeBytes([part.subarray(at, at + transferBytesMax)], null)
        }
      }
      checkAborted(signal)
    })
  }

  appendFile (data: FileData, options?: any): Promise<void> { return this.writeFile(data, options) }

  stat (options?: BigintOption): Promise<any> {
    return this.call('fstat', async () => statsOf(await this.attributes(), this.init.dev, options))
  }

  truncate (length = 0): Promise<void> {
    return this.call('ftruncate', async () => {
      const size = Math.max(0, integer(length, 'len'))
      await this.attempt('ftruncate', async () => {
        if (!this.init.flags.write) throw posixError('EINVAL')
        await this.set({ size })
      })
    })
  }

  /** On stable storage of every in-sync replica when it resolves. */
  sync (): Promise<void> { return this.call('fsync', () => this.attempt('fsync', () => this.components.file.sync())) }
  datasync (): Promise<void> { return this.call('fdatasync', () => this.attempt('fdatasync', () => this.components.file.sync())) }

  chmod (mode: unknown): Promise<void> { return this.change('fchmod', 'fchmod', () => ({ mode: modeBits(mode) & 0o7777 })) }
  chown (uid: unknown, gid: unknown): Promise<void> { return this.change('fchown', 'fchown', () => ({ uid: owner(uid, 'uid'), gid: owner(gid, 'gid') })) }
  utimes (atime: unknown, mtime: unknown): Promise<void> { return this.change('futimes', 'futime', () => ({ atime: timeNs(atime), mtime: timeNs(mtime) })) }

  /** What was written is in every in-sync replica and visible to others when it resolves. Waits for calls and streams that use the handle. */
  close (): Promise<void> {
    if (this.closing !== null) return this.closing
    this.closing = this.unused.promise.then(() => this.attempt('close', async () => {
      try {
        await this.components.file.flush()
      } finally {
        await this.components.file.release()
      }
    }))
    this.drop()
    this.emit('close')
    return this.closing
  }

  async [Symbol.asyncDispose] (): Promise<void> { await this.close() }

  createReadStream (options?: CreateReadStreamOptions): ReadStream {
    return this.attached(createReadStream('', { highWaterMark: readStreamBytes, ...options, fd: this.fd, fs: streamOperations(this) } as object))
  }

  createWriteStream (options?: CreateWriteStreamOptions): WriteStream {
    return this.attached(createWriteStream('', { highWaterMark: writeStreamBytes, ...options, fd: this.fd, fs: streamOperations(this) } as object))
  }

  readLines (options?: CreateReadStreamOptions): Interface {
    return createInterface({ input: this.createReadStream(options), crlfDelay: Infinity })
  }

  readableWebStream (options: ReadableWebStreamOptions = {}): ReadableStream {
    if (this.closing !== null) throw coded(new Error('Invalid state: The FileHandle is closed'), 'ERR_INVALID_STATE')
    return webStreamOf(this, boolean(options.autoClose ?? false, 'options.autoClose'))
  }

  /** One more user: `close` waits until it drops the handle. */
  use (): void { this.users++ }

  drop (): void { if (--this.users === 0) this.unused.resolve() }

  private attached<S extends ReadStream | WriteStream> (stream: S): S {
    this.use()
    // A write stream that has finished does not react to `close` any more: the handle would stay open for ever.
    this.on('close', () => { (stream as WriteStream).writableFinished ? stream.destroy() : stream.close() })
    return stream
  }

  /** Null for the place: where the last call without a place ended. */
  private readBytes (place: number | null, length: number): Promise<Buffer[]> {
    return this.attempt('read', async () => {
      if (!this.init.flags.read) throw posixError('EBADF')
      const { file, turns } = this.components
      if (place !== null) return file.read(place, length)
      return turns.take(this, async () => {
        const parts = await file.read(this.position, length)
        this.position += byteLengthOf(parts)
        return parts
      })
    })
  }

  private async fillFrom (target: Buffer, signal: AbortSignal | undefined): Promise<number> {
    let filled = 0
    do {
      checkAborted(signal)
      const parts = await this.readBytes(null, Math.min(target.length - filled, transferBytesMax))
      if (parts.length === 0) break
      filled += fill(target, filled, parts)
    } while (filled < target.length)
    return filled
  }

  private writeBytes (buffers: Buffer[], place: number | null): Promise<number> {
    return this.attempt('write', async () => {
      const { flags } = this.init
      if (!flags.write) throw posixError('EBADF')
      const length = byteLengthOf(buffers)
      if (length === 0) return 0
      if (flags.append) await this.components.turns.take(this.components.file.ino, () => this.append(buffers, length, place))
      else if (place !== null) await this.put(place, buffers)
      else await this.components.turns.take(this, async () => {
        await this.put(this.position, buffers)
        this.position += length
      })
      return length
    })
  }

  /** At the end, wherever the caller wanted it: as O_APPEND does. */
  private async append (buffers: Buffer[], length: number, place: number | null): Promise<void> {
    const { file } = this.components
    let at = await file.append?.(0, buffers, this.init.context)
    if (at === undefined) await this.put(at = (await this.attributes()).size, buffers)
    else if (this.init.flags.sync) await file.sync()
    if (place === null) this.position = at + length
  }

  /** The caller may use its buffers again when this has resolved: without a journal, the nodes have the bytes by then. */
  private async put (place: number, buffers: Buffer[]): Promise<void> {
    const { file } = this.components
    await file.write(place, buffers, this.init.context)
    if (this.init.flags.sync) await file.sync()
  }

  private attributes (): ReturnType<VolumeClient['getattr']> {
    return this.attempt('fstat', () => this.components.volume.getattr(this.components.file.ino))
  }

  private async set (changes: SetAttributes): Promise<void> {
    await this.components.volume.setattr(this.components.file.ino, changes, this.init.context)
  }

  private change (name: string, syscall: string, changes: () => SetAttributes): Promise<void> {
    return this.call(name, async () => {
      const checked = changes()
      await this.attempt(syscall, () => this.set(checked))
    })
  }

  private attempt<T> (syscall: string, work: () => Promise<T>): Promise<T> { return inSyscall(syscall, undefined, work) }

  /** Keeps the handle open meanwhile. */
  private async call<T> (name: string, work: () => Promise<T>): Promise<T> {
    if (this.users === 0) throw Object.assign(coded(new Error('file closed'), 'EBADF'), { syscall: name })
    this.use()
    try {
      return await work()
    } finally {
      this.drop()
    }
  }
}

/** An open directory: it has attributes and can be synced, and no content. Names are on stable storage when they are acknowledged. */
export function openDirectory (ino: number): OpenFile {
  return {
    ino,
    read: async () => { throw posixError('EISDIR') },
    write: async () => { throw posixError('EBADF') },
    flush: async () => {},
    sync: async () => {},
    release: async () => {}
  }
}

/** Data that a file can be written from, its text already in bytes. Refuses what is none. */
export function writable (data: unknown, encoding?: string | null): Exclude<FileData, string> {
  if (ArrayBuffer.isView(data)) return viewOf(data)
  const iterable = data as { [Symbol.iterator]?: unknown, [Symbol.asyncIterator]?: unknown } | null | undefined
  const isIterable = typeof iterable?.[Symbol.asyncIterator] === 'function' || typeof iterable?.[Symbol.iterator] === 'function'
  if (typeof data !== 'string' && isIterable) return data as Iterable<string>
  return Buffer.from(textOf(data, 'data'), encodingOf(encoding))
}

async function * partsOf (data: Exclude<FileData, string>, encoding: string | null | undefined): AsyncGenerator<Buffer> {
  if (ArrayBuffer.isView(data)) yield viewOf(data)
  else for await (const part of data) yield ArrayBuffer.isView(part) ? viewOf(part) : Buffer.from(part, encodingOf(encoding))
}

function encodingOf (encoding: string | null | undefined): BufferEncoding { return (encoding || 'utf8') as BufferEncoding }

/** Of `write`, where an encoding that is none is utf8. */
function textBytes (data: unknown, encoding: unknown): Buffer {
  const text = textOf(data, 'buffer')
  if (encoding === 'hex' && text.length % 2 !== 0) throw invalidValue('encoding', encoding, `is invalid for data of length ${text.length}`)
  return Buffer.from(text, Buffer.isEncoding(encoding as string) ? encoding as BufferEncoding : 'utf8')
}

function textOf (data: unknown, name: string): string {
  if (typeof data !== 'string') throw invalidType(name, 'of type string or an instance of Buffer, TypedArray, or DataView', data)
  return data
}

function optionsObject (options: unknown): any {
  if (options !== undefined && typeof options !== 'object') throw invalidType('options', 'of type object', options)
  return options ?? {}
}

function viewsOf (buffers: unknown): Buffer[] {
  if (!Array.isArray(buffers) || !buffers.every((buffer) => ArrayBuffer.isView(buffer))) throw invalidType('buffers', 'an instance of ArrayBufferView[]', buffers)
  return buffers.map(viewOf)
}

/** Checked as node:fs does for reads: -1 and null mean the current position. */
function readPlaceOf (position: unknown, length: number): number | null {
  if (position === null || position === undefined) return null
  if (typeof position !== 'bigint') return currentWhenNegative(integer(position, 'position', -1))
  if (position < -1n || position > bigPositionMax - BigInt(length)) throw outOfRange('position', `>= -1 && <= ${bigPositionMax - BigInt(length)}`, position)
  return currentWhenNegative(Number(position))
}

/** Not checked, as in node:fs for writes: whatever is no position means the current one. */
function writePlaceOf (position: unknown): number | null {
  return Number.isSafeInteger(position) ? currentWhenNegative(position as number) : null
}

function currentWhenNegative (position: number): number | null { return position < 0 ? null : position }

function givenBuffer (given: unknown, size: number): Buffer {
  const buffer = typeof given === 'function' ? given(size) : given
  if (!ArrayBuffer.isView(buffer)) throw invalidType('options.buffer', 'an instance of Buffer, TypedArray, DataView, or Function', buffer)
  if (buffer.byteLength < size) throw invalidValue('options.buffer.byteLength', buffer.byteLength, 'is too small to contain the entire file')
  return viewOf(buffer)
}

/** @returns the bytes copied. */
function fill (target: Buffer, at: number, parts: readonly Buffer[]): number {
  let filled = 0
  for (const part of parts) filled += part.copy(target, at + filled)
  return filled
}
