import type { HttpPost, PostHandlers } from '../../../scheduler/mesos/http.ts'
import { encodeJsonRecord } from '../../../scheduler/mesos/recordio.ts'
import type { HttpResponse } from '../../../scheduler/mesos/session.ts'
import type { Call, CallBody, FrameworkInfo, SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { SimRandom } from '../../sim/random.ts'
import type { Mishap } from './model-chaos.ts'

/** Where the master's events for one subscription go. */
export interface ModelStream { event (event: SchedulerEvent): void, end (): void }

/** The master behind it. */
export interface ModelScheduling {
  happens (mishap: Mishap): boolean
  subscribe (streamId: string, info: FrameworkInfo, stream: ModelStream): void
  /** The status that it is answered with. */
  call (frameworkId: string, streamId: string, call: CallBody): number
  /** The other side has closed the stream. */
  closed (streamId: string): void
}

export const modelMasters = ['master-0:5050', 'master-1:5050', 'master-2:5050']

/** What a master answers: it leads, refuses connections, has no routes yet, knows no leader, or redirects to another one. */
type Standing = 'leads' | 'down' | 'starting' | 'leaderless' | { redirectsTo: number }

const latencyMs = 5
/** Until the next master leads. */
const electionMsMax = 20_000

type LaterCall = Exclude<Call, { type: 'SUBSCRIBE' }>

interface Open { handlers: PostHandlers, isOpen: boolean, hangs: boolean }

/** Three masters as HTTP shows them, one of which leads; what lies between them and the scheduler loses, repeats, cuts up and hangs. */
export class ModelHttp {
  readonly #master: ModelScheduling
  readonly #clock: SimClock
  readonly #random: SimRandom
  #standings: Standing[] = []
  #streams = 0

  constructor ({ master, clock, random }: { master: ModelScheduling, clock: SimClock, random: SimRandom }) {
    this.#master = master
    this.#clock = clock
    this.#random = random
    this.#lead(0)
  }

  /** Nobody leads for a while, then perhaps another one. */
  elect (): void {
    const drawn = (): Standing => this.#random.pick<Standing>(['down', 'starting', 'leaderless', { redirectsTo: 0 }, { redirectsTo: 1 }, { redirectsTo: 2 }])
    this.#standings = modelMasters.map(drawn)
    this.#clock.setTimer(() => { this.#lead(this.#random.below(modelMasters.length)) }, this.#random.below(electionMsMax))
  }

  /** `isAlive`: whether the scheduler's process still lives. */
  post (isAlive: () => boolean): HttpPost {
    return (url, headers, body, handlers) => {
      const open: Open = { isOpen: true, hangs: false, handlers: guard(handlers, () => open.isOpen && isAlive()) }
      let close = (): void => {}
      this.#later(() => { close = this.#arrive(open, isAlive, new URL(url).host, headers, JSON.parse(body) as Call) })
      return {
        close: () => {
          open.isOpen = false
          this.#later(() => { close() })
        }
      }
    }
  }

  #lead (leader: number): void {
    this.#standings = modelMasters.map((_, index) => index === leader ? 'leads' : { redirectsTo: leader })
  }

  #later (action: () => void): void { this.#clock.setTimer(action, latencyMs) }

  /** Returns what is to be done when the other side closes. */
  #arrive (open: Open, isAlive: () => boolean, host: string, headers: Record<string, string>, call: Call): () => void {
    const standing = this.#standings[modelMasters.indexOf(host)]!
    if (standing === 'leads' && call.type === 'SUBSCRIBE') return this.#subscribe(open, call.subscribe.framework_info, isAlive)
    if (standing === 'leads') this.#perform(open, headers['Mesos-Stream-Id'] ?? '', call as LaterCall)
    else if (standing === 'down') this.#later(() => { open.handlers.onEnd('ATOLL_UNREACHABLE', 'refused') })
    else if (standing === 'starting') this.#answer(open, { status: 404, body: '' })
    else if (standing === 'leaderless') this.#answer(open, { status: 503, body: 'No leader elected' })
    else this.#answer(open, { status: 307, body: '', location: `//${modelMasters[standing.redirectsTo]!}/api/v1/scheduler` })
    return () => {}
  }

  #answer (open: Open, response: HttpResponse): void {
    this.#later(() => {
      open.handlers.onResponse(response)
      open.handlers.onEnd('ATOLL_CONNECTION_LOST', 'the answer has ended')
    })
  }

  #subscribe (open: Open, info: FrameworkInfo, isAlive: () => boolean): () => void {
    const streamId = `stream-${++this.#streams}`
    const close = (): void => { this.#master.closed(streamId) }
    this.#later(() => { open.handlers.onResponse({ status: 200, body: '', streamId }) })
    this.#master.subscribe(streamId, info, {
      event: (event) => {
        this.#later(() => { if (!open.hangs) this.#send(open, encodeJsonRecord(event)) })
        if (this.#master.happens('hang')) open.hangs = true
      },
      end: () => { this.#later(() => { if (!open.hangs) open.handlers.onEnd('ATOLL_CONNECTION_LOST', 'cut') }) }
    })
    // The process died while its request was under way: its machine closes the connection.
    if (!isAlive()) this.#later(close)
    return close
  }

  #send (open: Open, bytes: Buffer): void {
    if (!this.#master.happens('split')) {
      open.handlers.onData(bytes)
      return
    }
    const cut = this.#random.below(bytes.length + 1)
    if (cut > 0) open.handlers.onData(bytes.subarray(0, cut))
    if (cut < bytes.length) open.handlers.onData(bytes.subarray(cut))
  }

  #perform (open: Open, streamId: string, call: LaterCall): void {
    const isLost = this.#master.happens('loseCall')
    // Half of them are done: only the answer is lost.
    if (!isLost || this.#random.chance(0.5)) {
      const { framework_id: { value: frameworkId }, ...body } = call
      const status = this.#master.call(frameworkId, streamId, body as CallBody)
      if (this.#master.happens('repeatCall')) this.#master.call(frameworkId, streamId, body as CallBody)
      if (!isLost) this.#answer(open, { status, body: '' })
    }
    if (isLost && this.#random.chance(0.5)) this.#later(() => { open.handlers.onEnd('ATOLL_CONNECTION_LOST', 'reset') })
  }
}

function guard ({ onResponse, onData, onEnd }: PostHandlers, isOpen: () => boolean): PostHandlers {
  return {
    onResponse: (response) => { if (isOpen()) onResponse(response) },
    onData: (chunk) => { if (isOpen()) onData(chunk) },
    onEnd: (code, message) => { if (isOpen()) onEnd(code, message) }
  }
}
