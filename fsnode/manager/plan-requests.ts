import { stepPlan } from '../../partitioning/planner.ts'
import type { VolumeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { BalanceSettings, ControlPlanRequest, MovePartitionRequest, RebalanceRequest, RemoveNodeRequest, SetVolumeRequest } from '../protocol/manager.ts'
import { clusterSignature, planFor, rebalancePlan, replacing, type BalanceInput } from './balancer.ts'
import { copiesPerNodeMax, plansUnfinishedMax, replicasMax } from './bounds.ts'
import type { ManagerState } from './manager-state.ts'
import type { MapChange } from './map-change.ts'
import { addMetadataPartitions } from './metadata-growth.ts'
import { wantPartitions } from './splits.ts'
import { isOver, type PlanHead, type PlanRecord, type PlanStanding } from './plans.ts'

/** One replica of a data partition to another node. @throws AtollError ATOLL_NO_SUCH_PARTITION, ATOLL_UNKNOWN_NODE, ATOLL_NODE_DOWN, ATOLL_BAD_ARGUMENT, ATOLL_PLAN_CONFLICT. */
export function movePlan (input: BalanceInput, { partition: id, from, to, token }: MovePartitionRequest): PlanHead {
  const { state } = input
  const partition = state.record(id)?.partition
  if (partition === undefined) throw new AtollError('ATOLL_NO_SUCH_PARTITION', `there is no data partition ${String(id)}`, { hint: 'those that exist: atoll partition list' })
  requireUp(state, to)
  requireFree(state, id)
  const held = partition.replicas.map(({ node }) => node)
  const where = `${id} is on ${held.join(', ')}`
  if (!held.includes(from)) throw new AtollError('ATOLL_BAD_ARGUMENT', `${where}, not on ${String(from)}`)
  if (held.includes(to)) throw new AtollError('ATOLL_BAD_ARGUMENT', `${where}: it has a replica on ${to} already`)
  requireRoomForPlan(state)
  const targets = [{ id, replicas: held.map((node) => node === from ? to : node) }]
  const plan = planFor(input, { kind: 'move', targets, basis: clusterSignature(input), why: `${id} from ${from} to ${to}`, ...(token !== undefined && { token }) })
  if (plan === null) throw new AtollError('ATOLL_INTERNAL', `no moves lead from ${from} to ${to}`)
  return plan
}

/** null: all is even. @throws AtollError ATOLL_NO_SUCH_VOLUME. */
export function evenPlan (input: BalanceInput, { volume, token }: RebalanceRequest): PlanHead | null {
  const plan = rebalancePlan(input, volume === undefined ? undefined : volumeNamed(input.state, volume))
  return plan === null || token === undefined ? plan : { ...plan, token }
}

export function startPlan (state: ManagerState, plan: PlanHead): MapChange {
  return { base: state.map.version, plans: [plan], standings: plan.kind === 'move' ? [] : replacing(state) }
}

/** null: nothing changes. @throws AtollError ATOLL_NO_SUCH_PLAN, ATOLL_PLAN_ENDED, ATOLL_BAD_ARGUMENT. */
export function controlPlans (state: ManagerState, { plan: id, action }: ControlPlanRequest, wallMs: number): MapChange | null {
  const event = ({ pause: 'pause', resume: 'resume', cancel: 'abort' } as const)[action]
  if (event === undefined) throw new AtollError('ATOLL_BAD_ARGUMENT', 'a plan is paused, resumed or cancelled')
  const plans = id === undefined ? state.plans.unfinished : [planNamed(state, id)]
  if (id !== undefined && isOver(plans[0]!)) throw new AtollError('ATOLL_PLAN_ENDED', `plan ${id} has ended`, { hint: 'those that go on: atoll partition plans' })
  const standings = plans.flatMap((record): PlanStanding[] => {
    const standing = stepPlan(record, record.state, { kind: event })
    return standing === record.state ? [] : [{ id: record.id, state: standing, endedMs: isOver({ state: standing, endedMs: null }) ? wallMs : null }]
  })
  // What is cancelled must not be planned again at once.
  const own = id !== undefined && plans[0]!.kind === 'move'
  const automatic = action === 'resume' ? true : own || (action === 'pause' && id !== undefined) ? state.settings.automatic : false
  const balance = automatic === state.settings.automatic ? {} : { balance: { automatic } }
  return standings.length === 0 && balance.balance === undefined ? null : { base: state.map.version, standings, ...balance }
}

export function planNamed (state: ManagerState, id: number): PlanRecord {
  const record = state.plans.get(id)
  if (record === undefined) throw new AtollError('ATOLL_NO_SUCH_PLAN', `there is no plan ${String(id)}`, { hint: 'those that exist: atoll partition plans' })
  return record
}

/** @throws AtollError ATOLL_BAD_ARGUMENT. */
export function setBalance (state: ManagerState, { automatic, bytesPerSecond, copiesPerNode }: Partial<BalanceSettings>): MapChange {
  const balance: Partial<BalanceSettings> = {}
  if (automatic !== undefined) balance.automatic = automatic === true
  if (bytesPerSecond !== undefined) {
    if (bytesPerSecond !== null && !(bytesPerSecond >= 1)) throw new AtollError('ATOLL_BAD_ARGUMENT', 'bytes per second: a number from 1, or none')
    balance.bytesPerSecond = bytesPerSecond
  }
  if (copiesPerNode !== undefined) {
    if (!Number.isInteger(copiesPerNode) || copiesPerNode < 1 || copiesPerNode > copiesPerNodeMax) throw new AtollError('ATOLL_BAD_ARGUMENT', `copies per node: from 1 to ${copiesPerNodeMax}`)
    balance.copiesPerNode = copiesPerNode
  }
  return { base: state.map.version, balance }
}

/** null: nothing changes. @throws AtollError ATOLL_NO_SUCH_VOLUME, ATOLL_BAD_ARGUMENT, ATOLL_NOT_ENOUGH_NODES. */
export function setVolume (state: ManagerState, { name, placement, replicas, dataPartitions, metadataPartitions }: SetVolumeRequest): MapChange | null {
  const volume = volumeNamed(state, name)
  if (placement !== undefined && placement !== 'hawaii' && placement !== 'tivoli') throw new AtollError('ATOLL_BAD_ARGUMENT', 'the placement is hawaii or tivoli')
  if (replicas !== undefined) {
    if (!Number.isInteger(replicas) || replicas < 1 || replicas > replicasMax) throw new AtollError('ATOLL_BAD_ARGUMENT', `replicas: from 1 to ${replicasMax}`)
    const up = state.map.nodes.filter((node) => node.state === 'up').length
    if (replicas > up && replicas > volume.replicas) throw new AtollError('ATOLL_NOT_ENOUGH_NODES', `${replicas} replicas need as many nodes; ${up} are up`, { hint: 'atoll node list' })
  }
  const split = dataPartitions === undefined ? null : wantPartitions(state, volume, dataPartitions)
  const more = metadataPartitions === undefined ? null : addMetadataPartitions(state, split?.volumes?.[0] ?? volume, metadataPartitions)
  const next: VolumeInfo = { ...(more?.volumes?.[0] ?? split?.volumes?.[0] ?? volume), placement: placement ?? volume.placement, replicas: replicas ?? volume.replicas }
  if (next.placement === volume.placement && next.replicas === volume.replicas && split === null && more === null) return null
  if (next.placement === volume.placement) return { base: state.map.version, ...split, ...more, volumes: [next] }
  // With the epoch every replica learns who may read, before anything else is done under the new policy.
  const records = state.map.data.filter((partition) => partition.volume === volume.id).map(({ id }) => {
    const record = split?.records?.find(({ partition }) => partition.id === id) ?? state.record(id)!
    return { ...record, partition: { ...record.partition, epoch: record.partition.epoch + 1 } }
  })
  return { base: state.map.version, ...more, volumes: [next], records }
}

/** @throws AtollError ATOLL_UNKNOWN_NODE, ATOLL_NODE_IN_USE. */
export function removeNode ({ map }: ManagerState, { node: id }: RemoveNodeRequest): MapChange {
  const node = map.nodes.find((candidate) => candidate.id === id)
  if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${String(id)}`, { hint: 'atoll node list' })
  const holds = [
    ...map.data.filter(({ replicas }) => replicas.some((replica) => replica.node === id)).map((partition) => partition.id),
    ...map.metadata.filter(({ members, change }) => members.includes(id) || change?.hosts.includes(id) === true).map((partition) => partition.id),
    ...(map.managers.includes(id) || map.managersChange?.hosts.includes(id) === true ? ['the manager'] : [])
  ]
  if (holds.length > 0) throw new AtollError('ATOLL_NODE_IN_USE', `node ${id} holds ${holds.length} replicas and members: ${holds.slice(0, 5).join(', ')}`, { hint: `atoll node drain ${id}` })
  if (node.state !== 'down') throw new AtollError('ATOLL_NODE_IN_USE', `node ${id} runs`, { hint: 'who has launched it ends it: atoll scheduler scale N' })
  return { base: map.version, removedNodes: [id] }
}

export function volumeNamed (state: ManagerState, name: string): VolumeInfo {
  const volume = state.map.volumes.find((candidate) => candidate.name === name)
  if (volume === undefined) throw new AtollError('ATOLL_NO_SUCH_VOLUME', `there is no volume ${String(name)}`, { hint: 'atoll volume list' })
  return volume
}

export function requireUp (state: ManagerState, id: string): void {
  const node = state.node(id)
  if (node === undefined) throw new AtollError('ATOLL_UNKNOWN_NODE', `there is no node ${String(id)}`, { hint: 'atoll node list' })
  if (node.state === 'down') throw new AtollError('ATOLL_NODE_DOWN', `node ${id} does not answer`)
  if (node.state === 'draining') throw new AtollError('ATOLL_BAD_ARGUMENT', `node ${id} is being emptied`, { hint: `atoll node drain ${id} --cancel` })
}

function requireFree (state: ManagerState, partition: string): void {
  const plan = state.plans.holding(partition)
  if (plan !== undefined) throw new AtollError('ATOLL_PLAN_CONFLICT', `plan ${plan.id} moves ${partition} already`, { hint: `wait for it, or: atoll partition cancel ${plan.id}` })
}

function requireRoomForPlan (state: ManagerState): void {
  if (state.plans.unfinished.length >= plansUnfinishedMax) throw new AtollError('ATOLL_UNAVAILABLE', `${plansUnfinishedMax} plans are under way`)
}
