import { AtollError } from '../../fsnode/protocol/errors.ts'
import type { Resource } from '../mesos/types.ts'
import { roundAmount } from './agent-offer.ts'
import type { FrameworkState } from './state.ts'
import type { NodeRecord, NodeResources } from './types.ts'

/** What an update may ask for. `diskMb`: each volume is to have at least so much. */
export type SizesChange = Partial<NodeResources>

/** What a placed node is to have: volumes only grow, and only where the disk is shared. */
export function wantedSizes ({ framework }: FrameworkState, node: NodeRecord): NodeResources {
  const has = node.resources!
  const { cpus, memMb } = framework.sizes ?? has
  const grows = node.disk?.type !== 'mount' && node.growthRefused?.diskMb !== framework.volumeMb
  return { cpus, memMb, diskMb: grows ? Math.max(has.diskMb, framework.volumeMb ?? 0) : has.diskMb }
}

export function isResized (state: FrameworkState, node: NodeRecord): boolean {
  if (node.goal !== 'run' || node.resources === null || node.rpcPort === null) return false
  const wanted = wantedSizes(state, node)
  return amounts.some((amount) => wanted[amount] !== node.resources![amount])
}

/** What has to be reserved for a node before it can be launched with what it is to have. */
export function lackOf (state: FrameworkState, node: NodeRecord): NodeResources {
  const wanted = wantedSizes(state, node)
  const lack = (amount: keyof NodeResources): number => Math.max(0, roundAmount(wanted[amount] - node.resources![amount] - (node.spare?.[amount] ?? 0)))
  return { cpus: lack('cpus'), memMb: lack('memMb'), diskMb: lack('diskMb') }
}

/** What is reserved for a node beside what its task uses and is not, or not any more, to have. */
export function surplusOf (state: FrameworkState, node: NodeRecord, spare: NodeResources): NodeResources {
  const wanted = wantedSizes(state, node)
  const surplus = (amount: keyof NodeResources): number => Math.max(0, roundAmount(spare[amount] - Math.max(0, wanted[amount] - node.resources![amount])))
  return { cpus: surplus('cpus'), memMb: surplus('memMb'), diskMb: surplus('diskMb') }
}

export const isNothing = (sizes: NodeResources): boolean => amounts.every((amount) => sizes[amount] === 0)

export function describeSizes ({ cpus, memMb, diskMb }: NodeResources): string {
  return [...(cpus > 0 ? [`${cpus} cpus`] : []), ...(memMb > 0 ? [`${memMb} MB of memory`] : []), ...(diskMb > 0 ? [`${diskMb} MB of disk`] : [])].join(', ')
}

/** Throws ATOLL_INVALID, or ATOLL_VOLUME_SIZE for what volumes cannot become. */
export function checkSizes (state: FrameworkState, change: SizesChange): void {
  for (const amount of amounts) {
    const value = change[amount]
    if (value !== undefined && !(Number.isFinite(value) && value > 0)) throw new AtollError('ATOLL_INVALID', 'cpus, mem and disk of a node must be positive')
  }
  const { diskMb } = change
  if (diskMb === undefined) return
  for (const { id, disk, resources } of state.activeNodes()) {
    if (resources === null || resources.diskMb === diskMb) continue
    const hint = `A node of another size: start the scheduler with --disk ${diskMb}, then: atoll scheduler replace ${id}`
    if (resources.diskMb > diskMb) throw new AtollError('ATOLL_VOLUME_SIZE', `volumes cannot shrink: that of ${id} has ${resources.diskMb} MB`, { hint })
    if (disk?.type === 'mount') throw new AtollError('ATOLL_VOLUME_SIZE', `the volume of ${id} is a whole MOUNT disk of ${resources.diskMb} MB: it cannot grow`, { hint })
  }
}

/** Reserved resources but for volumes and ports, divided: the first so many, and what is left. */
export function cut (resources: Resource[], wanted: NodeResources): { taken: Resource[], left: Resource[] } {
  const open: Record<string, number> = { cpus: wanted.cpus, mem: wanted.memMb, disk: wanted.diskMb }
  const taken: Resource[] = []
  const left: Resource[] = []
  for (const resource of resources) {
    const value = resource.scalar?.value ?? 0
    const part = Math.min(value, open[resource.name] ?? 0)
    open[resource.name] = roundAmount((open[resource.name] ?? 0) - part)
    if (part > 0) taken.push({ ...resource, scalar: { value: part } })
    if (value > part) left.push({ ...resource, scalar: { value: roundAmount(value - part) } })
  }
  return { taken, left }
}

const amounts = ['cpus', 'memMb', 'diskMb'] as const
