import type { CallBody, Offer, Operation } from '../mesos/types.ts'
import { declineLongSeconds, declineShortSeconds, evaluationsPerNodeMax, garbageSearchMs } from './constants.ts'
import { Crowd } from './crowd.ts'
import { evaluate, scoreOf } from './evaluate.ts'
import type { Evaluated, EvaluationContext, Score } from './evaluate.ts'
import { taskInfo } from './launch.ts'
import { groupOffers } from './agent-offer.ts'
import type { AgentOffer, ReservedGroup } from './agent-offer.ts'
import { adoptPlace, choosePlace, comeBack, endTask, isDue, isGroupReadyFor, isPaused, provePlace } from './nodes.ts'
import type { StepContext } from './nodes.ts'
import { hasVolume, reservedResources, volumeResource, withoutVolume } from './resources.ts'
import { operationId, ownerOf } from './operations.ts'
import { growVolume, launchParts, reserveMore, settleSpare, wantsMore } from './resize.ts'
import { takeSlot } from './slots.ts'
import type { Evaluation, NodeRecord, NodeResources } from './types.ts'

interface Plan {
  offer: AgentOffer
  operations: Operation[]
  /** Something of ours is offered in part only, or is about to change: the rest is to come. */
  incomplete: boolean
}

/** Answers every offer: one ACCEPT or DECLINE per agent. Offers are the truth about what is reserved and free. */
export function handleOffers (context: StepContext, offers: Offer[]): CallBody[] {
  const agents = groupOffers(offers)
  const plans = agents.map((offer): Plan => ({ offer, operations: [], incomplete: false }))
  // First everything is learned, so that a manager group that is complete with these offers is launched from them.
  for (const offer of agents) for (const group of ours(context, offer)) learn(context, offer, group)
  for (const plan of plans) for (const group of ours(context, plan.offer)) useReserved(context, plan, group)
  for (const plan of plans) for (const node of context.state.sortedNodes()) if (node.agentId === plan.offer.agentId && wantsMore(context, node)) addMore(context, plan, node)
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
  const node = state.byResourceId(group.resourceId) ?? adopt(context, offer, group)
  if (node === undefined || !holdsVolume(node, group)) return
  if (node.rpcPort === null) completePlace(node, group)
  if (node.agentId !== offer.agentId || node.host !== offer.hostname || node.domain.join('\n') !== offer.domain.join('\n')) {
    node.agentId = offer.agentId
    node.host = offer.hostname
    node.domain = offer.domain
    node.attributes = offer.attributes
    state.saveNode(node)
  }
  comeBack(context, node)
  provePlace(context, node, `has its volume on ${offer.hostname}`)
  if (node.task !== null) endTask(context, node, { reason: `the volume of ${node.task.id} is offered again: the task has ended` })
}

/** A volume that the records lack, of a node that has no place: the records are a copy, and older. */
function adopt (context: StepContext, { agentId }: AgentOffer, { resourceId, nodeId, volumes, ports }: ReservedGroup): NodeRecord | undefined {
  const { state } = context
  if (state.garbage.has(resourceId) || state.framework.goal === 'uninstalling' || !volumes.includes(`${nodeId}.${resourceId}`) || ports.length < 2) return undefined
  const node = state.nodes.get(nodeId) ?? state.adoptNode(nodeId)
  if (node === undefined || node.placement !== 'none' || node.task !== null) return undefined
  adoptPlace(context, node, { resourceId, agentId })
  // Whether it ever ran is not known: what may hold data is treated as if it did.
  node.launches = Math.max(node.launches, 1)
  return node
}

function completePlace (node: NodeRecord, group: ReservedGroup): void {
  const [rpcPort, raftPort] = [...group.ports].sort((a, b) => a - b)
  const volume = group.resources.find(({ disk }) => disk?.persistence?.id === node.persistenceId)!
  const source = volume.disk!.source ?? null
  node.rpcPort = rpcPort ?? null
  node.raftPort = raftPort ?? null
  node.resources = { cpus: group.cpus, memMb: group.memMb, diskMb: volume.scalar?.value ?? 0 }
  node.disk = { type: source === null ? 'root' : source.type === 'MOUNT' ? 'mount' : 'path', source, base: volume.reservations!.slice(0, -1) }
}

