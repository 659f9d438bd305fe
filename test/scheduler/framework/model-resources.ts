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

/** Takes a part of a reserved amount out of the items, and divides the one that it is of; undefined: there is none that has so much. */
export function split (agent: ModelAgent, items: Set<Item>, wanted: Resource): Item | undefined {
  const value = wanted.scalar?.value ?? 0
  const whole = [...items].find(({ resource, task }) => task === null && resource !== null && resource.scalar !== undefined && resource.scalar.value > value &&
    same({ ...resource, scalar: wanted.scalar! }, wanted))
  if (whole === undefined) return undefined
  whole.resource = { ...whole.resource!, scalar: { value: whole.resource!.scalar!.value - value } }
  return insert(agent, items, wanted)
}

/** The volume gets the addition, which is reserved for the same. */
export function grow (agent: ModelAgent, items: Set<Item>, { volume, addition }: { volume: Item | undefined, addition: Item | undefined }): boolean {
  if (volume?.resource == null || addition?.resource == null) return false
  volume.resource = { ...volume.resource, scalar: { value: volume.resource.scalar!.value + addition.resource.scalar!.value } }
  agent.items.splice(agent.items.indexOf(addition), 1)
  items.delete(addition)
  return true
}

export function insert (agent: ModelAgent, items: Set<Item>, resource: Resource): Item {
  const item: Item = { resource: structuredClone(resource), offer: null, task: null }
  agent.items.push(item)
  items.add(item)
  return item
}

/** A free item for each, none twice. */
export function pick (items: Set<Item>, resources: Resource[]): Array<Item | undefined> {
  const free = new Set([...items].filter(({ task }) => task === null))
  return resources.map((wanted) => {
    const item = [...free].find(({ resource }) => resource !== null && same(resource, wanted))
    if (item !== undefined) free.delete(item)
    return item
  })
}

/** Amounts reserved for the same are one when they are free, as a master sees it. */
export function free (agent: ModelAgent): Item[] {
  const found = new Map<string, Item>()
  return agent.items.filter(({ offer, task }) => offer === null && task === null).filter((item) => {
    const { resource } = item
    if (resource?.scalar === undefined || resource.disk?.persistence !== undefined) return true
    const other = found.get(`${resource.name} ${idOf(resource)}`)
    if (other === undefined) {
      found.set(`${resource.name} ${idOf(resource)}`, item)
      return true
    }
    other.resource = { ...other.resource!, scalar: { value: other.resource!.scalar!.value + resource.scalar.value } }
    agent.items.splice(agent.items.indexOf(item), 1)
    return false
  })
}
