import { writev, writeSync, writevSync } from 'node:fs'
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { BufferPool } from './buffers.ts'
import { readDevice } from './device-reader.ts'

/** Notifications that may wait for locks in the kernel at once, each on a thread of libuv's pool. */
export const notificationsInFlightMax = 8
/** Likewise pages that the kernel is given: they may wait, but never behind them what drops pages. */
export const storesInFlightMax = 4
/** UV_THREADPOOL_SIZE of a worker: the two above, and enough for everybody else. */
export const threadPoolSize = 18
/** The kernel refuses more pieces in one writev(2). */
const piecesMax = 1024

export interface KernelDeviceComponents {
  pool: BufferPool
  log: Logger
}

export interface KernelDeviceInit {
  /** /dev/fuse, mounted. */
  fd: number
  /** Must not throw. Returns the buffer for the next read: the same one unless it was taken over. */
  onRequest: (buffer: Buffer, length: number) => Buffer
  /** Once: 'unmounted' when the mount is gone, 'failed' when the device cannot be read. */
  onEnd: (reason: 'unmounted' | 'failed') => void
}

interface Notification { pieces: readonly Buffer[], written: () => void }

/** Notifications that wait for a thread, and how many have one. */
interface Lane { readonly waiting: Notification[], inFlight: number, readonly inFlightMax: number }

/** The kernel's side of a mount: requests come from here, replies and notifications go there. */
export class KernelDevice {
  private readonly components: KernelDeviceComponents
  private readonly init: KernelDeviceInit
  private readonly notifications: Lane = { waiting: [], inFlight: 0, inFlightMax: notificationsInFlightMax }
  private readonly stores: Lane = { waiting: [], inFlight: 0, inFlightMax: storesInFlightMax }
  private ended = false

  constructor (components: KernelDeviceComponents, init: KernelDeviceInit) {
    this.components = components
    this.init = init
  }

  /** @throws AtollError ATOLL_UNSUPPORTED_NODE */
  start (): void {
    const { fd, onRequest } = this.init
    readDevice({ fd, onRead: onRequest, onEnd: (code) => { this.readFailed(code) } }, this.components.pool.take()!)
  }

  /**
   * Writes one reply in one system call, from the buffers as they are. They may change when this
   * returns. False when the kernel no longer waits for it.
   */
  send (pieces: readonly Buffer[]): boolean {
    try {
      if (pieces.length === 1) writeSync(this.init.fd, pieces[0]!)
      else writevSync(this.init.fd, pieces.length <= piecesMax ? pieces : [Buffer.concat(pieces)])
      return true
    } catch (error) {
      // ENOENT: the caller was killed, or the request was aborted.
      if (codeOf(error) !== 'ENOENT' && !this.ended) this.components.log.warn('the kernel refused a reply', { error: messageOf(error) })
      return false
    }
  }

  /** Writes a notification without blocking this thread: the kernel may wait for locks. Resolves when written, whatever came of it. */
  notify (message: Buffer): Promise<void> { return this.queue(this.notifications, [message]) }

  /** The same for pages: a message in pieces, which must stay as they are. Its order with other notifications is not kept. */
  store (pieces: readonly Buffer[]): Promise<void> { return this.queue(this.stores, pieces) }

  private queue (lane: Lane, pieces: readonly Buffer[]): Promise<void> {
    return new Promise((resolve) => {
      lane.waiting.push({ pieces, written: resolve })
      this.writeNotifications(lane)
    })
  }

  private writeNotifications (lane: Lane): void {
    while (lane.inFlight < lane.inFlightMax) {
      const next = lane.waiting.shift()
      if (next === undefined) return
      lane.inFlight++
      writev(this.init.fd, next.pieces, (error) => {
        lane.inFlight--
        // ENOENT: the kernel does not know the inode or the name, so it caches nothing of it.
        if (error !== null && codeOf(error) !== 'ENOENT' && !this.ended) {
          this.components.log.warn('the kernel refused a notification', { error: messageOf(error), code: next.pieces[0]!.readInt32LE(4) })
        }
        next.written()
        this.writeNotifications(lane)
      })
    }
  }

  private readFailed (code: number): void {
    // ECONNABORTED: the connection was aborted, by hand or by `umount -f`.
    if (code === -constants.errno.ENODEV || code === -constants.errno.ECONNABORTED) {
      this.end('unmounted')
      return
    }
    if (!this.ended) this.components.log.error('cannot read the FUSE device', { error: getSystemErrorName(code) })
    this.end('failed')
  }

  private end (reason: 'unmounted' | 'failed'): void {
    if (this.ended) return
    this.ended = true
    this.init.onEnd(reason)
  }
}
