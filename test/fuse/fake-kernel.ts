import { constants as osConstants } from 'node:os'
import type { VolumeClient } from '../../client/types.ts'
import { silentLog } from '../../fsnode/protocol/pino-log.ts'
import { BufferPool } from '../../fuse/device/buffers.ts'
import { Dispatcher, type DispatcherInit } from '../../fuse/filesystem/dispatcher.ts'
import * as fuse from '../../fuse/protocol/constants.ts'
import { wantedFlags } from '../../fuse/protocol/init.ts'
import { SimClock } from '../sim/clock.ts'

export interface KernelReply { errno: number, payload: Buffer }

export const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4)
  values.forEach((value, index) => bytes.writeUInt32LE(value >>> 0, index * 4))
  return bytes
}
export const u64 = (...values: (number | bigint)[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 8)
  values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8))
  return bytes
}
export const text = (...words: string[]): Buffer => Buffer.from(words.map((word) => `${word}\0`).join(''), 'utf8')

export interface HeaderFields { opcode: number, nodeid?: number | bigint, unique?: bigint, uid?: number, gid?: number, extensions?: Buffer }

/** The bytes of one request as the kernel lays them out. */
export function requestBytes ({ opcode, nodeid = 1, unique = 2n, uid = 1000, gid = 100, extensions = Buffer.alloc(0) }: HeaderFields, ...body: Buffer[]): Buffer {
  const rest = Buffer.concat([...body, extensions])
  const tail = Buffer.alloc(4)
  tail.writeUInt16LE(extensions.length / 8, 0)
  return Buffer.concat([u32(40 + rest.length, opcode), u64(unique, nodeid), u32(uid, gid, 4321), tail, rest])
}

/** The other side of the device, in this process: sends bytes of requests, takes bytes of replies. */
export class FakeKernel {
  readonly clock = new SimClock()
  readonly pool = new BufferPool({ bufferBytes: fuse.requestBufferBytes, buffersMax: 8 })
  readonly dispatcher: Dispatcher
  readonly notifications: Buffer[] = []
  /** Pages that it was given, and how many replies had come by then. */
  readonly stores: { message: Buffer, answered: number }[] = []
  readonly replies = new Map<bigint, KernelReply>()
  /** Nobody waits for replies any more: writes of them fail as after a kill. */
  deaf = false
  /** Notifications wait, as for a lock. */
  stuck = false
  private readonly waiting = new Map<bigint, (reply: KernelReply) => void>()
  private buffer = Buffer.alloc(fuse.requestBufferBytes)
  private unique = 0n

  constructor (client: VolumeClient, init: Partial<DispatcherInit> = {}) {
    this.dispatcher = new Dispatcher({
      client,
      clock: this.clock,
      log: silentLog,
      pool: this.pool,
      send: (pieces) => this.received(Buffer.concat(pieces)),
      notify: async (message) => {
        if (this.stuck) await new Promise(() => {})
        this.notifications.push(Buffer.from(message))
      },
      store: async (pieces) => { this.stores.push({ message: Buffer.concat(pieces), answered: this.replies.size }) }
    }, { generation: 0, negotiated: null, ...init })
  }

  nextUnique (): bigint {
    this.unique += 2n
    return this.unique
  }

  /** Sends bytes as they are. Returns whether the reader went on with another buffer. */
  deliver (bytes: Buffer): boolean {
    bytes.copy(this.buffer)
    const next = this.dispatcher.dispatch(this.buffer, bytes.length)
    const swapped = next !== this.buffer
    // What was not taken over is overwritten at once, as the next request would.
    next.fill(0xee)
    this.buffer = next as Buffer<ArrayBuffer>
    return swapped
  }

  /** Sends a request and resolves with its reply. */
  ask (fields: HeaderFields, ...body: Buffer[]): Promise<KernelReply> {
    const unique = fields.unique ?? this.nextUnique()
    const answered = new Promise<KernelReply>((resolve) => { this.waiting.set(unique, resolve) })
    this.deliver(requestBytes({ ...fields, unique }, ...body))
    return answered
  }