function useReserved (context: StepContext, plan: Plan, group: ReservedGroup): void {
  const { state } = context
  const node = state.byResourceId(group.resourceId)
  if (node === undefined) {
    if (state.garbage.has(group.resourceId) || group.volumes.length === 0 || state.framework.goal === 'uninstalling') {
      if (!state.garbage.has(group.resourceId)) state.addGarbage({ resourceId: group.resourceId, nodeId: group.nodeId, agentId: plan.offer.agentId }, context.nowMs + garbageSearchMs)
      state.garbageFreedMs.set(group.resourceId, context.nowMs)
      plan.operations.push(...freeOperations(context, group))
    } else {
      state.strays.add(`${group.volumes.join(', ')} on ${plan.offer.hostname}`)
    }
    return
  }
  if (node.placement === 'reserving' || node.placement === 'creating') createVolume(context, plan, node, group)
  else if (node.task !== null) plan.operations.push(...settleSpare(context, node, group))
  else if (mayLaunch(context, node)) launch(context, plan, node, group)
}

/** What comes of it is waited for. */
function addMore (context: StepContext, plan: Plan, node: NodeRecord): void {
  const operations = reserveMore(context, plan.offer, node)
  plan.incomplete ||= operations.length > 0
  plan.operations.push(...operations)
}

/** The reservation is there, its volume is not: CREATE was dropped. */
function createVolume (context: StepContext, plan: Plan, node: NodeRecord, group: ReservedGroup): void {
  if (!isWhole(node, group, group.diskMb >= node.resources!.diskMb)) {
    plan.incomplete = true
    return
  }
  node.placement = 'creating'
  node.reason = `the reservation on ${plan.offer.hostname} is there, its volume is not: creates it`
  const operation = createOperation(context, node)
  node.operations = [operation.id!.value]
  context.state.saveNode(node)
  plan.operations.push(operation)
}

export function mayLaunch (context: StepContext, node: NodeRecord): boolean {
  const { state } = context
  return state.framework.goal === 'running' && node.goal !== 'remove' && !node.emptied && node.placement === 'placed' &&
    node.task === null && isDue(context, node) && isGroupReadyFor(state, node) && !isPaused(state, node.launches === 0 ? 'deploy' : 'recovery')
}

function launch (context: StepContext, plan: Plan, node: NodeRecord, group: ReservedGroup): void {
  const { state, random, nowMs } = context
  if (!isWhole(node, group, holdsVolume(node, group))) {
    plan.incomplete = true
    return
  }
  const growth = growVolume(context, node, group)
  if (growth !== null) {
    plan.incomplete = true
    plan.operations.push(growth)
    return
  }
  const { resources, surplus } = launchParts(context, node, group)
  Object.assign(state.runtime(node), { growthAsked: false, growthProblem: null })
  node.launches++
  node.task = {
    id: `${node.id}.${node.launches}.${random.bytes(4).toString('hex')}.${node.resourceId}`,
    agentId: plan.offer.agentId,
    state: 'TASK_STAGING'
  }
  node.version = state.version
  node.awaySinceMs = null
  node.reason = `launched on ${plan.offer.hostname}`
  state.runtime(node).launchedAtMs = nowMs
  state.runtime(node).endedAtMs = null
  state.saveNode(node)
  plan.operations.push(...surplus, { type: 'LAUNCH', launch: { task_infos: [taskInfo(state, node, resources)] } })
}

function isWhole (node: NodeRecord, group: ReservedGroup, disk: boolean): boolean {
  const { cpus, memMb } = node.resources!
  return disk && group.cpus >= cpus && group.memMb >= memMb &&
    group.ports.includes(node.rpcPort!) && group.ports.includes(node.raftPort!)
}

export function wantsPlace (context: StepContext, node: NodeRecord): boolean {
  const { state } = context
  return state.framework.goal === 'running' && !state.framework.restored && node.goal === 'run' && node.placement === 'none' && isDue(context, node) && !isPaused(state, 'deploy')
}

/** An agent's offer as a place for any node. `evaluated` holds until something is taken from it. */
interface Candidate { plan: Plan, evaluated: Evaluated | null, score: Score | null }

