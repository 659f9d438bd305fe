import type { DiskSource, Resource } from '../../mesos/types.ts'
import type { Resources } from './resources.ts'

/** As Mesos prints resources in its messages: `cpus(allocated: r)(reservations: [(DYNAMIC,r,p,{k: v})]):1`. */
export function textOf (resources: Resources, role?: string): string {
  return resources.length === 0 ? '{}' : resources.map((resource) => oneText(resource, role)).join('; ')
}

function oneText (resource: Resource, role?: string): string {
  const allocated = role === undefined ? '' : `(allocated: ${role})`
  return `${resource.name}${allocated}${reservationText(resource)}${diskText(resource)}:${quantityText(resource)}`
}

function reservationText ({ reservations = [] }: Resource): string {
  if (reservations.length === 0) return ''
  const entries = reservations.map(({ type, role, principal, labels }) => {
    const pairs = labels?.labels.map(({ key, value }) => value === undefined ? key : `${key}: ${value}`)
    return `(${[type, role, principal, pairs && `{${pairs.join(', ')}}`].filter((part) => part !== undefined).join(',')})`
  })
  return `(reservations: [${entries.join(',')}])`
}

function diskText ({ disk }: Resource): string {
  const { persistence, volume, source } = disk ?? {}
  const parts = [
    ...(source === undefined ? [] : [`${source.type}${rootOf(source)}`]),
    ...(persistence === undefined ? [] : [`${persistence.id}${volume === undefined ? '' : `:${volume.container_path}`}`])
  ]
  return parts.length === 0 ? '' : `[${parts.join(',')}]`
}

function rootOf ({ path, mount }: DiskSource): string {
  const root = path?.root ?? mount?.root
  return root === undefined ? '' : `:${root}`
}

function quantityText (resource: Resource): string {
  switch (resource.type) {
    case 'SCALAR': return String(resource.scalar?.value ?? 0)
    case 'RANGES': return `[${(resource.ranges?.range ?? []).map(({ begin, end }) => `${begin}-${end}`).join(', ')}]`
    case 'SET': return `{${(resource.set?.item ?? []).join(', ')}}`
  }
}
