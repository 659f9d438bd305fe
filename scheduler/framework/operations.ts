import type { StepContext } from './nodes.ts'
import type { Owner } from './resources.ts'
import type { NodeRecord } from './types.ts'

const kinds = ['reserve', 'create', 'destroy', 'unreserve', 'more', 'less', 'grow'] as const

/** 'more', 'less', 'grow': of a node that stays, and is to have another size. */
export type OperationKind = typeof kinds[number]

export function ownerOf ({ state, settings }: StepContext, node: NodeRecord): Owner {
  return {
    role: settings.role,
    principal: settings.principal,
    clusterId: state.framework.clusterId,
    nodeId: node.id,
    resourceId: node.resourceId!
  }
}

export function operationId (resourceId: string, kind: OperationKind, { random }: StepContext): { value: string } {
  return { value: `${resourceId}.${kind}.${random.bytes(4).toString('hex')}` }
}

/** The resource id and kind in an operation id of ours. */
export function parseOperationId (id: string): { resourceId: string, kind: OperationKind } | undefined {
  const [resourceId, word, suffix] = id.split('.')
  const kind = kinds.find((each) => each === word)
  return resourceId === undefined || suffix === undefined || kind === undefined ? undefined : { resourceId, kind }
}
