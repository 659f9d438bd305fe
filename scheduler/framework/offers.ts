import type { CallBody, Offer, Operation } from '../mesos/types.ts'
import { declineLongSeconds, declineShortSeconds } from './constants.ts'
import { Crowd } from './crowd.ts'
import { evaluate } from './evaluate.ts'
import { taskInfo } from './launch.ts'
import { choosePlace, endTask, isDue, isGroupReadyFor, provePlace } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { groupOffers, hasVolume, reservedResources, takeSlot, volumeResource, withoutVolume } from './resources.ts'
import type { AgentOffer, Owner, ReservedGroup } from './resources.ts'
import type { Evaluation, NodeRecord } from './types.ts'

interface Plan {
  offer: AgentOffer
  operations: Operation[]
  /** Something of ours is offered in part only: the rest is to come. */
  incomplete: boolean
}

/** Answers every offer: one ACCEPT or DECLINE per agent. Offers are the truth about what is reserved and free. */
export function handleOffers (context: StepContext, offers: Offer[]): CallBody[] {
  const agents = groupOffers(offers)
  const plans = agents.map((offer): Plan => ({ offer, operations: [], incomplete: false }))
  // First everything is learned, so that a manager group that is complete with these offers is launched from them.
  for (const offer of agents) for (const group of ours(context, offer)) learn(context, offer, group)
  for (const plan of plans) for (const group of ours(context, plan.offer)) useReserved(context, plan, group)
  placeNodes(context, plans)
  return plans.map(answer)
}

function ours ({ state, settings }: StepContext, offer: AgentOffer): ReservedGroup[] {
  if (offer.role !== settings.role) return []
  return [...offer.reserved.values()].filter(({ clusterId }) => clusterId === state.framework.clusterId)
}

function answer ({ offer, operations, incomplete }: Plan): CallBody {
  const offer_ids = offer.offerIds.map((value) => ({ value }))
  const filters = { refuse_seconds: incomplete ? declineShortSeconds : declineLongSeconds }
  return operations.length === 0
    ? { type: 'DECLINE', decline: { offer_ids, filters } }
    : { type: 'ACCEPT', accept: { offer_ids, operations, filters } }
}

const holdsVolume = (node: NodeRecord, group: ReservedGroup): boolean =>
  node.persistenceId !== null && group.volumes.includes(node.persistenceId)

/** What an offer proves about a node: where its volume is, and that no task uses it. */
function learn (context: StepContext, offer: AgentOffer, group: ReservedGroup): void {
  const { state } = context
  const node = state.byResourceId(group.resourceId)
  if (node === undefined || !holdsVolume(node, group)) return
  if (node.agentId !== offer.agentId || node.host !== offer.hostname || node.domain.join('\n') !== offer.domain.join('\n')) {
    node.agentId = offer.agentId
    node.host = offer.hostname
    node.domain = offer.domain
    state.saveNode(node)
  }
  provePlace(context, node, `has its volume on ${offer.hostname}`)
  if (node.task !== null) endTask(context, node, { reason: `the volume of ${node.task.id} is offered again: the task has ended` })
}

function useReserved (context: StepContext, plan: Plan, group: ReservedGroup): void {
  const { state } = context
  const node = state.byResourceId(group.resourceId)
  if (node === undefined) {
    if (state.garbage.has(group.resourceId) || group.volumes.length === 0) {
      plan.operations.push(...freeOperations(context, group))
    } else {
      state.strays.add(`${group.volumes.join(', ')} on ${plan.offer.hostname}`)
    }
    return
  }
  if (node.placement === 'reserving' || node.placement === 'creating') createVolume(context, plan, node, group)
  else if (mayLaunch(context, node)) launch(context, plan, node, group)
}

/** The reservation is there, its volume is not: CREATE was dropped. */
function createVolume (context: StepContext, plan: Plan, node: NodeRecord, group: ReservedGroup): void {
  if (!isWhole(node, group, group.diskMb >= node.resources!.diskMb)) {
    plan.incomplete = true
    return
  }
  node.placement = 'creating'
  node.reason = `the reservation on ${plan.offer.hostname} is there, its volume is not: creates it`
  context.state.saveNode(node)
  plan.operations.push(createOperation(context, node))
}

export function mayLaunch (context: StepContext, node: NodeRecord): boolean {
  return context.state.framework.goal === 'running' && node.goal !== 'remove' && node.placement === 'placed' &&
    node.task === null && isDue(context, node) && isGroupReadyFor(context.state, node)
}

