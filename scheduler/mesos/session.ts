import type { Random } from '../../fsnode/protocol/ports.ts'
import { masterUrl, redirectUrl } from './address.ts'
import { backoffMaxMs, backoffMinMs, heartbeatIntervalDefaultMs, heartbeatIntervalMinMs, heartbeatsMissedMax, redirectHopsMax, subscribeTimeoutMs } from './constants.ts'
import type { MasterInfo, SchedulerEvent } from './types.ts'

/** What happened to the session, for the one who uses it. */
export type SessionNotice =
  | { type: 'subscribed', frameworkId: string, url: string, master: MasterInfo | null }
  | { type: 'event', event: SchedulerEvent }
  /** No subscription; another attempt is made after `retryInMs`; 0 while it waits for a leader to be found. */
  | { type: 'disconnected', code: string, message: string, retryInMs: number }
  /** No further attempt is made. */
  | { type: 'stopped', code: string, message: string }

export interface HttpResponse {
  status: number
  location?: string
  streamId?: string
  /** Beginning of the body of an answer other than 200. */
  body: string
}

export type SessionInput =
  | { type: 'start' }
  /** Detection has found other masters; none while nobody leads. */
  | { type: 'masters', urls: string[] }
  | { type: 'response', response: HttpResponse }
  | { type: 'event', event: SchedulerEvent }
  /** The connection could not be made, broke, or ended. */
  | { type: 'end', code: string, message: string }
  /** The one timer that was asked for last. */
  | { type: 'timer' }
  /** A call was accepted. */
  | { type: 'accepted' }
  /** A call came to an end that makes the subscription doubtful. */
  | { type: 'doubt', code: string, message: string }
  | { type: 'stop' }

export type SessionEffect =
  | { type: 'connect', url: string }
  /** Give up the stream; nothing of it may come in any more. */
  | { type: 'disconnect' }
  /** Replaces the timer before. */
  | { type: 'timer', delayMs: number }
  | { type: 'notice', notice: SessionNotice }

export interface SessionComponents { random: Random }
/** `masters`: 'host:port' or URLs, tried in turn; 'detected': they come by 'masters' inputs. */
export interface SessionInit { masters: string[] | 'detected' }

/** Why a master does not serve a call or a subscription, by its HTTP status alone: the texts are for people. */
export function statusCode (status: number): string {
  switch (status) {
    case 401: return 'ATOLL_MESOS_UNAUTHENTICATED'
    case 403: return 'ATOLL_MESOS_NOT_SUBSCRIBED'
    // A starting master has no routes for a moment, then answers 503 until its registry is recovered.
    case 404: return 'ATOLL_MESOS_STARTING'
    case 503: return 'ATOLL_MESOS_NO_LEADER'
    case 307: return 'ATOLL_MESOS_REDIRECTED'
    default: return status >= 400 && status < 500 ? 'ATOLL_MESOS_REFUSED' : 'ATOLL_UNAVAILABLE'
  }
}

/** Waiting will hardly help with these, so the longest back-off is right at once. */
const isLasting = (code: string): boolean =>
  code === 'ATOLL_MESOS_UNAUTHENTICATED' || code === 'ATOLL_MESOS_REFUSED' || code === 'ATOLL_MESOS_TLS'

/** What an ERROR event means for the subscription that it ends. */
export function errorEventCode (message: string): 'ATOLL_MESOS_FAILED_OVER' | 'ATOLL_MESOS_REMOVED' | 'ATOLL_MESOS_REFUSED' {
  if (/failed over/i.test(message)) return 'ATOLL_MESOS_FAILED_OVER'
  if (/has been removed/i.test(message)) return 'ATOLL_MESOS_REMOVED'
  return 'ATOLL_MESOS_REFUSED'
}

type Phase = 'idle' | 'detecting' | 'connecting' | 'opened' | 'subscribed' | 'waiting' | 'stopped'

/**
 * The decisions of a subscription: which master, when again, when to give up. Pure: the shell connects and waits.
 *
 * idle -> connecting -> opened (200) -> subscribed (SUBSCRIBED) -> waiting (back-off) -> connecting ... ; stopped is final.
 * Where masters are detected, 'detecting' stands in place of connecting and waiting while no leader is known.
 */
