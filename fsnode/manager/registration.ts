import type { NodeInfo } from '../../partitioning/types.ts'
import { AtollError } from '../protocol/errors.ts'
import type { RegisterRequest } from '../protocol/manager.ts'
import { domainLevelsMax, nameLengthMax } from './bounds.ts'

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

type Node = Omit<NodeInfo, 'state'>

/** What a node says of itself, checked. @throws AtollError ATOLL_WRONG_CLUSTER, ATOLL_BAD_ARGUMENT. */
export function checkedRegistration ({ clusterId, node }: RegisterRequest, ownClusterId: string): Node {
  if (clusterId !== ownClusterId) {
    throw new AtollError('ATOLL_WRONG_CLUSTER', `this is cluster ${ownClusterId}, not ${String(clusterId)}`, {
      hint: 'the node was launched with the data directory or the addresses of another cluster'
    })
  }
  const named = typeof node?.id === 'string' && node.id.length <= nameLengthMax && namePattern.test(node.id)
  if (!named) throw wrong('its id')
  for (const field of ['incarnation', 'peerId', 'host'] as const) {
    if (typeof node[field] !== 'string' || (field !== 'peerId' && node[field] === '')) throw wrong(field)
  }
  for (const field of ['rpcPort', 'raftPort'] as const) {
    if (!Number.isInteger(node[field]) || node[field] < 0 || node[field] > 65_535) throw wrong(field)
  }
  for (const field of ['capacityBytes', 'usedBytes'] as const) if (!(node[field] >= 0)) throw wrong(field)
  const domain = Array.isArray(node.domain) && node.domain.length <= domainLevelsMax && node.domain.every((name) => typeof name === 'string')
  if (!domain) throw wrong('domain')
  const { id, incarnation, peerId, host, rpcPort, raftPort, capacityBytes, usedBytes, disk, newestVolume } = node
  if (newestVolume !== undefined && !(Number.isSafeInteger(newestVolume) && newestVolume > 0)) throw wrong('volume')
  return { id, incarnation, peerId, host, rpcPort, raftPort, domain: node.domain, capacityBytes, usedBytes, disk: disk ?? null, ...(newestVolume !== undefined && { newestVolume }) }
}

/** Whether the map must learn something; what changes all the time comes with heartbeats. */
export function differs (known: NodeInfo, node: Node): boolean {
  const fields = ['peerId', 'host', 'rpcPort', 'raftPort', 'capacityBytes'] as const
  return fields.some((field) => known[field] !== node[field]) || known.domain.join('/') !== node.domain.join('/')
}

function wrong (what: string): AtollError {
  return new AtollError('ATOLL_BAD_ARGUMENT', `a node registered with a ${what} that cannot be`)
}
