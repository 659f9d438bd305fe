import type { CallBody, InverseOffer, Unavailability } from '../mesos/types.ts'
import { dangersWithout } from './cluster-view.ts'
import { inverseOfferRefuseSeconds, maintenanceConsentMs, maintenanceNearMs, maintenanceRefusalMs, yieldPatienceMs } from './constants.ts'
import { isViewFresh } from './drains.ts'
import type { StepContext } from './nodes.ts'
import type { FrameworkState } from './state.ts'
import type { MaintenanceAnswer, MaintenanceRecord, NodeRecord } from './types.ts'
import { isHandedOver } from './yields.ts'

/**
 * Answers to inverse offers: advice to the operator whether a machine may go. Each is asked again, as long as the schedule stands.
 * Whoever was told that it may go may be gone at any moment: the next one is looked at as if it were. So what was said is durable
 * before it is said.
 */
export function inverseOffered (context: StepContext, offer: InverseOffer): CallBody[] {
  const { state, nowMs } = context
  const agentId = offer.agent_id?.value ?? ''
  const wasGiven = mayHaveGone(state.maintenance.get(agentId))
  const nodes = nodesOn(context, [agentId])
  const time = timeOf(offer.unavailability)
  const objection = isOver(time, context.wallMs) ? itsTimeIsOver : isKnown(context, nodes) ? dangersOf(context, agentId) : ''
  state.saveMaintenance({
    agentId,
    hosts: [...new Set(nodes.flatMap(({ host }) => host ?? []))],
    ...time,
    consent: objection !== '' ? refused(wasGiven) : wasGiven ? 'given' : 'soon',
    reason: objection !== '' ? objection : wasGiven ? mayGo : 'others are to lead first what it leads'
  })
  const yesAtMs = state.inverseOffers.get(agentId)?.yesAtMs ?? null
  state.inverseOffers.set(agentId, { id: offer.id.value, askedAtMs: nowMs, isAnswered: objection !== '', yesAtMs })
  return objection === '' ? [] : [decline(offer.id.value)]
}

/** Says yes to what was asked when others lead what the machine leads; forgets what is not asked for any more. */
export function settleMaintenance (context: StepContext): CallBody[] {
  const { state } = context
  return [...state.maintenance.values()].flatMap((record): CallBody[] => {
    const asked = state.inverseOffers.get(record.agentId)
    if (context.nowMs >= expiryMs(state, record)) {
      state.deleteMaintenance(record.agentId)
      return []
    }
    if (record.consent === 'withdrawn' && context.nowMs >= withdrawnUntilMs(state, record)) state.saveMaintenance({ ...record, consent: 'none' })
    if (asked === undefined || asked.isAnswered || waits(context, record.agentId)) return []
    asked.isAnswered = true
    // Something may have happened since it was asked.
    const isSaid = isKnown(context, nodesOn(context, [record.agentId]))
    const objection = isOver(record, context.wallMs) ? itsTimeIsOver : isSaid ? dangersOf(context, record.agentId) : 'the storage cluster does not say how it is'
    if (objection === '') asked.yesAtMs = context.nowMs
    state.saveMaintenance({ ...record, consent: objection === '' ? 'given' : refused(mayHaveGone(record)), reason: objection === '' ? mayGo : objection })
    return [objection === '' ? { type: 'ACCEPT_INVERSE_OFFERS', accept_inverse_offers: { inverse_offer_ids: [{ value: asked.id }] } } : decline(asked.id)]
  })
}

/** Others have yet to lead, or the cluster to say how it is; not for ever. */
function waits (context: StepContext, agentId: string): boolean {
  const { state, nowMs } = context
  const nodes = nodesOn(context, [agentId])
  if (nowMs >= state.inverseOffers.get(agentId)!.askedAtMs + yieldPatienceMs) return false
  return !isKnown(context, nodes) || nodes.some((node) => node.task !== null && !isHandedOver(context, node))
}

/** The schedule was changed. */
export function inverseOfferRescinded (state: FrameworkState, id: string): void {
  for (const [agentId, asked] of state.inverseOffers) if (asked.id === id) state.deleteMaintenance(agentId)
}

/** Inverse offers end with the subscription, and come again if the schedule stands; what was said holds until they had the time to. */
export function inverseOffersLost (state: FrameworkState, nowMs: number): void {
  for (const agentId of state.maintenance.keys()) state.inverseOffers.set(agentId, { id: '', askedAtMs: nowMs, isAnswered: true, yesAtMs: nowMs })
}

/** Agents that were told that they may go, or are about to be. One that is not asked for any more is gone by now, which the cluster knows, or stays. */
export function consentedAgents (state: FrameworkState): string[] {
  return [...state.maintenance.values()].flatMap(({ agentId, consent }) => consent === 'none' ? [] : agentId)
}

