import type { CallBody } from '../mesos/types.ts'
import { reviveIntervalMinMs, reviveRepeatMs, starvedMaxMs, starvedMinMs } from './constants.ts'
import type { StepContext } from './nodes.ts'
import { mayLaunch, wantsPlace } from './offers.ts'
import { wantsMore } from './resize.ts'
import { describeSizes, lackOf } from './sizes.ts'

/** Why offers are wanted now; each reason has a name that changes when it is worth a new look at what was declined. */
export function currentNeeds (context: StepContext): Set<string> {
  const { state, nowMs } = context
  const needs = new Set<string>()
  const leaving = state.framework.goal === 'uninstalling'
  for (const [resourceId, untilMs] of state.garbageUntilMs) if (untilMs > nowMs || leaving) needs.add(`free ${resourceId}`)
  // Whatever carries our label is looked for until nothing turns up any more.
  if (leaving) needs.add('free everything')
  if (state.framework.goal !== 'running') return needs
  for (const node of state.nodes.values()) {
    const { id, placement, task, resourceId, attempts, launches } = node
    if (wantsPlace(context, node)) needs.add(`place ${id} ${attempts}`)
    else if (placement === 'reserving' || placement === 'creating') needs.add(`verify ${id} ${resourceId} ${placement}`)
    else if (mayLaunch(context, node)) needs.add(`launch ${id} ${launches}`)
    // The volume of a task that ended unheard is offered again: that is how we learn of it.
    else if (wantsMore(context, node)) needs.add(`more ${id} ${describeSizes(lackOf(state, node))}`)
    else if (task?.state === 'TASK_RUNNING' && node.spareSought) needs.add(`trim ${id} ${launches}`)
    else if (task?.state === 'TASK_UNREACHABLE' || task?.state === 'TASK_UNKNOWN') needs.add(`find ${id} ${task.id} ${task.state}`)
  }
  return needs
}

/** A task that nobody hears of is told about, whether its volume is offered or not; an agent may have no more to give, and nothing that was reserved in vain. */
const isOffered = (need: string): boolean => !['find', 'more', 'trim'].includes(need.split(' ')[0]!)

/** Decides when to REVIVE, when to SUPPRESS, and when to subscribe anew. */
export class OfferDemand {
  #needs = new Set<string>()
  #suppressed = false
  #reviveWanted = false
  #revivedMs = -Infinity
  /** Since when each need is there, in this subscription. */
  readonly #sinceMs = new Map<string, number>()
  /** Subscriptions made anew in a row. */
  #renewals = 0

  /** `fresh`: the framework id is new, so the master remembers nothing of us. */
  subscribed (fresh: boolean, needs: Set<string>, nowMs: number): void {
    this.#suppressed = false
    // Filters survive when a subscription was taken over while it was open.
    this.#reviveWanted = !fresh && needs.size > 0
    this.#needs = needs
    this.#sinceMs.clear()
    this.#revivedMs = fresh ? nowMs : -Infinity
  }

  calls (role: string, needs: Set<string>, nowMs: number): CallBody[] {
    if ([...needs].some((need) => !this.#needs.has(need))) this.#reviveWanted = true
    this.#needs = needs
    this.#note(nowMs)
    if (needs.size === 0) {
      this.#reviveWanted = false
      if (this.#suppressed) return []
      this.#suppressed = true
      return [{ type: 'SUPPRESS', suppress: { roles: [role] } }]
    }
    if (nowMs < this.#reviveAtMs) return []
    this.#reviveWanted = false
    this.#suppressed = false
    this.#revivedMs = nowMs
    return [{ type: 'REVIVE', revive: { roles: [role] } }]
  }

  /**
   * What is wanted and not offered, when it has been so for too long: what the master believes to have offered us it offers to nobody
   * else, nor again. To be asked after `calls`.
   */
  starved (nowMs: number): string | null {
    if (nowMs < this.#starvedAtMs) return null
    this.#renewals++
    const [need, sinceMs] = [...this.#sinceMs].sort(([, a], [, b]) => a - b)[0]!
    this.#sinceMs.clear()
    return `nothing was offered for ${Math.round((nowMs - sinceMs) / 1000)} s to ${need}`
  }

  #note (nowMs: number): void {
    const wanted = [...this.#needs].filter(isOffered)
    for (const need of this.#sinceMs.keys()) if (!this.#needs.has(need)) this.#sinceMs.delete(need)
    for (const need of wanted) if (!this.#sinceMs.has(need)) this.#sinceMs.set(need, nowMs)
    if (wanted.length === 0) this.#renewals = 0
  }

  get #starvedAtMs (): number {
    return Math.min(Infinity, ...this.#sinceMs.values()) + Math.min(starvedMaxMs, starvedMinMs * 2 ** Math.min(this.#renewals, 16))
  }

  get deadlineMs (): number { return Math.min(this.#reviveAtMs, this.#starvedAtMs) }

  get #reviveAtMs (): number {
    if (this.#reviveWanted || (this.#suppressed && this.#needs.size > 0)) return this.#revivedMs + reviveIntervalMinMs
    return this.#needs.size > 0 ? this.#revivedMs + reviveRepeatMs : Infinity
  }
}
