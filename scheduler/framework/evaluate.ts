import type { AgentOffer, DiskType } from './agent-offer.ts'
import { checkConstraint } from './constraints.ts'
import type { Constraint } from './constraints.ts'
import type { Crowd } from './crowd.ts'
import { chooseParts, mostOf, portsPerNode, slotOf } from './slots.ts'
import type { Slot } from './slots.ts'
import type { NodeRecord, NodeResources, Outcome, ScorePart } from './types.ts'

export interface EvaluationContext {
  role: string
  resources: NodeResources
  diskType: DiskType
  constraints: Constraint[]
  nodesPerAgentMax: number
  /** Where nodes are already, this one not counted. */
  crowd: Crowd
}

/** `slot`: only of an offer that fits. */
export interface Evaluated { outcome: Outcome, slot: Slot | null }
export interface Score { points: number, parts: ScorePart[] }

type Rule = (node: NodeRecord, offer: AgentOffer, context: EvaluationContext) => Outcome[]

const outcome = (source: string, pass: boolean, reason: string): Outcome => ({ pass, source, reason })

/** Compares an amount; `unit` is '' or starts with a blank. */
const amountRule = (source: string, unit: string, amounts: (offer: AgentOffer, context: EvaluationContext) => [number, number, string?]): Rule =>
  (_node, offer, context) => {
    const [offered, needed, what = 'unreserved'] = amounts(offer, context)
    return [outcome(source, offered >= needed, `needs ${needed}${unit}, ${offered}${unit} ${what} are offered`)]
  }

/** All of them are asked, so that an operator sees everything that is missing at once. */
const rules: Rule[] = [
  (node) => [outcome('already placed', node.placement === 'none', node.placement === 'none'
    ? 'has no place yet'
    : `is ${node.placement} with resource id ${node.resourceId} on ${node.host}`)],
  (_node, offer, { role }) => [outcome('role', offer.role === role, `needs role ${role}, the offer is for ${offer.role}`)],
  (_node, { leavesAtSeconds }) => [outcome('maintenance', leavesAtSeconds === null, leavesAtSeconds === null
    ? 'no maintenance is announced'
    : `the machine is going to be taken out of service at ${new Date(leavesAtSeconds * 1000).toISOString()}`)],
  (_node, offer, { crowd, nodesPerAgentMax }) => {
    const there = crowd.on(offer.agentId)
    return [outcome('nodes per agent', there.length < nodesPerAgentMax,
      `at most ${nodesPerAgentMax} on an agent, here ${there.length === 0 ? 'is none' : `are ${there.join(', ')}`}`)]
  },
  (_node, offer, { constraints, crowd }) => constraints.map((constraint) => {
    const counts = constraint.operator === 'at most' ? crowd.countsOf(constraint.name) : new Map<string, number>()
    const { pass, reason } = checkConstraint(constraint, offer, counts)
    return outcome(`constraint ${constraint.text}`, pass, reason)
  }),
  amountRule('cpus', '', (offer, { resources, diskType }) => [mostOf(offer, diskType).cpus, resources.cpus]),
  amountRule('mem', ' MB', (offer, { resources, diskType }) => [mostOf(offer, diskType).memMb, resources.memMb]),
  amountRule('disk', ' MB', (offer, { resources, diskType }) =>
    [mostOf(offer, diskType).diskMb, resources.diskMb, diskType === 'root' ? 'unreserved' : `of a ${diskType.toUpperCase()} disk`]),
  (_node, offer, { resources, diskType }) => {
    const ports = chooseParts(offer, resources, diskType).ports?.ports
    return [outcome('ports', ports !== undefined, ports === undefined ? `needs ${portsPerNode} ports, fewer are offered` : `ports ${ports.join(' and ')}`)]
  }
]

/** Whether a node can get its place from an agent's offer, and why. The same for all nodes without a place. */
export function evaluate (node: NodeRecord, offer: AgentOffer, context: EvaluationContext): Evaluated {
  const children = rules.flatMap((rule) => rule(node, offer, context))
  const failed = children.filter(({ pass }) => !pass)
  const slot = failed.length > 0 ? null : slotOf(chooseParts(offer, context.resources, context.diskType), context.resources)
  const pass = slot !== null
  return {
    outcome: {
      pass,
      source: 'placement',
      reason: pass ? `fits on ${offer.hostname}` : `does not fit on ${offer.hostname}: ${failed.map(({ source, reason }) => `${source}: ${reason}`).join('; ')}`,
      children
    },
    slot
  }
}

/** How good a place an offer is, as things are. */
export function scoreOf (offer: AgentOffer, slot: Slot, { crowd, diskType }: EvaluationContext): Score {
  const { diskMb, cpus } = mostOf(offer, diskType)
  const wasteMb = slot.resources.diskMb
  const parts: ScorePart[] = [
    ...crowd.spread(offer),
    // Of a mount all is taken, so the one that fits best; of a shared disk the one with the most to spare.
    diskType === 'mount'
      ? { source: 'fit of the disk', points: round(4 / (1 + wasteMb / 1024)), reason: `a mount of ${slot.resources.diskMb} MB is taken whole` }
      : { source: 'room on the disk', points: round(4 * (1 - slot.resources.diskMb / diskMb)), reason: `${Math.round(diskMb - slot.resources.diskMb)} MB would be left` },
    { source: 'idle cpus', points: round(1 - slot.resources.cpus / cpus), reason: `${round(cpus - slot.resources.cpus)} cpus would be left` },
    ...(slot.bases.disk.length > 0 ? [{ source: 'reserved for us', points: 2, reason: 'stands on a reservation of a role above ours, which is of use to few' }] : [])
  ]
  return { points: round(parts.reduce((sum, { points }) => sum + points, 0)), parts }
}

const round = (value: number): number => Math.round(value * 100) / 100
