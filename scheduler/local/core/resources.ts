import type { ReservationInfo, Resource, ValueRange } from '../../mesos/types.ts'

/**
 * Arithmetic on resources as Mesos does it. A list is normal when each resource has the form with
 * `reservations` and no `allocation_info`, what can be added up is added up, and nothing is empty.
 * Persistent volumes and MOUNT disks never add up or split. All functions take and give normal lists, unless they say otherwise.
 */
export type Resources = readonly Resource[]

/** The form before reservation refinement. */
interface LegacyReservation { principal?: string, labels?: ReservationInfo['labels'] }
interface LegacyResource extends Resource { reservation?: LegacyReservation }

/** Any form to the normal one, without adding up. */
export function normalOf (resource: Resource): Resource {
  const { name, type, disk, shared, revocable, provider_id: provider } = resource
  const reservations = reservationsOf(resource)
  return {
    name,
    type,
    ...(type === 'SCALAR' && { scalar: { value: thousandths(resource.scalar?.value ?? 0) / 1000 } }),
    ...(type === 'RANGES' && { ranges: { range: unionOf(resource.ranges?.range ?? []) } }),
    ...(type === 'SET' && { set: { item: [...new Set(resource.set?.item ?? [])].sort() } }),
    ...(reservations.length > 0 && { reservations }),
    ...(disk !== undefined && { disk }),
    ...(shared !== undefined && { shared }),
    ...(revocable !== undefined && { revocable }),
    ...(provider !== undefined && { provider_id: provider })
  }
}

function reservationsOf (resource: LegacyResource): ReservationInfo[] {
  if (resource.reservations !== undefined) return resource.reservations
  if (resource.role === undefined || resource.role === '*') return []
  const { role, reservation } = resource
  return [{ type: reservation === undefined ? 'STATIC' : 'DYNAMIC', role, ...reservation }]
}

export function normalList (resources: Resources): Resource[] {
  return plus([], resources.map(normalOf))
}

/** The form for frameworks without RESERVATION_REFINEMENT; only for stacks of one reservation at most. */
export function legacyOf (resource: Resource): Resource {
  const { reservations, ...rest } = resource
  const reservation = reservations?.at(-1)
  if (reservation === undefined) return { ...rest, role: '*' }
  const { type, role, ...details } = reservation
  const legacy: LegacyResource = { ...rest, role, ...(type === 'DYNAMIC' && { reservation: details }) }
  return legacy
}

export function isVolume (resource: Resource): boolean { return resource.disk?.persistence !== undefined }

export function isMount (resource: Resource): boolean { return resource.disk?.source?.type === 'MOUNT' }

/** Taken whole or not at all. */
function isWhole (resource: Resource): boolean { return isVolume(resource) || isMount(resource) }

/** `<role>/<persistence id>`: what a volume is known by on an agent. */
export function volumeKeyOf (volume: Resource): string {
  return `${volume.reservations?.at(-1)?.role ?? '*'}/${volume.disk?.persistence?.id ?? ''}`
}

/** Resources with equal identity differ in quantity only. How a volume is to be mounted does not count. */
function identityOf (resource: Resource): string {
  const { name, type, reservations = [], disk, shared, revocable, provider_id: provider } = resource
  const stack = reservations.map((entry) => [entry.type, entry.role, entry.principal ?? null, (entry.labels?.labels ?? []).map((label) => [label.key, label.value ?? null])])
  const { type: kind, path, mount, id, profile, vendor } = disk?.source ?? {}
  const source = [kind, path?.root ?? mount?.root, id, profile, vendor].map((part) => part ?? null)
  return JSON.stringify([name, type, stack, disk?.persistence?.id ?? null, source, shared !== undefined, revocable !== undefined, provider?.value ?? null])
}

export function plus (list: Resources, added: Resources): Resource[] {
  const sum = [...list]
  for (const resource of added) {
    if (isEmpty(resource)) continue
    const identity = identityOf(resource)
    const index = isWhole(resource) ? -1 : sum.findIndex((other) => identityOf(other) === identity)
    if (index === -1) sum.push(resource)
    else sum[index] = combined(sum[index]!, resource, 1)!
  }
  return sum
}

/** What is left of `list`; undefined unless it holds all of `taken`. */
export function minus (list: Resources, taken: Resources): Resource[] | undefined {
  const rest = [...list]
  for (const resource of taken) {
    if (isEmpty(resource)) continue
    const identity = identityOf(resource)
    const index = rest.findIndex((other) => identityOf(other) === identity)
    if (index === -1) return undefined
    const left = combined(rest[index]!, resource, -1)
    if (left === undefined || (isWhole(resource) && !isEmpty(left))) return undefined
    if (isEmpty(left)) rest.splice(index, 1)
    else rest[index] = left
  }
  return rest
}

