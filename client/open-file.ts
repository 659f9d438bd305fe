import { posixError } from '../fsnode/protocol/errors.ts'
import type { VolumeContext } from './context.ts'
import type { FileState } from './file-state.ts'
import { pushZeros, sliceBuffers } from './ranges.ts'
import { ChunkReader } from './reader.ts'
import type { OpenFile, OperationContext, ReadOptions } from './types.ts'

/** A handle: its place in sequential reads, and which late errors it has reported. */
export class OpenFileHandle implements OpenFile {
  readonly ino: number
  private readonly context: VolumeContext
  private readonly file: FileState
  private readonly reader: ChunkReader
  private readonly mayWrite: boolean
  private errorsSeen: number
  private released = false
  private isCloseUnheard = false

  constructor (context: VolumeContext, file: FileState, mayWrite: boolean) {
    this.ino = file.cached.ino
    this.context = context
    this.file = file
    this.mayWrite = mayWrite
    this.errorsSeen = file.lateErrors.count
    const { chunkSizeBytes } = context.volume
    this.reader = new ChunkReader({
      budget: context.readAhead,
      blocks: file.reading.blocks,
      mayKeep: () => file.reading.mayKeep,
      fetch: async (chunk, offset, length) => {
        const writes = file.settled(chunk * chunkSizeBytes + offset, length)
        if (writes !== null) await writes
        return context.chunks.read(file.cached.ino, chunk, offset, length)
      }
    }, chunkSizeBytes)
    file.reading.add(this.reader, mayWrite)
  }

  async read (offset: number, length: number, { direct = false }: ReadOptions = {}): Promise<Buffer[]> {
    if (this.released) throw posixError('EBADF')
    if (offset < 0 || length < 0) throw posixError('EINVAL')
    // What was read ahead may be from before.
    if (this.context.ownChanges.inode(this.ino)) this.file.reading.drop()
    const attr = await this.context.inodes.getattr(this.ino)
    const inline = this.file.mayBeInline(attr) ? await this.file.readInline() : null
    if (inline !== null) return readPadded(inline.bytes, offset, Math.min(inline.size, offset + length) - offset)
    // Content that has moved to chunks meanwhile: the size that goes with them.
    const { size } = attr.isInline ? await this.context.inodes.getattr(this.ino) : attr
    const end = Math.min(size, offset + length)
    return end <= offset ? [] : this.reader.read(offset, end - offset, size, direct)
  }

  async write (offset: number, data: readonly Buffer[], by?: OperationContext): Promise<void> {
    if (this.released) throw posixError('EBADF')
    this.reportLate()
    await this.file.write(offset, data, { operationId: by?.operationId })
    await this.awaitRoom()
  }

  async append (offset: number, data: readonly Buffer[], by?: OperationContext): Promise<number> {
    if (this.released) throw posixError('EBADF')
    this.reportLate()
    const position = await this.file.write(offset, data, { append: true, operationId: by?.operationId })
    await this.awaitRoom()
    return position
  }

  closeUnheard (): boolean {
    if (!this.mayWrite) return true
    this.isCloseUnheard = this.context.journal?.changes !== undefined && this.context.room.isPlenty
    return this.isCloseUnheard
  }

  /** Nobody waits at close(2) to be told that the nodes are full: so the write does. */
  private async awaitRoom (): Promise<void> {
    if (this.isCloseUnheard && !this.context.room.isPlenty) await this.flush()
  }

  async flush (): Promise<void> {
    await this.reporting(() => this.file.flush())
  }

  async flushBehind (): Promise<void> {
    await this.reporting(() => this.file.flushBehind())
  }

  async sync (): Promise<void> {
    await this.reporting(async () => {
      await this.file.flush()
      await this.context.held.settled(this.ino)
      await this.context.unsynced.sync(this.ino)
    })
  }

  async release (): Promise<void> {
    if (this.released) return
    this.released = true
    this.file.reading.remove(this.reader, this.mayWrite)
    await this.context.files.release(this.file)
    await this.context.unsynced.trim()
  }

  /** Fails with what `work` fails with, or with what failed behind the caller's back before. */
  private async reporting (work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.errorsSeen = this.file.lateErrors.count
      throw error
    }
    this.reportLate()
  }

  private reportLate (): void {
    const { count, last } = this.file.lateErrors
    if (count === this.errorsSeen) return
    this.errorsSeen = count
    throw last
  }
}

function readPadded (content: Buffer, offset: number, length: number): Buffer[] {
  if (length <= 0) return []
  const bytes = sliceBuffers([content], offset, length)
  const found = bytes.length === 0 ? 0 : bytes[0]!.length
  pushZeros(bytes, length - found)
  return bytes
}