export class Session {
  readonly #random: Random
  #masters: string[]
  #phase: Phase = 'idle'
  #nextMaster = 0
  #url = ''
  #hops = 0
  /** Failed attempts since the last subscription that was good for anything. */
  #failures = 0
  /** The last subscription ended because of a call: the next is good only when a call is accepted. */
  #doubted = false
  #streamId: string | undefined
  #silenceMaxMs = heartbeatIntervalDefaultMs * heartbeatsMissedMax

  constructor (components: SessionComponents, init: SessionInit) {
    this.#random = components.random
    this.#masters = init.masters === 'detected' ? [] : init.masters.map(masterUrl)
    if (init.masters.length === 0) masterUrl('')
  }

  get phase (): Phase { return this.#phase }

  /** Where calls go, and the header they need; undefined while not subscribed. */
  get subscription (): { url: string, streamId: string } | undefined {
    return this.#phase === 'subscribed' && this.#streamId !== undefined
      ? { url: this.#url, streamId: this.#streamId }
      : undefined
  }

  step (input: SessionInput): SessionEffect[] {
    if (this.#phase === 'stopped') return []
    switch (input.type) {
      case 'start': return this.#phase === 'idle' ? this.#begin() : []
      case 'masters': return this.#onMasters(input.urls)
      case 'response': return this.#onResponse(input.response)
      case 'event': return this.#onEvent(input.event)
      case 'end': return this.#isOpen() ? this.#retry(input.code, input.message) : []
      case 'accepted': return this.#onAccepted()
      case 'doubt': return this.#onDoubt(input.code, input.message)
      case 'timer': return this.#onTimer()
      case 'stop': return this.#stop('ATOLL_CLOSED', 'closed')
    }
  }

  #isOpen (): boolean {
    return this.#phase === 'connecting' || this.#phase === 'opened' || this.#phase === 'subscribed'
  }

  #begin (): SessionEffect[] {
    const [first] = this.#masters
    return first === undefined ? this.#detect() : this.#connect(first)
  }

  #detect (): SessionEffect[] {
    this.#phase = 'detecting'
    return [
      { type: 'disconnect' },
      { type: 'notice', notice: { type: 'disconnected', code: 'ATOLL_MESOS_NO_LEADER', message: 'no master leads as far as ZooKeeper knows', retryInMs: 0 } }
    ]
  }

