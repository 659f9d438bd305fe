import type { CallBody, InverseOffer } from '../mesos/types.ts'
import { dangersWithout } from './cluster-view.ts'
import { isViewFresh } from './drains.ts'
import type { StepContext } from './nodes.ts'
import type { MaintenanceAnswer, NodeRecord } from './types.ts'

const inverseOfferRefuseSeconds = 60
const answersMax = 100

/** Answers to inverse offers: advice to the operator whether a machine may go. Each is asked again, as long as the schedule stands. */
export class MaintenanceBook {
  #answers: MaintenanceAnswer[] = []

  get answers (): MaintenanceAnswer[] { return this.#answers }

  clear (): void { this.#answers = [] }

  answer (context: StepContext, offer: InverseOffer): CallBody {
    const inverse_offer_ids = [offer.id]
    const agentId = offer.agent_id?.value ?? ''
    const nodes = [...context.state.nodes.values()].filter((node) => node.agentId === agentId && node.placement !== 'lost')
    const dangers = dangersOf(context, nodes)
    const accepted = dangers.length === 0
    this.#keep({
      agentId,
      hosts: [...new Set(nodes.flatMap(({ host }) => host ?? []))],
      startsAtSeconds: offer.unavailability.start.nanoseconds / 1e9,
      accepted,
      reason: accepted ? 'every partition keeps its quorum without it' : dangers.join('; ')
    })
    return accepted
      ? { type: 'ACCEPT_INVERSE_OFFERS', accept_inverse_offers: { inverse_offer_ids } }
      : { type: 'DECLINE_INVERSE_OFFERS', decline_inverse_offers: { inverse_offer_ids, filters: { refuse_seconds: inverseOfferRefuseSeconds } } }
  }

  #keep (answer: MaintenanceAnswer): void {
    this.#answers = [...this.#answers.filter(({ agentId }) => agentId !== answer.agentId), answer].slice(-answersMax)
  }
}

/** The storage cluster's own word; while it says nothing, all other nodes must at least run. */
function dangersOf (context: StepContext, nodes: NodeRecord[]): string[] {
  if (nodes.length === 0) return []
  if (isViewFresh(context)) return dangersWithout(context.view!.map, nodes.map(({ id }) => id))
  const away = context.state.activeNodes().filter((node) => !nodes.includes(node) && node.task?.state !== 'TASK_RUNNING')
  return away.map(({ id }) => `${id} does not run`)
}