export function contains (list: Resources, part: Resources): boolean { return minus(list, part) !== undefined }

/** What `list` has beyond `taken`, which may hold more than `list`. */
export function beyond (list: Resources, taken: Resources): Resource[] {
  let rest = [...list]
  for (const resource of taken) {
    const identity = identityOf(resource)
    const held = rest.find((other) => identityOf(other) === identity)
    if (held !== undefined) rest = minus(rest, [commonOf(held, resource)])!
  }
  return rest
}

/** Sum of a scalar over all reservations and volumes. */
export function totalScalar (list: Resources, name: string): number {
  return list.reduce((sum, resource) => resource.name === name ? sum + thousandths(resource.scalar?.value ?? 0) : sum, 0) / 1000
}

/** The same without any reservation or volume. */
export function unreserved (list: Resources): Resource[] {
  return plus([], list.map(({ reservations: _, disk, ...rest }) => disk?.source === undefined ? rest : { ...rest, disk: { source: disk.source } }))
}

/** Without the current level of the reservation. */
export function popReservation (resource: Resource): Resource {
  const { reservations = [], ...rest } = resource
  return reservations.length > 1 ? { ...rest, reservations: reservations.slice(0, -1) } : rest
}

/** The disk that a volume is made of. */
export function withoutVolume (volume: Resource): Resource {
  const { disk, ...rest } = volume
  return disk?.source === undefined ? rest : { ...rest, disk: { source: disk.source } }
}

export function isEmpty (resource: Resource): boolean {
  switch (resource.type) {
    case 'SCALAR': return thousandths(resource.scalar?.value ?? 0) <= 0
    case 'RANGES': return (resource.ranges?.range.length ?? 0) === 0
    case 'SET': return (resource.set?.item.length ?? 0) === 0
  }
}

/** Sum or difference of two resources of one identity; undefined for a difference that is not covered. */
function combined (one: Resource, other: Resource, sign: 1 | -1): Resource | undefined {
  switch (one.type) {
    case 'SCALAR': {
      const value = thousandths(one.scalar!.value) + sign * thousandths(other.scalar!.value)
      return value < 0 ? undefined : { ...one, scalar: { value: value / 1000 } }
    }
    case 'RANGES': {
      const range = sign === 1 ? unionOf([...one.ranges!.range, ...other.ranges!.range]) : differenceOf(one.ranges!.range, other.ranges!.range)
      return range && { ...one, ranges: { range } }
    }
    case 'SET': {
      const items = new Set(one.set!.item)
      for (const item of other.set!.item) {
        if (sign === 1) items.add(item)
        else if (!items.delete(item)) return undefined
      }
      return { ...one, set: { item: [...items].sort() } }
    }
  }
}

function commonOf (one: Resource, other: Resource): Resource {
  if (isWhole(one)) return one
  switch (one.type) {
    case 'SCALAR': return { ...one, scalar: { value: Math.min(one.scalar!.value, other.scalar!.value) } }
    case 'RANGES': return { ...one, ranges: { range: intersectionOf(one.ranges!.range, other.ranges!.range) } }
    case 'SET': return { ...one, set: { item: one.set!.item.filter((item) => other.set!.item.includes(item)) } }
  }
}

function thousandths (value: number): number { return Math.round(value * 1000) }

/** Sorted, disjoint and not adjacent. Ranges that end before they begin are dropped. */
function unionOf (ranges: readonly ValueRange[]): ValueRange[] {
  const union: ValueRange[] = []
  for (const { begin, end } of ranges.filter((range) => range.begin <= range.end).sort((one, other) => one.begin - other.begin)) {
    const last = union.at(-1)
    if (last !== undefined && begin <= last.end + 1) last.end = Math.max(last.end, end)
    else union.push({ begin, end })
  }
  return union
}

function differenceOf (from: readonly ValueRange[], taken: readonly ValueRange[]): ValueRange[] | undefined {
  let rest = [...from]
  for (const { begin, end } of taken) {
    const index = rest.findIndex((range) => range.begin <= begin && end <= range.end)
    if (index === -1) return undefined
    const range = rest[index]!
    rest = rest.toSpliced(index, 1, { begin: range.begin, end: begin - 1 }, { begin: end + 1, end: range.end })
  }
  return unionOf(rest)
}

function intersectionOf (one: readonly ValueRange[], other: readonly ValueRange[]): ValueRange[] {
  return unionOf(one.flatMap((range) => other.map((with_) => ({ begin: Math.max(range.begin, with_.begin), end: Math.min(range.end, with_.end) }))))
}