  /** A subscription stays while its master may lead: one that does not any more ends it itself. */
  #onMasters (urls: string[]): SessionEffect[] {
    this.#masters = urls.map(masterUrl)
    this.#nextMaster = 0
    if (this.#phase === 'idle') return []
    if (this.#phase === 'detecting') return this.#masters.length === 0 ? [] : this.#connect(this.#masters[0]!)
    if (this.#masters.length === 0) return this.#phase === 'subscribed' ? [] : this.#detect()
    const current = new URL(this.#url).host
    if (this.#masters.some((url) => new URL(url).host === current)) return []
    this.#failures = 0
    return this.#retry('ATOLL_MESOS_LEADER_CHANGED', `another master leads: ${this.#masters[0]}`, 0)
  }

  #connect (url: string): SessionEffect[] {
    this.#phase = 'connecting'
    this.#url = url
    this.#streamId = undefined
    return [{ type: 'connect', url }, { type: 'timer', delayMs: subscribeTimeoutMs }]
  }

  #onResponse (response: HttpResponse): SessionEffect[] {
    if (this.#phase !== 'connecting') return []
    if (response.status === 200) {
      if (response.streamId === undefined) return this.#retry('ATOLL_BAD_MESSAGE', 'the stream has no Mesos-Stream-Id')
      this.#phase = 'opened'
      this.#streamId = response.streamId
      return []
    }
    if (response.status === 307) return this.#redirect(response.location)
    const text = response.body.trim()
    return this.#retry(statusCode(response.status), `the master answered ${response.status}${text === '' ? '' : `: ${text}`}`)
  }

  #redirect (location: string | undefined): SessionEffect[] {
    const url = redirectUrl(location, this.#url)
    if (url === undefined) return this.#retry('ATOLL_BAD_MESSAGE', `a redirect to '${location ?? ''}'`)
    // Credentials that were meant for TLS must not be sent in the clear.
    if (this.#url.startsWith('https:') && !url.startsWith('https:')) return this.#retry('ATOLL_MESOS_REFUSED', `a redirect from https to ${url} is not followed`)
    if (++this.#hops > redirectHopsMax) return this.#retry('ATOLL_MESOS_NO_LEADER', `more than ${redirectHopsMax} redirects in a row`)
    return [{ type: 'disconnect' }, ...this.#connect(url)]
  }

  #onEvent (event: SchedulerEvent): SessionEffect[] {
    if (this.#phase !== 'opened' && this.#phase !== 'subscribed') return []
    if (event.type === 'ERROR') return this.#onError(event.error.message)
    if (event.type === 'SUBSCRIBED') {
      const { framework_id: frameworkId, heartbeat_interval_seconds: interval, master_info: master } = event.subscribed
      this.#phase = 'subscribed'
      if (!this.#doubted) this.#failures = 0
      this.#hops = 0
      const intervalMs = Math.max(heartbeatIntervalMinMs, interval === undefined ? heartbeatIntervalDefaultMs : interval * 1000)
      this.#silenceMaxMs = intervalMs * heartbeatsMissedMax
      return [
        { type: 'timer', delayMs: this.#silenceMaxMs },
        { type: 'notice', notice: { type: 'subscribed', frameworkId: frameworkId.value, url: this.#url, master: master ?? null } }
      ]
    }
    if (this.#phase !== 'subscribed') return []
    const alive: SessionEffect = { type: 'timer', delayMs: this.#silenceMaxMs }
    return event.type === 'HEARTBEAT' ? [alive] : [alive, { type: 'notice', notice: { type: 'event', event } }]
  }

  #onAccepted (): SessionEffect[] {
    this.#doubted = false
    this.#failures = 0
    return []
  }

  #onDoubt (code: string, message: string): SessionEffect[] {
    if (this.#phase !== 'subscribed') return []
    this.#doubted = true
    return this.#retry(code, message)
  }

  #onError (message: string): SessionEffect[] {
    const code = errorEventCode(message)
    return code === 'ATOLL_MESOS_REFUSED' ? this.#retry(code, message) : this.#stop(code, message)
  }

  #onTimer (): SessionEffect[] {
    switch (this.#phase) {
      case 'waiting': return this.#masters.length === 0 ? this.#detect() : this.#connect(this.#masters[this.#nextMaster]!)
      case 'connecting':
      case 'opened': return this.#retry('ATOLL_TIMEOUT', `no subscription within ${subscribeTimeoutMs} ms`)
      case 'subscribed': return this.#retry('ATOLL_TIMEOUT', `no heartbeat for ${this.#silenceMaxMs} ms`)
      default: return []
    }
  }

  #retry (code: string, message: string, nextMaster?: number): SessionEffect[] {
    const wasSubscribed = this.#phase === 'subscribed'
    this.#phase = 'waiting'
    this.#streamId = undefined
    this.#hops = 0
    // The master that served us is the likeliest leader still: only a failed attempt moves on to the next.
    if (nextMaster !== undefined) this.#nextMaster = nextMaster
    else if (!wasSubscribed && this.#masters.length > 0) this.#nextMaster = (this.#nextMaster + 1) % this.#masters.length
    const retryInMs = this.#backoff(isLasting(code))
    return [
      { type: 'disconnect' },
      { type: 'timer', delayMs: retryInMs },
      { type: 'notice', notice: { type: 'disconnected', code, message: `${this.#url}: ${message}`, retryInMs } }
    ]
  }

  /** Between half and all of the doubled delay, so that many frameworks do not return in step. */
  #backoff (lasting: boolean): number {
    const delayMs = lasting ? backoffMaxMs : Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 16))
    this.#failures++
    return Math.round(delayMs * (0.5 + this.#random.next() / 2))
  }

  #stop (code: string, message: string): SessionEffect[] {
    this.#phase = 'stopped'
    this.#streamId = undefined
    return [{ type: 'disconnect' }, { type: 'notice', notice: { type: 'stopped', code, message } }]
  }
}