  async init (minor = 45, flags = wantedFlags): Promise<KernelReply> {
    return await this.ask({ opcode: fuse.FUSE_INIT, nodeid: 0 }, u32(7, minor, 131072, Number(flags & 0xffff_ffffn), Number(flags >> 32n)), Buffer.alloc(44))
  }

  async create (dir: number, name: string, flags = 2, mode = 0o100644): Promise<{ ino: number, fh: number }> {
    const { errno, payload } = await this.ask({ opcode: fuse.FUSE_CREATE, nodeid: dir }, u32(flags, mode, 0o22, 0), text(name))
    if (errno !== 0) throw new Error(`CREATE gave ${errnoName(errno)}`)
    return { ino: Number(payload.readBigUInt64LE(0)), fh: Number(payload.readBigUInt64LE(128)) }
  }

  write (ino: number, fh: number, offset: number, data: Buffer, { flags = 2, writeFlags = 0, unique }: { flags?: number, writeFlags?: number, unique?: bigint } = {}): Promise<KernelReply> {
    return this.ask({ opcode: fuse.FUSE_WRITE, nodeid: ino, ...(unique === undefined ? {} : { unique }) }, u64(fh, offset), u32(data.length, writeFlags), u64(0), u32(flags, 0), data)
  }

  read (ino: number, fh: number, offset: number, size: number, opcode: number = fuse.FUSE_READ, flags = 0): Promise<KernelReply> {
    return this.ask({ opcode, nodeid: ino }, u64(fh, offset), u32(size, 0), u64(0), u32(flags, 0))
  }

  private received (bytes: Buffer): boolean {
    if (bytes.readUInt32LE(0) !== bytes.length) throw new Error(`a reply of ${bytes.length} bytes says ${bytes.readUInt32LE(0)}`)
    const errno = 0 - bytes.readInt32LE(4)
    if (errno < 0 || errno > 511 || (errno !== 0 && bytes.length !== 16)) throw new Error('the kernel would refuse this reply')
    if (this.deaf) return false
    const unique = bytes.readBigUInt64LE(8)
    if (this.replies.has(unique)) throw new Error(`request ${unique} was answered twice`)
    const reply = { errno, payload: Buffer.from(bytes.subarray(16)) }
    this.replies.set(unique, reply)
    this.waiting.get(unique)?.(reply)
    return true
  }
}

export function errnoName (errno: number): string {
  if (errno === 0) return 'OK'
  if (errno === osConstants.errno.EOPNOTSUPP) return 'EOPNOTSUPP' // also known as ENOTSUP
  return Object.entries(osConstants.errno).find(([, number]) => number === errno)?.[0] ?? String(errno)
}

export interface ListedEntry { name: string, ino: number, cookie: number, type: number, nodeid?: number }

/** Takes a READDIR or READDIRPLUS payload apart; throws when a record is not whole. */
export function listedEntries (payload: Buffer, plus: boolean): ListedEntry[] {
  const entries: ListedEntry[] = []
  for (let at = 0; at < payload.length;) {
    const dirent = plus ? at + 128 : at
    const nameBytes = payload.readUInt32LE(dirent + 16)
    const end = dirent + ((24 + nameBytes + 7) & ~7)
    if (end > payload.length) throw new Error('a partial record')
    entries.push({
      name: payload.toString('utf8', dirent + 24, dirent + 24 + nameBytes),
      ino: Number(payload.readBigUInt64LE(dirent)),
      cookie: Number(payload.readBigUInt64LE(dirent + 8)),
      type: payload.readUInt32LE(dirent + 20),
      ...(plus ? { nodeid: Number(payload.readBigUInt64LE(at)) } : {})
    })
    at = end
  }
  return entries
}
