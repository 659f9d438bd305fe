import { ReadableStream, type ReadableByteStreamController } from 'node:stream/web'
import type { VolumeFileHandle } from './file-handle.ts'

/** What streams hold unless told otherwise: node:fs's own 64 KiB and 16 KiB would leave a network idle most of the time. */
export const readStreamBytes = 1024 * 1024
export const writeStreamBytes = 4 * 1024 * 1024
export const webStreamBytes = 64 * 1024

type Done = (error: Error | null, ...results: unknown[]) => void
type Open = (path: string, flags: string, mode: number) => Promise<VolumeFileHandle>

/** The calls that node:fs's own streams make, answered by a file handle that is open, or that they open. */
export function streamOperations (from: VolumeFileHandle | Open): Record<'open' | 'read' | 'write' | 'writev' | 'fsync' | 'close', (...args: any[]) => void> {
  let handle = from as VolumeFileHandle
  return {
    open (path: string, flags: string, mode: number, done: Done) {
      (from as Open)(path, flags, mode).then((opened) => {
        handle = opened
        opened.use()
        done(null, opened.fd)
      }, done)
    },
    read (_fd: number, buffer: Buffer, offset: number, length: number, position: number | undefined, done: Done) {
      handle.read(buffer, offset, length, position).then(({ bytesRead }) => { done(null, bytesRead, buffer) }, (error) => { done(error, 0, buffer) })
    },
    write (_fd: number, buffer: Buffer, offset: number, length: number, position: number | undefined, done: Done) {
      handle.write(buffer, offset, length, position).then(({ bytesWritten }) => { done(null, bytesWritten, buffer) }, (error) => { done(error, 0, buffer) })
    },
    writev (_fd: number, buffers: Buffer[], position: number | undefined, done: Done) {
      handle.writev(buffers, position).then(({ bytesWritten }) => { done(null, bytesWritten, buffers) }, (error) => { done(error, 0, buffers) })
    },
    fsync (_fd: number, done: Done) { handle.sync().then(() => { done(null) }, done) },
    close (_fd: number, done: Done) {
      handle.drop()
      handle.close().then(() => { done(null) }, done)
    }
  }
}

export function webStreamOf (handle: VolumeFileHandle, autoClose: boolean): ReadableStream {
  let controller: ReadableByteStreamController
  let done = false
  const finish = async (): Promise<void> => {
    if (done) return
    done = true
    handle.drop()
    if (autoClose) await handle.close()
  }
  const end = (): Promise<void> => {
    if (!done) controller.close()
    return finish()
  }
  handle.use()
  handle.once('close', () => { void end() })
  return new ReadableStream({
    type: 'bytes',
    autoAllocateChunkSize: webStreamBytes,
    start (given: ReadableByteStreamController) { controller = given },
    async pull () {
      const request = controller.byobRequest!
      const { bytesRead } = await handle.read(request.view)
      if (bytesRead === 0) await end()
      request.respond(done ? 0 : bytesRead)
    },
    cancel: finish
  })
}