function launch (context: StepContext, plan: Plan, node: NodeRecord, group: ReservedGroup): void {
  const { state, settings, random, nowMs } = context
  if (!isWhole(node, group, holdsVolume(node, group))) {
    plan.incomplete = true
    return
  }
  node.launches++
  node.task = {
    id: `${node.id}.${node.launches}.${random.bytes(4).toString('hex')}`,
    agentId: plan.offer.agentId,
    state: 'TASK_STAGING'
  }
  node.reason = `launched on ${plan.offer.hostname}`
  state.runtime(node).launchedAtMs = nowMs
  state.saveNode(node)
  plan.operations.push({ type: 'LAUNCH', launch: { task_infos: [taskInfo(state, settings, node, group.resources)] } })
}

function isWhole (node: NodeRecord, group: ReservedGroup, disk: boolean): boolean {
  const { cpus, memMb } = node.resources!
  return disk && group.cpus >= cpus && group.memMb >= memMb &&
    group.ports.includes(node.rpcPort!) && group.ports.includes(node.raftPort!)
}

export function wantsPlace (context: StepContext, node: NodeRecord): boolean {
  return context.state.framework.goal === 'running' && node.goal === 'run' && node.placement === 'none' && isDue(context, node)
}

function placeNodes (context: StepContext, plans: Plan[]): void {
  if (plans.length === 0) return
  const crowd = new Crowd(context.state.nodes.values())
  let hopeless: Evaluation | undefined
  for (const node of context.state.sortedNodes()) {
    if (!wantsPlace(context, node)) continue
    if (hopeless !== undefined) {
      // All nodes want the same: where one did not fit, the next does not either.
      context.state.runtime(node).evaluation = { ...hopeless, nodeId: node.id }
    } else {
      hopeless = placeNode(context, crowd.sort(plans), node, crowd)
    }
    // Not a change of its state, so not worth a write.
    if (hopeless !== undefined) node.reason = 'no offer fits'
  }
}

/** Reserves on the first agent that does; if none does, the last evaluation. */
function placeNode (context: StepContext, plans: Plan[], node: NodeRecord, crowd: Crowd): Evaluation | undefined {
  const { state, settings: { role, resources, nodesPerAgentMax } } = context
  let evaluation: Evaluation | undefined
  for (const { offer, operations } of plans) {
    const { outcome, slot } = evaluate(node, offer, { role, resources, nodesPerAgentMax, nodesOnAgent: crowd.on(offer.agentId) })
    evaluation = { atMs: context.nowMs, nodeId: node.id, offerIds: offer.offerIds, agentId: offer.agentId, hostname: offer.hostname, outcome }
    state.addEvaluation(node, evaluation)
    if (slot === null) continue
    takeSlot(offer, slot)
    choosePlace(context, node, slot, offer)
    crowd.add(node)
    operations.push(
      { type: 'RESERVE', id: operationId(node.resourceId!, 'reserve', context), reserve: { resources: reservedResources(ownerOf(context, node), slot) } },
      createOperation(context, node)
    )
    return undefined
  }
  return evaluation
}

function ownerOf ({ state, settings }: StepContext, node: NodeRecord): Owner {
  return {
    role: settings.role,
    principal: settings.principal,
    clusterId: state.framework.clusterId,
    nodeId: node.id,
    resourceId: node.resourceId!
  }
}

function createOperation (context: StepContext, node: NodeRecord): Operation {
  return {
    type: 'CREATE',
    id: operationId(node.resourceId!, 'create', context),
    create: { volumes: [volumeResource(ownerOf(context, node), node.resources!.diskMb, node.persistenceId!)] }
  }
}

/** Frees what is offered of a group, whatever it is. */
function freeOperations (context: StepContext, { resourceId, resources }: ReservedGroup): Operation[] {
  const volumes = resources.filter(hasVolume)
  const destroy: Operation[] = volumes.length === 0
    ? []
    : [{ type: 'DESTROY', id: operationId(resourceId, 'destroy', context), destroy: { volumes } }]
  return [
    ...destroy,
    { type: 'UNRESERVE', id: operationId(resourceId, 'unreserve', context), unreserve: { resources: resources.map(withoutVolume) } }
  ]
}

export type OperationKind = 'reserve' | 'create' | 'destroy' | 'unreserve'

function operationId (resourceId: string, kind: OperationKind, { random }: StepContext): { value: string } {
  return { value: `${resourceId}.${kind}.${random.bytes(4).toString('hex')}` }
}

/** The resource id and kind in an operation id of ours. */
export function parseOperationId (id: string): { resourceId: string, kind: OperationKind } | undefined {
  const [resourceId, kind, suffix] = id.split('.')
  if (resourceId === undefined || suffix === undefined) return undefined
  return kind === 'reserve' || kind === 'create' || kind === 'destroy' || kind === 'unreserve' ? { resourceId, kind } : undefined
}
