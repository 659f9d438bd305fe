import type { CallBody, InverseOffer } from '../mesos/types.ts'
import { dangersWithout } from './cluster-view.ts'
import { inverseOfferRefuseSeconds, maintenanceAnswersMax, maintenanceConsentMs } from './constants.ts'
import { isViewFresh } from './drains.ts'
import type { StepContext } from './nodes.ts'
import type { MaintenanceAnswer, NodeRecord } from './types.ts'

interface Entry { inverseOfferId: string, askedAtMs: number, answer: MaintenanceAnswer }

/**
 * Answers to inverse offers: advice to the operator whether a machine may go. Each is asked again, as long as the schedule stands.
 * Whoever was told that it may go may be gone at any moment: the next one is looked at as if it were.
 */
export class MaintenanceBook {
  /** By agent; the newest last. */
  readonly #entries = new Map<string, Entry>()

  get answers (): MaintenanceAnswer[] { return [...this.#entries.values()].map(({ answer }) => answer) }

  clear (): void { this.#entries.clear() }

  /** The schedule was changed. */
  rescind (inverseOfferId: string): void {
    for (const [agentId, entry] of this.#entries) if (entry.inverseOfferId === inverseOfferId) this.#entries.delete(agentId)
  }

  /** Agents that were told that they may go. One that is not asked for any more is gone by now, which the cluster knows, or stays. */
  consented (nowMs: number): string[] {
    return [...this.#entries].flatMap(([agentId, { askedAtMs, answer }]) => answer.accepted && nowMs < askedAtMs + maintenanceConsentMs ? agentId : [])
  }

  answer (context: StepContext, offer: InverseOffer): CallBody {
    const agentId = offer.agent_id?.value ?? ''
    const nodes = nodesOn(context, [agentId])
    const others = nodes.length === 0 ? [] : nodesOn(context, context.consented.filter((id) => id !== agentId))
    const alone = dangersOf(context, nodes)
    const together = alone.length > 0 || others.length === 0 ? [] : dangersOf(context, [...nodes, ...others])
    const accepted = alone.length === 0 && together.length === 0
    this.#keep(agentId, {
      inverseOfferId: offer.id.value,
      askedAtMs: context.nowMs,
      answer: {
        agentId,
        hosts: [...new Set(nodes.flatMap(({ host }) => host ?? []))],
        startsAtSeconds: offer.unavailability.start.nanoseconds / 1e9,
        accepted,
        reason: accepted
          ? 'every partition keeps its quorum without it'
          : together.length > 0 ? `${others.map(({ host }) => host).join(', ')} may go already: ${together.join('; ')}` : alone.join('; ')
      }
    })
    const inverse_offer_ids = [offer.id]
    return accepted
      ? { type: 'ACCEPT_INVERSE_OFFERS', accept_inverse_offers: { inverse_offer_ids } }
      : { type: 'DECLINE_INVERSE_OFFERS', decline_inverse_offers: { inverse_offer_ids, filters: { refuse_seconds: inverseOfferRefuseSeconds } } }
  }

  #keep (agentId: string, entry: Entry): void {
    this.#entries.delete(agentId)
    this.#entries.set(agentId, entry)
    if (this.#entries.size > maintenanceAnswersMax) this.#entries.delete(this.#entries.keys().next().value!)
  }
}

export function nodesOn ({ state }: StepContext, agentIds: readonly string[]): NodeRecord[] {
  return state.sortedNodes().filter(({ agentId, placement }) => agentId !== null && agentIds.includes(agentId) && placement !== 'lost')
}

/** The storage cluster's own word, with what is being restarted as good as away; while it says nothing, all other nodes must at least run. */
function dangersOf (context: StepContext, nodes: NodeRecord[]): string[] {
  if (nodes.length === 0) return []
  if (isViewFresh(context)) {
    const restarting = context.state.activeNodes().filter(({ restart, incarnationBefore }) => restart || incarnationBefore !== null)
    return dangersWithout(context.view!.map, [...nodes, ...restarting].map(({ id }) => id))
  }
  const away = context.state.activeNodes().filter((node) => !nodes.includes(node) && node.task?.state !== 'TASK_RUNNING')
  return away.map(({ id }) => `${id} does not run`)
}
