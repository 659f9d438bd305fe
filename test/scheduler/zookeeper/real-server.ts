import { createHash } from 'node:crypto'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PacketDecoder, connectRequest, digestRequest, readReply } from '../../../scheduler/zookeeper/packets.ts'
import { int, packet, text } from './scripted-server.ts'

/** Where Debian's package 'zookeeper' has it. */
const jar = '/usr/share/java/zookeeper.jar'
const java = '/usr/bin/java'

const missing = [java, jar].filter((path) => !existsSync(path))

export const isZooKeeperInstalled = missing.length === 0
/** For the title of a test, so that a skipped one tells why. */
export const whySkipped = isZooKeeperInstalled ? '' : ` (skipped: ${missing.join(' and ')} of Debian's packages default-jre-headless and zookeeper are not there)`

/** Whoever writes here does not say that it lives: no machine is so slow. A server grants up to 20 ticks. */
const sessionMs = 60_000
const tickMs = sessionMs / 20

/** A real ZooKeeper server as a process of its own. */
export class RealZooKeeper {
  readonly port: number
  readonly #child: ChildProcess
  readonly #directory: string

  private constructor (port: number, child: ChildProcess, directory: string) {
    this.port = port
    this.#child = child
    this.#directory = directory
  }

  static async start (): Promise<RealZooKeeper> {
    for (;;) {
      const server = await RealZooKeeper.#startOn(await freePort())
      if (server !== null) return server
    }
  }

  /** null: somebody else has taken the port meanwhile. */
  static async #startOn (port: number): Promise<RealZooKeeper | null> {
    const directory = mkdtempSync(join(tmpdir(), 'atoll-zookeeper-'))
    const child = spawn(java, [
      '-Xmx64m', '-XX:TieredStopAtLevel=1', '-Dzookeeper.admin.enableServer=false', '-cp', jar,
      'org.apache.zookeeper.server.ZooKeeperServerMain', String(port), directory, String(tickMs)
    ], { stdio: 'ignore' })
    const server = new RealZooKeeper(port, child, directory)
    while (!(await answers(port))) {
      if (child.exitCode !== null) {
        rmSync(directory, { recursive: true, force: true })
        if (await isTaken(port)) return null
        throw new Error('the ZooKeeper server has ended')
      }
      await new Promise((resolve) => { setTimeout(resolve, 50) })
    }
    return server
  }

  pause (): void { this.#child.kill('SIGSTOP') }

  resume (): void { this.#child.kill('SIGCONT') }

  async stop (): Promise<void> {
    const ended = new Promise((resolve) => { this.#child.once('exit', resolve) })
    this.#child.kill('SIGKILL')
    await ended
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => { server.once('listening', resolve) })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => { server.close(resolve) })
  return port
}

function isTaken (port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => { resolve(true) })
    server.listen(port, () => { server.close(() => { resolve(false) }) })
  })
}

function answers (port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const done = (well: boolean): void => {
      socket.destroy()
      resolve(well)
    }
    socket.once('connect', () => { socket.write(connectRequest(sessionMs)) })
    // A server that is not quite ready takes the connection and forgets the request.
    socket.setTimeout(500, () => { done(false) })
    socket.once('data', () => { done(true) }).once('error', () => { done(false) }).once('close', () => { done(false) })
  })
}

const opcodeCreate = 1
const opcodeDelete = 2
const flagsEphemeralSequential = 3

/** Of `user:password`: what a server keeps of it. */
const digestId = (credentials: string): string => `${credentials.split(':')[0]!}:${createHash('sha1').update(credentials).digest('base64')}`

/** What a master does to stand for election. */
export class ZooKeeperWriter {
  readonly #socket: Socket
  readonly #decoder = new PacketDecoder()
  readonly #waiting: Array<(packet: Buffer) => void> = []
  #xid = 0

  private constructor (socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => { for (const each of this.#decoder.push(chunk as Buffer)) this.#waiting.shift()?.(each) })
    socket.on('error', () => {})
  }

  static async connect (port: number): Promise<ZooKeeperWriter> {
    const socket = connect(port, '127.0.0.1')
    const writer = new ZooKeeperWriter(socket)
    await writer.#ask(connectRequest(sessionMs))
    return writer
  }

  /** The path that was made. */
  async create (path: string, data: string, { ephemeralSequential = false, digest }: { ephemeralSequential?: boolean, digest?: string } = {}): Promise<string> {
    const acl = [int(1), int(31), ...(digest === undefined ? [text('world'), text('anyone')] : [text('digest'), text(digestId(digest))])]
    const reply = readReply(await this.#ask(packet(int(++this.#xid), int(opcodeCreate), text(path), text(data), ...acl, int(ephemeralSequential ? flagsEphemeralSequential : 0))))
    if (reply.error !== 0) throw new Error(`create ${path}: ${reply.error}`)
    return reply.body.bytes().toString()
  }

  async authenticate (credentials: string): Promise<void> { await this.#ask(digestRequest(credentials)) }

  async delete (path: string): Promise<void> {
    await this.#ask(packet(int(++this.#xid), int(opcodeDelete), text(path), int(-1)))
  }

  /** Vanishes without a word: ephemeral nodes stay until the session ends. */
  vanish (): void { this.#socket.destroy() }

  #ask (request: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#socket.write(request)
    })
  }
}
