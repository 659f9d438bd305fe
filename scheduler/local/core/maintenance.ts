import type { Filters, Id, InverseOffer, Unavailability } from '../../mesos/types.ts'
import { inverseFiltersMax, refuseSecondsDefault, refuseSecondsMax } from '../constants.ts'
import { removeAgent, rescindOffers } from './agents.ts'
import { allocate } from './allocate.ts'
import type { Context } from './effects.ts'
import type { Outcome } from './outcome.ts'
import { urlOf, type Agent, type Framework, type MasterState } from './state.ts'
import { isInUse } from './tasks.ts'

export interface MachineId { hostname?: string, ip?: string }
export interface MaintenanceWindow { machine_ids: MachineId[], unavailability: Unavailability }
export interface Schedule { windows: MaintenanceWindow[] }

export interface PendingInverseOffer { id: string, frameworkId: string, agentId: string }
/** When a framework may be asked again about an agent. */
export interface InverseFilter { frameworkId: string, agentId: string, expiresMs: number }
export interface InverseAnswer { frameworkId: string, agentId: string, status: 'ACCEPT' | 'DECLINE', wallMs: number }

/** All that the master knows of maintenance; not kept over a restart. */
export interface Maintenance {
  schedule: Schedule
  down: MachineId[]
  inverseOffers: Map<string, PendingInverseOffer>
  filters: InverseFilter[]
  answers: InverseAnswer[]
}

export const noMaintenance = (): Maintenance => ({ schedule: { windows: [] }, down: [], inverseOffers: new Map(), filters: [], answers: [] })

const isOn = ({ hostname, ip }: MachineId, agent: Agent): boolean => (hostname === undefined || hostname === agent.hostname) && (ip === undefined || ip === agent.ip)
const sameMachine = (one: MachineId, other: MachineId): boolean => one.hostname === other.hostname && one.ip === other.ip

export const isDown = ({ maintenance }: MasterState, agent: Agent): boolean => maintenance.down.some((machine) => isOn(machine, agent))

export function unavailabilityOf ({ maintenance }: MasterState, agent: Agent): Unavailability | undefined {
  return maintenance.schedule.windows.find(({ machine_ids: machines }) => machines.some((machine) => isOn(machine, agent)))?.unavailability
}

/** Why it cannot be; undefined when it is in force. Every change is told anew to everybody. */
export function updateSchedule (state: MasterState, schedule: Schedule, out: Outcome, context: Context): string | undefined {
  const machines = schedule.windows.flatMap(({ machine_ids: ids }) => ids)
  const twice = machines.find((machine, index) => machines.findIndex((other) => sameMachine(machine, other)) < index)
  if (twice !== undefined) return `Machine '${JSON.stringify(twice)}' appears more than once in the schedule`
  const { maintenance } = state
  const downButGone = maintenance.down.find((machine) => !machines.some((other) => sameMachine(machine, other)))
  if (downButGone !== undefined) return `Machine '${JSON.stringify(downButGone)}' is deactivated and cannot be removed from the schedule`
  maintenance.schedule = schedule
  maintenance.answers = []
  maintenance.filters = []
  for (const agent of state.agents.values()) rescindOffers(state, agent, out)
  rescindInverseOffers(state, out)
  allocate(state, out, context)
  askFrameworks(state, out, context)
  return undefined
}

export function startMaintenance (state: MasterState, machines: MachineId[], out: Outcome, context: Context): string | undefined {
  const { maintenance } = state
  const problem = machinesProblem(state, machines)
  if (problem !== undefined) return problem
  maintenance.down.push(...machines.filter((machine) => !maintenance.down.some((other) => sameMachine(machine, other))))
  for (const agent of state.agents.values()) {
    if (machines.some((machine) => isOn(machine, agent)) && agent.presence !== 'gone') removeAgent(state, agent, "Operator initiated 'Machine DOWN'", out, context)
  }
  return undefined
}

/** The machine's agents return when they are started again. */
export function stopMaintenance (state: MasterState, machines: MachineId[]): string | undefined {
  const { maintenance } = state
  const up = machines.find((machine) => !maintenance.down.some((other) => sameMachine(machine, other)))
  if (up !== undefined) return `Machine '${JSON.stringify(up)}' is not in DOWN mode and cannot be brought up`
  const isStopped = (machine: MachineId): boolean => machines.some((other) => sameMachine(machine, other))
  maintenance.down = maintenance.down.filter((machine) => !isStopped(machine))
  maintenance.schedule = { windows: maintenance.schedule.windows
    .map((window) => ({ ...window, machine_ids: window.machine_ids.filter((machine) => !isStopped(machine)) }))
    .filter(({ machine_ids: ids }) => ids.length > 0) }
  return undefined
}

