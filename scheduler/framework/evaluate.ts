import { lowestPorts } from './resources.ts'
import type { AgentOffer, Slot } from './resources.ts'
import type { NodeRecord, NodeResources, Outcome } from './types.ts'

export interface EvaluationContext {
  role: string
  resources: NodeResources
  nodesPerAgentMax: number
  /** Nodes that have a place on the agent already, this node not counted. */
  nodesOnAgent: string[]
}

export interface Evaluated { outcome: Outcome, slot: Slot | null }

type Rule = (node: NodeRecord, offer: AgentOffer, context: EvaluationContext) => Outcome

const outcome = (source: string, pass: boolean, reason: string): Outcome => ({ pass, source, reason })

/** Compares an amount; `unit` is '' or starts with a blank. */
const amountRule = (source: string, unit: string, amounts: (offer: AgentOffer, context: EvaluationContext) => [number, number]): Rule =>
  (_node, offer, context) => {
    const [offered, needed] = amounts(offer, context)
    return outcome(source, offered >= needed, `needs ${needed}${unit}, ${offered}${unit} unreserved are offered`)
  }

/** All of them are asked, so that an operator sees everything that is missing at once. */
const rules: Rule[] = [
  (node) => outcome('already placed', node.placement === 'none', node.placement === 'none'
    ? 'has no place yet'
    : `is ${node.placement} with resource id ${node.resourceId} on ${node.host}`),
  (_node, offer, { role }) => outcome('role', offer.role === role, `needs role ${role}, the offer is for ${offer.role}`),
  (_node, offer) => outcome('maintenance', !offer.leaving, offer.leaving
    ? 'the machine is going to be taken out of service'
    : 'no maintenance is announced'),
  (_node, _offer, { nodesOnAgent, nodesPerAgentMax }) => outcome('nodes per agent', nodesOnAgent.length < nodesPerAgentMax,
    `at most ${nodesPerAgentMax} on an agent, here ${nodesOnAgent.length === 0 ? 'is none' : `are ${nodesOnAgent.join(', ')}`}`),
  amountRule('cpus', '', (offer, { resources }) => [offer.cpus, resources.cpus]),
  amountRule('mem', ' MB', (offer, { resources }) => [offer.memMb, resources.memMb]),
  amountRule('disk', ' MB', (offer, { resources }) => [offer.diskMb, resources.diskMb]),
  (_node, offer) => {
    const ports = lowestPorts(offer.ports, 2)
    return outcome('ports', ports !== undefined, ports === undefined ? 'needs 2 ports, fewer are offered' : `ports ${ports.join(' and ')}`)
  }
]

/** Whether a node can get its place from an agent's offer, and why. */
export function evaluate (node: NodeRecord, offer: AgentOffer, context: EvaluationContext): Evaluated {
  const children = rules.map((rule) => rule(node, offer, context))
  const failed = children.filter(({ pass }) => !pass)
  const pass = failed.length === 0
  const ports = pass ? lowestPorts(offer.ports, 2) : undefined
  return {
    outcome: {
      pass,
      source: 'placement',
      reason: pass ? `fits on ${offer.hostname}` : `does not fit on ${offer.hostname}: ${failed.map(({ source, reason }) => `${source}: ${reason}`).join('; ')}`,
      children
    },
    slot: ports === undefined ? null : { resources: context.resources, rpcPort: ports[0]!, raftPort: ports[1]! }
  }
}
