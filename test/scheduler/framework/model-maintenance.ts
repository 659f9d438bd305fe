import type { InverseOffer, SchedulerEvent } from '../../../scheduler/mesos/types.ts'
import type { SimClock } from '../../sim/clock.ts'
import type { SimRandom } from '../../sim/random.ts'
import type { Mishap } from './model-chaos.ts'
import type { ModelAgent } from './model-resources.ts'

/** What the maintenance of machines needs of the master. */
export interface MaintainedMaster {
  readonly frameworkId: string
  happens (mishap: Mishap): boolean
  /** A task of the framework is on the agent, which the master reaches. */
  isAsked (agent: ModelAgent): boolean
  /** START_MAINTENANCE: the agent is removed, its tasks are lost. */
  takeDown (agent: ModelAgent): void
  bringBack (agent: ModelAgent): void
  tell (event: SchedulerEvent): void
}

/** `standsUntilMs`: how long the operator takes the last yes for one. */
interface Window { agent: ModelAgent, startMs: number, endMs: number, offerId: string | null, askAtMs: number, standsUntilMs: number, isDown: boolean }

const windowMsMax = 120_000
const aheadMsMax = 60_000
const askAgainMs = 5_000
/** Shorter than the framework counts a yes that nobody renews. */
const consentMs = 45_000

/** An operator who announces that machines go, asks whether they may, and takes them down when they may, or for once all the same. */
export class ModelMaintenance {
  /** Machines that may go together, as far as they were told: each time that one more may. */
  onConsent: (agents: ModelAgent[]) => void = () => {}
  /** How often a machine was told that it may go, and how often one went after that. */
  readonly counts = { consents: 0, departures: 0 }
  readonly #master: MaintainedMaster
  readonly #clock: SimClock
  readonly #random: SimRandom
  readonly #windows = new Map<ModelAgent, Window>()
  #sequence = 0

  constructor (master: MaintainedMaster, { clock, random }: { clock: SimClock, random: SimRandom }) {
    this.#master = master
    this.#clock = clock
    this.#random = random
  }

  tick (agents: ModelAgent[], isSubscribed: boolean): void {
    const nowMs = this.#clock.now()
    for (const agent of agents) {
      if (!agent.isGone && agent.reachable && !this.#windows.has(agent) && this.#master.happens('maintain')) this.announce(agent)
    }
    for (const window of this.#windows.values()) {
      if (nowMs >= window.endMs || window.agent.isGone) this.#end(window)
      else if (window.isDown) continue
      else if (nowMs < window.standsUntilMs && this.#random.chance(0.05)) this.#takeDown(window)
      else if (nowMs >= window.startMs && this.#master.happens('insist')) this.#takeDown(window)
      else if (isSubscribed && window.offerId === null && nowMs >= window.askAtMs && this.#master.isAsked(window.agent)) this.#ask(window)
    }
  }

  /** All machines are in service again, and none is announced to go. */
  end (): void { for (const window of this.#windows.values()) this.#end(window) }

  accept (ids: string[]): void {
    for (const window of this.#answered(ids)) {
      window.askAtMs = this.#clock.now() + askAgainMs
      window.standsUntilMs = this.#clock.now() + consentMs
      this.counts.consents++
      this.onConsent([...this.#windows.values()].filter(({ standsUntilMs }) => this.#clock.now() < standsUntilMs).map(({ agent }) => agent))
    }
  }

  decline (ids: string[], refuseSeconds: number): void {
    for (const window of this.#answered(ids)) {
      window.askAtMs = this.#clock.now() + refuseSeconds * 1000
      window.standsUntilMs = -Infinity
    }
  }

  /** The subscription is over, and with it what was asked. `mayBeLost`: perhaps for an answer that never arrived, so no yes counts any more. */
  endSession (mayBeLost: boolean): void {
    for (const window of this.#windows.values()) {
      window.offerId = null
      window.askAtMs = this.#clock.now()
      if (mayBeLost && !window.isDown) window.standsUntilMs = -Infinity
    }
  }

  announce (agent: ModelAgent): void {
    const nowMs = this.#clock.now()
    const startMs = nowMs + this.#random.below(aheadMsMax)
    this.#windows.set(agent, { agent, startMs, endMs: startMs + this.#random.below(windowMsMax), offerId: null, askAtMs: nowMs, standsUntilMs: -Infinity, isDown: false })
  }

  #ask (window: Window): void {
    const id = window.offerId = `inverse-${++this.#sequence}`
    const offer: InverseOffer = {
      id: { value: id }, framework_id: { value: this.#master.frameworkId }, agent_id: { value: window.agent.id },
      unavailability: { start: { nanoseconds: window.startMs * 1e6 } }
    }
    this.#master.tell({ type: 'INVERSE_OFFERS', inverse_offers: { inverse_offers: [offer] } })
  }

  #answered (ids: string[]): Window[] {
    return [...this.#windows.values()].filter((window) => {
      const isAsked = window.offerId !== null && ids.includes(window.offerId)
      if (isAsked) window.offerId = null
      return isAsked
    })
  }

  /** As long as it is down it is as good as told that it may. */
  #takeDown (window: Window): void {
    if (this.#clock.now() < window.standsUntilMs) this.counts.departures++
    window.isDown = true
    window.standsUntilMs = window.endMs
    this.#master.takeDown(window.agent)
  }

  #end (window: Window): void {
    this.#windows.delete(window.agent)
    if (window.offerId !== null) this.#master.tell({ type: 'RESCIND_INVERSE_OFFER', rescind_inverse_offer: { inverse_offer_id: { value: window.offerId } } })
    if (window.isDown && !window.agent.isGone) this.#master.bringBack(window.agent)
  }
}
