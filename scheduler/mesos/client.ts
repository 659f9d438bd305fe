import { AtollError, messageOf } from '../../fsnode/protocol/errors.ts'
import type { Clock, Logger, Network, Random, Timer } from '../../fsnode/protocol/ports.ts'
import { systemNetwork } from '../../fsnode/protocol/system-network.ts'
import { isZooKeeperUrl, parseZooKeeperUrl } from '../zookeeper/address.ts'
import { LeaderDetector } from '../zookeeper/leader-detector.ts'
import { masterInfoUrl } from './address.ts'
import { callQueueLengthMax, callTimeoutMs } from './constants.ts'
import { decodeEvent } from './decode-event.ts'
import { httpPoster } from './http.ts'
import type { HttpPost, Post, TlsOptions } from './http.ts'
import { RecordDecoder } from './recordio.ts'
import { Session, statusCode } from './session.ts'
import type { HttpResponse, SessionEffect, SessionInput, SessionNotice } from './session.ts'
import type { Call, CallBody, SchedulerEvent, SubscribeCall } from './types.ts'

export interface MasterCredentials { principal: string, secret: string }

export type MasterNotice =
  | SessionNotice
  /** The master has understood the call and refuses it; the subscription goes on. */
  | { type: 'refused', call: CallBody, code: string, message: string }

/** A subscription of one framework at whichever of some masters leads. */
export interface MasterClient {
  /** Connects, and again after each failure, until `close` or a `stopped` notice. */
  start (): void
  /**
   * Queues a call: calls are sent in order, one at a time. What became of it is told by events. A call whose outcome
   * is unknown ends the session: the master then offers everything anew, and reconciliation tells the rest.
   * Calls are dropped while there is no subscription.
   */
  call (call: CallBody): void
  /** Gives up the subscription, if there is one, and makes another: everything is offered and reported anew. */
  resubscribe (why: string, code?: string): void
  /** Ends the subscription without a word: tasks go on, the failover timeout runs. */
  close (): void
}

export interface MasterClientInit {
  /** 'host:port' or URLs, tried in turn; or one 'zk://host:port,.../path', where the leader is looked up. */
  masters: string[]
  credentials?: MasterCredentials
  /** Who is trusted, and who we are, over https. Masters that ZooKeeper names are then asked over https. */
  tls?: TlsOptions
  /** The body of a SUBSCRIBE, asked anew for each attempt. */
  subscribe: () => SubscribeCall['subscribe']
  onNotice: (notice: MasterNotice) => void
}

export type MasterClientFactory = (init: MasterClientInit) => MasterClient

/** `network` is for ZooKeeper; the machine's own by default. */
export interface MasterClientComponents { clock: Clock, random: Random, log: Logger, post?: HttpPost, network?: Network }

/** The client over HTTP. The factory's call throws ATOLL_INVALID_MASTER. */
export const httpMasterClient = (components: MasterClientComponents): MasterClientFactory =>
  (init) => new HttpMasterClient(components, init)

class HttpMasterClient implements MasterClient {
  readonly #components: MasterClientComponents
  readonly #init: MasterClientInit
  readonly #session: Session
  readonly #post: HttpPost
  readonly #headers: Record<string, string>
  readonly #detector: LeaderDetector | undefined
  #timer: Timer | undefined
  #stream: Post | undefined
  #frameworkId = ''
  #queue: CallBody[] = []
  #calling: { post: Post, timer: Timer } | undefined

  constructor (components: MasterClientComponents, init: MasterClientInit) {
    this.#components = components
    this.#init = init
    this.#detector = this.#makeDetector()
    this.#session = new Session(components, { masters: this.#detector === undefined ? init.masters : 'detected' })
    this.#post = components.post ?? httpPoster(init.tls === undefined ? {} : { tls: init.tls })
    // The media types must be exactly these: a charset is answered with 415.
    this.#headers = { 'Content-Type': 'application/json', Accept: 'application/json', ...authorization(init.credentials) }
  }

  start (): void {
    this.#step({ type: 'start' })
    this.#detector?.start()
  }

