import type { Id } from '../../mesos/types.ts'
import { isQuery, type OperatorCall } from '../wire/operator-calls.ts'
import { available, removeOffers } from './allocate.ts'
import { deactivate, drain, markGone, reactivate } from './agents.ts'
import { answerOf } from './answers.ts'
import type { Context } from './effects.ts'
import { startMaintenance, stopMaintenance, updateSchedule } from './maintenance.ts'
import { remove } from './frameworks.ts'
import { apply, conversionOf, OperationError, type ResourceChange } from './operations.ts'
import type { Outcome } from './outcome.ts'
import { contains, minus, plus, type Resources } from './resources.ts'
import { textOf } from './resource-text.ts'
import type { Agent, MasterState } from './state.ts'
import { watch } from './watchers.ts'

/** The operator API. */
export function operate (state: MasterState, request: number, call: OperatorCall, out: Outcome, context: Context): void {
  if (isQuery(call)) {
    out.push({ type: 'reply', request, status: 200, json: { type: call.type, [call.type.toLowerCase()]: answerOf(state, call.type) } })
    return
  }
  switch (call.type) {
    case 'SUBSCRIBE': return watch(state, request, out, context)
    case 'TEARDOWN': {
      const framework = state.frameworks.get(call.teardown.framework_id.value)
      if (framework === undefined) return out.reply(request, 400, 'No framework found with specified ID')
      remove(state, framework, out, context)
      return out.reply(request, 200)
    }
    case 'RESERVE_RESOURCES': return mutate(state, request, call.reserve_resources.agent_id, { type: 'RESERVE', resources: call.reserve_resources.resources }, out)
    case 'UNRESERVE_RESOURCES': return mutate(state, request, call.unreserve_resources.agent_id, { type: 'UNRESERVE', resources: call.unreserve_resources.resources }, out)
    case 'CREATE_VOLUMES': return mutate(state, request, call.create_volumes.agent_id, { type: 'CREATE', resources: call.create_volumes.volumes }, out)
    case 'DESTROY_VOLUMES': return mutate(state, request, call.destroy_volumes.agent_id, { type: 'DESTROY', resources: call.destroy_volumes.volumes }, out)
    case 'GROW_VOLUME': return mutate(state, request, call.grow_volume.agent_id, { type: 'GROW_VOLUME', ...call.grow_volume }, out)
    case 'SHRINK_VOLUME': return mutate(state, request, call.shrink_volume.agent_id, { type: 'SHRINK_VOLUME', volume: call.shrink_volume.volume, subtractMb: call.shrink_volume.subtract.value }, out)
    case 'UPDATE_MAINTENANCE_SCHEDULE': return settle(request, updateSchedule(state, call.update_maintenance_schedule.schedule, out, context), out)
    case 'START_MAINTENANCE': return settle(request, startMaintenance(state, call.start_maintenance.machines, out, context), out)
    case 'STOP_MAINTENANCE': return settle(request, stopMaintenance(state, call.stop_maintenance.machines), out)
    case 'MARK_AGENT_GONE': {
      const id = call.mark_agent_gone.agent_id.value
      const agent = state.agents.get(id)
      if (agent === undefined) return out.reply(request, 404, `Agent '${id}' not found`)
      out.reply(request, 200)
      return markGone(state, agent, out, context)
    }
    case 'DRAIN_AGENT': {
      const { agent_id: { value }, max_grace_period: grace, mark_gone: gone = false } = call.drain_agent
      return withAgent(state, request, value, out, (agent) => {
        if (agent.presence === 'gone') return out.reply(request, 409, 'Agent is already marked gone')
        out.reply(request, 200)
        drain(state, agent, { maxGraceMs: grace === undefined ? null : grace.seconds * 1000, markGone: gone }, out, context)
      })
    }
    case 'DEACTIVATE_AGENT': return withAgent(state, request, call.deactivate_agent.agent_id.value, out, (agent) => {
      out.reply(request, 200)
      deactivate(state, agent, out)
    })
    case 'REACTIVATE_AGENT': return withAgent(state, request, call.reactivate_agent.agent_id.value, out, (agent) => {
      settle(request, reactivate(state, agent, out, context), out)
    })
    default: return out.reply(request, 501, `${call.type} is not supported by the embedded master`)
  }
}

function settle (request: number, problem: string | undefined, out: Outcome): void { out.reply(request, problem === undefined ? 200 : 400, problem) }

function withAgent (state: MasterState, request: number, id: string, out: Outcome, action: (agent: Agent) => void): void {
  const agent = state.agents.get(id)
  if (agent === undefined) out.reply(request, 400, 'Unknown agent')
  else action(agent)
}

/** An operator's change of resources: 400 when it makes no sense, 409 when they are in use. */
function mutate (state: MasterState, request: number, agentId: Id, change: ResourceChange, out: Outcome): void {
  const agent = state.agents.get(agentId.value)
  if (agent === undefined) return out.reply(request, 400, 'No agent found with specified ID')
  const resources = 'resources' in change ? change.resources : [change.volume]
  if (resources.some(({ allocation_info: allocation }) => allocation !== undefined)) return out.reply(request, 400, `Invalid ${change.type} operation: the 'allocation_info' of a resource must not be set`)
  try {
    const conversion = conversionOf(state, agent, change, {})
    if (!withdrawOffers(state, agent, conversion.consumed, out)) {
      return out.reply(request, 409, `${textOf(available(state, agent))} does not contain ${textOf(conversion.consumed)}`)
    }
    apply(agent, conversion, out)
    // Offered in the next round: the operator may not be done yet.
    out.reply(request, 202)
  } catch (error) {
    if (!(error instanceof OperationError)) throw error
    out.reply(request, 400, `Invalid ${change.type} operation: ${error.message}`)
  }
}

/** Rescinds offers until the resources are free; false, and nothing rescinded, when tasks use them. */
function withdrawOffers (state: MasterState, agent: Agent, wanted: Resources, out: Outcome): boolean {
  let free: Resources = available(state, agent)
  const withdrawn = []
  for (const offer of state.offers.values()) {
    if (contains(free, wanted)) break
    if (offer.agentId !== agent.id) continue
    free = plus(free, offer.resources)
    withdrawn.push(offer)
  }
  if (minus(free, wanted) === undefined) return false
  removeOffers(state, withdrawn)
  for (const { id, frameworkId } of withdrawn) {
    const framework = state.frameworks.get(frameworkId)
    if (framework !== undefined) out.event(framework, { type: 'RESCIND', rescind: { offer_id: { value: id } } })
  }
  return true
}
