import type { Operation, ReservationInfo } from '../mesos/types.ts'
import { roundAmount } from './agent-offer.ts'
import type { AgentOffer, Pool, ReservedGroup } from './agent-offer.ts'
import { garbageSearchMs } from './constants.ts'
import type { StepContext } from './nodes.ts'
import { operationId, ownerOf } from './operations.ts'
import { hasVolume, moreResources } from './resources.ts'
import { cut, describeSizes, isNothing, isResized, lackOf, surplusOf, wantedSizes } from './sizes.ts'
import type { NodeRecord, NodeResources } from './types.ts'

/** A node that runs and is to have more: what it lacks is reserved before it is restarted, so that it is never down for want of it. */
export function wantsMore ({ state }: StepContext, node: NodeRecord): boolean {
  return state.framework.updating && state.framework.goal === 'running' && node.goal === 'run' && node.task?.state === 'TASK_RUNNING' &&
    isResized(state, node) && !isNothing(lackOf(state, node))
}

/** The reservation of what a node lacks, from what its agent has free; none if that is not enough. */
export function reserveMore (context: StepContext, offer: AgentOffer, node: NodeRecord): Operation[] {
  const { state } = context
  const lack = lackOf(state, node)
  const cpus = offer.pools.find((pool) => pool.cpus >= lack.cpus)
  const mem = offer.pools.find((pool) => pool.memMb >= lack.memMb)
  const disk = diskFor(offer.pools, node, lack.diskMb)
  if (cpus === undefined || mem === undefined || disk === undefined) {
    // Not a change of its state, so not worth a write.
    node.reason = `is to have ${describeSizes(lack)} more, which ${offer.hostname} does not have free`
    return []
  }
  cpus.cpus = roundAmount(cpus.cpus - lack.cpus)
  mem.memMb = roundAmount(mem.memMb - lack.memMb)
  disk.take(lack.diskMb)
  seekSpare(context, node)
  const resources = moreResources(ownerOf(context, node), lack, { cpus: cpus.base, mem: mem.base, disk: disk.base, source: node.disk?.source ?? null })
  return [{ type: 'RESERVE', id: operationId(node.resourceId!, 'more', context), reserve: { resources } }]
}

/** Whatever becomes of an operation on a part of its reservation: what is left of it is found where it is offered. */
function seekSpare ({ state, nowMs }: StepContext, node: NodeRecord): void {
  state.runtime(node).spareUntilMs = nowMs + garbageSearchMs
  if (node.spareSought) return
  node.spareSought = true
  state.saveNode(node)
}

/** When that has been done for long enough, nothing is there. */
export function settleSearch ({ state, nowMs }: StepContext, node: NodeRecord): void {
  if (!node.spareSought) return
  const runtime = state.runtime(node)
  runtime.spareUntilMs ??= nowMs + garbageSearchMs
  if (nowMs < runtime.spareUntilMs) return
  runtime.spareUntilMs = null
  node.spareSought = false
  state.saveNode(node)
}

/** Of the very disk that the volume is on. */
function diskFor (pools: Pool[], node: NodeRecord, neededMb: number): { base: ReservationInfo[], take: (takenMb: number) => void } | undefined {
  const base = node.disk?.base ?? []
  if (neededMb === 0) return { base, take: () => {} }
  const source = JSON.stringify(node.disk?.source ?? null)
  const disk = pools.find((pool) => JSON.stringify(pool.base) === JSON.stringify(base))?.disks.find((each) => JSON.stringify(each.source) === source && each.sizeMb >= neededMb)
  return disk === undefined ? undefined : { base, take: (takenMb) => { disk.sizeMb = roundAmount(disk.sizeMb - takenMb) } }
}

/** What of a running node's reservation is offered, beside what its task uses: noted, and given back where it is not to have it. */
export function settleSpare (context: StepContext, node: NodeRecord, group: ReservedGroup): Operation[] {
  const { state } = context
  if (node.resources === null || node.rpcPort === null || group.volumes.length > 0) return []
  const spare: NodeResources = { cpus: group.cpus, memMb: group.memMb, diskMb: group.diskMb }
  const surplus = surplusOf(state, node, spare)
  const kept: NodeResources = { cpus: roundAmount(spare.cpus - surplus.cpus), memMb: roundAmount(spare.memMb - surplus.memMb), diskMb: roundAmount(spare.diskMb - surplus.diskMb) }
  if (JSON.stringify(node.spare) !== JSON.stringify(kept)) {
    node.spare = kept
    state.saveNode(node)
  }
  return isNothing(surplus) ? [] : [unreserve(context, node, cut(group.resources.filter(({ name }) => name !== 'ports'), surplus).taken)]
}

/** The volume grows first: a task can use it in a later offer only. None when it has the size that it is to have, or was not grown when that was asked for. */
export function growVolume (context: StepContext, node: NodeRecord, group: ReservedGroup): Operation | null {
  const { state } = context
  const runtime = state.runtime(node)
  const volume = group.resources.find(({ disk }) => disk?.persistence?.id === node.persistenceId)!
  const hasMb = volume.scalar!.value
  if (hasMb !== node.resources!.diskMb) {
    node.resources = { ...node.resources!, diskMb: hasMb }
    node.reason = `its volume has ${hasMb} MB now`
  }
  const { diskMb } = wantedSizes(state, node)
  const additionMb = roundAmount(diskMb - hasMb)
  if (additionMb <= 0 || group.diskMb < additionMb) return null
  if (runtime.growthAsked) {
    node.growthRefused = { diskMb, reason: runtime.growthProblem ?? 'it is offered as it was' }
    state.saveNode(node)
    return null
  }
  runtime.growthAsked = true
  const { taken } = cut(group.resources.filter((resource) => resource.name === 'disk' && !hasVolume(resource)), { cpus: 0, memMb: 0, diskMb: additionMb })
  // Of several pieces one is enough for now; the rest comes with another update.
  return { type: 'GROW_VOLUME', id: operationId(node.resourceId!, 'grow', context), grow_volume: { volume, addition: taken[0]! } }
}

/** What a node is launched with: what it is to have where that is there, else what it had; and what is given back. */
export function launchParts (context: StepContext, node: NodeRecord, group: ReservedGroup): { resources: ReservedGroup['resources'], surplus: Operation[] } {
  const had = node.resources!
  const wanted = wantedSizes(context.state, node)
  node.resources = { cpus: group.cpus >= wanted.cpus ? wanted.cpus : had.cpus, memMb: group.memMb >= wanted.memMb ? wanted.memMb : had.memMb, diskMb: had.diskMb }
  node.spare = null
  const isFixed = (resource: ReservedGroup['resources'][number]): boolean => resource.name === 'ports' || hasVolume(resource)
  const { taken, left } = cut(group.resources.filter((resource) => !isFixed(resource)), { ...node.resources, diskMb: 0 })
  return {
    resources: [...taken, ...group.resources.filter(isFixed)],
    surplus: left.length === 0 ? [] : [unreserve(context, node, left)]
  }
}

function unreserve (context: StepContext, node: NodeRecord, resources: ReservedGroup['resources']): Operation {
  seekSpare(context, node)
  return { type: 'UNRESERVE', id: operationId(node.resourceId!, 'less', context), unreserve: { resources } }
}