  close (): void { this.#step({ type: 'stop' }) }

  resubscribe (why: string, code = 'ATOLL_OVERLOADED'): void { this.#step({ type: 'doubt', code, message: why }) }

  call (call: CallBody): void {
    if (this.#session.subscription === undefined) return
    if (this.#queue.length >= callQueueLengthMax) {
      this.resubscribe(`${callQueueLengthMax} calls are waiting`)
      return
    }
    this.#queue.push(call)
    this.#sendNext()
  }

  #step (input: SessionInput): void {
    for (const effect of this.#session.step(input)) this.#perform(effect)
  }

  #perform (effect: SessionEffect): void {
    switch (effect.type) {
      case 'connect':
        this.#connect(effect.url)
        break
      case 'disconnect':
        this.#disconnect()
        break
      case 'timer':
        this.#timer?.cancel()
        this.#timer = this.#components.clock.setTimer(() => { this.#step({ type: 'timer' }) }, effect.delayMs)
        break
      case 'notice':
        if (effect.notice.type === 'subscribed') this.#frameworkId = effect.notice.frameworkId
        if (effect.notice.type === 'stopped') this.#detector?.close()
        this.#init.onNotice(effect.notice)
    }
  }

  #makeDetector (): LeaderDetector | undefined {
    const { masters, tls, onNotice } = this.#init
    const zooKeeper = masters.find(isZooKeeperUrl)
    if (zooKeeper === undefined) return undefined
    if (masters.length > 1) throw new AtollError('ATOLL_INVALID_MASTER', 'a ZooKeeper address stands alone: its servers are listed within it', { hint: 'zk://host1:2181,host2:2181/mesos' })
    const scheme = tls === undefined ? 'http' : 'https'
    return new LeaderDetector({ network: systemNetwork, ...this.#components }, {
      address: parseZooKeeperUrl(zooKeeper),
      onLeader: (leader) => { this.#step({ type: 'masters', urls: leader === null ? [] : [masterInfoUrl(leader, scheme)] }) },
      onProblem: (code, message, retryInMs) => {
        // While a master serves us, it does not matter whether ZooKeeper can be read.
        if (this.#session.phase === 'detecting') onNotice({ type: 'disconnected', code, message, retryInMs })
      }
    })
  }

  #disconnect (): void {
    this.#timer?.cancel()
    this.#stream?.close()
    this.#stream = undefined
    this.#queue = []
    this.#calling?.post.close()
    this.#calling?.timer.cancel()
    this.#calling = undefined
  }

  #connect (url: string): void {
    const subscribe = this.#init.subscribe()
    const { id } = subscribe.framework_info
    const call: SubscribeCall = { type: 'SUBSCRIBE', ...(id === undefined ? {} : { framework_id: id }), subscribe }
    const decoder = new RecordDecoder()
    const stream: Post = this.#post(url, this.#headers, JSON.stringify(call), {
      onResponse: (response) => { this.#step({ type: 'response', response }) },
      onData: (chunk) => { this.#receive(stream, decoder, chunk) },
      onEnd: (code, message) => { this.#step({ type: 'end', code, message }) }
    })
    this.#stream = stream
  }

  #receive (stream: Post, decoder: RecordDecoder, chunk: Buffer): void {
    for (const event of this.#decode(decoder, chunk)) {
      // An event may have ended the session (ERROR): what follows in the chunk belongs to nobody.
      if (this.#stream !== stream) return
      this.#step({ type: 'event', event })
    }
  }

  #decode (decoder: RecordDecoder, chunk: Buffer): SchedulerEvent[] {
    try {
      return decoder.push(chunk).flatMap((record) => {
        const event = decodeEvent(record)
        if (event === undefined) this.#components.log.warn('an event that cannot be understood is skipped', { bytes: record.length })
        return event ?? []
      })
    } catch (error) {
      this.#step({ type: 'end', code: 'ATOLL_BAD_MESSAGE', message: messageOf(error) })
      return []
    }
  }

  #sendNext (): void {
    const { subscription } = this.#session
    if (this.#calling !== undefined || subscription === undefined) return
    const call = this.#queue.shift()
    if (call === undefined) return
    const body: Call = { framework_id: { value: this.#frameworkId }, ...call }
    let response: HttpResponse | undefined
    const finish = (code: string, message: string): void => {
      this.#calling?.timer.cancel()
      this.#calling = undefined
      this.#conclude(call, response, code, message)
    }
    const post = this.#post(subscription.url, { ...this.#headers, 'Mesos-Stream-Id': subscription.streamId }, JSON.stringify(body), {
      onResponse: (head) => { response = head },
      onData: () => {},
      onEnd: finish
    })
    const timer = this.#components.clock.setTimer(() => {
      post.close()
      finish('ATOLL_TIMEOUT', `no answer to ${call.type} within ${callTimeoutMs} ms`)
    }, callTimeoutMs)
    this.#calling = { post, timer }
  }

  #conclude (call: CallBody, response: HttpResponse | undefined, code: string, message: string): void {
    if (response === undefined) {
      this.#step({ type: 'doubt', code, message: `${call.type}: ${message}` })
      return
    }
    if (response.status >= 300) {
      const failure = { code: statusCode(response.status), message: `${call.type} was answered ${response.status}: ${response.body.trim()}` }
      if (failure.code === 'ATOLL_MESOS_REFUSED' || failure.code === 'ATOLL_MESOS_UNAUTHENTICATED') {
        // 400 also comes when another scheduler has just taken the framework over: to subscribe again would take it back.
        // The ERROR event on the stream tells that case, so the stream stays.
        this.#init.onNotice({ type: 'refused', call, ...failure })
      } else {
        this.#step({ type: 'doubt', ...failure })
        return
      }
    } else {
      this.#step({ type: 'accepted' })
    }
    this.#sendNext()
  }
}

/** The header by which a principal proves who it is. */
export function authorization (credentials: MasterCredentials | undefined): Record<string, string> {
  if (credentials === undefined) return {}
  const { principal, secret } = credentials
  return { Authorization: `Basic ${Buffer.from(`${principal}:${secret}`).toString('base64')}` }
}