function machinesProblem ({ maintenance }: MasterState, machines: MachineId[]): string | undefined {
  const scheduled = maintenance.schedule.windows.flatMap(({ machine_ids: ids }) => ids)
  const stranger = machines.find((machine) => !scheduled.some((other) => sameMachine(machine, other)))
  return stranger === undefined ? undefined : `Machine '${JSON.stringify(stranger)}' is not part of a maintenance schedule`
}

/** Asks every framework that uses or is offered an agent that is to go. */
export function askFrameworks (state: MasterState, out: Outcome, context: Context): void {
  const { maintenance } = state
  if (maintenance.schedule.windows.length === 0) return
  maintenance.filters = maintenance.filters.filter(({ expiresMs }) => expiresMs > context.nowMs)
  for (const framework of state.frameworks.values()) {
    if (framework.stream === null) continue
    const asked = [...state.agents.values()].flatMap((agent) => inverseOffer(state, framework, agent) ?? [])
    if (asked.length > 0) out.event(framework, { type: 'INVERSE_OFFERS', inverse_offers: { inverse_offers: asked } })
  }
}

function inverseOffer (state: MasterState, framework: Framework, agent: Agent): InverseOffer | undefined {
  const { maintenance } = state
  const unavailability = unavailabilityOf(state, agent)
  const isMine = ({ frameworkId, agentId }: { frameworkId: string, agentId: string }): boolean => frameworkId === framework.id && agentId === agent.id
  if (unavailability === undefined || isDown(state, agent) || agent.presence !== 'registered') return undefined
  if (maintenance.filters.some(isMine) || [...maintenance.inverseOffers.values()].some(isMine)) return undefined
  if (![...state.tasks.values()].some((task) => isMine(task) && isInUse(task)) && ![...state.offers.values()].some(isMine)) return undefined
  const id = `${state.masterId}-O${state.offerCount++}`
  maintenance.inverseOffers.set(id, { id, frameworkId: framework.id, agentId: agent.id })
  return { id: { value: id }, url: urlOf(agent), framework_id: { value: framework.id }, agent_id: { value: agent.id }, unavailability }
}

/** Advice: it is remembered, and asked for again. Unknown ids are passed over. */
export function answerInverse (state: MasterState, framework: Framework, ids: Id[], status: 'ACCEPT' | 'DECLINE', filters: Filters | undefined, context: Context): void {
  const { maintenance } = state
  for (const { value } of ids) {
    const offer = maintenance.inverseOffers.get(value)
    if (offer?.frameworkId !== framework.id) continue
    maintenance.inverseOffers.delete(value)
    const { frameworkId, agentId } = offer
    const given = filters?.refuse_seconds ?? refuseSecondsDefault
    const seconds = given >= 0 ? Math.min(given, refuseSecondsMax) : refuseSecondsDefault
    maintenance.filters.push({ frameworkId, agentId, expiresMs: context.nowMs + seconds * 1000 })
    maintenance.answers = [...maintenance.answers.filter((answer) => answer.frameworkId !== frameworkId || answer.agentId !== agentId), { frameworkId, agentId, status, wallMs: context.wallMs }].slice(-inverseFiltersMax)
  }
  if (maintenance.filters.length > inverseFiltersMax) maintenance.filters.splice(0, maintenance.filters.length - inverseFiltersMax)
}

export function rescindInverseOffers (state: MasterState, out: Outcome, agentId?: string): void {
  for (const offer of [...state.maintenance.inverseOffers.values()]) {
    if (agentId !== undefined && offer.agentId !== agentId) continue
    state.maintenance.inverseOffers.delete(offer.id)
    const framework = state.frameworks.get(offer.frameworkId)
    if (framework !== undefined) out.event(framework, { type: 'RESCIND_INVERSE_OFFER', rescind_inverse_offer: { inverse_offer_id: { value: offer.id } } })
  }
}

/** As GET_MAINTENANCE_STATUS tells it. */
export function maintenanceStatus (state: MasterState): unknown {
  const { maintenance } = state
  const machines = maintenance.schedule.windows.flatMap(({ machine_ids: ids }) => ids)
  const draining = machines.filter((machine) => !maintenance.down.some((other) => sameMachine(machine, other))).map((machine) => {
    const agents = [...state.agents.values()].filter((agent) => isOn(machine, agent))
    const statuses = maintenance.answers.filter(({ agentId }) => agents.some(({ id }) => id === agentId)).map(({ status, frameworkId, wallMs }) =>
      ({ status, framework_id: { value: frameworkId }, timestamp: { nanoseconds: Math.round(wallMs * 1e6) } }))
    return { id: machine, ...(statuses.length > 0 && { statuses }) }
  })
  return { ...(draining.length > 0 && { draining_machines: draining }), ...(maintenance.down.length > 0 && { down_machines: maintenance.down }) }
}
