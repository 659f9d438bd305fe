import type { Resource, TaskInfo, TaskState, TaskStatus } from '../../../scheduler/mesos/types.ts'

/** One indivisible thing of an agent: all that is unreserved, or one reserved resource. */
export interface Item { resource: Resource | null, offer: string | null, task: string | null }

/** `isOrphan`: its framework was removed; it is killed where and as soon as its agent is reached, and nobody is told. */
export interface ModelTask { info: TaskInfo, state: TaskState, agent: ModelAgent, updates: TaskStatus[], startedAtMs: number, isOrphan: boolean }

export interface ModelAgent {
  id: string
  hostname: string
  cpus: number
  mem: number
  disk: number
  ports: Set<number>
  items: Item[]
  reachable: boolean
  /** Declared gone: its tasks and volumes are no more. */
  isGone: boolean
  /** Until when it has not registered with a master that was started again; null: it has. */
  returnsAtMs: number | null
  /** Items refused, and until when. */
  filters: Array<{ items: Set<Item>, untilMs: number }>
}

/** What of an agent nobody has reserved. */
export interface Unreserved { cpus: number, mem: number, disk: number, ports: Set<number> }

export const idOf = (resource: Resource): string => resource.reservations!.at(-1)!.labels!.labels.find(({ key }) => key === 'resource_id')!.value!
export const volumeOf = (info: TaskInfo): string | undefined => info.resources.find(({ disk }) => disk?.persistence !== undefined)?.disk?.persistence?.id

export function same (a: Resource, b: Resource): boolean {
  return a.name === b.name && idOf(a) === idOf(b) && a.disk?.persistence?.id === b.disk?.persistence?.id &&
    a.scalar?.value === b.scalar?.value && JSON.stringify(a.ranges) === JSON.stringify(b.ranges)
}

function portsOf (resource: Resource): number[] {
  return (resource.ranges?.range ?? []).flatMap(({ begin, end }) => Array.from({ length: end - begin + 1 }, (_, index) => begin + index))
}

/** False, and nothing taken, when there is not enough. */
export function take (from: Unreserved, resources: Resource[]): boolean {
  const enough = resources.every((resource) => {
    const value = resource.scalar?.value ?? 0
    switch (resource.name) {
      case 'cpus': return from.cpus >= value
      case 'mem': return from.mem >= value
      case 'disk': return from.disk >= value
      default: return portsOf(resource).every((port) => from.ports.has(port))
    }
  })
  if (enough) for (const resource of resources) change(from, resource, -1)
  return enough
}

export const give = (to: Unreserved, resource: Resource): void => { change(to, resource, 1) }

function change (unreserved: Unreserved, resource: Resource, sign: 1 | -1): void {
  const value = sign * (resource.scalar?.value ?? 0)
  switch (resource.name) {
    case 'cpus': unreserved.cpus += value; break
    case 'mem': unreserved.mem += value; break
    case 'disk': unreserved.disk += value; break
    default:
      for (const port of portsOf(resource)) {
        if (sign === 1) unreserved.ports.add(port)
        else unreserved.ports.delete(port)
      }
  }
}
