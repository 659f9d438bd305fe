import { AtollError } from '../../fsnode/protocol/errors.ts'
import { packetLengthMaxBytes } from './constants.ts'

/** The few packets of ZooKeeper's protocol that a reader needs: big-endian, each with its length in front. */

export const opcodes = { exists: 3, getData: 4, getChildren: 8, ping: 11, auth: 100, close: -11 } as const
export const xids = { watch: -1, ping: -2, auth: -4 } as const
/** ZooKeeper's error codes that we tell apart. */
export const errors = { ok: 0, noNode: -101, noAuth: -102, sessionExpired: -112, authFailed: -115 } as const

export interface ConnectReply { timeoutMs: number, sessionId: bigint }
export interface Reply { xid: number, zxid: bigint, error: number, body: Reader }
export interface WatchEvent { type: number, state: number, path: string }

const headBytes = 4

/** Without a session before: one connection is one session. */
export function connectRequest (timeoutMs: number): Buffer {
  const body = Buffer.alloc(45)
  body.writeInt32BE(timeoutMs, 12)
  body.writeInt32BE(16, 24)
  return framed(body)
}

export function pathRequest (xid: number, opcode: number, path: string, watch: boolean): Buffer {
  const length = Buffer.byteLength(path)
  const body = Buffer.alloc(13 + length)
  body.writeInt32BE(xid, 0)
  body.writeInt32BE(opcode, 4)
  body.writeInt32BE(length, 8)
  body.write(path, 12)
  body[12 + length] = watch ? 1 : 0
  return framed(body)
}

export function bareRequest (xid: number, opcode: number): Buffer {
  const body = Buffer.alloc(8)
  body.writeInt32BE(xid, 0)
  body.writeInt32BE(opcode, 4)
  return framed(body)
}

export function digestRequest (credentials: string): Buffer {
  const parts = ['digest', credentials].map((text) => Buffer.from(text))
  const body = Buffer.alloc(12 + parts.reduce((sum, { length }) => sum + 4 + length, 0))
  body.writeInt32BE(xids.auth, 0)
  body.writeInt32BE(opcodes.auth, 4)
  let offset = 12
  for (const part of parts) {
    offset = body.writeInt32BE(part.length, offset)
    offset += part.copy(body, offset)
  }
  return framed(body)
}

function framed (body: Buffer): Buffer {
  const head = Buffer.alloc(headBytes)
  head.writeInt32BE(body.length)
  return Buffer.concat([head, body])
}

export function readConnectReply (packet: Buffer): ConnectReply {
  const reader = new Reader(packet)
  reader.int()
  return { timeoutMs: reader.int(), sessionId: reader.long() }
}

export function readReply (packet: Buffer): Reply {
  const reader = new Reader(packet)
  return { xid: reader.int(), zxid: reader.long(), error: reader.int(), body: reader }
}

export const readChildren = (body: Reader): string[] => {
  const count = body.int()
  const children: string[] = []
  for (let index = 0; index < count; index++) children.push(body.bytes().toString())
  return children
}

export const readWatchEvent = (body: Reader): WatchEvent => ({ type: body.int(), state: body.int(), path: body.bytes().toString() })

/** Throws ATOLL_BAD_MESSAGE beyond the end. */
export class Reader {
  readonly #bytes: Buffer
  #offset = 0

  constructor (bytes: Buffer) { this.#bytes = bytes }

  int (): number { return this.#take(4).readInt32BE() }

  long (): bigint { return this.#take(8).readBigInt64BE() }

  /** Absent ones (length -1) read as empty. */
  bytes (): Buffer { return this.#take(Math.max(0, this.int())) }

  #take (length: number): Buffer {
    const end = this.#offset + length
    if (end > this.#bytes.length) throw badMessage(`a packet of ${this.#bytes.length} bytes is too short`)
    const taken = this.#bytes.subarray(this.#offset, end)
    this.#offset = end
    return taken
  }
}

/** Cuts a byte stream into packets, however it came. */
export class PacketDecoder {
  #rest: Buffer = Buffer.alloc(0)

  /** Throws ATOLL_BAD_MESSAGE when a length is impossible. */
  push (chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const packets: Buffer[] = []
    let offset = 0
    while (bytes.length - offset >= headBytes) {
      const length = bytes.readInt32BE(offset)
      if (length < 0 || length > packetLengthMaxBytes) throw badMessage(`a packet of ${length} bytes`)
      if (bytes.length - offset < headBytes + length) break
      packets.push(bytes.subarray(offset + headBytes, offset + headBytes + length))
      offset += headBytes + length
    }
    this.#rest = bytes.subarray(offset)
    return packets
  }
}

const badMessage = (what: string): AtollError => new AtollError('ATOLL_BAD_MESSAGE', `ZooKeeper: ${what}`)
