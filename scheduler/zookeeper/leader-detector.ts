import { AtollError, codeOf, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger, Network, Random, Timer } from '../../fsnode/protocol/ports.ts'
import type { MasterInfo } from '../mesos/types.ts'
import type { ZooKeeperAddress } from './address.ts'
import { ZooKeeperConnection } from './connection.ts'
import { lookAgainMs, reconnectMaxMs, reconnectMinMs } from './constants.ts'

export interface LeaderDetectorComponents { network: Network, clock: Clock, random: Random, log: Logger }

export interface LeaderDetectorInit {
  address: ZooKeeperAddress
  /** Who leads by now; null when nobody does. Called for each change. */
  onLeader: (leader: MasterInfo | null) => void
  /** ZooKeeper cannot be read: the last leader known may lead still. Tried again after `retryInMs`. */
  onProblem: (code: string, message: string, retryInMs: number) => void
}

const candidate = /^json\.info_(\d+)$/

/** The masters that stand for election, the leader first: its number is the lowest. Other children are none of them. */
export function candidatesOf (children: string[]): string[] {
  return children
    .flatMap((name) => {
      const match = candidate.exec(name)
      return match === null ? [] : { name, sequence: BigInt(match[1]!) }
    })
    .sort((a, b) => a.sequence < b.sequence ? -1 : 1)
    .map(({ name }) => name)
}

/** Throws ATOLL_BAD_MESSAGE when the text is not the MasterInfo of a master. */
export function parseMasterInfo (text: string): MasterInfo {
  try {
    const info = JSON.parse(text) as MasterInfo
    const host = info.address?.hostname ?? info.hostname ?? info.address?.ip
    const port = info.address?.port ?? info.port
    if (typeof host === 'string' && host !== '' && Number.isInteger(port)) return info
  } catch {}
  throw new AtollError('ATOLL_BAD_MESSAGE', `ZooKeeper holds no address of a master: ${text.slice(0, 200)}`)
}

/** Watches in ZooKeeper which of the masters leads, on one of its servers after another. */
export class LeaderDetector {
  readonly #components: LeaderDetectorComponents
  readonly #init: LeaderDetectorInit
  #connection: ZooKeeperConnection | undefined
  #timer: Timer | undefined
  #failures = 0
  #server: number
  #looking = false
  #lookAgain = false
  #told: string | undefined
  #closed = false

  constructor (components: LeaderDetectorComponents, init: LeaderDetectorInit) {
    this.#components = components
    this.#init = init
    this.#server = Math.floor(components.random.next() * init.address.servers.length)
  }

  start (): void { void this.#connect() }

  close (): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#connection?.close()
    this.#connection = undefined
  }

  async #connect (): Promise<void> {
    const { servers, digest } = this.#init.address
    const server = servers[this.#server++ % servers.length]!
    try {
      const connection = await ZooKeeperConnection.open(this.#components, {
        server,
        ...(digest === undefined ? {} : { digest }),
        onWatch: () => { this.#look() },
        onLost: (error) => { this.#retry(error) }
      })
      if (this.#closed) {
        connection.close()
        return
      }
      this.#connection = connection
      this.#look()
    } catch (error) {
      this.#retry(error, `${server.host}:${server.port}: `)
    }
  }

  #retry (error: unknown, where = ''): void {
    if (this.#closed) return
    this.#connection = undefined
    this.#looking = false
    this.#lookAgain = false
    // The other servers are tried at once; only a round in vain is followed by a pause.
    const round = Math.floor(this.#failures++ / this.#init.address.servers.length)
    const delayMs = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(round, 16))
    const retryInMs = Math.round(delayMs * (0.5 + this.#components.random.next() / 2))
    this.#components.log.warn('ZooKeeper cannot be read', { reason: where + messageOf(error), retryInMs })
    this.#init.onProblem(codeOf(error), `ZooKeeper at ${where}${messageOf(error)}`, retryInMs)
    this.#after(retryInMs, () => { void this.#connect() })
  }

  #after (delayMs: number, action: () => void): void {
    this.#timer?.cancel()
    this.#timer = this.#components.clock.setTimer(action, delayMs)
  }

  /** One look at a time: what changes during one is looked at after it. */
  #look (): void {
    const connection = this.#connection
    if (connection === undefined) return
    if (this.#looking) {
      this.#lookAgain = true
      return
    }
    this.#looking = true
    this.#read(connection).then(
      (leader) => {
        if (connection !== this.#connection) return
        this.#looking = false
        this.#failures = 0
        this.#tell(leader)
        if (!this.#lookAgain) return
        this.#lookAgain = false
        this.#look()
      },
      (error: unknown) => {
        if (connection !== this.#connection) return
        this.#looking = false
        this.#init.onProblem(codeOf(error), messageOf(error), lookAgainMs)
        this.#after(lookAgainMs, () => { this.#look() })
      }
    )
  }

  async #read (connection: ZooKeeperConnection): Promise<MasterInfo | null> {
    const { path } = this.#init.address
    let children: string[]
    try {
      children = await connection.getChildren(path, true)
    } catch (error) {
      if (codeOf(error) !== 'ATOLL_ZOOKEEPER_NO_NODE') throw error
      // No master has ever been here: this watch fires when the first one comes.
      if (await connection.exists(path, true)) this.#lookAgain = true
      return null
    }
    for (const name of candidatesOf(children)) {
      try {
        return parseMasterInfo((await connection.getData(`${path}/${name}`, false)).toString())
      } catch (error) {
        // It went away since: the watch has fired or is about to.
        if (codeOf(error) !== 'ATOLL_ZOOKEEPER_NO_NODE') throw error
      }
    }
    return null
  }

  #tell (leader: MasterInfo | null): void {
    const text = JSON.stringify(leader)
    if (text === this.#told) return
    this.#told = text
    this.#components.log.info('ZooKeeper names the leading master', { leader: leader?.address ?? leader?.hostname ?? null })
    this.#init.onLeader(leader)
  }
}
