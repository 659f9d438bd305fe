import type { Connection, Network } from '../../../fsnode/protocol/ports.ts'
import { PacketDecoder, Reader, errors, opcodes, xids } from '../../../scheduler/zookeeper/packets.ts'

interface Client { connection: Connection, decoder: PacketDecoder, opened: boolean, childWatches: Set<string>, existWatches: Set<string> }

/** A naive ZooKeeper in memory: a tree of one level below each path, child watches, exists watches. */
export class ScriptedZooKeeper {
  readonly nodes = new Map<string, string>()
  /** Requests as 'getChildren /mesos'. */
  readonly seen: string[] = []
  readonly digests: string[] = []
  /** Accepts connections, says nothing. */
  silent = false
  /** Refuses the next sessions. */
  refusing = false
  readonly #clients = new Set<Client>()
  #zxid = 0

  async listen (network: Network, host: string, port: number): Promise<void> {
    await network.listen({ host, port }, (connection) => {
      const client: Client = { connection, decoder: new PacketDecoder(), opened: false, childWatches: new Set(), existWatches: new Set() }
      this.#clients.add(client)
      connection.onData = (chunk) => { for (const packet of client.decoder.push(chunk)) this.#receive(client, packet) }
      connection.onClose = () => { this.#clients.delete(client) }
    })
  }

  get sessions (): number { return this.#clients.size }

  set (path: string, data: string): void {
    const isNew = !this.nodes.has(path)
    this.nodes.set(path, data)
    if (isNew) this.#fire(path)
  }

  delete (path: string): void {
    this.nodes.delete(path)
    this.#fire(path)
  }

  dropAll (): void { for (const { connection } of [...this.#clients]) connection.close() }

  #fire (path: string): void {
    this.#zxid++
    const parent = path.slice(0, path.lastIndexOf('/'))
    for (const client of this.#clients) {
      if (client.childWatches.delete(parent)) this.#event(client, 4, parent)
      if (client.existWatches.delete(path)) this.#event(client, 1, path)
    }
  }

  #event (client: Client, type: number, path: string): void {
    client.connection.send([packet(int(xids.watch), long(-1n), int(0), int(type), int(3), text(path))])
  }

  #receive (client: Client, bytes: Buffer): void {
    if (this.silent) return
    if (!client.opened) {
      client.opened = !this.refusing
      client.connection.send([packet(int(0), int(client.opened ? 9000 : 0), long(client.opened ? 77n : 0n), text('x'.repeat(16)), Buffer.from([0]))])
      return
    }
    const reader = new Reader(bytes)
    const xid = reader.int()
    const opcode = reader.int()
    if (opcode === opcodes.auth) {
      reader.int()
      this.digests.push(`${reader.bytes().toString()} ${reader.bytes().toString()}`)
      this.#reply(client, xid, errors.ok)
    } else if (opcode === opcodes.ping || opcode === opcodes.close) {
      this.#reply(client, xid, errors.ok)
    } else {
      this.#read(client, xid, opcode, reader.bytes().toString(), bytes.at(-1) === 1)
    }
  }

  #read (client: Client, xid: number, opcode: number, path: string, watch: boolean): void {
    const data = this.nodes.get(path)
    this.seen.push(`${Object.entries(opcodes).find(([, code]) => code === opcode)![0]} ${path}`)
    if (opcode === opcodes.exists && watch) client.existWatches.add(path)
    if (data === undefined) {
      this.#reply(client, xid, errors.noNode)
      return
    }
    if (opcode === opcodes.getChildren) {
      if (watch) client.childWatches.add(path)
      const children = [...this.nodes.keys()].filter((key) => key.startsWith(`${path}/`)).map((key) => key.slice(path.length + 1)).reverse()
      this.#reply(client, xid, errors.ok, int(children.length), ...children.map(text))
    } else if (opcode === opcodes.getData) {
      this.#reply(client, xid, errors.ok, text(data), Buffer.alloc(68))
    } else {
      this.#reply(client, xid, errors.ok, Buffer.alloc(68))
    }
  }

  #reply (client: Client, xid: number, error: number, ...body: Buffer[]): void {
    client.connection.send([packet(int(xid), long(BigInt(this.#zxid)), int(error), ...body)])
  }
}

export function int (value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

export function long (value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

export function text (value: string): Buffer {
  return Buffer.concat([int(Buffer.byteLength(value)), Buffer.from(value)])
}

export function packet (...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([int(body.length), body])
}