/** Those, and agents whose time has come or is near, and is not over, whatever was said. */
export function leavingAgents ({ state, wallMs }: StepContext): string[] {
  const isTime = (record: MaintenanceRecord): boolean => wallMs >= record.startsAtSeconds * 1000 - maintenanceNearMs && !isOver(record, wallMs)
  return [...state.maintenance.values()].flatMap((record) => record.consent !== 'none' || isTime(record) ? record.agentId : [])
}

/** Without a duration it lasts until the schedule says otherwise. */
function timeOf ({ start, duration }: Unavailability): Pick<MaintenanceRecord, 'startsAtSeconds' | 'endsAtSeconds'> {
  const startsAtSeconds = start.nanoseconds / 1e9
  return duration === undefined ? { startsAtSeconds } : { startsAtSeconds, endsAtSeconds: startsAtSeconds + duration.nanoseconds / 1e9 }
}

const isOver = ({ endsAtSeconds }: Pick<MaintenanceRecord, 'endsAtSeconds'>, wallMs: number): boolean => endsAtSeconds !== undefined && wallMs >= endsAtSeconds * 1000

export function maintenanceAnswers (state: FrameworkState): MaintenanceAnswer[] {
  return [...state.maintenance.values()].map(({ consent, ...answer }) => ({ ...answer, accepted: consent === 'given' }))
}

/** Monotonic time at which the next answer is forgotten. */
export function maintenanceDeadlineMs (state: FrameworkState): number {
  return Math.min(Infinity, ...[...state.maintenance.values()].map((record) => {
    const asked = state.inverseOffers.get(record.agentId)
    if (asked?.isAnswered === false) return asked.askedAtMs + yieldPatienceMs
    return Math.min(expiryMs(state, record), record.consent === 'withdrawn' ? withdrawnUntilMs(state, record) : Infinity)
  }))
}

export function nodesOn ({ state }: StepContext, agentIds: readonly string[]): NodeRecord[] {
  return state.sortedNodes().filter(({ agentId, placement }) => agentId !== null && agentIds.includes(agentId) && placement !== 'lost')
}

const mayGo = 'every partition keeps its quorum without it'
const itsTimeIsOver = 'its time is over, though the schedule still has it'

/** Whoever was told so once may act on it, whatever was said since: that may not have arrived. */
const mayHaveGone = (record: MaintenanceRecord | undefined): boolean => record?.consent === 'given' || record?.consent === 'withdrawn'

const refused = (wasGiven: boolean): MaintenanceRecord['consent'] => wasGiven ? 'withdrawn' : 'none'

function expiryMs (state: FrameworkState, { agentId, consent }: MaintenanceRecord): number {
  const { askedAtMs, yesAtMs } = state.inverseOffers.get(agentId) ?? { askedAtMs: Infinity, yesAtMs: null }
  return consent === 'none' || consent === 'withdrawn' ? askedAtMs + maintenanceRefusalMs : Math.max(askedAtMs, yesAtMs ?? 0) + maintenanceConsentMs
}

const withdrawnUntilMs = (state: FrameworkState, { agentId }: MaintenanceRecord): number =>
  (state.inverseOffers.get(agentId)?.yesAtMs ?? -Infinity) + maintenanceConsentMs

const decline = (id: string): CallBody =>
  ({ type: 'DECLINE_INVERSE_OFFERS', decline_inverse_offers: { inverse_offer_ids: [{ value: id }], filters: { refuse_seconds: inverseOfferRefuseSeconds } } })

/** A machine without a node of ours is no matter of the cluster's. */
const isKnown = (context: StepContext, nodes: NodeRecord[]): boolean => nodes.length === 0 || isViewFresh(context)

/**
 * Why the cluster cannot do without a machine and those that may go already, by its own word and with what is being restarted as good as away; '': it
 * can. Who was told so before goes before those that are only about to be.
 */
function dangersOf (context: StepContext, agentId: string): string {
  const nodes = nodesOn(context, [agentId])
  if (nodes.length === 0) return ''
  const { maintenance } = context.state
  const before = mayHaveGone(maintenance.get(agentId)) ? [...maintenance.values()].filter(mayHaveGone).map((record) => record.agentId) : consentedAgents(context.state)
  const others = nodesOn(context, before.filter((id) => id !== agentId))
  const alone = dangersWithoutNodes(context, nodes)
  if (alone.length > 0) return alone.join('; ')
  const together = others.length === 0 ? [] : dangersWithoutNodes(context, [...nodes, ...others])
  return together.length === 0 ? '' : `${others.map(({ host }) => host).join(', ')} may go already: ${together.join('; ')}`
}

function dangersWithoutNodes ({ state, view }: StepContext, nodes: NodeRecord[]): string[] {
  const restarting = state.activeNodes().filter(({ restart, incarnationBefore }) => restart || incarnationBefore !== null)
  return dangersWithout(view!.map, [...nodes, ...restarting].map(({ id }) => id))
}