function placeNodes (context: StepContext, plans: Plan[]): void {
  if (plans.length === 0) return
  const crowd = new Crowd(context.state.nodes.values())
  const candidates = plans.map((plan): Candidate => ({ plan, evaluated: null, score: null }))
  let hopeless: Evaluation | undefined
  for (const node of context.state.sortedNodes()) {
    if (!wantsPlace(context, node)) continue
    if (hopeless !== undefined) {
      // All nodes want the same: where one did not fit, the next does not either.
      context.state.runtime(node).evaluation = { ...hopeless, nodeId: node.id }
    } else {
      hopeless = placeNode(context, candidates, node, crowd)
    }
    // Not a change of its state, so not worth a write.
    if (hopeless !== undefined) node.reason = 'no offer fits'
  }
}

function sizesOfNew ({ state: { framework }, settings: { resources } }: StepContext): NodeResources {
  return { ...resources, ...framework.sizes, diskMb: Math.max(resources.diskMb, framework.volumeMb ?? 0) }
}

/** Reserves on the agent with the most points; if none fits, the last evaluation. */
function placeNode (context: StepContext, candidates: Candidate[], node: NodeRecord, crowd: Crowd): Evaluation | undefined {
  const { settings: { role, diskType, constraints, nodesPerAgentMax } } = context
  const resources = sizesOfNew(context)
  const evaluation: EvaluationContext = { role, resources, diskType, constraints, nodesPerAgentMax, crowd }
  let best: Candidate | undefined
  for (const candidate of candidates) {
    const { plan: { offer } } = candidate
    candidate.evaluated ??= evaluate(node, offer, evaluation)
    const { slot } = candidate.evaluated
    candidate.score = slot === null ? null : scoreOf(offer, slot, evaluation)
    if (candidate.score !== null && (best === undefined || candidate.score.points > best.score!.points)) best = candidate
  }
  const last = keepEvaluations(context, candidates, node, best)
  if (best === undefined) return last
  reserve(context, best, node)
  crowd.add(node)
  // What depends on the other nodes has changed everywhere, what depends on the offer only here.
  const isRelative = constraints.some(({ operator }) => operator === 'at most')
  for (const candidate of isRelative ? candidates : [best]) candidate.evaluated = null
  return undefined
}

/** For `explain`: the best others and, where they are few, those that did not fit; the chosen one last, which a node's status shows. */
function keepEvaluations (context: StepContext, candidates: Candidate[], node: NodeRecord, best: Candidate | undefined): Evaluation | undefined {
  const others = candidates.filter((candidate) => candidate !== best)
  const shown = others.length <= evaluationsPerNodeMax ? others : others.sort((a, b) => (b.score?.points ?? -1) - (a.score?.points ?? -1)).slice(0, evaluationsPerNodeMax)
  let last: Evaluation | undefined
  for (const candidate of best === undefined ? shown : [...shown, best]) {
    const { plan: { offer }, evaluated, score } = candidate
    last = { atMs: context.nowMs, nodeId: node.id, offerIds: offer.offerIds, agentId: offer.agentId, hostname: offer.hostname, outcome: evaluated!.outcome, score, chosen: candidate === best }
    context.state.addEvaluation(node, last)
  }
  return last
}

function reserve (context: StepContext, { plan, evaluated }: Candidate, node: NodeRecord): void {
  const slot = evaluated!.slot
  takeSlot(plan.offer, slot!)
  choosePlace(context, node, slot!, plan.offer)
  const operations: Operation[] = [
    { type: 'RESERVE', id: operationId(node.resourceId!, 'reserve', context), reserve: { resources: reservedResources(ownerOf(context, node), slot!) } },
    createOperation(context, node)
  ]
  node.operations = operations.map(({ id }) => id!.value)
  plan.operations.push(...operations)
}

function createOperation (context: StepContext, node: NodeRecord): Operation {
  return {
    type: 'CREATE',
    id: operationId(node.resourceId!, 'create', context),
    create: { volumes: [volumeResource(ownerOf(context, node), { diskMb: node.resources!.diskMb, disk: node.disk, persistenceId: node.persistenceId! })] }
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
