import { read, writev, writeSync, writevSync } from 'node:fs'
import { codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Logger } from '../../fsnode/protocol/ports.ts'
import type { BufferPool } from './buffers.ts'

/**
 * Reads of the device that are outstanding at once, each on a thread of libuv's pool. With three, one
 * waits in the kernel while another's request is being answered; more gained nothing (docs/fuse.md).
 */
export const deviceReadsInFlight = 3
/** Notifications that may wait for locks in the kernel at once, each on a thread of libuv's pool. */
export const notificationsInFlightMax = 8
/** Likewise pages that the kernel is given: they may wait, but never behind them what drops pages. */
export const storesInFlightMax = 4
/** UV_THREADPOOL_SIZE of a worker: the three above, and enough for everybody else. */
export const threadPoolSize = 20
/** A device that fails this often without a good read between is broken. */
const readFailuresMax = 100
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
  private failures = 0
  private ended = false

  constructor (components: KernelDeviceComponents, init: KernelDeviceInit) {
    this.components = components
    this.init = init
  }

  start (): void {
    for (let reader = 0; reader < deviceReadsInFlight; reader++) {
      const buffer = this.components.pool.take()
      if (buffer !== null) this.readInto(buffer)
    }
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

  private readInto (buffer: Buffer): void {
    read(this.init.fd, buffer, 0, buffer.length, null, (error, length) => {
      if (error === null) {
        this.failures = 0
        const next = this.init.onRequest(buffer, length)
        // The answers that are ready go first: starting a read wakes a thread, which would compete with them.
        setImmediate(() => { this.readInto(next) })
      } else {
        this.readFailed(error, buffer)
      }
    })
  }

  private readFailed (error: NodeJS.ErrnoException, buffer: Buffer): void {
    switch (error.code) {
      case 'EINTR':
      case 'EAGAIN':
      case 'ENOENT': // aborted while it was being copied
        this.readInto(buffer)
        return
      case 'ENODEV':
      case 'ECONNABORTED':
        this.end('unmounted')
        return
      default:
        if (!this.ended) this.components.log.error('cannot read the FUSE device', { error: messageOf(error) })
        if (++this.failures >= readFailuresMax) this.end('failed')
        else this.readInto(buffer)
    }
  }

  private end (reason: 'unmounted' | 'failed'): void {
    if (this.ended) return
    this.ended = true
    this.init.onEnd(reason)
  }
}
