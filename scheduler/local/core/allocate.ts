import type { Filters, Offer, Resource } from '../../mesos/types.ts'
import { allocationIntervalMs, filtersPerFrameworkMax, offerCpusMin, offerIdsPerReservation, offerMemMinMb, refuseSecondsDefault, refuseSecondsMax } from '../constants.ts'
import { isBelieved } from './agents.ts'
import type { Context } from './effects.ts'
import { isDown, unavailabilityOf } from './maintenance.ts'
import { mayUse } from './names.ts'
import type { Outcome } from './outcome.ts'
import { beyond, contains, legacyOf, minus, totalScalar, type Resources } from './resources.ts'
import { offerJson, usersOf, type Agent, type Framework, type MasterState, type PendingOffer } from './state.ts'

/** A framework that wants offers for a role. `share`: the largest part of any resource of the cluster that it has. */
interface Claim { framework: Framework, role: string, share: number }

/** Offers all that is free to whoever may have it, the smallest share first. */
export function allocate (state: MasterState, out: Outcome, context: Context): void {
  if (state.stopping) return
  const offers = new Map<Framework, Offer[]>()
  for (const agent of state.agents.values()) {
    if (!isBelieved(agent) || agent.deactivated || isDown(state, agent)) continue
    let free = available(state, agent)
    for (const { framework, role } of claims(state)) {
      if (free.length === 0) break
      const offerable = free.filter((resource) => isOfferable(resource, framework, role))
      if (!isWorthOffering(offerable) || isRefused(framework, role, agent.id, offerable, context.nowMs)) continue
      free = minus(free, offerable)!
      const offer = createOffer(state, framework, role, agent, offerable, out)
      offers.set(framework, [...offers.get(framework) ?? [], offer])
    }
  }
  for (const [framework, made] of offers) out.event(framework, { type: 'OFFERS', offers: { offers: made } })
}

/** Neither used by a task nor offered to anybody. */
export function available (state: MasterState, agent: Agent): Resource[] {
  let free: Resource[] = [...agent.total]
  for (const { agentId, resources } of [...usersOf(state), ...state.offers.values()]) if (agentId === agent.id) free = beyond(free, resources)
  return free
}

function claims (state: MasterState): Claim[] {
  const all: Claim[] = []
  for (const framework of state.frameworks.values()) {
    if (framework.stream === null) continue
    for (const role of framework.roles) {
      if (!framework.suppressed.has(role)) all.push({ framework, role, share: shareOf(state, framework.id, role) })
    }
  }
  return all.sort((one, other) => one.share - other.share || one.framework.lastOffer - other.framework.lastOffer)
}

function shareOf (state: MasterState, frameworkId: string, role: string): number {
  const holders = [...usersOf(state), ...state.offers.values()]
  const mine = holders.filter((holder) => holder.frameworkId === frameworkId && holder.role === role).flatMap(({ resources }) => resources)
  const total = [...state.agents.values()].flatMap((agent) => agent.total)
  return Math.max(...['cpus', 'mem', 'disk'].map((name) => totalScalar(mine, name) / (totalScalar(total, name) || 1)))
}

function isOfferable (resource: Resource, { capabilities }: Framework, role: string): boolean {
  const stack = resource.reservations ?? []
  if (stack.length > 1 && !capabilities.has('RESERVATION_REFINEMENT')) return false
  const reserved = stack.at(-1)
  return reserved === undefined || mayUse(role, reserved.role)
}

function isWorthOffering (resources: Resources): boolean {
  return totalScalar(resources, 'cpus') >= offerCpusMin || totalScalar(resources, 'mem') >= offerMemMinMb
}

function isRefused (framework: Framework, role: string, agentId: string, resources: Resources, nowMs: number): boolean {
  framework.filters = framework.filters.filter(({ expiresMs }) => expiresMs > nowMs)
  return framework.filters.some((filter) => filter.role === role && filter.agentId === agentId && contains(filter.resources, resources))
}

function createOffer (state: MasterState, framework: Framework, role: string, agent: Agent, resources: Resource[], out: Outcome): Offer {
  const count = state.offerCount++
  if (count >= state.offerCountReserved) {
    state.offerCountReserved = count + offerIdsPerReservation
    out.metaChanged()
  }
  const offer: PendingOffer = { id: `${state.masterId}-O${count}`, frameworkId: framework.id, agentId: agent.id, role, resources }
  state.offers.set(offer.id, offer)
  framework.lastOffer = count + 1
  return offerJson(state, offer, agent, offeredForm(framework, role, resources), unavailabilityOf(state, agent))
}

/** Resources as this framework understands them, allocated to `role`. */
export function offeredForm ({ capabilities }: Framework, role: string, resources: Resources): Resource[] {
  const refinement = capabilities.has('RESERVATION_REFINEMENT')
  return resources.map((resource) => ({ ...(refinement ? resource : legacyOf(resource)), allocation_info: { role } }))
}

export function removeOffers (state: MasterState, offers: PendingOffer[]): void {
  for (const { id } of offers) state.offers.delete(id)
}

/** The framework does not want these resources, nor a part of them, for a while. */
export function refuse (framework: Framework, offer: { role: string, agentId: string, resources: Resources }, filters: Filters | undefined, nowMs: number): void {
  const given = filters?.refuse_seconds ?? refuseSecondsDefault
  const seconds = given >= 0 ? Math.min(given, refuseSecondsMax) : refuseSecondsDefault
  if (seconds === 0 || offer.resources.length === 0) return
  const { role, agentId, resources } = offer
  framework.filters.push({ role, agentId, resources, expiresMs: nowMs + Math.max(seconds * 1000, allocationIntervalMs) })
  if (framework.filters.length > filtersPerFrameworkMax) framework.filters.shift()
}
